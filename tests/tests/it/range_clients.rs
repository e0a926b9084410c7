//! Programs that read a long file in ranges, as people run them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use larder_tests::{File, Node, Origin, Settings, Told};

const MIB: u64 = 1024 * 1024;
const LENGTH: u64 = 8 * MIB + 4321;

struct Shelf {
    file: Arc<File>,
    node: Node,
    _origin: Origin,
}

impl Shelf {
    async fn new() -> Self {
        let file = File::new(LENGTH, Told::Tag);
        let served = Arc::clone(&file);
        let origin = Origin::start(move |seen| served.answer(seen)).await;
        let slices = "slices = { size = \"256KiB\", above = \"1MiB\" }";
        let settings = Settings::origins(&[&origin.url()]).site(slices);
        let node = Node::start(settings).await;
        Self {
            file,
            node,
            _origin: origin,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/f", self.node.address())
    }

    fn curl<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Vec<u8> {
        let mut curl = Command::new("curl");
        curl.arg("-sSf").args(args).arg(self.url());
        succeeded(&mut curl).stdout
    }

    /// Eight connections, each with ranges of its own.
    fn aria2(&self, dir: &Path, name: &str) -> Vec<u8> {
        let mut aria2 = Command::new("aria2c");
        aria2
            .args(["--quiet", "--no-conf", "--max-tries=2", "--timeout=20"])
            .args(["--split=8", "--max-connection-per-server=8"])
            .args(["--min-split-size=1M", "--file-allocation=none"])
            .arg(format!("--dir={}", dir.display()))
            .arg(format!("--out={name}"))
            .arg(self.url());
        succeeded(&mut aria2);
        std::fs::read(dir.join(name)).expect("what it fetched")
    }
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().expect("a program that is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_broke_off_is_resumed() {
    let shelf = Shelf::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let mut sent = None;
    for begun in [1, MIB - 1, LENGTH - 1] {
        std::fs::write(&path, File::bytes(1, 0..begun)).unwrap();
        shelf.curl([
            OsStr::new("-C"),
            OsStr::new("-"),
            "-o".as_ref(),
            path.as_ref(),
        ]);
        assert!(std::fs::read(&path).unwrap() == File::bytes(1, 0..LENGTH));
        let first = *sent.get_or_insert_with(|| shelf.file.sent());
        assert_eq!(shelf.file.sent(), first, "what came once is in the cache");
    }
}

/// The index of a film may stand at its end: a player reads the beginning, the end, and then from where it is
/// told to begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_player_looks_at_both_ends_and_goes_on_in_the_middle() {
    let shelf = Shelf::new().await;
    let seconds = (3 * MIB..LENGTH).step_by(usize::try_from(MIB / 2).unwrap());
    for player in 0..2 {
        let before = shelf.file.sent();
        let head = String::from_utf8(shelf.curl(["-I"])).unwrap();
        assert!(
            head.to_ascii_lowercase().contains("accept-ranges: bytes"),
            "{head}"
        );
        assert!(shelf.curl(["-r", "0-65535"]) == File::bytes(1, 0..65536));
        assert!(shelf.curl(["-r", "-10000"]) == File::bytes(1, LENGTH - 10_000..LENGTH));
        for first in seconds.clone() {
            let end = (first + MIB / 2).min(LENGTH);
            let range = format!("{first}-{}", end - 1);
            assert!(
                shelf.curl(["-r", &range]) == File::bytes(1, first..end),
                "{range}"
            );
        }
        let asked = shelf.file.sent() - before;
        assert!(asked < LENGTH - 2 * MIB, "player {player}: {asked} bytes");
        assert!(player == 0 || asked == 0, "the second costs {asked} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_fetched_in_parts_side_by_side() {
    let shelf = Shelf::new().await;
    let dir = tempfile::tempdir().unwrap();
    assert!(shelf.aria2(dir.path(), "first") == File::bytes(1, 0..LENGTH));
    let sent = shelf.file.sent();
    assert!(shelf.aria2(dir.path(), "second") == File::bytes(1, 0..LENGTH));
    assert_eq!(shelf.file.sent(), sent, "the second comes from the cache");

    // Nothing is mixed where the file changes between two downloads, whatever is asked for first.
    shelf.file.replace();
    let now = shelf.aria2(dir.path(), "third");
    assert!(now == File::bytes(1, 0..LENGTH) || now == File::bytes(2, 0..LENGTH));
}

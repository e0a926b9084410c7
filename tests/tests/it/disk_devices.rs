//! Real file systems and devices that fill up, stop answering, or vanish under a node. What they cost is hits.
//!
//! Root makes them of a tmpfs and of loop devices; where that is not permitted, the tests say that they were skipped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use larder_tests::{Metrics, Node, Origin, Reply, Settings, engine};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

/// So many that what they are written with fails more often than a volume may.
const OBJECTS: usize = 60;

fn content(target: &str) -> Vec<u8> {
    let line = format!("{target}\n").into_bytes();
    line.into_iter().cycle().take(100_000).collect()
}

async fn telling() -> Origin {
    Origin::start(|seen| Reply::fresh(600, content(&seen.target))).await
}

/// A node with its volume on another file system than its folder, and memory for nothing but short responses.
async fn node_before(origin: &Origin, mounted: &Mounted) -> Node {
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"")
        .volume(&mounted.volume().display().to_string(), "32MiB");
    Node::start(settings).await
}

/// Asks for everything; how many were hits.
async fn ask(node: &Node, turn: &str) -> usize {
    let mut hits = 0;
    for number in 0..OBJECTS {
        let target = format!("/{turn}/{number}");
        let answer = node.get(&target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.body == content(&target), "{target} has another body");
        hits += usize::from(answer.is_hit());
    }
    hits
}

async fn written(node: &Node) {
    let written = |metrics: &Metrics| {
        metrics.sum("larder_disk_objects", &[]) >= OBJECTS as f64
            && metrics.sum("larder_disk_unwritten_bytes", &[]) == 0.0
    };
    node.metrics_when(written).await;
}

async fn taken_out(node: &Node) {
    node.metrics_when(|metrics| metrics.sum("larder_disk_offline", &[]) == 1.0)
        .await;
    let said = node.stderr().join("\n");
    assert!(said.contains("is taken out"), "{said}");
}

/// What fails is told at its 1st, 2nd, 4th, 8th … time.
fn check_few_lines(node: &Node, what: &str) {
    let lines = node.stderr();
    let told = lines.iter().filter(|line| line.contains(what)).count();
    assert!(
        (1..=8).contains(&told),
        "{told} lines: {}",
        lines.join("\n")
    );
}

#[tokio::test]
async fn a_file_system_that_fills_up_takes_its_volume_out_and_nothing_else() {
    if engine() != "log" {
        return note(
            "SKIPPED: foyer has files of its own, and says nothing of what it does not write",
        );
    }
    let Some(mounted) = Mounted::tmpfs("48m") else {
        return note("SKIPPED: mounting is not permitted here, so no file system fills up");
    };
    let origin = telling().await;
    let mut node = node_before(&origin, &mounted).await;
    ask(&node, "before").await;
    written(&node).await;
    // All of its room was taken at the start. It loses that, as on a thin device, and others take it.
    let volume = mounted.volume();
    punch(&volume);
    mounted.fill_up();
    for turn in ["one", "two", "three", "four"] {
        assert_eq!(ask(&node, turn).await, 0);
    }
    taken_out(&node).await;
    check_few_lines(&node, "a write failed");
    let metrics = node.metrics().await;
    assert!(metrics.sum("larder_disk_faults_total", &[("kind", "write")]) >= 8.0);
    // Memory goes on as before.
    let short = node.get("/short").await;
    assert!(!short.is_hit());
    assert!(node.is_running());
}

#[tokio::test]
async fn a_disk_that_stops_answering_holds_up_nobody_and_goes_on_when_it_does() {
    let Some(mounted) = Mounted::loop_device() else {
        return note("SKIPPED: loop devices are not permitted here, so no disk hangs");
    };
    let origin = telling().await;
    let node = node_before(&origin, &mounted).await;
    ask(&node, "before").await;
    written(&node).await;
    let frozen = mounted.freeze();
    // More than is gathered in memory for the disk.
    for turn in ["one", "two", "three"] {
        assert_eq!(ask(&node, turn).await, 0);
    }
    assert_eq!(ask(&node, "before").await, OBJECTS, "these are read");
    let unwritten = |metrics: &Metrics| metrics.sum("larder_disk_unwritten_bytes", &[]) > 0.0;
    node.metrics_when(unwritten).await;
    drop(frozen);
    let all = |metrics: &Metrics| metrics.sum("larder_disk_unwritten_bytes", &[]) == 0.0;
    node.metrics_when(all).await;
    ask(&node, "after").await;
    assert_eq!(ask(&node, "after").await, OBJECTS);
}

#[tokio::test]
async fn a_disk_that_vanishes_is_taken_out_and_what_it_had_comes_from_the_origin() {
    let Some(mounted) = Mounted::loop_device() else {
        return note("SKIPPED: loop devices are not permitted here, so no disk vanishes");
    };
    let origin = telling().await;
    let mut node = node_before(&origin, &mounted).await;
    ask(&node, "before").await;
    written(&node).await;
    let volume = File::open(mounted.volume()).expect("a volume");
    volume.sync_all().expect("a volume");
    mounted.pull();
    fadvise(&volume, 0, None, Advice::DontNeed).expect("advice");
    assert!(ask(&node, "before").await < OBJECTS, "it is still there");
    for _ in 0..4 {
        ask(&node, "before").await;
    }
    taken_out(&node).await;
    assert!(node.is_running());
}

/// A file system of its own; unmounted when it is dropped.
struct Mounted {
    folder: TempDir,
    image: Option<TempDir>,
}

impl Mounted {
    fn tmpfs(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={size}");
        let args = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        succeeds(Command::new("mount").args(args).arg(folder.path())).then_some(())?;
        let image = None;
        Some(Self { folder, image })
    }

    /// ext4 on a file.
    fn loop_device() -> Option<Self> {
        let (folder, image) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, image) = (folder.expect("a folder"), image.expect("a folder"));
        let path = image.path().join("image");
        let file = File::create(&path).expect("an image");
        file.set_len(64 << 20).expect("an image");
        let made = succeeds(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path));
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&path).arg(folder.path());
        (made && succeeds(&mut mount)).then_some(())?;
        let image = Some(image);
        Some(Self { folder, image })
    }

    fn volume(&self) -> PathBuf {
        self.folder.path().join("v.volume")
    }

    /// Takes all the room that is left.
    fn fill_up(&self) {
        let rest = self.folder.path().join("rest");
        let zeros = vec![7; 1 << 16];
        let mut file = File::create(rest).expect("a file");
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    }

    /// From now on every write waits.
    fn freeze(&self) -> Frozen<'_> {
        let folder = self.folder.path();
        assert!(succeeds(Command::new("fsfreeze").arg("-f").arg(folder)));
        Frozen(folder)
    }

    /// The device answers with errors only.
    fn pull(&self) {
        let image = self.image.as_ref().expect("an image").path().join("image");
        let file = File::options().write(true).open(image).expect("an image");
        file.set_len(0).expect("an image");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The node may still be ending.
        let gone = succeeds(Command::new("umount").arg("-l").arg(self.folder.path()));
        assert!(gone || std::thread::panicking(), "it stays mounted");
    }
}

struct Frozen<'a>(&'a Path);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let thawed = succeeds(Command::new("fsfreeze").arg("-u").arg(self.0));
        assert!(thawed || std::thread::panicking(), "it stays frozen");
    }
}

/// Gives back the room of all segments.
fn punch(volume: &Path) {
    let args = ["--punch-hole", "--offset", "1MiB", "--length", "31MiB"];
    assert!(succeeds(Command::new("fallocate").args(args).arg(volume)));
}

fn succeeds(command: &mut Command) -> bool {
    let output = command.output();
    output.is_ok_and(|output| output.status.success())
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn note(text: &str) {
    eprintln!("{text}");
}

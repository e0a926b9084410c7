//! A disk that fails costs requests to the origin, and nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use larder_tests::{Metrics, Node, Origin, Reply, Settings, run_to_exit};

use crate::restart::on_disk;

const TARGETS: [&str; 6] = [
    "/10/a",
    "/3000/b",
    "/60000/c",
    "/70000/d",
    "/900000/e",
    "/20/f",
];

/// What a volume begins with.
const SUPERBLOCKS: u64 = 8192;

fn content(target: &str) -> Vec<u8> {
    let length = target.split('/').nth(1).and_then(|it| it.parse().ok());
    let line = format!("{target}\n").into_bytes();
    line.into_iter().cycle().take(length.unwrap_or(0)).collect()
}

async fn telling() -> Origin {
    Origin::start(|seen| Reply::fresh(600, content(&seen.target))).await
}

/// A node that has to read everything from its disk.
async fn node_before(origin: &Origin) -> Node {
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"")
        .disk("32MiB");
    Node::start(settings).await
}

fn volume(node: &Node) -> PathBuf {
    node.folder().join("disk/larder.volume")
}

async fn fill(node: &Node) {
    for target in TARGETS {
        assert_eq!(node.get(target).await.body, content(target));
    }
    on_disk(node, TARGETS.len()).await;
}

/// Everybody gets the right bytes, wherever they come from.
async fn check_all(node: &Node) {
    for target in TARGETS {
        let answer = node.get(target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.body == content(target), "{target} has another body");
    }
}

/// Turns a bit in every block that holds something.
fn flip(volume: &Path) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(volume)
        .expect("a volume");
    let length = file.metadata().expect("a volume").len();
    for at in (0..length / 4096).map(|block| block * 4096 + 100) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a volume");
        if at > 2 * 1024 * 1024 || byte[0] != 0 {
            file.write_all_at(&[byte[0] ^ 4], at).expect("a volume");
        }
    }
}

async fn verify(node: &Node) -> (Option<i32>, String) {
    let path = volume(node).display().to_string();
    let exit = run_to_exit(&["cache", "verify", &path], node.folder()).await;
    (exit.code, exit.stdout + &exit.stderr)
}

#[tokio::test]
async fn flipped_bits_are_noticed_before_anybody_sees_them() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node).await;
    let (code, told) = verify(&node).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("objects   6"), "{told}");

    flip(&volume(&node));
    check_all(&node).await;
    assert!(origin.total() > TARGETS.len(), "nothing was damaged");
    let damaged =
        |metrics: &Metrics| metrics.sum("larder_disk_faults_total", &[("kind", "damaged")]) > 0.0;
    node.metrics_when(damaged).await;
    let said = node.stderr().join("\n");
    assert!(said.contains("stored bytes are damaged"), "{said}");

    fill(&node).await;
    node.stop_and_restart(|folder| flip(&folder.join("disk/larder.volume")))
        .await;
    let (code, told) = verify(&node).await;
    assert_eq!(code, Some(1), "{told}");
    check_all(&node).await;
}

#[tokio::test]
async fn a_volume_that_is_cut_short_is_taken_out_and_the_node_stays_up() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node).await;
    let file = File::options().write(true).open(volume(&node)).unwrap();
    file.set_len(SUPERBLOCKS).unwrap();
    for _ in 0..8 {
        check_all(&node).await;
    }
    let faults =
        |metrics: &Metrics| metrics.sum("larder_disk_faults_total", &[("kind", "read")]) > 0.0;
    node.metrics_when(faults).await;
    assert!(node.is_running());
    node.kill_and_restart(|_| {}).await;
    check_all(&node).await;
}

#[tokio::test]
async fn a_volume_that_is_deleted_is_missed_at_the_next_start_only() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node).await;
    std::fs::remove_file(volume(&node)).unwrap();
    check_all(&node).await;
    node.kill_and_restart(|_| {}).await;
    check_all(&node).await;
    assert!(volume(&node).is_file());
}

#[tokio::test]
async fn a_volume_in_the_midst_of_garbage_begins_empty_or_is_refused() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node).await;
    node.kill_and_restart(|folder| {
        let volume = folder.join("disk/larder.volume");
        let file = File::options().write(true).open(volume).unwrap();
        let garbage: Vec<u8> = (0..1_000_000_u32)
            .map(|it| u8::try_from(it * 31 % 251).unwrap())
            .collect();
        file.write_all_at(&garbage, 1_100_000).unwrap();
    })
    .await;
    check_all(&node).await;
}

#[tokio::test]
async fn a_file_system_without_room_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mount.is_ok_and(|it| it.status.success()) {
        return note("SKIPPED: mounting is not permitted here, so no file system is full");
    }
    let args = [
        "run",
        "--origin",
        "http://127.0.0.1:9",
        "--listen",
        "127.0.0.1:0",
    ];
    let more = ["--admin", "127.0.0.1:0", "--disk", "v.volume:64MiB"];
    let args: Vec<&str> = args.into_iter().chain(more).collect();
    let exit = run_to_exit(&args, folder.path()).await;
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.is_ok_and(|it| it.success()));
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("no room"), "{}", exit.stderr);
}

#[tokio::test]
async fn inspecting_tells_what_is_there() {
    let origin = telling().await;
    let node = node_before(&origin).await;
    fill(&node).await;
    let dir = node.folder().join("disk").display().to_string();
    let exit = run_to_exit(&["cache", "inspect", &dir], node.folder()).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for expected in [
        "objects   6",
        "size      32 MiB",
        "health    sound",
        "newest    20",
    ] {
        assert!(exit.stdout.contains(expected), "{}", exit.stdout);
    }
    std::fs::write(node.folder().join("diary"), "dear diary".repeat(10_000)).unwrap();
    for path in ["none", "diary"] {
        let exit = run_to_exit(&["cache", "inspect", path], node.folder()).await;
        assert_eq!(exit.code, Some(1), "{path}");
        assert!(exit.stderr.contains(path), "{}", exit.stderr);
    }
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn note(text: &str) {
    eprintln!("{text}");
}

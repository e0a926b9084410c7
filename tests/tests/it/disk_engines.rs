//! What keeps the bodies of a volume: foyer does what the log does, as far as a client can tell.
//!
//! Most tests of disks run with either: `LARDER_TEST_ENGINE=foyer`, and a node that was built with that feature.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use larder_tests::{Metrics, Node, Origin, Reply, Settings, engine};

use crate::restart::on_disk;

const OBJECTS: usize = 12;

fn content(target: &str) -> Vec<u8> {
    let line = format!("{target}\n").into_bytes();
    line.into_iter().cycle().take(100_000).collect()
}

async fn telling() -> Origin {
    Origin::start(|seen| Reply::fresh(600, content(&seen.target))).await
}

fn settings(origin: &Origin) -> Settings {
    Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"")
}

/// Asks for everything; how many were hits.
async fn ask_all(node: &Node) -> usize {
    let mut hits = 0;
    for number in 0..OBJECTS {
        let target = format!("/{number}");
        let answer = node.get(&target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.body == content(&target), "{target} has another body");
        hits += usize::from(answer.is_hit());
    }
    hits
}

/// The files of foyer's that have something in them.
fn bodies(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.folder().join("disk/larder.volume.bodies"));
    let paths = entries
        .expect("bodies")
        .map(|it| it.expect("a file").path());
    paths.collect()
}

#[tokio::test]
async fn an_engine_that_is_not_built_in_is_one_clear_error() {
    if engine() != "log" {
        return note("SKIPPED: this node has both engines");
    }
    let origin = telling().await;
    let volume = "[[cache.disk]]\npath = \"disk\"\nsize = \"32MiB\"\nengine = \"foyer\"";
    let mut node = Node::begin(&settings(&origin).append(volume));
    assert_eq!(node.wait_exit().await.code(), Some(1));
    let said = node.stderr().join("\n");
    assert!(said.contains("is not built into this program"), "{said}");
    assert!(said.contains("--features foyer"), "{said}");
    assert!(!node.folder().join("disk/larder.volume").exists());
}

#[tokio::test]
async fn a_volume_of_another_engine_begins_empty() {
    if engine() == "log" {
        return note("SKIPPED: this node has one engine");
    }
    let origin = telling().await;
    let mut node = Node::start(settings(&origin).disk("32MiB")).await;
    assert_eq!(ask_all(&node).await, 0);
    on_disk(&node, OBJECTS).await;
    node.stop_and_restart(|folder| {
        let file = folder.join("larder.toml");
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let text = text.replace("engine = \"foyer\"", "engine = \"log\"");
        std::fs::write(file, text).expect("a configuration");
    })
    .await;
    let said = node.stderr().join("\n");
    assert!(said.contains("was of another engine"), "{said}");
    assert_eq!(ask_all(&node).await, 0);
    assert!(!node.folder().join("disk/larder.volume.bodies").exists());
}

#[tokio::test]
async fn what_foyer_has_damaged_or_lost_comes_from_the_origin() {
    if engine() == "log" {
        return note("SKIPPED: this node has no foyer");
    }
    let origin = telling().await;
    let mut node = Node::start(settings(&origin).disk("32MiB")).await;
    ask_all(&node).await;
    on_disk(&node, OBJECTS).await;
    node.stop_and_restart(|_| {}).await;
    assert_eq!(ask_all(&node).await, OBJECTS, "all are there");
    for path in bodies(&node) {
        let file = std::fs::File::options().read(true).write(true).open(path);
        let file = file.expect("a file");
        let length = file.metadata().expect("a file").len();
        for at in (4096..length).step_by(50_000) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("a file");
            file.write_all_at(&[byte[0] ^ 4], at).expect("a file");
        }
    }
    let hits = ask_all(&node).await;
    assert!(hits < OBJECTS, "nothing was damaged");
    on_disk(&node, OBJECTS).await;
    node.stop_and_restart(|folder| {
        std::fs::remove_dir_all(folder.join("disk/larder.volume.bodies")).expect("bodies");
    })
    .await;
    assert_eq!(ask_all(&node).await, 0);
    // Bodies that foyer does not have are no fault of the device.
    let faults = |metrics: &Metrics| metrics.sum("larder_disk_offline", &[]) == 0.0;
    node.metrics_when(faults).await;
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn note(text: &str) {
    eprintln!("{text}");
}

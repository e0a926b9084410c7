//! Several volumes, and volumes that cannot be had.

use std::fs::File;

use larder_tests::{Metrics, Node, Origin, Reply, Settings};

/// So many that each of two volumes gets more of them than it takes to be taken out.
const OBJECTS: usize = 100;

fn targets() -> impl Iterator<Item = String> {
    (0..OBJECTS).map(|number| format!("/{number}"))
}

fn content(target: &str) -> Vec<u8> {
    let line = format!("{target}\n").into_bytes();
    line.into_iter().cycle().take(20_000).collect()
}

async fn telling() -> Origin {
    Origin::start(|seen| Reply::fresh(600, content(&seen.target))).await
}

/// Two volumes, and memory that has no place for anything.
async fn node_before(origin: &Origin) -> Node {
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"")
        .volume("one.volume", "32MiB")
        .volume("two.volume", "32MiB");
    Node::start(settings).await
}

/// Asks for everything, and returns how many were hits.
async fn ask_all(node: &Node) -> usize {
    ask_all_after(node, || {}).await
}

async fn ask_all_after(node: &Node, before_each: impl Fn()) -> usize {
    let mut client = node.client().await;
    let mut hits = 0;
    for target in targets() {
        before_each();
        let answer = client.get(&target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.body == content(&target), "{target} has another body");
        hits += usize::from(answer.is_hit());
    }
    hits
}

async fn all_on_disk(node: &Node) -> Metrics {
    node.metrics_when(|metrics| metrics.sum("larder_disk_objects", &[]) == OBJECTS as f64)
        .await
}

fn path(node: &Node, name: &str) -> String {
    let path = node.folder().join(format!("{name}.volume"));
    path.display().to_string()
}

#[tokio::test]
async fn all_volumes_are_used_and_found_again() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    assert_eq!(ask_all(&node).await, 0);
    all_on_disk(&node).await;
    for killed in [false, true] {
        match killed {
            false => node.stop_and_restart(|_| {}).await,
            true => node.kill_and_restart(|_| {}).await,
        }
        assert_eq!(ask_all(&node).await, OBJECTS, "killed: {killed}");
        let metrics = node.metrics().await;
        for name in ["one", "two"] {
            let read = metrics.sum(
                "larder_disk_read_bytes_total",
                &[("volume", &path(&node, name))],
            );
            assert!(read >= 20_000.0, "{name} is not used: {read}");
        }
    }
    assert_eq!(origin.total(), OBJECTS);
}

#[tokio::test]
async fn a_volume_that_fails_is_taken_out_and_the_others_go_on() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    ask_all(&node).await;
    all_on_disk(&node).await;
    // What was written is not kept in buffers any more.
    node.stop_and_restart(|_| {}).await;
    let one = path(&node, "one");
    let file = File::options().write(true).open(&one).expect("a volume");
    // What is written makes it longer again.
    let cut = || file.set_len(8192).expect("a volume");
    let hits = ask_all_after(&node, cut).await;
    assert!(0 < hits && hits < OBJECTS, "{hits}");
    let offline = [("volume", one.as_str())];
    let metrics = node
        .metrics_when(|metrics| metrics.sum("larder_disk_offline", &offline) == 1.0)
        .await;
    assert_eq!(metrics.sum("larder_disk_offline", &[]), 1.0);
    let said = node.stderr().join("\n");
    assert!(said.contains("is taken out"), "{said}");

    // What was on it comes from the origin, and is on the other one from then on.
    let mut hits = ask_all(&node).await;
    for _ in 0..20 {
        hits = hits.max(ask_all(&node).await);
    }
    assert_eq!(hits, OBJECTS);
    assert!(node.is_running());
}

#[tokio::test]
async fn a_second_node_of_a_user_starts_without_the_volume_of_the_first() {
    let origin = telling().await;
    let first = Node::with_flags_and_disk(&["--origin", &origin.url()]).await;
    let mut second = Node::with_flags_and_disk(&["--origin", &origin.url()]).await;
    let volume = first.folder().join("larder");
    second
        .stop_and_restart(|folder| {
            let own = folder.join("larder");
            std::fs::remove_dir_all(&own).expect("a directory");
            std::os::unix::fs::symlink(&volume, own).expect("a directory");
        })
        .await;
    let said = second.stderr().join("\n");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains("will end with the process"), "{said}");
    for node in [&first, &second] {
        assert!(!node.get("/1").await.is_hit());
        assert!(node.get("/1").await.is_hit());
    }

    // Who names a volume wants it.
    let disk = format!("[[cache.disk]]\npath = {volume:?}\nsize = \"1GiB\"");
    let mut third = Node::begin(&Settings::origins(&[&origin.url()]).append(&disk));
    assert_eq!(third.wait_exit().await.code(), Some(1));
    let said = third.stderr().join("\n");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains("--no-disk"), "{said}");
}

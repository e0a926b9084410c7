//! Stored responses that break off on their disk after their head was sent.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use larder_tests::{End, File, Node, Origin, Settings, Told};

const LENGTH: u64 = 1_500_000;
/// What is damaged, far behind what is read before the head is sent.
const DAMAGED: u64 = 1_200_000;

fn damage(folder: &Path) {
    turn_a_bit(folder, DAMAGED);
}

/// Turns a bit of the stored content: of the byte at `place`.
pub(crate) fn turn_a_bit(folder: &Path, place: u64) {
    let path = folder.join("disk/larder.volume");
    let mut volume = fs::read(&path).expect("a volume");
    let content = File::bytes(1, place..place + 64);
    let found: Vec<usize> = (0..volume.len())
        .filter(|at| volume[*at] == content[0] && volume[*at..].starts_with(&content))
        .collect();
    assert!(!found.is_empty(), "nothing is stored");
    for at in found {
        volume[at] ^= 1;
    }
    fs::write(path, volume).expect("a volume");
}

/// A node that has a damaged response on its disk.
async fn node_before(origin: &Origin) -> Node {
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"")
        .log_disk("32MiB");
    let mut node = Node::start(settings).await;
    let whole = node.get("/f").await;
    assert!(whole.body == File::bytes(1, 0..LENGTH));
    node.metrics_when(|metrics| metrics.sum("larder_disk_objects", &[]) == 1.0)
        .await;
    node.stop_and_restart(damage).await;
    node
}

async fn serve(file: &Arc<File>) -> Origin {
    let file = Arc::clone(file);
    Origin::start(move |seen| file.answer(seen)).await
}

#[tokio::test]
async fn the_rest_comes_from_the_origin() {
    for (range, bytes) in [
        (None, 0..LENGTH),
        (Some("bytes=70000-1400000"), 70_000..1_400_001),
    ] {
        let file = File::new(LENGTH, Told::Tag);
        let origin = serve(&file).await;
        let node = node_before(&origin).await;
        let fields: Vec<_> = range.map(|range| ("Range", range)).into_iter().collect();
        let answer = node.get_with("/f", &fields).await;
        assert_eq!(answer.cache_parameter("detail"), Some("disk"));
        assert_eq!(answer.end, End::Complete);
        assert!(answer.body == File::bytes(1, bytes.clone()));

        let asked = origin.last("/f");
        assert_eq!(asked.field("If-Match"), Some("\"v1\""));
        let first = asked
            .field("Range")
            .and_then(|it| it.strip_prefix("bytes="));
        let (first, _) = first.and_then(|it| it.split_once('-')).expect("a range");
        let first: u64 = first.parse().expect("a number");
        assert!(bytes.start < first && first <= DAMAGED, "{first}");
        assert_eq!(file.sent(), LENGTH + bytes.end - first);

        // The damaged response is not found again.
        let again = node.get("/f").await;
        assert_eq!(again.forwarded(), Some("uri-miss"));
        assert!(again.body == File::bytes(1, 0..LENGTH));
    }
}

#[tokio::test]
async fn an_origin_that_takes_no_ranges_sends_what_is_skipped() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = file.origin_without_ranges().await;
    let node = node_before(&origin).await;
    let answer = node.get("/f").await;
    assert_eq!(answer.cache_parameter("detail"), Some("disk"));
    assert_eq!(answer.end, End::Complete);
    assert!(answer.body == File::bytes(1, 0..LENGTH));
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn without_the_same_representation_the_response_is_cut() {
    for (told, requests) in [(Told::Tag, 2), (Told::WeakTag, 1), (Told::Nothing, 1)] {
        let file = File::new(LENGTH, told);
        let origin = serve(&file).await;
        let node = node_before(&origin).await;
        file.replace();
        let answer = node.get("/f").await;
        assert_eq!((answer.status, answer.end), (200, End::Cut), "{told:?}");
        assert!(File::bytes(1, 0..DAMAGED).starts_with(&answer.body));
        assert_eq!(origin.total(), requests, "{told:?}");
        assert!(node.get("/f").await.body == File::bytes(2, 0..LENGTH));
    }
}

//! Tiers that cut the same file into other slices: every byte is right, and the node that asks says so once.

use std::sync::Arc;

use larder_tests::{File, Metrics, Node, Origin, Settings, Tiers, Told};

use crate::SOON;

const LENGTH: u64 = 700_001;

async fn serve(file: &Arc<File>) -> Origin {
    let file = Arc::clone(file);
    Origin::start(move |seen| file.answer(seen)).await
}

fn cut(settings: Settings, slices: &str) -> Settings {
    settings.site(&format!("slices = {slices}"))
}

fn small(size: &str) -> String {
    format!("{{ size = \"{size}\", above = \"256KiB\", ahead = 1 }}")
}

fn differences(edge: &Node) -> usize {
    let lines = edge.stderr();
    lines
        .iter()
        .filter(|line| line.contains("the same `slices`"))
        .count()
}

/// Asks an edge for parts that lie across the borders of either's slices, then for everything, and compares every byte.
async fn check(parent_cuts: &str, edge_cuts: &str) -> (Node, Node, f64) {
    let file = File::new(LENGTH, Told::Tag);
    let origin = serve(&file).await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(cut(tiers.parent("parent"), parent_cuts)).await;
    let edge = Node::start(cut(tiers.edge("edge", &[&parent]), edge_cuts)).await;
    for (first, last) in [
        (0, 9),
        (65_530, 65_540),
        (99_990, 262_150),
        (131_071, 131_073),
        (LENGTH - 5, LENGTH - 1),
        (300_000, 600_000),
    ] {
        let value = format!("bytes={first}-{last}");
        let answer = edge.get_with("/f", &[("Range", &value)]).await;
        assert_eq!(answer.status, 206, "{value}: {answer:?}");
        let expected = format!("bytes {first}-{last}/{LENGTH}");
        assert_eq!(answer.header("Content-Range"), Some(expected.as_str()));
        assert!(
            answer.body == File::bytes(1, first..last + 1),
            "{value}: other bytes"
        );
    }
    let whole = edge.get("/f").await;
    assert_eq!(whole.status, 200);
    assert!(whole.body == File::bytes(1, 0..LENGTH), "other bytes");
    // And what is stored by now is as good.
    let whole = edge.get("/f").await;
    assert!(whole.body == File::bytes(1, 0..LENGTH), "other bytes");
    // Each request that the origin got is known to the edge, those behind the heads of its parent's answers too.
    let known = |it: &Metrics| it.sum("larder_tiered_origin_requests_total", &[]);
    let total = origin.total() as f64;
    edge.metrics_when(|it| known(it) >= total).await;
    assert_eq!(known(&edge.metrics().await), total);
    // Another version is another one at once.
    file.replace();
    let differs = edge.metrics().await;
    let differs = differs.sum("larder_tiered_slices_differ_total", &[]);
    (parent, edge, differs)
}

#[tokio::test]
async fn tiers_with_other_slices_give_the_same_bytes_and_say_so_once() {
    for (parent_cuts, edge_cuts, said) in [
        (small("256KiB"), small("64KiB"), "slices of 262144 bytes"),
        (small("64KiB"), small("96KiB"), "slices of 65536 bytes"),
        ("{ use = false }".to_owned(), small("64KiB"), "no slices"),
        (
            small("64KiB"),
            "{ use = false }".to_owned(),
            "slices of 65536 bytes",
        ),
    ] {
        let (_parent, edge, differs) = check(&parent_cuts, &edge_cuts).await;
        assert!(differs >= 1.0, "{parent_cuts} {edge_cuts}");
        larder_tests::eventually(SOON, || differences(&edge) > 0).await;
        assert_eq!(differences(&edge), 1, "{:?}", edge.stderr());
        let lines = edge.stderr();
        let line = lines.iter().find(|line| line.contains("the same `slices`"));
        assert!(line.is_some_and(|line| line.contains(said)), "{line:?}");
    }
}

#[tokio::test]
async fn tiers_with_the_same_slices_ask_for_each_once_and_say_nothing() {
    let (_parent, edge, differs) = check(&small("64KiB"), &small("64KiB")).await;
    assert_eq!((differs, differences(&edge)), (0.0, 0));
}

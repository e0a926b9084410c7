//! A node with many sites, and somebody who visits it: what screens are looked at with.

use std::fmt::Write as _;

use larder_tests::{Node, Origin, Reply, Settings};

/// The site `main`, these (the lines below `[[site]]`, with `ORIGIN` for the origin), and so many others.
pub(crate) async fn started(sites: &[&str], others: usize) -> (Origin, Node) {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/private" => Reply::ok("p").with("Cache-Control", "private"),
        _ => Reply::fresh(600, "x".repeat(1000)),
    })
    .await;
    let url = origin.url();
    let mut tables = String::new();
    for site in sites {
        let lines = site.replace("ORIGIN", &url);
        writeln!(tables, "[[site]]\n{lines}").expect("a string takes everything");
    }
    for number in 0..others {
        writeln!(
            tables,
            "[[site]]\nname = \"site-{number:03}\"\nhosts = [\"{number}.example\"]\norigins = [\"{url}\"]"
        )
        .expect("a string takes everything");
    }
    let node = Node::start(Settings::origins(&[&url]).append(&tables)).await;
    (origin, node)
}

/// A miss, a hit, and two of what is not stored.
pub(crate) async fn visit(node: &Node) {
    for path in ["/a", "/a", "/a", "/private"] {
        node.get(path).await;
    }
    node.metrics_when(|it| it.sum("larder_requests_total", &[]) >= 4.0)
        .await;
}

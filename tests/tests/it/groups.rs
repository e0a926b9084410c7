//! Cache groups (RFC 9875): an application invalidates what it has written, by fields alone.

use larder_tests::{Client, Node, Origin, Reply, Response, Settings};

async fn grouping() -> Origin {
    Origin::start(|seen| match seen.method.as_str() {
        "POST" | "DELETE" => {
            let groups = seen.field("X-Groups").unwrap_or("\"news\"");
            let status = if seen.target == "/fails" { 500 } else { 200 };
            Reply::status(status).with("Cache-Group-Invalidation", groups)
        }
        _ => {
            let reply = Reply::fresh(600, "x");
            match seen.target.as_str() {
                "/a" => reply.with("Cache-Groups", "\"news\", \"front page\""),
                "/b" => reply.with("Cache-Groups", "\"front page\""),
                "/c" => reply.with("Cache-Groups", "\"News\""),
                _ => reply,
            }
        }
    })
    .await
}

async fn hits(node: &Node, targets: &[&str]) -> Vec<bool> {
    let mut hits = Vec::new();
    for target in targets {
        hits.push(node.get(target).await.is_hit());
    }
    hits
}

#[tokio::test]
async fn an_unsafe_request_invalidates_the_groups_that_its_response_names() {
    let origin = grouping().await;
    let node = Node::before(&origin.url()).await;
    let all = ["/a", "/b", "/c", "/d"];
    hits(&node, &all).await;
    assert_eq!(hits(&node, &all).await, [true; 4]);

    let answer = node.request("POST", "/edit", &[]).await;
    // Caches behind this one have groups, too.
    assert_eq!(answer.header("Cache-Group-Invalidation"), Some("\"news\""));
    assert_eq!(hits(&node, &all).await, [false, true, true, true]);
    let groups = [("X-Groups", "\"other\", \"front page\";x=1")];
    node.request("DELETE", "/edit", &groups).await;
    assert_eq!(hits(&node, &all).await, [false, false, true, true]);
}

#[tokio::test]
async fn errors_safe_methods_and_malformed_fields_invalidate_nothing() {
    let origin = Origin::start(|seen| {
        let reply = if seen.target == "/fails" {
            Reply::status(500)
        } else {
            Reply::fresh(600, "x").with("Cache-Groups", "\"g\"")
        };
        let field = seen.field("X-Field").unwrap_or("\"g\"").to_owned();
        reply.with("Cache-Group-Invalidation", &field)
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.request("POST", "/fails", &[]).await;
    node.get("/other").await;
    node.request("OPTIONS", "/x", &[]).await;
    for field in ["g", "\"g", "(\"g\")", ""] {
        node.request("POST", "/x", &[("X-Field", field)]).await;
    }
    assert!(node.get("/a").await.is_hit());
    node.request("POST", "/x", &[]).await;
    assert!(!node.get("/a").await.is_hit());
}

async fn ask(client: Client, host: &str, method: &str) -> Response {
    client.host(host).request(method, "/a", &[]).await
}

#[tokio::test]
async fn a_group_ends_at_its_origin() {
    let origin = grouping().await;
    let settings = Settings::origins(&[&origin.url()]).site("hosts = [\"*.example\"]");
    let node = Node::start(settings).await;
    for host in ["one.example", "two.example"] {
        ask(node.client().await, host, "GET").await;
    }
    ask(node.client().await, "one.example", "POST").await;
    assert!(
        !ask(node.client().await, "one.example", "GET")
            .await
            .is_hit()
    );
    assert!(
        ask(node.client().await, "two.example", "GET")
            .await
            .is_hit()
    );
}

#[tokio::test]
async fn what_an_origin_invalidated_is_listed_with_the_purges() {
    let origin = grouping().await;
    let node = Node::before(&origin.url()).await;
    node.request("POST", "/edit", &[]).await;
    let bearer = format!("Bearer {}", node.token());
    let mut admin = Client::connect(node.admin()).await;
    let fields = [("Authorization", bearer.as_str())];
    let listed = admin.get_with("/v1/purges", &fields).await.text();
    assert!(listed.contains("Cache-Group-Invalidation"), "{listed}");
}

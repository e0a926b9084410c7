//! What a successful unsafe request invalidates (RFC 9111 §4.4).

use larder_tests::{Node, Origin, Reply};

async fn scripted() -> Origin {
    Origin::start(|seen| {
        let (method, target) = (seen.method.as_str(), seen.target.as_str());
        let host = seen.field("Host").unwrap_or_default();
        match (method, target) {
            ("GET", _) => Reply::fresh(600, seen.nth.to_string()),
            (_, "/refused") => Reply::status(403),
            (_, "/broken") => Reply::status(500),
            (_, "/points") => Reply::status(201)
                .with("Location", &format!("http://{host}/a"))
                .with("Content-Location", "/b"),
            (_, "/points-away") => {
                Reply::status(201).with("Location", "http://elsewhere.example/a")
            }
            _ => Reply::status(200),
        }
    })
    .await
}

#[tokio::test]
async fn a_successful_unsafe_request_invalidates_its_target() {
    let origin = scripted().await;
    let node = Node::before(&origin.url()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        let target = format!("/{method}");
        node.get(&target).await;
        assert!(node.get(&target).await.is_hit());
        node.client().await.upload(method, &target, &[], b"x").await;
        assert!(!node.get(&target).await.is_hit(), "{method}");
    }
}

#[tokio::test]
async fn safe_methods_and_errors_invalidate_nothing() {
    let origin = scripted().await;
    let node = Node::before(&origin.url()).await;
    for target in ["/refused", "/broken", "/options"] {
        node.get(target).await;
    }
    node.client()
        .await
        .upload("POST", "/refused", &[], b"x")
        .await;
    node.client()
        .await
        .upload("POST", "/broken", &[], b"x")
        .await;
    node.request("OPTIONS", "/options", &[]).await;
    for target in ["/refused", "/broken", "/options"] {
        assert!(node.get(target).await.is_hit(), "{target}");
    }
}

#[tokio::test]
async fn places_of_the_same_origin_are_invalidated_too_and_no_others() {
    let origin = scripted().await;
    let node = Node::before(&origin.url()).await;
    let elsewhere = || async {
        node.client()
            .await
            .host("elsewhere.example")
            .get("/a")
            .await
    };
    for target in ["/a", "/b", "/c"] {
        node.get(target).await;
    }
    elsewhere().await;

    node.client()
        .await
        .upload("POST", "/points-away", &[], b"x")
        .await;
    assert!(elsewhere().await.is_hit());
    node.client()
        .await
        .upload("POST", "/points", &[], b"x")
        .await;
    assert!(!node.get("/a").await.is_hit());
    assert!(!node.get("/b").await.is_hit());
    assert!(node.get("/c").await.is_hit());
}

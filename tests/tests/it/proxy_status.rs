//! `Proxy-Status` (RFC 9209): what went wrong beyond the node, and where.

use larder_tests::{Gate, Node, Origin, Reply, Settings, free_port};

/// Which of the two counts is anybody's guess.
const TWO_FRAMINGS: &str =
    "HTTP/1.1 203 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

async fn told(settings: Settings, target: &str) -> (u16, String) {
    let node = Node::start(settings.site("retries = 0")).await;
    let answer = node.get(target).await;
    let told = answer
        .header("Proxy-Status")
        .unwrap_or("nothing")
        .to_owned();
    (answer.status, told)
}

#[tokio::test]
async fn every_error_has_its_name() {
    let never = Gate::closed();
    let held = never.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/silent" => Reply::ok("x").after(&held),
        "/closed" => Reply::hang_up(),
        "/garbage" => Reply::verbatim("this is no HTTP\r\n\r\n").closing(),
        "/coding" => {
            Reply::verbatim("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").closing()
        }
        _ => Reply::verbatim(TWO_FRAMINGS).closing(),
    })
    .await;
    let settings = || Settings::origins(&[&origin.url()]).site("first_byte_timeout = \"300ms\"");
    let nobody = Settings::origins(&[&format!("http://127.0.0.1:{}", free_port())]);
    let nowhere = Settings::origins(&["http://does-not-exist.invalid"]);
    for (settings, target, status, error) in [
        (settings(), "/silent", 504, "http_response_timeout"),
        (settings(), "/closed", 502, "connection_terminated"),
        (
            settings(),
            "/coding",
            502,
            "http_response_transfer_coding; received-status=200",
        ),
        (
            settings(),
            "/framings",
            502,
            "http_protocol_error; received-status=203",
        ),
        (nobody, "/", 502, "connection_refused"),
        (nowhere, "/", 502, "dns_error"),
    ] {
        let expected = (status, format!("larder; error={error}"));
        assert_eq!(told(settings, target).await, expected, "{target}");
    }
    let (status, garbage) = told(settings(), "/garbage").await;
    assert_eq!(status, 502);
    assert!(garbage.starts_with("larder; error="), "{garbage}");
}

#[tokio::test]
async fn what_passes_by_is_told_of_alike() {
    let origin = Origin::start(|_| Reply::hang_up()).await;
    let node = Node::start(Settings::origins(&[&origin.url()]).site("retries = 0")).await;
    let answer = node.request("POST", "/a", &[]).await;
    let told = answer.header("Proxy-Status");
    assert_eq!(told, Some("larder; error=connection_terminated"));
}

#[tokio::test]
async fn addresses_and_details_are_told_only_where_the_site_says_so() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/bad" => Reply::hang_up(),
        _ => Reply::fresh(60, "x"),
    })
    .await;
    let url = origin.url();
    let hop = format!("next-hop=\"{}\"", origin.address());
    let with = |line: &str| Settings::origins(&[&url]).site(line).site("retries = 0");
    let node = Node::start(with("proxy_status = \"full\"")).await;
    let bad = node.get("/bad").await;
    let told = bad.header("Proxy-Status").unwrap();
    assert!(
        told.contains(&hop) && told.contains("; details=\""),
        "{told}"
    );
    let expected = format!("larder; {hop}; received-status=200");
    let good = node.get("/good").await;
    assert_eq!(good.header("Proxy-Status"), Some(expected.as_str()));
    let posted = node.request("POST", "/other", &[]).await;
    assert_eq!(posted.header("Proxy-Status"), Some(expected.as_str()));
    // Nobody was asked.
    assert_eq!(node.get("/good").await.header("Proxy-Status"), None);

    let node = Node::start(with("proxy_status = \"off\"")).await;
    assert_eq!(node.get("/bad").await.header("Proxy-Status"), None);
}

#[tokio::test]
async fn what_the_node_refuses_is_told_of_as_well() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let settings = Settings::origins(&[&origin.url()]).site("hosts = [\"one.example\"]");
    let node = Node::start(settings).await;
    let unknown = node.get("/a").await;
    let told = unknown.header("Proxy-Status");
    assert_eq!(
        (unknown.status, told),
        (421, Some("larder; error=destination_not_found"))
    );
    let here = || async { node.client().await.host("one.example") };
    let malformed = node.exchange("GET /a b HTTP/1.1\r\n\r\n").await.unwrap();
    let told = malformed.header("Proxy-Status");
    assert_eq!(
        (malformed.status, told),
        (400, Some("larder; error=http_request_error"))
    );
    let nothing = [("Cache-Control", "only-if-cached")];
    let local = here().await.get_with("/a", &nothing).await;
    let told = local.header("Proxy-Status");
    assert_eq!(
        (local.status, told),
        (504, Some("larder; error=proxy_internal_response"))
    );
}

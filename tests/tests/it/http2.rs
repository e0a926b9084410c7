//! HTTP/2 from clients (RFC 9113), by prior knowledge, and what of it HTTP/1.1 origins see.

use larder_tests::{Frame, FrameClient, H2Client, Node, Origin, Reply, eventually, kind, request};

use crate::SOON;

#[tokio::test]
async fn both_versions_share_one_port_and_one_store() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let node = Node::before(&origin.url()).await;
    let mut client = H2Client::connect(node.address()).await;
    let first = client.get("/a").await;
    assert_eq!((first.status, first.text().as_str()), (200, "x"));
    assert!(client.get("/a").await.is_hit());
    assert!(node.get("/a").await.is_hit());
    assert_eq!(origin.last("/a").values("Host"), ["www.example.com"]);
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let origin = Origin::start(|seen| Reply::fresh(60, seen.target.clone())).await;
    let node = Node::before(&origin.url()).await;
    let mut client = H2Client::connect(node.address()).await;
    let mut streams = Vec::new();
    for n in 0..50 {
        let (answer, _) = client
            .open(request("GET", &format!("/{n}"), &[]), true)
            .await
            .unwrap();
        streams.push(answer);
    }
    for stream in streams {
        assert_eq!(stream.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn cookie_crumbs_are_joined_for_http_1_1() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    let mut client = H2Client::connect(node.address()).await;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    client
        .send(request("GET", "/a", &crumbs), None)
        .await
        .unwrap();
    assert_eq!(origin.last("/a").values("Cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn an_upload_arrives_whole_and_one_that_is_reset_does_not_look_so() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let node = Node::before(&origin.url()).await;
    let mut client = H2Client::connect(node.address()).await;
    let answer = client
        .send(request("POST", "/a", &[]), Some("hello".into()))
        .await
        .unwrap();
    assert_eq!(answer.text(), "hello");

    let (_answer, mut upload) = client
        .open(request("POST", "/cut", &[]), false)
        .await
        .unwrap();
    upload.send_data("hello".into(), false).unwrap();
    eventually(SOON, || origin.count("/cut") == 1).await;
    upload.send_reset(h2::Reason::CANCEL);
    eventually(SOON, || {
        origin.last("/cut").end == Some(larder_tests::End::Cut)
    })
    .await;
}

/// Requests that HTTP/2 forbids (RFC 9113 §8), or that would say something else in HTTP/1.1.
#[tokio::test]
async fn malformed_requests_reach_no_origin() {
    let origin = Origin::start(|_| Reply::fresh(600, "x")).await;
    let node = Node::before(&origin.url()).await;
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const AUTHORITY: (&str, &str) = (":authority", "www.example.com");
    const PATH: (&str, &str) = (":path", "/x");
    let with = |name, value| vec![METHOD, SCHEME, AUTHORITY, PATH, (name, value)];
    let path = |value| vec![METHOD, SCHEME, AUTHORITY, (":path", value)];
    let scheme = |value| vec![METHOD, (":scheme", value), AUTHORITY, PATH];
    let long = "X".repeat(100);
    let authority = |value| vec![METHOD, SCHEME, (":authority", value), PATH];

    for (name, fields) in [
        ("no method", vec![SCHEME, AUTHORITY, PATH]),
        ("no scheme", vec![METHOD, AUTHORITY, PATH]),
        ("no path", vec![METHOD, SCHEME, AUTHORITY]),
        ("no authority", vec![METHOD, SCHEME, PATH]),
        ("two methods", vec![METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
        ("two paths", vec![METHOD, SCHEME, AUTHORITY, PATH, PATH]),
        ("an unknown pseudo-header", with(":frob", "x")),
        ("a pseudo-header of responses", with(":status", "200")),
        (
            "a pseudo-header behind a field",
            vec![METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        ),
        ("an upper-case name", with("X-Upper", "y")),
        ("an empty name", with("", "y")),
        ("a space in a name", with("x y", "z")),
        ("a colon in a name", with("x:y", "z")),
        ("a line end in a name", with("x\r\ny", "z")),
        ("a line end in a value", with("x", "y\r\nsmuggled: 1")),
        ("a line feed in a value", with("x", "y\nsmuggled: 1")),
        ("a NUL in a value", with("x", "y\0z")),
        ("a transfer coding", with("transfer-encoding", "chunked")),
        ("connection", with("connection", "close")),
        ("keep-alive", with("keep-alive", "timeout=5")),
        ("proxy-connection", with("proxy-connection", "close")),
        ("upgrade", with("upgrade", "websocket")),
        ("te other than trailers", with("te", "gzip")),
        ("another host", with("host", "evil.example")),
        ("a length without a body", with("content-length", "5")),
        ("two lengths", {
            let mut fields = with("content-length", "0");
            fields.push(("content-length", "1"));
            fields
        }),
        ("an empty path", path("")),
        ("an empty scheme", scheme("")),
        ("a scheme without an origin", scheme("ftp")),
        ("a target that no URL has", path("/<x>")),
        ("an expectation unknown", with("expect", "200-ok")),
        ("a method too long", {
            let mut fields = with("x", "y");
            fields[0] = (":method", &long);
            fields
        }),
        ("too many fields", {
            let mut fields = with("x", "y");
            fields.extend([("x", "y"); 200]);
            fields
        }),
        ("a path without a slash", path("x")),
        ("a space in the path", path("/x HTTP/1.1")),
        ("a line end in the path", path("/x\r\nsmuggled: 1")),
        ("user information", authority("user@www.example.com")),
        ("a path in the authority", authority("www.example.com/x")),
        (
            "a space in the authority",
            authority("www.example.com evil"),
        ),
        ("an empty authority", authority("")),
        (
            "a line end in the method",
            vec![
                (":method", "GET /y HTTP/1.1\r\nx: "),
                SCHEME,
                AUTHORITY,
                PATH,
            ],
        ),
        (
            "a space in the method",
            vec![(":method", "GET /y"), SCHEME, AUTHORITY, PATH],
        ),
        (
            "CONNECT",
            vec![
                (":method", "CONNECT"),
                (":authority", "www.example.com:443"),
            ],
        ),
    ] {
        let mut client = FrameClient::connect(node.address()).await;
        client.send(&Frame::request(1, &fields)).await;
        refused(&mut client, name).await;
    }
    assert_eq!(origin.total(), 0, "{:?}", origin.requests());
    assert_eq!(node.get("/innocent").await.status, 200);
}

/// A reset stream, an ended connection, or a response with a status of 4xx or 5xx.
async fn refused(client: &mut FrameClient, name: &str) {
    let refusal = async {
        while let Some(frame) = client.next(2 * SOON).await {
            match frame.kind {
                kind::RST_STREAM | kind::GOAWAY => return,
                kind::HEADERS => return judge(name, &frame),
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, refusal)
        .await
        .unwrap_or_else(|_| panic!("{name}: no answer"));
}

/// The status comes first, and those of 2xx and 304 have an index (RFC 7541, appendix A).
fn judge(name: &str, frame: &Frame) {
    let first = frame.payload.first().copied().unwrap_or_default();
    assert!(
        !(0x88..=0x8b).contains(&first),
        "{name} is served: {:x?}",
        frame.payload
    );
}

#[tokio::test]
async fn a_body_that_differs_from_its_length_is_refused() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let node = Node::before(&origin.url()).await;
    for (length, body) in [("3", "hello"), ("9", "hello")] {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "www.example.com"),
            (":path", "/x"),
            ("content-length", length),
        ];
        let mut client = FrameClient::connect(node.address()).await;
        client.send(&Frame::request_with_body(1, &fields)).await;
        client.send(&Frame::new(kind::DATA, 1, 1, body)).await;
        refused(&mut client, length).await;
    }
    let complete = |seen: &larder_tests::Seen| seen.end == Some(larder_tests::End::Complete);
    assert!(
        !origin.requests().iter().any(complete),
        "{:?}",
        origin.requests()
    );
}

#[tokio::test]
async fn trailers_pass_between_http2_ends() {
    let origin = Origin::start_h2c(|_| {
        Reply::ok("reply")
            .with("content-type", "application/grpc")
            .trailer("grpc-status", "0")
    })
    .await;
    let settings = larder_tests::Settings::origins(&[&origin.url()]).site(&format!(
        "origins = [{{ url = \"{}\", http = \"2\" }}]",
        origin.url()
    ));
    let node = Node::start(settings).await;
    let mut client = H2Client::connect(node.address()).await;
    let call = request(
        "POST",
        "/Service/Call",
        &[("content-type", "application/grpc"), ("te", "trailers")],
    );
    let answer = client.send(call, Some("message".into())).await.unwrap();
    assert_eq!(answer.text(), "reply");
    assert_eq!(
        answer.trailers,
        [("grpc-status".to_owned(), "0".to_owned())]
    );
    assert_eq!(origin.last("/Service/Call").field("te"), Some("trailers"));
}

const UPLOAD: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "www.example.com"),
    (":path", "/x"),
];

/// An upload's last byte makes it complete to an origin. What comes behind it may still make it
/// malformed (RFC 9113 §8.1.1).
#[tokio::test]
async fn an_upload_is_complete_only_when_its_stream_has_ended_well() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let node = Node::before(&origin.url()).await;
    let data = |body: &str, flags| Frame::new(kind::DATA, flags, 1, body.to_owned());
    let trailers = |name| Frame::request(1, &[(name, "5")]);
    for (name, length, rest) in [
        ("content behind none", "0", vec![data("x", 1)]),
        (
            "content behind all",
            "5",
            vec![data("hello", 0), data("x", 1)],
        ),
        (
            "trailers that frame, behind all",
            "5",
            vec![data("hello", 0), trailers("content-length")],
        ),
        (
            "trailers of the connection",
            "",
            vec![data("hello", 0), trailers("transfer-encoding")],
        ),
        (
            "trailers that frame",
            "",
            vec![data("hello", 0), trailers("content-length")],
        ),
    ] {
        let mut fields = UPLOAD.to_vec();
        if !length.is_empty() {
            fields.push(("content-length", length));
        }
        let mut client = FrameClient::connect(node.address()).await;
        client.send(&Frame::request_with_body(1, &fields)).await;
        for frame in rest {
            client.send(&frame).await;
        }
        refused(&mut client, name).await;
    }
    let complete = |seen: &larder_tests::Seen| seen.end == Some(larder_tests::End::Complete);
    let uploads = origin.requests();
    assert!(!uploads.iter().any(complete), "{uploads:?}");
}

#[tokio::test]
async fn a_stream_that_waits_is_told_to_go_on() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let node = Node::before(&origin.url()).await;
    let mut fields = UPLOAD.to_vec();
    fields.extend([("content-length", "5"), ("expect", "100-continue")]);
    let mut client = FrameClient::connect(node.address()).await;
    client.send(&Frame::request_with_body(1, &fields)).await;
    let heads = async |client: &mut FrameClient| loop {
        let frame = client.next(SOON).await.expect("a response");
        if frame.kind == kind::HEADERS {
            return frame.payload;
        }
    };
    let interim = heads(&mut client).await;
    assert!(interim.windows(3).any(|bytes| bytes == b"100") || interim.len() < 8);
    client.send(&Frame::new(kind::DATA, 1, 1, "hello")).await;
    // 200 is the eighth entry of the static table (RFC 7541, appendix A).
    assert_eq!(heads(&mut client).await.first(), Some(&0x88));
    assert_eq!(origin.last("/x").field("expect"), None);
}

#[tokio::test]
async fn an_offer_to_upgrade_from_http_1_stops_here() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    let mut client = H2Client::connect(node.address()).await;
    let offer = request("GET", "/x", &[("http2-settings", "AAMAAABk")]);
    assert_eq!(client.send(offer, None).await.unwrap().text(), "x");
    assert_eq!(origin.last("/x").field("http2-settings"), None);
}

//! Upgrades (RFC 9110 §7.8, RFC 6455): passed through once the origin agrees.

use larder_tests::{Node, Origin, Reply, Settings, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::SOON;

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Agrees to every upgrade, then sends everything back in upper case until the end.
async fn shouting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(shout(stream));
        }
    });
    url
}

async fn shout(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nwelcome";
    stream.write_all(agreed.as_bytes()).await?;
    let mut buffer = [0; 64];
    while let count @ 1.. = stream.read(&mut buffer).await? {
        stream
            .write_all(&buffer[..count].to_ascii_uppercase())
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn after_the_origin_agrees_bytes_pass_in_both_directions() {
    let url = shouting().await;
    let node = Node::start(Settings::origins(&[&url])).await;
    // A quick origin's 101 races the node's own end of the request: each time must end well.
    for _ in 0..20 {
        talk(&node).await;
    }
}

async fn talk(node: &Node) {
    let mut client = node.client().await;
    client.ask("GET", "/chat", &UPGRADE).await;
    let agreed = client.answer_head().await.unwrap();
    assert_eq!(
        (agreed.status, agreed.header("Upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(client.at_least(7).await, b"welcome");
    for word in ["one", "two"] {
        client.send(word).await;
        assert_eq!(client.at_least(3).await, word.to_uppercase().as_bytes());
    }
    client.finish().await;
    assert!(client.closes_within(SOON).await);
}

#[tokio::test]
async fn an_origin_that_declines_answers_like_any_other() {
    let origin = Origin::start(|_| Reply::status(403).then("no")).await;
    let node = Node::before(&origin.url()).await;
    let mut client = node.client().await;
    let answer = client.request("GET", "/chat", &UPGRADE).await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    eventually(SOON, || {
        origin.last("/chat").field("Upgrade") == Some("websocket")
    })
    .await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_bad_gateway() {
    let origin = Origin::start(|_| {
        Reply::verbatim(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: frob\r\nConnection: Upgrade\r\n\r\n",
        )
    })
    .await;
    let node = Node::before(&origin.url()).await;
    assert_eq!(node.get("/a").await.status, 502);
}

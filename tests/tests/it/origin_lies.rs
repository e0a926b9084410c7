//! Origins that lie, cut and babble: nothing wrong is stored, nothing short ends cleanly.

use larder_tests::{End, Node, Origin, Reply, Response};

const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// What a client may be shown of a lie.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// 502, and nothing of the body.
    BadGateway,
    /// 502, or what came with an end that is no end.
    Failure,
}

fn verbatim(head: &str, body: &str) -> Reply {
    Reply::verbatim(format!("{head}\r\n{FRESH}\r\n{body}")).closing()
}

async fn check(name: &str, reply: Reply, shown: Shown) {
    let origin = Origin::start(move |_| reply.clone()).await;
    let node = Node::before(&origin.url()).await;
    for _ in 0..2 {
        let mut client = node.client().await;
        client.ask("GET", "/a", &[]).await;
        judge(name, client.answer_to("GET").await, shown);
    }
    assert!(origin.count("/a") >= 2, "{name}: stored");
}

fn judge(name: &str, answer: Option<Response>, shown: Shown) {
    let Some(answer) = answer else {
        assert!(
            matches!(shown, Shown::Failure),
            "{name}: closed without a word"
        );
        return;
    };
    let refused = matches!(answer.status, 502 | 504);
    match shown {
        Shown::BadGateway => assert!(refused, "{name}: {}", answer.status),
        Shown::Failure => {
            assert!(
                refused || answer.end == End::Cut,
                "{name}: {} ends well",
                answer.status
            );
        }
    }
    assert!(!answer.is_hit(), "{name}");
    if refused {
        let status = answer.header("Proxy-Status");
        assert!(
            status.is_some_and(|status| status.contains("error=")),
            "{name}: {status:?}"
        );
    }
}

#[tokio::test]
async fn answers_that_are_cut_are_seen_as_cut_and_not_stored() {
    let fresh = |body: &'static str| Reply::fresh(600, body);
    check(
        "a length",
        fresh("short").claiming(10).cut(),
        Shown::Failure,
    )
    .await;
    check(
        "a length, reset",
        fresh("short").claiming(10).reset(),
        Shown::Failure,
    )
    .await;
    check("chunks", fresh("short").chunked().cut(), Shown::Failure).await;
    check(
        "chunks, reset",
        fresh("short").chunked().reset(),
        Shown::Failure,
    )
    .await;
    check(
        "no body at all",
        Reply::fresh(600, "").claiming(10).cut(),
        Shown::Failure,
    )
    .await;
    check(
        "mid chunk",
        verbatim(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            "a\r\nshort",
        ),
        Shown::Failure,
    )
    .await;
    check(
        "a head only in part",
        Reply::verbatim("HTTP/1.1 200 OK\r\nCache-Co").closing(),
        Shown::BadGateway,
    )
    .await;
    check("nothing", Reply::hang_up(), Shown::BadGateway).await;
}

#[tokio::test]
async fn a_body_until_close_that_ends_by_a_reset_is_not_stored() {
    let reply = Reply::verbatim(format!("HTTP/1.1 200 OK\r\n{FRESH}\r\nsome of it")).reset();
    check("reset", reply, Shown::Failure).await;
}

#[tokio::test]
async fn malformed_chunks_from_an_origin_are_a_failure() {
    for (name, body) in [
        ("not a number", "x\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("negative", "-5\r\nhello\r\n0\r\n\r\n"),
        ("2^64 + 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("no line end", "5\r\nhello0\r\n\r\n"),
        ("too much data", "3\r\nhello\r\n0\r\n\r\n"),
    ] {
        check(
            name,
            verbatim("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", body),
            Shown::Failure,
        )
        .await;
    }
}

#[tokio::test]
async fn framing_that_says_two_things_is_a_bad_gateway() {
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}");
    for (name, fields, body) in [
        (
            "two lengths",
            "Content-Length: 5\r\nContent-Length: 6",
            "hello!",
        ),
        ("a list of lengths", "Content-Length: 5, 6", "hello!"),
        (
            "length and coding",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
        (
            "length and coding, with a space before the colon",
            "Content-Length : 5\r\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
        ("a negative length", "Content-Length: -5", "hello"),
        ("a signed length", "Content-Length: +5", "hello"),
        ("a length of letters", "Content-Length: five", "hello"),
        (
            "a length beyond 2^64",
            "Content-Length: 18446744073709551621",
            "hello",
        ),
        (
            "an unknown coding",
            "Transfer-Encoding: xchunked",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "chunked twice",
            "Transfer-Encoding: chunked, chunked",
            "0\r\n\r\n",
        ),
    ] {
        check(name, verbatim(&head(fields), body), Shown::BadGateway).await;
    }
}

#[tokio::test]
async fn heads_that_are_not_http_are_a_bad_gateway() {
    for (name, head) in [
        ("garbage", "this is not HTTP\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.2"),
        ("status 99", "HTTP/1.1 99 Low\r\nContent-Length: 0"),
        ("status 1000", "HTTP/1.1 1000 High\r\nContent-Length: 0"),
        ("status of letters", "HTTP/1.1 abc OK\r\nContent-Length: 0"),
        (
            "a version from the future",
            "HTTP/3.7 200 OK\r\nContent-Length: 0",
        ),
        (
            "a NUL in a value",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0",
        ),
        (
            "a bare carriage return",
            "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0",
        ),
        (
            "a field without a colon",
            "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0",
        ),
        (
            "a space in a name",
            "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0",
        ),
    ] {
        check(name, verbatim(head, ""), Shown::BadGateway).await;
    }
}

#[tokio::test]
async fn answers_to_questions_nobody_asked_are_not_stored() {
    for status in [304, 206, 416] {
        let origin = Origin::start(move |seen| {
            if seen.nth == 1 {
                let reply = Reply::status(status).with("Cache-Control", "max-age=600");
                if status == 206 {
                    reply.with("Content-Range", "bytes 0-4/5").then("hello")
                } else {
                    reply
                }
            } else {
                Reply::fresh(600, "whole")
            }
        })
        .await;
        let node = Node::before(&origin.url()).await;
        node.get("/a").await;
        let second = node.get("/a").await;
        assert_eq!(
            (second.status, second.text().as_str()),
            (200, "whole"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn stray_bytes_and_second_answers_reach_nobody() {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
    for stray in ["EVIL", extra, "\r\n\r\n"] {
        let origin = Origin::start(move |seen| match seen.target.as_str() {
            "/a" => Reply::verbatim(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok{stray}"
            )),
            _ => Reply::ok("clean"),
        })
        .await;
        let node = Node::before(&origin.url()).await;
        for n in 0..5 {
            assert_eq!(node.get("/a").await.text(), "ok", "{stray:?}");
            assert_eq!(
                node.get(&format!("/{n}")).await.text(),
                "clean",
                "{stray:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_head_answered_with_a_body_leaks_nothing() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "HEAD" => Reply::verbatim("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
        _ => Reply::ok("clean"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for n in 0..5 {
        assert_eq!(node.request("HEAD", "/a", &[]).await.status, 200);
        assert_eq!(node.get(&format!("/{n}")).await.text(), "clean");
    }
}

#[tokio::test]
async fn enormous_heads_are_bounded() {
    let many = "X: y\r\n".repeat(20_000);
    let long = format!("X: {}\r\n", "y".repeat(2 << 20));
    for fields in [many, long] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0");
        check("an enormous head", verbatim(&head, ""), Shown::BadGateway).await;
    }
}

#[tokio::test]
async fn interim_answers_are_passed_on_and_not_stored() {
    let origin = Origin::start(|_| {
        Reply::fresh(600, "x")
            .interim(103, &[("Link", "</a.css>; rel=preload")])
            .interim(102, &[])
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let first = node.get("/a").await;
    assert_eq!((first.status, first.text().as_str()), (200, "x"));
    assert_eq!(first.header("Link"), None);
    let hit = node.get("/a").await;
    assert!(hit.is_hit() && hit.header("Link").is_none());
}

/// What passes the cache by is judged like what could be stored.
#[tokio::test]
async fn interim_answers_without_reason_or_end_are_a_bad_gateway_on_every_way() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: frob\r\nConnection: Upgrade\r\n\r\n";
    let endless = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for reply in [switch.to_owned(), endless + ok] {
        let origin = Origin::start(move |_| Reply::verbatim(reply.clone())).await;
        let node = Node::before(&origin.url()).await;
        for method in ["GET", "POST"] {
            let answer = node.request(method, "/a", &[]).await;
            assert_eq!(answer.status, 502, "{method}");
        }
    }
}

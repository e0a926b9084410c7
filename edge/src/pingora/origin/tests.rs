//! Connections to origins, on sockets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora_core::{ErrorType, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::{Lie, UnknownCoding};

use super::connection::{Connection, PIECE_MAX};
use super::idle::Idle;
use super::session::{Answered, Asked};
use super::socket::{Leased, Socket};
use crate::pingora::link::Lease;

/// Longer than anything takes that comes at all.
const LONG: Duration = Duration::from_secs(30);
/// Long enough to be waited for.
const SHORT: Duration = Duration::from_millis(1);

/// A connection, and the origin's end of it.
async fn connected() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("its address");
    let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let socket = Socket::Tcp(Leased::new(stream.expect("connected"), Lease::default()));
    (
        Connection::new(socket, Some(address)),
        accepted.expect("accepted").0,
    )
}

fn asked<'a>(
    method: &'a Method,
    target: &'a str,
    fields: &[(&'static str, &'static str)],
) -> Asked<'a> {
    let field = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    Asked {
        method,
        target,
        scheme: "http",
        headers: fields.iter().map(field).collect::<HeaderMap>(),
        content: None,
    }
}

/// One exchange, in which the origin writes what is given and says no more, or closes.
struct Exchange {
    connection: Connection,
    origin: Option<TcpStream>,
    head: Result<Answered>,
}

impl Exchange {
    async fn of(method: Method, response: &[u8], closes: bool) -> Self {
        let (mut connection, mut origin) = connected().await;
        let asked = asked(&method, "/", &[("host", "a.test")]);
        connection.ask(&asked, LONG).await.expect("asked");
        // Who closes with something unread resets the connection.
        const REST: &str = " / HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let mut request = vec![0; method.as_str().len() + REST.len()];
        origin.read_exact(&mut request).await.expect("a request");
        origin.write_all(response).await.expect("answered");
        let origin = (!closes).then_some(origin);
        let head = connection.head(LONG, UnknownCoding::Refuse).await;
        Self {
            connection,
            origin,
            head,
        }
    }

    /// All content, or what ends it.
    async fn content(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.connection.content(LONG).await? {
            assert!(!piece.is_empty() && piece.len() <= PIECE_MAX);
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Whether another request may follow.
    fn leaves_one(self) -> bool {
        self.connection.into_idle().is_some()
    }
}

/// A response, what of it is content, and whether another one may follow it. The origin leaves the connection open.
async fn framed(method: Method, response: &[u8], content: &[u8], kept: bool) {
    let shown = String::from_utf8_lossy(response).into_owned();
    let mut exchange = Exchange::of(method, response, false).await;
    assert!(
        exchange.head.as_ref().is_ok_and(|head| head.lie.is_none()),
        "{shown}"
    );
    assert_eq!(
        exchange.content().await.expect("content"),
        content,
        "{shown}"
    );
    assert!(exchange.connection.is_done(), "{shown}");
    assert_eq!(exchange.leaves_one(), kept, "{shown}");
}

/// What is sent while the origin has closed.
async fn closed(response: &[u8]) -> (Result<Vec<u8>>, bool) {
    let mut exchange = Exchange::of(Method::GET, response, true).await;
    assert!(exchange.head.is_ok());
    assert!(exchange.origin.is_none());
    let content = exchange.content().await;
    (content, exchange.leaves_one())
}

fn cause(result: Result<impl Sized>) -> ErrorType {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.etype,
    }
}

#[tokio::test]
async fn a_request_goes_out_with_its_content() {
    let (mut connection, mut origin) = connected().await;
    let mut asked = asked(
        &Method::POST,
        "/a?b",
        &[("host", "a.test"), ("content-length", "3")],
    );
    asked.content = Some(Bytes::from_static(b"abc"));
    connection.ask(&asked, LONG).await.expect("asked");
    drop(connection);
    let mut received = String::new();
    origin
        .read_to_string(&mut received)
        .await
        .expect("a request");
    assert_eq!(
        received,
        "POST /a?b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc"
    );
}

#[tokio::test]
async fn a_target_that_would_be_another_request_is_not_sent() {
    let (mut connection, mut origin) = connected().await;
    let target = "/ HTTP/1.1\r\n\r\nGET /admin";
    let result = connection
        .ask(&asked(&Method::GET, target, &[]), LONG)
        .await;
    assert_eq!(cause(result), ErrorType::InvalidHTTPHeader);
    drop(connection);
    let mut received = Vec::new();
    origin.read_to_end(&mut received).await.expect("the end");
    assert!(received.is_empty());
}

#[tokio::test]
#[rustfmt::skip]
async fn content_ends_where_its_framing_says() {
    let get = || Method::GET;
    framed(get(), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", true).await;
    framed(get(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", true).await;
    framed(get(), b"HTTP/1.1 204 No Content\r\n\r\n", b"", true).await;
    framed(get(), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", b"", true).await;
    framed(get(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n", b"abcde", true).await;
    framed(Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"", true).await;
    framed(Method::HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"", true).await;
}

#[tokio::test]
#[rustfmt::skip]
async fn a_connection_is_kept_if_both_want_it_and_nothing_is_left_on_it() {
    let get = || Method::GET;
    framed(get(), b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\na", b"a", false).await;
    framed(get(), b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", b"a", false).await;
    framed(get(), b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na", b"a", true).await;
    framed(get(), b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", b"a", false).await;
    framed(Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"", false).await;
    framed(get(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"", false).await;
}

#[tokio::test]
async fn who_asks_for_the_end_does_not_keep_it() {
    let (mut connection, mut origin) = connected().await;
    let asked = asked(&Method::GET, "/", &[("connection", "close")]);
    connection.ask(&asked, LONG).await.expect("asked");
    origin
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .expect("answered");
    connection
        .head(LONG, UnknownCoding::Refuse)
        .await
        .expect("a head");
    assert!(connection.is_done());
    assert!(connection.into_idle().is_none());
}

#[tokio::test]
async fn what_ends_before_its_end_is_told_from_what_ends_there() {
    let (content, kept) = closed(b"HTTP/1.1 200 OK\r\n\r\nabc").await;
    assert_eq!(content.expect("until it closes"), b"abc");
    assert!(!kept);
    for cut in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ] {
        let (content, kept) = closed(cut).await;
        assert_eq!(cause(content), ErrorType::ConnectionClosed);
        assert!(!kept);
    }
    let (content, kept) =
        closed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n").await;
    assert_eq!(cause(content), ErrorType::InvalidHTTPHeader);
    assert!(!kept);
}

#[tokio::test]
async fn long_content_comes_in_pieces_that_are_full() {
    let mut exchange = {
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            3 * PIECE_MAX
        );
        Exchange::of(Method::GET, response.as_bytes(), false).await
    };
    let body: Vec<u8> = (0..=250).cycle().take(3 * PIECE_MAX).collect();
    let mut origin = exchange.origin.take().expect("open");
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        origin.write_all(&sent).await.expect("sent");
        origin
    });
    assert_eq!(exchange.content().await.expect("content"), body);
    exchange.origin = Some(sending.await.expect("sent"));
    assert!(exchange.leaves_one());
}

#[tokio::test]
async fn content_that_is_given_up_while_it_waits_is_not_lost() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    let mut exchange = Exchange::of(Method::GET, response, false).await;
    assert!(
        exchange.connection.content(LONG).now_or_never().is_none(),
        "nothing came"
    );
    let late = exchange.connection.content(SHORT).await;
    assert_eq!(cause(late), ErrorType::ReadTimedout);
    let mut origin = exchange.origin.take().expect("open");
    for part in [b"abc", b"def"] {
        origin.write_all(part).await.expect("sent");
    }
    exchange.origin = Some(origin);
    assert_eq!(exchange.content().await.expect("content"), b"abcdef");
    assert!(exchange.leaves_one());
}

#[tokio::test]
async fn what_came_before_a_break_is_given_first() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc";
    let mut exchange = Exchange::of(Method::GET, response, false).await;
    let origin = exchange.origin.take().expect("open");
    origin.set_zero_linger().expect("to reset");
    drop(origin);
    let piece = exchange.connection.content(LONG).await.expect("content");
    assert_eq!(piece.as_deref(), Some(&b"abc"[..]));
    assert_eq!(cause(exchange.content().await), ErrorType::ReadError);
    assert!(!exchange.leaves_one());
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one() {
    let response =
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let mut exchange = Exchange::of(Method::GET, response, false).await;
    assert_eq!(exchange.head.as_ref().expect("a head").status, 103);
    exchange.head = exchange.connection.head(LONG, UnknownCoding::Refuse).await;
    assert_eq!(exchange.head.as_ref().expect("a head").status, 200);
    assert_eq!(exchange.content().await.expect("content"), b"a");
    assert!(exchange.leaves_one());
}

#[tokio::test]
async fn what_is_no_response_leaves_no_connection() {
    for (response, expected) in [
        (
            &b"SSH-2.0-OpenSSH_9\r\n\r\n"[..],
            ErrorType::InvalidHTTPHeader,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Le",
            ErrorType::ConnectionClosed,
        ),
        (b"", ErrorType::ConnectionClosed),
    ] {
        let exchange = Exchange::of(Method::GET, response, true).await;
        assert_eq!(
            exchange.head.as_ref().err().map(|error| &error.etype),
            Some(&expected)
        );
        assert!(!exchange.leaves_one());
    }
    // Two framings: nobody can say where the next response begins.
    let two = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let mut exchange = Exchange::of(Method::GET, two, false).await;
    let lie = exchange.head.as_ref().expect("a head").lie;
    assert_eq!(lie, Some(Lie::ContentLengths));
    assert_eq!(cause(exchange.content().await), ErrorType::ReadError);
    assert!(!exchange.leaves_one());
}

#[tokio::test]
async fn a_head_that_does_not_come_is_waited_for_so_long() {
    let (mut connection, mut origin) = connected().await;
    connection
        .ask(&asked(&Method::GET, "/", &[]), LONG)
        .await
        .expect("asked");
    origin
        .write_all(b"HTTP/1.1 200 OK\r\n")
        .await
        .expect("half a head");
    let head = connection.head(SHORT, UnknownCoding::Refuse).await;
    assert_eq!(cause(head), ErrorType::ReadTimedout);
    assert!(connection.into_idle().is_none());
}

/// Where a connection that nobody used yet leads, after it was put there.
async fn waiting(
    idle: &std::sync::Arc<Idle>,
    identity: u64,
    time: Duration,
) -> (SocketAddr, TcpStream) {
    let (connection, origin) = connected().await;
    let address = connection.address().expect("an address");
    idle.put(identity, connection, time);
    (address, origin)
}

#[tokio::test]
async fn the_latest_of_an_identity_is_taken_first_and_the_oldest_goes_at_the_limit() {
    let idle = Idle::new(2);
    let (_, _first) = waiting(&idle, 1, LONG).await;
    let (second, _second) = waiting(&idle, 1, LONG).await;
    let (other, _other) = waiting(&idle, 2, LONG).await;
    let taken = |identity| idle.take(identity).and_then(|it| it.address());
    assert_eq!(taken(3), None);
    assert_eq!(taken(1), Some(second));
    assert_eq!(taken(1), None, "the first one had to go");
    assert_eq!(taken(2), Some(other));
    let none = Idle::new(0);
    let (_, _origin) = waiting(&none, 1, LONG).await;
    assert!(none.take(1).is_none());
}

#[tokio::test]
async fn what_is_closed_or_over_or_not_silent_is_not_taken() {
    let idle = Idle::new(8);
    let (open, _open) = waiting(&idle, 1, LONG).await;
    let (_, _over) = waiting(&idle, 1, Duration::ZERO).await;
    let (_, closed) = waiting(&idle, 1, LONG).await;
    let (_, mut talks) = waiting(&idle, 1, LONG).await;
    drop(closed);
    talks
        .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .expect("sent");
    // What was sent on this machine arrives before anything that is sent after it.
    let (mut witness, mut peer) = connected().await;
    peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .expect("sent");
    witness
        .ask(&asked(&Method::GET, "/", &[]), LONG)
        .await
        .expect("asked");
    witness
        .head(LONG, UnknownCoding::Refuse)
        .await
        .expect("a head");
    assert_eq!(idle.take(1).and_then(|it| it.address()), Some(open));
    assert!(idle.take(1).is_none());
}

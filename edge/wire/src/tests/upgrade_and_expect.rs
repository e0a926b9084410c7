//! `Upgrade`, `Expect` and `Connection`.

use super::{check_fields, head};
use crate::{Expectation, Framing, Persistence, Upgrade};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

#[track_caller]
fn check_upgrade(what: &str, start: &str, fields: &str, expected: Upgrade) {
    let bytes = format!("{start}\r\nHost: h\r\n{fields}\r\n\r\n");
    assert_eq!(head(bytes.as_bytes()).upgrade, expected, "{what}");
}

#[test]
#[rustfmt::skip]
fn only_a_complete_websocket_handshake_upgrades() {
    let get = "GET /a HTTP/1.1";
    let with = |fields: &str| format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{fields}");
    let check = check_upgrade;
    check("plain",              get, &with(KEY), Upgrade::WebSocket);
    check("odd case, other options", get, &format!("Connection: keep-alive, UPGRADE\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n{KEY}"), Upgrade::WebSocket);

    check("nothing asked",      get, "X: y", Upgrade::None);
    check("not a GET",          "POST /a HTTP/1.1", &with(KEY), Upgrade::None);
    check("HTTP/1.0",           "GET /a HTTP/1.0", &with(KEY), Upgrade::None);
    check("with a length",      get, &with(&format!("{KEY}\r\nContent-Length: 5")), Upgrade::None);
    check("with no content",    get, &with(&format!("{KEY}\r\nContent-Length: 0")), Upgrade::None);
    check("with chunks",        get, &with(&format!("{KEY}\r\nTransfer-Encoding: chunked")), Upgrade::None);
    check("no key",             get, &with("X: y"), Upgrade::None);
    check("two keys",           get, &with(&format!("{KEY}\r\n{KEY}")), Upgrade::None);
    check("a short key",        get, &with("Sec-WebSocket-Key: AA=="), Upgrade::None);
    check("a key not of base64", get, &with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25*ZQ=="), Upgrade::None);
    check("another version",    get, &format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n{KEY}"), Upgrade::None);
    check("no version",         get, &format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY}"), Upgrade::None);
    check("not nominated",      get, &format!("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}"), Upgrade::None);
    check("two protocols",      get, &format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13\r\n{KEY}"), Upgrade::None);
    check("two fields",         get, &with(&format!("{KEY}\r\nUpgrade: h2c")), Upgrade::None);
    check("h2c",                get, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", Upgrade::None);
    check("TLS",                get, "Connection: Upgrade\r\nUpgrade: TLS/1.0", Upgrade::None);
}

#[test]
fn h2c_is_gone_once_hop_by_hop_fields_are() {
    let mut head = head(
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    );
    crate::remove_hop_by_hop(&mut head.headers, &head.nominated);
    assert_eq!(super::fields(&head.headers), " host=h");
}

#[test]
#[rustfmt::skip]
fn only_100_continue_can_be_expected() {
    let check = |what: &str, fields: &[u8], expected: &str| check_fields(what, fields, b"", expected);
    check("100-continue",         b"Expect: 100-continue", "POST h/a []");
    check("in odd case",          b"expect: 100-Continue", "POST h/a []");
    check("another",              b"Expect: 200-ok", "417 expectation");
    check("a word more",          b"Expect: 100-continue x", "417 expectation");
    check("a parameter",          b"Expect: 100-continue;a=b", "417 expectation");
    check("a list",               b"Expect: 100-continue, 100-continue", "417 expectation");
    check("twice",                b"Expect: 100-continue\r\nExpect: 100-continue", "417 expectation");
    check("nothing",              b"Expect:", "417 expectation");
    check("quotes",               b"Expect: \"100-continue\"", "417 expectation");
}

#[test]
#[rustfmt::skip]
fn a_client_waits_only_with_content_and_in_http_1_1() {
    let check = |start: &str, field: &str, expected| {
        let bytes = format!("{start}\r\nHost: h\r\nExpect: 100-continue\r\n{field}\r\n\r\n");
        assert_eq!(head(bytes.as_bytes()).expectation, expected, "{start} {field}");
    };
    check("POST / HTTP/1.1", "Content-Length: 5",          Expectation::Continue);
    check("POST / HTTP/1.1", "Transfer-Encoding: chunked", Expectation::Continue);
    check("POST / HTTP/1.1", "Content-Length: 0",          Expectation::None);
    check("POST / HTTP/1.1", "X: y",                       Expectation::None);
    check("POST / HTTP/1.0", "Content-Length: 5",          Expectation::None);
}

#[test]
#[rustfmt::skip]
fn connection_options_do_not_touch_framing() {
    let check = |what: &str, fields: &[u8], expected: &str| check_fields(what, fields, b"abcde", expected);
    check("Content-Length",    b"Connection: Content-Length\r\nContent-Length: 5", "POST h/a [abcde]");
    check("Host",              b"Connection: Host\r\nContent-Length: 5", "POST h/a [abcde]");
    check("many",              b"Connection: close, X-Forwarded-For, Cookie, Host, Content-Length\r\nContent-Length: 5", "POST h/a [abcde]");
    check("not a token",       b"Connection: close;a\r\nContent-Length: 5", "400 connection-option");
    check("a space",           b"Connection: keep alive\r\nContent-Length: 5", "400 connection-option");
    check("too many",          &[b"Connection: ".as_slice(), &b"a,".repeat(33)].concat(), "431 too-many-connection-options");
}

#[test]
fn a_head_tells_whether_the_connection_persists() {
    let persistence = |bytes: &str| head(bytes.as_bytes()).persistence;
    let closing = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(persistence(closing), Persistence::Close);
    let persistent = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(persistence(persistent), Persistence::KeepAlive);
    let old = "GET / HTTP/1.0\r\nHost: h\r\n\r\n";
    assert_eq!(persistence(old), Persistence::Close);
    let asking = "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(persistence(asking), Persistence::KeepAlive);
    assert_eq!(head(asking.as_bytes()).framing, Framing::None);
}

//! Responses as a client sees them.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::BodyFraming::{Chunked, HeadOf, Length, None as NoContent, UntilClose};
use crate::*;

fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
    let field = |&(name, value): &(&'static str, &[u8])| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value).unwrap(),
        )
    };
    fields.iter().map(field).collect()
}

#[test]
#[rustfmt::skip]
fn framing_follows_method_version_status_and_length() {
    let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
    let declared = headers(&[("content-length", b"9")]);
    let check = |method, version, status: u16, length, expected| {
        let status = StatusCode::from_u16(status).unwrap();
        let found = choose_framing(&method, version, status, &declared, length);
        assert_eq!(found, expected, "{method} {version:?} {status} {length:?}");
    };
    check(Method::GET,  v11, 200, Some(5), Length(5));
    check(Method::GET,  v11, 200, Some(0), Length(0));
    check(Method::GET,  v11, 200, None,    Chunked);
    check(Method::GET,  v10, 200, Some(5), Length(5));
    check(Method::GET,  v10, 200, None,    UntilClose);
    check(Method::POST, v11, 404, None,    Chunked);
    check(Method::HEAD, v11, 200, Some(5), HeadOf(5));
    check(Method::HEAD, v11, 200, None,    HeadOf(9));
    check(Method::HEAD, v11, 304, Some(5), NoContent);
    check(Method::GET,  v11, 304, Some(5), NoContent);
    check(Method::GET,  v11, 204, Some(5), NoContent);
    check(Method::GET,  v11, 103, Some(5), NoContent);
    check(Method::GET,  v11, 101, None,    NoContent);
    check(Method::GET,  v10, 304, None,    NoContent);

    let unknown = choose_framing(&Method::HEAD, v11, StatusCode::OK, &HeaderMap::new(), None);
    assert_eq!(unknown, NoContent);
}

#[track_caller]
fn check_head(
    version: Version,
    status: u16,
    fields: &[(&'static str, &[u8])],
    framing: BodyFraming,
    persistence: Persistence,
    expected: &[u8],
) {
    let mut out = BytesMut::new();
    let status = StatusCode::from_u16(status).unwrap();
    write_head(
        &mut out,
        version,
        status,
        &headers(fields),
        &framing,
        persistence,
    );
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
#[rustfmt::skip]
fn heads_are_written_with_their_framing() {
    use Persistence::{Close, KeepAlive};
    let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
    let check = check_head;
    check(v11, 200, &[], Length(5),  KeepAlive, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    check(v11, 200, &[], HeadOf(5),  KeepAlive, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    check(v11, 200, &[], Chunked,    KeepAlive, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    check(v11, 204, &[], NoContent,  KeepAlive, b"HTTP/1.1 204 No Content\r\n\r\n");
    check(v11, 299, &[], Length(0),  KeepAlive, b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n");
    check(v11, 400, &[], Length(0),  Close,     b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    check(v10, 200, &[], Length(5),  KeepAlive, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n");
    check(v10, 200, &[], Length(5),  Close,     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    check(v10, 200, &[], UntilClose, KeepAlive, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

#[test]
fn fields_of_the_connection_are_not_copied() {
    let fields: &[(&str, &[u8])] = &[
        ("content-length", b"999"),
        ("transfer-encoding", b"gzip"),
        ("connection", b"x"),
        ("keep-alive", b"timeout=5"),
        ("proxy-connection", b"keep-alive"),
        ("upgrade", b"h2c"),
        ("te", b"x"),
        ("trailer", b"x"),
        ("server", b"s"),
    ];
    let expected = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 1\r\n\r\n";
    check_head(
        Version::HTTP_11,
        200,
        fields,
        Length(1),
        Persistence::KeepAlive,
        expected,
    );
    let expected =
        b"HTTP/1.1 200 OK\r\nTrailer: x\r\nServer: s\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_head(
        Version::HTTP_11,
        200,
        fields,
        Chunked,
        Persistence::KeepAlive,
        expected,
    );
}

#[test]
fn switching_protocols_names_the_protocol() {
    let fields: &[(&str, &[u8])] = &[("upgrade", b"websocket"), ("sec-websocket-accept", b"x")];
    let expected = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\
        Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    check_head(
        Version::HTTP_11,
        101,
        fields,
        NoContent,
        Persistence::Close,
        expected,
    );
}

#[test]
fn names_are_in_their_usual_case_and_values_as_they_were() {
    let fields: &[(&str, &[u8])] = &[
        ("content-type", b"text/html"),
        ("etag", b"\"caf\xe9\""),
        ("www-authenticate", b"Basic"),
        ("set-cookie", b"a=b"),
        ("x-a--b", b""),
        ("1-2_c", b"d"),
    ];
    let expected = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"caf\xe9\"\r\n\
        WWW-Authenticate: Basic\r\nSet-Cookie: a=b\r\nX-A--B: \r\n1-2_c: d\r\nContent-Length: 0\r\n\r\n";
    check_head(
        Version::HTTP_11,
        200,
        fields,
        Length(0),
        Persistence::KeepAlive,
        expected,
    );
}

#[test]
fn several_values_of_a_name_stay_several_lines() {
    let fields: &[(&str, &[u8])] = &[("set-cookie", b"a=b"), ("set-cookie", b"c=d")];
    let expected =
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n";
    check_head(
        Version::HTTP_11,
        200,
        fields,
        Length(0),
        Persistence::KeepAlive,
        expected,
    );
}

#[test]
fn interim_responses_have_fields_but_no_framing() {
    let mut out = BytesMut::new();
    write_interim(&mut out, StatusCode::CONTINUE, &HeaderMap::new());
    let hints = headers(&[("link", b"</a>; rel=preload"), ("content-length", b"5")]);
    write_interim(&mut out, StatusCode::from_u16(103).unwrap(), &hints);
    let expected =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    assert_eq!(out, expected);
}

#[test]
fn chunk_sizes_are_shortest_hexadecimal() {
    for (len, expected) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0xabc, "abc\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut out = BytesMut::new();
        write_chunk_head(&mut out, len);
        assert_eq!(out, expected);
    }
}

#[test]
fn trailers_are_those_that_may_be() {
    let mut out = BytesMut::new();
    write_trailers(
        &mut out,
        &headers(&[("x-sum", b"1"), ("content-length", b"5")]),
    );
    assert_eq!(out, "0\r\nX-Sum: 1\r\n\r\n");

    let mut out = BytesMut::new();
    write_trailers(&mut out, &HeaderMap::new());
    assert_eq!(out, LAST_CHUNK);
}

#[test]
fn a_written_length_can_be_read() {
    for length in [0, 5, u64::MAX / 2] {
        let mut out = BytesMut::new();
        let framing = Length(length);
        write_head(
            &mut out,
            Version::HTTP_11,
            StatusCode::OK,
            &HeaderMap::new(),
            &framing,
            Persistence::KeepAlive,
        );
        let fields = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))]);
        assert_eq!(content_length(&fields), Ok(Some(length)));
    }
}

#[test]
fn a_request_is_written_with_all_of_its_fields() {
    let mut out = BytesMut::new();
    let fields = headers(&[
        ("host", b"a.example"),
        ("connection", b"close"),
        ("x-y", b"z"),
    ]);
    let written = write_request(&mut out, &Method::GET, "/p?q", &fields);
    assert_eq!(written, Ok(()));
    assert_eq!(
        out,
        "GET /p?q HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX-Y: z\r\n\r\n"
    );
}

#[test]
fn a_target_cannot_end_the_request_line() {
    for target in ["", "/a b", "/a\r\nX: y", "/\n", "/\0", "/\x7f"] {
        let mut out = BytesMut::new();
        let written = write_request(&mut out, &Method::GET, target, &HeaderMap::new());
        assert_eq!(written, Err(Refusal::Target), "{target:?}");
        assert!(out.is_empty());
    }
}

//! Every limit of a head, at it and just beyond it.

use super::transcript;
use crate::{Limits, RequestParser};

#[track_caller]
fn check(limits: Limits, bytes: &[u8], expected: &str) {
    for piece in [bytes.len(), 1000, 1] {
        assert_eq!(
            transcript(bytes, piece, limits),
            expected,
            "in pieces of {piece}"
        );
    }
}

fn with_target(len: usize) -> Vec<u8> {
    format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 1)).into_bytes()
}

fn with_fields(count: usize) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "X: y\r\n".repeat(count - 1)
    )
    .into_bytes()
}

fn of_bytes(len: usize) -> Vec<u8> {
    let frame = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
    let value = "a".repeat(len - frame);
    format!("GET / HTTP/1.1\r\nHost: h\r\nX: {value}\r\n\r\n").into_bytes()
}

#[test]
fn a_target_has_a_limit() {
    let limits = Limits {
        target_bytes: 100,
        ..Limits::default()
    };
    let accepted = format!("GET h/{} []", "a".repeat(99));
    check(limits, &with_target(100), &accepted);
    check(limits, &with_target(101), "414 target-too-long");
    check(limits, &with_target(1000), "414 target-too-long");
    check(
        Limits::default(),
        &with_target(16 * 1024 + 1),
        "414 target-too-long",
    );
    check(
        Limits::default(),
        &with_target(64 * 1024),
        "414 target-too-long",
    );
}

#[test]
fn a_line_that_never_ends_is_refused_before_its_end() {
    let limits = Limits::default();
    let endless = |beginning: &str| [beginning.as_bytes(), &[b'a'; 30_000]].concat();
    check(limits, &endless("GET /"), "414 target-too-long");
    check(limits, &endless("GET / HTTP/1.1"), "400 request-line");
    check(limits, &endless(""), "501 method-too-long");
    let endless_field = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 70_000]].concat();
    check(limits, &endless_field, "431 head-too-large");
}

#[test]
fn fields_have_a_limit() {
    let limits = Limits::default();
    check(limits, &with_fields(100), "GET h/ []");
    check(limits, &with_fields(101), "431 too-many-fields");
    check(limits, &with_fields(5000), "431 too-many-fields");
}

#[test]
fn more_fields_than_a_map_can_hold_are_refused_not_fatal() {
    let limits = Limits {
        fields: usize::MAX,
        head_bytes: usize::MAX,
        ..Limits::default()
    };
    let field = |number| format!("x{number}: y\r\n");
    let fields: String = (0..40_000).map(field).collect();
    let bytes = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let found = transcript(bytes.as_bytes(), bytes.len(), limits);
    assert_eq!(found, "431 too-many-fields");
}

#[test]
fn a_head_has_a_limit() {
    let limits = Limits {
        head_bytes: 200,
        ..Limits::default()
    };
    check(limits, &of_bytes(200), "GET h/ []");
    check(limits, &of_bytes(201), "431 head-too-large");
    check(limits, &of_bytes(2000), "431 head-too-large");
    check(Limits::default(), &of_bytes(64 * 1024), "GET h/ []");
    check(
        Limits::default(),
        &of_bytes(1024 * 1024),
        "431 head-too-large",
    );
}

#[test]
fn content_does_not_count_as_head() {
    let limits = Limits {
        head_bytes: 60,
        ..Limits::default()
    };
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 70\r\n\r\n";
    let content = [b'x'; 70];
    let expected = format!("POST h/ [{}]", "x".repeat(70));
    check(limits, &[&bytes[..], &content].concat(), &expected);
}

#[test]
fn every_limit_at_once_makes_no_panic() {
    let zero = Limits {
        head_bytes: 0,
        target_bytes: 0,
        fields: 0,
        chunk_line_bytes: 0,
        trailer_bytes: 0,
    };
    check(zero, b"GET / HTTP/1.1\r\n", "431 head-too-large");
    let all = usize::MAX;
    let none = Limits {
        head_bytes: all,
        target_bytes: all,
        fields: all,
        chunk_line_bytes: all,
        trailer_bytes: all,
    };
    check(none, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/ []");
    check(none, b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", "GET / []");
}

#[test]
fn a_refusal_is_for_good() {
    let mut parser = RequestParser::new(Limits::default());
    let refused = parser.parse(b"GET /\n").unwrap_err();
    let again = parser
        .parse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap_err();
    assert_eq!(refused, again);
    assert!(parser.has_begun(b""));
}

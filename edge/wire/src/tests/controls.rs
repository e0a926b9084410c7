//! Valid requests, plain and odd. Refusing one of these would be as wrong as accepting a bad one.

use http::header::{ETAG, HOST};

use super::{check_bytes, check_fields, head};
use crate::Persistence;

#[test]
#[rustfmt::skip]
fn valid_requests_are_accepted() {
    let check = check_bytes;
    check("nothing at all",               b"", "");
    check("the shortest request",         b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/ []");
    check("HTTP/1.0 with Host",           b"GET /a HTTP/1.0\r\nHost: h\r\n\r\n", "GET h/a []");
    check("HTTP/1.0 without Host",        b"GET /a HTTP/1.0\r\n\r\n", "GET /a []");
    check("a later minor version",        b"GET /a HTTP/1.2\r\nHost: h\r\n\r\n", "GET h/a []");
    check("the last minor version",       b"GET /a HTTP/1.9\r\nHost: h\r\n\r\n", "GET h/a []");
    check("a query",                      b"GET /a?b=c&d=%20 HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/a?b=c&d=%20 []");
    check("an unregistered method",       b"FETCH /a HTTP/1.1\r\nHost: h\r\n\r\n", "FETCH h/a []");
    check("a method in lower case",       b"get /a HTTP/1.1\r\nHost: h\r\n\r\n", "get h/a []");
    check("a method of odd token bytes",  b"M-SEARCH! /a HTTP/1.1\r\nHost: h\r\n\r\n", "M-SEARCH! h/a []");
    check("an empty line before",         b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/a []");
    check("two empty lines before",       b"\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/a []");
    check("only an empty line",           b"\r\n", "");
    check("half an empty line",           b"\r", "");
    check("content",                      b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde", "POST h/a [abcde]");
    check("content of no length",         b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST h/a []");
    check("POST without content",         b"POST /a HTTP/1.1\r\nHost: h\r\n\r\n", "POST h/a []");
    check("GET with content",             b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "GET h/a [abc]");
    check("DELETE with chunks",           b"DELETE /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "DELETE h/a [abc]");
    check("content in HTTP/1.0",          b"POST /a HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "POST h/a [abc]");
    check("content like a request",       b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\nGET / HTTP/1.1\r\n", "POST h/a [GET / HTTP/1.1\\r\\n]");
    check("Host first or last",           b"GET /a HTTP/1.1\r\nX: y\r\nHost: h\r\n\r\n", "GET h/a []");
    check("Host in odd case",             b"GET /a HTTP/1.1\r\nhOsT: H\r\n\r\n", "GET h/a []");
    check("no space after the colon",     b"GET /a HTTP/1.1\r\nHost:h\r\n\r\n", "GET h/a []");
    check("spaces and tabs around values", b"GET /a HTTP/1.1\r\nHost: \t h \t\r\n\r\n", "GET h/a []");
    check("an absolute target",           b"GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/a []");
    check("OPTIONS of the server",        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS h* []");
    check("TRACE",                        b"TRACE /a HTTP/1.1\r\nHost: h\r\n\r\n", "TRACE h/a []");
    check("dots and slashes",             b"GET //a/./../b HTTP/1.1\r\nHost: h\r\n\r\n", "GET h//a/./../b []");
    check("what browsers leave unescaped", b"GET /a|[b]?{c}^` HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/a|[b]?{c}^` []");
}

#[test]
#[rustfmt::skip]
fn valid_fields_are_accepted() {
    let check = |what: &str, fields: &[u8]| check_fields(what, fields, b"", "POST h/a []");
    check("an empty value",               b"X:");
    check("a value of spaces",            b"X: \t ");
    check("a name of odd token bytes",    b"!#$%&'*+-.^_`|~9Z: x");
    check("an underscore",                b"X_Forwarded: x");
    check("bytes of Latin-1",             b"X: caf\xe9 \x80\xff");
    check("bytes of UTF-8",               "X: é".as_bytes());
    check("a tab inside a value",         b"X: a\tb");
    check("colons in a value",            b"X: a: b:c");
    check("the same name twice",          b"X: a\r\nX: b");
    check("quotes that do not close",     b"X: \"a");
    check("a very long name",             &[&[b'x'; 2000][..], b": y"].concat());
    check("TE",                           b"TE: trailers\r\nConnection: TE");
    check("Trailer without chunks",       b"Trailer: X");
}

#[test]
fn pipelined_requests_come_out_one_by_one() {
    let get = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20);
    check_bytes("twenty", &get, &vec!["GET h/a []"; 20].join(" | "));

    let mixed = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nde\
        \r\nGET /c HTTP/1.1\r\nHost: h\r\n\r\n\
        GET /d HT";
    check_bytes(
        "mixed",
        mixed,
        "POST h/a [abc] | POST h/b [de] | GET h/c [] | cut",
    );
}

#[test]
fn a_message_that_stops_early_is_not_complete() {
    let requests: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nabcde\r\n0\r\nX: y\r\n\r\n",
    ];
    for request in requests {
        for len in 1..request.len() {
            let found = super::transcript(&request[..len], len, crate::Limits::default());
            assert!(
                found.ends_with("cut"),
                "{}: {found}",
                request[..len].escape_ascii()
            );
        }
    }
}

#[test]
fn a_head_says_what_the_request_said() {
    let head = head(
        b"PUT /a?b HTTP/1.1\r\nX: 1\r\nhost: Example.COM.:8080\r\nETag: \"caf\xe9\"\r\n\
          Content-Length: 0005\r\nx: 2\r\nConnection: Close, X\r\n\r\n",
    );
    assert_eq!(
        (head.method.as_str(), head.target.as_str()),
        ("PUT", "/a?b")
    );
    assert_eq!(
        (head.authority.host.as_str(), head.authority.port),
        ("example.com", Some(8080))
    );
    assert_eq!(head.headers[HOST], "example.com:8080");
    assert_eq!(head.headers["content-length"], "5");
    assert_eq!(head.headers[ETAG].as_bytes(), b"\"caf\xe9\"");
    assert_eq!(
        head.headers.get_all("x").iter().collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(head.persistence, Persistence::Close);
    assert_eq!(head.nominated, ["close", "x"]);
    assert_eq!(head.scheme, None);
}

#[test]
fn a_parser_tells_whether_a_request_has_begun() {
    let mut parser = crate::RequestParser::new(crate::Limits::default());
    for (bytes, expected) in [
        (&b""[..], false),
        (b"\r", false),
        (b"\r\n", false),
        (b"\r\nG", true),
    ] {
        parser.parse(bytes).unwrap();
        assert_eq!(parser.has_begun(bytes), expected, "{bytes:?}");
    }
    parser.parse(b"\r\nGET / HTTP/1.1\r\n").unwrap();
    assert!(parser.has_begun(b"\r\nGET / HTTP/1.1\r\n"));
}

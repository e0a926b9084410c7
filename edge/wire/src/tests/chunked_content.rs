//! Syntax of chunked content: sizes, extensions, line ends, trailers.

use super::{check_fields, transcript};
use crate::Limits;
use crate::limits::EXTENSION_BYTES_MAX;

#[track_caller]
fn check(what: &str, chunks: &[u8], expected: &str) {
    check_fields(
        what,
        b"Transfer-Encoding: chunked",
        chunks,
        &format!("POST h/a {expected}"),
    );
}

#[test]
#[rustfmt::skip]
fn valid_chunks_are_content() {
    check("none",                   b"0\r\n\r\n", "[]");
    check("one",                    b"3\r\nabc\r\n0\r\n\r\n", "[abc]");
    check("several",                b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "[abc]");
    check("upper-case digits",      b"A\r\n0123456789\r\n0\r\n\r\n", "[0123456789]");
    check("lower-case digits",      b"a\r\n0123456789\r\n0\r\n\r\n", "[0123456789]");
    check("leading zeros",          b"0003\r\nabc\r\n000\r\n\r\n", "[abc]");
    check("line ends as data",      b"4\r\n\r\n\r\n\r\n0\r\n\r\n", "[\\r\\n\\r\\n]");
    check("an extension",           b"3;a=b\r\nabc\r\n0\r\n\r\n", "[abc]");
    check("an extension without value", b"3;a\r\nabc\r\n0\r\n\r\n", "[abc]");
    check("a quoted extension",     b"3;a=\"b;\\\"c\"\r\nabc\r\n0\r\n\r\n", "[abc]");
    check("whitespace by the semicolon", b"3 ; a = b\r\nabc\r\n0\r\n\r\n", "[abc]");
    check("an extension at the end", b"3\r\nabc\r\n0;a=b\r\n\r\n", "[abc]");
    check("a trailer",              b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", "[abc] x-sum=1");
    check("two trailers",           b"0\r\nX-Sum: 1\r\nX-More: \xe9\r\n\r\n", "[] x-sum=1 x-more=\\xe9");
    check("an empty trailer",       b"0\r\nX-Sum:\r\n\r\n", "[] x-sum=");
    check("and the next request",   b"0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n", "[] | GET h/b []");
}

#[test]
#[rustfmt::skip]
fn malformed_sizes_are_refused() {
    check("no size",                b"\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a space before",         b" 3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a tab before",           b"\t3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a space after",          b"3 \r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a tab after",            b"3\t\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("0x",                     b"0x3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("plus",                   b"+3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("minus",                  b"-3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("minus zero",             b"-0\r\n\r\n", "400 chunk-size");
    check("a letter beyond f",      b"g\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a letter after",         b"3z\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a comma",                b"3,3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a fraction",             b"3.0\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("an underscore",          b"0_3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("two sizes",              b"3 3\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("quotes",                 b"\"3\"\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a NUL before",           b"\x003\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a NUL after",            b"3\0\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a vertical tab",         b"3\x0b\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("a byte of Latin-1",      b"3\xff\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("2^63",                   b"8000000000000000\r\nabc", "400 chunk-size-too-large");
    check("2^64 - 1",               b"ffffffffffffffff\r\nabc", "400 chunk-size-too-large");
    check("2^64 + 3",               b"10000000000000003\r\nabc\r\n0\r\n\r\n", "400 chunk-size-too-large");
    check("2^32 + 3",               b"100000003\r\nabc\r\n0\r\n\r\n", "cut");
    check("seventeen zeros",        b"00000000000000003\r\nabc\r\n0\r\n\r\n", "400 chunk-size-too-large");
    check("seventeen zeros at last", b"00000000000000000\r\n\r\n", "400 chunk-size-too-large");
    check("an empty line first",    b"\r\n3\r\nabc\r\n0\r\n\r\n", "400 chunk-size");
    check("an empty line between",  b"3\r\nabc\r\n\r\n0\r\n\r\n", "400 chunk-size");
    check("content without chunks", b"abc=def&g=h\r\n", "400 chunk-size");
    check("a request",              b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n", "400 chunk-size");
}

#[test]
#[rustfmt::skip]
fn malformed_extensions_are_refused() {
    check("no name",                b"3;\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("no name, a space",       b"3; \r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("no value",               b"3;a=\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("only a value",           b"3;=b\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("two semicolons",         b"3;;a\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a semicolon at the end", b"3;a;\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a space at the end",     b"3;a \r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("no semicolon",           b"3 a=b\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("two values",             b"3;a=b=c\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("an open quote",          b"3;a=\"b\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("an escaped line end",    b"3;a=\"\\\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a quoted name",          b"3;\"a\"=b\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("text after a quote",     b"3;a=\"b\"c\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a NUL",                  b"3;a\0\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a quoted NUL",           b"3;a=\"\0\"\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a vertical tab",         b"3;a=\x0bb\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a bare LF",              b"3;a\nxyz\r\nabc\r\n0\r\n\r\n", "400 bare-lf");
    check("a quoted LF",            b"3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", "400 bare-lf");
    check("a quoted line end",      b"3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a bare CR",              b"3;a\rb\r\nabc\r\n0\r\n\r\n", "400 bare-cr");
    check("a quoted CR",            b"3;a=\"\rb\"\r\nabc\r\n0\r\n\r\n", "400 chunk-extension");
    check("a CR before a CRLF",     b"3;a\r\r\nabc\r\n0\r\n\r\n", "400 bare-cr");
    check("a NUL at the last chunk", b"0;a\0\r\n\r\n", "400 chunk-extension");
}

#[test]
#[rustfmt::skip]
fn lines_in_chunks_end_with_crlf() {
    check("LF after a size",        b"3\nabc\r\n0\r\n\r\n", "400 bare-lf");
    check("CR after a size",        b"3\rabc\r\n0\r\n\r\n", "400 bare-cr");
    check("CR CR LF after a size",  b"3\r\r\nabc\r\n0\r\n\r\n", "400 bare-cr");
    check("LF CR after a size",     b"3\n\rabc\r\n0\r\n\r\n", "400 bare-lf");
    check("LF after data",          b"3\r\nabc\n0\r\n\r\n", "400 chunk-data-end");
    check("CR after data",          b"3\r\nabc\r0\r\n\r\n", "400 chunk-data-end");
    check("nothing after data",     b"3\r\nabc0\r\n\r\n", "400 chunk-data-end");
    check("two bytes after data",   b"3\r\nabcXX0\r\n\r\n", "400 chunk-data-end");
    check("a longer chunk than its size", b"3\r\nabcd\r\n0\r\n\r\n", "400 chunk-data-end");
    check("a shorter chunk",        b"5\r\nabc\r\n0\r\n\r\n", "400 chunk-data-end");
    check("a space after data",     b"3\r\nabc \r\n0\r\n\r\n", "400 chunk-data-end");
    check("LF after the last size", b"0\n\r\n", "400 bare-lf");
    check("LF at the very end",     b"0\r\n\n", "400 bare-lf");
    check("CR CR LF at the end",    b"0\r\n\r\r\n", "400 bare-cr");
    check("all LF",                 b"3\nabc\n0\n\n", "400 bare-lf");
    check("text for the last line end", b"0\r\nXX", "cut");
    check("no last line end",       b"0\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n", "400 field-colon");
    check("no last chunk",          b"3\r\nabc\r\n", "cut");
}

#[test]
#[rustfmt::skip]
fn trailers_are_fields_that_may_come_late() {
    check("no colon",               b"0\r\nX\r\n\r\n", "400 field-colon");
    check("no name",                b"0\r\n: x\r\n\r\n", "400 field-name");
    check("a space before colon",   b"0\r\nX : y\r\n\r\n", "400 space-before-colon");
    check("a folded line",          b"0\r\nX: y\r\n z\r\n\r\n", "400 obs-fold");
    check("a space first",          b"0\r\n X: y\r\n\r\n", "400 obs-fold");
    check("a bare LF",              b"0\r\nX: y\n\r\n", "400 bare-lf");
    check("a bare CR",              b"0\r\nX: y\rZ: a\r\n\r\n", "400 bare-cr");
    check("a NUL",                  b"0\r\nX: \0\r\n\r\n", "400 control-byte");
    check("LF for the empty line",  b"0\r\nX: y\r\n\n", "400 bare-lf");
    check("Content-Length",         b"0\r\nContent-Length: 5\r\n\r\n", "400 trailer-field");
    check("Content_Length",         b"0\r\nContent_Length: 5\r\n\r\n", "400 field-lookalike");
    check("Transfer-Encoding",      b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 trailer-field");
    check("Host",                   b"0\r\nHost: evil\r\n\r\n", "400 trailer-field");
    check("Connection",             b"0\r\nConnection: close\r\n\r\n", "400 trailer-field");
    check("Upgrade",                b"0\r\nUpgrade: h2c\r\n\r\n", "400 trailer-field");
    check("Trailer",                b"0\r\nTrailer: X\r\n\r\n", "400 trailer-field");
    check("Authorization",          b"0\r\nAuthorization: x\r\n\r\n", "[]");
    check("Cookie",                 b"0\r\nCookie: a=b\r\n\r\n", "[]");
    check("Cache-Control",          b"0\r\nCache-Control: no-store\r\n\r\n", "[]");
    check("Content-Encoding",       b"0\r\nContent-Encoding: gzip\r\n\r\n", "[]");
    check("X-Forwarded-For",        b"0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", "400 trailer-field");
    check("one kept of two",        b"0\r\nX: y\r\nCookie: a=b\r\n\r\n", "[] x=y");
    check("one bad of two",         b"0\r\nX: y\r\nHost: evil\r\n\r\n", "400 trailer-field");
}

/// The transcript of chunked content, without the request before it.
fn content(chunks: &[u8], limits: Limits) -> String {
    let head = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = [head, chunks].concat();
    let found = transcript(&whole, whole.len(), limits);
    assert_eq!(transcript(&whole, 1, limits), found);
    found["POST h/a ".len()..].to_owned()
}

#[test]
fn a_chunk_line_has_a_limit() {
    let limits = Limits {
        chunk_line_bytes: 10,
        ..Limits::default()
    };
    assert_eq!(content(b"3;abcdef\r\nxyz\r\n0\r\n\r\n", limits), "[xyz]");
    assert_eq!(
        content(b"3;abcdefg\r\nxyz\r\n0\r\n\r\n", limits),
        "400 chunk-line-too-long"
    );
    let endless = [b"3;", [b'a'; 70_000].as_slice()].concat();
    assert_eq!(
        content(&endless, Limits::default()),
        "400 chunk-line-too-long"
    );
}

#[test]
fn trailers_have_limits() {
    let limits = Limits {
        trailer_bytes: 10,
        fields: 2,
        ..Limits::default()
    };
    assert_eq!(content(b"0\r\nX: abc\r\n\r\n", limits), "[] x=abc");
    assert_eq!(
        content(b"0\r\nX: abcd\r\n\r\n", limits),
        "431 trailers-too-large"
    );
    assert_eq!(content(b"0\r\na:\r\nb:\r\n\r\n", limits), "[] a= b=");

    let limits = Limits {
        fields: 2,
        ..Limits::default()
    };
    assert_eq!(
        content(b"0\r\na:\r\nb:\r\nc:\r\n\r\n", limits),
        "431 too-many-fields"
    );
    let many = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2000), b"\r\n"].concat();
    assert_eq!(content(&many, Limits::default()), "431 too-many-fields");
}

#[test]
fn extensions_may_not_outweigh_the_content() {
    let chunk = |extension: usize| format!("1;{}\r\nx\r\n", "a".repeat(extension - 1));
    let allowed = usize::try_from(EXTENSION_BYTES_MAX).unwrap();
    // Each chunk adds a byte of content, and with it a byte of allowance for the next one.
    let filled = chunk(4000).repeat(4) + &chunk(allowed + 4 - 4 * 4000);
    let content_of = |chunks: &str| content(chunks.as_bytes(), Limits::default());
    assert_eq!(content_of(&format!("{filled}0\r\n\r\n")), "[xxxxx]");
    assert_eq!(
        content_of(&format!("{filled}{}", chunk(2))),
        "400 chunk-extensions-too-large"
    );
}

#[test]
fn ten_thousand_tiny_chunks_are_no_trouble() {
    let chunks = b"1\r\nx\r\n".repeat(10_000);
    let found = content(
        &[chunks.as_slice(), b"0\r\n\r\n"].concat(),
        Limits::default(),
    );
    assert_eq!(found, format!("[{}]", "x".repeat(10_000)));
}

//! Syntax of the request line and of field lines.

use super::{check_bytes, check_fields};

#[test]
#[rustfmt::skip]
fn malformed_request_lines_are_refused() {
    let check = |what, line: &[u8], expected| {
        check_bytes(what, &[line, b"\r\nHost: h\r\n\r\n"].concat(), expected);
    };
    check("no version",               b"GET /a", "400 request-line");
    check("no version, a space",      b"GET /a ", "400 version");
    check("only a method",            b"GET", "400 request-line");
    check("only a target",            b"/a", "400 method");
    check("only a version",           b"HTTP/1.1", "400 method");
    check("no target",                b"GET HTTP/1.1", "400 request-line");
    check("an empty target",          b"GET  HTTP/1.1", "400 target");
    check("two spaces first",         b"GET  /a HTTP/1.1", "400 request-line");
    check("two spaces last",          b"GET /a  HTTP/1.1", "400 request-line");
    check("a space in the target",    b"GET /a b HTTP/1.1", "400 request-line");
    check("a space at the end",       b"GET /a HTTP/1.1 ", "400 request-line");
    check("a word at the end",        b"GET /a HTTP/1.1 x", "400 request-line");
    check("a space at the start",     b" GET /a HTTP/1.1", "400 method");
    check("a tab at the start",       b"\tGET /a HTTP/1.1", "400 method");
    check("tabs for spaces",          b"GET\t/a\tHTTP/1.1", "400 method");
    check("a tab first",              b"GET\t/a HTTP/1.1", "400 method");
    check("a tab last",               b"GET /a\tHTTP/1.1", "400 request-line");
    check("a tab in the target",      b"GET /a\tb HTTP/1.1", "400 target");
    check("a tab at the end",         b"GET /a HTTP/1.1\t", "400 version");
    check("a vertical tab",           b"GET\x0b/a HTTP/1.1", "400 control-byte");
    check("a NUL in the method",      b"G\0T /a HTTP/1.1", "400 control-byte");
    check("a NUL in the target",      b"GET /\0a HTTP/1.1", "400 control-byte");
    check("a DEL in the target",      b"GET /\x7f HTTP/1.1", "400 control-byte");
    check("a CR in the target",       b"GET /\ra HTTP/1.1", "400 bare-cr");
    check("a LF in the target",       b"GET /\na HTTP/1.1", "400 bare-lf");
    check("UTF-8 in the target",      "GET /é HTTP/1.1".as_bytes(), "400 target");
    check("Latin-1 in the target",    b"GET /\xe9 HTTP/1.1", "400 target");
    check("a fragment",               b"GET /a#b HTTP/1.1", "400 target");
    check("a method with a bracket",  b"GE(T /a HTTP/1.1", "400 method");
    check("a method with a colon",    b"GET: /a HTTP/1.1", "400 method");
    check("a method with quotes",     b"\"GET\" /a HTTP/1.1", "400 method");
    check("a method with a slash",    b"GET/ /a HTTP/1.1", "400 method");
    check("a method with a comma",    b"GET,POST /a HTTP/1.1", "400 method");
    check("a method of Latin-1",      b"G\xc9T /a HTTP/1.1", "400 method");
    check("HTTP/0.9",                 b"GET /a HTTP/0.9", "505 version-not-supported");
    check("HTTP/2.0",                 b"GET /a HTTP/2.0", "505 version-not-supported");
    check("HTTP/3.7",                 b"GET /a HTTP/3.7", "505 version-not-supported");
    check("HTTP/9.9",                 b"GET /a HTTP/9.9", "505 version-not-supported");
    check("the preface of HTTP/2",    b"PRI * HTTP/2.0", "505 version-not-supported");
    check("HTTP/2",                   b"GET /a HTTP/2", "400 version");
    check("HTTP/1",                   b"GET /a HTTP/1", "400 version");
    check("HTTP/1.",                  b"GET /a HTTP/1.", "400 version");
    check("HTTP/.1",                  b"GET /a HTTP/.1", "400 version");
    check("HTTP/1.10",                b"GET /a HTTP/1.10", "400 version");
    check("HTTP/01.1",                b"GET /a HTTP/01.1", "400 version");
    check("HTTP/1.01",                b"GET /a HTTP/1.01", "400 version");
    check("HTTP/1,1",                 b"GET /a HTTP/1,1", "400 version");
    check("HTTP/1.1.1",               b"GET /a HTTP/1.1.1", "400 version");
    check("HTTP/+1.1",                b"GET /a HTTP/+1.1", "400 version");
    check("HTTP/1.x",                 b"GET /a HTTP/1.x", "400 version");
    check("HTTP//1.1",                b"GET /a HTTP//1.1", "400 version");
    check("http/1.1",                 b"GET /a http/1.1", "400 version");
    check("HTTPS/1.1",                b"GET /a HTTPS/1.1", "400 version");
    check("ICE/1.1",                  b"GET /a ICE/1.1", "400 version");
    check("a junk version",           b"GET /a XYZZY", "400 version");
    check("three empty lines before", b"\r\n\r\n\r\nGET /a HTTP/1.1", "400 empty-lines");
    check("an LF before",             b"\nGET /a HTTP/1.1", "400 bare-lf");
    check("a CR before",              b"\rGET /a HTTP/1.1", "400 bare-cr");
    check("a byte order mark",        b"\xef\xbb\xbfGET /a HTTP/1.1", "400 method");
}

#[test]
#[rustfmt::skip]
fn lines_of_a_head_end_with_crlf() {
    let check = check_bytes;
    check("all LF",                   b"GET /a HTTP/1.1\nHost: h\n\n", "400 bare-lf");
    check("LF after the request line", b"GET /a HTTP/1.1\nHost: h\r\n\r\n", "400 bare-lf");
    check("LF after a field",         b"GET /a HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", "400 bare-lf");
    check("LF for the empty line",    b"GET /a HTTP/1.1\r\nHost: h\r\n\n", "400 bare-lf");
    check("LF CR",                    b"GET /a HTTP/1.1\r\nHost: h\n\r\n\r\n", "400 bare-lf");
    check("CR CR LF",                 b"GET /a HTTP/1.1\r\nHost: h\r\r\n\r\n", "400 bare-cr");
    check("CR only",                  b"GET /a HTTP/1.1\rHost: h\r\r", "400 bare-cr");
    check("a CR in a value",          b"GET /a HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", "400 bare-cr");
    check("a CR in a name",           b"GET /a HTTP/1.1\r\nHost: h\r\nX\rY: a\r\n\r\n", "400 bare-cr");
    check("a CR before the colon",    b"GET /a HTTP/1.1\r\nHost: h\r\nX\r: a\r\n\r\n", "400 bare-cr");
    check("CR for the empty line",    b"GET /a HTTP/1.1\r\nHost: h\r\n\rGET /b HTTP/1.1\r\n", "400 bare-cr");
    check("HTTP/0.9",                 b"GET /a\r\n", "400 request-line");
    check("HTTP/0.9 with an LF",      b"GET /a\n", "400 bare-lf");
    check("a TLS greeting",           b"\x16\x03\x01\x02\x00\x01", "400 control-byte");
    check("an empty line in between", b"GET /a HTTP/1.1\r\n\r\nHost: h\r\n\r\n", "400 host-missing");
}

#[test]
#[rustfmt::skip]
fn malformed_fields_are_refused() {
    let check = |what: &str, fields: &[u8], expected: &str| check_fields(what, fields, b"", expected);
    check("no colon",                b"X", "400 field-colon");
    check("no colon, two words",     b"X y", "400 field-colon");
    check("a request line",          b"GET /b HTTP/1.1", "400 field-colon");
    check("an absolute request line", b"GET http://h/b HTTP/1.1", "400 field-name");
    check("no name",                 b": x", "400 field-name");
    check("only a colon",            b":", "400 field-name");
    check("a pseudo-header",         b":authority: h", "400 field-name");
    check("a space before colon",    b"X : y", "400 space-before-colon");
    check("a tab before colon",      b"X\t: y", "400 space-before-colon");
    check("a space in the name",     b"X Y: z", "400 field-name");
    check("a tab in the name",       b"X\tY: z", "400 field-name");
    check("a slash in the name",     b"X/Y: z", "400 field-name");
    check("an at sign in the name",  b"X@Y: z", "400 field-name");
    check("brackets in the name",    b"X[0]: z", "400 field-name");
    check("braces in the name",      b"X{0}: z", "400 field-name");
    check("parentheses in the name", b"X(0): z", "400 field-name");
    check("a comma in the name",     b"X,Y: z", "400 field-name");
    check("a semicolon in the name", b"X;Y: z", "400 field-name");
    check("an equals sign in it",    b"X=Y: z", "400 field-name");
    check("a backslash in it",       b"X\\Y: z", "400 field-name");
    check("a question mark in it",   b"X?: z", "400 field-name");
    check("angle brackets in it",    b"<X>: z", "400 field-name");
    check("Latin-1 in the name",     b"X\xe9: z", "400 field-name");
    check("UTF-8 in the name",       "Xé: z".as_bytes(), "400 field-name");
    check("a NUL in the name",       b"X\0Y: z", "400 control-byte");
    check("a DEL in the name",       b"X\x7f: z", "400 control-byte");
    check("a NUL in the value",      b"X: a\0b", "400 control-byte");
    check("a bell in the value",     b"X: a\x07b", "400 control-byte");
    check("an escape in the value",  b"X: a\x1bb", "400 control-byte");
    check("a DEL in the value",      b"X: a\x7fb", "400 control-byte");
    check("a unit separator in it",  b"X: a\x1fb", "400 control-byte");
    check("a vertical tab in it",    b"X: a\x0bb", "400 control-byte");
    check("a fold by space",         b"X: a\r\n b", "400 obs-fold");
    check("a fold by tab",           b"X: a\r\n\tb", "400 obs-fold");
    check("a fold of nothing",       b"X: a\r\n ", "400 obs-fold");
    check("a fold that is a field",  b"X: a\r\n Y: b", "400 obs-fold");
    check("a space after the request line", b"\r\n X: y", "POST h/a [] | 400 method");
}

#[test]
fn whitespace_between_request_line_and_fields_is_refused() {
    let bytes = b"GET /a HTTP/1.1\r\n Host: h\r\n\r\n";
    check_bytes("a space", bytes, "400 obs-fold");
    let bytes = b"GET /a HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n";
    check_bytes("a tab", bytes, "400 obs-fold");
}

#[test]
fn what_is_wrong_is_said_as_soon_as_it_is_there() {
    for (beginning, expected) in [
        (&b"GET / HTTP/1.1\n"[..], "400 bare-lf"),
        (b"GET /\r\n", "400 request-line"),
        (b"GET / HTTP/2.0\r\n", "505 version-not-supported"),
        (b"GET / HTTP/1.1\r\n ", "400 obs-fold"),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n",
            "400 space-before-colon",
        ),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: \0", "400 control-byte"),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\n",
            "POST h/ 400 bare-lf",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "POST h/ 400 chunk-size",
        ),
    ] {
        check_bytes("not a byte later", beginning, expected);
    }
}

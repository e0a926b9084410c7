//! Oddities of `Content-Length`.

use super::{check_bytes, check_fields};

#[test]
#[rustfmt::skip]
fn content_length_is_one_decimal_number() {
    let check = |what: &str, fields: &[u8], expected: &str| check_fields(what, fields, b"abcdeGET /b HTTP/1.1\r\nHost: h\r\n\r\n", expected);
    let fits = "POST h/a [abcde] | GET h/b []";
    check("plain",                 b"Content-Length: 5", fits);
    check("no space",              b"Content-Length:5", fits);
    check("more spaces",           b"Content-Length:   5  ", fits);
    check("tabs",                  b"Content-Length:\t5\t", fits);
    check("leading zeros",         b"Content-Length: 005", fits);
    check("thirty leading zeros",  b"Content-Length: 0000000000000000000000000000005", fits);
    check("odd case",              b"cONTENT-lENGTH: 5", fits);

    check("twice the same",        b"Content-Length: 5\r\nContent-Length: 5", "400 content-length-repeated");
    check("twice, different",      b"Content-Length: 5\r\nContent-Length: 6", "400 content-length-repeated");
    check("twice, apart",          b"Content-Length: 5\r\nX: y\r\ncontent-length: 0", "400 content-length-repeated");
    check("twice, one empty",      b"Content-Length: 5\r\nContent-Length:", "400 content-length-repeated");
    check("a list of the same",    b"Content-Length: 5, 5", "400 content-length");
    check("a list",                b"Content-Length: 5, 6", "400 content-length");
    check("a list without space",  b"Content-Length: 5,5", "400 content-length");
    check("an empty element",      b"Content-Length: 5,", "400 content-length");
    check("a comma first",         b"Content-Length: ,5", "400 content-length");
    check("empty",                 b"Content-Length:", "400 content-length");
    check("only spaces",           b"Content-Length:   ", "400 content-length");
    check("plus",                  b"Content-Length: +5", "400 content-length");
    check("minus",                 b"Content-Length: -5", "400 content-length");
    check("minus zero",            b"Content-Length: -0", "400 content-length");
    check("hexadecimal",           b"Content-Length: 0x5", "400 content-length");
    check("a hexadecimal digit",   b"Content-Length: a", "400 content-length");
    check("a fraction",            b"Content-Length: 5.0", "400 content-length");
    check("an exponent",           b"Content-Length: 5e0", "400 content-length");
    check("digit groups",          b"Content-Length: 5_0", "400 content-length");
    check("a space inside",        b"Content-Length: 5 5", "400 content-length");
    check("a tab inside",          b"Content-Length: 5\t0", "400 content-length");
    check("a semicolon",           b"Content-Length: 5;a", "400 content-length");
    check("quotes",                b"Content-Length: \"5\"", "400 content-length");
    check("a word",                b"Content-Length: five", "400 content-length");
    check("a word after",          b"Content-Length: 5 bytes", "400 content-length");
    check("another colon",         b"Content-Length:: 5", "400 content-length");
    check("other digits",          "Content-Length: ５".as_bytes(), "400 content-length");
    check("a no-break space",      b"Content-Length: \xa05", "400 content-length");
    check("a vertical tab before", b"Content-Length: \x0b5", "400 control-byte");
    check("a form feed after",     b"Content-Length: 5\x0c", "400 control-byte");
    check("a NUL after",           b"Content-Length: 5\0", "400 control-byte");
    check("a folded value",        b"Content-Length:\r\n 5", "400 obs-fold");
    check("a fold after",          b"Content-Length: 5\r\n 0", "400 obs-fold");
    check("a bare line feed",      b"Content-Length: 5\n", "400 bare-lf");
    check("a bare CR",             b"Content-Length: 5\rX: y", "400 bare-cr");
    check("a space before it",     b" Content-Length: 5", "400 obs-fold");
    check("a space before colon",  b"Content-Length : 5", "400 space-before-colon");
    check("a tab before colon",    b"Content-Length\t: 5", "400 space-before-colon");
    check("an underscore",         b"Content_Length: 5", "400 field-lookalike");
    check("real and underscore",   b"Content-Length: 5\r\nContent_Length: 6", "400 field-lookalike");
    check("2^63 - 1",              b"Content-Length: 9223372036854775807", "POST h/a cut");
    check("2^63",                  b"Content-Length: 9223372036854775808", "413 content-length-too-large");
    check("2^64 - 1",              b"Content-Length: 18446744073709551615", "413 content-length-too-large");
    check("2^64 + 5",              b"Content-Length: 18446744073709551621", "413 content-length-too-large");
    check("many digits",           &[b"Content-Length: ".as_slice(), &[b'9'; 400]].concat(), "413 content-length-too-large");
}

#[test]
#[rustfmt::skip]
fn content_length_counts_in_every_method_and_version() {
    let check = check_bytes;
    check("in GET",           b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\nHost: h\r\n\r\n", "GET h/a [xy] | GET h/b []");
    check("in HEAD",          b"HEAD /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy", "HEAD h/a [xy]");
    check("in OPTIONS",       b"OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy", "OPTIONS h* [xy]");
    check("in HTTP/1.0",      b"POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nxy", "POST /a [xy]");
    check("twice in HTTP/1.0", b"POST /a HTTP/1.0\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxy", "400 content-length-repeated");
    check("in TRACE",         b"TRACE /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy", "400 trace-content");
    check("short content",    b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc", "POST h/a cut");
}

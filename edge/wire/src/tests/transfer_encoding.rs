//! Spellings of `Transfer-Encoding`, alone and beside `Content-Length`.

use super::{check_bytes, check_fields};

/// Content that reads differently as chunks and as five bytes.
const CHUNKS: &[u8] = b"0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
#[rustfmt::skip]
fn transfer_encoding_is_chunked_and_nothing_else() {
    let check = |what: &str, fields: &[u8], expected: &str| check_fields(what, fields, CHUNKS, expected);
    let chunks = "POST h/a [] | GET h/b []";
    check("plain",                b"Transfer-Encoding: chunked", chunks);
    check("upper case",           b"Transfer-Encoding: CHUNKED", chunks);
    check("odd case",             b"tRANSFER-eNCODING: cHuNkEd", chunks);
    check("no space",             b"Transfer-Encoding:chunked", chunks);
    check("spaces around",        b"Transfer-Encoding:   chunked  ", chunks);
    check("tabs around",          b"Transfer-Encoding:\tchunked\t", chunks);

    check("twice in a list",      b"Transfer-Encoding: chunked, chunked", "400 transfer-encoding");
    check("twice in two lines",   b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400 transfer-encoding-repeated");
    check("then identity",        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "400 transfer-encoding-repeated");
    check("after identity",       b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "400 transfer-encoding-repeated");
    check("then another, apart",  b"Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: x", "400 transfer-encoding-repeated");
    check("then an empty line",   b"Transfer-Encoding: chunked\r\nTransfer-Encoding:", "400 transfer-encoding-repeated");
    check("identity listed last", b"Transfer-Encoding: chunked, identity", "400 transfer-encoding");
    check("gzip last",            b"Transfer-Encoding: chunked, gzip", "400 transfer-encoding");
    check("gzip first",           b"Transfer-Encoding: gzip, chunked", "501 transfer-coding");
    check("identity first",       b"Transfer-Encoding: identity, chunked", "501 transfer-coding");
    check("identity",             b"Transfer-Encoding: identity", "501 transfer-coding");
    check("gzip",                 b"Transfer-Encoding: gzip", "501 transfer-coding");
    check("xchunked",             b"Transfer-Encoding: xchunked", "501 transfer-coding");
    check("chunkedx",             b"Transfer-Encoding: chunkedx", "501 transfer-coding");
    check("chunke",               b"Transfer-Encoding: chunke", "501 transfer-coding");
    check("x-chunked",            b"Transfer-Encoding: x-chunked", "501 transfer-coding");
    check("null",                 b"Transfer-Encoding: null", "501 transfer-coding");
    check("cow",                  b"Transfer-Encoding: cow", "501 transfer-coding");
    check("empty",                b"Transfer-Encoding:", "400 transfer-encoding");
    check("only spaces",          b"Transfer-Encoding:   ", "400 transfer-encoding");
    check("a comma after",        b"Transfer-Encoding: chunked,", "400 transfer-encoding");
    check("a comma before",       b"Transfer-Encoding: ,chunked", "400 transfer-encoding");
    check("only a comma",         b"Transfer-Encoding: ,", "400 transfer-encoding");
    check("a parameter",          b"Transfer-Encoding: chunked;q=1", "400 transfer-encoding");
    check("an empty parameter",   b"Transfer-Encoding: chunked;", "400 transfer-encoding");
    check("double quotes",        b"Transfer-Encoding: \"chunked\"", "400 transfer-encoding");
    check("single quotes",        b"Transfer-Encoding: 'chunked'", "501 transfer-coding");
    check("a space inside",       b"Transfer-Encoding: chun ked", "400 transfer-encoding");
    check("a word after",         b"Transfer-Encoding: chunked x", "400 transfer-encoding");
    check("a word before",        b"Transfer-Encoding: x chunked", "400 transfer-encoding");
    check("a name before",        b"Transfer-Encoding: Transfer-Encoding: chunked", "400 transfer-encoding");
    check("a colon before",       b"Transfer-Encoding: : chunked", "400 transfer-encoding");
    check("two colons",           b"Transfer-Encoding:: chunked", "400 transfer-encoding");
    check("an equals sign",       b"Transfer-Encoding= chunked", "400 field-colon");
    check("no colon",             b"Transfer-Encoding chunked", "400 field-colon");
    check("a no-break space",     b"Transfer-Encoding: \xa0chunked", "400 transfer-encoding");
    check("a byte of Latin-1",    b"Transfer-Encoding: chunked\xff", "400 transfer-encoding");
    check("a letter that folds to k",     "Transfer-Encoding: chun\u{212a}ed".as_bytes(), "400 transfer-encoding");
    check("a slash",              b"Transfer-Encoding: chunked/1", "400 transfer-encoding");
    check("brackets",             b"Transfer-Encoding: [chunked]", "400 transfer-encoding");
    check("a vertical tab before", b"Transfer-Encoding: \x0bchunked", "400 control-byte");
    check("a vertical tab after", b"Transfer-Encoding: chunked\x0b", "400 control-byte");
    check("a form feed",          b"Transfer-Encoding: \x0cchunked", "400 control-byte");
    check("a backspace",          b"Transfer-Encoding: x\x08chunked", "400 control-byte");
    check("a NUL before",         b"Transfer-Encoding: \0chunked", "400 control-byte");
    check("a NUL after",          b"Transfer-Encoding: chunked\0", "400 control-byte");
    check("a DEL",                b"Transfer-Encoding: chunked\x7f", "400 control-byte");
    check("a NUL in the name",    b"Transfer-Encoding\0: chunked", "400 control-byte");
    check("a tab in the name",    b"Transfer\tEncoding: chunked", "400 field-name");
    check("a space in the name",  b"Transfer Encoding: chunked", "400 field-name");
    check("a folded value",       b"Transfer-Encoding:\r\n chunked", "400 obs-fold");
    check("a value folded by tab", b"Transfer-Encoding:\r\n\tchunked", "400 obs-fold");
    check("folded under another", b"X: y\r\n Transfer-Encoding: chunked", "400 obs-fold");
    check("a bare line feed",     b"Transfer-Encoding:\n chunked", "400 bare-lf");
    check("after a bare LF",      b"X: y\nTransfer-Encoding: chunked", "400 bare-lf");
    check("after a bare CR",      b"X: y\rTransfer-Encoding: chunked", "400 bare-cr");
    check("a bare CR after",      b"Transfer-Encoding: chunked\rX: y", "400 bare-cr");
    check("a space before it",    b" Transfer-Encoding: chunked", "400 obs-fold");
    check("a space before colon", b"Transfer-Encoding : chunked", "400 space-before-colon");
    check("a tab before colon",   b"Transfer-Encoding\t: chunked", "400 space-before-colon");
    check("a VT before colon",    b"Transfer-Encoding\x0b: chunked", "400 control-byte");
    check("an underscore",        b"Transfer_Encoding: chunked", "400 field-lookalike");
    check("quoted name",          b"\"Transfer-Encoding\": chunked", "400 field-name");
    check("Latin-1 in the name",  b"Transfer-Encoding\xff: chunked", "400 field-name");
}

#[test]
#[rustfmt::skip]
fn transfer_encoding_and_content_length_exclude_each_other() {
    let check = |what: &str, fields: &[u8]| check_fields(what, fields, CHUNKS, "400 content-length-and-transfer-encoding");
    check("length first",        b"Content-Length: 5\r\nTransfer-Encoding: chunked");
    check("length last",         b"Transfer-Encoding: chunked\r\nContent-Length: 5");
    check("a length of zero",    b"Content-Length: 0\r\nTransfer-Encoding: chunked");
    check("a bad length",        b"Content-Length: x\r\nTransfer-Encoding: chunked");
    check("an empty length",     b"Content-Length:\r\nTransfer-Encoding: chunked");
    check("identity",            b"Content-Length: 5\r\nTransfer-Encoding: identity");
    check("an unknown coding",   b"Content-Length: 5\r\nTransfer-Encoding: xchunked");
    check("an empty coding",     b"Content-Length: 5\r\nTransfer-Encoding:");
    check("everything twice",    b"Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
    check("nominated",           b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding");
}

#[test]
#[rustfmt::skip]
fn http_1_0_has_no_transfer_encoding() {
    let check = check_bytes;
    check("alone",         b"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 transfer-encoding-in-http10");
    check("identity",      b"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", "400 transfer-encoding-in-http10");
    check("kept alive",    b"POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 transfer-encoding-in-http10");
    check("with a length", b"POST /a HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 content-length-and-transfer-encoding");
    check("in TRACE",      b"TRACE /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 trace-content");
}

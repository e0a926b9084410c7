//! Methods, and the forms of target that go with them.

use super::check_bytes;
use crate::limits::METHOD_BYTES_MAX;

#[track_caller]
fn check(what: &str, method_and_target: &str, expected: &str) {
    let bytes = format!("{method_and_target} HTTP/1.1\r\nHost: h\r\n\r\n");
    check_bytes(what, bytes.as_bytes(), expected);
}

#[test]
#[rustfmt::skip]
fn each_method_has_its_targets() {
    check("OPTIONS of all",          "OPTIONS *",           "OPTIONS h* []");
    check("OPTIONS of a path",       "OPTIONS /a",          "OPTIONS h/a []");
    check("OPTIONS of a host",       "OPTIONS http://h",    "OPTIONS h* []");
    check("OPTIONS of its root",     "OPTIONS http://h/",   "OPTIONS h/ []");
    check("DELETE",                  "DELETE /a",           "DELETE h/a []");
    check("PATCH",                   "PATCH /a",            "PATCH h/a []");
    check("PURGE",                   "PURGE /a",            "PURGE h/a []");
    check("the longest registered",  "UPDATEREDIRECTREF /", "UPDATEREDIRECTREF h/ []");

    check("GET of all",              "GET *",               "400 target");
    check("HEAD of all",             "HEAD *",              "400 target");
    check("options is not OPTIONS",  "options *",           "400 target");
    check("OPTIONS of nearly all",   "OPTIONS */",          "400 target");
    check("CONNECT",                 "CONNECT h:443",       "501 connect");
    check("CONNECT of a path",       "CONNECT /a",          "501 connect");
    check("CONNECT of a URL",        "CONNECT http://h/",   "501 connect");
    check("CONNECT of nothing",      "CONNECT h",           "501 connect");
    check("connect is not CONNECT",  "connect h:443",       "400 target");
    check("GET of an authority",     "GET h:443",           "400 target");
    check("GET of a name",           "GET h",               "400 target");
    check("GET of a query",          "GET ?a",              "400 target");
    check("GET of a relative path",  "GET a/b",             "400 target");
    check("GET of a dot",            "GET ./a",             "400 target");
    check("GET of an encoded slash", "GET %2fa",            "400 target");
    check("GET of a backslash",      "GET \\a",             "400 target");
    check("GET of a mail address",   "GET mailto:a@b",      "400 target");
}

#[test]
fn methods_have_a_limit() {
    let longest = "M".repeat(METHOD_BYTES_MAX);
    check(
        "the longest",
        &format!("{longest} /a"),
        &format!("{longest} h/a []"),
    );
    check("one more", &format!("{longest}M /a"), "501 method-too-long");
    check(
        "many more",
        &format!("{} /a", "M".repeat(20_000)),
        "501 method-too-long",
    );
}

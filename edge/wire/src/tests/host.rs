//! `Host`, and the authority of absolute-form targets.

use super::{check_bytes, head};

#[track_caller]
fn check(what: &str, target: &str, fields: &str, expected: &str) {
    let bytes = format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n");
    check_bytes(what, bytes.as_bytes(), expected);
}

#[test]
#[rustfmt::skip]
fn host_is_one_host_with_an_optional_port() {
    check("a name",               "/a", "Host: example.com",           "GET example.com/a []");
    check("upper case",           "/a", "Host: EXAMPLE.com",           "GET example.com/a []");
    check("a dot at the end",     "/a", "Host: example.com.",          "GET example.com/a []");
    check("a port",               "/a", "Host: h:8080",                "GET h:8080/a []");
    check("an empty port",        "/a", "Host: h:",                    "GET h/a []");
    check("an IPv4 address",      "/a", "Host: 127.0.0.1:80",          "GET 127.0.0.1:80/a []");
    check("an IPv6 address",      "/a", "Host: [::1]:80",              "GET [::1]:80/a []");
    check("a long IPv6 address",  "/a", "Host: [0:0:0:0:0:0:0:1]",     "GET [::1]/a []");

    check("none",                 "/a", "X: y",                        "400 host-missing");
    check("two",                  "/a", "Host: h\r\nHost: i",          "400 host-repeated");
    check("two the same",         "/a", "Host: h\r\nHost: h",          "400 host-repeated");
    check("two apart",            "/a", "Host: h\r\nX: y\r\nhost: h",  "400 host-repeated");
    check("two, one empty",       "/a", "Host: h\r\nHost:",            "400 host-repeated");
    check("empty",                "/a", "Host:",                       "400 authority");
    check("only spaces",          "/a", "Host:   ",                    "400 authority");
    check("a path",               "/a", "Host: h/b",                   "400 authority");
    check("a slash",              "/a", "Host: h/",                    "400 authority");
    check("a query",              "/a", "Host: h?b",                   "400 authority");
    check("a fragment",           "/a", "Host: h#b",                   "400 authority");
    check("a backslash",          "/a", "Host: h\\b",                  "400 authority");
    check("userinfo",             "/a", "Host: u@h",                   "400 authority");
    check("userinfo and password", "/a", "Host: u:p@h",                "400 authority");
    check("a list",               "/a", "Host: h, i",                  "400 authority");
    check("a list without space", "/a", "Host: h,i",                   "400 authority");
    check("a space",              "/a", "Host: h i",                   "400 authority");
    check("a tab",                "/a", "Host: h\ti",                  "400 authority");
    check("a URL",                "/a", "Host: http://h",              "400 authority");
    check("a quote",              "/a", "Host: \"h\"",                 "400 authority");
    check("percent-encoding",     "/a", "Host: %68",                   "400 authority");
    check("an encoded slash",     "/a", "Host: h%2fb",                 "400 authority");
    check("UTF-8",                "/a", "Host: é",                     "400 authority");
    check("a star",               "/a", "Host: *",                     "400 authority");
    check("angle brackets",       "/a", "Host: <h>",                   "400 authority");
    check("a bad port",           "/a", "Host: h:x",                   "400 authority");
    check("a negative port",      "/a", "Host: h:-80",                 "400 authority");
    check("a signed port",        "/a", "Host: h:+80",                 "400 authority");
    check("port zero",            "/a", "Host: h:0",                   "400 authority");
    check("a port too large",     "/a", "Host: h:65536",               "400 authority");
    check("a port that wraps",    "/a", "Host: h:65616",               "400 authority");
    check("two ports",            "/a", "Host: h:80:81",               "400 authority");
    check("a port and a host",    "/a", "Host: h:80@i",                "400 authority");
    check("only a port",          "/a", "Host: :80",                   "400 authority");
    check("only a dot",           "/a", "Host: .",                     "400 authority");
    check("two dots",             "/a", "Host: a..b",                  "400 authority");
    check("an open bracket",      "/a", "Host: [::1",                  "400 authority");
    check("a bare IPv6 address",  "/a", "Host: ::1",                   "400 authority");
    check("text after brackets",  "/a", "Host: [::1]x",                "400 authority");
    check("a zone",               "/a", "Host: [fe80::1%25eth0]",      "400 authority");
    check("an underscore name",   "/a", "Host: h\r\nH_ost: i",         "GET h/a []");
    check("a space before colon", "/a", "Host : h",                    "400 space-before-colon");
    check("a space before it",    "/a", " Host: h",                    "400 obs-fold");
    check("a fold",               "/a", "Host: h\r\n i",               "400 obs-fold");
    check("a NUL",                "/a", "Host: h\0i",                  "400 control-byte");
}

#[test]
#[rustfmt::skip]
fn an_absolute_target_and_host_agree() {
    check("the same",             "http://h/a",       "Host: h",       "GET h/a []");
    check("in another case",      "HTTP://H/a",       "Host: h",       "GET h/a []");
    check("a default port",       "http://h:80/a",    "Host: h",       "GET h:80/a []");
    check("a default port there", "http://h/a",       "Host: h:80",    "GET h/a []");
    check("https",                "https://h/a",      "Host: h:443",   "GET h/a []");
    check("no path",              "http://h",         "Host: h",       "GET h/ []");
    check("only a query",         "http://h?b",       "Host: h",       "GET h/?b []");
    check("another host",         "http://h/a",       "Host: i",       "400 host-mismatch");
    check("another port",         "http://h:81/a",    "Host: h",       "400 host-mismatch");
    check("https on port 80",     "https://h/a",      "Host: h:80",    "400 host-mismatch");
    check("no Host",              "http://h/a",       "X: y",          "400 host-missing");
    check("an empty Host",        "http://h/a",       "Host:",         "400 authority");
    check("two Hosts",            "http://h/a",       "Host: h\r\nHost: h", "400 host-repeated");
    check("a bad Host",           "http://h/a",       "Host: h/a",     "400 authority");
    check("userinfo",             "http://u@h/a",     "Host: h",       "400 authority");
    check("a host before",        "http://i@h/a",     "Host: i",       "400 authority");
    check("no host",              "http:///a",        "Host: h",       "400 authority");
    check("a backslash",          "http://h\\@i/a",   "Host: h",       "400 authority");
    check("another scheme",       "ftp://h/a",        "Host: h",       "400 target");
    check("a scheme alone",       "http:",            "Host: h",       "400 target");
    check("one slash",            "http:/h/a",        "Host: h",       "400 target");
    check("a fragment",           "http://h/a#b",     "Host: h",       "400 target");
    check("a target of a target", "/http://i/a",      "Host: h",       "GET h/http://i/a []");
}

#[test]
fn http_1_0_may_leave_host_out_but_not_wrong() {
    let check = |fields: &str, expected| {
        let bytes = format!("GET /a HTTP/1.0\r\n{fields}\r\n");
        check_bytes(fields, bytes.as_bytes(), expected);
    };
    check("", "GET /a []");
    check("Host: h\r\n", "GET h/a []");
    check("Host:\r\n", "400 authority");
    check("Host: h\r\nHost: h\r\n", "400 host-repeated");
    let absolute = b"GET http://h/a HTTP/1.0\r\n\r\n";
    check_bytes("absolute", absolute, "GET h/a []");
    assert_eq!(head(absolute).headers["host"], "h");
    assert!(head(b"GET /a HTTP/1.0\r\n\r\n").headers.is_empty());
}

#[test]
fn the_scheme_of_an_absolute_target_is_told() {
    let head = head(b"GET HTTPS://h/a HTTP/1.1\r\nHost: h:443\r\n\r\n");
    assert_eq!(head.scheme, Some(http::uri::Scheme::HTTPS));
    assert_eq!(head.headers["host"], "h");
}

#[test]
fn a_head_that_is_addressed_to_another_host_is_as_if_it_had_come_so() {
    let bytes = |host: &str| format!("GET /a HTTP/1.1\r\nHost: {host}\r\nX: y\r\n\r\n");
    let mut moved = head(bytes("a.example").as_bytes());
    for host in ["b.example", "B.Example.:80", "[0::1]:8080", "a.example"] {
        let came = head(bytes(host).as_bytes());
        moved.address(host).unwrap();
        assert_eq!(format!("{moved:?}"), format!("{came:?}"));
    }
    let before = format!("{moved:?}");
    for host in ["", "a..b", "a b", "a, b", "a:0", "u@a", "a\r\nX: z"] {
        assert_eq!(moved.address(host), Err(crate::Refusal::Authority));
        assert_eq!(format!("{moved:?}"), before, "{host:?}");
    }
}

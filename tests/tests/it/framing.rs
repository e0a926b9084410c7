//! Request smuggling: nothing ambiguous reaches an origin. Bodies are the subject of `uploads`.
//!
//! Every refused case is sent on a connection of its own with a second request behind it. The
//! second one must not be answered, and neither may have reached the origin.

use larder_tests::{Gate, Node, Origin, Reply, eventually, settled};

use crate::{A_WHILE, SOON};

/// What follows in the same bytes, to be taken for a request by whoever miscounts.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// The first line and the host.
const POST: &str = "POST /x HTTP/1.1\r\nHost: www.example.com\r\n";
const GET: &str = "GET /x HTTP/1.1\r\nHost: www.example.com\r\n";

/// A node, and an origin that answers everything.
pub(crate) struct Bench {
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let origin = Origin::start(|_| Reply::fresh(600, "ok")).await;
        let node = Node::before(&origin.url()).await;
        Self { origin, node }
    }

    /// Each is answered with one refusal and the end of the connection; the origin sees nothing.
    async fn refused(&self, cases: &[(&str, String)]) {
        let before = self.origin.total();
        for (name, bytes) in cases {
            self.refuse(name, bytes.as_bytes()).await;
        }
        settled(A_WHILE, || true).await;
        let strays = self.origin.requests().split_off(before);
        assert!(strays.is_empty(), "{strays:?}");
        assert_eq!(self.node.get("/innocent").await.status, 200);
    }

    async fn refuse(&self, name: &str, bytes: &[u8]) {
        let mut client = self.node.client().await;
        client.send([bytes, SMUGGLED.as_bytes()].concat()).await;
        let Some(answer) = client.answer_to("GET").await else {
            panic!("{name}: closed without a word")
        };
        assert!(
            (400..506).contains(&answer.status),
            "{name}: {}",
            answer.status
        );
        assert_ne!(answer.status, 502, "{name}");
        assert!(
            client.closes_within(SOON).await,
            "{name}: the connection stays open"
        );
    }
}

fn post(fields: &str, body: &str) -> String {
    format!("{POST}{fields}\r\n{body}")
}

fn get(fields: &str) -> String {
    format!("{GET}{fields}\r\n")
}

/// Rows of a name and the bytes.
fn rows<const N: usize>(rows: [(&'static str, String); N]) -> Vec<(&'static str, String)> {
    rows.into()
}

#[tokio::test]
async fn a_length_and_a_transfer_coding_together_are_refused() {
    let bench = Bench::new().await;
    bench
        .refused(&rows([
            (
                "length first",
                post(
                    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "coding first",
                post(
                    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "length zero",
                post(
                    "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
            ),
            (
                "true length",
                post(
                    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\n",
                ),
            ),
        ]))
        .await;
}

#[tokio::test]
async fn lengths_that_are_not_one_number_are_refused() {
    let bench = Bench::new().await;
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), "hello");
    bench
        .refused(&rows([
            (
                "two different",
                post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
            ),
            (
                "two equal",
                post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            ),
            ("a list of equals", length("5, 5")),
            ("a list", length("5, 6")),
            ("a sign", length("+5")),
            ("negative", length("-5")),
            ("hexadecimal", length("0x5")),
            ("a decimal point", length("5.0")),
            ("an exponent", length("5e0")),
            ("a space inside", length("1 5")),
            ("empty", length("")),
            ("letters", length("five")),
            ("2^64 + 5", length("18446744073709551621")),
            ("2^63", length("9223372036854775808000")),
            ("a vertical tab", length("\x0b5")),
            (
                "an underscore in the name",
                post("Content-Length: 5\r\nContent_Length : 5\r\n", "hello"),
            ),
        ]))
        .await;
}

#[tokio::test]
async fn transfer_codings_in_any_other_spelling_are_refused() {
    let bench = Bench::new().await;
    let coding = |field: &str| post(&format!("{field}\r\n"), "0\r\n\r\n");
    bench
        .refused(&rows([
            ("unknown", coding("Transfer-Encoding: xchunked")),
            ("identity", coding("Transfer-Encoding: identity")),
            ("gzip alone", coding("Transfer-Encoding: gzip")),
            ("gzip, chunked", coding("Transfer-Encoding: gzip, chunked")),
            (
                "chunked, identity",
                coding("Transfer-Encoding: chunked, identity"),
            ),
            (
                "chunked twice",
                coding("Transfer-Encoding: chunked, chunked"),
            ),
            (
                "two lines",
                coding("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            ),
            (
                "two lines, one odd",
                coding("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
            ),
            ("quoted", coding("Transfer-Encoding: \"chunked\"")),
            ("a parameter", coding("Transfer-Encoding: chunked;q=1")),
            (
                "a space before the colon",
                coding("Transfer-Encoding : chunked"),
            ),
            (
                "a tab before the colon",
                coding("Transfer-Encoding\t: chunked"),
            ),
            ("a vertical tab", coding("Transfer-Encoding: \x0bchunked")),
            ("a form feed", coding("Transfer-Encoding: \x0cchunked")),
            ("a NUL", coding("Transfer-Encoding: chunked\0")),
            (
                "a bare carriage return",
                coding("Transfer-Encoding: chunked\rX: y"),
            ),
            ("folded", coding("Transfer-Encoding:\r\n chunked")),
            (
                "a folded name",
                coding("X: y\r\n Transfer-Encoding: chunked"),
            ),
            ("empty", coding("Transfer-Encoding: ")),
            ("a comma", coding("Transfer-Encoding: ,chunked,x")),
            ("a leading space", coding(" Transfer-Encoding: chunked")),
        ]))
        .await;
}

#[tokio::test]
async fn a_coding_with_http_1_0_is_refused() {
    let bench = Bench::new().await;
    let head = "POST /x HTTP/1.0\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n";
    bench
        .refused(&rows([
            ("alone", format!("{head}\r\n0\r\n\r\n")),
            (
                "kept alive",
                format!("{head}Connection: keep-alive\r\n\r\n0\r\n\r\n"),
            ),
            (
                "with a length",
                format!("{head}Content-Length: 5\r\n\r\n0\r\n\r\n"),
            ),
        ]))
        .await;
}

#[tokio::test]
async fn hosts_that_name_no_one_host_are_refused() {
    let bench = Bench::new().await;
    let host = |value: &str| format!("GET /x HTTP/1.1\r\nHost: {value}\r\n\r\n");
    bench
        .refused(&rows([
            ("none", "GET /x HTTP/1.1\r\n\r\n".to_owned()),
            ("two", get("Host: www.example.com\r\n")),
            ("two different", get("Host: other.example\r\n")),
            ("empty", host("")),
            ("a path", host("www.example.com/x")),
            ("user information", host("user@www.example.com")),
            ("a list", host("www.example.com, other.example")),
            ("a space", host("www.example.com other.example")),
            ("a letter for a port", host("www.example.com:a")),
            ("a port too large", host("www.example.com:65536")),
            ("a query", host("www.example.com?x")),
            ("a fragment", host("www.example.com#x")),
            ("a backslash", host("www.example.com\\x")),
            ("a bracket left open", host("[::1")),
            (
                "folded",
                "GET /x HTTP/1.1\r\nHost:\r\n www.example.com\r\n\r\n".to_owned(),
            ),
        ]))
        .await;
}

#[tokio::test]
async fn the_targets_authority_wins_over_the_host_or_is_refused() {
    let bench = Bench::new().await;
    let absolute = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    let same = absolute("http://www.example.com/same", "www.example.com");
    assert_eq!(bench.node.exchange(same).await.unwrap().status, 200);
    assert_eq!(
        bench.origin.last("/same").values("Host"),
        ["www.example.com"]
    );

    let other = absolute("http://www.example.com/other", "evil.example");
    let answer = bench.node.exchange(other).await.unwrap();
    if answer.status != 400 {
        assert_eq!(
            bench.origin.last("/other").values("Host"),
            ["www.example.com"]
        );
    }
    bench
        .refused(&rows([
            (
                "no host",
                "GET http://www.example.com/x HTTP/1.1\r\n\r\n".to_owned(),
            ),
            (
                "user information",
                absolute("http://a@www.example.com/x", "www.example.com"),
            ),
            (
                "another scheme",
                absolute("ftp://www.example.com/x", "www.example.com"),
            ),
            ("no authority", absolute("http:///x", "www.example.com")),
        ]))
        .await;
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let bench = Bench::new().await;
    let line = |line: &str| format!("{line}\r\nHost: www.example.com\r\n\r\n");
    bench
        .refused(&rows([
            (
                "bare line feeds",
                "GET /x HTTP/1.1\nHost: www.example.com\n\n".to_owned(),
            ),
            ("one bare line feed", get("X: a\nY: b\r\n")),
            ("a bare carriage return", get("X: a\rb\r\n")),
            ("a NUL in a value", get("X: a\0b\r\n")),
            ("a target that no URL has", line("GET /<x> HTTP/1.1")),
            ("a query that no URL has", line("GET /x?\"y\" HTTP/1.1")),
            ("a bell in a value", get("X: a\x07b\r\n")),
            ("a field without a colon", get("X\r\n")),
            ("a field without a name", get(": x\r\n")),
            ("a space in a name", get("X Y: z\r\n")),
            ("a space before the colon", get("X : z\r\n")),
            ("a folded line", get("X: a\r\n b\r\n")),
            (
                "a first line that is folded",
                "GET /x HTTP/1.1\r\n Host: www.example.com\r\n\r\n".to_owned(),
            ),
            ("an odd character in a name", get("X(Y): z\r\n")),
            ("two spaces", line("GET  /x HTTP/1.1")),
            ("a tab", line("GET\t/x HTTP/1.1")),
            ("a space in the target", line("GET /x y HTTP/1.1")),
            ("a fragment", line("GET /x#y HTTP/1.1")),
            (
                "a control character in the target",
                line("GET /x\x01 HTTP/1.1"),
            ),
            ("no slash", line("GET x HTTP/1.1")),
            ("no version", line("GET /x")),
            ("lower-case http", line("GET /x http/1.1")),
            ("two digits", line("GET /x HTTP/1.10")),
            ("HTTP/2.0", line("GET /x HTTP/2.0")),
            ("HTTP/3.7", line("GET /x HTTP/3.7")),
            ("a character before the method", line("\x01GET /x HTTP/1.1")),
            ("an odd method", line("G(T /x HTTP/1.1")),
            ("CONNECT", line("CONNECT www.example.com:443 HTTP/1.1")),
            ("an asterisk for GET", line("GET * HTTP/1.1")),
            (
                "an expectation nobody knows",
                get("Expect: the-unexpected\r\n"),
            ),
        ]))
        .await;
}

#[tokio::test]
async fn what_is_odd_but_valid_is_served() {
    let bench = Bench::new().await;
    let close = "Connection: close\r\n";
    for (name, bytes) in rows([
        ("an empty line first", format!("\r\n{}", get(close))),
        ("a field without a space", get(&format!("X:y\r\n{close}"))),
        (
            "white space around a value",
            get(&format!("X: \t y \t\r\n{close}")),
        ),
        ("an empty value", get(&format!("X:\r\n{close}"))),
        ("bytes beyond ASCII", get(&format!("X: \u{e4}\r\n{close}"))),
        (
            "upper-case host",
            "GET /x HTTP/1.1\r\nHost: WWW.EXAMPLE.COM\r\nConnection: close\r\n\r\n".into(),
        ),
        (
            "a host with a port",
            "GET /x HTTP/1.1\r\nHost: www.example.com:80\r\nConnection: close\r\n\r\n".into(),
        ),
        (
            "HTTP/1.0",
            "GET /x HTTP/1.0\r\nHost: www.example.com\r\n\r\n".into(),
        ),
        (
            "OPTIONS *",
            "OPTIONS * HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n".into(),
        ),
        (
            "an unknown method",
            "FROB /x HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n".into(),
        ),
        (
            "chunks with an extension",
            post(
                &format!("Transfer-Encoding: chunked\r\n{close}"),
                "5;a=b\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        (
            "chunks with a trailer",
            post(
                &format!("Transfer-Encoding: chunked\r\n{close}"),
                "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            ),
        ),
        (
            "upper-case Chunked",
            post(
                &format!("Transfer-Encoding: Chunked\r\n{close}"),
                "0\r\n\r\n",
            ),
        ),
        (
            "upper-case chunk size",
            post(
                &format!("Transfer-Encoding: chunked\r\n{close}"),
                "A\r\nhellohello\r\n0\r\n\r\n",
            ),
        ),
        (
            "leading zeros",
            post(&format!("Content-Length: 0005\r\n{close}"), "hello"),
        ),
    ]) {
        let answer = bench.node.exchange(bytes).await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Some(200), "{name}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let node = Node::before(&origin.url()).await;
    let mut client = node.client().await;
    let all: String = (0..20)
        .map(|n| format!("GET /{} HTTP/1.1\r\nHost: www.example.com\r\n\r\n", n % 7))
        .collect();
    client.send(all).await;
    for n in 0..20 {
        assert_eq!(client.answer().await.text(), format!("/{}", n % 7));
    }
}

/// HTTP/1.0 does without `Host`; what is sent on as HTTP/1.1 does not (RFC 9112 §3.2).
#[tokio::test]
async fn a_request_without_a_host_goes_on_with_the_origins_own() {
    let bench = Bench::new().await;
    for target in ["GET /kept", "POST /passed"] {
        let answer = bench.node.exchange(format!("{target} HTTP/1.0\r\n\r\n"));
        assert_eq!(answer.await.map(|answer| answer.status), Some(200));
    }
    let own = bench.origin.address().to_string();
    for seen in bench.origin.requests() {
        assert_eq!(seen.values("Host"), [own.as_str()], "{}", seen.target);
    }
    assert_eq!(bench.origin.total(), 2);
}

/// It cannot be told from one that left, until something is written to it.
#[tokio::test]
async fn a_client_that_ended_its_sending_direction_gets_its_answer() {
    let gate = Gate::closed();
    let answering = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("late").after(&answering)).await;
    let node = Node::before(&origin.url()).await;
    let requests = [get(""), post("Content-Length: 5\r\n", "hello")];
    for (n, request) in requests.iter().enumerate() {
        let mut client = node.client().await;
        client.send(request).await;
        client.finish().await;
        eventually(SOON, || origin.total() == n + 1).await;
        settled(A_WHILE, || true).await;
        gate.open();
        let answer = client.answer().await;
        assert_eq!(answer.text(), "late", "{request}");
        assert!(client.closes_within(SOON).await);
    }
}

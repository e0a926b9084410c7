//! Every setting that is accepted has an effect: the file's words, and what they change on the wire.

use larder_tests::{
    Ca, FrameClient, Gate, Node, Origin, Reply, Response, Seen, Settings, eventually, kind,
};

use crate::{SOON, seconds};

/// A node in front of an origin, with one line in its site.
async fn with_site(line: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Bench {
    let origin = Origin::start(answer).await;
    let settings = Settings::origins(&[&origin.url()]).site(line);
    let node = Node::start(settings).await;
    Bench { origin, node }
}

/// A node in front of an origin, with one line in a table that is not a site.
async fn with_table(
    table: &'static str,
    line: &str,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> Bench {
    let origin = Origin::start(answer).await;
    let settings = Settings::origins(&[&origin.url()]).table(table, line);
    let node = Node::start(settings).await;
    Bench { origin, node }
}

struct Bench {
    origin: Origin,
    node: Node,
}

impl Bench {
    /// Whether a second request with other fields is answered with what the first one left.
    async fn shares(&self, first: &[(&str, &str)], second: &[(&str, &str)]) -> bool {
        let target = format!("/{}", self.origin.total());
        self.node.get_with(&target, first).await;
        self.node.get_with(&target, second).await.is_hit()
    }
}

fn ttl(answer: &Response) -> i64 {
    let ttl = answer.cache_parameter("ttl").expect("a hit has a ttl");
    ttl.parse().expect("a number of seconds")
}

// === [node], [memory], [log] ===

#[tokio::test]
async fn threads_are_as_many_as_the_file_says() {
    for (threads, least, most) in [(1, 1, 4), (6, 6, 64)] {
        let line = format!("threads = {threads}");
        let bench = with_table("node", &line, |_| Reply::ok("x")).await;
        let tasks = std::fs::read_dir(format!("/proc/{}/task", bench.node.id())).unwrap();
        let main = bench.node.id().to_string();
        let workers = tasks
            .filter_map(Result::ok)
            .filter(|task| task.file_name().to_string_lossy() != main)
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
            .filter(|name| name.trim() == "larder")
            .count();
        assert!((least..=most).contains(&workers), "{threads}: {workers}");
    }
}

#[tokio::test]
async fn eviction_is_by_use_and_size_or_by_use_alone() {
    for (eviction, stays) in [("gdsf", true), ("lru", false)] {
        let origin = Origin::start(|seen| match seen.target.as_str() {
            "/small" => Reply::fresh(600, "x"),
            _ => Reply::fresh(600, vec![b'x'; 200 << 10]),
        })
        .await;
        let settings = Settings::origins(&[&origin.url()])
            .table("memory", "size = \"1MiB\"")
            .table("memory", "object_max = \"256KiB\"")
            .table("memory", &format!("eviction = \"{eviction}\""));
        let node = Node::start(settings).await;
        for _ in 0..5 {
            node.get("/small").await;
        }
        for number in 0..20 {
            node.get(&format!("/large/{number}")).await;
        }
        assert_eq!(node.get("/small").await.is_hit(), stays, "{eviction}");
    }
}

#[tokio::test]
async fn the_level_of_the_log_decides_what_is_told() {
    for (level, told) in [("debug", true), ("info", false)] {
        let line = format!("level = \"{level}\"");
        let mut bench = with_table("log", &line, |_| Reply::ok("x")).await;
        bench.origin.die().await;
        assert_eq!(bench.node.get("/a").await.status, 502);
        let tells = || {
            let lines = bench.node.stderr();
            lines.iter().any(|line| line.contains("a fill failed"))
        };
        if told {
            eventually(SOON, tells).await;
        } else {
            assert!(!tells(), "{level}");
        }
    }
}

// === [limits] ===

#[tokio::test]
async fn long_targets_and_heads_are_refused_at_the_limits_of_the_file() {
    let target = format!("/{}", "a".repeat(300));
    let bench = with_table("limits", "target_bytes = \"256B\"", |_| Reply::ok("x")).await;
    assert_eq!(bench.node.get(&target).await.status, 414);
    let bench = with_table("limits", "head_bytes = \"1KiB\"", |_| Reply::ok("x")).await;
    assert_eq!(bench.node.get(&target).await.status, 200);
    let long = "a".repeat(1000);
    let refused = bench.node.get_with("/", &[("X-Long", &long)]).await;
    assert_eq!(refused.status, 431);
}

#[tokio::test]
async fn a_follower_waits_no_longer_than_the_file_says() {
    let never = Gate::closed();
    let first = never.clone();
    let bench = with_table(
        "limits",
        "follower_wait = \"50ms\"",
        move |seen| match seen.nth {
            1 => Reply::fresh(60, "first").after(&first),
            _ => Reply::fresh(60, "second"),
        },
    )
    .await;
    let mut leader = bench.node.client().await;
    leader.ask("GET", "/a", &[]).await;
    eventually(SOON, || bench.origin.count("/a") == 1).await;
    assert_eq!(bench.node.get("/a").await.text(), "second");
    never.open();
    assert_eq!(leader.answer().await.text(), "first");
}

#[tokio::test]
async fn more_ranges_than_the_file_allows_are_answered_with_everything() {
    let bench = with_table("limits", "ranges = 2", |_| {
        Reply::fresh(60, vec![b'x'; 10_000])
    })
    .await;
    bench.node.get("/a").await;
    for (ranges, status) in [("bytes=0-0,4-4", 206), ("bytes=0-0,4-4,8-8", 200)] {
        let answer = bench.node.get_with("/a", &[("Range", ranges)]).await;
        assert_eq!(answer.status, status, "{ranges}");
    }
}

#[tokio::test]
async fn the_streams_of_a_connection_are_told_in_its_settings() {
    let bench = with_table("limits", "h2_streams = 7", |_| Reply::ok("x")).await;
    let mut client = FrameClient::connect(bench.node.address()).await;
    let settings = client.next_of(kind::SETTINGS, 0, SOON).await.unwrap();
    let concurrent = settings.payload.chunks(6).find(|entry| entry[1] == 3);
    assert_eq!(concurrent.map(|entry| &entry[2..]), Some(&[0, 0, 0, 7][..]));
}

// === origins ===

/// A node in front of a TLS origin, with this in its entry.
async fn before_tls(ca: &Ca, protocols: &[&str], entry: &str) -> Bench {
    let origin = Origin::start_tls(ca, &["origin.example"], protocols, |_| Reply::ok("x")).await;
    let url = origin.url();
    let line = format!("origins = [{{ url = \"{url}\", {entry} }}]");
    let node = Node::start(Settings::origins(&[&url]).site(&line)).await;
    Bench { origin, node }
}

#[tokio::test]
async fn an_origin_is_verified_by_the_name_and_authorities_of_the_file() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let trusted = format!("ca = {file:?}");
    for (entry, status) in [
        ("verify = false".to_owned(), 200),
        (format!("{trusted}, sni = \"origin.example\""), 200),
        (format!("{trusted}, sni = \"other.example\""), 502),
        (trusted, 502),
        ("sni = \"origin.example\"".to_owned(), 502),
    ] {
        let bench = before_tls(&ca, &["h2", "http/1.1"], &entry).await;
        assert_eq!(bench.node.get("/a").await.status, status, "{entry}");
    }
}

#[tokio::test]
async fn an_origin_is_spoken_to_in_the_version_and_by_the_name_of_the_file() {
    let ca = Ca::new();
    for (http, is_two) in [("auto", true), ("1", false), ("2", true)] {
        let entry = format!("verify = false, host = \"backend.example\", http = \"{http}\"");
        let bench = before_tls(&ca, &["h2", "http/1.1"], &entry).await;
        bench.node.get("/a").await;
        let seen = bench.origin.last("/a");
        let authority = seen.field(":authority");
        let host = authority.or_else(|| seen.field("Host"));
        assert_eq!(host, Some("backend.example"), "{http}");
        assert_eq!(authority.is_some(), is_two, "{http}");
    }
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let settings = Settings::origins(&[&url])
        .site("connect_timeout = \"50ms\"")
        .site("retries = 0");
    let answer = Node::start(settings).await.get("/a").await;
    assert_eq!(answer.status, 504);
}

#[tokio::test]
async fn a_connection_that_is_unused_too_long_is_not_kept() {
    let bench = with_site("idle_timeout = \"1ms\"", |_| Reply::ok("x")).await;
    for _ in 0..50 {
        bench.node.get("/a").await;
        if bench.origin.connections() > 1 {
            return;
        }
    }
    panic!("one connection for all");
}

#[tokio::test]
async fn an_unknown_transfer_coding_is_refused_or_read_to_the_end() {
    for (word, status) in [("refuse", 502), ("until-close", 200)] {
        let line = format!("unknown_transfer_coding = \"{word}\"");
        let bench = with_site(&line, |_| {
            Reply::verbatim("HTTP/1.1 200 OK\r\nTransfer-Encoding: odd\r\n\r\nx").closing()
        })
        .await;
        assert_eq!(bench.node.get("/a").await.status, status, "{word}");
    }
}

#[tokio::test]
async fn the_clients_address_is_told_as_the_file_says() {
    for (word, told) in [
        ("set", vec!["127.0.0.1"]),
        // Nobody said that this client may speak for others.
        ("append", vec!["127.0.0.1"]),
        ("off", vec![]),
    ] {
        let line = format!("forwarded = \"{word}\"");
        let bench = with_site(&line, |_| Reply::ok("x")).await;
        let fields = [("X-Forwarded-For", "6.6.6.6")];
        bench.node.get_with("/a", &fields).await;
        let seen = bench.origin.last("/a");
        assert_eq!(seen.values("X-Forwarded-For"), told, "{word}");
    }
}

#[tokio::test]
async fn a_field_outside_the_key_reaches_the_origin_only_where_the_file_says_so() {
    for (line, told) in [
        ("pass_unkeyed = []", None),
        ("pass_unkeyed = [\"X-Forwarded-Host\"]", Some("evil")),
        ("key = { headers = [\"X-Forwarded-Host\"] }", Some("evil")),
    ] {
        let bench = with_site(line, |_| Reply::ok("x")).await;
        let fields = [("X-Forwarded-Host", "evil")];
        bench.node.get_with("/a", &fields).await;
        let seen = bench.origin.last("/a");
        assert_eq!(seen.field("X-Forwarded-Host"), told, "{line}");
    }
}

// === caching ===

#[tokio::test]
async fn a_response_with_a_cookie_is_refused_stripped_or_stored() {
    for (word, hit, cookie) in [
        ("refuse", false, Some("a=b")),
        ("strip", true, None),
        ("store", true, Some("a=b")),
    ] {
        let line = format!("set_cookie = \"{word}\"");
        let bench = with_site(&line, |_| Reply::fresh(60, "x").with("Set-Cookie", "a=b")).await;
        bench.node.get("/a").await;
        let again = bench.node.get("/a").await;
        assert_eq!(
            (again.is_hit(), again.header("Set-Cookie")),
            (hit, cookie),
            "{word}"
        );
    }
}

#[tokio::test]
async fn a_stale_response_is_sent_while_it_is_refreshed_where_the_file_says_so() {
    let line = "stale = { while_revalidate = \"30s\" }";
    let mut bench = with_site(line, |seen| Reply::fresh(10, seen.nth.to_string())).await;
    bench.node.get("/a").await;
    bench.node.advance(seconds(15));
    let stale = bench.node.get("/a").await;
    assert_eq!((stale.text().as_str(), ttl(&stale)), ("1", -5));
    eventually(SOON, || bench.origin.count("/a") == 2).await;
}

#[tokio::test]
async fn a_stale_response_stands_in_for_the_errors_of_the_file() {
    for (stale, status, answered) in [
        ("{ if_error = \"1h\", statuses = [503] }", 503, 200),
        ("{ if_error = \"1h\", statuses = [503] }", 500, 500),
        ("{ if_error = \"1s\" }", 503, 503),
    ] {
        let line = format!("stale = {stale}");
        let mut bench = with_site(&line, move |seen| match seen.nth {
            1 => Reply::fresh(10, "x"),
            _ => Reply::status(status),
        })
        .await;
        bench.node.get("/a").await;
        bench.node.advance(seconds(60));
        let answer = bench.node.get("/a").await;
        assert_eq!(answer.status, answered, "{stale} {status}");
    }
}

#[tokio::test]
async fn freshness_is_guessed_as_the_file_says() {
    async fn guessed(heuristic: &str) -> Option<i64> {
        let old = "Sat, 01 Jan 2000 00:00:00 GMT";
        let line = format!("heuristic = {heuristic}");
        let bench = with_site(&line, move |_| Reply::ok("x").with("Last-Modified", old)).await;
        bench.node.get("/a").await;
        let again = bench.node.get("/a").await;
        again.is_hit().then(|| ttl(&again))
    }
    assert_eq!(guessed("{ percent = 0 }").await, None);
    let capped = guessed("{ most = \"1m\" }").await.unwrap();
    assert!((55..=60).contains(&capped), "{capped}");
    let one = guessed("{ percent = 1, most = \"1y\" }").await.unwrap();
    let two = guessed("{ percent = 2, most = \"1y\" }").await.unwrap();
    assert!((2 * one - two).abs() < 60, "{one} {two}");
}

#[tokio::test]
async fn fields_and_cookies_of_the_key_tell_requests_apart() {
    let fresh = |_: &Seen| Reply::fresh(60, "x");
    let keyed = with_site(
        "key = { headers = [\"X-Device\"], cookies = [\"currency\"] }",
        fresh,
    );
    let (keyed, plain) = (keyed.await, with_site("debug = false", fresh).await);
    for (first, second, same) in [
        (("X-Device", "tv"), ("X-Device", "phone"), false),
        (
            ("Cookie", "currency=eur; a=1"),
            ("Cookie", "a=2; currency=eur"),
            true,
        ),
        (
            ("Cookie", "currency=eur"),
            ("Cookie", "currency=usd"),
            false,
        ),
    ] {
        assert_eq!(
            keyed.shares(&[first], &[second]).await,
            same,
            "{first:?} {second:?}"
        );
        assert!(
            plain.shares(&[first], &[second]).await,
            "{first:?} {second:?}"
        );
    }
}

#[tokio::test]
async fn selecting_fields_are_compared_as_the_file_says() {
    let gzip = [
        ("Accept-Encoding", "gzip, br"),
        ("Accept-Encoding", "br;q=1.0,gzip"),
    ];
    let english = [
        ("Accept-Language", "en, de;q=0.5"),
        ("Accept-Language", "en, fr;q=0.5"),
    ];
    for (vary, pair, same) in [
        ("accept_encoding = \"normalise\"", gzip, true),
        ("accept_encoding = \"exact\"", gzip, false),
        ("accept_language = \"exact\"", english, false),
        ("accept_language = \"normalise\"", english, false),
        ("accept_language = [\"en\", \"de\"]", english, true),
    ] {
        let line = format!("vary = {{ {vary} }}");
        let bench = with_site(&line, move |_| {
            Reply::fresh(60, "x").with("Vary", pair[0].0)
        })
        .await;
        assert_eq!(bench.shares(&pair[..1], &pair[1..]).await, same, "{vary}");
    }
}

#[tokio::test]
async fn a_target_of_the_file_goes_before_the_others() {
    let line = "targets = [\"Edge-Control\"]";
    let bench = with_site(line, |_| {
        Reply::fresh(10, "x")
            .with("Edge-Control", "max-age=600")
            .with("CDN-Cache-Control", "no-store")
    })
    .await;
    bench.node.get("/a").await;
    assert!(ttl(&bench.node.get("/a").await) > 500);
}

// === rules ===

/// A node whose site has one rule.
async fn with_rule(rule: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Bench {
    let origin = Origin::start(answer).await;
    let settings = Settings::origins(&[&origin.url()]).rule(rule);
    let node = Node::start(settings).await;
    Bench { origin, node }
}

#[tokio::test]
async fn a_rule_is_for_what_it_matches_only() {
    let none = "cache = false";
    let session = [("Cookie", "a=1; session=2")];
    // `é` in UTF-8, as some applications put it into cookies.
    let odd = [("Cookie", "name=\u{c3}\u{a9}; session=2")];
    for (conditions, target, fields, cached) in [
        ("path = \"/b/*\"", "/b/x", &[][..], false),
        ("path = \"/b/*\"", "/c", &[], true),
        ("path = [\"/b\", \"/c\"]", "/c?x", &[], false),
        ("header = { name = \"Cookie\" }", "/a", &session, false),
        ("header = { name = \"Cookie\" }", "/a", &[], true),
        (
            "header = { name = \"Cookie\", value = \"*session=*\" }",
            "/a",
            &session,
            false,
        ),
        (
            "header = { name = \"Cookie\", value = \"*session=*\" }",
            "/a",
            &odd,
            false,
        ),
        (
            "header = { name = \"Cookie\", value = \"*other=*\" }",
            "/a",
            &session,
            true,
        ),
        ("methods = [\"GET\"]", "/a", &[], false),
        ("methods = [\"HEAD\"]", "/a", &[], true),
    ] {
        let rule = format!("match = {{ {conditions} }}\n{none}");
        let bench = with_rule(&rule, |_| Reply::fresh(60, "x")).await;
        bench.node.get_with(target, fields).await;
        let again = bench.node.get_with(target, fields).await;
        assert_eq!(again.is_hit(), cached, "{conditions} {target} {fields:?}");
    }
}

#[tokio::test]
async fn a_lifetime_of_a_rule_goes_before_the_origins_or_stands_in_for_it() {
    for (ttl_line, path, expected) in [
        ("ttl = \"1h\"", "/stated", 3600),
        ("ttl = \"1h\"", "/silent", 3600),
        ("default_ttl = \"1h\"", "/stated", 60),
        ("default_ttl = \"1h\"", "/silent", 3600),
    ] {
        let rule = format!("match = {{ path = \"/*\" }}\n{ttl_line}");
        let bench = with_rule(&rule, |seen| match seen.target.as_str() {
            "/stated" => Reply::fresh(60, "x"),
            _ => Reply::ok("x"),
        })
        .await;
        bench.node.get(path).await;
        let ttl = ttl(&bench.node.get(path).await);
        assert!(
            (expected - 10..=expected).contains(&ttl),
            "{ttl_line} {path}: {ttl}"
        );
    }
}

#[tokio::test]
async fn a_lifetime_for_a_status_is_for_that_status() {
    let rule = "match = { status = [404] }\nttl = \"1m\"";
    let bench = with_rule(rule, |seen| match seen.target.as_str() {
        "/missing" => Reply::status(404).then("none"),
        _ => Reply::ok("x"),
    })
    .await;
    for (path, hit) in [("/missing", true), ("/there", false)] {
        bench.node.get(path).await;
        assert_eq!(bench.node.get(path).await.is_hit(), hit, "{path}");
    }
}

#[tokio::test]
async fn a_rule_replaces_what_the_site_says_of_stale_cookies_keys_and_variants() {
    let paths = "match = { path = \"/r/*\" }";
    let cookie = |_: &Seen| Reply::fresh(60, "x").with("Set-Cookie", "a=b");
    let bench = with_rule(&format!("{paths}\nset_cookie = \"strip\""), cookie).await;
    for (path, hit) in [("/r/a", true), ("/a", false)] {
        bench.node.get(path).await;
        assert_eq!(
            bench.node.get(path).await.is_hit(),
            hit,
            "set_cookie {path}"
        );
    }

    let query = with_rule(&format!("{paths}\nkey = {{ query = \"ignore\" }}"), |_| {
        Reply::fresh(60, "x")
    })
    .await;
    for (path, hit) in [("/r/a", true), ("/a", false)] {
        query.node.get(&format!("{path}?1")).await;
        let again = query.node.get(&format!("{path}?2")).await;
        assert_eq!(again.is_hit(), hit, "key {path}");
    }

    let vary = with_rule(&format!("{paths}\nvary = {{ ignore = [\"X-A\"] }}"), |_| {
        Reply::fresh(60, "x").with("Vary", "X-A")
    })
    .await;
    for (path, hit) in [("/r/a", true), ("/a", false)] {
        vary.node.get_with(path, &[("X-A", "1")]).await;
        let again = vary.node.get_with(path, &[("X-A", "2")]).await;
        assert_eq!(again.is_hit(), hit, "vary {path}");
    }

    let stale = format!("{paths}\nstale = {{ if_error = \"0s\" }}");
    let mut stale = with_rule(&stale, |seen| match seen.nth {
        1 => Reply::fresh(10, "x"),
        _ => Reply::status(503),
    })
    .await;
    for path in ["/r/a", "/a"] {
        stale.node.get(path).await;
    }
    stale.node.advance(seconds(60));
    for (path, status) in [("/r/a", 503), ("/a", 200)] {
        assert_eq!(stale.node.get(path).await.status, status, "stale {path}");
    }
}

#[tokio::test]
async fn a_rule_replaces_what_the_site_says_of_clients_guesses_targets_and_refusals() {
    let paths = "match = { path = \"/r/*\" }";
    let no_cache = [("Cache-Control", "no-cache")];
    let obey = format!("{paths}\nclient_control = \"ignore\"");
    let obey = with_rule(&obey, |_| Reply::fresh(60, "x")).await;
    for (path, hit) in [("/r/a", true), ("/a", false)] {
        obey.node.get(path).await;
        let again = obey.node.get_with(path, &no_cache).await;
        assert_eq!(again.is_hit(), hit, "client_control {path}");
    }

    let old = "Sat, 01 Jan 2000 00:00:00 GMT";
    let guess = format!("{paths}\nheuristic = {{ percent = 0 }}");
    let guess = with_rule(&guess, move |_| Reply::ok("x").with("Last-Modified", old)).await;
    for (path, hit) in [("/r/a", false), ("/a", true)] {
        guess.node.get(path).await;
        assert_eq!(guess.node.get(path).await.is_hit(), hit, "heuristic {path}");
    }

    let target = format!("{paths}\ntargets = [\"Edge-Control\"]");
    let target = with_rule(&target, |_| {
        Reply::fresh(60, "x").with("Edge-Control", "no-store")
    });
    let target = target.await;
    for (path, hit) in [("/r/a", false), ("/a", true)] {
        target.node.get(path).await;
        assert_eq!(target.node.get(path).await.is_hit(), hit, "targets {path}");
    }
}

#[tokio::test]
async fn of_two_rules_that_match_the_first_decides() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let settings = Settings::origins(&[&origin.url()])
        .rule("match = { path = \"/a/*\" }\nttl = \"1m\"")
        .rule("match = { path = \"/*\" }\nttl = \"1h\"\nset_cookie = \"strip\"");
    let node = Node::start(settings).await;
    for (path, expected) in [("/a/b", 60), ("/b", 3600)] {
        node.get(path).await;
        let ttl = ttl(&node.get(path).await);
        assert!((expected - 10..=expected).contains(&ttl), "{path}: {ttl}");
    }
}

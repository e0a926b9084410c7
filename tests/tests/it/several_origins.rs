//! Several origins of a site: who is asked, who is left out, and what is tried again.

use larder_tests::{
    Client, Exit, Gate, Metrics, Node, Origin, Reply, Settings, eventually, free_port, run_to_exit,
};

use crate::SOON;

/// A site of these origins, nothing of which is stored.
fn settings(urls: &[&str]) -> Settings {
    Settings::origins(urls).site("health = { failures = 2, pause = \"200ms\" }")
}

async fn origin(body: &'static str) -> Origin {
    Origin::start(move |_| Reply::ok(body).with("Cache-Control", "no-store")).await
}

/// Asks for that many things, each of them once, and counts the answers by their text.
async fn answers(node: &Node, count: usize, text: &str) -> usize {
    let mut client = node.client().await;
    let mut answered = 0;
    for n in 0..count {
        let answer = client.get(&format!("/{text}/{n}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answered += usize::from(answer.text() == text);
    }
    answered
}

/// The state of each origin, as the API tells it.
async fn states(node: &Node) -> Vec<String> {
    let bearer = format!("Bearer {}", node.token());
    let mut client = Client::connect(node.admin()).await;
    let fields = [("Authorization", bearer.as_str())];
    let answer = client.request("GET", "/v1/origins", &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let origins = document["origins"].as_array().expect("a list");
    let state = |origin: &serde_json::Value| origin["state"].as_str().expect("a word").to_owned();
    origins.iter().map(state).collect()
}

#[tokio::test]
async fn origins_take_turns_by_their_weights() {
    let (one, other) = (origin("one").await, origin("other").await);
    let settings = settings(&[]).site(&format!(
        "origins = [\"{}\", {{ url = \"{}\", weight = 3 }}]",
        one.url(),
        other.url()
    ));
    let node = Node::start(settings).await;
    assert_eq!(answers(&node, 40, "one").await, 10);
    assert_eq!((one.total(), other.total()), (10, 30));
}

#[tokio::test]
async fn a_backup_is_asked_when_nobody_else_is_up() {
    let (mut one, backup) = (origin("one").await, origin("backup").await);
    let settings = settings(&[]).site(&format!(
        "origins = [\"{}\", {{ url = \"{}\", backup = true }}]",
        one.url(),
        backup.url()
    ));
    let node = Node::start(settings).await;
    assert_eq!(answers(&node, 10, "one").await, 10);
    assert_eq!(backup.total(), 0);
    one.die().await;
    assert_eq!(answers(&node, 10, "backup").await, 10);
    assert_eq!(states(&node).await[1], "up");
}

#[tokio::test]
async fn an_origin_that_is_killed_costs_no_client_an_error() {
    let (mut one, other) = (origin("one").await, origin("other").await);
    let node = Node::start(settings(&[&one.url(), &other.url()])).await;
    answers(&node, 4, "one").await;
    one.die().await;
    // Fills, and what passes the cache by.
    assert_eq!(answers(&node, 20, "other").await, 20);
    for n in 0..10 {
        let answer = node.request("OPTIONS", &format!("/{n}"), &[]).await;
        assert_eq!(answer.text(), "other");
    }
    let down = |metrics: &Metrics| metrics.sum("larder_origin_up", &[]) <= 1.0;
    let metrics = node.metrics_when(down).await;
    assert!(metrics.sum("larder_origin_retries_total", &[("result", "made")]) >= 2.0);
    let outs = metrics.sum("larder_origin_outs_total", &[("by", "failures")]);
    assert!(outs >= 1.0, "{outs}");
}

#[tokio::test]
async fn an_origin_that_comes_back_is_asked_again() {
    let port = free_port();
    let other = origin("other").await;
    let dead = format!("http://127.0.0.1:{port}");
    let node = Node::start(settings(&[&dead, &other.url()])).await;
    assert_eq!(answers(&node, 6, "other").await, 6);
    assert_eq!(states(&node).await[0], "failing");

    let back = Origin::start_at(port, |_| Reply::ok("back")).await;
    let mut client = node.client().await;
    let mut n = 0;
    loop {
        n += 1;
        if client.get(&format!("/again/{n}")).await.text() == "back" {
            break;
        }
        tokio::task::yield_now().await;
    }
    eventually(SOON, || back.total() > 0).await;
    assert_eq!(states(&node).await[0], "up");
}

#[tokio::test]
async fn a_flapping_origin_is_tried_now_and_then_and_costs_no_client_an_error() {
    let flapping = Origin::start(|asked| match asked.target.len() % 2 {
        0 => Reply::hang_up(),
        _ => Reply::ok("flapping"),
    })
    .await;
    let other = origin("other").await;
    let node = Node::start(
        settings(&[&flapping.url(), &other.url()])
            .site("health = { failures = 1, pause = \"10ms\", pause_max = \"40ms\" }"),
    )
    .await;
    let mut client = node.client().await;
    for n in 0.. {
        let answer = client.get(&format!("/{}", "x".repeat(n % 7))).await;
        assert_eq!(answer.status, 200);
        if flapping.total() >= 10 {
            break;
        }
    }
    let metrics = node.metrics().await;
    assert!(metrics.sum("larder_origin_outs_total", &[]) >= 1.0);
}

#[tokio::test]
async fn another_origin_answers_for_one_that_says_503() {
    let overloaded = Origin::start(|_| Reply::status(503)).await;
    let other = origin("other").await;
    let node = Node::start(settings(&[&overloaded.url(), &other.url()])).await;
    assert_eq!(answers(&node, 10, "other").await, 10);
    assert!(overloaded.total() >= 4, "it is up, and says so");
    // What may change something is answered as it was.
    let mut statuses = Vec::new();
    for n in 0..4 {
        let mut client = node.client().await;
        let answer = client
            .upload("POST", &format!("/post/{n}"), &[], b"pay")
            .await;
        statuses.push(answer.status);
    }
    assert!(
        statuses.contains(&503) && statuses.contains(&200),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn an_outlier_is_ejected() {
    let broken = Origin::start(|_| Reply::status(500)).await;
    let other = origin("other").await;
    let settings = settings(&[&broken.url(), &other.url()])
        .site("ejection = { percent = 50, requests = 5, window = \"10s\" }")
        .site("health = { pause = \"1h\", pause_max = \"1h\" }");
    let node = Node::start(settings).await;
    for n in 0..40 {
        node.get(&format!("/{n}")).await;
    }
    assert_eq!(broken.total(), 5);
    assert_eq!(states(&node).await[0], "failing");
    let outs = [("by", "ejection")];
    let metrics = node.metrics().await;
    assert!((metrics.sum("larder_origin_outs_total", &outs) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_slow_origin_is_left_for_another() {
    let never = Gate::closed();
    let gate = never.clone();
    let slow = Origin::start(move |_| Reply::ok("slow").after(&gate)).await;
    let other = origin("other").await;
    let settings = settings(&[&slow.url(), &other.url()]).site("first_byte_timeout = \"1s\"");
    let node = Node::start(settings.site("balance = \"first\"")).await;
    assert_eq!(answers(&node, 6, "other").await, 6);
    let asked = slow.total();
    assert!((2..=4).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_reset_within_the_head_is_tried_elsewhere_unless_it_may_have_been_applied() {
    let reset = Origin::start(|_| Reply::verbatim("HTTP/1.1 200 O").reset()).await;
    let other = origin("other").await;
    let settings = settings(&[&reset.url(), &other.url()])
        .site("balance = \"first\"")
        .site("health = { failures = 1000 }");
    let node = Node::start(settings).await;
    assert_eq!(node.get("/fill").await.text(), "other");
    assert_eq!(node.request("OPTIONS", "/pass", &[]).await.text(), "other");
    let mut client = node.client().await;
    let post = client.upload("POST", "/post", &[], b"pay").await;
    assert_eq!(post.status, 502);
    assert_eq!((reset.count("/post"), other.count("/post")), (1, 0));
}

#[tokio::test]
async fn probes_take_an_origin_out_and_bring_it_back() {
    let well = Gate::closed();
    let seen = well.clone();
    let probed = Origin::start(move |asked| match (asked.target.as_str(), seen.is_open()) {
        ("/healthz", false) => Reply::status(503),
        _ => Reply::ok("probed"),
    })
    .await;
    let other = origin("other").await;
    let settings = settings(&[&probed.url(), &other.url()])
        .site("health = { path = \"/healthz\", interval = \"50ms\", failed = 2, passed = 2 }");
    let node = Node::start(settings).await;
    let down = |metrics: &Metrics| metrics.sum("larder_origin_up", &[]) <= 1.0;
    node.metrics_when(down).await;
    assert_eq!(states(&node).await, ["unwell", "up"]);
    assert_eq!(answers(&node, 10, "other").await, 10);
    well.open();
    let up = |metrics: &Metrics| metrics.sum("larder_origin_up", &[]) >= 2.0;
    node.metrics_when(up).await;
    assert_eq!(answers(&node, 10, "probed").await, 5);
    assert!(probed.last("/healthz").field("Host").is_some());
}

#[tokio::test]
async fn the_budget_ends_retries() {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let alive = origin("alive").await;
    let settings = settings(&[&dead, &alive.url()])
        .site("balance = \"first\"")
        .site("health = { failures = 1000 }")
        .site("retry_budget = 0");
    let node = Node::start(settings).await;
    let mut failed = 0;
    for n in 0..60 {
        let answer = node.get(&format!("/{n}")).await;
        failed += usize::from(answer.status == 502);
    }
    let metrics = node.metrics().await;
    let refused = metrics.sum("larder_origin_retries_total", &[("result", "refused")]);
    assert!(
        failed > 0 && refused >= 1.0,
        "{failed} failed, {refused} refused"
    );
}

#[tokio::test]
async fn an_open_circuit_answers_at_once_and_with_what_is_stale() {
    let origin = Origin::start(|asked| match (asked.target.as_str(), asked.nth) {
        ("/stale", 1) => Reply::fresh(1, "stale"),
        _ => Reply::status(500),
    })
    .await;
    let settings = settings(&[&origin.url()])
        .site("breaker = { percent = 50, requests = 4, pause = \"1h\" }")
        .site("stale = { statuses = [] }");
    let mut node = Node::start(settings).await;
    assert_eq!(node.get("/stale").await.text(), "stale");
    for n in 0..4 {
        node.get(&format!("/{n}")).await;
    }
    let before = origin.total();
    let refused = node.get("/5").await;
    assert_eq!(refused.status, 503);
    let told = refused.header("Proxy-Status").unwrap();
    assert!(told.contains("destination_unavailable"), "{told}");
    node.advance(crate::seconds(60));
    assert_eq!(node.get("/stale").await.text(), "stale");
    assert_eq!(origin.total(), before);
    assert_eq!(states(&node).await, ["broken"]);
}

#[tokio::test]
async fn responses_that_are_not_ended_count_against_an_origin() {
    let origin = Origin::start(|_| Reply::ok("half of it").claiming(20).cut()).await;
    let settings =
        settings(&[&origin.url()]).site("breaker = { percent = 50, requests = 6, pause = \"1h\" }");
    let node = Node::start(settings).await;
    // Fills and requests that pass by, each answered and then cut.
    for (n, method) in ["GET", "POST", "GET"].into_iter().enumerate() {
        let mut client = node.client().await;
        client.ask(method, &format!("/{n}"), &[]).await;
        client.rest().await;
    }
    let cut = [("error", "http_response_incomplete")];
    let failures = |metrics: &Metrics| metrics.sum("larder_origin_failures_total", &cut);
    let metrics = node.metrics_when(|metrics| failures(metrics) >= 3.0).await;
    assert!(metrics.sum("larder_origin_connect_seconds_count", &[]) >= 3.0);
    assert_eq!(states(&node).await, ["broken"]);
}

#[tokio::test]
async fn a_key_and_a_client_have_their_origin() {
    let (one, other) = (origin("one").await, origin("other").await);
    let urls = [one.url(), other.url()];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let node = Node::start(settings(&urls).site("balance = \"hash\"")).await;
    for n in 0..20 {
        let path = format!("/{n}");
        let first = node.get(&path).await.text();
        assert_eq!(node.get(&path).await.text(), first);
    }
    assert!(one.total() > 0 && other.total() > 0);

    let settings = settings(&urls)
        .site("balance = \"sticky\"")
        .site("sticky_cookie = \"id\"");
    let node = Node::start(settings).await;
    let mut seen = std::collections::HashSet::new();
    for id in 0..20 {
        let cookie = format!("a=b; id={id}");
        let fields = [("Cookie", cookie.as_str())];
        let first = node.request("OPTIONS", "/a", &fields).await.text();
        let again = node.request("OPTIONS", "/b", &fields).await.text();
        assert_eq!(first, again);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn least_connections_leave_who_is_busy() {
    let gate = Gate::closed();
    let busy = gate.clone();
    let one = Origin::start(move |asked| match asked.target.as_str() {
        "/long" => Reply::ok("long").after(&busy),
        _ => Reply::ok("one"),
    })
    .await;
    let other = origin("other").await;
    let settings = settings(&[&one.url(), &other.url()]).site("balance = \"least-connections\"");
    let node = Node::start(settings).await;
    // The place of an answer may be taken for a moment after it was read.
    let only_one_is_busy = |it: &Metrics| {
        let busy = |origin: &Origin| {
            let origin = origin.url();
            it.sum("larder_origin_requests_under_way", &[("origin", &origin)])
        };
        (busy(&one), busy(&other)) == (1.0, 0.0)
    };
    let mut clients = Vec::new();
    while one.count("/long") == 0 {
        let before = other.count("/long");
        let mut client = node.client().await;
        client.ask("OPTIONS", "/long", &[]).await;
        let arrived = || one.count("/long") > 0 || other.count("/long") > before;
        eventually(SOON, arrived).await;
        clients.push(client);
    }
    for number in 0..20 {
        node.metrics_when(only_one_is_busy).await;
        let answer = node.get(&format!("/{number}")).await;
        assert_eq!(answer.text(), "other");
    }
    gate.open();
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_and_hits_do_not() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match asked.target.as_str() {
        "/hit" => Reply::fresh(60, "hit"),
        _ => Reply::ok("slow").after(&held),
    })
    .await;
    let settings = Settings::origins(&[]).site(&format!(
        "origins = [{{ url = \"{}\", max_requests = 2, queue = 1, queue_timeout = \"1m\" }}]",
        origin.url()
    ));
    let node = Node::start(settings).await;
    node.get("/hit").await;
    let mut clients = Vec::new();
    for n in 0..2 {
        let mut client = node.client().await;
        client.ask("GET", &format!("/{n}"), &[]).await;
        clients.push(client);
    }
    eventually(SOON, || origin.total() == 3).await;
    let mut third = node.client().await;
    third.ask("GET", "/2", &[]).await;
    let waiting = |metrics: &Metrics| metrics.sum("larder_origin_requests_waiting", &[]) >= 1.0;
    node.metrics_when(waiting).await;
    // The queue is full.
    let refused = node.get("/3").await;
    assert_eq!(refused.status, 503);
    let told = refused.header("Proxy-Status").unwrap();
    assert!(told.contains("connection_limit_reached"), "{told}");
    assert_eq!(node.request("OPTIONS", "/4", &[]).await.status, 503);
    assert!(node.get("/hit").await.is_hit());
    assert_eq!(origin.total(), 3, "the third waits");
    gate.open();
    assert_eq!(third.answer().await.text(), "slow");
    for mut client in clients {
        assert_eq!(client.answer().await.text(), "slow");
    }
}

#[tokio::test]
async fn what_is_stale_is_sent_rather_than_to_wait() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match (asked.target.as_str(), asked.nth) {
        ("/stale", 1) => Reply::fresh(1, "stale"),
        ("/strict", 1) => Reply::ok("strict").with("Cache-Control", "max-age=1, must-revalidate"),
        _ => Reply::ok("slow").after(&held),
    })
    .await;
    let settings = Settings::origins(&[]).site(&format!(
        "origins = [{{ url = \"{}\", max_requests = 1, queue_timeout = \"300ms\" }}]",
        origin.url()
    ));
    let mut node = Node::start(settings).await;
    node.get("/stale").await;
    node.get("/strict").await;
    let mut busy = node.client().await;
    busy.ask("GET", "/busy", &[]).await;
    eventually(SOON, || origin.count("/busy") == 1).await;
    node.advance(crate::seconds(60));
    assert_eq!(node.get("/stale").await.text(), "stale");
    // What must not be sent stale waits, and fails when it waited long enough.
    assert_eq!(node.get("/strict").await.status, 503);
    gate.open();
}

async fn show(node: &Node, arguments: &[&str]) -> Exit {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let token = token.to_str().expect("text");
    let there = ["origins", "--admin", &admin, "--admin-token-file", token];
    run_to_exit(&[&there[..], arguments].concat(), node.folder()).await
}

#[tokio::test]
async fn the_command_shows_how_origins_fare() {
    let origin = origin("one").await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let node = Node::start(settings(&[&origin.url(), &dead])).await;
    answers(&node, 10, "one").await;
    let shown = show(&node, &[]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let line = |url: &str| {
        let mut lines = shown.stdout.lines();
        lines.find(|line| line.contains(url)).unwrap().to_owned()
    };
    assert!(line(&origin.url()).contains(" up "), "{}", shown.stdout);
    assert!(line(&dead).contains(" failing "), "{}", shown.stdout);
    let json = show(&node, &["--json"]).await;
    assert!(json.stdout.contains("\"state\":\"up\""), "{}", json.stdout);
}

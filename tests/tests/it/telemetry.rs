//! Traces and metrics for a collector: what it is sent, and what that costs requests.

use std::collections::BTreeSet;
use std::time::Duration;

use larder_tests::{
    Ca, Client, Collector, Gate, Node, Origin, Reply, Settings, Step, Tiers, eventually, free_port,
    settled,
};

use crate::{A_WHILE, SOON};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn parent(sampled: bool) -> String {
    format!("00-{TRACE}-{CLIENT}-0{}", u8::from(sampled))
}

fn watched(settings: Settings, url: &str) -> Settings {
    settings
        .table("telemetry", &format!("endpoint = \"{url}\""))
        .table("telemetry", "sample = \"100%\"")
}

async fn get(node: &Node, path: &str, fields: &[(&str, &str)]) -> u16 {
    let mut client = Client::connect(node.address()).await;
    client.get_with(path, fields).await.status
}

/// The one span of a node with this name and parent.
#[track_caller]
fn step<'a>(steps: &'a [Step], node: &str, name: &str, parent: &str) -> &'a Step {
    let is_it = |step: &&Step| step.node == node && step.name == name && step.parent == parent;
    let found: Vec<_> = steps.iter().filter(is_it).collect();
    match found[..] {
        [step] => step,
        _ => panic!("{name} of {node} below {parent}: {found:#?}\nof {steps:#?}"),
    }
}

#[tokio::test]
async fn a_trace_goes_through_two_tiers_to_the_origin() {
    let collector = Collector::start().await;
    let origin = Origin::start(|_| Reply::fresh(600, "hello")).await;
    let tiers = Tiers::before(&origin.url());
    let above = Node::start(watched(tiers.parent("above"), &collector.url())).await;
    let edge = Node::start(watched(tiers.edge("edge", &[&above]), &collector.url())).await;

    let told = parent(true);
    let fields = [("traceparent", told.as_str()), ("tracestate", "vendor=1")];
    assert_eq!(get(&edge, "/a?b=c", &fields).await, 200);
    let steps = collector.steps_when(9).await;
    assert!(steps.iter().all(|step| step.trace == TRACE), "{steps:#?}");
    assert!(
        steps.iter().all(|step| step.state == "vendor=1"),
        "{steps:#?}"
    );

    let served = step(&steps, "edge", "GET", CLIENT);
    step(&steps, "edge", "cache lookup", &served.id);
    let fill = step(&steps, "edge", "fill", &served.id);
    let asks = step(&steps, "edge", "GET", &fill.id);
    let answered = step(&steps, "above", "GET", &asks.id);
    let lookup = step(&steps, "above", "cache lookup", &answered.id);
    let filled = step(&steps, "above", "fill", &answered.id);
    let asked = step(&steps, "above", "GET", &filled.id);
    let connect = step(&steps, "above", "connect", &asked.id);
    assert_eq!(
        (served.kind, asks.kind, answered.kind, fill.kind),
        (2, 3, 2, 1)
    );
    let seen = origin.last("/a?b=c");
    let sent_on = format!("00-{TRACE}-{}-01", asked.id);
    assert_eq!(seen.field("traceparent"), Some(sent_on.as_str()));
    assert_eq!(seen.field("tracestate"), Some("vendor=1"));

    for (outer, inner) in [
        (served, fill),
        (fill, asks),
        (answered, filled),
        (asked, connect),
    ] {
        assert!(outer.began <= inner.began, "{outer:#?}{inner:#?}");
    }
    assert!(served.began < served.ended);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/a"),
        ("url.query", "b=c"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("larder.site", "main"),
        ("larder.outcome", "miss"),
        ("larder.reason", "cold"),
        ("larder.forward", "uri-miss"),
    ] {
        assert_eq!(served.says(name), value, "{name}: {served:#?}");
    }
    let ttl: u32 = served.says("larder.ttl").parse().expect("a number");
    assert!((500..=600).contains(&ttl), "{ttl}");
    assert_eq!(lookup.says("larder.reason"), "cold");
    assert_eq!(asks.says("larder.parent"), above.address().to_string());
    assert_eq!(asked.says("url.full"), format!("{}/a?b=c", origin.url()));
    assert_eq!(
        asked.says("server.port"),
        origin.address().port().to_string()
    );
    assert_eq!(asked.says("http.response.status_code"), "200");

    for node in [&edge, &above] {
        eventually(SOON, || !node.log_lines().is_empty()).await;
        assert_eq!(node.log_lines()[0]["trace_id"], TRACE);
    }
}

#[tokio::test]
async fn what_is_not_recorded_is_sent_on_as_such() {
    let collector = Collector::start().await;
    let origin = Origin::start(|_| Reply::fresh(600, "hello")).await;
    let settings = watched(Settings::origins(&[&origin.url()]), &collector.url());
    let node = Node::start(settings).await;
    let told = parent(false);
    get(&node, "/a", &[("traceparent", &told)]).await;
    get(&node, "/a", &[("traceparent", &told)]).await;
    let seen = origin.last("/a");
    let field = seen.field("traceparent").expect("it is named");
    assert_eq!((&field[..35], &field[52..]), (&told[..35], "-00"));
    assert_ne!(&field[36..52], CLIENT, "the node has a step of its own");

    // A broken one is as good as none: a trace begins, and what belonged to the other goes no further.
    let broken = [("traceparent", "00-xyz-01"), ("tracestate", "a=1")];
    get(&node, "/b", &broken).await;
    let steps = collector.steps_when(4).await;
    assert!(steps.iter().all(|step| step.trace != TRACE), "{steps:#?}");
    let served = step(&steps, "larder", "GET", "");
    let seen = origin.last("/b");
    assert!(
        seen.field("traceparent")
            .is_some_and(|it| it[3..35] == served.trace)
    );
    assert_eq!(seen.field("tracestate"), None);
}

#[tokio::test]
async fn hits_revalidations_and_requests_that_pass_by_have_their_steps() {
    let collector = Collector::start().await;
    let origin = Origin::start(|seen| match seen.is_conditional() {
        true => Reply::status(304)
            .with("ETag", "\"1\"")
            .with("Cache-Control", "max-age=60"),
        false => Reply::fresh(60, "x").with("ETag", "\"1\""),
    })
    .await;
    let settings = watched(Settings::origins(&[&origin.url()]), &collector.url());
    let mut node = Node::start(settings).await;
    node.get("/a").await;
    let count = collector.steps_when(5).await.len();
    node.get("/a").await;
    let steps = collector.steps_when(count + 2).await.split_off(count);
    let hit = step(&steps, "larder", "GET", "");
    let count = collector.steps().len();
    let mut client = Client::connect(node.address()).await;
    client
        .send("GET /a HTTP/1.1\r\nHost: www.example.com\r\n\r\n".repeat(3))
        .await;
    for _ in 0..3 {
        assert!(client.answer().await.is_hit());
    }
    let again = collector.steps_when(count + 6).await.split_off(count);
    let traces: BTreeSet<_> = again.iter().map(|step| &step.trace).collect();
    assert_eq!(traces.len(), 3, "each request has its own: {again:#?}");
    assert_eq!(hit.says("larder.outcome"), "hit");
    assert_eq!(hit.says("larder.tier"), "memory");
    assert_eq!(
        step(&steps, "larder", "cache lookup", &hit.id).says("larder.outcome"),
        "hit"
    );

    node.advance(Duration::from_secs(90));
    let count = collector.steps().len();
    node.get("/a").await;
    let steps = collector.steps_when(count + 4).await.split_off(count);
    let served = step(&steps, "larder", "GET", "");
    assert_eq!(served.says("larder.outcome"), "revalidated");
    let again = step(&steps, "larder", "revalidation", &served.id);
    let asked = step(&steps, "larder", "GET", &again.id);
    assert_eq!(asked.says("http.response.status_code"), "304");
    assert_eq!(asked.says("larder.kind"), "revalidate");

    let mut client = Client::connect(node.address()).await;
    client
        .send(b"POST /a HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 1\r\n\r\nx")
        .await;
    assert_eq!(client.answer().await.status, 200);
    let posts = || {
        let steps = collector.steps().into_iter();
        steps.filter(|step| step.name == "POST").count()
    };
    eventually(SOON, || posts() == 2).await;
    let steps = collector.steps();
    let served = step(&steps, "larder", "POST", "");
    assert_eq!(served.says("larder.outcome"), "pass");
    let asked = step(&steps, "larder", "POST", &served.id);
    assert_eq!((asked.says("larder.kind"), asked.kind), ("pass", 3));
    let seen = origin.last("/a");
    assert!(
        seen.field("traceparent")
            .is_some_and(|it| it[36..52] == asked.id)
    );
}

#[tokio::test]
async fn who_waits_for_the_fill_of_another_request_is_linked_to_it() {
    let collector = Collector::start().await;
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "x").after(&answer)).await;
    let settings = watched(Settings::origins(&[&origin.url()]), &collector.url());
    let node = Node::start(settings).await;
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = node.client().await;
        let trace = format!("00-{number:032x}-{CLIENT}-01", number = number + 1);
        client.ask("GET", "/a", &[("traceparent", &trace)]).await;
        if number == 0 {
            // It leads.
            eventually(SOON, || origin.count("/a") == 1).await;
        }
        clients.push(client);
    }
    // That they wait shows in nothing that is told before they are answered.
    settled(A_WHILE, || origin.count("/a") == 1).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    let served = |steps: &[Step]| steps.iter().filter(|step| step.kind == 2).count();
    eventually(SOON, || served(&collector.steps()) == 3).await;
    let mut steps = collector.steps();
    steps.sort_by(|a, b| a.trace.cmp(&b.trace));
    let mut fills = steps.iter().filter(|step| step.name == "fill");
    let fill = fills.next().expect("the first has one");
    assert!(fills.next().is_none(), "and it alone: {steps:#?}");
    let served: Vec<_> = steps.iter().filter(|step| step.kind == 2).collect();
    assert_eq!(served[0].trace, fill.trace);
    assert_eq!(served[0].links, []);
    for follower in &served[1..] {
        assert_eq!(follower.says("larder.collapsed"), "true");
        let links = [(fill.trace.clone(), fill.id.clone())];
        assert_eq!(follower.links, links, "{follower:#?}");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_an_error_of_its_step() {
    let collector = Collector::start().await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let settings = watched(Settings::origins(&[&nobody]), &collector.url());
    let node = Node::start(settings).await;
    assert_eq!(node.get("/a").await.status, 502);
    let steps = collector.steps_when(5).await;
    let served = step(&steps, "larder", "GET", "");
    assert!(served.failed);
    assert_eq!(served.says("error.type"), "502");
    assert_eq!(served.says("larder.reason"), "origin-error");
    let fill = step(&steps, "larder", "fill", &served.id);
    let attempts = steps.iter().filter(|step| step.parent == fill.id);
    for attempt in attempts {
        assert!(attempt.failed);
        assert_eq!(attempt.says("error.type"), "connection_refused");
    }
}

#[tokio::test]
async fn without_a_collector_a_trace_passes_as_it_came() {
    let origin = Origin::start(|_| Reply::fresh(600, "hello")).await;
    let node = Node::before(&origin.url()).await;
    let told = parent(true);
    get(
        &node,
        "/a",
        &[("traceparent", &told), ("tracestate", "a=1")],
    )
    .await;
    let seen = origin.last("/a");
    assert_eq!(seen.field("traceparent"), Some(told.as_str()));
    assert_eq!(seen.field("tracestate"), Some("a=1"));
    eventually(SOON, || !node.log_lines().is_empty()).await;
    assert_eq!(node.log_lines()[0].get("trace_id"), None);
    assert!(
        !node
            .metrics()
            .await
            .types()
            .contains_key("larder_telemetry_spans_total")
    );
}

#[tokio::test]
async fn whom_the_node_does_not_trust_has_no_say_in_what_is_recorded() {
    let collector = Collector::start().await;
    let origin = Origin::start(|_| Reply::fresh(600, "hello")).await;
    let settings = watched(Settings::origins(&[&origin.url()]), &collector.url())
        .table("telemetry", "continue = \"trusted\"")
        .table("telemetry", "sample = \"0%\"");
    let stranger = Node::start(settings.clone()).await;
    let trusted = settings.table("node", "trusted_proxies = [\"127.0.0.0/8\"]");
    let trusted = Node::start(trusted).await;
    let told = parent(true);
    get(&stranger, "/a", &[("traceparent", &told)]).await;
    assert!(
        origin
            .last("/a")
            .field("traceparent")
            .is_some_and(|it| it[3..35] != *TRACE)
    );
    get(&trusted, "/b", &[("traceparent", &told)]).await;
    let steps = collector.steps_when(4).await;
    assert!(steps.iter().all(|step| step.trace == TRACE), "{steps:#?}");
    assert_eq!(step(&steps, "larder", "GET", CLIENT).says("url.path"), "/b");
}

#[tokio::test]
async fn metrics_are_pushed_as_they_are_scraped() {
    let collector = Collector::start().await;
    let origin = Origin::start(|_| Reply::fresh(600, "hello")).await;
    let settings = Settings::origins(&[&origin.url()])
        .table("telemetry", &format!("endpoint = \"{}\"", collector.url()))
        .table("telemetry", "signals = [\"metrics\"]")
        .table("telemetry", "metrics_every = \"1s\"");
    let node = Node::start(settings).await;
    for _ in 0..3 {
        node.get("/a").await;
    }
    let hits = [("site", "main"), ("outcome", "hit")];
    let pushed = |value| {
        let metric = collector.metric("larder_requests_total", &hits);
        metric.is_some_and(|(hits, _)| hits == value)
    };
    eventually(SOON, || pushed(2.0)).await;
    let bytes = collector.metric("larder_response_bytes_total", &hits);
    assert_eq!(bytes, Some((10.0, "By".to_owned())));
    let took = collector.metric("larder_request_duration_seconds", &hits);
    assert_eq!(took, Some((2.0, "s".to_owned())));
    let limit = collector.metric("larder_cache_limit_bytes", &[]);
    let scraped = node.metrics().await.sum("larder_cache_limit_bytes", &[]);
    assert_eq!(limit, Some((scraped, "By".to_owned())));
    assert!(
        collector
            .requests()
            .iter()
            .all(|it| it.target == "/v1/metrics")
    );
    assert_eq!(
        origin.last("/a").field("traceparent"),
        None,
        "there are no traces"
    );
}

#[tokio::test]
async fn a_collector_with_tls_and_a_secret_is_told_the_rest_at_the_end() {
    let ca = Ca::new();
    let server = Origin::start_tls(&ca, &["localhost"], &["http/1.1"], |_| Reply::ok("")).await;
    let collector = Collector::with(server);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        format!("{path:?}")
    };
    let fields = file("fields", "Authorization: Bearer s3cret\n\nX-Tenant: shop\n");
    let authority = file("ca.pem", &ca.pem());
    let port = collector
        .url()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let origin = Origin::start(|_| Reply::fresh(600, "hello")).await;
    let settings = Settings::origins(&[&origin.url()]);
    let settings = watched(settings, &format!("https://localhost:{port}/otlp"))
        .table("telemetry", &format!("headers_file = {fields}"))
        .table("telemetry", &format!("ca_file = {authority}"))
        .table("telemetry", "service = \"shop edge\"");
    let mut node = Node::start(settings).await;
    node.get("/a").await;
    let shown = node.api("GET", "/v1/config", "").await.text();
    assert!(!shown.contains("s3cret"), "{shown}");
    node.signal("TERM");
    node.wait_exit().await;
    let requests = collector.requests();
    let targets: Vec<_> = requests.iter().map(|it| it.target.as_str()).collect();
    assert!(targets.contains(&"/otlp/v1/traces"), "{targets:?}");
    assert!(targets.contains(&"/otlp/v1/metrics"), "{targets:?}");
    for request in requests {
        assert_eq!(request.field("Authorization"), Some("Bearer s3cret"));
        assert_eq!(request.field("X-Tenant"), Some("shop"));
    }
}

#[tokio::test]
async fn no_request_waits_for_a_collector_and_what_is_lost_is_counted() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Origin::start(move |_| Reply::ok("").after(&held)).await;
    let collector = Collector::with(server);
    let origin = Origin::start(|_| Reply::fresh(600, "x")).await;
    let settings = watched(Settings::origins(&[&origin.url()]), &collector.url());
    let node = Node::start(settings).await;
    let mut client = Client::connect(node.address()).await;
    // Two spans for each: more than a message and the queue have room for.
    for _ in 0..5_000 {
        assert_eq!(client.get("/a").await.status, 200);
    }
    let lost = |it: &larder_tests::Metrics| {
        it.sum("larder_telemetry_spans_total", &[("result", "dropped")]) > 0.0
    };
    node.metrics_when(lost).await;
    gate.open();
    let sent = |it: &larder_tests::Metrics| {
        it.sum("larder_telemetry_spans_total", &[("result", "sent")]) > 8_000.0
    };
    node.metrics_when(sent).await;
}

#[tokio::test]
async fn a_collector_that_refuses_is_one_message() {
    let server = Origin::start(|_| Reply::status(401)).await;
    let collector = Collector::with(server);
    let origin = Origin::start(|_| Reply::fresh(600, "x")).await;
    let settings = watched(Settings::origins(&[&origin.url()]), &collector.url())
        .table("telemetry", "metrics_every = \"1s\"");
    let node = Node::start(settings).await;
    node.get("/a").await;
    let failed = |it: &larder_tests::Metrics| {
        it.sum("larder_telemetry_spans_total", &[("result", "failed")]) > 0.0
            && it.sum("larder_telemetry_exports_total", &[("signal", "metrics")]) > 1.0
    };
    node.metrics_when(failed).await;
    let told = node
        .stderr()
        .iter()
        .filter(|line| line.contains("collector"))
        .count();
    assert_eq!(told, 1, "{:#?}", node.stderr());
}

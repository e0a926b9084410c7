//! What a node says of other sizes, held against nodes that have them.

use larder_tests::{Client, Exit, Node, Origin, Reply, Settings, run_to_exit};
use serde_json::{Value, json};

/// Requests of a replay.
const REQUESTS: u64 = 6000;
/// Different objects.
const OBJECTS: f64 = 3000.0;

/// Sizes differ, and are always the same for an object.
async fn origin() -> Origin {
    Origin::start(|seen| {
        let number: usize = seen.target[1..].parse().unwrap_or(0);
        Reply::fresh(3600, "x".repeat(200 + number % 7 * 1500))
    })
    .await
}

async fn node(origin: &Origin, memory: &str) -> Node {
    let settings = Settings::origins(&[&origin.url()]);
    let settings = settings
        .table("memory", &format!("size = \"{memory}\""))
        .table("memory", "object_max = \"64KiB\"");
    Node::start(settings).await
}

/// A few objects are asked for often, most rarely.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an object's number is small and not negative"
)]
fn targets() -> impl Iterator<Item = String> {
    let mut state = 7_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    (0..REQUESTS).map(move |_| format!("/{}", OBJECTS.powf(random()) as u64))
}

async fn replay(node: &Node) {
    let mut client = node.client().await;
    for target in targets() {
        assert_eq!(client.get(&target).await.status, 200);
    }
    // Each request was a hit, or brought what is stored: the shadows have seen them all.
    node.metrics_when(|it| it.sum("larder_curve_sampled_requests_total", &[]) >= REQUESTS as f64)
        .await;
}

async fn curve(node: &Node) -> Value {
    let mut admin = Client::connect(node.admin()).await;
    let bearer = format!("Bearer {}", node.token());
    let headers = [("Authorization", &*bearer)];
    let answer = admin.get_with("/v1/curve", &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn ratio(told: &Value, change: &str, factor: f64) -> (f64, f64) {
    let mut points = told["points"].as_array().expect("points").iter();
    let found = points.find(|it| it["change"] == change && it["factor"] == factor);
    let point = found.unwrap_or_else(|| panic!("no {change} × {factor} in {told}"));
    let number = |name: &str| point[name].as_f64().expect("a number");
    (number("request_hit_ratio"), number("byte_hit_ratio"))
}

#[tokio::test]
async fn a_node_foretells_what_others_with_less_and_more_memory_do() {
    let origin = origin().await;
    let small = node(&origin, "4MiB").await;
    replay(&small).await;
    let told = curve(&small).await;
    for (factor, memory) in [(0.5, "2MiB"), (2.0, "8MiB")] {
        let other = node(&origin, memory).await;
        replay(&other).await;
        let really = curve(&other).await;
        let number = |name: &str| really[name].as_f64().expect("a number");
        let (requests, bytes) = ratio(&told, "memory", factor);
        let off = (requests - number("request_hit_ratio")).abs();
        assert!(off < 0.015, "{memory}: {told}, and it is {really}");
        let off = (bytes - number("byte_hit_ratio")).abs();
        assert!(off < 0.03, "{memory}: {told}, and it is {really}");
    }
}

async fn command(node: &Node, arguments: &[&str]) -> Exit {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let token = token.to_str().expect("text").to_owned();
    let mut all = vec!["curve", "--admin", &admin, "--admin-token-file", &token];
    all.extend(arguments);
    run_to_exit(&all, node.folder()).await
}

#[tokio::test]
async fn the_command_prints_a_table_draws_a_picture_and_says_what_is_wrong() {
    let origin = origin().await;
    let node = node(&origin, "1MiB").await;
    let early = command(&node, &[]).await;
    assert_eq!(
        early.stdout, "there were no requests yet\n",
        "{}",
        early.stderr
    );

    replay(&node).await;
    let table = command(&node, &[]).await;
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    for line in [
        "now",
        "memory × 0.5",
        "memory × 2",
        "memory × 4",
        "lru instead",
    ] {
        let found = table.stdout.lines().filter(|it| it.starts_with(line));
        assert_eq!(found.count(), 1, "{line}: {}", table.stdout);
    }
    let metrics = node.metrics().await;
    let twice = [("of", "requests"), ("change", "memory"), ("to", "2")];
    assert!(metrics.sum("larder_curve_hit_ratio", &twice) > 0.0);

    let file = node.folder().join("curve.svg");
    let drawn = command(&node, &["--svg", file.to_str().expect("text")]).await;
    assert_eq!(drawn.code, Some(0), "{}", drawn.stderr);
    let svg = std::fs::read_to_string(&file).expect("a picture");
    assert!(svg.starts_with("<svg "), "{svg}");
    let nowhere = command(&node, &["--svg", "/no/such/folder/curve.svg"]).await;
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.stderr.contains("/no/such/folder/curve.svg"),
        "{}",
        nowhere.stderr
    );

    let wrong = node.folder().join("wrong-token");
    std::fs::write(&wrong, "w".repeat(43)).expect("a file");
    let admin = node.admin().to_string();
    let wrong = wrong.to_str().expect("text");
    let refused = ["curve", "--admin", &admin, "--admin-token-file", wrong];
    let refused = run_to_exit(&refused, node.folder()).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
}

/// Requests before the node is killed, and after it.
const BEFORE: u64 = 3000;

fn long_tail(requests: u64, seed: u64) -> impl Iterator<Item = String> {
    let mut state = seed;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    (0..requests).map(move |_| {
        let (one, other) = (random(), random());
        format!("/{:.0}", 9000_f64.powf(one) * (0.5 + other))
    })
}

async fn ask(node: &Node, targets: impl Iterator<Item = String>) {
    let mut client = node.client().await;
    for target in targets {
        assert_eq!(client.get(&target).await.status, 200);
    }
}

/// Fills a disk until things go from it, kills the node, starts it again and has others ask it.
async fn killed_and_asked_again(origin: &Origin) -> Node {
    let settings = Settings::origins(&[&origin.url()]);
    let settings = settings
        .table("memory", "size = \"16MiB\"")
        .table("memory", "object_max = \"64KiB\"")
        .site("disk = \"always\"")
        .disk("16MiB");
    let mut node = Node::start(settings).await;
    ask(&node, long_tail(BEFORE, 7)).await;
    node.metrics_when(|it| it.sum("larder_disk_unwritten_bytes", &[]) == 0.0)
        .await;
    node.kill_and_restart(|_| {}).await;
    node.metrics_when(|it| it.sum("larder_curve_sampling_rate", &[]) > 0.0)
        .await;
    ask(&node, long_tail(BEFORE, 9)).await;
    // What memory has no place for at that moment is not told.
    let requests = BEFORE as f64 * 0.9;
    node.metrics_when(|it| it.sum("larder_curve_sampled_requests_total", &[]) >= requests)
        .await;
    node
}

#[tokio::test]
async fn a_node_that_was_killed_foretells_what_its_disk_lets_it_and_says_what_it_does_not_know() {
    let origin = Origin::start(|seen| {
        let number: usize = seen.target[1..].parse().unwrap_or(0);
        Reply::fresh(3600, "x".repeat(500 + number % 7 * 5000))
    })
    .await;
    let node = killed_and_asked_again(&origin).await;
    let told = curve(&node).await;
    assert_eq!(told["state"], "told", "{told}");
    let filling = told["filling"].as_array().expect("a list");
    let all = [0.5, 2.0, 4.0].map(|factor| json!({ "change": "disk", "factor": factor }));
    assert!(filling.iter().any(|it| it["factor"] == 4.0), "{told}");
    for it in filling {
        let named = json!({ "change": it["change"], "factor": it["factor"] });
        assert!(all.contains(&named), "{told}");
        let points = told["points"].as_array().expect("points");
        let same = |point: &&Value| point["change"] == "disk" && point["factor"] == it["factor"];
        assert_eq!(points.iter().find(same), None, "{told}");
    }
    let metrics = node.metrics().await;
    let fourfold = [("change", "disk"), ("to", "4")];
    assert_eq!(metrics.sum("larder_curve_hit_ratio", &fourfold), 0.0);
    let table = command(&node, &[]).await.stdout;
    assert!(table.contains("disk × 4             filling: "), "{table}");
    ratio(&told, "memory", 2.0);
}

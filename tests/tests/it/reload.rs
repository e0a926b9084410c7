//! A running node takes a changed configuration: whole, or not at all.

use std::net::SocketAddr;

use larder_tests::{
    Ca, Client, Gate, H2Client, Node, Origin, Reply, Response, Settings, eventually, free_port,
    run_to_exit,
};
use serde_json::{Value, json};

use crate::SOON;

/// An origin that says of what it is for how long it is fresh.
async fn origin(seconds: u32) -> Origin {
    Origin::start(move |seen| Reply::fresh(seconds, seen.nth.to_string())).await
}

fn document(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).expect("a document")
}

fn site(name: &str, url: &str) -> String {
    format!("[[site]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\norigins = [\"{url}\"]\n")
}

async fn get_of(node: &Node, host: &str, target: &str) -> Response {
    node.client().await.host(host).get(target).await
}

/// The generation of the configuration in force.
async fn generation(node: &Node) -> u64 {
    let status = node.api("GET", "/v1/status", "").await;
    document(&status)["configuration"]["generation"]
        .as_u64()
        .expect("a number")
}

async fn reload_command(node: &Node) -> larder_tests::Exit {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let token = token.to_str().expect("text");
    let arguments = ["reload", "--admin", &admin, "--admin-token-file", token];
    run_to_exit(&arguments, node.folder()).await
}

#[tokio::test]
async fn a_changed_rule_holds_from_the_next_request_on() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let node = Node::start(before.clone()).await;
    assert_eq!(node.get("/a").await.text(), "1");
    assert!(node.get("/a").await.is_hit());
    let after = before
        .clone()
        .rule("name = \"never\"\nmatch = { path = \"/a\" }\ncache = false");
    let answer = node.reload(&after).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = document(&answer);
    assert_eq!(told["generation"], 2);
    let changes = json!([{ "setting": "site.main.rule.never", "before": null, "after": "(new)" }]);
    assert_eq!(told["changes"], changes);
    assert_eq!(node.get("/a").await.text(), "2");
    assert_eq!(node.get("/a").await.text(), "3");
    // And what was stored is still there when the rule is gone.
    assert_eq!(node.reload(&before).await.status, 200);
    let again = node.get("/a").await;
    assert!(again.is_hit());
    assert_eq!(again.text(), "1");
    let metrics = node.metrics().await;
    let taken = [("result", "taken")];
    assert_eq!(metrics.sum("larder_config_reloads_total", &taken), 2.0);
    assert_eq!(metrics.sum("larder_config_generation", &[]), 3.0);
}

#[tokio::test]
async fn a_kept_connection_that_repeats_itself_obeys_the_new_rules() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let after = before
        .clone()
        .rule("name = \"never\"\nmatch = { path = \"/a*\" }\ncache = false");
    let node = Node::start(before.clone()).await;
    let (mut same, mut other) = (node.client().await, node.client().await);
    for target in ["/a", "/a1", "/a2"] {
        node.get(target).await;
    }
    // One connection repeats itself, one asks for something else each time: both are remembered.
    for round in 0..6 {
        assert!(same.get("/a").await.is_hit(), "{round}");
        let target = ["/a1", "/a2"][round % 2];
        assert!(other.get(target).await.is_hit(), "{round}");
    }
    assert_eq!(node.reload(&after).await.status, 200);
    assert!(!same.get("/a").await.is_hit());
    assert!(!other.get("/a1").await.is_hit());
    assert!(!other.get("/a2").await.is_hit());
    assert_eq!(node.reload(&before).await.status, 200);
    for round in 0..6 {
        assert!(same.get("/a").await.is_hit(), "{round}");
        let target = ["/a1", "/a2"][round % 2];
        assert!(other.get(target).await.is_hit(), "{round}");
    }
}

#[tokio::test]
async fn an_http_2_connection_that_is_kept_obeys_the_new_rules() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let after = before
        .clone()
        .rule("name = \"never\"\nmatch = { path = \"/a*\" }\ncache = false");
    let node = Node::start(before.clone()).await;
    for target in ["/a", "/a1", "/a2"] {
        node.get(target).await;
    }
    let mut narrow = H2Client::connect(node.address()).await;
    let mut wide = H2Client::connect_wide(node.address()).await;
    for (settings, hit) in [(&before, true), (&after, false), (&before, true)] {
        assert_eq!(node.reload(settings).await.status, 200);
        for client in [&mut narrow, &mut wide] {
            // It repeats itself, and then asks for something else in the same words.
            for target in ["/a", "/a", "/a", "/a1", "/a2", "/a1", "/a2"] {
                let answer = client.get(target).await;
                assert_eq!(answer.status, 200);
                assert_eq!(answer.is_hit(), hit, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn a_site_comes_and_goes_and_comes_back_with_what_it_had() {
    let (main, shop) = (origin(600).await, origin(600).await);
    let alone = Settings::origins(&[&main.url()]).site("hosts = [\"main.example\"]");
    let both = alone.clone().append(&site("shop", &shop.url()));
    let node = Node::start(alone.clone()).await;
    assert_eq!(get_of(&node, "shop.example", "/a").await.status, 421);
    let answer = node.reload(&both).await;
    assert_eq!(document(&answer)["sites_added"], json!(["shop"]));
    assert_eq!(get_of(&node, "shop.example", "/a").await.text(), "1");
    let mut kept = node.client().await.host("shop.example");
    assert!(kept.get("/a").await.is_hit());
    assert!(kept.get("/a").await.is_hit());
    let answer = node.reload(&alone).await;
    assert_eq!(document(&answer)["sites_removed"], json!(["shop"]));
    assert_eq!(kept.get("/a").await.status, 421);
    assert_eq!(get_of(&node, "main.example", "/a").await.status, 200);
    assert_eq!(node.reload(&both).await.status, 200);
    assert!(get_of(&node, "shop.example", "/a").await.is_hit());
    assert_eq!(shop.total(), 1);
    // What was counted for it goes on.
    let metrics = node
        .metrics_when(|metrics| metrics.sum("larder_requests_total", &[("site", "shop")]) >= 4.0);
    let metrics = metrics.await;
    assert_eq!(metrics.sum("larder_hits_total", &[("site", "shop")]), 3.0);
}

#[tokio::test]
async fn what_was_purged_while_a_site_was_away_does_not_come_back() {
    let main = origin(600).await;
    let shop =
        Origin::start(|seen| Reply::fresh(600, seen.nth.to_string()).with("Surrogate-Key", "home"))
            .await;
    let alone = Settings::origins(&[&main.url()]);
    let both = alone
        .clone()
        .site("hosts = [\"main.example\"]")
        .append(&site("shop", &shop.url()));
    let node = Node::start(both.clone()).await;
    for target in ["/tag", "/url", "/stays"] {
        get_of(&node, "shop.example", target).await;
    }
    // The host is another site's meanwhile, and its URLs are called otherwise.
    assert_eq!(node.reload(&alone).await.status, 200);
    node.purge(r#"{ "urls": ["http://shop.example/url"] }"#)
        .await;
    assert_eq!(node.reload(&both).await.status, 200);
    assert!(!get_of(&node, "shop.example", "/url").await.is_hit());
    assert!(get_of(&node, "shop.example", "/stays").await.is_hit());
    assert_eq!(node.reload(&alone).await.status, 200);
    node.purge(r#"{ "tags": ["home"] }"#).await;
    assert_eq!(node.reload(&both).await.status, 200);
    assert!(!get_of(&node, "shop.example", "/tag").await.is_hit());
}

#[tokio::test]
async fn requests_under_way_end_under_what_they_began_with() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let old = Origin::start(move |_| Reply::ok("old").after(&answer)).await;
    let new = Origin::start(|_| Reply::ok("new")).await;
    let before = Settings::origins(&[&old.url()]);
    let node = Node::start(before.clone()).await;
    let mut waits = node.client().await;
    waits.ask("GET", "/a", &[]).await;
    eventually(SOON, || old.count("/a") == 1).await;
    let after = before.site(&format!("origins = [\"{}\"]", new.url()));
    assert_eq!(node.reload(&after).await.status, 200);
    assert_eq!(node.get("/b").await.text(), "new");
    gate.open();
    assert_eq!(waits.answer().await.text(), "old");
    assert_eq!(waits.get("/c").await.text(), "new");
    assert_eq!(old.total(), 1);
}

#[tokio::test]
async fn a_signal_reloads_and_the_log_tells() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let node = Node::start(before.clone()).await;
    node.configure(&before.clone().table("limits", "ranges = 3"));
    node.signal("HUP");
    eventually(SOON, || {
        let told = node.stderr();
        told.iter().any(|line| {
            line.contains("the configuration is taken") && line.contains("limits.ranges")
        })
    })
    .await;
    assert_eq!(generation(&node).await, 2);
    let settings = node.api("GET", "/v1/config", "").await.text();
    assert!(
        settings.contains(r#""key":"ranges","value":"3""#),
        "{settings}"
    );
    node.configure_as("[[site]\n");
    node.signal("HUP");
    eventually(SOON, || {
        let told = node.stderr();
        told.iter()
            .any(|line| line.contains("the configuration stays as it was"))
    })
    .await;
    assert_eq!(generation(&node).await, 2);
    assert_eq!(node.get("/a").await.status, 200);
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_all_that_is_wrong_is_told() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let node = Node::start(before.clone()).await;
    node.get("/a").await;
    let wrong = before
        .clone()
        .table("limits", "ranges = 0")
        .rule("match = { path = \"/a\" }\nttl = \"never\"");
    let answer = node.reload(&wrong).await;
    assert_eq!(answer.status, 422);
    let problem = document(&answer);
    assert_eq!(problem["code"], "configuration");
    let detail = problem["detail"].as_str().expect("text");
    assert!(
        detail.contains("ranges") && detail.contains("ttl"),
        "{detail}"
    );
    let exit = reload_command(&node).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stdout);
    assert!(exit.stderr.contains("ranges"), "{}", exit.stderr);
    // A file that the configuration names is a part of it.
    let missing = before.clone().table(
        "admin",
        "tokens = [{ name = \"a\", file = \"nowhere\", may = [\"read\"] }]",
    );
    assert_eq!(node.reload(&missing).await.status, 422);
    assert!(node.get("/a").await.is_hit());
    assert_eq!(generation(&node).await, 1);
    let metrics = node.metrics().await;
    let wrong = [("result", "configuration")];
    assert_eq!(metrics.sum("larder_config_reloads_total", &wrong), 3.0);
    // And it is in the trail of what was refused.
    let refusals = document(&node.api("GET", "/v1/refusals", "").await);
    assert_eq!(refusals["refusals"][0]["path"], "/v1/reload");
}

#[tokio::test]
async fn settings_that_need_a_restart_are_named_and_nothing_else_is_taken_either() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let node = Node::start(before.clone()).await;
    let after = before
        .clone()
        .table("memory", "size = \"65MiB\"")
        .table("node", "grace = \"6s\"")
        .table("limits", "ranges = 3");
    let answer = node.reload(&after).await;
    assert_eq!(answer.status, 422);
    let problem = document(&answer);
    assert_eq!(problem["code"], "restart");
    let detail = problem["detail"].as_str().expect("text");
    for line in [
        "memory.size: \"64MiB\" -> \"65MiB\"",
        "node.grace: \"5s\" -> \"6s\"",
    ] {
        assert!(detail.contains(line), "{detail}");
    }
    assert!(!detail.contains("ranges"), "{detail}");
    let settings = node.api("GET", "/v1/config", "").await.text();
    assert!(
        settings.contains(r#""key":"ranges","value":"16""#),
        "{settings}"
    );
    // Taken back, the rest is taken.
    let rest = before.table("limits", "ranges = 3");
    node.configure(&rest);
    let exit = reload_command(&node).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(
        exit.stdout.contains("limits.ranges: 16 -> 3"),
        "{}",
        exit.stdout
    );
    let exit = reload_command(&node).await;
    assert!(
        exit.stdout.contains("no setting differs"),
        "{}",
        exit.stdout
    );
}

#[tokio::test]
async fn a_node_without_a_file_says_so() {
    let origin = origin(600).await;
    let node = Node::with_flags(&["--origin", &origin.url()]).await;
    let answer = node.api("POST", "/v1/reload", "").await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("--config"), "{}", answer.text());
    node.signal("HUP");
    assert_eq!(node.get("/a").await.status, 200);
}

#[tokio::test]
async fn it_takes_a_token_that_may_and_tokens_are_renewed() {
    let origin = origin(600).await;
    let before = Settings::origins(&[&origin.url()]);
    let node = Node::start(before.clone()).await;
    let token = |number: u8| format!("a-token-for-deployments-of-32-chars-{number}");
    let write = |number: u8| {
        std::fs::write(node.folder().join("deploy"), token(number)).expect("a writable folder");
    };
    write(1);
    let tokens = |may: &str| {
        format!("tokens = [{{ name = \"deploy\", file = \"deploy\", may = [\"{may}\"] }}]")
    };
    assert_eq!(
        node.reload(&before.clone().table("admin", &tokens("read")))
            .await
            .status,
        200
    );
    let ask = async |number: u8, method: &str| {
        let asked = (method, "/v1/reload");
        node.api_as(&token(number), asked, "").await.status
    };
    assert_eq!(ask(1, "POST").await, 403);
    let may = before.clone().table("admin", &tokens("reload"));
    assert_eq!(node.reload(&may).await.status, 200);
    assert_eq!(ask(1, "POST").await, 200);
    assert_eq!(ask(1, "GET").await, 405);
    assert_eq!(ask(2, "POST").await, 401);
    // The same file with another token in it.
    write(2);
    assert_eq!(ask(1, "POST").await, 200);
    assert_eq!(ask(1, "POST").await, 401);
    assert_eq!(ask(2, "POST").await, 200);
}

#[tokio::test]
async fn a_node_that_stops_takes_no_other_configuration() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").after(&answer)).await;
    let settings = Settings::origins(&[&origin.url()]).table("node", "grace = \"30s\"");
    let mut node = Node::start(settings.clone()).await;
    let mut waits = node.client().await;
    waits.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    node.signal("TERM");
    let address = node.address();
    eventually(SOON, || std::net::TcpStream::connect(address).is_err()).await;
    let answer = node.reload(&settings.table("limits", "ranges = 3")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    gate.open();
    assert_eq!(waits.answer().await.text(), "x");
    assert!(node.wait_exit().await.success());
}

#[tokio::test]
async fn reloads_at_once_come_one_after_the_other() {
    let origin = origin(600).await;
    let settings = Settings::origins(&[&origin.url()]);
    let node = Node::start(settings).await;
    let reload = || node.api("POST", "/v1/reload", "");
    let (one, two, three, four) = tokio::join!(reload(), reload(), reload(), reload());
    let all = [one, two, three, four];
    let mut generations: Vec<_> = all
        .iter()
        .map(|answer| document(answer)["generation"].as_u64().expect("a number"))
        .collect();
    generations.sort_unstable();
    assert_eq!(generations, [2, 3, 4, 5]);
    let mut admin = Client::connect(node.admin()).await;
    assert_eq!(admin.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn certificates_are_renewed_and_connections_go_on() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |names: &[&str]| ca.sign(names).write(folder.path(), "certificate");
    let (certificate, key) = write(&["a.example"]);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let origin = origin(600).await;
    let settings = Settings::origins(&[&origin.url()])
        .listener(&format!("{{ address = \"{address}\", tls = true }}"))
        .table(
            "tls",
            &format!("certificates = [{{ cert = {certificate:?}, key = {key:?} }}]"),
        );
    let node = Node::start(settings.clone()).await;
    let connect = async |name: &str| Client::connect_tls(address, &ca, name).await;
    let mut old = connect("a.example").await.expect("its name");
    assert_eq!(old.get("/a").await.status, 200);
    assert!(connect("b.example").await.is_err());
    // The same files, with another certificate in them.
    write(&["b.example"]);
    assert_eq!(node.reload(&settings).await.status, 200);
    let mut new = connect("b.example").await.expect("its new name");
    assert_eq!(new.get("/a").await.status, 200);
    assert!(connect("a.example").await.is_err());
    assert!(old.get("/a").await.is_hit());
    // What is none is not taken.
    std::fs::write(&certificate, "no certificate").expect("a writable folder");
    assert_eq!(node.reload(&settings).await.status, 422);
    assert!(connect("b.example").await.is_ok());
    assert!(old.get("/a").await.is_hit());
}

//! Who may do what at the servers: the accounts that `larder fleet accounts` prints, TLS, and what is said where either
//! is wrong.

use std::fs;
use std::path::Path;
use std::time::Duration;

use larder_tests::{Ca, Nats, NatsOperator, Node, Origin, Settings, eventually, run_to_exit};

use super::{SOON, counting, fleet_init, has_applied, through};

/// Servers with the accounts as they are printed, and with TLS both ways.
async fn guarded(ca: &Ca) -> Nats {
    let mut nats = Nats::prepared();
    let folder = nats.folder();
    let accounts = run_to_exit(&["fleet", "accounts"], folder).await;
    assert_eq!(accounts.code, Some(0), "{}", accounts.stderr);
    write(folder, "accounts.conf", &accounts.stdout);
    let server = ca.sign(&["localhost", "127.0.0.1"]);
    write(folder, "server.pem", &server.certificate);
    write(folder, "server-key.pem", &server.key);
    write(folder, "ca.pem", &ca.pem());
    let client = ca.sign(&["node"]);
    write(folder, "node.pem", &client.certificate);
    write(folder, "node-key.pem", &client.key);
    let file = |name: &str| nats.folder().join(name);
    let more = format!(
        "include accounts.conf\n\
         tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        file("server.pem"),
        file("server-key.pem"),
        file("ca.pem")
    );
    nats.configure(&more);
    nats.begin();
    nats
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("a writable folder");
}

/// A node of that name, as that user.
fn user(origin: &Origin, nats: &Nats, name: &str, (user, password): (&str, &str)) -> Settings {
    let port = nats.address().port();
    let servers = format!("[\"tls://{user}:{password}@localhost:{port}\"]");
    let file = |key: &str, name: &str| format!("{key} = {:?}", nats.folder().join(name));
    through(origin, &servers, name)
        .table("fleet", &file("ca_file", "ca.pem"))
        .table("fleet", &file("cert_file", "node.pem"))
        .table("fleet", &file("key_file", "node-key.pem"))
        .table("fleet", "publish_timeout = \"1s\"")
}

const OPERATOR: (&str, &str) = ("operator", "change-me-operator");
const NODE: (&str, &str) = ("node", "change-me-node");
const READER: (&str, &str) = ("reader", "change-me-reader");
const WRONG: (&str, &str) = ("node", "guessed");

fn lines(node: &Node, text: &str) -> Vec<String> {
    let lines = node.stderr();
    let found = lines.iter().filter(|line| line.contains(text));
    found.cloned().collect()
}

#[tokio::test]
async fn each_account_may_do_what_it_is_for_and_no_more() {
    let (ca, origin) = (Ca::new(), counting().await);
    let nats = guarded(&ca).await;
    // A node may not make the stream.
    let refused = fleet_init(&user(&origin, &nats, "any", NODE), &[]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("may not"), "{}", refused.stderr);
    let made = fleet_init(&user(&origin, &nats, "any", OPERATOR), &[]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let again = fleet_init(&user(&origin, &nats, "any", OPERATOR), &[]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);

    let near = Node::start(user(&origin, &nats, "near", NODE)).await;
    let reader = Node::start(user(&origin, &nats, "reader", READER)).await;
    for node in [&near, &reader] {
        node.get("/x").await;
        assert!(node.get("/x").await.is_hit());
    }
    let receipt = near
        .purge(r#"{"tags":["x"],"wait":"all","timeout_ms":20000}"#)
        .await;
    for node in [&near, &reader] {
        has_applied(node, &receipt).await;
        assert!(!node.get("/x").await.is_hit());
    }
    // Who follows only purges nobody, and is told why.
    let refused = reader.api("POST", "/v1/purges", r#"{"tags":["x"]}"#).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("may not"), "{}", refused.text());
    assert!(reader.get("/x").await.is_hit());
    assert!(near.get("/x").await.is_hit());
}

#[tokio::test]
async fn a_wrong_password_is_one_clear_message() {
    let (ca, origin) = (Ca::new(), counting().await);
    let nats = guarded(&ca).await;
    let refused = fleet_init(&user(&origin, &nats, "any", WRONG), &[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("user name and password"),
        "{}",
        refused.stderr
    );
    let made = fleet_init(&user(&origin, &nats, "any", OPERATOR), &[]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);

    let node = Node::begin(&user(&origin, &nats, "a", WRONG));
    eventually(SOON, || !lines(&node, "user name and password").is_empty()).await;
    // It tries again and again, and does not say so again and again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = lines(&node, "purge log");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(!told[0].contains(WRONG.1), "{told:#?}");
}

#[tokio::test]
async fn a_credentials_file_opens_what_its_account_may() {
    let origin = counting().await;
    let operator = NatsOperator::new();
    let nats = Nats::configured(&operator.configuration());
    let settings = |name: &str, credentials: &str| {
        let file = nats.folder().join(format!("{name}.creds"));
        fs::write(&file, credentials).expect("a writable folder");
        let servers = format!("[\"{}\"]", nats.url());
        through(&origin, &servers, name).table("fleet", &format!("credentials_file = {file:?}"))
    };
    let own = operator.credentials();
    let made = fleet_init(&settings("operator", &own), &[]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let node = Node::start(settings("a", &own)).await;
    node.get("/x").await;
    assert!(node.get("/x").await.is_hit());
    node.purge(r#"{"tags":["x"],"timeout_ms":20000}"#).await;
    assert!(!node.get("/x").await.is_hit());
    // Another operator's are as good as none.
    let foreign = NatsOperator::new().credentials();
    let refused = fleet_init(&settings("foreign", &foreign), &[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("these credentials"),
        "{}",
        refused.stderr
    );
    let broken = fleet_init(&settings("broken", "no credentials"), &[]).await;
    assert_eq!(broken.code, Some(1));
    assert!(broken.stderr.contains("broken.creds"), "{}", broken.stderr);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_one_clear_message() {
    let (ca, origin) = (Ca::new(), counting().await);
    let nats = guarded(&ca).await;
    write(nats.folder(), "ca.pem", &Ca::new().pem());
    let refused = fleet_init(&user(&origin, &nats, "any", OPERATOR), &[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
    let node = Node::begin(&user(&origin, &nats, "a", NODE));
    eventually(SOON, || !lines(&node, "certificate").is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = lines(&node, "purge log");
    assert_eq!(told.len(), 1, "{told:#?}");
}

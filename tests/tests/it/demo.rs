//! The demo: what a newcomer sees first, and that it does what it prints.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use larder_tests::{Client, Response, ensure_binary, free_port};

struct Demo {
    child: Child,
    address: SocketAddr,
    /// The lines that it printed at its start.
    printed: Vec<String>,
    _home: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let [address, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut child = Command::new(ensure_binary())
            .args(["demo", "--listen", &address.to_string()])
            .args(["--admin", &admin.to_string()])
            .env("HOME", home.path())
            .env_remove("XDG_STATE_HOME")
            .env_remove("LARDER_ADMIN_TOKEN")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut printed = Vec::new();
        for line in stderr.lines().map_while(Result::ok) {
            let is_last = line.starts_with("stop it");
            printed.push(line);
            if is_last {
                break;
            }
        }
        Self {
            child,
            address,
            printed,
            _home: home,
        }
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        Client::connect(self.address)
            .await
            .get_with(path, fields)
            .await
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn every_page_that_the_demo_prints_does_what_it_says() {
    let demo = Demo::start();
    let node = format!("http://{}/", demo.address);
    let suggested = demo.printed.iter().filter(|line| line.contains(&node));
    assert!(suggested.count() >= 7, "{:?}", demo.printed);

    assert_eq!(demo.get("/", &[]).await.forwarded(), Some("uri-miss"));
    let again = demo.get("/", &[]).await;
    assert!(
        again.is_hit() && again.age().is_some(),
        "{}",
        again.cache_status()
    );

    let part = demo.get("/", &[("Range", "bytes=6-10")]).await;
    assert_eq!((part.status, part.body.len()), (206, 5));

    demo.get("/etag", &[]).await;
    let validated = demo.get("/etag", &[]).await;
    assert_eq!(validated.cache_parameter("fwd-status"), Some("304"));

    let private = demo.get("/private", &[]).await;
    assert_eq!(private.cache_parameter("detail"), Some("private"));
    assert!(!demo.get("/private", &[]).await.is_hit());

    let [german, english] = ["de", "en"].map(|language| [("Accept-Language", language)]);
    let german = demo.get("/language", &german).await.text();
    assert_ne!(german, demo.get("/language", &english).await.text());

    assert_eq!(
        demo.get("/brief", &[]).await.cache_parameter("ttl"),
        Some("5")
    );
    assert_eq!(demo.get("/unknown", &[]).await.status, 404);
}

#[tokio::test]
async fn five_requests_for_the_slow_page_are_one_at_its_origin() {
    let demo = Demo::start();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(demo.address).await;
        client.ask("GET", "/slow", &[]).await;
        clients.push(client);
    }
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.answer().await.text());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

//! Three NATS servers that keep one store together.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::nats::Nats;
use crate::ports::free_port;

/// How long three servers may take to choose a leader.
const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);
const SERVERS: usize = 3;

/// A cluster of three servers. They are killed when it is dropped.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<Nats>,
    /// Ports on which they tell of themselves.
    monitors: Vec<u16>,
}

impl NatsCluster {
    /// Starts three servers, and waits until they are one.
    pub async fn start() -> Self {
        let routes: Vec<u16> = (0..SERVERS).map(|_| free_port()).collect();
        let monitors: Vec<u16> = (0..SERVERS).map(|_| free_port()).collect();
        let all = routes.iter().fold(String::new(), |mut all, port| {
            write!(all, "\"nats://127.0.0.1:{port}\", ").expect("strings grow");
            all
        });
        let all = all.trim_end_matches(", ");
        let server = |number: usize| {
            let (route, monitor) = (routes[number], monitors[number]);
            Nats::configured(&format!(
                "server_name: n{number}\nhttp: \"127.0.0.1:{monitor}\"\n\
                 cluster {{ name: tests, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n"
            ))
        };
        let cluster = Self {
            servers: (0..SERVERS).map(server).collect(),
            monitors,
        };
        cluster
            .told(0, |told| told["meta_cluster"]["leader"].is_string())
            .await;
        cluster
    }

    /// The URLs of all, as TOML has a list.
    #[must_use]
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self
            .servers
            .iter()
            .map(|it| format!("{:?}", it.url()))
            .collect();
        format!("[{}]", urls.join(", "))
    }

    /// The server that leads the only stream, by its number.
    pub async fn leader(&self) -> usize {
        let leader = |told: &Value| {
            let stream = &told["account_details"][0]["stream_detail"][0];
            let name = stream["cluster"]["leader"].as_str()?;
            name.strip_prefix('n')?.parse::<usize>().ok()
        };
        let told = self.told(0, |told| leader(told).is_some()).await;
        leader(&told).expect("it was there")
    }

    /// A server by its number.
    pub fn server(&mut self, number: usize) -> &mut Nats {
        &mut self.servers[number]
    }

    /// What a server tells of its store, once it is so.
    async fn told(&self, server: usize, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let told = monitor(self.monitors[server]).unwrap_or_default();
            if is_so(&told) {
                return told;
            }
            assert!(Instant::now() < end, "{told}");
            sleep(INTERVAL).await;
        }
    }
}

fn monitor(port: u16) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let ask = "GET /jsz?accounts=true&streams=true HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(ask.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

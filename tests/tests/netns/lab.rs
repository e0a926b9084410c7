//! The nodes of the lab and the network between them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use larder_tests::{Client, Metrics, Response, Settings};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::origin::Origin;

pub(crate) const EDGES: usize = 8;
pub(crate) const PARENTS: usize = 2;
/// How long nodes may take to be ready, or to see that another one is.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token-for-the-tests-of-32-chars";

/// Where the lab itself is on the bridge: its origin, its clients and its DNS.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

pub(crate) fn parent_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 1, u8::try_from(number + 1).expect("few"))
}

pub(crate) fn edge_url(number: usize) -> String {
    format!("http://{}:8080", edge_address(number))
}

fn edge_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 2, u8::try_from(number + 1).expect("few"))
}

/// Runs a command of the system that must not fail.
fn run(command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let status = Command::new(words[0]).args(&words[1..]).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// Sets a node's link to the bridge up or down: down, every packet is lost.
pub(crate) fn link(node: &str, state: &str) {
    run(&format!("ip link set v-{node} {state}"));
}

/// Makes the bridge and a namespace for each node.
pub(crate) fn set_up_network() {
    run("mount --make-rprivate /");
    run("mount -t tmpfs lab /run");
    fs::create_dir("/run/netns").expect("a folder");
    fs::write(
        "/run/resolv.conf",
        format!("nameserver {HERE}\noptions timeout:1 attempts:1\n"),
    )
    .expect("a file");
    run("mount --bind /run/resolv.conf /etc/resolv.conf");
    run("ip link set lo up");
    run("ip link add lab type bridge");
    run(&format!("ip address add {HERE}/16 dev lab"));
    run("ip link set lab up");
    let parents = (0..PARENTS).map(|number| (format!("parent{number}"), parent_address(number)));
    let edges = (0..EDGES).map(|number| (format!("edge{number}"), edge_address(number)));
    for (name, address) in parents.chain(edges) {
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add v-{name} type veth peer name eth0 netns {name}"
        ));
        run(&format!("ip link set v-{name} master lab up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} address add {address}/16 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
    }
}

/// A node in its namespace.
pub(crate) struct Node {
    child: Child,
    namespace: String,
    address: Ipv4Addr,
    folder: PathBuf,
}

impl Node {
    fn start(namespace: &str, address: Ipv4Addr, folder: PathBuf, settings: &Settings) -> Self {
        fs::create_dir_all(&folder).expect("a folder");
        let token = folder.join("admin-token");
        fs::write(&token, TOKEN).expect("a file");
        run(&format!("chmod 600 {}", token.display()));
        let at = |port| SocketAddr::new(IpAddr::V4(address), port);
        let text = settings.text(at(8080), at(9180), &token);
        fs::write(folder.join("larder.toml"), text).expect("a file");
        Self {
            child: spawn(namespace, &folder),
            namespace: namespace.to_owned(),
            address,
            folder,
        }
    }

    fn client_address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), 8080)
    }

    fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), 9180)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        run(&format!("kill -s {name} {}", self.child.id()));
    }

    async fn ready(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            if tokio::net::TcpStream::connect(self.admin_address())
                .await
                .is_ok()
                && Client::connect(self.admin_address())
                    .await
                    .get("/readyz")
                    .await
                    .status
                    == 200
            {
                return;
            }
            let log = fs::read_to_string(self.folder.join("stderr")).unwrap_or_default();
            assert!(
                Instant::now() < end,
                "{} is not ready: {log}",
                self.namespace
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn metrics_when(&self, right: impl Fn(&Metrics) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !right(&self.metrics().await) {
            let log = fs::read_to_string(self.folder.join("stderr")).unwrap_or_default();
            assert!(Instant::now() < end, "{}: {log}", self.namespace);
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn metrics(&self) -> Metrics {
        let answer = Client::connect(self.admin_address())
            .await
            .get("/metrics")
            .await;
        Metrics::parse(&answer.text())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(namespace: &str, folder: &PathBuf) -> Child {
    let stderr = fs::File::create(folder.join("stderr")).expect("a file");
    // `ip` becomes the program: its number is the node's.
    Command::new("ip")
        .args(["netns", "exec", namespace])
        .arg(larder_tests::ensure_binary())
        .args(["run", "--config", "larder.toml"])
        .env("XDG_STATE_HOME", folder)
        .env("XDG_CACHE_HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("the node starts")
}

/// Edges, two parents, an origin.
pub(crate) struct Lab {
    pub(crate) origin: Origin,
    pub(crate) parents: Vec<Node>,
    edges: Vec<Node>,
    folder: TempDir,
}

impl Lab {
    async fn empty() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let key = folder.path().join("tier.key");
        fs::write(key, "a-key-for-the-lab-of-at-least-32-chars").expect("a file");
        Self {
            origin: Origin::start().await,
            parents: Vec::new(),
            edges: Vec::new(),
            folder,
        }
    }

    /// Starts all nodes; `change` has the last word on the edges' settings.
    pub(crate) async fn start(change: impl Fn(Settings) -> Settings) -> Self {
        Self::with(|parent| parent, change).await
    }

    /// As [`Self::start`], with these logs of purges for edges and parents, which are one.
    pub(crate) async fn with_log(near: &str, far: &str) -> Self {
        let follow = |settings: Settings, url: &str| {
            settings
                .table("fleet", &format!("servers = [\"{url}\"]"))
                .table("fleet", "max_lag = \"5m\"")
                .table("fleet", "publish_timeout = \"5s\"")
        };
        init(&follow(Settings::origins(&["http://127.0.0.1:9"]), near));
        Self::with(|parent| follow(parent, far), |edge| follow(edge, near)).await
    }

    async fn with(
        parent: impl Fn(Settings) -> Settings,
        edge: impl Fn(Settings) -> Settings,
    ) -> Self {
        let mut lab = Self::empty().await;
        for number in 0..PARENTS {
            let name = format!("parent{number}");
            let settings = lab.settings(&name).table("tier", "role = \"parent\"");
            let node = lab.node(&name, parent_address(number), &parent(settings));
            lab.parents.push(node);
        }
        for parent in &lab.parents {
            parent.ready().await;
        }
        let urls = (0..PARENTS).map(|number| format!("\"http://{}:8080\"", parent_address(number)));
        let parents = format!("parents = [{}]", urls.collect::<Vec<_>>().join(", "));
        lab.add_edges(EDGES, |_, settings| edge(settings.table("tier", &parents)))
            .await;
        for edge in &lab.edges {
            edge.metrics_when(|metrics| {
                let connected = metrics.sum("larder_tiered_connections", &[]);
                let up = metrics.sum("larder_tiered_parent_up", &[]);
                connected >= 1.0 && connected == up
            })
            .await;
        }
        lab
    }

    /// Edges alone.
    pub(crate) async fn of_edges(
        count: usize,
        change: impl Fn(usize, Settings) -> Settings,
    ) -> Self {
        let mut lab = Self::empty().await;
        lab.add_edges(count, change).await;
        lab.all_up(1.0).await;
        lab
    }

    async fn add_edges(&mut self, count: usize, change: impl Fn(usize, Settings) -> Settings) {
        for number in 0..count {
            let name = format!("edge{number}");
            let settings = self.settings(&name).table("node", "threads = 1");
            let node = self.node(&name, edge_address(number), &change(number, settings));
            self.edges.push(node);
        }
        for edge in &self.edges {
            edge.ready().await;
        }
    }

    fn settings(&self, name: &str) -> Settings {
        let key = self.folder.path().join("tier.key");
        Settings::origins(&[&self.origin.url()])
            .table("node", &format!("name = \"{name}\""))
            .table("log", "access = \"off\"")
            .table("tier", &format!("key_file = {key:?}"))
            // Machines that run tests may be busy for long.
            .table("tier", "silence = \"5s\"")
            .table("tier", "connect_timeout = \"5s\"")
    }

    fn node(&self, name: &str, address: Ipv4Addr, settings: &Settings) -> Node {
        Node::start(name, address, self.folder.path().join(name), settings)
    }

    pub(crate) fn parent(&self, number: usize) -> SocketAddr {
        self.parents[number].client_address()
    }

    pub(crate) fn edge(&self, number: usize) -> SocketAddr {
        self.edges[number].client_address()
    }

    /// Asks an edge, and does not wait for the answer.
    pub(crate) async fn ask(&self, edge: usize, target: &str) -> Client {
        let mut client = Client::connect(self.edge(edge)).await.patient();
        client.ask("GET", target, &[]).await;
        client
    }

    pub(crate) async fn get(&self, edge: usize, target: &str) -> Response {
        let mut client = Client::connect(self.edge(edge)).await.patient();
        client.get(target).await
    }

    /// Purges what has the tag that everything has, and returns its place in the order.
    pub(crate) async fn purge_everything(&self, edge: usize) -> f64 {
        let bearer = format!("Bearer {TOKEN}");
        let fields = [("Authorization", bearer.as_str())];
        let order = br#"{"tags":["all"],"timeout_ms":20000,"wait":"local"}"#;
        let mut client = Client::connect(self.edges[edge].admin_address()).await;
        let answer = client.upload("POST", "/v1/purges", &fields, order).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let receipt: Value = serde_json::from_slice(&answer.body).expect("a receipt");
        receipt["sequence"].as_f64().expect("a sequence")
    }

    /// Waits until an edge has applied a purge.
    pub(crate) async fn applied(&self, edge: usize, sequence: f64) {
        let known = |metrics: &Metrics| metrics.sum("larder_purge_sequence", &[]) >= sequence;
        self.edges[edge].metrics_when(known).await;
    }

    /// Up to where a parent knows of purges.
    pub(crate) async fn parent_sequence(&self, parent: usize) -> f64 {
        let metrics = self.parents[parent].metrics().await;
        metrics.sum("larder_purge_sequence", &[])
    }

    /// Which parent says that it has answered.
    pub(crate) fn parent_that_answered(&self, answer: &Response) -> usize {
        let way = answer.headers("Cache-Status").join(", ");
        (0..PARENTS)
            .find(|number| way.contains(&format!("parent{number};")))
            .unwrap_or_else(|| panic!("{way}"))
    }

    /// How often an edge has found a parent unfit, or fit again.
    pub(crate) async fn turns(&self, edge: usize) -> f64 {
        self.edges[edge]
            .metrics()
            .await
            .sum("larder_tiered_parent_turns_total", &[])
    }

    async fn all_up(&self, count: f64) {
        for edge in &self.edges {
            edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == count)
                .await;
        }
    }

    pub(crate) async fn all_parents_up(&self) {
        self.all_up(PARENTS as f64).await;
    }

    pub(crate) async fn no_parent_up(&self) {
        self.all_up(0.0).await;
    }
}

/// Makes the stream of a log, as an operator does, once its server is there.
fn init(settings: &Settings) {
    let folder = TempDir::new().expect("a temporary folder");
    let token = folder.path().join("token");
    fs::write(&token, TOKEN).expect("a file");
    let at = |port| SocketAddr::new(IpAddr::V4(HERE), port);
    let text = settings.text(at(1), at(2), &token);
    fs::write(folder.path().join("larder.toml"), text).expect("a file");
    let end = Instant::now() + PATIENCE;
    loop {
        let made = Command::new(larder_tests::ensure_binary())
            .args(["fleet", "init", "--config", "larder.toml"])
            .current_dir(folder.path())
            .output()
            .expect("the program starts");
        if made.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(Instant::now() < end, "{said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

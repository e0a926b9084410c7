//! Two nodes that share one address: each leaves from ports of its own, and the network takes what comes back to them by
//! the port. A lab of network namespaces; where the system refuses those, it says so and is skipped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use larder_tests::ensure_binary;
use tempfile::TempDir;

const SHARED: &str = "203.0.113.7";
const ORIGIN: &str = "10.77.3.2";
const REQUESTS: usize = 100;

/// Namespaces that go when they are dropped.
struct Lab {
    prefix: String,
    running: Vec<Child>,
    folder: TempDir,
}

impl Lab {
    /// A router with two nodes and an origin around it; none where the system refuses.
    fn new() -> Option<Self> {
        let lab = Self {
            prefix: format!("larder{}", std::process::id()),
            running: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        for name in ["router", "one", "two", "origin"] {
            if !run(&format!("ip netns add {}", lab.name(name))) {
                return None;
            }
            lab.within(name, "ip link set lo up");
        }
        lab.within("router", "sysctl -qw net.ipv4.ip_forward=1");
        lab.within("router", "sysctl -qw net.ipv4.conf.all.rp_filter=0");
        for (number, name) in [(1, "one"), (2, "two"), (3, "origin")] {
            lab.connect(number, name);
        }
        for (number, name, ports) in [(1, "one", "40000-40999"), (2, "two", "41000-41999")] {
            lab.within(name, &format!("ip address add {SHARED}/32 dev lo"));
            // As hosts are to be set up that use slices.
            lab.within(name, "sysctl -qw net.ipv4.tcp_tw_reuse=1");
            let table = 100 + number;
            lab.within(
                "router",
                &format!("ip route add {SHARED}/32 via 10.77.{number}.2 table {table}"),
            );
            lab.within(
                "router",
                &format!("ip rule add to {SHARED} ipproto tcp dport {ports} lookup {table}"),
            );
        }
        Some(lab)
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A link of its own between `name` and the router.
    fn connect(&self, number: u8, name: &str) {
        let (inside, router) = (self.name(name), self.name("router"));
        assert!(run(&format!(
            "ip link add uplink netns {inside} type veth peer name to{number} netns {router}"
        )));
        self.within(
            name,
            &format!("ip address add 10.77.{number}.2/24 dev uplink"),
        );
        self.within(name, "ip link set uplink up");
        self.within(
            "router",
            &format!("ip address add 10.77.{number}.1/24 dev to{number}"),
        );
        self.within("router", &format!("ip link set to{number} up"));
        self.within(
            "router",
            &format!("sysctl -qw net.ipv4.conf.to{number}.rp_filter=0"),
        );
        self.within(name, &format!("ip route add default via 10.77.{number}.1"));
    }

    fn within(&self, name: &str, command: &str) {
        let all = format!("ip netns exec {} {command}", self.name(name));
        assert!(run(&all), "{all}");
    }

    fn start(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name(name)])
            .arg(program)
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path().join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        self.running.push(child.expect("iproute2 is installed"));
    }

    /// An origin that answers who asked it.
    fn start_origin(&mut self) {
        let file = self.folder.path().join("haproxy");
        let text = format!(
            "defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n\
             frontend f\n  bind {ORIGIN}:80\n  option httpclose\n  \
             http-request return status 200 hdr Cache-Control no-store content-type text/plain lf-string \"%[src]:%[src_port]\\n\"\n"
        );
        fs::write(&file, text).expect("a writable folder");
        let file = file.display().to_string();
        self.start(
            "origin",
            Path::new("/usr/sbin/haproxy"),
            &["-db", "-f", &file],
        );
    }

    fn start_node(&mut self, name: &str, port: u16, ports: &str) {
        let folder = self.folder.path().join(format!("{name}-{port}"));
        fs::create_dir_all(&folder).expect("a writable folder");
        let (file, token) = (folder.join("larder.toml"), folder.join("token"));
        fs::write(&token, "a-token-for-the-tests-of-32-chars").expect("a writable folder");
        let admin = port + 1;
        let text = format!(
            "[node]\nname = \"{name}\"\nlisten = [\"127.0.0.1:{port}\"]\nthreads = 1\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\ntoken_file = {token:?}\n[log]\naccess = \"off\"\n\
             [[egress]]\nname = \"shared\"\naddresses = [\"{SHARED}\"]\nports = \"{ports}\"\n\
             [[site]]\norigins = [\"http://{ORIGIN}\"]\negress = [\"shared\"]\nconnect_timeout = \"1s\"\n"
        );
        fs::write(&file, text).expect("a writable folder");
        let file = file.display().to_string();
        self.start(name, ensure_binary(), &["run", "--config", &file]);
        let ready = format!("http://127.0.0.1:{admin}/readyz");
        for _ in 0..200 {
            if self.curl(name, &ready).starts_with("ready") {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("node {name} does not start");
    }

    /// What is answered to a client beside the node.
    fn curl(&self, name: &str, urls: &str) -> String {
        let output = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.name(name),
                "curl",
                "-s",
                "-m",
                "20",
                urls,
            ])
            .output();
        let output = output.expect("curl is installed: bash .ci/setup");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.running {
            drop(child.kill());
            drop(child.wait());
        }
        for name in ["router", "one", "two", "origin"] {
            run(&format!("ip netns delete {}", self.name(name)));
        }
    }
}

fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn two_nodes_share_an_address_by_their_ports() {
    let Some(mut lab) = Lab::new() else {
        return eprintln!("skipped: the system refuses network namespaces");
    };
    lab.start_origin();
    lab.start_node("one", 8080, "40000-40999");
    lab.start_node("two", 8080, "41000-41999");
    for (name, slice) in [("one", 40_000..=40_999), ("two", 41_000..=41_999)] {
        let answers = lab.curl(name, &format!("http://127.0.0.1:8080/[1-{REQUESTS}]"));
        assert_eq!(answers.lines().count(), REQUESTS, "{name}: {answers}");
        for line in answers.lines() {
            let (address, port) = line.split_once(':').expect("an address and a port");
            let port: u16 = port.parse().expect("a port");
            assert_eq!(address, SHARED, "{name}");
            assert!(slice.contains(&port), "{name}: {port}");
        }
    }
    // With the neighbour's ports, what comes back goes there.
    lab.start_node("two", 8090, "40000-40999");
    let lost = lab.curl("two", "http://127.0.0.1:8090/lost");
    assert!(!lost.contains(SHARED), "{lost}");
}

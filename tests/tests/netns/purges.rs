//! Purges through two tiers, where the parents' log is seconds behind: what an edge has applied it serves nothing of.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::lab::{EDGES, HERE, Lab};
use crate::{Ran, told};

const DELAY: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
const OBJECTS: usize = 6;

/// A server of purge logs.
struct Nats {
    child: Child,
    _folder: TempDir,
}

impl Nats {
    /// None where it is not installed.
    fn start() -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let child = Command::new("nats-server")
            .args(["-a", &HERE.to_string(), "-p", "4222", "-js", "-sd"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self {
            child,
            _folder: folder,
        })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Passes everything on to the log, and what comes from it as late as is said.
async fn delay(listener: TcpListener, millis: Arc<AtomicU64>) {
    while let Ok((node, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect((HERE, 4222)).await else {
            continue;
        };
        let (mut from_node, mut to_node) = node.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move {
            // It fails where one of the two is gone.
            drop(tokio::io::copy(&mut from_node, &mut to_server).await);
        });
        let (send, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(10_000);
        let millis = Arc::clone(&millis);
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let late = Duration::from_millis(millis.load(Ordering::Relaxed));
                let due = Instant::now() + late;
                if send.send((due, buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((due, bytes)) = queue.recv().await {
                sleep_until(due).await;
                if to_node.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
    }
}

pub(crate) async fn nothing_purged_is_served_though_parents_hear_of_it_late() -> Ran {
    let Some(_nats) = Nats::start() else {
        return Ran::Skipped("there is no nats-server");
    };
    let late = TcpListener::bind((HERE, 0)).await.expect("an address");
    let far: SocketAddr = late.local_addr().expect("an address");
    let millis = Arc::new(AtomicU64::new(0));
    let relay = tokio::spawn(delay(late, Arc::clone(&millis)));
    let lab = Lab::with_log(&format!("nats://{HERE}:4222"), &format!("nats://{far}")).await;
    lab.all_parents_up().await;
    let latest = lab.origin.count_versions();
    let all: Vec<String> = (0..OBJECTS).map(|number| format!("/p/{number}")).collect();
    millis.store(
        u64::try_from(DELAY.as_millis()).expect("few"),
        Ordering::Relaxed,
    );
    let (mut served, mut behind, mut lag) = (0, 0, Duration::ZERO);
    for _ in 0..ROUNDS {
        for edge in 0..EDGES {
            for target in &all {
                lab.get(edge, target).await;
            }
        }
        let version = latest.fetch_add(1, Ordering::SeqCst) + 1;
        let began = Instant::now();
        let sequence = lab.purge_everything(0).await;
        for edge in 0..EDGES {
            lab.applied(edge, sequence).await;
            for target in &all {
                let answer = lab.get(edge, target).await;
                let seen: u64 = answer.text().parse().expect("a version");
                assert!(seen >= version, "edge {edge} serves {seen} of {version}");
                served += 1;
            }
        }
        // The parents have not heard of it so far.
        lag = lag.max(began.elapsed());
        behind += usize::from(lab.parent_sequence(0).await < sequence);
    }
    told(
        "purges that parents hear of 5 s late",
        &format!(
            "{served} answers right after {ROUNDS} purges, none of them purged; {behind} times a parent was behind, a round took {lag:?}"
        ),
    );
    assert!(behind > 0, "the delay delays nothing");
    relay.abort();
    Ran::Yes
}

//! Clients that ask for something new again and again, one at each edge, and a witness of how fast the machine is meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder_tests::{Client, Response};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::lab::{EDGES, Lab};
use crate::told;

/// No lost parent may hold up a client for longer, beside what a request takes anyway. It is about 400 ms where the machine
/// has time: by the parent's silence (700 ms), a sign of life is asked for after 100 ms, and owed for so long after another
/// 250 ms that the other parent is asked, too. Where it has none, that may be noticed at the end of the silence.
const FAILOVER: Duration = Duration::from_secs(1);
/// A request that is held up is asked for twice: it takes the machine as long as two that are not, and one more for the signs
/// of life.
const REQUESTS: u32 = 3;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Told>>,
    witness: JoinHandle<Duration>,
}

/// What clients have seen.
#[derive(Default)]
struct Told {
    requests: usize,
    errors: Vec<String>,
    slowest: Duration,
}

impl Load {
    /// Begins to ask all edges, and, as a witness, the parent that is not lost.
    pub(crate) fn start(lab: &Lab, prefix: &str, survivor: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..EDGES).map(|edge| {
            let prefix = format!("{prefix}/{edge}");
            tokio::spawn(ask(lab.edge(edge), prefix, Arc::clone(&stop)))
        });
        let clients = clients.collect();
        let (parent, edge) = (lab.parent(survivor), lab.edge(0));
        let prefix = format!("{prefix}/witness");
        let witness = tokio::spawn(witness((parent, edge), prefix, Arc::clone(&stop)));
        Self {
            stop,
            clients,
            witness,
        }
    }

    /// Stops asking, and says and judges what was seen.
    pub(crate) async fn end(self, what: &str) {
        self.end_of(what, Duration::ZERO).await;
    }

    /// As [`Self::end`], of a parent that lives and does nothing for so long.
    pub(crate) async fn end_of(self, what: &str, stopped: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.await.expect("a client");
            all.requests += told.requests;
            all.errors.extend(told.errors);
            all.slowest = all.slowest.max(told.slowest);
        }
        let usual = self.witness.await.expect("a witness");
        let Told {
            requests,
            errors,
            slowest,
        } = all;
        let most = FAILOVER + stopped + usual * REQUESTS;
        told(
            what,
            &format!(
                "{requests} requests, {} errors, the slowest took {slowest:?}, at most {most:?}: requests that no loss \
                 concerns took up to {usual:?}",
                errors.len()
            ),
        );
        assert!(errors.is_empty(), "{errors:?}");
        assert!(requests > EDGES, "{requests}");
        assert!(slowest <= most, "{slowest:?} of {most:?}");
    }
}

async fn ask(address: SocketAddr, prefix: String, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let mut client = Client::connect(address).await.patient();
    while !stop.load(Ordering::Relaxed) {
        let target = format!("{prefix}/{}", told.requests);
        let began = Instant::now();
        client.ask("GET", &target, &[]).await;
        let answer = client.answer_to("GET").await;
        told.slowest = told.slowest.max(began.elapsed());
        told.requests += 1;
        let right = |answer: &Response| answer.status == 200 && answer.text() == target;
        if !answer.as_ref().is_some_and(right) {
            let after = began.elapsed();
            told.errors
                .push(format!("{target} after {after:?}: {answer:?}"));
            client = Client::connect(address).await.patient();
        }
        sleep(Duration::from_millis(5)).await;
    }
    told
}

/// How long requests take whose way is not by a parent that is lost: through the other one to the origin, and a hit at an
/// edge. A request of a client is one of each.
async fn witness(
    (parent, edge): (SocketAddr, SocketAddr),
    prefix: String,
    stop: Arc<AtomicBool>,
) -> Duration {
    let mut parent = Client::connect(parent).await.patient();
    let mut edge = Client::connect(edge).await.patient();
    let (mut miss, mut hit) = (Duration::ZERO, Duration::ZERO);
    edge.get(&prefix).await;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) && number > 0 {
            break;
        }
        let began = Instant::now();
        let target = format!("{prefix}/{number}");
        assert_eq!(parent.get(&target).await.text(), target);
        miss = miss.max(began.elapsed());
        let began = Instant::now();
        assert_eq!(edge.get(&prefix).await.text(), prefix);
        hit = hit.max(began.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    miss + hit
}

//! Clients that ask for something new again and again, one at each edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder_tests::{Client, Response};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::lab::{EDGES, Lab};
use crate::told;

/// No lost parent may hold up a client for longer, on a machine that has nothing else to do.
const FAILOVER: Duration = Duration::from_secs(1);
/// How much slower machines may be that run tests.
const SLACK: u32 = 8;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Told>>,
}

/// What clients have seen.
#[derive(Default)]
struct Told {
    requests: usize,
    errors: Vec<String>,
    slowest: Duration,
}

impl Load {
    pub(crate) fn start(lab: &Lab, prefix: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..EDGES).map(|edge| {
            let (stop, address) = (Arc::clone(&stop), lab.edge(edge));
            let prefix = format!("{prefix}/{edge}");
            tokio::spawn(async move {
                let mut told = Told::default();
                let mut client = Client::connect(address).await;
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
                        client = Client::connect(address).await;
                    }
                    sleep(Duration::from_millis(5)).await;
                }
                told
            })
        });
        let clients = clients.collect();
        Self { stop, clients }
    }

    /// Stops asking, and says and judges what was seen.
    pub(crate) async fn end(self, what: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.await.expect("a client");
            all.requests += told.requests;
            all.errors.extend(told.errors);
            all.slowest = all.slowest.max(told.slowest);
        }
        let Told {
            requests,
            errors,
            slowest,
        } = all;
        told(
            what,
            &format!(
                "{requests} requests, {} errors, the slowest took {slowest:?}",
                errors.len()
            ),
        );
        assert!(errors.is_empty(), "{errors:?}");
        assert!(requests > EDGES, "{requests}");
        assert!(slowest < FAILOVER * SLACK, "{slowest:?}");
    }
}

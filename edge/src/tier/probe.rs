//! Probes: what a parent is asked to find out how it is, while there is nothing else to ask it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::Shared;
use super::link::LinkError;
use super::parent::{HEALTH, NoAnswer, Parent, Question, now};
use super::said::Whom;
use tiered::voucher::Voucher;

/// What a parent is asked to find out how it is.
pub(crate) const PROBE: &str = "/.well-known/larder-tier";
/// Between two probes of a parent.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A parent that gives signs of life and does not answer a probe has so many times the silence for it.
const PATIENCE: u32 = 10;

impl Parent {
    /// Probes the parent as long as there is one.
    pub(crate) async fn keep(this: Weak<Self>, shared: Arc<Shared>) {
        loop {
            let Some(parent) = this.upgrade() else {
                return;
            };
            parent.probe(&shared).await;
            drop(parent);
            sleep(PROBE_EVERY).await;
        }
    }

    async fn probe(&self, shared: &Shared) {
        let addresses = self.addresses(shared).await;
        let outcome = match self.links.warm(&addresses).await {
            Ok(()) => self.answer_to_probe(shared).await,
            Err(error) => Err(NoAnswer::Link(error).as_str().to_owned()),
        };
        match outcome {
            Ok(name) => {
                *self.name.lock() = Some(name);
                let change = self.health.lock().probe_passed(now(), &HEALTH);
                self.turned(change, None, shared);
            }
            Err(why) => {
                let change = self.health.lock().probe_failed(&HEALTH);
                self.turned(change, Some(&why), shared);
            }
        }
    }

    /// Its name, where it is ready. Who does not answer though it lives is cut off, with all that waits for it.
    async fn answer_to_probe(&self, shared: &Shared) -> Result<String, String> {
        let whom = Whom::nobody();
        let (nobody, _) = mpsc::channel(1);
        let uri = format!("http://{}{PROBE}", shared.name);
        let request = http::Request::builder()
            .method(Method::GET)
            .uri(uri)
            .body(());
        let request = request.map_err(|invalid| invalid.to_string())?;
        let (request, signature) = shared.introduce(request, &shared.name, PROBE, &whom);
        let question = Question {
            request,
            content: None,
            signature: &signature,
            first_byte: shared.silence * PATIENCE,
            between_bytes: shared.silence * PATIENCE,
            interim: &nobody,
            doubt: &Notify::new(),
        };
        let answered = self.exchange(shared, question).await;
        let answered = answered.map_err(|error| {
            match error {
                NoAnswer::Link(LinkError::Late) => {
                    self.links.cut();
                    self.sockets.cut();
                }
                NoAnswer::Link(LinkError::Silent) => self.sockets.cut(),
                _ => {}
            }
            error.as_str().to_owned()
        })?;
        let Voucher {
            node, why, cost, ..
        } = answered.voucher;
        // Of answers that were told before.
        shared.metrics.answers.asked_beyond(cost);
        match answered.incoming.status {
            StatusCode::OK => Ok(node),
            status => Err(why.unwrap_or_else(|| format!("it answers {status}"))),
        }
    }
}

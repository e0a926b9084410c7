//! Asking: the nodes that a request goes to, one after the other, and when it goes to the origin instead.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};
use policy::time::Timestamp;
use tiered::introduction::TIERS_MAX;
use tiered::voucher::{Says, Voucher};
use tiered::{Moment, rendezvous};
use tokio::sync::{Notify, mpsc};

use super::link::{Incoming, LinkError};
use super::parent::{Answered, NoAnswer, Parent, Question};
use super::race::{Raced, Winner};
use super::said::Whom;
use super::{Source, Tier};
use crate::cache::Interim;
use crate::clock::monotonic;
use crate::error::UpstreamError;
use crate::exchange;
use crate::origins::Timeouts;
use crate::pingora::fetch::{Asking, Through};
use crate::proxy_status::Supplier;
use crate::telemetry::Open;

/// What a parent may take longer than the origin that it asks.
const HOP: Duration = Duration::from_secs(1);

/// Where a request goes.
pub(crate) enum Way {
    /// A parent answered.
    Answered(Box<Answer>),
    /// To the origin.
    Direct,
}

/// A parent's answer.
pub(crate) struct Answer {
    pub incoming: Incoming,
    /// Who gave it.
    pub parent: String,
    pub source: Source,
    /// Who had it.
    pub supplier: Supplier,
    /// When it was asked.
    pub request_time: Timestamp,
}

/// What became of the request at one parent.
pub(super) enum Attempt {
    Answered(Box<Answered>),
    /// Another one may do better.
    Elsewhere(UpstreamError),
    /// Nobody would do better.
    Failed(UpstreamError),
}

impl Tier {
    /// Asks a parent, another one where the first does not answer, and says where to go otherwise.
    ///
    /// # Errors
    /// [`UpstreamError`] where the request goes nowhere.
    pub(crate) async fn ask(
        &self,
        asking: &Asking<'_>,
        through: Through<'_>,
        interim: &mpsc::Sender<Interim>,
    ) -> Result<Way, UpstreamError> {
        let whom = Whom::of(through.request, through.least);
        if let Some(answer) = self.ask_sibling((asking, interim), through, &whom).await? {
            return Ok(Way::Answered(Box::new(answer)));
        }
        if self.parents.is_none() || whom.hops > TIERS_MAX {
            return Ok(Way::Direct);
        }
        let found = self.candidates(key_of(through.request), through.without);
        match self.race(found, (asking, interim), &whom).await? {
            Raced::Lost(last) => self.go_direct(last),
            Raced::Won(winner) => {
                let Winner {
                    parent,
                    answered: Answered { incoming, voucher },
                    request_time,
                } = *winner;
                Ok(Way::Answered(Box::new(Answer {
                    incoming,
                    parent: parent.place.id.clone(),
                    supplier: supplier(&voucher, Supplier::Parent),
                    source: Source::Tier(voucher.born.map(Box::new)),
                    request_time,
                })))
            }
        }
    }

    /// The origin is asked by a few at most: a tier that is gone must not bring it down.
    fn go_direct(&self, last: Option<UpstreamError>) -> Result<Way, UpstreamError> {
        let allowed = self.budget.lock().take(Moment(monotonic()));
        self.shared.metrics.direct(allowed);
        if allowed {
            return Ok(Way::Direct);
        }
        tracing::debug!(
            ?last,
            "no parent answers, and the budget for the origin is spent"
        );
        Err(UpstreamError::NoParent)
    }

    /// Whom a request goes to, the owner of its key first; who owes a sign of life comes after who does not.
    pub(super) fn candidates(&self, key: u64, without: Option<&str>) -> Vec<Arc<Parent>> {
        let mut fit = self.parents.candidates(key);
        fit.retain(|parent| parent.is_fit() && without != Some(&parent.place.id));
        let (under_way, count) = self.parents.under_way();
        if let [first, second] = &fit[..]
            && first.is_in_doubt() != second.is_in_doubt()
        {
            fit.sort_by_key(|parent| parent.is_in_doubt());
            return fit;
        }
        match &fit[..] {
            [first, second] if !rendezvous::may_take(first.in_flight(), under_way, count) => {
                vec![Arc::clone(second), Arc::clone(first)]
            }
            // One more look at the only one: its connection may have been an old one.
            [only] => vec![Arc::clone(only), Arc::clone(only)],
            _ => fit,
        }
    }

    pub(super) async fn attempt(
        &self,
        parent: &Parent,
        (asking, interim): (&Asking<'_>, &mpsc::Sender<Interim>),
        whom: &Whom,
        doubt: &Notify,
    ) -> Attempt {
        let mut step = asking.begin_request(asking.kind);
        let attempted = self
            .attempt_within(parent, (asking, interim), whom, (step.as_ref(), doubt))
            .await;
        if let Some(step) = &mut step {
            step.set("larder.parent", parent.place.id.clone());
            step.set("server.address", parent.place.host_name());
            step.set("server.port", parent.place.port);
            match &attempted {
                Attempt::Answered(answered) => {
                    let status = answered.incoming.status.as_u16();
                    step.set("http.response.status_code", status);
                    let address = answered.incoming.address;
                    step.set("network.peer.address", address.ip().to_string());
                }
                Attempt::Elsewhere(error) | Attempt::Failed(error) => {
                    step.fail(error.proxy_status());
                }
            }
        }
        attempted
    }

    async fn attempt_within(
        &self,
        parent: &Parent,
        (asking, interim): (&Asking<'_>, &mpsc::Sender<Interim>),
        whom: &Whom,
        (step, doubt): (Option<&Open>, &Notify),
    ) -> Attempt {
        let Some((mut request, signature)) = self.request(parent, asking, whom) else {
            return Attempt::Failed(UpstreamError::Malformed);
        };
        if let Some(trace) = asking.trace() {
            trace.mark(request.headers_mut(), step);
        }
        let Timeouts {
            first_byte,
            between_bytes,
            ..
        } = asking.site.origins.timeouts;
        let question = Question {
            request,
            content: asking.content.clone(),
            signature: &signature,
            first_byte: first_byte + HOP,
            between_bytes: between_bytes + HOP,
            interim,
            doubt,
        };
        let metrics = &self.shared.metrics;
        let began = monotonic();
        let asked = parent.ask(&self.shared, question).await;
        let id = &parent.place.id;
        let took = monotonic().saturating_sub(began);
        metrics.took(id, took);
        let answered = match asked {
            Ok(answered) => answered,
            Err(error) => {
                metrics.asked(id, "failed");
                tracing::debug!(parent = id, ?error, "a parent did not answer");
                return match error {
                    // It is slow because the origin is: nobody is faster.
                    NoAnswer::Link(LinkError::Late) => Attempt::Failed(error.as_upstream()),
                    _ => Attempt::Elsewhere(error.as_upstream()),
                };
            }
        };
        metrics.asked(id, answered.voucher.says.as_str());
        parent.answered(answered.voucher.says, took);
        metrics.answers.asked_beyond(answered.voucher.cost);
        asking.spent.asked_beyond(answered.voucher.cost);
        if let Some(request) = asking.on_behalf {
            parent.compare(request, answered.voucher.cut, metrics);
        }
        match answered.voucher.says {
            Says::Hit | Says::Response => Attempt::Answered(Box::new(answered)),
            // Others may reach the origin that this one does not reach; a slow one is slow for all.
            Says::NoAnswer if answered.incoming.status == StatusCode::GATEWAY_TIMEOUT => {
                Attempt::Failed(UpstreamError::ResponseTimeout)
            }
            Says::NoAnswer | Says::Refused => Attempt::Elsewhere(UpstreamError::Unavailable),
        }
    }

    fn request(
        &self,
        parent: &Parent,
        asking: &Asking<'_>,
        whom: &Whom,
    ) -> Option<(Request<()>, String)> {
        let scheme = match parent.place.secure {
            true => "https",
            false => "http",
        };
        let authority = asking.authority.to_string();
        let mut request = Request::builder()
            .method(asking.method.clone())
            .uri(format!("{scheme}://{authority}{}", asking.target))
            .body(())
            .ok()?;
        let mut headers = asking.headers.clone();
        headers.remove(header::HOST); // RFC 9113 §8.3.1: a pseudo-header field has it
        if let Some(content) = &asking.content {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
        }
        *request.headers_mut() = headers;
        Some(
            self.shared
                .introduce(request, &authority, asking.target, whom),
        )
    }
}

/// What of a request's key counts in hashing.
pub(super) fn key_of(request: &exchange::Request) -> u64 {
    let hash = request.key.hash();
    let (half, _) = hash.split_at(size_of::<u64>());
    u64::from_be_bytes(half.try_into().unwrap_or_default())
}

/// Who had what a node says this of.
pub(super) fn supplier(voucher: &Voucher, node: Supplier) -> Supplier {
    match (voucher.says, voucher.cost) {
        (Says::Hit, _) => node,
        (_, 0) => Supplier::Further,
        (_, _) => Supplier::Origin,
    }
}

//! One slice from the origin, in a task of its own.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use policy::partial::{Combined, Part};
use policy::store::Stored;
use storage::purge::{Life, Membership, Sequence};
use storage::{Claim, Fill, Keep, Landing, Lead, Reader};
use tokio::sync::{mpsc, oneshot};

use super::Sliced;
use crate::cache::Head;
use crate::cache::pour::finish_fetched;
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::metrics::Asked;
use crate::node::Node;
use crate::origins::outbound;
use crate::origins::slots::Queueing;
use crate::pingora::fetch::{Asking, Fetched, Through};

/// What became of the request for a slice.
#[derive(Debug)]
pub(super) enum Reply {
    /// It comes in.
    Streaming(Reader<Head>),
    /// The representation is another one by now.
    Changed,
    Failed(UpstreamError),
}

/// One request for a slice.
pub(super) struct Fetch {
    node: Arc<Node>,
    request: Arc<Request>,
    sliced: Sliced,
    number: u64,
    wanted: Part,
    /// From before the request is sent, like the sequence: what is removed or purged meanwhile concerns its answer.
    claim: Claim<Head>,
    born: Sequence,
    lead: Option<Lead<Head>>,
    reply: oneshot::Sender<Reply>,
}

/// Asks for slice `number`. Others wait for it where it has the `lead`.
pub(super) fn fetch(
    node: &Arc<Node>,
    request: &Arc<Request>,
    sliced: &Sliced,
    number: u64,
    lead: Option<Lead<Head>>,
) -> oneshot::Receiver<Reply> {
    let (reply, replies) = oneshot::channel();
    let Some(range) = sliced.keys.layout.range(number) else {
        return replies;
    };
    let sign = request.trace.as_ref().and_then(|trace| trace.sign());
    if let (Some(lead), Some(sign)) = (&lead, sign) {
        lead.sign(sign);
    }
    let fetch = Fetch {
        node: Arc::clone(node),
        request: Arc::clone(request),
        sliced: sliced.clone(),
        number,
        wanted: Part {
            range,
            complete: sliced.keys.layout.complete(),
        },
        claim: node.tiers.memory().claim(sliced.keys.of(number)),
        born: node.purges.latest(),
        lead,
        reply,
    };
    tokio::spawn(fetch.run());
    replies
}

impl Fetch {
    async fn run(self) {
        let (node, request) = (Arc::clone(&self.node), Arc::clone(&self.request));
        self.answer().await;
        node.spent(&request, request.spent());
    }

    async fn answer(mut self) {
        let fetched = match self.ask().await {
            Ok(fetched) => fetched,
            Err(error) => return self.fail(error),
        };
        self.born = self.node.purges.born(self.born, &fetched.source);
        if fetched.status.is_server_error() {
            return self.fail(UpstreamError::Refusing);
        }
        let Some(stored) = self.sliced.stored() else {
            return self.fail(UpstreamError::Unasked);
        };
        let treatment = self.request.treatment_of(StatusCode::OK);
        let exchange = fetched.policy_exchange(&self.request);
        match policy::partial::combine(
            &stored.unpacked(),
            self.wanted,
            &exchange,
            &treatment.settings,
        ) {
            Combined::Updated(stored) => self.store(fetched, stored).await,
            Combined::Unstorable(reason) => {
                if !reason.is_about_request() {
                    self.sliced.remove(&self.node).await;
                }
                self.pass_on(fetched).await;
            }
            Combined::Mismatch => {
                tracing::debug!(status = %fetched.status, slice = self.number, "not of the stored representation");
                self.change(&fetched).await;
            }
        }
    }

    async fn ask(&self) -> Result<Fetched, UpstreamError> {
        let target = self.request.origin_target();
        let asking = Asking {
            method: Method::GET,
            target: &target,
            authority: &self.request.head.authority,
            headers: self.headers(),
            content: None,
            trail: &self.request.trail,
            site: &self.request.site,
            on_behalf: Some(&self.request),
            queueing: Queueing::Wait,
            through: Some(Through {
                request: &self.request,
                least: None,
                again: Some(&self.request),
                without: None,
            }),
            spent: self.request.spent(),
            kind: Asked::Fill,
            step: None,
        };
        // Interim responses are for the client of one request, and a slice may be for many.
        let (interim, _nobody) = mpsc::channel(1);
        self.node.fetcher.fetch(asking, &interim).await
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = outbound::unconditional(&self.request, &self.node.marks());
        let range = policy::range::request(self.wanted.range);
        let codings = &self.request.treatment.settings.codings;
        let coding = self.sliced.stored().and_then(|stored| {
            policy::coding::convertible(stored.status, &stored.headers, codings)
        });
        policy::coding::ask(&mut headers, coding, codings);
        headers.insert(header::RANGE, range);
        self.sliced.keys.strong.demand(&mut headers);
        headers
    }

    async fn store(self, fetched: Fetched, stored: Stored) {
        let purges = &self.node.purges;
        let membership = || purges.membership(self.born, &self.request, &stored.headers);
        let slice = membership();
        if matches!(purges.life(&slice), Life::Gone | Life::Doubtful) {
            return self.pass_on(fetched).await;
        }
        let kept = membership();
        self.update(stored, kept).await;
        let (keys, length) = (&self.sliced.keys, self.wanted.range.len());
        let fill = keys.begin((&self.node, &self.request), self.claim, slice, length);
        let landing = Landing::Streaming(fill.reader());
        let airborne = self.lead.map(|lead| lead.land(landing));
        hand_over(self.reply, Reply::Streaming(fill.reader()));
        receive(&self.node, fetched, fill).await;
        drop(airborne);
    }

    /// Gives the stored response the head that a slice came with, where that is worth a write.
    async fn update(&self, stored: Stored, membership: Membership) {
        let Some(current) = self.sliced.current(&self.node).await else {
            return;
        };
        let Some(before) = current.stored() else {
            return;
        };
        match current.object.head().life(&self.node.purges) {
            Life::Alive if !policy::partial::is_news(&before.unpacked(), &stored) => return,
            Life::Alive | Life::Stale { .. } => {}
            Life::Doubtful | Life::Gone => return,
        }
        let extent = current.object.head().extent();
        let head = Head::kept(stored, membership, extent, &self.request.uri_text());
        let tiers = &self.node.tiers;
        tiers.update_head(&current.object, Arc::new(head)).await;
    }

    /// For this client alone.
    async fn pass_on(self, fetched: Fetched) {
        let variant = self.sliced.object.variant();
        let length = Some(self.wanted.range.len());
        let fill = self
            .claim
            .begin(variant, Head::PassedOn(self.born), length, Keep::PassOn);
        if let Some(lead) = self.lead {
            drop(lead.land(Landing::NotShareable));
        }
        hand_over(self.reply, Reply::Streaming(fill.reader()));
        receive(&self.node, fetched, fill).await;
    }

    async fn change(self, fetched: &Fetched) {
        self.sliced.remove(&self.node).await;
        if fetched.status == StatusCode::OK {
            // It takes no ranges, or did not look at the condition: the next request is for everything.
            self.node.remember_rangeless(&self.request);
        }
        if let Some(lead) = self.lead {
            drop(lead.land(Landing::Refreshed));
        }
        hand_over(self.reply, Reply::Changed);
    }

    fn fail(self, error: UpstreamError) {
        tracing::debug!(%error, slice = self.number, "a slice could not be fetched");
        // Followers are told by the lead that goes.
        drop(self.lead);
        hand_over(self.reply, Reply::Failed(error));
    }
}

/// Moves a slice to its end, or to where it breaks off.
async fn receive(node: &Node, mut fetched: Fetched, mut fill: Fill<Head>) {
    loop {
        match fetched.next().await {
            Ok(Some(data)) => {
                if let Err(error) = fill.write(data).await {
                    tracing::debug!(%error, "a slice was given up");
                    return;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "a slice was cut while it was received");
                return fill.fail(storage::Cut::Origin);
            }
        }
    }
    finish_fetched(node, &fetched, fill);
    fetched.release().await;
}

fn hand_over(reply: oneshot::Sender<Reply>, what: Reply) {
    if reply.send(what).is_err() {
        tracing::trace!("nobody waits for a slice any more");
    }
}

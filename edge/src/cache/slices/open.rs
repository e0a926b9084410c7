//! The answer to a request for a part: what is stored of it, and who gets it.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use policy::coding::{Choice, Coding, CodingRules};
use policy::partial::{Combined, Extent, Opening, Part};
use policy::slices::{Layout, Strong};
use policy::store::{Kept, Stored};
use storage::purge::Life;
use storage::{Destination, Keep, Landing, Lead, Object};

use super::pour::{self, Pour};
use super::{Keys, Sliced, slicing};
use crate::cache::Head;
use crate::cache::fill::{Fill, Reply, ttl};
use crate::cache::pour::Around;
use crate::downstream::content_length;
use crate::exchange::Request;
use crate::node::Node;
use crate::outcome::{Answer, NotStored};
use crate::pingora::fetch::Fetched;

/// What a fill asks for in place of everything.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// What the client wants of a representation that nothing is known of, or that is in slices.
    Opening(Opening),
    /// What is missing of the stored response.
    Rest(Part),
}

impl Wanted {
    pub(crate) fn new(
        node: &Node,
        request: &Request,
        selected: Option<&Arc<Object<Head>>>,
    ) -> Self {
        if let Some(rest) = selected.and_then(|object| rest(object)) {
            return Self::Rest(rest);
        }
        let extent = selected.map(|object| object.head().extent());
        let sliceable = matches!(extent, None | Some(Extent::Sliced(_)));
        let slicing = slicing(node, request).filter(|_| sliceable && !node.is_rangeless(request));
        let opening = slicing.and_then(|slicing| {
            let (method, headers) = (request.method(), request.headers());
            Opening::new(
                method,
                headers,
                slicing.size,
                request.site.common.ranges_max,
            )
        });
        opening.map_or(Self::Whole, Self::Opening)
    }

    /// Adds the range to a request that has no conditions of the client's.
    pub(crate) fn ask(&self, selected: Option<&Kept>, headers: &mut HeaderMap) {
        match (self, selected) {
            (Self::Rest(part), Some(stored)) => {
                let range = policy::partial::asking(part.range, part.complete);
                headers.insert(header::RANGE, range);
                // Without a strong validator, the answer is of use only if it is everything.
                if let Some(strong) = Strong::of(&stored.headers) {
                    strong.prefer(headers);
                }
            }
            (Self::Opening(opening), stored) => {
                if let Some(stored) = stored {
                    policy::validation::add_validators(stored, headers);
                }
                headers.insert(header::RANGE, opening.range().clone());
            }
            (_, Some(stored)) => policy::validation::add_validators(stored, headers),
            (_, None) => {}
        }
    }

    /// The coding that what is asked for has to be in, if only one will do.
    pub(crate) fn coding(&self, selected: Option<&Kept>, rules: &CodingRules) -> Option<Coding> {
        match (self, selected) {
            // A part of one coding can be sent to nobody who takes another one only.
            (Self::Opening(_), None) => Some(Coding::Identity),
            (_, None) => None,
            (_, Some(stored)) => policy::coding::convertible(stored.status, &stored.headers, rules),
        }
    }

    const fn is_verbatim(&self) -> bool {
        matches!(self, Self::Opening(Opening::Verbatim(_)))
    }
}

fn rest(object: &Object<Head>) -> Option<Part> {
    let Extent::Part(part) = object.head().extent() else {
        return None;
    };
    part.rest().map(|range| Part { range, ..part })
}

/// What became of the answer to a request for a part.
pub(crate) enum Received {
    /// It is dealt with.
    Done,
    /// It is the whole after all, or another response that says nothing of ranges.
    Response(Fill, Fetched),
    /// It is of no use: everything has to be asked for.
    Useless(Fill),
}

impl Fill {
    /// Looks at an answer to what was asked for by `Range`.
    pub(crate) async fn receive_part(self, mut fetched: Fetched) -> Received {
        match (&self.wanted, fetched.status) {
            (Wanted::Whole, _) => Received::Response(self, fetched),
            (Wanted::Rest(_), StatusCode::PARTIAL_CONTENT) => self.complete(fetched).await,
            (
                Wanted::Rest(_),
                StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED,
            ) => Received::Useless(self),
            (Wanted::Opening(_), StatusCode::OK) => {
                self.node.remember_rangeless(&self.request);
                Received::Response(self, fetched)
            }
            (Wanted::Opening(_), StatusCode::RANGE_NOT_SATISFIABLE)
                if !policy::range::is_unconditional_single(self.request.headers()) =>
            {
                Received::Useless(self)
            }
            (Wanted::Opening(_), StatusCode::PARTIAL_CONTENT) => {
                let Some(part) = Part::read(&fetched.headers) else {
                    return self.receive_strange(fetched).await;
                };
                if part.is_whole() {
                    fetched.status = StatusCode::OK;
                    fetched.headers = policy::partial::as_whole(&fetched.headers, part);
                    return Received::Response(self, fetched);
                }
                self.receive_opening(fetched, part).await
            }
            (Wanted::Rest(_) | Wanted::Opening(_), _) => Received::Response(self, fetched),
        }
    }

    /// A 206 with several parts, or one that is not what it says: nothing of it can be stored or cut.
    async fn receive_strange(self, fetched: Fetched) -> Received {
        self.node.remember_rangeless(&self.request);
        if !self.wanted.is_verbatim() {
            return Received::Useless(self);
        }
        let why = NotStored::Policy(policy::store::DoNotStore::Status(fetched.status));
        self.pass_on(fetched, why).await;
        Received::Done
    }

    async fn receive_opening(self, fetched: Fetched, part: Part) -> Received {
        let treatment = self.request.treatment_of(StatusCode::OK);
        let exchange = self.policy_exchange(&fetched);
        let guard = treatment.settings.deception_guard;
        let decided = self
            .request
            .guard(StatusCode::OK, &fetched.headers, guard)
            .and_then(|()| policy::partial::decide(&exchange, part, &treatment.settings));
        let stored = match decided {
            Ok(stored) => stored,
            Err(reason) => {
                self.remember(&fetched, reason, treatment.uncacheable);
                return self
                    .pass_part(fetched, part, Err(NotStored::Policy(reason)))
                    .await;
            }
        };
        if !self.agrees_on_search(&fetched) {
            let why = Err(NotStored::OtherSearch);
            return self.pass_part(fetched, part, why).await;
        }
        match self.layout(&stored, part.complete) {
            Some(layout) => self.open(fetched, stored, layout, part).await,
            None => {
                if Strong::of(&stored.headers).is_none() {
                    self.node.remember_rangeless(&self.request);
                }
                self.pass_part(fetched, part, Ok(stored)).await
            }
        }
    }

    /// How a response would be cut that is longer than a slice.
    fn layout(&self, stored: &Stored, complete: u64) -> Option<Layout> {
        let slicing = slicing(&self.node, &self.request)?;
        // Slices are sent in the coding that they came in: to everybody.
        let codings = &self.request.treatment.settings.codings;
        let coded = stored.headers.contains_key(header::CONTENT_ENCODING);
        let usable = stored.status == StatusCode::OK
            && complete > slicing.size
            && (!coded || codings.offered.is_empty())
            && Strong::of(&stored.headers).is_some();
        let layout = Layout::new(slicing.size, complete);
        layout.filter(|_| usable)
    }

    /// How a whole response is cut, if it is.
    pub(crate) fn layout_of_whole(&self, fetched: &Fetched, stored: &Stored) -> Option<Layout> {
        let slicing = slicing(&self.node, &self.request)?;
        let length = content_length(&fetched.headers).filter(|length| *length > slicing.above)?;
        if self.node.tiers.memory().is_storable(length) && self.is_worth_coding(&stored.headers) {
            return None;
        }
        // What a disk takes as a whole is one object there, and read in ranges.
        let disk = self.node.tiers.disk();
        if disk.is_some_and(|disk| disk.is_storable(length)) {
            return None;
        }
        let by_part = matches!(self.wanted, Wanted::Opening(_)) && !self.is_rangeless();
        let takes_ranges = by_part || policy::slices::accepts_ranges(&fetched.headers);
        self.layout(stored, length)
            .filter(|_| takes_ranges && !self.is_rangeless())
    }

    /// Whether other clients get it in another coding, which takes all of it.
    fn is_worth_coding(&self, response: &HeaderMap) -> bool {
        let codings = &self.request.treatment.settings.codings;
        let request = self.request.headers();
        policy::coding::choose(request, StatusCode::OK, response, codings) != Choice::Alone
    }

    fn is_rangeless(&self) -> bool {
        self.node.is_rangeless(&self.request)
    }

    /// Stores the head of a response, and its content in slices.
    pub(crate) async fn open(
        mut self,
        fetched: Fetched,
        stored: Stored,
        layout: Layout,
        part: Part,
    ) -> Received {
        let node = Arc::clone(&self.node);
        self.learn_vary(&stored);
        let answer = Answer::Stored(ttl(&stored, node.clock.now()));
        let variant = storage::Variant(stored.selecting.variant());
        let keys = Keys::new((self.claim.key(), variant), layout, &stored.headers);
        let head = self.head(stored, Extent::Sliced(layout));
        if matches!(head.life(&node.purges), Life::Gone | Life::Doubtful) {
            return self.pass_part(fetched, part, Err(NotStored::Purged)).await;
        }
        let aligned = part.range.first.is_multiple_of(layout.size());
        let first = layout.range(layout.slice_of(part.range.first));
        let poured = aligned && first.is_some_and(|first| part.has(first));
        let keys = keys.filter(|_| poured && !self.wanted.is_verbatim());
        // Before anybody can find the head: who does, finds this response under way.
        let lead = match keys {
            Some(keys) => keys.board(&node, layout.slice_of(part.range.first)).await,
            None => None,
        };
        let another = node.tiers.memory().claim(self.claim.key());
        let claim = std::mem::replace(&mut self.claim, another);
        let (tiers, length) = (&node.tiers, Some(0));
        let admission = self.request.treatment.admission;
        let destination = tiers.destination(claim.key(), length, admission);
        let fill = tiers.begin(claim, variant, head, length, destination);
        let Some(sliced) = fill.finish().and_then(|object| Sliced::of(&object)) else {
            if let Some(lead) = lead {
                drop(lead.land(Landing::Refreshed));
            }
            return self
                .pass_part(fetched, part, Err(NotStored::Displaced))
                .await;
        };
        if self.wanted.is_verbatim() || !aligned {
            // What came is the answer; what is asked for from now on is found by what it told.
            return self
                .pass_part(fetched, part, Err(NotStored::Unaligned))
                .await;
        }
        self.pour(fetched, (sliced, lead), part, answer).await;
        Received::Done
    }

    async fn pour(
        self,
        fetched: Fetched,
        (sliced, lead): (Sliced, Option<Lead<Head>>),
        part: Part,
        answer: Answer,
    ) {
        let layout = sliced.layout();
        // A slice that the response has the beginning of only is left to those who want it.
        let whole_to = match part.range.last + 1 == part.complete {
            true => layout.count(),
            false => layout.slice_of(part.range.last + 1),
        };
        let object = Arc::clone(&sliced.object);
        let numbers = layout.slice_of(part.range.first)..whole_to;
        let poured = match lead {
            Some(lead) => {
                let parts = pour::Parts {
                    node: Arc::clone(&self.node),
                    request: Arc::clone(&self.request),
                    sliced,
                    born: self.born,
                    numbers,
                    lead,
                };
                Pour::begin(parts).await
            }
            None => None,
        };
        let (pour, begun) = match poured {
            Some((pour, current, begun)) => (Some((pour, current)), Some(begun)),
            None => (None, None),
        };
        let status = fetched.said;
        let reply = Reply::Sliced {
            object,
            begun,
            answer,
            status,
        };
        self.audience.tell(Landing::Refreshed, reply);
        if let Some((pour, current)) = pour {
            pour.run(fetched, current).await;
        }
    }

    /// Answers from this part alone, and stores it where `stored` says so; or says that it cannot.
    async fn pass_part(
        self,
        mut fetched: Fetched,
        part: Part,
        stored: Result<Stored, NotStored>,
    ) -> Received {
        let whole = policy::partial::as_whole(&fetched.headers, part);
        let asked = (self.request.method(), self.request.headers());
        let suits = policy::partial::answers(asked, &whole, part, fetched.response_time);
        if !suits && !self.wanted.is_verbatim() {
            return Received::Useless(self);
        }
        let length = Some(part.range.len());
        let key = self.claim.key();
        let nobody = storage::Variant(Default::default());
        let kept = stored.ok().filter(|_| self.wanted.is_verbatim());
        let (fill, answer) = match kept {
            Some(stored) => {
                self.learn_vary(&stored);
                let variant = storage::Variant(stored.selecting.variant());
                let answer = Answer::Stored(ttl(&stored, self.node.clock.now()));
                let head = self.head(stored, Extent::Part(part));
                let memory = Destination::Memory;
                let tiers = &self.node.tiers;
                let fill = tiers.begin(self.claim, variant, head, length, memory);
                (fill, answer)
            }
            None => {
                let claim = self.node.tiers.memory().claim(key);
                let fill = claim.begin(nobody, Head::PassedOn(self.born), length, Keep::PassOn);
                (fill, Answer::NotStored(NotStored::Part))
            }
        };
        let around = Around {
            part: suits.then_some(part),
            ..Around::default()
        };
        if suits {
            fetched.status = StatusCode::OK;
            fetched.headers = whole;
        }
        let landing = Landing::Refreshed;
        self.audience
            .stream(&self.node, fetched, fill, landing, answer, around)
            .await;
        Received::Done
    }

    /// Completes the stored response with what it was asked for.
    async fn complete(self, mut fetched: Fetched) -> Received {
        let Some((object, wanted)) = self.selected.clone().zip(match &self.wanted {
            Wanted::Rest(part) => Some(*part),
            Wanted::Whole | Wanted::Opening(_) => None,
        }) else {
            return Received::Useless(self);
        };
        let treatment = self.request.treatment_of(StatusCode::OK);
        let Some(stored) = object.head().stored() else {
            return Received::Useless(self);
        };
        let exchange = self.policy_exchange(&fetched);
        let combined =
            policy::partial::combine(&stored.unpacked(), wanted, &exchange, &treatment.settings);
        let Combined::Updated(stored) = combined else {
            return Received::Useless(self);
        };
        fetched.status = StatusCode::OK;
        fetched.headers = stored.headers.clone();
        let shareable = self.is_shareable(&stored);
        let answer = Answer::Stored(ttl(&stored, self.node.clock.now()));
        let variant = storage::Variant(stored.selecting.variant());
        let head = self.head(stored, Extent::Whole);
        if matches!(head.life(&self.node.purges), Life::Gone | Life::Doubtful) {
            return Received::Useless(self);
        }
        let complete = Some(wanted.complete);
        let fill = self.claim.begin(variant, head, complete, Keep::Store);
        self.node.purges.sweeper.follow(fill.head());
        let landing = match shareable {
            true => Landing::Streaming(fill.reader()),
            false => Landing::NotShareable,
        };
        let body = Some(object.body().clone());
        let (before, after) = match wanted.range.first {
            0 => (None, body),
            _ => (body, None),
        };
        let around = Around {
            before,
            after,
            part: None,
        };
        self.audience
            .stream(&self.node, fetched, fill, landing, answer, around)
            .await;
        Received::Done
    }
}

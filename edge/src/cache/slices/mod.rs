//! Representations in slices (RFC 9111 §3.3, §3.4).
//!
//! What is stored under the key of the request has the head and no content; each slice is an object of its own, under a
//! key made of that key, the variant, the strong validator and the complete length. Slices of two versions of a file
//! have no key in common, so nothing can mix them.
//!
//! ```text
//!   a response with a strong validator ──open──▶ head stored ──▶ its content poured into slices, while they are wanted
//!   a stored head ──respond──▶ Run: for each slice that is wanted  ── stored ──▶ sent
//!                                    │ nobody has it                            ▲
//!                                    └─ lead ▶ fetch (Range, If-Match) ─ 206 ───┘  one request for all who wait
//!                                                  │ 412, another validator or length
//!                                                  └─▶ Changed: head and slices are dropped
//! ```

mod fetch;
mod open;
mod pour;
mod respond;
mod run;

use policy::packed::Fields;
use std::sync::Arc;

use http::{HeaderValue, Method, header};
use policy::partial::Extent;
use policy::slices::{Layout, Name, Slicing, Strong};
use policy::store::Kept;
use storage::purge::{Life, Membership};
use storage::{Boarding, Claim, Fate, Fill, Key, Lead, Object, Reader, Variant};

use super::Head;
use super::head::Slice;
use crate::exchange::Request;
use crate::node::Node;
use crate::outcome::Tier;
pub(super) use open::{Received, Wanted};
pub(super) use respond::respond;
pub(crate) use run::Slices;

/// Slices of a representation that was replaced are removed one by one up to this number; what lies beyond is never
/// found again, and leaves when room is needed.
const REMOVED_MAX: u64 = 4096;

/// How the site cuts the answer to a request; `None` if not at all, or slices could not be stored.
pub(super) fn slicing(node: &Node, request: &Request) -> Option<Slicing> {
    // Ranges are of what GET gets (RFC 9110 §14.2).
    let ranged = *request.method() == Method::GET;
    let slicing = request.treatment.settings.slicing.filter(|_| ranged)?;
    node.tiers
        .memory()
        .is_storable(slicing.size)
        .then_some(slicing)
}

/// A stored response that is in slices.
#[derive(Clone, Debug)]
pub(super) struct Sliced {
    /// The one with the head.
    pub object: Arc<Object<Head>>,
    keys: Keys,
}

/// Where the slices of a representation are stored.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Keys {
    key: Key,
    variant: Variant,
    layout: Layout,
    strong: Strong,
    coding: Option<HeaderValue>,
}

impl Keys {
    /// `None` without a strong validator.
    fn new((key, variant): (Key, Variant), layout: Layout, headers: &impl Fields) -> Option<Self> {
        Some(Self {
            key,
            variant,
            layout,
            strong: Strong::of(headers)?,
            coding: headers.first(header::CONTENT_ENCODING),
        })
    }

    fn of(&self, number: u64) -> Key {
        let name = Name {
            key: self.key.0,
            variant: self.variant.0,
            coding: self.coding.as_ref().map(HeaderValue::as_bytes),
        };
        Key(self.layout.key(&name, &self.strong, number))
    }

    /// Where the slice is, as far as is known without a read. On a disk it may turn out to be purged or damaged.
    fn whereabouts(&self, node: &Node, number: u64) -> Option<Tier> {
        let key = self.of(number);
        let in_memory = node.tiers.in_memory(key);
        if let Some(object) = in_memory.find(self.variant) {
            let life = object.head().life(&node.purges);
            return matches!(life, Life::Alive | Life::Stale { .. }).then_some(Tier::Memory);
        }
        let length = node.tiers.length_on_disk(key, self.variant)?;
        (length == self.layout.range(number)?.len()).then_some(Tier::Disk)
    }

    /// The slice, if it is stored.
    ///
    /// One that was softly purged is as good as its head: that is validated, and the validator is the same.
    async fn find(&self, node: &Node, number: u64) -> Option<Arc<Object<Head>>> {
        let object = stored(node, self.of(number), self.variant).await?;
        let length = self.layout.range(number)?.len();
        if !matches!(**object.head(), Head::Slice(_)) || object.body().len() != length {
            // What is read from a disk is checked before it is used.
            node.tiers.forget(&object, Fate::Unreadable);
            return None;
        }
        match object.head().life(&node.purges) {
            Life::Alive | Life::Stale { .. } => Some(object),
            Life::Doubtful => None,
            Life::Gone => {
                node.tiers.forget(&object, Fate::Purged);
                None
            }
        }
    }

    /// Begins to receive a slice of `length` bytes. Whether it is worth a disk is told by the requests for it alone.
    fn begin(
        &self,
        (node, request): (&Node, &Request),
        claim: Claim<Head>,
        slice: Membership,
        length: u64,
    ) -> Fill<Head> {
        let received = node.clock.now().unix_secs();
        let head = Head::Slice(Slice {
            membership: slice,
            received,
        });
        let (length, admission) = (Some(length), request.treatment.admission);
        let tiers = &node.tiers;
        let destination = tiers.destination(claim.key(), length, admission);
        let fill = tiers.begin(claim, self.variant, head, length, destination);
        node.purges.sweeper.follow(fill.head());
        fill
    }

    /// The lead of a slice that nobody has and nobody fetches.
    async fn board(&self, node: &Node, number: u64) -> Option<Lead<Head>> {
        if self.find(node, number).await.is_some() {
            return None;
        }
        match node.flights.board(self.of(number), Some(self.variant)) {
            Boarding::Lead(lead) => Some(lead),
            Boarding::Follow(_) | Boarding::Crowded => None,
        }
    }
}

/// A slice that is being received as the first of an answer.
#[derive(Debug)]
pub(crate) struct Begun {
    pub number: u64,
    pub reader: Reader<Head>,
}

impl Sliced {
    /// `None` if it is a response as a whole, or has lost its strong validator.
    pub(super) fn of(object: &Arc<Object<Head>>) -> Option<Self> {
        let Extent::Sliced(layout) = object.head().extent() else {
            return None;
        };
        let name = (object.key(), object.variant());
        let keys = Keys::new(name, layout, &object.head().stored()?.headers)?;
        let object = Arc::clone(object);
        Some(Self { object, keys })
    }

    const fn layout(&self) -> Layout {
        self.keys.layout
    }

    fn stored(&self) -> Option<&Kept> {
        self.object.head().stored()
    }

    /// What is stored under its key by now, if that is the same representation.
    async fn current(&self, node: &Node) -> Option<Self> {
        let current = stored(node, self.object.key(), self.object.variant()).await?;
        let current = Self::of(&current)?;
        (current.keys == self.keys).then_some(current)
    }

    /// The origin has something else by now: nothing of this is used again.
    async fn remove(&self, node: &Node) {
        if let Some(current) = self.current(node).await {
            node.tiers.remove_object(&current.object);
        }
        for number in 0..self.keys.layout.count().min(REMOVED_MAX) {
            node.tiers.release(self.keys.of(number));
        }
    }
}

/// What is stored under a key and variant, wherever it is.
async fn stored(node: &Node, key: Key, variant: Variant) -> Option<Arc<Object<Head>>> {
    let in_memory = node.tiers.in_memory(key);
    if let Some(object) = in_memory.find(variant) {
        return Some(Arc::clone(object));
    }
    let on_disk = node.tiers.on_disk(key, &in_memory).await;
    on_disk.into_iter().find(|it| it.variant() == variant)
}

//! The slices of one answer, in their order, some of them ahead of what is being sent.

use std::collections::VecDeque;
use std::sync::Arc;

use policy::range::ByteRange;
use storage::{Boarding, Follower, Landing, Object, Reader};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::fetch::{self, Reply};
use super::{Begun, Sliced};
use crate::cache::Head;
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::node::Node;

/// How often a slice is looked for again that others validated, fetched or gave up meanwhile.
const LOOKS_MAX: usize = 4;

/// Where the slices of an answer came from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Slices {
    /// Slices that were stored.
    pub hits: u64,
    /// Slices that the origin was asked for, for this client or another one.
    pub misses: u64,
    /// Content bytes sent from stored slices.
    pub hit_bytes: u64,
    /// Content bytes sent while they were received.
    pub miss_bytes: u64,
}

/// A slice that can be sent.
pub(super) enum Source {
    Stored(Arc<Object<Head>>),
    Streaming(Reader<Head>),
}

/// Why there is no slice.
#[derive(Debug)]
pub(super) enum Missing {
    /// The representation is another one by now.
    Changed,
    /// It is not stored, and the client wants what is stored or nothing.
    NotCached,
    Failed(UpstreamError),
}

/// A slice that was asked for.
enum Pending {
    /// Not from the origin.
    NotCached,
    Ready(Source),
    Following(Follower<Head>),
    Own(oneshot::Receiver<Reply>),
}

/// A slice that will be sent, and which bytes of the representation of it.
struct Place {
    number: u64,
    pending: Pending,
}

/// The slices of one answer.
pub(super) struct Run<'a> {
    pub node: &'a Arc<Node>,
    pub request: &'a Arc<Request>,
    pub sliced: &'a Sliced,
    begun: Option<Begun>,
    ahead: usize,
    /// Which slices are still to come.
    cuts: Box<dyn Iterator<Item = (u64, ByteRange)> + Send>,
    /// Those that have been asked for.
    places: VecDeque<(Place, ByteRange)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        (node, request): (&'a Arc<Node>, &'a Arc<Request>),
        sliced: &'a Sliced,
        ranges: Vec<ByteRange>,
        begun: Option<Begun>,
    ) -> Self {
        let layout = sliced.layout();
        let ahead = request.treatment.settings.slicing.map_or(0, |it| it.ahead);
        Self {
            node,
            request,
            sliced,
            begun,
            ahead,
            cuts: Box::new(ranges.into_iter().flat_map(move |range| layout.cuts(range))),
            places: VecDeque::new(),
        }
    }

    /// Waits for the first slice that is not stored, as far as it is asked for now: an answer that would be cut there
    /// is better not begun.
    pub(super) async fn prepare(&mut self) -> Result<(), Missing> {
        self.look_ahead().await;
        let missing = |(place, _): &(Place, _)| !matches!(place.pending, Pending::Ready(_));
        let Some(at) = self.places.iter().position(missing) else {
            return Ok(());
        };
        let Some((place, bytes)) = self.places.remove(at) else {
            return Ok(());
        };
        let number = place.number;
        let pending = Pending::Ready(self.ready(place).await?);
        self.places.insert(at, (Place { number, pending }, bytes));
        Ok(())
    }

    /// The next slice, and which bytes of the representation are wanted of it. Those ahead are asked for.
    pub(super) async fn next(&mut self) -> Option<(u64, ByteRange, Result<Source, Missing>)> {
        self.look_ahead().await;
        let (place, bytes) = self.places.pop_front()?;
        let number = place.number;
        Some((number, bytes, self.ready(place).await))
    }

    async fn look_ahead(&mut self) {
        while self.places.len() <= self.ahead
            && let Some((number, bytes)) = self.cuts.next()
        {
            let pending = self.begin(number).await;
            self.places.push_back((Place { number, pending }, bytes));
        }
    }

    /// The slice once more, after it broke off.
    pub(super) async fn again(&mut self, number: u64) -> Result<Source, Missing> {
        let pending = self.begin(number).await;
        self.ready(Place { number, pending }).await
    }

    async fn begin(&mut self, number: u64) -> Pending {
        if let Some(begun) = self.begun.take_if(|begun| begun.number == number) {
            return Pending::Ready(Source::Streaming(begun.reader));
        }
        if let Some(object) = self.sliced.keys.find(self.node, number).await {
            return Pending::Ready(Source::Stored(object));
        }
        if self.request.terms.only_if_cached() {
            return Pending::NotCached;
        }
        let variant = self.sliced.object.variant();
        match self
            .node
            .flights
            .board(self.sliced.keys.of(number), Some(variant))
        {
            Boarding::Lead(lead) => {
                // A flight may have ended between the lookup and now.
                if let Some(object) = self.sliced.keys.find(self.node, number).await {
                    drop(lead.land(Landing::Refreshed));
                    return Pending::Ready(Source::Stored(object));
                }
                Pending::Own(fetch::fetch(
                    self.node,
                    self.request,
                    self.sliced,
                    number,
                    Some(lead),
                ))
            }
            Boarding::Follow(follower) => Pending::Following(follower),
            Boarding::Crowded => self.alone(number),
        }
    }

    fn alone(&self, number: u64) -> Pending {
        Pending::Own(fetch::fetch(
            self.node,
            self.request,
            self.sliced,
            number,
            None,
        ))
    }

    async fn ready(&mut self, place: Place) -> Result<Source, Missing> {
        let Place {
            number,
            mut pending,
        } = place;
        for _ in 0..LOOKS_MAX {
            match pending {
                Pending::Ready(source) => return Ok(source),
                Pending::NotCached => return Err(Missing::NotCached),
                Pending::Own(reply) => {
                    // A task that ends without a word has failed.
                    return match reply.await.unwrap_or(Reply::Failed(UpstreamError::Cut)) {
                        Reply::Streaming(reader) => Ok(Source::Streaming(reader)),
                        Reply::Changed => Err(Missing::Changed),
                        Reply::Failed(error) => Err(Missing::Failed(error)),
                    };
                }
                Pending::Following(follower) => pending = self.landed(follower, number).await?,
            }
        }
        Err(Missing::Failed(UpstreamError::Cut))
    }

    async fn landed(
        &mut self,
        mut follower: Follower<Head>,
        number: u64,
    ) -> Result<Pending, Missing> {
        let landing = timeout(self.request.site.common.follower_wait, follower.landing()).await;
        self.request.waited_for(&follower);
        let Ok(landing) = landing else {
            return Ok(self.alone(number));
        };
        match landing {
            Landing::Streaming(reader) if self.is_alive(&reader) => {
                Ok(Pending::Ready(Source::Streaming(reader)))
            }
            Landing::Streaming(_) | Landing::NotShareable => Ok(self.alone(number)),
            // It is stored, given up, or of another representation by now.
            Landing::Refreshed => Ok(self.begin(number).await),
            Landing::Failed => Err(Missing::Failed(UpstreamError::Cut)),
        }
    }

    /// Whether it was not asked for before a purge that this request may have come after.
    fn is_alive(&self, reader: &Reader<Head>) -> bool {
        reader.head().life(&self.node.purges) == storage::purge::Life::Alive
    }
}

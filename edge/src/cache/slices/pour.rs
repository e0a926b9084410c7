//! From one response into many slices, as long as somebody wants the next one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use storage::purge::Sequence;
use storage::{Airborne, Fill, Landing, Lead};

use super::{Begun, Sliced};
use crate::cache::Head;
use crate::cache::pour::finish;
use crate::exchange::Request;
use crate::node::Node;
use crate::pingora::fetch::Fetched;

/// A response whose content begins where a slice does.
pub(super) struct Pour {
    pub node: Arc<Node>,
    pub request: Arc<Request>,
    pub sliced: Sliced,
    /// When the response was asked for.
    pub born: Sequence,
    /// The slice that comes next.
    number: u64,
    /// The first slice that the response does not have as a whole.
    end: u64,
    ahead: usize,
    /// The slices that come after it: who asks for one of them waits.
    leads: VecDeque<Lead<Head>>,
}

/// A slice under way.
struct Current {
    fill: Fill<Head>,
    _airborne: Airborne<Head>,
    left: u64,
}

/// What a pour is made of.
pub(super) struct Parts {
    pub node: Arc<Node>,
    pub request: Arc<Request>,
    pub sliced: Sliced,
    pub born: Sequence,
    pub numbers: std::ops::Range<u64>,
    /// Of the first of them.
    pub lead: Lead<Head>,
}

impl Pour {
    /// Prepares to pour the slices `numbers`, and begins with the first.
    pub(super) async fn begin(parts: Parts) -> Option<(Self, Pouring, Begun)> {
        let Parts {
            node,
            request,
            sliced,
            born,
            numbers,
            lead,
        } = parts;
        let ahead = request.treatment.settings.slicing.map_or(0, |it| it.ahead);
        let mut pour = Self {
            node,
            request,
            sliced,
            born,
            number: numbers.start,
            end: numbers.end,
            ahead: ahead.max(1),
            leads: VecDeque::new(),
        };
        let current = pour.open(lead).await?;
        let begun = Begun {
            number: numbers.start,
            reader: current.fill.reader(),
        };
        Some((pour, Pouring(current), begun))
    }

    async fn board(&self, number: u64) -> Option<Lead<Head>> {
        let wanted = (number < self.end).then_some(&self.sliced.keys);
        wanted?.board(&self.node, number).await
    }

    /// Opens the next slice, and makes those who want the ones after it wait for them.
    async fn open(&mut self, lead: Lead<Head>) -> Option<Current> {
        let range = self.sliced.keys.layout.range(self.number)?;
        let stored = self.sliced.stored()?;
        let purges = &self.node.purges;
        let membership = purges.membership(self.born, &self.request, &stored.headers);
        let keys = &self.sliced.keys;
        let claim = self.node.tiers.memory().claim(keys.of(self.number));
        let on = (&*self.node, &*self.request);
        let fill = keys.begin(on, claim, membership, range.len());
        self.number += 1;
        while self.leads.len() < self.ahead
            && let Some(lead) = self.board(self.number + self.leads.len() as u64).await
        {
            self.leads.push_back(lead);
        }
        let landing = Landing::Streaming(fill.reader());
        Some(Current {
            fill,
            _airborne: lead.land(landing),
            left: range.len(),
        })
    }

    /// The next slice, if somebody waits for it.
    async fn next(&mut self) -> Option<Current> {
        let lead = self.leads.pop_front()?;
        if lead.followers() == 0 {
            self.leads.push_front(lead);
            return None;
        }
        self.open(lead).await
    }

    /// Moves the content into slices.
    pub(super) async fn run(mut self, mut fetched: Fetched, Pouring(mut current): Pouring) {
        loop {
            let data = match fetched.next().await {
                Ok(Some(data)) => data,
                // The slice under way is shorter than it has to be, and its readers are cut.
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "a response was cut while it was received");
                    current.fill.fail(storage::Cut::Origin);
                    break;
                }
            };
            match self.take(current, data).await {
                Some(rest) => current = rest,
                None if self.number == self.end => {
                    fetched.release().await;
                    break;
                }
                None => break,
            }
        }
        for lead in self.leads.drain(..) {
            drop(lead.land(Landing::Refreshed));
        }
    }

    /// Fills slices with `data`. `None` if there is nothing more to do.
    async fn take(&mut self, mut current: Current, mut data: Bytes) -> Option<Current> {
        while !data.is_empty() {
            let left = usize::try_from(current.left).unwrap_or(usize::MAX);
            let piece = data.split_to(data.len().min(left));
            current.left -= piece.len() as u64;
            if let Err(error) = current.fill.write(piece).await {
                tracing::debug!(%error, "a slice was given up");
                return None;
            }
            if current.left == 0 {
                // Stored before it lands: who does not find the flight finds the slice.
                self.node
                    .capacity
                    .missed(&current.fill, self.node.clock.now());
                finish(&self.node, current.fill);
                current = self.next().await?;
            }
        }
        Some(current)
    }
}

/// The slice that a pour begins with.
pub(super) struct Pouring(Current);

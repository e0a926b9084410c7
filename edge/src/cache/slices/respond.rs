//! An answer made of slices.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use policy::range::{ByteRange, Multipart};
use policy::time::Timestamp;
use storage::{Object, Reader};

use super::run::{Missing, Run, Slices, Source};
use super::{Begun, Sliced};
use crate::cache::respond::{self, Part, Selected, Sent};
use crate::cache::{Client, Head, Interrupted, content, find};
use crate::error::UpstreamError;
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{Answer, Forward, Forwarded, Outcome, Share, Tier};

/// Slices that are looked for in the index before others have a turn.
const TURN: u64 = 256;

/// How often a slice that breaks off is asked for again while nothing more of it comes.
const TRIES_MAX: usize = 2;

/// Sends what the client wants of a representation in slices.
pub(in crate::cache) async fn respond(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    (object, begun): (&Arc<Object<Head>>, Option<Begun>),
    now: Timestamp,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let Some((sliced, stored)) = Sliced::of(object).zip(object.head().stored()) else {
        node.tiers.remove_object(object);
        return Ok(Sent::Changed);
    };
    respond::note_birth(node, exchange, object.head());
    let complete = sliced.layout().complete();
    let mut headers = respond::aged(stored, now);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(complete));
    let whole = Selected {
        status: stored.status,
        headers,
        part: Part::Whole,
    };
    let received = stored.reception.response_time;
    let ranges_max = request.site.common.ranges_max;
    let selected = respond::select(request, whole, received, Some(complete), ranges_max);
    let ranges = ranges(&selected.part, complete);
    if ranges.is_empty() {
        respond::send_head(node, exchange, request, selected, client).await?;
        client.end().await?;
        return Ok(Sent::Done);
    }
    let stock = Stock::of(node, &sliced, &ranges).await;
    if request.terms.only_if_cached() && !stock.is_sure(node, &sliced).await {
        return Ok(Sent::NotCached);
    }
    let run = Run::new((node, request), &sliced, ranges, begun);
    let mut answer = Composition {
        run,
        slices: Slices::default(),
    };
    match answer.run.prepare().await {
        Ok(()) => {}
        Err(Missing::Changed) => return Ok(Sent::Changed),
        Err(Missing::NotCached) => return Ok(Sent::NotCached),
        Err(Missing::Failed(error)) => return failed(node, exchange, error, client).await,
    }
    tell(node, exchange, &stock);
    let part = respond::send_head(node, exchange, request, selected, client).await?;
    let sent = answer.send(part, client).await;
    exchange.slices = Some(answer.slices);
    sent?;
    client.end().await?;
    Ok(Sent::Done)
}

fn ranges(part: &Part, complete: u64) -> Vec<ByteRange> {
    match part {
        Part::Nothing => Vec::new(),
        Part::Whole => vec![ByteRange {
            first: 0,
            last: complete - 1,
        }],
        Part::One(range) => vec![*range],
        Part::Many(multipart) => multipart.parts.iter().map(|part| part.range).collect(),
    }
}

/// Which of the slices that an answer needs were stored before it began.
struct Stock {
    touched: Vec<RangeInclusive<u64>>,
    needed: u64,
    /// How many of them are there before the first that is missing.
    stored: u64,
    /// Where the farthest of them are.
    tier: Tier,
    /// The key of the first that is needed.
    first: storage::Key,
}

impl Stock {
    /// Without a read: an answer does not wait for the heads of all its slices.
    async fn of(node: &Node, sliced: &Sliced, ranges: &[ByteRange]) -> Self {
        let touched = ranges.iter().map(|range| sliced.layout().touched(*range));
        let touched: Vec<_> = touched.collect();
        let first = touched.first().map_or(0, |it| *it.start());
        let mut stock = Self {
            needed: touched.iter().map(|it| it.end() - it.start() + 1).sum(),
            touched,
            stored: 0,
            tier: Tier::Memory,
            first: sliced.keys.of(first),
        };
        for number in stock.touched.iter().cloned().flatten() {
            match sliced.keys.whereabouts(node, number) {
                None => break,
                Some(Tier::Disk) => stock.tier = Tier::Disk,
                Some(_) => {}
            }
            stock.stored += 1;
            if stock.stored.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        stock
    }

    fn is_everything(&self) -> bool {
        self.stored == self.needed
    }

    /// Whether nothing has to be asked for: what is on disks is looked at.
    async fn is_sure(&self, node: &Node, sliced: &Sliced) -> bool {
        if !self.is_everything() {
            return false;
        }
        for number in self.touched.iter().cloned().flatten() {
            if sliced.keys.find(node, number).await.is_none() {
                return false;
            }
        }
        true
    }
}

/// A hit that is not one for all its slices went forward for the rest (RFC 9211 §2.2).
fn tell(node: &Node, exchange: &mut Exchange, stock: &Stock) {
    let Some(Outcome::Hit { ttl, tier, .. }) = &mut exchange.outcome else {
        return;
    };
    if stock.is_everything() {
        if stock.tier == Tier::Disk {
            *tier = Tier::Disk;
        }
        return;
    }
    let ttl = *ttl;
    let absent = find::absent(node, stock.first);
    exchange.outcome = Some(Outcome::Forwarded(Forwarded {
        why: if stock.stored == 0 {
            absent
        } else {
            Forward::Partial
        },
        status: Some(http::StatusCode::PARTIAL_CONTENT),
        answer: Answer::Slices { ttl },
        share: Share::Alone,
    }));
}

async fn failed(
    node: &Node,
    exchange: &mut Exchange,
    error: UpstreamError,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    exchange.outcome = Some(crate::cache::failed(Forward::Partial, error, Share::Alone));
    respond::failure(node, exchange, error, client).await?;
    Ok(Sent::Done)
}

/// A slice of an answer that was begun.
async fn arrived(
    source: Result<Source, Missing>,
    client: &mut impl Client,
) -> Result<Source, Interrupted> {
    match source {
        Ok(source) => Ok(source),
        Err(missing) => {
            tracing::debug!(?missing, "an answer cannot be completed");
            client.flush().await?;
            Err(Interrupted::Origin)
        }
    }
}

/// An answer while it is sent.
struct Composition<'a> {
    run: Run<'a>,
    slices: Slices,
}

impl Composition<'_> {
    async fn send(&mut self, part: Part, client: &mut impl Client) -> Result<(), Interrupted> {
        match part {
            Part::Nothing => Ok(()),
            Part::Whole => self.send_range(u64::MAX, client).await,
            Part::One(range) => self.send_range(range.last, client).await,
            Part::Many(multipart) => self.send_parts(multipart, client).await,
        }
    }

    async fn send_parts(
        &mut self,
        multipart: Multipart,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        for part in multipart.parts {
            client.content(Bytes::from(part.head)).await?;
            self.send_range(part.range.last, client).await?;
        }
        client.content(Bytes::from(multipart.end)).await
    }

    /// Sends slices up to the byte `last`.
    async fn send_range(&mut self, last: u64, client: &mut impl Client) -> Result<(), Interrupted> {
        while let Some((number, bytes, source)) = self.run.next().await {
            let source = arrived(source, client).await?;
            self.send_slice(number, bytes, source, client).await?;
            if bytes.last >= last {
                break;
            }
        }
        Ok(())
    }

    async fn send_slice(
        &mut self,
        number: u64,
        bytes: ByteRange,
        mut source: Source,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        let start = number * self.run.sliced.layout().size();
        let (mut at, end) = (bytes.first - start, bytes.last - start + 1);
        match source {
            Source::Stored(_) => self.slices.hits += 1,
            Source::Streaming(_) => self.slices.misses += 1,
        }
        let mut tries = 0;
        loop {
            let before = at;
            match source {
                Source::Stored(object) => {
                    self.run
                        .node
                        .capacity
                        .hit(&object, self.run.node.clock.now());
                    let admission = self.run.request.treatment.admission;
                    let object = self.run.node.tiers.accessed(&object, admission);
                    if !object.body().is_on_disk() {
                        self.slices.hit_bytes += end - at;
                        let memory = self.run.node.tiers.memory();
                        return content::from_memory(memory, object.body(), at..end, client).await;
                    }
                    let mut reader = object.body().reader(at..end);
                    while let Ok(Some(data)) = reader.next().await {
                        at += data.len() as u64;
                        self.slices.hit_bytes += data.len() as u64;
                        reader.suit(content::take(data, client).await?);
                    }
                }
                Source::Streaming(reader) => {
                    at = self.copy(reader, at..end, client).await?;
                }
            }
            if at == end {
                return Ok(());
            }
            // It broke off: the rest has the same validator, or there is none.
            tries = if at > before { 0 } else { tries + 1 };
            if tries > TRIES_MAX {
                return Err(Interrupted::Origin);
            }
            let again = self.run.again(number).await;
            source = arrived(again, client).await?;
        }
    }

    /// Sends bytes of a slice while it is received, up to where it breaks off.
    async fn copy(
        &mut self,
        mut reader: Reader<Head>,
        bytes: std::ops::Range<u64>,
        client: &mut impl Client,
    ) -> Result<u64, Interrupted> {
        let (mut at, mut read) = (bytes.start, 0);
        while at < bytes.end {
            let Some(data) = respond::piece(&mut reader, client).await? else {
                break;
            };
            let data_start = read;
            read += data.len() as u64;
            if read <= at {
                continue;
            }
            let data = respond::cut(&data, at - data_start, bytes.end - at);
            at += data.len() as u64;
            self.slices.miss_bytes += data.len() as u64;
            client.content(data).await?;
            // Where many read along, nobody gets a second piece before everybody had the first.
            tokio::task::yield_now().await;
        }
        Ok(at)
    }
}

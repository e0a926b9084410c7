//! The content of a stored response on its way to the client, from memory or from a disk.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use storage::disk::{DiskError, Pace};
use storage::{Body, BodyReader, Memory};

use super::respond::Part;
use super::rest::Rest;
use super::{Client, Head, Interrupted};
use crate::downstream::outpour::POURED_MIN;
use crate::downstream::pieces::PIECES_MAX;

/// A stored body, of which parts are sent.
pub(super) struct Content<'a> {
    body: &'a Body,
    first: Option<Begun>,
    rest: Option<Rest<'a>>,
}

/// A part whose first bytes are there.
struct Begun {
    reader: BodyReader,
    bytes: Option<Bytes>,
    /// What the reader is for.
    range: Range<u64>,
}

impl Begun {
    fn new(body: &Body, range: Range<u64>) -> Self {
        Self {
            reader: body.reader(range.clone()),
            bytes: None,
            range,
        }
    }
}

impl<'a> Content<'a> {
    pub(super) fn of(body: &'a Body, part: &Part) -> Self {
        let range = match part {
            Part::Nothing => None,
            Part::Whole => Some(0..body.len()),
            Part::One(range) => Some(range.first..range.last + 1),
            Part::Many(multipart) => {
                let first = multipart.parts.first();
                first.map(|part| part.range.first..part.range.last + 1)
            }
        };
        let first = range.map(|range| Begun::new(body, range));
        let rest = None;
        Self { body, first, rest }
    }

    /// What cannot be read after the first bytes is to be had there.
    pub(super) fn or_else(self, rest: Rest<'a>) -> Self {
        let rest = Some(rest);
        Self { rest, ..self }
    }

    /// Reads the first bytes: as long as nothing was sent, there is another answer to give.
    pub(super) async fn prepare(&mut self) -> Result<(), DiskError> {
        if let Some(first) = &mut self.first {
            first.bytes = first.reader.next().await?;
        }
        Ok(())
    }

    pub(super) async fn send(
        mut self,
        part: Part,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        match part {
            Part::Nothing => {}
            Part::Whole | Part::One(_) => self.send_range(None, client).await?,
            Part::Many(multipart) => {
                for part in multipart.parts {
                    client.content(Bytes::from(part.head)).await?;
                    let range = part.range.first..part.range.last + 1;
                    self.send_range(Some(range), client).await?;
                }
                client.content(Bytes::from(multipart.end)).await?;
            }
        }
        Ok(())
    }

    /// Sends what was begun, or else this range.
    async fn send_range(
        &mut self,
        range: Option<Range<u64>>,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        let begun = self.first.take();
        let begun = begun.or_else(|| range.map(|range| Begun::new(self.body, range)));
        let Some(begun) = begun else {
            return Ok(());
        };
        let Begun {
            mut reader,
            bytes,
            range: mut left,
        } = begun;
        if let Some(bytes) = bytes {
            left.start += bytes.len() as u64;
            reader.suit(take(bytes, client).await?);
        }
        loop {
            match next_or_flush(reader.next(), client).await? {
                Ok(Some(bytes)) => {
                    left.start += bytes.len() as u64;
                    reader.suit(take(bytes, client).await?);
                }
                Ok(None) => return Ok(()),
                Err(error) => return self.go_on(&error, left, client).await,
            }
        }
    }

    /// Sends what is `left` and cannot be read.
    async fn go_on(
        &self,
        error: &DiskError,
        left: Range<u64>,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        if let Some(rest) = self.rest.filter(|_| !left.is_empty()) {
            return Box::pin(rest.send(error, left, client)).await;
        }
        tracing::warn!(%error, "a stored response was begun and cannot be read to its end");
        // A head that the client has seen tells it that the response is cut, and not that there is none.
        client.flush().await?;
        Err(Interrupted::Disk)
    }
}

/// Sends bytes of a body that is in memory, in as few writes as may be.
pub(super) async fn from_memory(
    memory: &Arc<Memory<Head>>,
    body: &Body,
    range: Range<u64>,
    client: &mut impl Client,
) -> Result<(), Interrupted> {
    if range.end - range.start >= POURED_MIN && client.takes_pages() {
        if let Some(lasting) = body.lasting(range.clone()) {
            return client.pages(lasting).await;
        }
        memory.sends(body);
    }
    let mut all = body.slice(range);
    loop {
        let pieces: Vec<_> = all.by_ref().take(PIECES_MAX).collect();
        match <[Bytes; 1]>::try_from(pieces) {
            Ok([piece]) => client.content(piece).await?,
            Err(none) if none.is_empty() => return Ok(()),
            Err(pieces) => client.contents(pieces).await?,
        }
    }
}

/// Sends content, and sees how the client takes it.
pub(super) async fn take(bytes: Bytes, client: &mut impl Client) -> Result<Pace, Interrupted> {
    let mut sending = std::pin::pin!(client.content(bytes));
    let mut pace = Pace::Fast;
    let sent = std::future::poll_fn(|context| {
        let sent = sending.as_mut().poll(context);
        if sent.is_pending() {
            pace = Pace::Slow;
        }
        sent
    });
    sent.await?;
    Ok(pace)
}

/// What `next` brings. Where it has to be waited for, what is prepared leaves first.
pub(super) async fn next_or_flush<T>(
    next: impl Future<Output = T>,
    client: &mut impl Client,
) -> Result<T, Interrupted> {
    let mut next = std::pin::pin!(next);
    tokio::select! {
        biased;
        ready = &mut next => return Ok(ready),
        () = std::future::ready(()) => {}
    }
    client.flush().await?;
    Ok(next.await)
}

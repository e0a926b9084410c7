//! A body being received, readable while it is written.
//!
//! ```text
//!            too long, or no room                    finish
//!   Storing ─────────────────────▶ Window    Storing ───────▶ stored, complete
//!                                            Window  ───────▶ complete
//!                                            either  ─drop, fail─▶ cut
//! ```
//!
//! While it is *storing*, a fill keeps every byte and never waits for a reader. As a *window* it
//! keeps what its readers still have to read. It waits for those that are behind as long as the body
//! moves on all the same, and then leaves them behind: no client can make the others, or the memory,
//! wait for it for ever.
//!
//! A copy may go to a disk meanwhile, from either state. While memory keeps the body, that waits for nobody: a disk that
//! cannot keep up has no copy. Who is behind the window of a body with a copy, or comes late, reads what has arrived from
//! the disk (`disk::Trail`): then nobody is waited for longer than a moment, all of them or not. A busy disk is waited for
//! as long as a reader. If it refuses all the same, who was behind is cut, and the others go on.

mod beside;
mod patience;
mod positions;
mod progress;
mod reader;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::memory::{Body, Charge, Claim, InFlight, Memory, Object, PIECE_OVERHEAD, paid};
use crate::{Head, Key, Variant};
pub(crate) use beside::{Beside, settle};
use patience::Patience;
use progress::{Outlook, Progress, ShortRun};
pub use reader::Reader;
use reader::Shared;

/// The longest piece of a body. What arrives in one longer write is split.
const PIECE_MAX: usize = 64 * 1024;

/// Bodies shorter than this end up in one piece. Longer ones are sent in lists of pieces at the same cost, and a second
/// copy of them costs more than it saves.
const CONTIGUOUS_BELOW: usize = 128 * 1024;

/// A body is put together in one piece only if the second copy, while it is made, takes no more
/// than this part of the capacity.
const CONTIGUOUS_PART: usize = 64;

/// What is to become of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Store it, if it fits.
    Store,
    /// Only pass it on to the readers.
    PassOn,
}

/// Why a reader does not get the rest of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Cut {
    /// The fill was dropped before its end.
    #[error("the fill was given up")]
    GivenUp,
    /// Where the body came from broke off.
    #[error("the origin broke off")]
    Origin,
    /// The body is shorter or longer than was announced.
    #[error("the body has not the announced length of {announced} bytes")]
    Length {
        /// The announced length in bytes.
        announced: u64,
    },
    /// This reader fell too far behind; the others may go on.
    #[error("the reader fell too far behind")]
    Lagged,
    /// This reader was behind, and the disk does not give what had arrived; the others may go on.
    #[error("what had arrived cannot be read back")]
    Disk,
}

/// Why a write was in vain. The fill should be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WriteError {
    /// The body is not being stored, and nobody reads it any more.
    #[error("nobody reads the body")]
    NoReaders,
    /// There is more of it than was announced. The readers are cut.
    #[error("the body is longer than announced")]
    TooLong,
}

/// The writing end of a body. Dropped before [`Fill::finish`], it cuts its readers, and nothing is
/// stored.
pub struct Fill<H: Head> {
    claim: Claim<H>,
    id: u64,
    shared: Arc<Shared<H>>,
    state: State,
    /// The copy that goes to a disk meanwhile.
    beside: Option<Box<Beside>>,
}

enum State {
    Storing {
        /// Pays for the object beside its body.
        fixed: Charge,
        in_flight: InFlight,
    },
    Window(Patience),
    Ended,
}

impl<H: Head> Fill<H> {
    pub(crate) fn new(
        claim: Claim<H>,
        variant: Variant,
        head: H,
        announced: Option<u64>,
        keep: Keep,
    ) -> Self {
        let state = match keep {
            Keep::Store => Self::storing(claim.memory(), &head, announced),
            Keep::PassOn => State::Window(Patience::default()),
        };
        Self {
            shared: Shared::new((claim.key(), variant), head, announced),
            id: claim.memory().new_id(),
            claim,
            state,
            beside: None,
        }
    }

    /// Writes the body to a disk as well from now on, before the first byte.
    pub(crate) fn also(&mut self, beside: Beside) {
        self.shared.progress().back(beside.trail());
        self.beside = Some(Box::new(beside));
    }

    /// The number that the object will have.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn storing(memory: &Arc<Memory<H>>, head: &H, announced: Option<u64>) -> State {
        let fits = announced.is_none_or(|length| length <= memory.settings().storable_max());
        match fits.then(|| memory.charge_head(head)).flatten() {
            Some(fixed) => State::Storing {
                fixed,
                in_flight: memory.in_flight(),
            },
            None => {
                memory.reject();
                State::Window(Patience::default())
            }
        }
    }

    /// Appends to the body. The bytes are copied, so that no network buffer is held, unless they are all there is in
    /// their memory, and nobody else has a handle to it.
    ///
    /// While the body is being stored this does not wait. It may turn into a window here, and then
    /// waits until its readers are no more than [`Settings::window`](crate::Settings::window) behind, or for the disk.
    /// If this future is dropped meanwhile, a part of `data` may have been written: drop the
    /// fill as well.
    ///
    /// # Errors
    ///
    /// If nobody reads a window any more, or the body is longer than announced.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), WriteError> {
        self.check_length(data.len() as u64)?;
        self.write_beside(&data).await;
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE_MAX));
            if let Err(piece) = self.store(piece) {
                self.pass_on(piece).await?;
            }
        }
        Ok(())
    }

    /// Ends the body. If it was being stored, the object is in the index when this returns.
    ///
    /// None if it is not stored: it was a window, has not the announced length, or its claim is void.
    pub fn finish(mut self) -> Option<Arc<Object<H>>> {
        let written = self.shared.progress().end();
        if let Some(announced) = self.shared.announced.filter(|length| *length != written) {
            self.fail(Cut::Length { announced });
            return None;
        }
        let State::Storing { fixed, in_flight } = std::mem::replace(&mut self.state, State::Ended)
        else {
            if let Some(beside) = self.beside.take() {
                beside.settle_alone(&self.claim, self.shared.name.1);
            }
            self.shared.change(Progress::complete);
            return None;
        };
        let body = self.gather();
        let head = Arc::clone(&self.shared.head);
        let derived = Arc::clone(&self.shared.derived);
        let name = (self.id, self.shared.name.1);
        let object = self
            .memory()
            .publish(&self.claim, name, head, (body, derived), fixed);
        if let (Some(beside), Some(object)) = (self.beside.take(), &object) {
            beside.settle_with(object);
        }
        // Nothing is in flight only once the disk has it as well.
        drop(in_flight);
        self.shared.change(Progress::complete);
        object
    }

    /// Ends the body for its readers, and stores nothing of it: what it tells is out of date by now.
    pub fn finish_unstored(mut self) {
        let written = self.shared.progress().end();
        if let Some(announced) = self.shared.announced.filter(|length| *length != written) {
            return self.fail(Cut::Length { announced });
        }
        self.state = State::Ended;
        self.shared.change(Progress::complete);
    }

    /// The head that it is stored under.
    pub fn head(&self) -> &Arc<H> {
        &self.shared.head
    }

    /// What it will be stored under.
    pub fn name(&self) -> (Key, Variant) {
        self.shared.name
    }

    /// Bytes of the body so far.
    pub fn written(&self) -> u64 {
        self.shared.progress().end()
    }

    /// Whether any tier will have it, as far as is known.
    pub fn is_kept(&self) -> bool {
        self.is_storing() || self.is_going_to_disk()
    }

    /// Ends a body that is made from another, and is to be kept with it: it becomes no object. None if it is not
    /// complete, or there was no room to keep it.
    pub(crate) fn finish_apart(mut self) -> Option<Body> {
        let State::Storing { in_flight, .. } = std::mem::replace(&mut self.state, State::Ended)
        else {
            self.shared.change(Progress::complete);
            return None;
        };
        let body = self.gather();
        drop(in_flight);
        self.shared.change(Progress::complete);
        Some(body)
    }

    /// Ends the body before its end.
    pub fn fail(mut self, cut: Cut) {
        self.end(cut);
    }

    /// A reader from the first byte.
    pub fn reader(&self) -> Reader<H> {
        Reader::join(&self.shared)
    }

    /// Whether anybody reads.
    pub fn has_readers(&self) -> bool {
        self.shared.progress().has_readers()
    }

    /// Whether it will be stored, as far as is known.
    pub fn is_storing(&self) -> bool {
        matches!(self.state, State::Storing { .. })
    }

    /// Whether a disk takes the body, so far.
    fn is_going_to_disk(&self) -> bool {
        self.beside.as_ref().is_some_and(|it| it.is_taking())
    }

    fn memory(&self) -> &Arc<Memory<H>> {
        self.claim.memory()
    }

    fn check_length(&mut self, more: u64) -> Result<(), WriteError> {
        let written = self.shared.progress().end();
        match self.shared.announced {
            Some(announced) if written.saturating_add(more) > announced => {
                self.end(Cut::Length { announced });
                Err(WriteError::TooLong)
            }
            _ => Ok(()),
        }
    }

    /// Keeps `piece`, or gives it back, and it is a window from now on.
    fn store(&mut self, piece: Bytes) -> Result<(), Bytes> {
        let State::Storing { in_flight, .. } = &mut self.state else {
            return Err(piece);
        };
        let memory = self.claim.memory();
        let written = self.shared.progress().end();
        let fits = written + piece.len() as u64 <= memory.settings().storable_max();
        let stored = match fits && in_flight.grow(piece.len()) {
            true => append(memory, &self.shared, piece),
            false => Err(piece),
        };
        if stored.is_err() {
            memory.reject();
            self.state = State::Window(Patience::default());
        }
        stored
    }

    /// Gives the disk its copy. Readers that are behind have lost it when the disk refuses.
    async fn write_beside(&mut self, data: &Bytes) {
        let Some(beside) = self.beside.as_mut().filter(|it| it.is_taking()) else {
            return;
        };
        match &mut self.state {
            State::Window(patience) => {
                let end = self.shared.progress().end();
                beside.write_patiently(data.clone(), end, patience).await;
            }
            State::Storing { .. } | State::Ended => beside.write(data),
        }
        if !beside.is_taking() {
            self.shared.change(|progress| progress.back(None));
        }
    }

    /// Hands `piece` to the readers, when there is a place in the window.
    async fn pass_on(&mut self, mut piece: Bytes) -> Result<(), WriteError> {
        let window = self.memory().settings().window as u64;
        let more = piece.len() as u64;
        let too_far = (window + 1).saturating_sub(more).max(1);
        loop {
            let outlook = self.shared.progress().outlook(more, window);
            match outlook {
                Outlook::NoReaders if self.is_going_to_disk() => {
                    self.shared.change(|progress| progress.skip(more));
                    return Ok(());
                }
                Outlook::NoReaders => return Err(WriteError::NoReaders),
                Outlook::Room | Outlook::AllRead => {
                    piece = match append(self.memory(), &self.shared, piece) {
                        Ok(()) => return Ok(()),
                        Err(piece) => piece,
                    };
                    if outlook == Outlook::AllRead {
                        // One piece in passing is what a proxy without a cache holds as well.
                        self.shared.change(|progress| progress.replace(piece));
                        return Ok(());
                    }
                    // The budget is exhausted: there will be room when everything is read.
                    let somebody_waits = self.shared.progress().somebody_waits();
                    match somebody_waits {
                        true => self.bear_with(1).await,
                        false => self.shared.room.notified().await,
                    }
                }
                Outlook::Behind => self.bear_with(too_far).await,
                // They go on from the disk.
                Outlook::Full if self.is_going_to_disk() => self.bear_with(too_far).await,
                Outlook::Full => self.shared.room.notified().await,
            }
        }
    }

    /// Waits for the readers that are `lag` bytes or more behind, within reason.
    async fn bear_with(&mut self, lag: u64) {
        let end = self.shared.progress().end();
        let State::Window(patience) = &mut self.state else {
            return;
        };
        tokio::select! {
            biased;
            () = self.shared.room.notified() => return,
            () = patience.exhausted(end) => {}
        }
        self.shared.change(|progress| progress.leave_behind(lag));
    }

    /// The whole body, in one piece if it is short enough.
    fn gather(&self) -> Body {
        let len = usize::try_from(self.shared.progress().end()).unwrap_or(usize::MAX);
        let max = self.memory().settings().capacity / CONTIGUOUS_PART;
        if len < CONTIGUOUS_BELOW && len <= max {
            self.join_all(len);
        } else {
            join(self.memory(), &self.shared, Progress::last_run);
        }
        Body::from_pieces(self.shared.progress().pieces())
    }

    /// Puts the body in one piece, if there is room for the copy.
    fn join_all(&self, len: usize) {
        let pieces = self.shared.progress().pieces();
        if pieces.len() < 2 {
            return;
        }
        if let Some(charge) = self.memory().charge(len + PIECE_OVERHEAD) {
            let pieces = pieces.into_iter().map(|piece| piece.bytes);
            let bytes = paid(joined(pieces, len), charge);
            self.shared.change(|progress| progress.join(bytes));
        }
    }

    fn end(&mut self, cut: Cut) {
        self.state = State::Ended;
        self.shared.change(|progress| progress.cut(cut));
    }
}

/// Puts `piece` at the end of the body if the budget allows it, or gives it back.
fn append<H: Head>(memory: &Arc<Memory<H>>, shared: &Shared<H>, piece: Bytes) -> Result<(), Bytes> {
    let Some(charge) = memory.charge(piece.len() + PIECE_OVERHEAD) else {
        return Err(piece);
    };
    // What is alone in its memory stays there, and all others are copied: nothing beside them is held.
    let alone = Vec::from(piece).into_boxed_slice();
    let bytes = paid(alone, charge);
    shared.change(|progress| progress.push(bytes));
    join(memory, shared, Progress::short_run);
    Ok(())
}

/// Joins pieces at the end. If there is no room for the copy, they stay as they are.
fn join<H: Head>(
    memory: &Arc<Memory<H>>,
    shared: &Shared<H>,
    which: fn(&Progress) -> Option<ShortRun>,
) {
    let Some(run) = which(&shared.progress()) else {
        return;
    };
    if let Some(charge) = memory.charge(run.len + PIECE_OVERHEAD) {
        let bytes = paid(joined(run.pieces.into_iter(), run.len), charge);
        shared.change(|progress| progress.merge(bytes));
    }
}

fn joined(pieces: impl Iterator<Item = Bytes>, len: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(len);
    pieces.for_each(|piece| joined.extend_from_slice(&piece));
    joined
}

impl<H: Head> Drop for Fill<H> {
    fn drop(&mut self) {
        if !matches!(self.state, State::Ended) {
            self.end(Cut::GivenUp);
        }
    }
}

impl<H: Head> fmt::Debug for Fill<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill")
            .field("key", &self.shared.name.0)
            .field("variant", &self.shared.name.1)
            .field("storing", &self.is_storing())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

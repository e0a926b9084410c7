//! An object on a disk, held fast.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Shared;
use super::bodies::Elsewhere;
use super::error::DiskError;
use super::format::{ELSEWHERE, Extent, Header, Name, Sums, length};
use super::front::{self, BodyPlace, Front};
use super::health::Fault;
use super::life::{Class, Life};
use super::pool::Answer;
use super::table::Entry;
use super::volume::{Reading, Span, Volume};
use crate::{Key, Variant};

/// An object that the index knows of. While it, or a reader of its body, lives, what has been found
/// is not written over.
#[derive(Clone)]
pub struct Found(pub(crate) Arc<Object>);

pub(crate) struct Object {
    pub(crate) shared: Arc<Shared>,
    pub(crate) volume: Arc<Volume>,
    pub(crate) life: Arc<Life>,
    pub(crate) key: Key,
    pub(crate) entry: Entry,
    pub(crate) class: Class,
    loaded: OnceLock<Loaded>,
    loading: tokio::sync::Mutex<Loading>,
}

/// The reads that are under way. They stay while they are waited for: whoever drops the future that
/// waits loses no read.
#[derive(Default)]
struct Loading {
    record: Option<Answer<Front>>,
    /// The record, and its body from elsewhere.
    body: Option<(Loaded, Elsewhere)>,
}

/// What the record says, once it has been read.
pub(crate) struct Loaded {
    pub(crate) header: Header,
    pub(crate) head: Bytes,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// Read already, and checked.
    Read(Bytes),
    Chunks(Vec<Chunk>),
    /// Read from another engine as a whole, and checked.
    Elsewhere {
        bytes: Bytes,
        extents: Vec<Extent>,
    },
}

/// A part of a body, and its segment held fast.
pub(crate) struct Chunk {
    pub(crate) life: Arc<Life>,
    pub(crate) at: u64,
    pub(crate) sums: Sums,
}

impl Found {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        volume: &Arc<Volume>,
        life: Arc<Life>,
        key: Key,
        entry: Entry,
        class: Class,
    ) -> Self {
        Self(Arc::new(Object {
            shared: Arc::clone(shared),
            volume: Arc::clone(volume),
            life,
            key,
            entry,
            class,
            loaded: OnceLock::new(),
            loading: tokio::sync::Mutex::default(),
        }))
    }

    /// Which of the key's variants it is.
    pub fn variant(&self) -> Variant {
        self.0.class.variant
    }

    /// A number that no other stored object has had or will have, on this set of volumes.
    pub fn id(&self) -> u64 {
        self.0.life.number + u64::from(self.0.entry.place().unit())
    }

    /// What the object was stored with to tell by whether it is still alive.
    pub fn born(&self) -> u64 {
        self.0.class.born
    }

    /// The length of its head in bytes.
    pub fn head_len(&self) -> u64 {
        self.0.entry.sizes().head
    }

    /// The length of its body in bytes.
    pub fn body_len(&self) -> u64 {
        self.0.entry.sizes().body
    }

    /// Whether a walk has looked at this head when it was found.
    pub(crate) fn is_proven(&self) -> bool {
        self.0.entry.is_proven()
    }

    /// A reader of a part of the body.
    pub(crate) fn body(&self, range: Range<u64>) -> BodyReader {
        BodyReader::new(self, range)
    }

    /// All of the body, if it was read along with the head.
    pub(crate) fn read_along(&self) -> Option<Bytes> {
        match &self.0.loaded()?.body {
            Body::Read(bytes) => Some(bytes.clone()),
            Body::Chunks(_) | Body::Elsewhere { .. } => None,
        }
    }

    /// When it was stored, in seconds since 1970, as the writer said.
    pub fn stored_at(&self) -> u64 {
        u64::from(self.0.entry.stored_at)
    }
}

impl Object {
    pub(crate) fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get()
    }

    /// Reads and checks the record, if that has not been done.
    pub(crate) async fn load(&self) -> Result<&Loaded, DiskError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let read = self.read().await;
        let loaded = read.inspect_err(|error| self.failed(*error))?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    async fn read(&self) -> Result<Loaded, DiskError> {
        let mut loading = self.loading.lock().await;
        if loading.body.is_none() {
            let loaded = self.read_front(&mut loading.record).await?;
            let Some(answer) = self.ask_elsewhere(&loaded)? else {
                return Ok(loaded);
            };
            loading.body = Some((loaded, answer));
        }
        let Some((_, answer)) = &mut loading.body else {
            return Err(DiskError::Gone);
        };
        let patience = self.shared.settings.patience;
        let bytes = self.volume.wait_elsewhere(answer, patience).await;
        let (loaded, _) = loading.body.take().ok_or(DiskError::Gone)?;
        self.with_body(loaded, bytes?)
    }

    async fn read_front(&self, record: &mut Option<Answer<Front>>) -> Result<Loaded, DiskError> {
        if record.is_none() {
            let span = Span {
                at: self.entry.place().at(),
                len: front::span(&self.volume, &self.entry),
                ahead: 0,
            };
            let (life, entry) = (Arc::clone(&self.life), self.entry);
            let parse =
                move |volume: &Volume, bytes: Bytes| front::parse(volume, &life, &entry, &bytes);
            match self.volume.read(&self.life, span, parse)? {
                Reading::Ready(front) => return self.take_apart(front),
                Reading::Waiting(answer) => *record = Some(answer),
            }
        }
        let Some(answer) = record else {
            return Err(DiskError::Gone);
        };
        let front = self.wait(answer).await;
        *record = None;
        self.take_apart(front?)
    }

    /// Asks another engine for the body, if one has it.
    fn ask_elsewhere(&self, loaded: &Loaded) -> Result<Option<Elsewhere>, DiskError> {
        let Body::Elsewhere { extents, .. } = &loaded.body else {
            return Ok(None);
        };
        let bodies = self.volume.bodies.as_ref().ok_or(DiskError::Gone)?;
        let id = extents.first().ok_or(DiskError::Gone)?.life;
        bodies.get(id).map(Some)
    }

    fn with_body(&self, loaded: Loaded, bytes: Bytes) -> Result<Loaded, DiskError> {
        let Body::Elsewhere { extents, .. } = loaded.body else {
            return Ok(loaded);
        };
        if bytes.len() as u64 != loaded.header.body_len {
            return Err(DiskError::Damaged);
        }
        let chunks = bytes.chunks(self.volume.geometry.chunk as usize);
        for (chunk, extent) in chunks.zip(&extents) {
            front::check_blocks(&self.volume, chunk, 0, &extent.sums)?;
        }
        let body = Body::Elsewhere { bytes, extents };
        Ok(Loaded { body, ..loaded })
    }

    fn take_apart(&self, front: Front) -> Result<Loaded, DiskError> {
        // A tag stands for a key, and so do others; the record has the key.
        let header = &front.header;
        let same = header.name.key == self.key && header.name.variant == self.class.variant;
        if !same || header.born != self.class.born {
            return Err(DiskError::Gone);
        }
        Ok(Loaded {
            body: self.body_of(&front.header, front.body)?,
            header: front.header,
            head: front.head,
        })
    }

    fn body_of(&self, header: &Header, body: BodyPlace) -> Result<Body, DiskError> {
        let chunks = match body {
            BodyPlace::Here { read: Some(bytes) } => return Ok(Body::Read(bytes)),
            BodyPlace::Here { read: None } => vec![Chunk {
                life: Arc::clone(&self.life),
                at: header.body_at(),
                sums: header.sums,
            }],
            BodyPlace::Spread(extents) if extents.iter().all(is_elsewhere) => {
                let bytes = Bytes::new();
                return Ok(if extents.is_empty() {
                    Body::Read(bytes)
                } else {
                    Body::Elsewhere { bytes, extents }
                });
            }
            BodyPlace::Spread(extents) => {
                let pinned = extents.iter().map(|extent| {
                    let life = self.volume.lives.pin_life(extent.segment, extent.life)?;
                    Some(Chunk {
                        life,
                        at: u64::from(extent.at),
                        sums: extent.sums,
                    })
                });
                let chunks: Option<Vec<Chunk>> = pinned.collect();
                chunks.ok_or(DiskError::Gone)?
            }
        };
        Ok(Body::Chunks(chunks))
    }

    async fn wait<T>(&self, answer: &mut Answer<T>) -> Result<T, DiskError> {
        self.volume
            .wait(answer, self.shared.settings.patience)
            .await
    }

    /// What cannot be read is not found again. A disk that is only slow may keep it.
    fn failed(&self, error: DiskError) {
        match error {
            DiskError::Damaged => self.volume.health.fault(Fault::Damaged, &"dropped"),
            DiskError::Gone | DiskError::Failed(_) => {}
            DiskError::Busy | DiskError::Slow | DiskError::Offline => return,
        }
        let gone = self.shared.index.take(self.entry.tag, self.entry.place());
        if gone.is_some_and(|gone| gone.is_replacing()) {
            let name = Name {
                key: self.key,
                variant: self.class.variant,
            };
            // Its own number is not known: the next one is later than all that were written.
            self.shared.bury_older(name, self.shared.numbers.next());
        }
    }
}

fn is_elsewhere(extent: &Extent) -> bool {
    extent.segment == ELSEWHERE
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("key", &self.0.key)
            .field("variant", &self.variant())
            .field("id", &self.id())
            .field("body_len", &self.body_len())
            .finish_non_exhaustive()
    }
}

/// A body, or a range of it, piece by piece.
pub struct BodyReader {
    found: Found,
    /// What is still to be returned.
    rest: Range<u64>,
    waiting: Option<(Piece, Answer<Bytes>)>,
    blocks: u64,
}

/// One read: whole blocks of one chunk.
#[derive(Clone, Copy)]
struct Piece {
    chunk: usize,
    /// Where in the chunk it begins, and the number of its first block.
    from: u64,
    block: usize,
    len: usize,
    /// What of the range follows in the chunk.
    ahead: u64,
}

impl Piece {
    /// Reads it without waiting, or has it read and checked.
    fn read(&self, object: &Object, chunk: &Chunk) -> Result<Reading<Bytes>, DiskError> {
        let span = Span {
            at: chunk.at + self.from,
            len: self.len,
            ahead: self.ahead,
        };
        let (first, sums) = (self.block, chunk.sums);
        let check = move |volume: &Volume, bytes: Bytes| {
            front::check_blocks(volume, &bytes, first, &sums).map(|()| bytes)
        };
        object.volume.read(&chunk.life, span, check)
    }

    /// Where in the body it begins.
    fn begin(&self, object: &Object) -> u64 {
        self.chunk as u64 * u64::from(object.volume.geometry.chunk) + self.from
    }
}

/// Blocks read at once for who takes what there is without a pause. It saves most of what each piece costs on its way;
/// for others, it would be memory that waits with them.
const BLOCKS_MAX: u64 = 4;

/// How who reads a body takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It had to be waited for when it took the last piece.
    Slow,
    /// It took it at once.
    Fast,
}

impl BodyReader {
    pub(crate) fn new(found: &Found, range: Range<u64>) -> Self {
        let end = range.end.min(found.body_len());
        Self {
            found: found.clone(),
            rest: range.start.min(end)..end,
            waiting: None,
            blocks: 1,
        }
    }

    /// From now on the pieces are as long as suits who takes them.
    pub fn suit(&mut self, pace: Pace) {
        self.blocks = match pace {
            Pace::Slow => 1,
            Pace::Fast => BLOCKS_MAX,
        };
    }

    /// The next bytes of the range, none at its end. It may be dropped and called again.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are not what was stored. What was returned before is right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, DiskError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let found = self.found.clone();
        match &found.0.load().await?.body {
            Body::Read(bytes) | Body::Elsewhere { bytes, .. } => Ok(Some(self.take(bytes, 0))),
            Body::Chunks(chunks) => {
                let next = self.next_piece(&found.0, chunks).await;
                next.inspect_err(|error| found.0.failed(*error)).map(Some)
            }
        }
    }

    async fn next_piece(&mut self, object: &Object, chunks: &[Chunk]) -> Result<Bytes, DiskError> {
        let piece = self.piece(object);
        let chunk = chunks.get(piece.chunk).ok_or(DiskError::Gone)?;
        if self.waiting.is_none() {
            match piece.read(object, chunk)? {
                Reading::Ready(bytes) => return Ok(self.take(&bytes, piece.begin(object))),
                Reading::Waiting(answer) => self.waiting = Some((piece, answer)),
            }
        }
        let Some((piece, answer)) = &mut self.waiting else {
            return Err(DiskError::Gone);
        };
        let piece = *piece;
        let bytes = object.wait(answer).await;
        self.waiting = None;
        Ok(self.take(&bytes?, piece.begin(object)))
    }

    fn piece(&self, object: &Object) -> Piece {
        let geometry = &object.volume.geometry;
        let (chunk, block) = (u64::from(geometry.chunk), u64::from(geometry.block()));
        let number = self.rest.start / chunk;
        let within = self.rest.start % chunk;
        let from = within / block * block;
        let chunk_len = front::chunk_len(&object.volume, object.entry.sizes().body, number) as u64;
        // Up to the end of the block that the range ends in, and no further.
        let wanted = (self.rest.end - number * chunk).div_ceil(block) * block;
        let to = (from + self.blocks * block).min(wanted).min(chunk_len);
        Piece {
            chunk: usize::try_from(number).unwrap_or(usize::MAX),
            from,
            block: usize::try_from(from / block).unwrap_or(0),
            len: length(to.saturating_sub(from)),
            ahead: wanted.min(chunk_len).saturating_sub(to),
        }
    }

    /// The part of `bytes`, which begin at `begin` of the body, that comes next.
    fn take(&mut self, bytes: &Bytes, begin: u64) -> Bytes {
        let from = self.rest.start.saturating_sub(begin);
        let to = (self.rest.end - begin).min(bytes.len() as u64);
        self.rest.start = begin + to;
        let [from, to] = [from, to].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        bytes.slice(from..to)
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader")
            .field("found", &self.found)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

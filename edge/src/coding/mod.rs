//! Bodies in other codings: made once for everybody who wants them, beside the workers, and kept with the stored body.
//!
//! ```text
//!   stored body, or a fill ──pieces──▶ a task ──▶ blocking threads ──▶ a fill of its own ──▶ its readers
//!                                                (permits)                     └─ complete: kept with the body
//! ```

mod brotli_decoder;
mod transcoder;

use std::sync::Arc;

use bytes::Bytes;
use policy::coding::Coding;
use storage::{Body, Derived, Fill, Keep, Making, Memory, Object, Reader, Turn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cache::Head;
use crate::metrics::Metrics;
use transcoder::{CodingError, Transcoder};

/// Bodies that are made in another coding at once; what is wanted beyond it is sent as it is.
const JOBS_MAX: usize = 256;
/// Content that is coded in one go, on a thread that may be kept busy. It ends sooner where no more is there yet.
const WORK_MAX: usize = 256 * 1024;

/// What makes codings.
pub(crate) struct Coder {
    memory: Arc<Memory<Head>>,
    metrics: Arc<Metrics>,
    jobs: Arc<Semaphore>,
    /// One for each thread that may compute at the same time.
    threads: Arc<Semaphore>,
}

/// From which coding to which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion {
    pub from: Coding,
    pub to: Coding,
}

impl Conversion {
    /// What storage knows it by.
    pub(crate) const fn making(self) -> Making {
        Making(match self.to {
            Coding::Identity => 0,
            Coding::Gzip => 1,
            Coding::Brotli => 2,
            Coding::Zstd => 3,
        })
    }
}

/// Where the content comes from.
pub(crate) enum Source<'a> {
    /// It is stored.
    Stored(&'a Arc<Object<Head>>),
    /// It is being received.
    Incoming(&'a Reader<Head>),
}

impl Source<'_> {
    fn derived(&self) -> &Arc<Derived<Head>> {
        match self {
            Self::Stored(object) => object.derived(),
            Self::Incoming(reader) => reader.derived(),
        }
    }

    fn pieces(&self) -> Pieces {
        match self {
            Self::Stored(object) => Pieces::Stored {
                body: object.body().clone(),
                at: 0,
            },
            Self::Incoming(reader) => Pieces::Incoming(Reader::clone(reader)),
        }
    }

    fn fill(&self, memory: &Arc<Memory<Head>>) -> Fill<Head> {
        let (key, variant, keep) = match self {
            Self::Stored(object) => (object.key(), object.variant(), Keep::Store),
            Self::Incoming(reader) => {
                let keep = match **reader.head() {
                    Head::Stored(_) => Keep::Store,
                    Head::Slice(_) | Head::PassedOn(_) => Keep::PassOn,
                };
                (reader.key(), reader.variant(), keep)
            }
        };
        memory.begin(
            key,
            variant,
            Head::PassedOn(storage::purge::Sequence(0)),
            None,
            keep,
        )
    }
}

impl Coder {
    pub(crate) fn new(memory: Arc<Memory<Head>>, metrics: Arc<Metrics>, threads: usize) -> Self {
        Self {
            memory,
            metrics,
            jobs: Arc::new(Semaphore::new(JOBS_MAX)),
            threads: Arc::new(Semaphore::new(threads.max(1))),
        }
    }

    /// The content in another coding. The first who wants it has it made, in a task of its own.
    pub(crate) fn turn(&self, source: &Source<'_>, conversion: Conversion) -> Turn<Head> {
        let derived = source.derived();
        derived.turn(conversion.making(), || {
            let permit = Arc::clone(&self.jobs).try_acquire_owned().ok()?;
            let coder = Transcoder::new(conversion.from, conversion.to).ok()?;
            let fill = source.fill(&self.memory);
            let reader = fill.reader();
            let job = Job {
                pieces: source.pieces(),
                derived: Arc::clone(derived),
                conversion,
                threads: Arc::clone(&self.threads),
                metrics: Arc::clone(&self.metrics),
                settled: Settled::No,
                _permit: permit,
            };
            tokio::spawn(job.run(Box::new(coder), fill));
            Some(reader)
        })
    }
}

/// The content on its way in.
enum Pieces {
    Stored { body: Body, at: u64 },
    Incoming(Reader<Head>),
}

impl Pieces {
    /// What is there of up to [`WORK_MAX`] bytes. It waits for the first only.
    async fn next(&mut self) -> Result<Vec<Bytes>, storage::Cut> {
        match self {
            Self::Stored { body, at } => {
                let end = *at + WORK_MAX as u64;
                let mut reader = body.reader(*at..end);
                let mut pieces = Vec::new();
                // What a disk does not give ends the job: nobody takes a part for all of it.
                while let Some(piece) = reader
                    .next()
                    .await
                    .map_err(|_unread| storage::Cut::GivenUp)?
                {
                    pieces.push(piece);
                }
                *at = end;
                Ok(pieces)
            }
            Self::Incoming(reader) => {
                let mut pieces: Vec<Bytes> = reader.next().await?.into_iter().collect();
                let mut length = pieces.iter().map(Bytes::len).sum::<usize>();
                while length > 0 && length < WORK_MAX {
                    let ready = tokio::select! {
                        biased;
                        next = reader.next() => next?,
                        () = std::future::ready(()) => None,
                    };
                    let Some(piece) = ready else {
                        break;
                    };
                    length += piece.len();
                    pieces.push(piece);
                }
                Ok(pieces)
            }
        }
    }

    /// Whether readers are not to wait for what the coder holds back.
    const fn trickle(&self) -> bool {
        matches!(self, Self::Incoming(_))
    }
}

/// One body on its way into another coding.
struct Job {
    pieces: Pieces,
    derived: Arc<Derived<Head>>,
    conversion: Conversion,
    threads: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    settled: Settled,
    _permit: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Settled {
    No,
    Yes,
}

/// How far a job came with some pieces.
enum Step {
    More(Box<Transcoder>),
    Ended,
}

impl Job {
    async fn run(mut self, mut coder: Box<Transcoder>, mut fill: Fill<Head>) {
        loop {
            let step = match self.step(coder, &mut fill).await {
                Ok(step) => step,
                Err(error) => {
                    tracing::debug!(%error, "a response cannot be had in another coding");
                    // Refused first: who comes now does not join what is cut.
                    self.settle(|job| job.derived.refuse(job.conversion.making()));
                    return fill.fail(storage::Cut::Origin);
                }
            };
            match step {
                Step::More(next) => coder = next,
                Step::Ended => break,
            }
        }
        self.settle(|job| job.derived.finish(job.conversion.making(), fill));
    }

    fn settle(&mut self, how: impl FnOnce(&Self)) {
        how(self);
        self.settled = Settled::Yes;
    }

    async fn step(
        &mut self,
        coder: Box<Transcoder>,
        fill: &mut Fill<Head>,
    ) -> Result<Step, JobError> {
        let pieces = self.pieces.next().await?;
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let trickle = self.pieces.trickle();
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work(coder, &pieces, trickle);
            drop(permit);
            worked
        });
        let (step, out) = worked.await.map_err(|_panic| JobError::Panicked)??;
        let coding = self.conversion.to;
        self.metrics.coded(coding, length, out.len());
        if !out.is_empty() {
            fill.write(Bytes::from(out)).await?;
        }
        Ok(step)
    }
}

impl Drop for Job {
    /// One that was given up leaves nobody waiting for it.
    fn drop(&mut self) {
        if self.settled == Settled::No {
            self.derived.refuse(self.conversion.making());
        }
    }
}

fn work(
    mut coder: Box<Transcoder>,
    pieces: &[Bytes],
    trickle: bool,
) -> Result<(Step, Vec<u8>), CodingError> {
    let mut out = Vec::new();
    if pieces.is_empty() {
        coder.finish(&mut out)?;
        return Ok((Step::Ended, out));
    }
    for piece in pieces {
        coder.push(piece, &mut out)?;
    }
    if trickle {
        coder.flush(&mut out)?;
    }
    Ok((Step::More(coder), out))
}

/// Why a body is not made.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Cut(#[from] storage::Cut),
    #[error(transparent)]
    Coding(#[from] CodingError),
    #[error(transparent)]
    Unread(#[from] storage::WriteError),
    #[error("the coder panicked")]
    Panicked,
}

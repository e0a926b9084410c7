//! Content that a socket is given as pages of memory, instead of a copy of their bytes.
//!
//! The pages are [`Lasting`]: nobody writes them again, however late the client takes them. They go through a pipe that
//! belongs to the thread, and is empty whenever anybody waits: what the socket did not take is thrown away, and taken
//! from memory again.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::fcntl::{SpliceFFlags, vmsplice};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use storage::Lasting;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::{ClientError, Limits, within};

/// For less than this, copying costs less.
pub(crate) const POURED_MIN: u64 = 128 * 1024;
/// What one connection gives its socket before others have their turn, in bytes.
const TURN: usize = 2 * 1024 * 1024;
/// What passes the pipe at a time, in bytes. A system that is short of pipes gives a smaller one.
const PIPE: usize = 256 * 1024;

/// Why content was not sent to its end.
#[derive(Debug)]
pub(crate) enum Unpoured {
    /// The system does not do that, or not now. What is left can be sent as bytes.
    Refused,
    Client(ClientError),
}

/// Whether this system has ever refused what it will always refuse.
static REFUSED: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicU64 = AtomicU64::new(0);
static COPIED: AtomicU64 = AtomicU64::new(0);

/// What was poured by this process so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Content that sockets were given as pages, in bytes.
    pub bytes: u64,
    /// How often it was refused, and sent as bytes.
    pub refused: u64,
}

impl Told {
    pub(crate) fn now() -> Self {
        Self {
            bytes: BYTES.load(Ordering::Relaxed),
            refused: COPIED.load(Ordering::Relaxed),
        }
    }
}

thread_local! {
    static OWN: RefCell<Option<Pipe>> = const { RefCell::new(None) };
}

/// Sends what is `waiting`, and then all of `rest`. The client may take its time as long as it takes some of it. What is
/// sent is taken off at once.
pub(crate) async fn pour(
    socket: &TcpStream,
    limits: &Limits,
    waiting: &[u8],
    rest: &mut Lasting,
) -> Result<(), Unpoured> {
    let mut waiting = waiting;
    while !waiting.is_empty() {
        // It leaves with what follows.
        let send = || Ok(rustix::net::send(socket, waiting, FOLLOWED)?);
        if let Some(sent) = turn(socket, limits, send).await? {
            waiting = waiting.get(sent..).unwrap_or_default();
        }
    }
    let all = rest.len();
    let poured = pour_by(socket, limits, rest, by_pipe).await;
    BYTES.fetch_add((all - rest.len()) as u64, Ordering::Relaxed);
    if let Err(Unpoured::Refused) = poured {
        COPIED.fetch_add(1, Ordering::Relaxed);
    }
    poured
}

const FOLLOWED: SendFlags = SendFlags::MORE
    .union(SendFlags::NOSIGNAL)
    .union(SendFlags::DONTWAIT);

async fn pour_by(
    socket: &TcpStream,
    limits: &Limits,
    rest: &mut Lasting,
    mut give: impl FnMut(&TcpStream, &mut Lasting) -> io::Result<()>,
) -> Result<(), Unpoured> {
    while !rest.is_empty() {
        let given = turn(socket, limits, || give(socket, rest)).await?;
        if given.is_some() && !rest.is_empty() {
            yield_now().await;
        }
    }
    Ok(())
}

/// Has the socket take something once it can. None if it could not after all.
async fn turn<T>(
    socket: &TcpStream,
    limits: &Limits,
    take: impl FnOnce() -> io::Result<T>,
) -> Result<Option<T>, Unpoured> {
    match within(limits.write, socket.writable()).await {
        Ok(ready) => ready.map_err(failed)?,
        Err(_elapsed) => return Err(Unpoured::Client(ClientError::Silent)),
    }
    match socket.try_io(Interest::WRITABLE, take) {
        Ok(taken) => Ok(Some(taken)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(Unpoured::Refused),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: io::Error) -> Unpoured {
    Unpoured::Client(error.into())
}

/// Gives the socket as much as it takes in a turn.
fn by_pipe(socket: &TcpStream, rest: &mut Lasting) -> io::Result<()> {
    if REFUSED.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    OWN.with_borrow_mut(|own| {
        let pipe = match own.take() {
            Some(pipe) => pipe,
            None => Pipe::new()?,
        };
        let begun = rest.len();
        while !rest.is_empty() && begun - rest.len() < TURN {
            match pipe.pass(socket, rest) {
                Ok(Passed::All) => {}
                Ok(Passed::Full) => {
                    *own = Some(pipe);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // A pipe that may not be empty is not used again.
                Err(error) => return Err(error),
            }
        }
        *own = Some(pipe);
        Ok(())
    })
}

/// A pipe between memory and a socket, and a way out of it for what the socket does not take.
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    nowhere: OwnedFd,
}

/// How far the bytes came that were put into a pipe.
enum Passed {
    All,
    /// The socket takes no more. The pipe is empty all the same.
    Full,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC).map_err(refused)?;
        if let Err(error) = fcntl_setpipe_size(&into, PIPE) {
            tracing::debug!(%error, "pages are given to sockets by a small pipe");
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let nowhere = rustix::fs::open("/dev/null", flags, Mode::empty()).map_err(refused)?;
        Ok(Self { out, into, nowhere })
    }

    /// Puts the next pages into the pipe and takes them out again, to the socket.
    fn pass(&self, socket: &TcpStream, rest: &mut Lasting) -> io::Result<Passed> {
        let next = &rest.bytes()[..rest.len().min(PIPE)];
        let put = vmsplice(
            &self.into,
            &[IoSlice::new(next)],
            SpliceFFlags::SPLICE_F_NONBLOCK,
        );
        let mut left = put.map_err(|error| refused(Errno::from_raw_os_error(error as i32)))?;
        let mut flags = SpliceFlags::NONBLOCK;
        flags.set(SpliceFlags::MORE, left < rest.len());
        while left > 0 {
            match splice(&self.out, None, socket, None, left, flags) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => {
                    left -= sent;
                    rest.advance(sent);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.empty(left).map(|()| Passed::Full),
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(Passed::All)
    }

    fn empty(&self, mut left: usize) -> io::Result<()> {
        while left > 0 {
            let gone = splice(
                &self.out,
                None,
                &self.nowhere,
                None,
                left,
                SpliceFlags::NONBLOCK,
            );
            match gone.map_err(refused)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                gone => left -= gone,
            }
        }
        Ok(())
    }
}

/// What the system says of a call that it does not do, or of one that it does.
fn refused(error: Errno) -> io::Error {
    match error {
        Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL => {
            if !REFUSED.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "sockets are not given pages of memory: the system refuses");
            }
            io::ErrorKind::Unsupported.into()
        }
        Errno::MFILE | Errno::NFILE | Errno::NOENT | Errno::NOMEM | Errno::FAULT => {
            tracing::debug!(%error, "a socket is not given pages of memory");
            io::ErrorKind::Unsupported.into()
        }
        error => error.into(),
    }
}

#[cfg(test)]
#[path = "outpour_tests.rs"]
mod tests;

//! An open connection: what is on it, and whether the other end lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use parking_lot::Mutex;
use tiered::pulse::Look;
use tiered::{Moment, Pulse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::clock::monotonic;
use crate::egress::PortInUse;

/// An open connection.
#[derive(Clone)]
pub(super) struct Live {
    pub address: SocketAddr,
    pub send: SendRequest<Bytes>,
    pub streams: Arc<Streams>,
    /// Ends the connection, with all that is on it.
    cut: Arc<watch::Sender<bool>>,
    signs: watch::Receiver<Signs>,
    pulse: Arc<Mutex<Pulse>>,
}

/// What the signs of life say of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signs {
    Good,
    Doubtful,
    None,
}

/// What is on a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    count: AtomicUsize,
    /// Requests on other connections to the same parent, which go by the signs of life on this one.
    beside: AtomicUsize,
    /// There is something again.
    woken: Notify,
}

/// A request on another connection to the same parent: until this is dropped, signs of life are asked for.
#[derive(Debug)]
pub(crate) struct Watching(Arc<Streams>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.beside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that counts until it is dropped.
pub(super) struct Counted(Arc<Streams>);

impl Counted {
    pub(super) fn new(streams: &Arc<Streams>) -> Self {
        let was_idle = streams.is_idle();
        streams.count.fetch_add(1, Ordering::Relaxed);
        if was_idle {
            streams.woken.notify_one();
        }
        Self(Arc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.count() == 0 && self.beside.load(Ordering::Relaxed) == 0
    }
}

impl Live {
    /// Begins to run a connection that was made.
    pub(super) fn run<T>(
        address: SocketAddr,
        (send, connection): (SendRequest<Bytes>, Connection<T, Bytes>),
        pulse: Arc<Mutex<Pulse>>,
        port: Option<PortInUse>,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (cut, cutting) = watch::channel(false);
        let (told, signs) = watch::channel(Signs::Good);
        let streams = Arc::<Streams>::default();
        let watched = Watched {
            pulse: Arc::clone(&pulse),
            streams: Arc::clone(&streams),
            told,
        };
        tokio::spawn(run(connection, cutting, watched, port));
        Self {
            address,
            send,
            streams,
            cut: Arc::new(cut),
            signs,
            pulse,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        // The task of the connection listens as long as there is one.
        !self.cut.is_closed()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cut, &other.cut)
    }

    pub(super) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Has it asked for signs of life, for a request on another connection.
    pub(super) fn watch(&self) -> Watching {
        let was_idle = self.streams.is_idle();
        self.streams.beside.fetch_add(1, Ordering::Relaxed);
        if was_idle {
            self.streams.woken.notify_one();
        }
        Watching(Arc::clone(&self.streams))
    }

    /// Something more is asked on it.
    pub(super) fn began(&self) {
        self.pulse.lock().began();
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        *self.signs.borrow() != Signs::Good
    }

    /// Whether it has ended because the other end gave no sign of life.
    pub(super) fn was_silent(&self) -> bool {
        *self.signs.borrow() == Signs::None
    }

    /// Comes to its end when there is doubt that the other end lives.
    pub(super) async fn doubt(&self) {
        let mut signs = self.signs.clone();
        if signs.wait_for(|it| *it != Signs::Good).await.is_err() {
            // It has ended, and what is on it with it.
            std::future::pending().await
        }
    }
}

/// What the task of a connection looks at.
struct Watched {
    pulse: Arc<Mutex<Pulse>>,
    streams: Arc<Streams>,
    told: watch::Sender<Signs>,
}

impl Watched {
    /// Comes to its end when it is time to look.
    async fn time_to_look(&self) {
        if self.streams.is_idle() {
            self.tell(Signs::Good);
            self.streams.woken.notified().await;
            self.pulse.lock().woke(Moment(monotonic()));
        }
        let every = self.pulse.lock().every();
        sleep(every.max(Duration::from_millis(1))).await;
    }

    fn look(&self) -> Look {
        let look = self.pulse.lock().look(Moment(monotonic()));
        self.tell(match look {
            Look::Well | Look::Ask => Signs::Good,
            Look::Doubtful => Signs::Doubtful,
            Look::Dead => Signs::None,
        });
        look
    }

    fn tell(&self, signs: Signs) {
        self.told.send_if_modified(|told| {
            let changed = *told != signs;
            *told = signs;
            changed
        });
    }
}

/// Runs a connection to its end, until it is cut, or until it owes a sign of life for too long. Its port is free again then.
async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<T, Bytes>,
    mut cutting: watch::Receiver<bool>,
    watched: Watched,
    port: Option<PortInUse>,
) {
    let mut pings = connection.ping_pong();
    let mut connection = std::pin::pin!(connection);
    loop {
        tokio::select! {
            // What has come is heard before it is judged.
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to a parent broke");
                }
                break;
            }
            // One that nobody holds any more ends by itself, after its streams.
            Ok(_) = cutting.wait_for(|cut| *cut) => break,
            () = watched.time_to_look() => match watched.look() {
                Look::Well | Look::Doubtful => {}
                Look::Ask => pings.as_mut().map_or((), ask),
                Look::Dead => break,
            },
        }
    }
    drop(port);
}

/// Asks for a sign of life (RFC 9113 §6.7): what comes back is heard with everything else.
fn ask(pings: &mut PingPong) {
    // The answer to the last one is taken, or there is no place for another one.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _heard_already = pings.poll_pong(&mut context);
    if let Err(error) = pings.send_ping(Ping::opaque()) {
        tracing::debug!(%error, "a parent is not asked for a sign of life");
    }
}

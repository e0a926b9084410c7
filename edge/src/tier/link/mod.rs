//! Connections to one parent: few, multiplexed, and shared by all requests. HTTP/2, with TLS or with prior knowledge.

mod heard;
mod incoming;
mod live;
mod making;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::cache::Interim;
use crate::clock::monotonic;
use crate::error::UpstreamError;

use incoming::final_response;
pub(crate) use incoming::{Broken, Incoming};
pub(crate) use live::Watching;
use live::{Counted, Live};
pub(crate) use making::Making;

/// Requests on one connection from which on another one is worth it, if there may be one.
const BUSY: usize = 64;
/// Of the silence: who waits so long for a connection had better ask somebody else, too.
const SLOW: u32 = 3;

/// The connections to one parent.
pub(crate) struct Links {
    making: Making,
    slots: Box<[Slot]>,
    opened: AtomicU64,
    sent: AtomicU64,
    /// The last attempt to connect that failed: who waited for it meanwhile makes none of their own.
    failed: Mutex<Option<Failed>>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// An attempt to connect in vain.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// When it ended, by the monotonic clock.
    at: Duration,
    error: LinkError,
}

/// A place for one connection.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Who makes the connection: others wait for it instead of making their own.
    connecting: tokio::sync::Mutex<()>,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// There is no connection.
    Unconnected(UpstreamError),
    /// The connection broke, or the parent ends it: another one may do.
    Broken,
    /// The connection was given up: the parent owed a sign of life.
    Silent,
    /// No response in time.
    Late,
    /// More requests than the connections take.
    Crowded,
}

impl LinkError {
    pub(crate) const fn as_upstream(self) -> UpstreamError {
        match self {
            Self::Unconnected(error) => error,
            Self::Broken | Self::Silent => UpstreamError::Terminated,
            Self::Late => UpstreamError::ResponseTimeout,
            Self::Crowded => UpstreamError::Unavailable,
        }
    }
}

impl Links {
    /// At most so many connections.
    pub(crate) fn new(making: Making, connections: usize) -> Self {
        Self {
            making,
            slots: (0..connections.max(1)).map(|_| Slot::default()).collect(),
            opened: AtomicU64::default(),
            sent: AtomicU64::default(),
            failed: Mutex::default(),
        }
    }

    /// Connections that were opened so far, and requests that were sent.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let opened = self.opened.load(Ordering::Relaxed);
        (opened, self.sent.load(Ordering::Relaxed))
    }

    /// Open connections.
    pub(crate) fn open(&self) -> usize {
        let open = |slot: &&Slot| slot.live.lock().as_ref().is_some_and(Live::is_open);
        self.slots.iter().filter(open).count()
    }

    /// Whether a connection is open on which nothing is owed.
    pub(crate) fn is_heard(&self) -> bool {
        self.least_busy().is_some_and(|live| !live.is_in_doubt())
    }

    /// Has the parent asked for signs of life, where it is connected.
    pub(crate) fn watch(&self) -> Option<Watching> {
        self.least_busy().map(|live| live.watch())
    }

    /// Whether requests on all connections had better go elsewhere.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.least_busy().is_some_and(|live| live.is_in_doubt())
    }

    /// Ends all connections, with what is on them.
    pub(crate) fn cut(&self) {
        for slot in &self.slots {
            if let Some(live) = slot.live.lock().take() {
                live.cut();
            }
        }
    }

    /// Opens the first connection where none is open.
    ///
    /// # Errors
    /// [`LinkError::Unconnected`].
    pub(crate) async fn warm(&self, addresses: &[SocketAddr]) -> Result<(), LinkError> {
        self.live(addresses).await.map(drop)
    }

    /// How long a connection may take.
    pub(crate) const fn patience(&self) -> Duration {
        self.making.connect
    }

    /// Sends a request and waits for the response's head. Interim responses go to `tell`; `doubt` is told when the parent
    /// owes a sign of life.
    ///
    /// # Errors
    /// [`LinkError`]: then there is nothing of a response.
    pub(crate) async fn send(
        self: &Arc<Self>,
        addresses: &[SocketAddr],
        message: (Request<()>, Option<Bytes>),
        (first_byte, between_bytes): (Duration, Duration),
        (tell, doubt): (impl FnMut(Interim), &Notify),
    ) -> Result<Incoming, LinkError> {
        let slow = sleep(self.making.silence / SLOW);
        let live = or_doubt(self.live(addresses), slow, doubt).await?;
        self.spread(&live, addresses);
        let counted = Counted::new(&live.streams);
        let answered = self.answer(&live, message, first_byte, tell);
        let answered = or_doubt(answered, live.doubt(), doubt).await;
        let response = answered.map_err(|error| match error {
            LinkError::Broken if live.was_silent() => LinkError::Silent,
            error => error,
        })?;
        let (head, body) = response.into_parts();
        Ok(Incoming {
            status: head.status,
            headers: head.headers,
            address: live.address,
            body,
            between_bytes,
            _counted: counted,
        })
    }

    async fn answer(
        &self,
        live: &Live,
        (request, content): (Request<()>, Option<Bytes>),
        first_byte: Duration,
        tell: impl FnMut(Interim),
    ) -> Result<Response<RecvStream>, LinkError> {
        let ready = timeout(self.making.connect, live.send.clone().ready()).await;
        let ready = ready.map_err(|_elapsed| LinkError::Crowded)?;
        let sent = ready.and_then(|mut send| send.send_request(request, content.is_none()));
        let (response, mut stream) = sent.map_err(|error| {
            // It takes no new requests: those that are on it come to their end.
            self.retire(live);
            broken(&error)
        })?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        live.began();
        if let Some(content) = content {
            stream
                .send_data(content, true)
                .map_err(|error| broken(&error))?;
        }
        let response = timeout(first_byte, final_response(response, tell)).await;
        let response = response.map_err(|_elapsed| LinkError::Late)?;
        response.map_err(|error| broken(&error))
    }

    fn retire(&self, live: &Live) {
        for slot in &self.slots {
            let mut held = slot.live.lock();
            if held.as_ref().is_some_and(|held| held.is(live)) {
                *held = None;
            }
        }
    }

    /// The connection with the fewest requests; a new one where there is none.
    async fn live(&self, addresses: &[SocketAddr]) -> Result<Live, LinkError> {
        self.leave_others(addresses);
        if let Some(live) = self.least_busy() {
            return Ok(live);
        }
        let came = monotonic();
        let _turn = self.slots[0].connecting.lock().await;
        // Somebody else may have made it meanwhile, or tried to in vain: the attempts of all who wait would add up.
        if let Some(live) = self.least_busy() {
            return Ok(live);
        }
        if let Some(failed) = *self.failed.lock()
            && failed.at >= came
        {
            return Err(failed.error);
        }
        let connected = self.connect(&self.slots[0], addresses).await;
        if let Err(error) = &connected {
            *self.failed.lock() = Some(Failed {
                at: monotonic(),
                error: *error,
            });
        }
        connected
    }

    /// Sends no more requests to where the parent was before. Those that are under way come to their end.
    fn leave_others(&self, addresses: &[SocketAddr]) {
        for slot in self.slots.iter().filter(|_| !addresses.is_empty()) {
            let mut held = slot.live.lock();
            if held
                .as_ref()
                .is_some_and(|live| !addresses.contains(&live.address))
            {
                *held = None;
            }
        }
    }

    fn least_busy(&self) -> Option<Live> {
        let live = self
            .slots
            .iter()
            .filter_map(|slot| slot.live.lock().clone());
        live.filter(Live::is_open)
            .min_by_key(|live| (live.is_in_doubt(), live.streams.count()))
    }

    /// Opens another connection beside busy ones, while they are used.
    fn spread(self: &Arc<Self>, live: &Live, addresses: &[SocketAddr]) {
        if live.streams.count() < BUSY {
            return;
        }
        let is_free = |slot: &Slot| !slot.live.lock().as_ref().is_some_and(Live::is_open);
        let Some(free) = self.slots.iter().position(is_free) else {
            return;
        };
        let (links, addresses) = (Arc::clone(self), addresses.to_vec());
        tokio::spawn(async move {
            let slot = &links.slots[free];
            // Whoever came first makes it.
            let Ok(_turn) = slot.connecting.try_lock() else {
                return;
            };
            if is_free(slot)
                && let Err(error) = links.connect(slot, &addresses).await
            {
                tracing::debug!(?error, "no further connection to a parent");
            }
        });
    }

    /// Connects to one of the addresses, all of which have the time of one connection.
    async fn connect(&self, slot: &Slot, addresses: &[SocketAddr]) -> Result<Live, LinkError> {
        let making = self.making.connect_to_one(addresses);
        let made = timeout(self.making.connect, making).await;
        let made = made.unwrap_or(Err(UpstreamError::ConnectTimeout));
        let live = made.map_err(LinkError::Unconnected)?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        *slot.live.lock() = Some(live.clone());
        Ok(live)
    }
}

/// Waits for what comes, and tells of the doubt that it will as soon as there is one.
async fn or_doubt<T>(
    coming: impl Future<Output = T>,
    doubt: impl Future<Output = ()>,
    tell: &Notify,
) -> T {
    let mut coming = std::pin::pin!(coming);
    tokio::select! {
        biased;
        came = &mut coming => return came,
        () = doubt => tell.notify_one(),
    }
    coming.await
}

fn broken(error: &h2::Error) -> LinkError {
    match error.reason() {
        Some(Reason::REFUSED_STREAM | Reason::ENHANCE_YOUR_CALM) => LinkError::Crowded,
        _ => LinkError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address where connections hang: its queue is full, and what comes beyond is dropped.
    fn hanging() -> (socket2::Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        let patience = Duration::from_millis(200);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
            held.push(stream);
            assert!(held.len() < 64);
        }
        (socket, held, address)
    }

    #[tokio::test]
    async fn who_has_waited_for_a_connection_in_vain_makes_no_attempt_of_their_own() {
        const CONNECT: Duration = Duration::from_millis(200);
        let (_socket, _held, address) = hanging();
        let making = Making {
            connect: CONNECT,
            silence: CONNECT * 10,
            tls: None,
            egress: Arc::default(),
        };
        let links = Links::new(making, 1);
        let began = monotonic();
        let addresses = [address];
        let all = futures::future::join_all((0..100).map(|_| links.warm(&addresses))).await;
        let late = LinkError::Unconnected(UpstreamError::ConnectTimeout);
        assert!(all.iter().all(|it| *it == Err(late)), "{all:?}");
        // One after the other, it would be twenty seconds.
        assert!(monotonic().saturating_sub(began) < CONNECT * 50);
    }
}

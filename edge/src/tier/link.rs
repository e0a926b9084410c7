//! Connections to one parent: few, multiplexed, and shared by all requests. HTTP/2, with TLS or with prior knowledge.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::heard::{Heard, Stream};
use crate::cache::Interim;
use crate::clock::monotonic;
use crate::egress::{Pool, PortInUse};
use crate::error::UpstreamError;
use crate::pingora::fetch::INTERIM_RESPONSES_MAX;
use crate::pingora::link::{Reached, reach};

/// What a parent may send on one stream before it is read: who does not read holds as much of it in memory.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for a connection: a slow stream holds up no other.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;
/// Bytes of a response's head.
const HEAD_MAX: u32 = 128 * 1024;
/// Requests on one connection from which on another one is worth it, if there may be one.
const BUSY: usize = 64;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Making {
    pub connect: Duration,
    /// With TLS, where the parent is asked for by this name.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The pools that they leave from, in order; none leaves it to the system.
    pub egress: Arc<[Arc<Pool>]>,
}

/// The connections to one parent.
pub(crate) struct Links {
    making: Making,
    slots: Box<[Slot]>,
    opened: AtomicU64,
    sent: AtomicU64,
    /// The last attempt to connect that failed: who waited for it meanwhile makes none of their own.
    failed: Mutex<Option<Failed>>,
    /// When a byte came from the parent, in milliseconds of the monotonic clock.
    heard: Arc<AtomicU64>,
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

/// An open connection.
#[derive(Clone)]
struct Live {
    address: SocketAddr,
    send: SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
    /// Ends the connection, with all that is on it.
    cut: Arc<watch::Sender<bool>>,
}

impl Live {
    fn is_open(&self) -> bool {
        // The task of the connection listens as long as there is one.
        !self.cut.is_closed()
    }
}

/// A stream that counts until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// There is no connection.
    Unconnected(UpstreamError),
    /// The connection broke, or the parent ends it: another one may do.
    Broken,
    /// No response in time.
    Late,
    /// More requests than the connections take.
    Crowded,
}

impl LinkError {
    pub(crate) const fn as_upstream(self) -> UpstreamError {
        match self {
            Self::Unconnected(error) => error,
            Self::Broken => UpstreamError::Terminated,
            Self::Late => UpstreamError::ResponseTimeout,
            Self::Crowded => UpstreamError::Unavailable,
        }
    }
}

/// Why content ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection is lost, and what was on it.
    Connection,
    /// This message alone.
    Message(UpstreamError),
}

/// A response, its content still to come.
pub(crate) struct Incoming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where it came from.
    pub address: SocketAddr,
    body: RecvStream,
    between_bytes: Duration,
    _counted: Counted,
}

impl Incoming {
    /// The next content; `None` at its regular end.
    ///
    /// # Errors
    /// [`Broken`] where it ends otherwise.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let next = timeout(self.between_bytes, self.body.data()).await;
        match next.map_err(|_elapsed| Broken::Message(UpstreamError::ResponseTimeout))? {
            None => Ok(None),
            // The parent lives, and has no more of it.
            Some(Err(error)) if error.is_reset() && error.is_remote() => {
                Err(Broken::Message(UpstreamError::Cut))
            }
            Some(Err(_)) => Err(Broken::Connection),
            Some(Ok(data)) => {
                // It fails where the stream is at its end, and nobody needs room any more.
                drop(self.body.flow_control().release_capacity(data.len()));
                Ok(Some(data))
            }
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
            heard: Arc::default(),
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

    /// When the parent was heard last, by the monotonic clock.
    pub(crate) fn heard(&self) -> Duration {
        Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// Ends all connections, with what is on them.
    pub(crate) fn cut(&self) {
        for slot in &self.slots {
            if let Some(live) = slot.live.lock().take() {
                live.cut.send_replace(true);
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

    /// Sends a request and waits for the response's head. Interim responses go to `tell`.
    ///
    /// # Errors
    /// [`LinkError`]: then there is nothing of a response.
    pub(crate) async fn send(
        self: &Arc<Self>,
        addresses: &[SocketAddr],
        (request, content): (Request<()>, Option<Bytes>),
        (first_byte, between_bytes): (Duration, Duration),
        tell: impl FnMut(Interim),
    ) -> Result<Incoming, LinkError> {
        let live = self.live(addresses).await?;
        self.spread(&live, addresses);
        let counted = Counted::new(&live.streams);
        let ready = timeout(self.making.connect, live.send.clone().ready()).await;
        let ready = ready.map_err(|_elapsed| LinkError::Crowded)?;
        let sent = ready.and_then(|mut send| send.send_request(request, content.is_none()));
        let (response, mut stream) = sent.map_err(|error| {
            // It takes no new requests: those that are on it come to their end.
            self.retire(&live);
            broken(&error)
        })?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        if let Some(content) = content {
            stream
                .send_data(content, true)
                .map_err(|error| broken(&error))?;
        }
        let response = timeout(first_byte, final_response(response, tell)).await;
        let response = response.map_err(|_elapsed| LinkError::Late)?;
        let (head, body) = response.map_err(|error| broken(&error))?.into_parts();
        let http::response::Parts {
            status, headers, ..
        } = head;
        Ok(Incoming {
            status,
            headers,
            address: live.address,
            body,
            between_bytes,
            _counted: counted,
        })
    }

    fn retire(&self, live: &Live) {
        for slot in &self.slots {
            let mut held = slot.live.lock();
            if held
                .as_ref()
                .is_some_and(|held| Arc::ptr_eq(&held.cut, &live.cut))
            {
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
            .min_by_key(|live| live.streams.load(Ordering::Relaxed))
    }

    /// Opens another connection beside busy ones, while they are used.
    fn spread(self: &Arc<Self>, live: &Live, addresses: &[SocketAddr]) {
        if live.streams.load(Ordering::Relaxed) < BUSY {
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
        let made = timeout(self.making.connect, self.connect_to_one(addresses)).await;
        let made = made.unwrap_or(Err(UpstreamError::ConnectTimeout));
        let live = made.map_err(LinkError::Unconnected)?;
        *slot.live.lock() = Some(live.clone());
        Ok(live)
    }

    async fn connect_to_one(&self, addresses: &[SocketAddr]) -> Result<Live, UpstreamError> {
        let mut left = addresses.to_vec();
        loop {
            let reached = reach(&self.making.egress, &left).await?;
            let address = reached.address;
            match self.begin(reached).await {
                Ok(live) => return Ok(live),
                Err(error) if left.len() == 1 => return Err(error),
                // Who listens there is not the parent, or not well: it may be behind another one of its addresses.
                Err(_) => left.retain(|it| *it != address),
            }
        }
    }

    /// Begins TLS and HTTP/2 on a new connection.
    async fn begin(&self, reached: Reached) -> Result<Live, UpstreamError> {
        let Reached {
            address,
            stream: socket,
            port,
        } = reached;
        drop(socket.set_nodelay(true));
        let stream: Box<dyn Stream> = match &self.making.tls {
            None => Box::new(socket),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await;
                Box::new(stream.map_err(|error| {
                    tracing::debug!(%address, %error, "no TLS session with a parent");
                    UpstreamError::TlsHandshake
                })?)
            }
        };
        let stream = Heard {
            stream,
            at: Arc::clone(&self.heard),
        };
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_MAX);
        let made = builder.handshake::<_, Bytes>(stream).await;
        let (send, connection) = made.map_err(|_error| UpstreamError::Malformed)?;
        let (cut, cutting) = watch::channel(false);
        tokio::spawn(run(connection, cutting, port));
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Live {
            address,
            send,
            streams: Arc::default(),
            cut: Arc::new(cut),
        })
    }
}

fn broken(error: &h2::Error) -> LinkError {
    match error.reason() {
        Some(Reason::REFUSED_STREAM | Reason::ENHANCE_YOUR_CALM) => LinkError::Crowded,
        _ => LinkError::Broken,
    }
}

/// Runs a connection to its end, or until it is cut. Its port is free again then.
async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    connection: h2::client::Connection<T, Bytes>,
    mut cutting: watch::Receiver<bool>,
    port: Option<PortInUse>,
) {
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a parent broke");
            }
        }
        // One that nobody holds any more ends by itself, after its streams.
        Ok(_) = cutting.wait_for(|cut| *cut) => {}
    }
    drop(port);
}

/// Waits for the final response, and hands on interim ones (RFC 9110 §15.2).
async fn final_response(
    mut response: ResponseFuture,
    mut tell: impl FnMut(Interim),
) -> Result<Response<RecvStream>, h2::Error> {
    let mut told = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            let (head, ()) = interim?.into_parts();
            told += 1;
            if told > INTERIM_RESPONSES_MAX {
                return Poll::Ready(Err(Reason::ENHANCE_YOUR_CALM.into()));
            }
            tell(Interim {
                status: head.status,
                headers: head.headers,
            });
        }
        Pin::new(&mut response).poll(cx)
    })
    .await
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

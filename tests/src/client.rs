//! A client that sends the bytes it is given and shows the answer as it came.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::response::Response;
use crate::tls::Ca;
use crate::transcript::{self, Content};
use crate::wire::{End, Framing, Head, Wire, first, framing, latin1, to_latin1};

/// No wait of a client is longer. A test that runs into it fails.
pub const WAIT_LONGEST: Duration = Duration::from_secs(10);
/// The same for a patient one.
const PATIENT: Duration = Duration::from_secs(60);

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    host: String,
    patience: Duration,
    /// What was sent since the last answer was written down.
    asked: Content,
    /// What came and was read as bytes.
    loose: Content,
}

impl Client {
    /// Connects in clear text.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address))
            .await
            .expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self {
            wire: Wire::new(stream),
            host: "www.example.com".to_owned(),
            patience: WAIT_LONGEST,
            asked: Content::default(),
            loose: Content::default(),
        }
    }

    /// Connects in clear text from another address of this machine.
    pub async fn connect_from(from: &str, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let from = SocketAddr::new(from.parse().expect("an address"), 0);
        socket.bind(from).expect("an address of this machine");
        let stream = within(socket.connect(address)).await.expect("a connection");
        Self {
            wire: Wire::new(stream),
            host: "www.example.com".to_owned(),
            patience: WAIT_LONGEST,
            asked: Content::default(),
            loose: Content::default(),
        }
    }

    /// Connects with TLS, asks for `name` and verifies it.
    ///
    /// # Errors
    ///
    /// When the handshake fails.
    pub async fn connect_tls(address: SocketAddr, ca: &Ca, name: &str) -> io::Result<Self> {
        let stream = within(TcpStream::connect(address)).await?;
        let connector = TlsConnector::from(ca.client(&["http/1.1"]));
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = within(connector.connect(server, stream)).await?;
        Ok(Self {
            wire: Wire::new(stream),
            host: name.to_owned(),
            patience: WAIT_LONGEST,
            asked: Content::default(),
            loose: Content::default(),
        })
    }

    /// Waits longer for answers: for those that a node may give after several others had their time.
    #[must_use]
    pub const fn patient(mut self) -> Self {
        self.patience = PATIENT;
        self
    }

    /// Sends another `Host` with the requests that this client writes itself.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Sends bytes as they are. That the peer has hung up is not an error here: the answer that
    /// it left, or its absence, is what a test looks at.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.asked.add(bytes.as_ref());
        let result = within(self.wire.write(bytes.as_ref())).await;
        drop(result);
    }

    /// Ends the sending direction only.
    pub async fn finish(&mut self) {
        let result = within(self.wire.shutdown()).await;
        drop(result);
    }

    /// Sends a request without a body.
    pub async fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head += &format!("Host: {}\r\n", self.host);
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        self.send(to_latin1(&(head + "\r\n"))).await;
    }

    /// Sends a request and reads its answer.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Response {
        self.ask(method, target, fields).await;
        self.answer_to(method)
            .await
            .expect("an answer before the connection ends")
    }

    /// Sends a request with a body of known length and reads its answer.
    pub async fn upload(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let length = body.len().to_string();
        let mut all = fields.to_vec();
        all.push(("Content-Length", &length));
        self.ask(method, target, &all).await;
        self.send(body).await;
        self.answer_to(method)
            .await
            .expect("an answer before the connection ends")
    }

    /// Asks for `target`.
    pub async fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[]).await
    }

    /// Asks for `target` with fields.
    pub async fn get_with(&mut self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.request("GET", target, fields).await
    }

    /// Reads one whole response to a `GET`.
    pub async fn answer(&mut self) -> Response {
        self.answer_to("GET")
            .await
            .expect("an answer before the connection ends")
    }

    /// Reads one whole response; `None` when the connection ends without one.
    pub async fn answer_to(&mut self, method: &str) -> Option<Response> {
        let (mut response, raw) = self.heads().await?;
        let framing = response_framing(method, &response);
        let body = within_so(self.patience, async { Ok(self.wire.body(framing).await) }).await;
        let body = body.expect("the end of a body in time");
        response.body = body.bytes;
        response.end = body.end;
        response.trailers = body.trailers;
        self.enter(&raw, &response);
        Some(response)
    }

    /// Reads a response up to its body, which [`Self::some`] then reads as it comes.
    pub async fn answer_head(&mut self) -> Option<Response> {
        let (response, raw) = self.heads().await?;
        self.enter(&raw, &response);
        Some(response)
    }

    /// A response up to its body, and all of it as it came.
    async fn heads(&mut self) -> Option<(Response, String)> {
        let mut raw = String::new();
        let mut interim = Vec::new();
        loop {
            let head = self.next_head().await?;
            let status = status(&head);
            raw += &latin1(&head.raw);
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                continue;
            }
            let fields = head.fields;
            let response = Response {
                status,
                fields,
                interim,
                ..Response::default()
            };
            return Some((response, raw));
        }
    }

    fn enter(&mut self, raw: &str, response: &Response) {
        if transcript::wanted() {
            let (body, end) = (&response.body, response.end);
            let told = transcript::message(raw, body, end, &response.trailers);
            transcript::enter(&["client", &self.asked.take(), &told]);
        }
    }

    async fn next_head(&mut self) -> Option<Head> {
        match within_so(self.patience, self.wire.head()).await {
            Ok(head) => head,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                panic!("no answer within {:?}", self.patience)
            }
            Err(_) => None,
        }
    }

    /// The next bytes of whatever comes; empty at the end of the connection.
    pub async fn some(&mut self) -> Bytes {
        match within(self.wire.some()).await {
            Ok(bytes) => {
                self.loose.add(&bytes);
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                panic!("nothing came within {WAIT_LONGEST:?}")
            }
            Err(_) => Bytes::new(),
        }
    }

    /// Waits until `count` bytes have come, and leaves them to be read.
    pub async fn until(&mut self, count: usize) {
        let come = within_so(self.patience, self.wire.until(count)).await;
        come.expect("as many bytes in time");
    }

    /// Reads until `count` bytes have come or the connection has ended.
    pub async fn at_least(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let piece = self.some().await;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        self.at_least(usize::MAX).await
    }

    /// Whether the connection ends within `patience` without another byte.
    pub async fn closes_within(&mut self, patience: Duration) -> bool {
        let next = timeout(patience, self.wire.some()).await;
        matches!(next, Ok(Err(_))) || matches!(next, Ok(Ok(bytes)) if bytes.is_empty())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.loose.is_empty() {
            transcript::enter(&["client", &self.asked.take(), &self.loose.take()]);
        }
    }
}

/// Limits a wait to [`WAIT_LONGEST`].
pub(crate) async fn within<T>(wait: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    within_so(WAIT_LONGEST, wait).await
}

async fn within_so<T>(
    patience: Duration,
    wait: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let Ok(result) = timeout(patience, wait).await else {
        return Err(io::ErrorKind::TimedOut.into());
    };
    result
}

fn status(head: &Head) -> u16 {
    let word = head.start.split(' ').nth(1).unwrap_or_default();
    word.parse().unwrap_or_default()
}

/// RFC 9112 §6.3.
fn response_framing(method: &str, response: &Response) -> Framing {
    if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
        return Framing::None;
    }
    framing(&response.fields, Framing::UntilClose)
}

impl Response {
    /// Whether the connection was promised to stay open after this response.
    #[must_use]
    pub fn persists(&self) -> bool {
        self.end == End::Complete
            && !first(&self.fields, "Connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

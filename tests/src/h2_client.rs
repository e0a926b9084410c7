//! A well-behaved HTTP/2 client. For the other kind see [`crate::FrameClient`].

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::client::within;
use crate::response::Response;
use crate::tls::Ca;
use crate::transcript;
use crate::wire::{Body, End, Fields, Stream, latin1};

/// As much as browsers let a server send.
const WIDE: u32 = 16 << 20;

/// One HTTP/2 connection. It closes when it is dropped.
#[derive(Debug)]
pub struct H2Client {
    sender: SendRequest<Bytes>,
    running: JoinHandle<()>,
}

impl H2Client {
    /// Connects in clear text by prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address))
            .await
            .expect("a connection");
        Self::handshake(stream).await
    }

    /// Connects with TLS and has HTTP/2 chosen by ALPN.
    ///
    /// # Errors
    ///
    /// When the handshake fails or chooses another protocol.
    pub async fn connect_tls(address: SocketAddr, ca: &Ca, name: &str) -> io::Result<Self> {
        let stream = within(TcpStream::connect(address)).await?;
        let connector = TlsConnector::from(ca.client(&["h2", "http/1.1"]));
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = within(connector.connect(server, stream)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("ALPN did not choose h2"));
        }
        Ok(Self::handshake(stream).await)
    }

    /// Connects in clear text, with so much room for all streams together that nothing ever waits.
    pub async fn connect_wide(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address))
            .await
            .expect("a connection");
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(WIDE);
        Self::running(builder.handshake(stream).await.expect("a handshake"))
    }

    async fn handshake(stream: impl Stream + 'static) -> Self {
        Self::running(h2::client::handshake(stream).await.expect("a handshake"))
    }

    fn running<S: Stream + 'static>(
        (sender, connection): (SendRequest<Bytes>, h2::client::Connection<S>),
    ) -> Self {
        let running = tokio::spawn(async move {
            // Tests look at their streams; these tell them how the connection ended.
            drop(connection.await);
        });
        Self { sender, running }
    }

    /// Asks for a path of `www.example.com`.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(request("GET", path, &[]), None)
            .await
            .expect("an answer")
    }

    /// Sends a request, whole, and reads the answer.
    ///
    /// # Errors
    ///
    /// When the peer resets the stream or ends the connection before the answer's head.
    pub async fn send(
        &mut self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> Result<Response, h2::Error> {
        let asked = transcript::wanted().then(|| asked(&request, body.as_ref()));
        let (answer, mut upload) = self.open(request, body.is_none()).await?;
        if let Some(body) = body {
            upload.send_data(body, true)?;
        }
        let response = read(answer).await?;
        if let Some(asked) = asked {
            enter(&asked, &response);
        }
        Ok(response)
    }

    /// Opens a stream and leaves the rest to the caller.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn open(
        &mut self,
        request: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        sender.send_request(request, ended)
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A request for a path of `www.example.com`.
#[must_use]
pub fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let uri = format!("http://www.example.com{path}");
    let mut request = Request::builder().method(method).uri(uri);
    for &(name, value) in fields {
        request = request.header(name, value);
    }
    request.body(()).expect("a request")
}

/// A request as it is written down.
fn asked(request: &Request<()>, body: Option<&Bytes>) -> String {
    let (method, target) = (request.method(), request.uri());
    let fields = fields(request.headers());
    let head = format!(
        "{method} {target} HTTP/2\r\n{}\r\n",
        transcript::lines(&fields)
    );
    let body = body.map_or(&[][..], |body| &body[..]);
    transcript::message(&head, body, End::Complete, &Fields::new())
}

fn enter(asked: &str, response: &Response) {
    let head = transcript::lines(&response.fields);
    let head = format!("HTTP/2 {}\r\n{head}\r\n", response.status);
    let told = transcript::message(&head, &response.body, response.end, &response.trailers);
    transcript::enter(&["client", asked, &told]);
}

async fn read(answer: ResponseFuture) -> Result<Response, h2::Error> {
    let answer = within(async { Ok(answer.await) })
        .await
        .expect("an answer in time")?;
    let (head, mut stream) = answer.into_parts();
    let body = within(async { Ok(read_body(&mut stream).await) }).await;
    let body = body.expect("the end of a body in time");
    Ok(Response {
        status: head.status.as_u16(),
        fields: fields(&head.headers),
        body: body.bytes,
        end: body.end,
        trailers: body.trailers,
        interim: Vec::new(),
    })
}

async fn read_body(stream: &mut RecvStream) -> Body {
    let mut body = BytesMut::new();
    let mut end = End::Complete;
    while let Some(piece) = stream.data().await {
        let Ok(piece) = piece else {
            end = End::Cut;
            break;
        };
        drop(stream.flow_control().release_capacity(piece.len()));
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await.ok().flatten().unwrap_or_default();
    Body {
        bytes: body.freeze(),
        end,
        trailers: fields(&trailers),
    }
}

fn fields(headers: &http::HeaderMap) -> Fields {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), latin1(value.as_bytes())))
        .collect()
}

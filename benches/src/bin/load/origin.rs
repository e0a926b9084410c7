//! The origin behind everybody: as many bytes as the path says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The largest body there is.
const LENGTH_MAX: usize = 96 << 20;

/// Where it is, and what it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// What was asked of the origin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) requests: u64,
    /// Bytes of bodies.
    pub(crate) bytes: u64,
}

impl Origin {
    /// Serves `/stored/BYTES/…`, which may be kept for years, and `/passed/BYTES/…`, which may not.
    ///
    /// # Errors
    /// Where there is no address to listen on.
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let own = Arc::clone(&counts);
        tokio::spawn(async move {
            let all = Bytes::from(vec![b'x'; LENGTH_MAX]);
            while let Ok((stream, _)) = listener.accept().await {
                let (all, counts) = (all.clone(), Arc::clone(&own));
                tokio::spawn(async move { drop(serve(stream, all, &counts).await) });
            }
        });
        Ok(Self { address, counts })
    }

    /// What was asked of it so far.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            requests: self.counts.requests.load(Ordering::SeqCst),
            bytes: self.counts.bytes.load(Ordering::SeqCst),
        }
    }
}

async fn serve(mut stream: TcpStream, all: Bytes, counts: &Counts) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = BytesMut::with_capacity(8192);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        while let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let (head, body) = answer(&read[..end], &all);
            read.advance(end + 4);
            // Before it is sent: who has the answer may look.
            counts.requests.fetch_add(1, Ordering::SeqCst);
            let length = body.len() as u64;
            counts.bytes.fetch_add(length, Ordering::SeqCst);
            let mut answer = Bytes::from(head).chain(body);
            stream.write_all_buf(&mut answer).await?;
        }
    }
}

fn answer(request: &[u8], all: &Bytes) -> (String, Bytes) {
    let line = request.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let path = line.split(' ').nth(1).unwrap_or_default();
    let mut parts = path.split('/').skip(1);
    let terms = match parts.next() {
        Some("stored") => "max-age=315360000",
        _ => "no-store",
    };
    let length = parts.next().and_then(|part| part.parse().ok());
    let length: usize = length.unwrap_or(0).min(LENGTH_MAX);
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: {date}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {length}\r\nCache-Control: {terms}\r\nETag: \"{length}\"\r\n\r\n"
    );
    let body = match line.starts_with("HEAD") {
        true => Bytes::new(),
        false => all.slice(..length),
    };
    (head, body)
}

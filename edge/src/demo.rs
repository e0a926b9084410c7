//! A sample origin, for a first look at a node without any server of one's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::downstream::alarm::Stopping;
use crate::downstream::{ClientError, Facts, Io, Limits, Scheme, Shown, h1};
use crate::exchange::split_target;

/// How long the slow page takes.
const SLOW: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
const VALIDATOR: &str = "\"v1\"";

/// The sample origin before it serves.
#[derive(Debug)]
pub struct Origin {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Origin {
    /// Opens a port of the loopback address.
    ///
    /// # Errors
    /// What the system says where it cannot.
    pub fn bind() -> std::io::Result<Self> {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it will serve.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends.
    pub async fn serve(self) {
        let Ok(socket) = TcpListener::from_std(self.socket) else {
            return;
        };
        let asked = Arc::new(AtomicU64::new(0));
        while let Ok((stream, client)) = socket.accept().await {
            tokio::spawn(serve(stream, client, Arc::clone(&asked)));
        }
    }
}

/// What a reader of the terminal can do next.
#[must_use]
pub fn what_to_try(listening: &[SocketAddr]) -> String {
    let Some(node) = listening.first() else {
        return String::new();
    };
    format!(
        "\ntry, and watch Cache-Status:
  curl -i http://{node}/          # a miss; the second time a hit with its Age
  curl -i http://{node}/brief     # fresh for 5 s, then sent stale while it is refreshed
  curl -i http://{node}/etag      # validated each time: the origin answers 304
  curl -i -H 'Accept-Language: de' http://{node}/language   # stored for each language
  curl -i http://{node}/private   # for one client, never stored
  curl -i -r 6-10 http://{node}/  # a range of what is stored
  for i in 1 2 3 4 5; do curl -s http://{node}/slow & done; wait   # five requests, one at the origin
stop it with Ctrl-C"
    )
}

async fn serve(stream: TcpStream, client: SocketAddr, asked: Arc<AtomicU64>) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let facts = Arc::new(Facts {
        client,
        local,
        scheme: Scheme::Http,
        shown: Shown::Nothing,
    });
    let limits = Arc::new(Limits {
        wire: wire::Limits::default(),
        head: PATIENCE,
        idle: PATIENCE,
        body: PATIENCE,
        write: PATIENCE,
        h2_streams: 1,
    });
    let mut connection = h1::Connection::new(Io::Plain(stream), BytesMut::new(), facts, limits);
    let (_never, stopping) = watch::channel(false);
    let mut stopping = Stopping::new(stopping);
    while let h1::Next::Request(head) = connection.next_request(&mut stopping).await {
        let exchange = h1::Exchange::new(connection, &head);
        let count = asked.fetch_add(1, Ordering::Relaxed) + 1;
        match answer(exchange, &head, count).await {
            Ok(Some(again)) => connection = again,
            Ok(None) | Err(_) => return,
        }
    }
}

/// One page of the sample.
struct Page {
    status: StatusCode,
    fields: Vec<(http::HeaderName, &'static str)>,
    text: String,
}

fn page(path: &str, headers: &HeaderMap, count: u64) -> Page {
    let text = |what: &str| format!("{what}\nThis is answer {count} of the origin.\n");
    let ok = |fields, what: &str| Page {
        status: StatusCode::OK,
        fields,
        text: text(what),
    };
    match path {
        "/" => ok(vec![(CACHE_CONTROL, "max-age=60")], "Hello, larder."),
        "/brief" => ok(
            vec![(CACHE_CONTROL, "max-age=5, stale-while-revalidate=60")],
            "Fresh for five seconds.",
        ),
        "/etag"
            if headers
                .get(IF_NONE_MATCH)
                .is_some_and(|tag| tag == VALIDATOR) =>
        {
            Page {
                status: StatusCode::NOT_MODIFIED,
                fields: vec![(ETAG, VALIDATOR), (CACHE_CONTROL, "no-cache")],
                text: String::new(),
            }
        }
        "/etag" => ok(
            vec![(ETAG, VALIDATOR), (CACHE_CONTROL, "no-cache")],
            "Validated before each use.",
        ),
        "/language" => ok(
            vec![(CACHE_CONTROL, "max-age=60"), (VARY, "Accept-Language")],
            match headers.get("accept-language").map(HeaderValue::as_bytes) {
                Some(language) if language.starts_with(b"de") => "Guten Tag.",
                _ => "Good day.",
            },
        ),
        "/private" => ok(vec![(CACHE_CONTROL, "private")], "For you alone."),
        "/slow" => ok(vec![(CACHE_CONTROL, "max-age=10")], "That took a while."),
        _ => Page {
            status: StatusCode::NOT_FOUND,
            fields: vec![(CACHE_CONTROL, "max-age=5")],
            text: text("There is no such page."),
        },
    }
}

async fn answer(
    mut exchange: h1::Exchange,
    head: &wire::RequestHead,
    count: u64,
) -> Result<Option<h1::Connection>, ClientError> {
    let (path, _) = split_target(&head.target);
    if path == "/slow" {
        sleep(SLOW).await;
    }
    let page = page(path, &head.headers, count);
    let mut headers = HeaderMap::new();
    for (name, value) in page.fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if page.status != StatusCode::NOT_MODIFIED {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, text);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(page.text.len()));
    }
    exchange.write_head(page.status, &headers)?;
    exchange.write_body(Bytes::from(page.text)).await?;
    exchange.end(None).await?;
    Ok(exchange.finish().await)
}

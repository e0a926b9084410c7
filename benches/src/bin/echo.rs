//! The floor: a server that answers every head with the same bytes, and does nothing else.
//!
//! `echo ADDRESS h1|h2 BODY_BYTES [THREADS]`, on one thread unless it says otherwise. What a cache costs above it is the cache's; what it costs itself is
//! the kernel's, tokio's and, with HTTP/2, the `h2` crate's.

use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Fields as a cache would send them.
const FIELDS: &[(&str, &str)] = &[
    ("Server", "echo"),
    ("Content-Type", "application/octet-stream"),
    ("Cache-Control", "max-age=86400"),
    ("ETag", "\"0123456789abcdef\""),
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Age", "100"),
    ("Cache-Status", "echo; hit; ttl=86300"),
    ("Via", "1.1 echo"),
];

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (address, protocol, length) = (words.next(), words.next(), words.next());
    let wrong = |what: &str| std::io::Error::other(format!("no {what}: echo ADDRESS h1|h2 BYTES"));
    let address: SocketAddr = address
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| wrong("address"))?;
    let length = length.and_then(|word| word.parse().ok());
    let body = Bytes::from(vec![b'x'; length.ok_or_else(|| wrong("length"))?]);
    let threads = words.next().and_then(|word| word.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.unwrap_or(1))
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            if protocol.as_deref() == Some("h2") {
                tokio::spawn(speak_h2(stream, body));
            } else {
                tokio::spawn(speak_h1(stream, body));
            }
        }
    })
}

/// One answer for each empty line that comes in.
async fn speak_h1(mut stream: TcpStream, body: Bytes) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in FIELDS {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut read = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        while let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            read.advance(end + 4);
            let mut answer = bytes::Buf::chain(head.as_bytes(), body.clone());
            stream.write_all_buf(&mut answer).await?;
        }
    }
}

async fn speak_h2(stream: TcpStream, body: Bytes) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (_, mut respond) = accepted?;
        let mut response = Response::builder().header("content-length", body.len());
        for (name, value) in FIELDS {
            response = response.header(*name, *value);
        }
        let response = response.body(()).unwrap_or_default();
        respond
            .send_response(response, false)?
            .send_data(body.clone(), true)?;
    }
    Ok(())
}

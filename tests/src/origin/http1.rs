//! The origin's side of HTTP/1.1.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Script, Seen};
use crate::reply::{Ending, Length, Moment, Reply, Step};
use crate::wire::{End, Fields, Framing, Head, Stream, Wire, framing, to_latin1};

/// What a connection does after an answer.
enum Next {
    Request,
    Close,
    Reset,
}

pub(super) async fn serve_tcp(stream: TcpStream, script: &Script, number: usize) {
    let Ok(handle) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    if matches!(
        answer_all(Wire::new(stream), script, number).await,
        Ok(Next::Reset)
    ) {
        // Closing with a linger of zero sends a reset. The wire is gone, so this is the last handle.
        let socket = std::net::TcpStream::from(handle);
        let socket = TcpStream::from_std(socket).expect("a socket of this runtime");
        drop(socket.set_zero_linger());
    }
}

pub(super) async fn serve(stream: impl Stream + 'static, script: &Script, number: usize) {
    // A connection that breaks is what some tests are about; the log tells what came of it.
    drop(answer_all(Wire::new(stream), script, number).await);
}

async fn answer_all(mut wire: Wire, script: &Script, number: usize) -> io::Result<Next> {
    while let Some(head) = wire.head().await? {
        match answer(&mut wire, head, script, number).await? {
            Next::Request => {}
            end @ (Next::Close | Next::Reset) => return Ok(end),
        }
    }
    Ok(Next::Close)
}

async fn answer(
    wire: &mut Wire,
    head: Head,
    script: &Script,
    connection: usize,
) -> io::Result<Next> {
    let framing = framing(&head.fields, Framing::None);
    let expects = head.field("Expect").is_some();
    let (place, seen) = script.log.add(seen(head, connection));
    let reply = (script.handler)(&seen);

    if reply.moment == Moment::AfterHead {
        send(wire, &reply, &seen, &Bytes::new()).await?;
        let body = wire.body(framing).await;
        script.log.body(place, body.bytes, body.end);
        return Ok(next(&reply, body.end));
    }
    if expects {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = wire.body(framing).await;
    script.log.body(place, body.bytes.clone(), body.end);
    if body.end == End::Complete {
        send(wire, &reply, &seen, &body.bytes).await?;
    }
    Ok(next(&reply, body.end))
}

fn seen(head: Head, connection: usize) -> Seen {
    let mut words = head.start.split(' ');
    Seen {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        fields: head.fields,
        raw: head.raw,
        connection,
        ..Seen::default()
    }
}

fn next(reply: &Reply, end: End) -> Next {
    match (reply.ending, end) {
        (Ending::Reset, _) => Next::Reset,
        (Ending::KeepAlive, End::Complete) => Next::Request,
        (Ending::KeepAlive | Ending::Close | Ending::Cut, _) => Next::Close,
    }
}

async fn send(wire: &mut Wire, reply: &Reply, seen: &Seen, body: &Bytes) -> io::Result<()> {
    for (status, fields) in &reply.interim {
        wire.write(&head(*status, fields, &[])).await?;
    }
    if let Some(gate) = &reply.before_head {
        gate.passed().await;
    }
    if !matches!(reply.length, Length::Verbatim) {
        wire.write(&head(
            reply.status,
            &reply.fields,
            &own_fields(reply, body.len()),
        ))
        .await?;
    }
    let bodiless = seen.method == "HEAD" || matches!(reply.status, 204 | 304);
    if bodiless && !matches!(reply.length, Length::Verbatim) {
        return Ok(());
    }
    send_body(wire, reply, body).await
}

fn own_fields(reply: &Reply, echo: usize) -> Fields {
    let mut fields = Fields::new();
    if matches!(reply.length, Length::Chunked) {
        fields.push(("Transfer-Encoding".into(), "chunked".into()));
    }
    let length = reply.content_length(echo);
    // A 304 describes the stored body, of which nothing is known here.
    if let Some(length) = length.filter(|_| !matches!(reply.status, 204 | 304)) {
        fields.push(("Content-Length".into(), length));
    }
    if reply.ending == Ending::Close {
        fields.push(("Connection".into(), "close".into()));
    }
    fields
}

fn head(status: u16, fields: &Fields, own: &[(String, String)]) -> Vec<u8> {
    let all: Fields = fields.iter().chain(own).cloned().collect();
    [
        format!("HTTP/1.1 {status} Scripted\r\n").into_bytes(),
        lines(&all),
    ]
    .concat()
}

/// Fields and the empty line that ends them.
fn lines(fields: &Fields) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    to_latin1(&(text + "\r\n"))
}

async fn send_body(wire: &mut Wire, reply: &Reply, echo: &Bytes) -> io::Result<()> {
    let chunked = matches!(reply.length, Length::Chunked);
    for step in &reply.steps {
        match step {
            Step::Send(bytes) => piece(wire, bytes, chunked).await?,
            Step::Echo => piece(wire, echo, chunked).await?,
            Step::Wait(gate) => gate.passed().await,
            Step::Pause(duration) => pause(*duration).await,
        }
    }
    if chunked && !matches!(reply.ending, Ending::Cut | Ending::Reset) {
        wire.write(b"0\r\n").await?;
        wire.write(&lines(&reply.trailers)).await?;
    }
    Ok(())
}

async fn piece(wire: &mut Wire, bytes: &Bytes, chunked: bool) -> io::Result<()> {
    if !chunked {
        return wire.write(bytes).await;
    }
    if bytes.is_empty() {
        return Ok(());
    }
    wire.write(format!("{:x}\r\n", bytes.len()).as_bytes())
        .await?;
    wire.write(bytes).await?;
    wire.write(b"\r\n").await
}

async fn pause(duration: Duration) {
    sleep(duration).await;
}

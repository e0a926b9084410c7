//! The origin's side of HTTP/2.

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Script, Seen};
use crate::reply::{Ending, Moment, Reply, Step};
use crate::wire::{End, Fields, Stream, latin1, to_latin1};

pub(super) async fn serve(stream: impl Stream, script: &Script, number: usize) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let script = script.clone();
        streams.spawn(async move { answer(request, respond, &script, number).await });
    }
}

/// A stream that the peer resets ends here; the log tells what came of it.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    script: &Script,
    connection: usize,
) -> Option<()> {
    let (head, mut incoming) = request.into_parts();
    let (place, seen) = script.log.add(seen(&head, connection));
    let reply = (script.handler)(&seen);
    if reply.moment == Moment::AfterHead {
        send(&mut respond, &reply, &Bytes::new()).await?;
    }
    let (body, end) = read(&mut incoming).await;
    script.log.body(place, body.clone(), end);
    if reply.moment == Moment::AfterBody && end == End::Complete {
        send(&mut respond, &reply, &body).await?;
    }
    Some(())
}

fn seen(head: &http::request::Parts, connection: usize) -> Seen {
    let mut fields = Fields::new();
    if let Some(scheme) = head.uri.scheme_str() {
        fields.push((":scheme".into(), scheme.into()));
    }
    if let Some(authority) = head.uri.authority() {
        fields.push((":authority".into(), authority.to_string()));
    }
    for (name, value) in &head.headers {
        fields.push((name.to_string(), latin1(value.as_bytes())));
    }
    let target = head
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    Seen {
        method: head.method.to_string(),
        target,
        fields,
        connection,
        ..Seen::default()
    }
}

async fn read(stream: &mut RecvStream) -> (Bytes, End) {
    let mut body = BytesMut::new();
    while let Some(piece) = stream.data().await {
        let Ok(piece) = piece else {
            return (body.freeze(), End::Cut);
        };
        drop(stream.flow_control().release_capacity(piece.len()));
        body.extend_from_slice(&piece);
    }
    (body.freeze(), End::Complete)
}

async fn send(respond: &mut SendResponse<Bytes>, reply: &Reply, echo: &Bytes) -> Option<()> {
    for (status, fields) in &reply.interim {
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::from_u16(*status).expect("a status");
        *interim.headers_mut() = map(fields);
        respond.send_informational(interim).ok()?;
    }
    if let Some(gate) = &reply.before_head {
        gate.passed().await;
    }
    let mut response = Response::builder().status(reply.status);
    if let Some(fields) = response.headers_mut() {
        *fields = map(&reply.fields);
    }
    if let Some(length) = reply.content_length(echo.len()) {
        response = response.header("content-length", length);
    }
    let response = response.body(()).expect("a response");
    let mut stream = respond.send_response(response, false).ok()?;
    send_body(&mut stream, reply, echo).await
}

async fn send_body(stream: &mut SendStream<Bytes>, reply: &Reply, echo: &Bytes) -> Option<()> {
    for step in &reply.steps {
        match step {
            Step::Send(bytes) => piece(stream, bytes.clone()).await?,
            Step::Echo => piece(stream, echo.clone()).await?,
            Step::Wait(gate) => gate.passed().await,
            Step::Pause(duration) => sleep(*duration).await,
        }
    }
    if matches!(reply.ending, Ending::Cut | Ending::Reset) {
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Some(());
    }
    if reply.trailers.is_empty() {
        return stream.send_data(Bytes::new(), true).ok();
    }
    stream.send_trailers(map(&reply.trailers)).ok()
}

fn map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        map.append(
            name,
            HeaderValue::from_bytes(&to_latin1(value)).expect("a field value"),
        );
    }
    map
}

/// Sends within the window that the peer grants.
async fn piece(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Option<()> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx))
            .await?
            .ok()?;
        stream
            .send_data(bytes.split_to(granted.min(bytes.len())), false)
            .ok()?;
    }
    Some(())
}

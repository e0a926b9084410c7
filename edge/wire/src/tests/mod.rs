//! What a client may send, and what comes of it: one table per kind of oddity.

mod chunked_content;
mod content_length;
mod controls;
mod host;
mod limits;
mod methods;
mod properties;
mod responses;
mod syntax;
mod transfer_encoding;
mod upgrade_and_expect;

use std::fmt::Write as _;

use bytes::{Buf, BytesMut};
use http::HeaderMap;

use crate::{BodyDecoder, Decoded, Limits, Parsed, Refusal, RequestHead, RequestParser};

/// The receiving end of a connection, reduced to what this crate knows of it.
struct Connection {
    limits: Limits,
    input: BytesMut,
    reading: Reading,
    /// The requests received, one per line, and why there will be no more.
    transcript: String,
}

enum Reading {
    Head(RequestParser),
    Body(BodyDecoder, Vec<u8>),
    Nothing,
}

impl Connection {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: BytesMut::new(),
            reading: Reading::Head(RequestParser::new(limits)),
            transcript: String::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(refusal) => return self.refuse(refusal),
            }
        }
    }

    /// Whether there may be more to do before the next bytes arrive.
    fn step(&mut self) -> Result<bool, Refusal> {
        match &mut self.reading {
            Reading::Head(parser) => {
                let Parsed::Complete { head, consumed } = parser.parse(&self.input)? else {
                    return Ok(false);
                };
                self.input.advance(consumed);
                write!(self.transcript, "{} {} ", head.method, uri(&head)).unwrap();
                let decoder = BodyDecoder::new(&head.framing, self.limits);
                self.reading = Reading::Body(decoder, Vec::new());
            }
            Reading::Body(decoder, content) => match decoder.decode(&mut self.input)? {
                Decoded::Data(data) => content.extend_from_slice(&data),
                Decoded::NeedMore => return Ok(false),
                Decoded::End { trailers } => {
                    assert!(decoder.is_done());
                    let content = content.escape_ascii();
                    writeln!(self.transcript, "[{content}]{}", fields(&trailers)).unwrap();
                    self.reading = Reading::Head(RequestParser::new(self.limits));
                }
            },
            Reading::Nothing => return Ok(false),
        }
        Ok(true)
    }

    fn refuse(&mut self, refusal: Refusal) {
        let (status, token) = (refusal.status().as_u16(), refusal.token());
        writeln!(self.transcript, "{status} {token}").unwrap();
        self.reading = Reading::Nothing;
    }

    fn finish(mut self) -> String {
        match self.reading {
            Reading::Head(parser) if parser.has_begun(&self.input) => self.transcript += "cut",
            Reading::Body(..) => self.transcript += "cut",
            Reading::Head(_) | Reading::Nothing => {}
        }
        self.transcript.trim_end().replace('\n', " | ")
    }
}

fn uri(head: &RequestHead) -> String {
    format!("{}{}", head.authority, head.target)
}

fn fields(headers: &HeaderMap) -> String {
    let field = |(name, value): (_, &http::HeaderValue)| {
        format!(" {name}={}", value.as_bytes().escape_ascii())
    };
    headers.iter().map(field).collect()
}

/// What a connection makes of `bytes` that arrive in pieces of at most `piece` bytes.
fn transcript(bytes: &[u8], piece: usize, limits: Limits) -> String {
    let mut connection = Connection::new(limits);
    for piece in bytes.chunks(piece.max(1)) {
        connection.receive(piece);
    }
    connection.finish()
}

/// Checks the transcript of a connection over which `bytes` came, at once and in pieces.
#[track_caller]
fn check_bytes(what: &str, bytes: &[u8], expected: &str) {
    for piece in [bytes.len(), 1, 2, 7] {
        let found = transcript(bytes, piece, Limits::default());
        assert_eq!(found, expected, "{what}, in pieces of {piece}");
    }
}

/// Checks a POST request with `Host` and then `fields`, followed by `rest`.
#[track_caller]
fn check_fields(what: &str, fields: &[u8], rest: &[u8], expected: &str) {
    let head = [
        b"POST /a HTTP/1.1\r\nHost: h\r\n",
        fields,
        b"\r\n\r\n",
        rest,
    ]
    .concat();
    check_bytes(what, &head, expected);
}

/// The complete head in `bytes`.
#[track_caller]
fn head(bytes: &[u8]) -> RequestHead {
    match crate::parse_request(bytes, &Limits::default()) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}"),
    }
}

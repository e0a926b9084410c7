//! Request heads: from the first byte to the empty line (RFC 9112 §3, §5).

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::authority::{Authority, check_authority};
use crate::connection::{self, Persistence};
use crate::expectation::{self, Expectation};
use crate::field::FieldSection;
use crate::framing::{self, Framing};
use crate::limits::EMPTY_LINES_MAX;
use crate::line::Lines;
use crate::request_line::{self, RequestLine};
use crate::target::Absolute;
use crate::upgrade::{self, Upgrade};
use crate::{Limits, Refusal};

/// A request head that can be read in one way only.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method; any token but CONNECT.
    pub method: Method,
    /// 1.0, or 1.1 for that and every later minor version.
    pub version: Version,
    /// The scheme, if the target was in absolute form. It is the client's word: the caller
    /// compares it with the connection.
    pub scheme: Option<Scheme>,
    /// Whom the request is for. Empty for an HTTP/1.0 request that does not say.
    pub authority: Authority,
    /// Path and query as they came, or `*`.
    pub target: String,
    /// All fields. `Host` and `Content-Length` are written anew from [`authority`](Self::authority)
    /// and [`framing`](Self::framing); hop-by-hop fields are still there
    /// (see [`remove_hop_by_hop`](crate::remove_hop_by_hop)).
    pub headers: HeaderMap,
    /// How the content is delimited.
    pub framing: Framing,
    /// Whether another request may follow.
    pub persistence: Persistence,
    /// Whether the client waits with its content.
    pub expectation: Expectation,
    /// Whether the client would switch protocols.
    pub upgrade: Upgrade,
    /// The options of `Connection`, in lower case: `close` and the like, and fields meant for this
    /// connection only.
    pub nominated: Vec<HeaderName>,
}

impl RequestHead {
    /// Makes it the head that would have come with this value of `Host`, and the same else. Not for a target in absolute
    /// form, which names a host itself.
    ///
    /// # Errors
    ///
    /// As [`check_authority`]; the head is what it was.
    pub fn address(&mut self, host: &str) -> Result<(), Refusal> {
        let authority = check_authority(host)?;
        canonicalize_host(&mut self.headers, &authority)?;
        self.authority = authority;
        Ok(())
    }
}

/// What the bytes received so far amount to.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per request and taken apart at once"
)]
pub enum Parsed {
    /// The head is not complete, and nothing is wrong with it yet.
    Partial,
    /// The head is complete.
    Complete {
        /// What it says.
        head: RequestHead,
        /// Its length in bytes. Content or the next request follow.
        consumed: usize,
    },
}

/// Parses a request head in one go.
///
/// Where bytes arrive in pieces, a [`RequestParser`] gives the same answer and looks at each
/// byte once.
///
/// # Errors
///
/// Whatever RFC 9112 does not allow, and some of what it leaves to the server: see [`Refusal`].
pub fn parse_request(bytes: &[u8], limits: &Limits) -> Result<Parsed, Refusal> {
    RequestParser::new(*limits).parse(bytes)
}

/// Parses one request head after the other, each while it arrives.
///
/// ```text
///   StartLine ──request line──▶ Fields ──empty line──▶ Complete; back to StartLine
///       └─────────────────────────┴──anything wrong──▶ Refused, for good
/// ```
#[derive(Clone, Debug)]
pub struct RequestParser {
    limits: Limits,
    stage: Stage,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per connection; a box would cost an allocation per request"
)]
enum Stage {
    StartLine {
        lines: Lines,
        empty_lines: usize,
    },
    Fields {
        line: RequestLine,
        section: FieldSection,
    },
    Refused(Refusal),
}

impl Stage {
    fn start() -> Self {
        Self::StartLine {
            lines: Lines::default(),
            empty_lines: 0,
        }
    }
}

impl RequestParser {
    /// A parser that waits for a request's first byte.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            stage: Stage::start(),
        }
    }

    /// Goes on parsing. `bytes` is everything received since the request's first byte, and grows
    /// from call to call.
    ///
    /// After [`Parsed::Complete`] the parser waits for the next request; the caller takes away
    /// the bytes of this one first.
    ///
    /// # Errors
    ///
    /// As [`parse_request`], as soon as the offending byte is there, and the same at every later
    /// call.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Parsed, Refusal> {
        let parsed = self.advance(bytes);
        if let Err(refusal) = parsed {
            self.stage = Stage::Refused(refusal);
        }
        parsed
    }

    /// Whether a request has been begun: bytes other than empty lines have been seen.
    ///
    /// Tells a connection that may be closed as idle from one whose request would be cut.
    #[must_use]
    pub fn has_begun(&self, bytes: &[u8]) -> bool {
        match &self.stage {
            Stage::StartLine { lines, .. } => {
                let line = bytes.get(lines.start()..).unwrap_or_default();
                !matches!(line, [] | [b'\r'])
            }
            Stage::Fields { .. } | Stage::Refused(_) => true,
        }
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Parsed, Refusal> {
        if let Stage::Refused(refusal) = self.stage {
            return Err(refusal);
        }
        // Nothing past the limit is looked at, so that the verdict does not depend on how many
        // bytes a read happened to bring.
        let head = &bytes[..bytes.len().min(self.limits.head_bytes)];
        self.start_line(head)?;
        if let Some(complete) = self.fields(head)? {
            return Ok(complete);
        }
        if bytes.len() > self.limits.head_bytes {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(Parsed::Partial)
    }

    /// Reads the request line, if it is complete and has not been read.
    fn start_line(&mut self, head: &[u8]) -> Result<(), Refusal> {
        let limits = &self.limits;
        while let Stage::StartLine { lines, empty_lines } = &mut self.stage {
            let start = lines.start();
            let line_max = start.saturating_add(request_line::len_max(limits));
            let window = &head[..head.len().min(line_max)];
            match lines.next(window)? {
                None if head.len() > window.len() => {
                    let beginning = window.get(start..).unwrap_or_default();
                    return Err(request_line::overlong(beginning, limits));
                }
                None => return Ok(()),
                Some([]) if *empty_lines == EMPTY_LINES_MAX => return Err(Refusal::EmptyLines),
                Some([]) => *empty_lines += 1,
                Some(line) => {
                    let line = request_line::parse(line, limits)?;
                    let section = FieldSection::new(lines.start(), limits.fields);
                    self.stage = Stage::Fields { line, section };
                }
            }
        }
        Ok(())
    }

    /// Reads field lines, if it is their turn; completes the head with the last of them.
    fn fields(&mut self, head: &[u8]) -> Result<Option<Parsed>, Refusal> {
        let Stage::Fields { section, .. } = &mut self.stage else {
            return Ok(None);
        };
        let Some(consumed) = section.parse(head)? else {
            return Ok(None);
        };
        match std::mem::replace(&mut self.stage, Stage::start()) {
            Stage::Fields { line, section } => {
                let head = understand(line, section.into_fields())?;
                Ok(Some(Parsed::Complete { head, consumed }))
            }
            Stage::StartLine { .. } | Stage::Refused(_) => Ok(None),
        }
    }
}

/// Puts together what the request line and the fields say, where they concern the message itself.
fn understand(line: RequestLine, mut headers: HeaderMap) -> Result<RequestHead, Refusal> {
    let version = line.version;
    let authority = authority(&line, &headers)?;
    let framing = framing::of_request(version, &headers)?;
    // RFC 9110 §9.3.8: a client must not send content in a TRACE request.
    if line.method == Method::TRACE && framing != Framing::None {
        return Err(Refusal::TraceContent);
    }
    let nominated = connection::options(&headers)?;
    let expectation = expectation::of_request(version, &headers, framing)?;
    let upgrade = upgrade::of_request(&line, &headers, framing, &nominated);
    canonicalize(&mut headers, &authority, framing)?;

    Ok(RequestHead {
        method: line.method,
        version,
        scheme: line.target.absolute.map(|absolute| absolute.scheme),
        authority,
        target: line.target.path,
        headers,
        framing,
        persistence: connection::persistence(version, &nominated),
        expectation,
        upgrade,
        nominated,
    })
}

/// Whom a request is for (RFC 9112 §3.2, §3.3).
fn authority(line: &RequestLine, headers: &HeaderMap) -> Result<Authority, Refusal> {
    let host = host(headers)?;
    match (&line.target.absolute, host) {
        // RFC 9112 §3.2.2 has the target win. Where they differ, somebody on the way may have
        // gone by the other one.
        (Some(Absolute { scheme, authority }), Some(host)) => {
            if !authority.agrees_with(&host, scheme) {
                return Err(Refusal::HostMismatch);
            }
            Ok(authority.clone())
        }
        (None, Some(host)) => Ok(host),
        // RFC 9112 §3.2: 400 for HTTP/1.1 without it, whatever the form of the target.
        (_, None) if line.version == Version::HTTP_11 => Err(Refusal::HostMissing),
        (Some(Absolute { authority, .. }), None) => Ok(authority.clone()),
        (None, None) => Ok(Authority::absent()),
    }
}

fn host(headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    let mut values = headers.get_all(HOST).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::HostRepeated);
    }
    let value = str::from_utf8(value.as_bytes()).ok();
    check_authority(value.ok_or(Refusal::Authority)?).map(Some)
}

/// Writes the fields that route and frame in the one spelling that everybody reads alike.
fn canonicalize(
    headers: &mut HeaderMap,
    authority: &Authority,
    framing: Framing,
) -> Result<(), Refusal> {
    canonicalize_host(headers, authority)?;
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        Framing::Chunked => {
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(http::header::TRANSFER_ENCODING, chunked);
        }
    }
    Ok(())
}

fn canonicalize_host(headers: &mut HeaderMap, authority: &Authority) -> Result<(), Refusal> {
    if authority.host.is_empty() {
        return Ok(());
    }
    let host = match authority.port {
        None => HeaderValue::from_str(&authority.host),
        Some(_) => HeaderValue::try_from(authority.to_string()),
    };
    headers.insert(HOST, host.ok().ok_or(Refusal::Authority)?);
    Ok(())
}

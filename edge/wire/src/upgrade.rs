//! `Upgrade` (RFC 9110 §7.8): the one protocol this node will switch to.

use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, Method};

use crate::Framing;
use crate::request_line::RequestLine;

/// The protocol the client may switch to once the origin has answered 101.
///
/// Until then whatever follows the head is not the origin's to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// None, or one that is ignored, as a server may always do; `h2c` above all.
    None,
    /// A WebSocket, with a complete opening handshake (RFC 6455 §4.1).
    WebSocket,
}

/// The upgrade a request asks for, given the options of its `Connection` fields.
pub(crate) fn of_request(
    line: &RequestLine,
    headers: &HeaderMap,
    framing: Framing,
    options: &[HeaderName],
) -> Upgrade {
    let is_handshake = line.method == Method::GET
        && line.version == http::Version::HTTP_11
        && framing == Framing::None
        && options.contains(&UPGRADE)
        && only(headers, UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && only(headers, SEC_WEBSOCKET_VERSION) == Some(b"13")
        && only(headers, SEC_WEBSOCKET_KEY).is_some_and(is_key);
    if is_handshake {
        Upgrade::WebSocket
    } else {
        Upgrade::None
    }
}

/// The value of a field that occurs exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// Sixteen bytes in base64.
fn is_key(value: &[u8]) -> bool {
    let Some((digits, b"==")) = value.split_last_chunk::<2>() else {
        return false;
    };
    let is_digit = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.iter().all(is_digit)
}

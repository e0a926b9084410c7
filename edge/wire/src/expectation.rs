//! `Expect` (RFC 9110 §10.1.1).

use http::header::EXPECT;
use http::{HeaderMap, Version};

use crate::{Framing, Refusal};

/// What the client waits for before it sends its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    None,
    /// A 100 (Continue), or the final answer instead.
    Continue,
}

/// The expectation of a request with these fields.
///
/// In HTTP/1.0, and where there is no content to wait with, `100-continue` means nothing.
///
/// # Errors
///
/// [`Refusal::Expectation`] for any other.
pub fn of_request(
    version: Version,
    headers: &HeaderMap,
    framing: Framing,
) -> Result<Expectation, Refusal> {
    let mut values = headers.get_all(EXPECT).iter();
    let Some(value) = values.next() else {
        return Ok(Expectation::None);
    };
    if values.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Err(Refusal::Expectation);
    }
    if version == Version::HTTP_10 || matches!(framing, Framing::None | Framing::Length(0)) {
        return Ok(Expectation::None);
    }
    Ok(Expectation::Continue)
}

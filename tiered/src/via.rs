//! `Via` (RFC 9110 §7.6.3): which intermediaries a message passed.

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

/// Adds a node that received a message in `version` to the message's `Via`.
///
/// A `name` that is no valid field content is left out.
pub fn append(headers: &mut HeaderMap, version: Version, name: &str) {
    let protocol = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(hop) = HeaderValue::try_from([protocol, " ", name].concat()) {
        headers.append(VIA, hop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hop_adds_itself() {
        let mut headers = HeaderMap::new();
        append(&mut headers, Version::HTTP_2, "a");
        append(&mut headers, Version::HTTP_11, "b");
        let hops: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(hops, ["2 a", "1.1 b"]);
    }
}

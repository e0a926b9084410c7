//! `multipart/byteranges` (RFC 9110 §14.6).

use http::header::HeaderValue;

use super::ByteRange;
use crate::framed_hash::FramedHash;

/// The content of a 206 with several parts: every [`Part`] is its head and then its bytes of the
/// representation, and [`Multipart::end`] comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// The `Content-Type` of the response. It has no `Content-Range`.
    pub content_type: HeaderValue,
    /// The parts in the order they are sent.
    pub parts: Vec<Part>,
    /// What follows the last part.
    pub end: Vec<u8>,
    /// The length of it all: the `Content-Length` of the response.
    pub len: u64,
}

/// A part of a multipart response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The boundary and the head of the part.
    pub head: Vec<u8>,
    /// The bytes of the representation that follow.
    pub range: ByteRange,
}

impl Multipart {
    /// Lays out a response with these ranges of a representation of `len` bytes, which would have had
    /// this `Content-Type`.
    ///
    /// The boundary is made from `seed`; one that nobody can guess keeps content from imitating it.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.3.7.2
    //# Within the header area of each body part in the multipart content, the server MUST generate a
    //# Content-Range header field corresponding to the range being enclosed in that body part. If the
    //# selected representation would have had a Content-Type header field in a 200 (OK) response, the
    //# server SHOULD generate that same Content-Type header field in the header area of each body part.
    pub fn new(
        ranges: &[ByteRange],
        len: u64,
        content_type: Option<&HeaderValue>,
        seed: u64,
    ) -> Self {
        let boundary = boundary(seed);
        let parts: Vec<_> = ranges
            .iter()
            .map(|&range| Part {
                head: head(&boundary, range, len, content_type),
                range,
            })
            .collect();
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        let of_parts = parts
            .iter()
            .map(|part| size(&part.head).saturating_add(part.range.len()));
        Self {
            content_type: super::value(format!("multipart/byteranges; boundary={boundary}")),
            len: of_parts.fold(size(&end), u64::saturating_add),
            parts,
            end,
        }
    }
}

fn head(boundary: &str, range: ByteRange, len: u64, content_type: Option<&HeaderValue>) -> Vec<u8> {
    let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(content_type) = content_type {
        head.extend(b"Content-Type: ");
        head.extend(content_type.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"Content-Range: ");
    head.extend(super::content_range(range, len).as_bytes());
    head.extend(b"\r\n\r\n");
    head
}

fn boundary(seed: u64) -> String {
    let mut hash = FramedHash::default();
    hash.part(&seed.to_le_bytes());
    hash.finish()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: [ByteRange; 2] = [
        ByteRange { first: 0, last: 4 },
        ByteRange { first: 7, last: 9 },
    ];

    #[test]
    fn the_layout_of_the_rfc() {
        let body = b"0123456789";
        let multipart = Multipart::new(
            &RANGES,
            10,
            Some(&HeaderValue::from_static("text/plain")),
            1,
        );

        let mut content = Vec::new();
        for part in &multipart.parts {
            let first = usize::try_from(part.range.first).unwrap();
            let last = usize::try_from(part.range.last).unwrap();
            content.extend(&part.head);
            content.extend(&body[first..=last]);
        }
        content.extend(&multipart.end);

        let boundary = boundary(1);
        let expected = format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-4/10\r\n\r\n01234\
             \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\n789\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(content).unwrap(), expected);
        assert_eq!(multipart.len, u64::try_from(expected.len()).unwrap());
        assert_eq!(
            multipart.content_type,
            format!("multipart/byteranges; boundary={boundary}")
        );
    }

    #[test]
    fn parts_without_a_type() {
        let multipart = Multipart::new(&RANGES, 10, None, 1);
        let head = String::from_utf8(multipart.parts[0].head.clone()).unwrap();
        assert!(!head.contains("Content-Type"));
    }

    #[test]
    fn boundaries_are_valid_and_depend_on_the_seed() {
        assert!((1..=70).contains(&boundary(1).len()));
        assert_ne!(boundary(1), boundary(2));
    }
}

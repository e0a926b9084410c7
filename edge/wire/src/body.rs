//! The content of a request, taken out of its framing (RFC 9112 §6).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::chunked::Chunked;
use crate::{Framing, Limits, Refusal};

/// Takes the content of one request out of the bytes received.
///
/// A connection that ends before [`is_done`](Self::is_done) has cut the request short: whoever
/// passes it on must not end it as if it were complete.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Length { remaining: u64 },
    Chunked(Chunked),
    Done,
    Refused(Refusal),
}

/// A step of a [`BodyDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// Some content; never empty. It shares the memory of the input.
    Data(Bytes),
    /// The input is used up, or holds an incomplete trailer section that has to stay there.
    NeedMore,
    /// The message is over. What is left of the input belongs to the next one.
    End {
        /// The trailer fields, which only chunked content has, without those that RFC 9110 §6.5.1
        /// does not allow there.
        trailers: HeaderMap,
    },
}

impl BodyDecoder {
    /// A decoder for the content after a head with this framing.
    #[must_use]
    pub fn new(framing: &Framing, limits: Limits) -> Self {
        let stage = match *framing {
            Framing::None => Stage::Length { remaining: 0 },
            Framing::Length(remaining) => Stage::Length { remaining },
            Framing::Chunked => Stage::Chunked(Chunked::new(limits)),
        };
        Self { stage }
    }

    /// Takes the next piece of content from the front of `input`.
    ///
    /// Bytes are taken once and never past the message's end. Between calls `input` may only
    /// grow at its end.
    ///
    /// # Errors
    ///
    /// Whatever RFC 9112 §7.1 does not allow; the same again at every later call.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Refusal> {
        let decoded = match &mut self.stage {
            Stage::Length { remaining: 0 } | Stage::Done => Ok(end()),
            Stage::Length { .. } if input.is_empty() => Ok(Decoded::NeedMore),
            Stage::Length { remaining } => Ok(Decoded::Data(split(input, remaining))),
            Stage::Chunked(chunked) => chunked.decode(input),
            Stage::Refused(refusal) => Err(*refusal),
        };
        match decoded {
            Ok(Decoded::End { .. }) => self.stage = Stage::Done,
            Err(refusal) => self.stage = Stage::Refused(refusal),
            Ok(Decoded::Data(_) | Decoded::NeedMore) => {}
        }
        decoded
    }

    /// Whether all of the message has been taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::Length { remaining: 0 })
    }
}

fn end() -> Decoded {
    Decoded::End {
        trailers: HeaderMap::new(),
    }
}

/// Takes at most `remaining` bytes from the front of `input`, and counts them.
pub(crate) fn split(input: &mut BytesMut, remaining: &mut u64) -> Bytes {
    let wanted = usize::try_from(*remaining).unwrap_or(usize::MAX);
    let data = input.split_to(wanted.min(input.len())).freeze();
    *remaining -= data.len() as u64;
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_a_known_length_ends_there_and_leaves_the_rest() {
        let mut decoder = BodyDecoder::new(&Framing::Length(5), Limits::default());
        let mut input = BytesMut::from("abc");
        assert_eq!(decoder.decode(&mut input), Ok(Decoded::Data("abc".into())));
        assert_eq!(decoder.decode(&mut input), Ok(Decoded::NeedMore));
        assert!(!decoder.is_done());

        input.extend_from_slice(b"deGET");
        assert_eq!(decoder.decode(&mut input), Ok(Decoded::Data("de".into())));
        assert!(decoder.is_done());
        assert_eq!(decoder.decode(&mut input), Ok(end()));
        assert_eq!(decoder.decode(&mut input), Ok(end()));
        assert_eq!(input, "GET");
    }

    #[test]
    fn a_request_without_content_is_done_at_once() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut decoder = BodyDecoder::new(&framing, Limits::default());
            assert!(decoder.is_done());
            assert_eq!(decoder.decode(&mut BytesMut::from("x")), Ok(end()));
        }
    }

    #[test]
    fn after_a_refusal_nothing_is_decoded_any_more() {
        let mut decoder = BodyDecoder::new(&Framing::Chunked, Limits::default());
        let mut input = BytesMut::from("x");
        assert_eq!(decoder.decode(&mut input), Err(Refusal::ChunkSize));
        let mut input = BytesMut::from("0\r\n\r\n");
        assert_eq!(decoder.decode(&mut input), Err(Refusal::ChunkSize));
        assert!(!decoder.is_done());
    }
}

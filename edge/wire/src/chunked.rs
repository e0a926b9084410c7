//! The chunked transfer coding, decoded (RFC 9112 §7.1).

use bytes::{Buf, Bytes, BytesMut};

use crate::body::{Decoded, split};
use crate::chunk_line::ChunkLine;
use crate::field::FieldSection;
use crate::limits::EXTENSION_BYTES_MAX;
use crate::{Limits, Refusal, trailers};

/// A chunked body as far as it has arrived.
///
/// ```text
///   Line ──size > 0──▶ Data ──▶ DataCr ──▶ DataLf ──▶ Line
///     └────size = 0──▶ Trailers ──▶ the end
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Chunked {
    limits: Limits,
    stage: Stage,
    /// Bytes of content so far.
    content: u64,
    /// Bytes of chunk extensions so far.
    extensions: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    Line(ChunkLine),
    Data { remaining: u64 },
    DataCr,
    DataLf,
    Trailers(Box<FieldSection>),
}

impl Chunked {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stage: Stage::Line(ChunkLine::new()),
            content: 0,
            extensions: 0,
        }
    }

    /// Decodes up to the next piece of content, or to the end.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Refusal> {
        while !input.is_empty() {
            match &mut self.stage {
                Stage::Line(_) => self.line(input)?,
                Stage::Data { remaining } => {
                    let data = split(input, remaining);
                    if *remaining == 0 {
                        self.stage = Stage::DataCr;
                    }
                    return Ok(self.counted(data));
                }
                Stage::DataCr => {
                    expect_byte(input, b'\r')?;
                    self.stage = Stage::DataLf;
                }
                Stage::DataLf => {
                    expect_byte(input, b'\n')?;
                    self.stage = Stage::Line(ChunkLine::new());
                }
                Stage::Trailers(_) => return self.trailers(input),
            }
        }
        Ok(Decoded::NeedMore)
    }

    fn counted(&mut self, data: Bytes) -> Decoded {
        self.content = self.content.saturating_add(data.len() as u64);
        Decoded::Data(data)
    }

    /// Takes bytes of a chunk-size line, up to its end.
    fn line(&mut self, input: &mut BytesMut) -> Result<(), Refusal> {
        let Stage::Line(line) = &mut self.stage else {
            return Ok(());
        };
        let mut taken = 0;
        let mut end = None;
        for &byte in input.iter() {
            if line.len() == self.limits.chunk_line_bytes {
                return Err(Refusal::ChunkLineTooLong);
            }
            taken += 1;
            end = line.push(byte)?;
            if end.is_some() {
                break;
            }
        }
        input.advance(taken);
        let Some(size) = end else {
            return Ok(());
        };

        // A chunk costs its line: without a limit a byte of content could cost a whole one.
        self.extensions += line.extension_len() as u64;
        if self.extensions > self.content.saturating_add(EXTENSION_BYTES_MAX) {
            return Err(Refusal::ChunkExtensionsTooLarge);
        }
        self.stage = match size {
            0 => Stage::Trailers(Box::new(FieldSection::new(0, self.limits.fields))),
            remaining => Stage::Data { remaining },
        };
        Ok(())
    }

    /// Takes the trailer section once it is complete. Until then it stays in `input`.
    fn trailers(&mut self, input: &mut BytesMut) -> Result<Decoded, Refusal> {
        let Stage::Trailers(section) = &mut self.stage else {
            return Ok(Decoded::NeedMore);
        };
        let window = input.len().min(self.limits.trailer_bytes);
        match section.parse(&input[..window])? {
            Some(end) => {
                input.advance(end);
                let section = std::mem::replace(&mut **section, FieldSection::new(0, 0));
                let trailers = trailers::accept(section.into_fields())?;
                Ok(Decoded::End { trailers })
            }
            None if input.len() > window => Err(Refusal::TrailersTooLarge),
            None => Ok(Decoded::NeedMore),
        }
    }
}

/// Takes one byte of the line end after a chunk's data.
fn expect_byte(input: &mut BytesMut, expected: u8) -> Result<(), Refusal> {
    if input.first() != Some(&expected) {
        return Err(Refusal::ChunkDataEnd);
    }
    input.advance(1);
    Ok(())
}

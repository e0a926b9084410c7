//! Content from one coding to another, piece by piece. It computes and never waits.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use policy::coding::Coding;
use zstd::stream::raw;
use zstd::stream::write as zstd_write;

use super::brotli_decoder::BrotliDecoder;

/// Effort: what is made is kept, and made while somebody waits for it.
const GZIP_LEVEL: u32 = 6;
const BROTLI_LEVEL: u32 = 5;
const ZSTD_LEVEL: i32 = 6;
/// The base-2 logarithm of brotli's window: 4 MiB.
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 16 * 1024;
/// The base-2 logarithm of the largest window that a zstd frame may ask for: 8 MiB (RFC 9659 §3).
const ZSTD_WINDOW_MAX: u32 = 23;
/// Coded bytes that are decoded at a time, so that what they become is bounded before it is there.
const STEP: usize = 16 * 1024;

/// Content that any body may be decoded to, in bytes.
pub(crate) const DECODED_MAX: u64 = 256 * 1024 * 1024;
/// Content for each coded byte beyond [`RATIO_FREE`]: more is a bomb. Text reaches 20, and logs 200.
pub(crate) const RATIO_MAX: u64 = 256;
/// Content that is not judged by its ratio, in bytes.
pub(crate) const RATIO_FREE: u64 = 1024 * 1024;

/// Why content cannot be had in another coding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodingError {
    #[error("the content is not what its coding says: {0}")]
    Malformed(#[source] io::Error),
    #[error(
        "the content becomes longer than {DECODED_MAX} bytes, or {RATIO_MAX} times as long as it was"
    )]
    Bomb,
    #[error("the coder failed: {0}")]
    Coder(#[source] io::Error),
}

/// A body on its way from one coding to another.
pub(crate) struct Transcoder {
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
}

impl Transcoder {
    pub(crate) fn new(from: Coding, to: Coding) -> Result<Self, CodingError> {
        Ok(Self {
            decoder: Decoder::new(from)?,
            encoder: Encoder::new(to).map_err(CodingError::Coder)?,
        })
    }

    /// Takes content, and appends what comes of it by now.
    pub(crate) fn push(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), CodingError> {
        let Some(decoder) = &mut self.decoder else {
            return encode(self.encoder.as_mut(), content, out);
        };
        for step in content.chunks(STEP) {
            let decoded = decoder.push(step)?;
            encode(self.encoder.as_mut(), &decoded, out)?;
        }
        Ok(())
    }

    /// Appends all that can be told of the content so far.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        match &mut self.encoder {
            Some(encoder) => encoder.flush(out).map_err(CodingError::Coder),
            None => Ok(()),
        }
    }

    /// Appends the end.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        if let Some(decoder) = self.decoder {
            let decoded = decoder.finish()?;
            encode(self.encoder.as_mut(), &decoded, out)?;
        }
        match self.encoder {
            Some(encoder) => encoder.finish(out).map_err(CodingError::Coder),
            None => Ok(()),
        }
    }
}

fn encode(
    encoder: Option<&mut Encoder>,
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CodingError> {
    match encoder {
        Some(encoder) => encoder.push(content, out).map_err(CodingError::Coder),
        None => {
            out.extend_from_slice(content);
            Ok(())
        }
    }
}

/// Makes a coding.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd_write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(to: Coding) -> io::Result<Option<Self>> {
        Ok(Some(match to {
            Coding::Identity => return Ok(None),
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_LEVEL,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => Self::Zstd(zstd_write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        }))
    }

    fn push(&mut self, content: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.writer().write_all(content)?;
        self.take(out);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.writer().flush()?;
        self.take(out);
        Ok(())
    }

    fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.append(&mut rest);
        Ok(())
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        out.append(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        });
    }
}

/// Undoes a coding, within bounds.
struct Decoder {
    kind: Kind,
    bounds: Bounds,
}

enum Kind {
    Gzip(GzDecoder<Sink>),
    Brotli(Box<BrotliDecoder>),
    Zstd(zstd_write::Decoder<'static, Sink>),
}

/// How much came in and went out.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    coded: u64,
    decoded: u64,
}

impl Bounds {
    /// Bytes that may still come of what has been taken.
    fn room(self) -> u64 {
        let by_ratio = RATIO_FREE.saturating_add(self.coded.saturating_mul(RATIO_MAX));
        by_ratio.min(DECODED_MAX).saturating_sub(self.decoded)
    }
}

/// Decoded bytes, as many as there is room for.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) bytes: Vec<u8>,
    pub(super) room: u64,
}

/// The error of a sink that is full.
const FULL: io::ErrorKind = io::ErrorKind::QuotaExceeded;

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() as u64 > self.room {
            return Err(FULL.into());
        }
        self.room -= data.len() as u64;
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    fn new(from: Coding) -> Result<Option<Self>, CodingError> {
        let sink = Sink::default();
        let kind = match from {
            Coding::Identity => return Ok(None),
            Coding::Gzip => Kind::Gzip(GzDecoder::new(sink)),
            Coding::Brotli => Kind::Brotli(Box::default()),
            Coding::Zstd => Kind::Zstd(zstd_decoder(sink).map_err(CodingError::Coder)?),
        };
        let bounds = Bounds::default();
        Ok(Some(Self { kind, bounds }))
    }

    fn push(&mut self, coded: &[u8]) -> Result<Vec<u8>, CodingError> {
        self.bounds.coded += coded.len() as u64;
        self.sink().room = self.bounds.room();
        let written = match &mut self.kind {
            Kind::Gzip(decoder) => decoder.write_all(coded).and_then(|()| decoder.flush()),
            Kind::Brotli(decoder) => decoder.write_all(coded),
            Kind::Zstd(decoder) => decoder.write_all(coded).and_then(|()| decoder.flush()),
        };
        written.map_err(refused)?;
        Ok(self.take())
    }

    /// The last content, where the coding came to its end.
    fn finish(mut self) -> Result<Vec<u8>, CodingError> {
        self.sink().room = self.bounds.room();
        match &mut self.kind {
            Kind::Gzip(decoder) => decoder.try_finish(),
            Kind::Brotli(decoder) => decoder.check_end(),
            Kind::Zstd(decoder) => decoder.flush(),
        }
        .map_err(refused)?;
        Ok(self.take())
    }

    fn sink(&mut self) -> &mut Sink {
        match &mut self.kind {
            Kind::Gzip(decoder) => decoder.get_mut(),
            Kind::Brotli(decoder) => &mut decoder.sink,
            Kind::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let decoded = std::mem::take(&mut self.sink().bytes);
        self.bounds.decoded += decoded.len() as u64;
        decoded
    }
}

fn zstd_decoder(sink: Sink) -> io::Result<zstd_write::Decoder<'static, Sink>> {
    let mut decoder = raw::Decoder::new()?;
    decoder.set_parameter(raw::DParameter::WindowLogMax(ZSTD_WINDOW_MAX))?;
    Ok(zstd_write::Decoder::with_decoder(sink, decoder))
}

fn refused(error: io::Error) -> CodingError {
    if error.kind() == FULL {
        CodingError::Bomb
    } else {
        CodingError::Malformed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Brotli, Coding::Zstd];

    fn convert(
        from: Coding,
        to: Coding,
        content: &[u8],
        piece: usize,
    ) -> Result<Vec<u8>, CodingError> {
        let mut out = Vec::new();
        let mut transcoder = Transcoder::new(from, to)?;
        for piece in content.chunks(piece) {
            transcoder.push(piece, &mut out)?;
            transcoder.flush(&mut out)?;
        }
        transcoder.finish(&mut out)?;
        Ok(out)
    }

    fn text() -> Vec<u8> {
        let lines = (0..5_000).map(|number| format!("line {number} of the text\n"));
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn every_coding_is_made_and_undone() {
        let text = text();
        for from in ALL {
            let coded = convert(Coding::Identity, from, &text, 10_000).unwrap();
            assert!(from == Coding::Identity || coded.len() < text.len() / 2);
            for to in ALL {
                let recoded = convert(from, to, &coded, 777).unwrap();
                let plain = convert(to, Coding::Identity, &recoded, 100_000).unwrap();
                assert_eq!(plain, text, "{from:?} {to:?}");
            }
        }
    }

    #[test]
    fn what_is_told_can_be_read_before_the_end() {
        for to in &ALL[1..] {
            let mut coded = Vec::new();
            let mut coder = Transcoder::new(Coding::Identity, *to).unwrap();
            coder.push(b"the first words", &mut coded).unwrap();
            coder.flush(&mut coded).unwrap();
            let mut plain = Vec::new();
            let mut decoder = Transcoder::new(*to, Coding::Identity).unwrap();
            decoder.push(&coded, &mut plain).unwrap();
            assert_eq!(plain, b"the first words", "{to:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_there() {
        let zeros = vec![0; 32 * 1024 * 1024];
        for coding in &ALL[1..] {
            let bomb = convert(Coding::Identity, *coding, &zeros, zeros.len()).unwrap();
            assert!(bomb.len() < 64 * 1024, "{coding:?}: {}", bomb.len());
            let mut out = Vec::new();
            let mut decoder = Transcoder::new(*coding, Coding::Identity).unwrap();
            let refused = decoder.push(&bomb, &mut out);
            assert!(matches!(refused, Err(CodingError::Bomb)), "{coding:?}");
            let most = RATIO_FREE + RATIO_MAX * bomb.len() as u64;
            assert!((out.len() as u64) <= most, "{coding:?}: {}", out.len());
        }
    }

    #[test]
    fn content_may_not_be_longer_than_the_limit_however_it_was_coded() {
        let bounds = Bounds {
            coded: DECODED_MAX,
            decoded: DECODED_MAX - 1,
        };
        assert_eq!(bounds.room(), 1);
    }

    #[test]
    fn what_is_cut_or_something_else_is_no_content() {
        let text = text();
        for coding in &ALL[1..] {
            let refused = convert(*coding, Coding::Identity, &text, 100);
            assert!(
                matches!(refused, Err(CodingError::Malformed(_))),
                "{coding:?}"
            );
        }
        for coding in [Coding::Gzip, Coding::Brotli] {
            let coded = convert(Coding::Identity, coding, &text, text.len()).unwrap();
            let cut = &coded[..coded.len() - 9];
            let refused = convert(coding, Coding::Identity, cut, 1_000);
            assert!(
                matches!(refused, Err(CodingError::Malformed(_))),
                "{coding:?}"
            );
        }
    }
}

//! Brotli undone (RFC 7932), without the large windows that are no part of it.

use std::io::{self, Write};

use brotli::writer::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::transcoder::Sink;

/// Decoded bytes that are handed over at a time.
const OUTPUT: usize = 16 * 1024;

/// A brotli stream on its way in.
pub(super) struct BrotliDecoder {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    pub(super) sink: Sink,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    Underway,
    Ended,
}

impl Default for BrotliDecoder {
    fn default() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            sink: Sink::default(),
            progress: Progress::Underway,
        }
    }
}

impl BrotliDecoder {
    /// Takes all of `coded`, and appends what comes of it to the sink.
    pub(super) fn write_all(&mut self, coded: &[u8]) -> io::Result<()> {
        let (mut left, mut taken) = (coded.len(), 0);
        let mut output = vec![0; OUTPUT];
        while self.progress == Progress::Underway {
            let (mut room, mut made, mut total) = (OUTPUT, 0, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut taken,
                coded,
                &mut room,
                &mut made,
                &mut output,
                &mut total,
                &mut self.state,
            );
            self.sink.write_all(&output[..made])?;
            match result {
                BrotliResult::ResultSuccess => self.progress = Progress::Ended,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        if left > 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    /// Whether the stream came to its end.
    pub(super) fn check_end(&self) -> io::Result<()> {
        match self.progress {
            Progress::Ended => Ok(()),
            Progress::Underway => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

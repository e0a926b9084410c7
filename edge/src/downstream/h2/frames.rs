//! Frames by their headers (RFC 9113 §4.1).

/// The length of a frame's header.
pub(super) const HEADER: usize = 9;

/// Kinds of frames (RFC 9113 §6).
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
}

/// Flags of frames.
pub(super) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FrameHeader {
    /// Of the payload, in bytes.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl FrameHeader {
    /// The header that bytes begin with, if they have all of it.
    pub(super) fn first(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(Self::read)
    }

    fn read(bytes: &[u8; HEADER]) -> Self {
        let [high, middle, low, kind, flags, a, b, c, d] = *bytes;
        Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
        }
    }

    /// As it is sent. A payload is shorter than 2^24 bytes.
    pub(super) fn bytes(self) -> [u8; HEADER] {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let [_, high, middle, low] = length.to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        [high, middle, low, self.kind, self.flags, a, b, c, d]
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Finds the headers of frames in bytes that come in pieces.
#[derive(Debug)]
pub(super) struct Walk {
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
}

impl Walk {
    /// Of bytes that have their first frame behind so many others.
    pub(super) const fn behind(preface: usize) -> Self {
        Self {
            skip: preface,
            header: [0; HEADER],
            filled: 0,
        }
    }

    /// Goes over a piece, and shows each header that is complete. It ends where one is `false`, and is then itself.
    pub(super) fn over(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(FrameHeader) -> bool,
    ) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                let header = FrameHeader::read(&self.header);
                self.filled = 0;
                self.skip = header.length;
                if !each(header) {
                    return false;
                }
            }
        }
        true
    }

    /// Whether what was seen ended with a frame.
    pub(super) const fn is_between(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_written_as_it_is_read() {
        let bytes = [0x01, 0x02, 0x03, kind::HEADERS, 0x25, 0x7f, 2, 3, 4];
        let header = FrameHeader::first(&bytes).unwrap();
        assert_eq!((header.length, header.stream), (0x01_02_03, 0x7f_02_03_04));
        assert!(header.has(flag::PRIORITY) && !header.has(flag::PADDED));
        assert_eq!(header.bytes(), bytes);
        assert_eq!(FrameHeader::first(&bytes[1..]), None);
    }

    #[test]
    fn headers_are_found_however_the_bytes_are_cut() {
        let frames = [(kind::DATA, 3), (kind::SETTINGS, 0), (kind::HEADERS, 20)];
        let mut bytes = vec![0xff; 5];
        for (kind, length) in frames {
            let header = FrameHeader {
                length,
                kind,
                flags: 0,
                stream: 1,
            };
            bytes.extend(header.bytes());
            bytes.extend(vec![0xee; length]);
        }
        for size in 1..bytes.len() {
            let (mut walk, mut found) = (Walk::behind(5), Vec::new());
            for piece in bytes.chunks(size) {
                let all = walk.over(piece, |header| {
                    found.push((header.kind, header.length));
                    true
                });
                assert!(all);
            }
            assert_eq!(found, frames);
            assert!(walk.is_between());
        }
    }
}

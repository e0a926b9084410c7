//! What begins and ends a segment.

use bytes::{Buf, BufMut};

use super::{seal, sealed};

/// The length of a [`Mark`].
pub(crate) const MARK: usize = 64;

/// The length of a [`Seal`].
pub(crate) const SEAL: usize = 64;

const MARK_MAGIC: u32 = u32::from_le_bytes(*b"LMRK");
const SEAL_MAGIC: u32 = u32::from_le_bytes(*b"LSEA");

/// Which of the two queues of a volume a segment belongs to (Yang et al., S3-FIFO, SOSP 2023).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What was stored for the first time.
    Fresh,
    /// What was asked for again while it was fresh, or soon after.
    Kept,
}

/// The first bytes of a segment: who lives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// A number that no other segment has had or will have. All its records have later numbers.
    pub(crate) life: u64,
    pub(crate) stream: Stream,
}

impl Mark {
    pub(crate) fn encode(&self, nonce: u64) -> [u8; MARK] {
        let mut block = [0; MARK];
        let mut to = &mut block[..];
        to.put_u32_le(MARK_MAGIC);
        to.put_u32_le(match self.stream {
            Stream::Fresh => 0,
            Stream::Kept => 1,
        });
        to.put_u64_le(self.life);
        seal(nonce, block)
    }

    pub(crate) fn parse(nonce: u64, bytes: &[u8]) -> Option<Self> {
        let mut from = bytes.get(..MARK)?;
        if !sealed(nonce, from) || from.get_u32_le() != MARK_MAGIC {
            return None;
        }
        let stream = match from.get_u32_le() {
            0 => Stream::Fresh,
            1 => Stream::Kept,
            _ => return None,
        };
        Some(Self {
            life: from.get_u64_le(),
            stream,
        })
    }
}

/// The last bytes of a full segment. Before it stands a copy of each record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) life: u64,
    /// The number of the last record.
    pub(crate) last: u64,
    pub(crate) records: u32,
}

impl Seal {
    pub(crate) fn encode(&self, nonce: u64) -> [u8; SEAL] {
        let mut block = [0; SEAL];
        let mut to = &mut block[..];
        to.put_u32_le(SEAL_MAGIC);
        to.put_u32_le(self.records);
        to.put_u64_le(self.life);
        to.put_u64_le(self.last);
        seal(nonce, block)
    }

    pub(crate) fn parse(nonce: u64, bytes: &[u8]) -> Option<Self> {
        let mut from = bytes.get(..SEAL)?;
        if !sealed(nonce, from) || from.get_u32_le() != SEAL_MAGIC {
            return None;
        }
        let records = from.get_u32_le();
        Some(Self {
            records,
            life: from.get_u64_le(),
            last: from.get_u64_le(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_and_a_seal_read_back_on_their_own_volume_only() {
        let mark = Mark {
            life: 5,
            stream: Stream::Kept,
        };
        let seal = Seal {
            life: 5,
            last: 9,
            records: 3,
        };
        assert_eq!(Mark::parse(1, &mark.encode(1)), Some(mark));
        assert_eq!(Seal::parse(1, &seal.encode(1)), Some(seal));
        assert_eq!(Mark::parse(2, &mark.encode(1)), None);
        assert_eq!(Seal::parse(2, &seal.encode(1)), None);
        assert_eq!(Mark::parse(0, &[0; MARK]), None, "an empty segment");
    }
}

//! A record: the header that stands before it and again at the end of its segment, and the table
//! that says where a body lies that is not in it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Geometry, UNIT, checksum, round_up, seal, sealed};
use crate::{Key, Variant};

/// The length of a [`Header`].
pub(crate) const HEADER: usize = 128;

/// How many blocks of a chunk have a checksum of their own.
const SUMS: usize = 4;

const MAGIC: u32 = u32::from_le_bytes(*b"LREC");
const EXTENT: usize = 32;

/// The checksums of the blocks of one chunk.
pub(crate) type Sums = [u32; SUMS];

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) key: Key,
    pub(crate) variant: Variant,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A head and its whole body.
    Inline,
    /// A head, and a table of where its body lies. Written after all of the body: the object
    /// exists from here on.
    Spread,
    /// A part of a body.
    Chunk,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Which life of the segment it was written in.
    pub(crate) life: u64,
    /// Its place in the order of everything that was ever stored or removed.
    pub(crate) number: u64,
    pub(crate) name: Name,
    /// What the caller gave the object to tell by whether it is still alive.
    pub(crate) born: u64,
    pub(crate) stored_at: u32,
    /// Of a chunk, the length of the chunk.
    pub(crate) body_len: u64,
    pub(crate) head_len: u32,
    pub(crate) extents: u32,
    pub(crate) head_sum: u32,
    pub(crate) table_sum: u32,
    /// Of the body bytes in this record.
    pub(crate) sums: Sums,
    /// Where in its segment it begins.
    pub(crate) at: u32,
}

impl Header {
    pub(crate) fn encode(&self, nonce: u64) -> [u8; HEADER] {
        let mut block = [0; HEADER];
        let mut to = &mut block[..];
        to.put_u32_le(MAGIC);
        to.put_u32_le(match self.kind {
            Kind::Inline => 1,
            Kind::Spread => 2,
            Kind::Chunk => 3,
        });
        to.put_u64_le(self.life);
        to.put_u64_le(self.number);
        to.put_slice(&self.name.key.0);
        to.put_slice(&self.name.variant.0);
        to.put_u64_le(self.born);
        to.put_u32_le(self.stored_at);
        to.put_u64_le(self.body_len);
        to.put_u32_le(self.head_len);
        to.put_u32_le(self.extents);
        to.put_u32_le(self.head_sum);
        to.put_u32_le(self.table_sum);
        self.sums.iter().for_each(|sum| to.put_u32_le(*sum));
        to.put_u32_le(self.at);
        seal(nonce, block)
    }

    /// The header in `bytes`, if its lengths can be true on a volume of this geometry.
    pub(crate) fn parse(nonce: u64, geometry: &Geometry, bytes: &[u8]) -> Option<Self> {
        let mut from = bytes.get(..HEADER)?;
        if !sealed(nonce, from) || from.get_u32_le() != MAGIC {
            return None;
        }
        let kind = match from.get_u32_le() {
            1 => Kind::Inline,
            2 => Kind::Spread,
            3 => Kind::Chunk,
            _ => return None,
        };
        let (life, number) = (from.get_u64_le(), from.get_u64_le());
        let (mut key, mut variant) = ([0; 16], [0; 16]);
        from.copy_to_slice(&mut key);
        from.copy_to_slice(&mut variant);
        let header = Self {
            kind,
            life,
            number,
            name: Name {
                key: Key(key),
                variant: Variant(variant),
            },
            born: from.get_u64_le(),
            stored_at: from.get_u32_le(),
            body_len: from.get_u64_le(),
            head_len: from.get_u32_le(),
            extents: from.get_u32_le(),
            head_sum: from.get_u32_le(),
            table_sum: from.get_u32_le(),
            sums: std::array::from_fn(|_| from.get_u32_le()),
            at: from.get_u32_le(),
        };
        header.is_plausible(geometry).then_some(header)
    }

    fn is_plausible(&self, geometry: &Geometry) -> bool {
        let chunk = u64::from(geometry.chunk);
        let shape = match self.kind {
            Kind::Inline => self.extents == 0 && self.body_len <= chunk,
            Kind::Chunk => self.extents == 0 && self.head_len == 0 && self.body_len <= chunk,
            Kind::Spread => u64::from(self.extents) == extents(self.body_len, geometry),
        };
        let end = u64::from(self.at).checked_add(self.len());
        shape && end.is_some_and(|end| end <= geometry.segment)
    }

    /// What stands between the header and the body.
    pub(crate) fn front_len(&self) -> usize {
        self.head_len as usize + self.extents as usize * EXTENT
    }

    /// Where the body bytes of this record begin in its segment.
    pub(crate) fn body_at(&self) -> u64 {
        u64::from(self.at) + (HEADER + self.front_len()) as u64
    }

    /// The body bytes in this record.
    pub(crate) fn body_here(&self) -> u64 {
        match self.kind {
            Kind::Inline | Kind::Chunk => self.body_len,
            Kind::Spread => 0,
        }
    }

    /// The bytes that it takes in its segment.
    pub(crate) fn len(&self) -> u64 {
        let bytes = (HEADER + self.front_len()) as u64;
        round_up(bytes.saturating_add(self.body_here()).min(1 << 62), UNIT)
    }
}

/// Where a chunk of a body lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) life: u64,
    pub(crate) segment: u32,
    /// Where in the segment its bytes begin.
    pub(crate) at: u32,
    pub(crate) sums: Sums,
}

/// The segment of bytes that another engine keeps. The life is the number of the body, and the
/// position is one in the body.
pub(crate) const ELSEWHERE: u32 = u32::MAX;

impl Extent {
    /// The extents in `bytes`, in order.
    pub(crate) fn parse_all(bytes: &[u8]) -> impl Iterator<Item = Self> + '_ {
        bytes.chunks_exact(EXTENT).map(|mut from| Self {
            life: from.get_u64_le(),
            segment: from.get_u32_le(),
            at: from.get_u32_le(),
            sums: std::array::from_fn(|_| from.get_u32_le()),
        })
    }
}

/// How many extents a body of this length has.
pub(crate) fn extents(body_len: u64, geometry: &Geometry) -> u64 {
    body_len.div_ceil(u64::from(geometry.chunk))
}

/// A table of extents as bytes, and its checksum.
pub(crate) fn table(nonce: u64, extents: &[Extent]) -> (Bytes, u32) {
    let mut to = BytesMut::with_capacity(extents.len() * EXTENT);
    for extent in extents {
        to.put_u64_le(extent.life);
        to.put_u32_le(extent.segment);
        to.put_u32_le(extent.at);
        extent.sums.iter().for_each(|sum| to.put_u32_le(*sum));
    }
    let bytes = to.freeze();
    let sum = checksum(nonce, &bytes);
    (bytes, sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(1 << 22, 1 << 18).unwrap()
    }

    fn header() -> Header {
        Header {
            kind: Kind::Inline,
            life: 1 << 40,
            number: (1 << 40) + 5,
            name: Name {
                key: Key([7; 16]),
                variant: Variant([8; 16]),
            },
            born: 3,
            stored_at: 1_700_000_000,
            body_len: 999,
            head_len: 321,
            extents: 0,
            head_sum: 11,
            table_sum: 12,
            sums: [1, 2, 3, 4],
            at: 64,
        }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_passes() {
        let bytes = header().encode(5);
        assert_eq!(Header::parse(5, &geometry(), &bytes), Some(header()));
        assert_eq!(Header::parse(6, &geometry(), &bytes), None);
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(5, &geometry(), &flipped), None);
        }
    }

    #[test]
    fn a_header_whose_lengths_leave_the_segment_is_none() {
        let beyond = [
            Header {
                at: u32::MAX,
                ..header()
            },
            Header {
                body_len: u64::MAX,
                ..header()
            },
            Header {
                head_len: u32::MAX,
                ..header()
            },
            Header {
                kind: Kind::Spread,
                body_len: u64::MAX,
                ..header()
            },
            Header {
                kind: Kind::Spread,
                extents: u32::MAX,
                ..header()
            },
            Header {
                kind: Kind::Chunk,
                ..header()
            },
        ];
        for header in beyond {
            assert_eq!(Header::parse(5, &geometry(), &header.encode(5)), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_do_not_but_nothing_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            fields in any::<(u64, u32, u32, u32)>(),
        ) {
            prop_assert_eq!(Header::parse(1, &geometry(), &bytes), None);
            prop_assert!(Extent::parse_all(&bytes).count() <= bytes.len() / EXTENT);

            let (body_len, head_len, extents, at) = fields;
            let kinds = [Kind::Inline, Kind::Spread, Kind::Chunk];
            for kind in kinds {
                let strange = Header { kind, body_len, head_len, extents, at, ..header() };
                if let Some(parsed) = Header::parse(1, &geometry(), &strange.encode(1)) {
                    prop_assert!(u64::from(parsed.at) + parsed.len() <= geometry().segment);
                }
            }
        }
    }
}

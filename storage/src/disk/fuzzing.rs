//! What a fuzzer calls: every parser of what stands on a disk, with any bytes.

use super::format::{
    Extent, Geometry, HEADER, Header, MARK, Mark, REMOVAL, Reading, Removal, SEAL, Seal, Slot,
    Superblock, checksum,
};
use super::recovery::headers_in;

const NONCE: u64 = 5;

/// Takes bytes for each of the things that a volume is made of. What is one of them reads back as what it was written
/// as; what is none is refused.
///
/// A checksum would keep nearly everything out: each is tried once more with one that is right.
///
/// # Panics
///
/// If a parser does, or if something does not read back.
pub fn take_apart(bytes: &[u8]) {
    let Some(geometry) = Geometry::new(2 << 20, 64 << 10) else {
        return;
    };
    for_both(0, 64, bytes, |bytes| {
        if let Reading::Valid(superblock) = Superblock::parse(bytes) {
            let again = Superblock::parse(&superblock.encode());
            assert_eq!(again, Reading::Valid(superblock));
        }
    });
    for_both(NONCE, HEADER, bytes, |bytes| {
        if let Some(header) = Header::parse(NONCE, &geometry, bytes) {
            let again = Header::parse(NONCE, &geometry, &header.encode(NONCE));
            assert_eq!(again, Some(header));
            assert!(header.body_at() + header.body_here() <= geometry.segment);
        }
    });
    for_both(NONCE, MARK, bytes, |bytes| {
        if let Some(mark) = Mark::parse(NONCE, bytes) {
            assert_eq!(Mark::parse(NONCE, &mark.encode(NONCE)), Some(mark));
        }
    });
    for_both(NONCE, SEAL, bytes, |bytes| {
        if let Some(seal) = Seal::parse(NONCE, bytes) {
            assert_eq!(Seal::parse(NONCE, &seal.encode(NONCE)), Some(seal));
        }
    });
    for_both(NONCE, REMOVAL, bytes, |bytes| {
        let Some(line) = bytes.first_chunk() else {
            return;
        };
        if let Slot::Removal(removal) = Removal::parse(NONCE, line) {
            let again = Removal::parse(NONCE, &removal.encode(NONCE));
            assert_eq!(again, Slot::Removal(removal));
        }
    });
    assert!(Extent::parse_all(bytes).count() <= bytes.len());
    let headers = headers_in(NONCE, &geometry, 1, bytes);
    assert!(headers.len() <= bytes.len() / HEADER);
}

fn for_both(nonce: u64, len: usize, bytes: &[u8], check: impl Fn(&[u8])) {
    check(bytes);
    if let Some(block) = bytes.get(..len) {
        let mut sealed = block.to_vec();
        let sum = checksum(nonce, &sealed[..len - 4]);
        sealed[len - 4..].copy_from_slice(&sum.to_le_bytes());
        check(&sealed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::format::{Kind, Name, Stream, Target};
    use crate::{Key, Variant};

    /// One of each, to begin with.
    fn seeds() -> Vec<Vec<u8>> {
        let (key, variant) = (Key([3; 16]), Variant([4; 16]));
        let header = Header {
            kind: Kind::Inline,
            life: 1,
            number: 9,
            name: Name { key, variant },
            born: 2,
            stored_at: 3,
            body_len: 100,
            head_len: 10,
            extents: 0,
            head_sum: 4,
            table_sum: 0,
            sums: [5; 4],
            at: 64,
        };
        let superblock = Superblock {
            geometry: Geometry::new(2 << 20, 64 << 10).unwrap(),
            nonce: NONCE,
            next: 7,
            failed: false,
            engine: crate::disk::Engine::Log,
        };
        let mark = Mark {
            life: 1,
            stream: Stream::Kept,
        };
        let seal = Seal {
            life: 1,
            last: 9,
            records: 1,
        };
        let removal = Removal {
            target: Target::Variant(key, variant),
            number: 8,
        };
        vec![
            superblock.encode().to_vec(),
            [&mark.encode(NONCE)[..], &header.encode(NONCE)].concat(),
            header.encode(NONCE).to_vec(),
            seal.encode(NONCE).to_vec(),
            removal.encode(NONCE).to_vec(),
            Vec::new(),
        ]
    }

    #[test]
    fn mutated_blocks_are_read_or_refused() {
        let mut state = 1_u64;
        let mut below = |limit: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % limit.max(1)
        };
        let seeds = seeds();
        seeds.iter().for_each(|seed| take_apart(seed));
        for _ in 0..100_000 {
            let mut bytes = seeds[below(seeds.len())].clone();
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                match below(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.extend_from_slice(&[0xff; 8]),
                    _ if bytes.is_empty() => {}
                    2 => bytes[at] ^= 1 << below(8),
                    _ => {
                        let to = (at + 1 + below(8)).min(bytes.len());
                        bytes[at..to].fill([0, 1, 0x7f, 0xff][below(4)]);
                    }
                }
            }
            take_apart(&bytes);
        }
    }
}

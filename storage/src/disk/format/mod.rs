//! The bytes on a disk. Everything read back is foreign input: it parses, or it is nothing.
//!
//! ```text
//! volume   superblock ×2 │ removals (two halves) │ segment │ segment │ …
//! segment  mark │ record │ record │ … free … │ a header per record │ seal
//! record   header │ head │ extents │ body or part of one                     (64-byte aligned)
//! ```
//!
//! A header names the whole key, the segment's life and the position, and carries the checksums of
//! all that follows. Each checksum begins with the volume's nonce, so that what an earlier
//! formatting of the same file left behind never matches.

mod record;
mod removal;
mod segment;
mod superblock;

pub(crate) use record::{ELSEWHERE, Extent, HEADER, Header, Kind, Name, Sums, extents, table};
pub(crate) use removal::{REMOVAL, Removal, Slot, Target};
pub(crate) use segment::{MARK, Mark, SEAL, Seal, Stream};
pub(crate) use superblock::{BLOCK, Geometry, Reading, SUPERBLOCKS, Superblock};

/// Records begin at multiples of this.
pub(crate) const UNIT: u64 = 1 << UNIT_SHIFT;

/// Its binary logarithm.
pub(crate) const UNIT_SHIFT: u32 = 6;

/// The checksum of `bytes` on the volume with this nonce.
pub(crate) fn checksum(nonce: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Ends a block whose last four bytes are its checksum.
fn seal<const N: usize>(nonce: u64, mut block: [u8; N]) -> [u8; N] {
    let sum = checksum(nonce, &block[..N - 4]);
    block[N - 4..].copy_from_slice(&sum.to_le_bytes());
    block
}

/// Whether the last four bytes of a block are its checksum.
fn sealed(nonce: u64, block: &[u8]) -> bool {
    let Some((content, sum)) = block.split_last_chunk::<4>() else {
        return false;
    };
    checksum(nonce, content).to_le_bytes() == *sum
}

/// An offset or a length in memory. What is too long for this machine is refused where it is used.
pub(crate) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The next multiple of `unit`, which is a power of two.
pub(crate) const fn round_up(value: u64, unit: u64) -> u64 {
    (value + unit - 1) & !(unit - 1)
}

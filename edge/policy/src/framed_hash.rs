//! 128 bits of `BLAKE2b` over parts that cannot run into each other.

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};

/// Hashes a sequence of parts, each framed by its length: `("a", "bc")` is not `("ab", "c")`.
#[derive(Default)]
pub(crate) struct FramedHash(Blake2b<U16>);

impl FramedHash {
    pub(crate) fn part(&mut self, part: &[u8]) -> &mut Self {
        // A length fits 64 bits wherever this compiles.
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.0.update(len.to_le_bytes());
        self.0.update(part);
        self
    }

    /// A part that may be absent, which is not the same as empty.
    pub(crate) fn optional(&mut self, part: Option<&[u8]>) -> &mut Self {
        match part {
            Some(part) => self.part(b"+").part(part),
            None => self.part(b"-"),
        }
    }

    pub(crate) fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(parts: &[Option<&[u8]>]) -> [u8; 16] {
        let mut hash = FramedHash::default();
        for part in parts {
            hash.optional(*part);
        }
        hash.finish()
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let lists: [&[Option<&[u8]>]; 7] = [
            &[],
            &[None],
            &[Some(b"")],
            &[Some(b""), Some(b"")],
            &[Some(b"a"), Some(b"bc")],
            &[Some(b"ab"), Some(b"c")],
            &[Some(b"abc")],
        ];
        for (at, one) in lists.iter().enumerate() {
            for other in &lists[at + 1..] {
                assert_ne!(hash(one), hash(other));
            }
        }
    }
}

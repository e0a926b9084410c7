//! Where a name is found.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map from names, which are hashes already.
pub(super) type Names<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

/// The hasher that does nothing.
#[derive(Debug, Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, name: u64) {
        self.0 = name;
    }
}

/// What costs are counted in, in bytes: 32 bits reach to 64 GiB.
const UNIT: u64 = 16;

pub(super) fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

pub(super) fn bytes(units: u32) -> u64 {
    u64::from(units) * UNIT
}

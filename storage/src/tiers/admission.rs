//! Which responses are worth writing to a disk.

use crate::Key;
use crate::disk::{Admit, Disk};

/// At which request for it a response goes to the disk.
///
/// Most responses are asked for once. Writing them costs the disk its life and others their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admission {
    /// At the first: when it is received.
    Always,
    /// At the second within living memory.
    #[default]
    Second,
    /// At the third.
    Third,
    /// Not at all.
    Never,
}

impl Admission {
    /// Counts a request for `key` that no disk answers, and says whether its response goes to the disk.
    pub(super) fn admits(self, disk: &Disk, key: Key) -> bool {
        match self {
            Self::Always => true,
            Self::Second => disk.asked(key, Admit::Second),
            Self::Third => disk.asked(key, Admit::Third),
            Self::Never => false,
        }
    }
}

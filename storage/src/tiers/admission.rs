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
    /// At the first while a third of the disk is free; then at the second within living memory that memory does not answer.
    /// What memory answers has to be asked for more often: it is read from there meanwhile, and most of it is soon forgotten.
    #[default]
    Auto,
    /// At the second within living memory.
    Second,
    /// At the third.
    Third,
    /// Not at all.
    Never,
}

/// How many requests memory has to answer before a body is written that was not worth it when it came. It is there
/// after a restart then.
pub(crate) const ASKED_ABOVE: u32 = 8;

impl Admission {
    /// The same for a request that memory answers, as the so manieth.
    pub fn admits_copy(self, disk: &Disk, key: Key, asked: u32) -> bool {
        let is_due = self != Self::Auto || asked >= ASKED_ABOVE;
        // That it was asked for is to be remembered in any case.
        self.admits(disk, key) && is_due
    }

    /// Counts a request for `key` that no disk answers, and says whether its response goes to the disk.
    pub fn admits(self, disk: &Disk, key: Key) -> bool {
        match self {
            Self::Always => true,
            Self::Auto => disk.asked(key, Admit::Auto),
            Self::Second => disk.asked(key, Admit::Second),
            Self::Third => disk.asked(key, Admit::Third),
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::Variant;
    use crate::disk::{NewRecord, Settings, VolumeSettings};

    const MIB: u64 = 1 << 20;

    fn disk(folder: &tempfile::TempDir) -> Arc<Disk> {
        let volume = VolumeSettings::new(folder.path().join("volume"), 32 * MIB);
        let settings = Settings {
            object_max: 4 * MIB,
            ..Settings::new(vec![volume], || Duration::ZERO)
        };
        Disk::open(settings).unwrap()
    }

    fn store(disk: &Disk, number: u8) {
        let record = NewRecord {
            key: Key([number; 16]),
            variant: Variant([0; 16]),
            born: 0,
            stored_at: 0,
            head: Bytes::new(),
            body_len: Some(MIB / 2),
        };
        loop {
            let mut writer = disk.writer(record.clone()).unwrap();
            let body = vec![number; 1 << 19];
            if writer.write(body.into()).is_ok() && writer.commit().is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn by_default_everything_is_written_while_a_third_of_a_disk_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(&folder);
        let key = |number| Key([number; 16]);
        assert!(Admission::default().admits(&disk, key(200)));
        assert!(!Admission::Second.admits(&disk, key(201)));
        (0..48).for_each(|number| store(&disk, number));
        assert_eq!(
            [(); 2].map(|()| Admission::default().admits(&disk, key(202))),
            [false, true]
        );
        let copies = |admission: Admission, number| {
            admission.admits(&disk, key(number));
            [1, ASKED_ABOVE - 1, ASKED_ABOVE]
                .map(|asked| admission.admits_copy(&disk, key(number), asked))
        };
        assert_eq!(copies(Admission::Auto, 210), [false, false, true]);
        assert_eq!(copies(Admission::Second, 212), [true; 3]);
    }
}

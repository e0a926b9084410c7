//! A volume in memory: a start takes a fraction of a millisecond, so that there can be many.

use std::io;

use parking_lot::RwLock;

use super::*;
use crate::disk::format::{Reading, Superblock};
use crate::disk::medium::Medium;

/// The bytes of a volume.
struct Image(RwLock<Vec<u8>>);

impl Medium for Image {
    fn read_cached(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(to, offset)?;
        Ok(to.len())
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.read();
        let from = usize::try_from(offset).unwrap();
        let part = bytes.get(from..from + to.len());
        to.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.0.write()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The superblock of a volume, if a copy of it is intact.
pub(super) fn superblock_of(image: &[u8]) -> Option<Superblock> {
    let copies = format::SUPERBLOCKS;
    copies.iter().find_map(|at| {
        let at = usize::try_from(*at).unwrap();
        match Superblock::parse(image.get(at..)?) {
            Reading::Valid(superblock) => Some(superblock),
            Reading::Other | Reading::Foreign => None,
        }
    })
}

/// A start from these bytes; none if they are no volume.
pub(super) fn open_image(place: &Place, image: Vec<u8>) -> Option<Arc<Disk>> {
    let superblock = superblock_of(&image)?;
    // A start would format it.
    if superblock.engine != engine() || superblock.geometry != place.geometry() {
        return None;
    }
    let prepared = Prepared {
        path: place.file(),
        size: place.settings.volumes[0].size,
        superblock,
        medium: Arc::new(Image(RwLock::new(image))),
    };
    let settings = Settings {
        io_threads: 1,
        recovery_threads: 1,
        ..place.settings.clone()
    };
    let disk = Disk::open_prepared(settings, vec![prepared]).unwrap();
    disk.wait_until_recovered();
    Some(disk)
}

/// How far to go from one start to the next. Another engine takes its time to start.
pub(super) fn step(step: usize) -> usize {
    if bodies_are_in_the_log() {
        step
    } else {
        step * 23
    }
}

//! The file under a volume. Tests put faults between.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};

/// Something with bytes at offsets.
pub(crate) trait Medium: Send + Sync + 'static {
    /// Reads what can be had without waiting: all, some or none of it.
    fn read_cached(&self, to: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads all of it, and waits for it.
    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()>;

    /// Has these bytes brought to the page cache, if it can. It may wait a little.
    fn will_read(&self, offset: u64, len: u64) {
        let (_, _) = (offset, len);
    }

    /// Writes all of it.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of it, and returns when it would survive a power cut.
    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns when all that was written would survive a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// What the system counts the room of a file in.
const BLOCK: u64 = 512;

/// A file on a file system.
#[derive(Debug)]
pub(crate) struct VolumeFile {
    file: File,
    /// Some file systems cannot say what is in the page cache.
    waits_always: AtomicBool,
}

/// Why there is no file to work with.
#[derive(Debug)]
pub(crate) enum NoFile {
    Unusable(io::Error),
    InUse,
    NoRoom(io::Error),
}

impl VolumeFile {
    /// Opens the file, or makes it, for this process alone. True if there was none, or an empty one.
    pub(crate) fn open(path: &Path) -> Result<(Self, bool), NoFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(NoFile::Unusable)?;
        lock(&file)?;
        let metadata = file.metadata().map_err(NoFile::Unusable)?;
        if !metadata.is_file() {
            let kind = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(NoFile::Unusable(kind));
        }
        Ok((Self::new(file), metadata.len() == 0))
    }

    /// Opens the file to look at it.
    pub(crate) fn open_to_read(path: &Path) -> io::Result<Self> {
        Ok(Self::new(File::open(path)?))
    }

    fn new(file: File) -> Self {
        Self {
            file,
            waits_always: AtomicBool::new(false),
        }
    }

    /// Makes the file exactly this long, with all of its room taken from the file system now.
    pub(crate) fn reserve(&self, size: u64) -> Result<(), NoFile> {
        let before = self.len().map_err(NoFile::Unusable)?.min(size);
        self.ask_for_room(size)?;
        self.file
            .set_len(size)
            .map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge | io::ErrorKind::StorageFull => NoFile::NoRoom(error),
                _ => NoFile::Unusable(error),
            })?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size) {
            // Not every file system can promise room; there, a write may fail later.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => {
                // What was taken in vain goes back at once; what was there before stays.
                let shrunk = self.file.set_len(before);
                return Err(NoFile::NoRoom(shrunk.err().unwrap_or_else(|| error.into())));
            }
        }
        // Objects are read one by one. Reading ahead would fill the page cache with their neighbours.
        // A file system that takes no advice works as well.
        rustix::fs::fadvise(&self.file, 0, None, Advice::Random).unwrap_or_default();
        Ok(())
    }

    /// Some file systems take all that is free before they say that it does not suffice: nobody else could write meanwhile.
    fn ask_for_room(&self, size: u64) -> Result<(), NoFile> {
        let taken = self.file.metadata().map_err(NoFile::Unusable)?.blocks() * BLOCK;
        // Where the system does not tell, the attempt will.
        let Ok(told) = rustix::fs::fstatvfs(&self.file) else {
            return Ok(());
        };
        let free = told.f_bfree.saturating_mul(told.f_frsize);
        match size.saturating_sub(taken) > free {
            true => Err(NoFile::NoRoom(io::ErrorKind::StorageFull.into())),
            false => Ok(()),
        }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// A process that is ending, or that was started a moment ago and has not let go of what it
/// inherited, gets this many times ten milliseconds.
const LOCK_ATTEMPTS: u32 = 50;

fn lock(file: &File) -> Result<(), NoFile> {
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(other) => return Err(NoFile::Unusable(other.into())),
        }
    }
    Err(NoFile::InUse)
}

impl Medium for VolumeFile {
    fn read_cached(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.waits_always.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let mut slices = [IoSliceMut::new(to)];
        match rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.waits_always.store(true, Ordering::Relaxed);
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }

    fn will_read(&self, offset: u64, len: u64) {
        // It is a hint: without it, the next read waits.
        let len = std::num::NonZeroU64::new(len);
        rustix::fs::fadvise(&self.file, offset, len, Advice::WillNeed).unwrap_or_default();
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_durably(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let slices = [IoSlice::new(bytes)];
            match rustix::io::pwritev2(&self.file, &slices, offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    self.file.write_all_at(bytes, offset)?;
                    return self.file.sync_data();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

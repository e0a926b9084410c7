//! A number for each key that many responses are stored under, which no list says where to find: with another number,
//! what was stored under the first is not found any more.
//!
//! Where stored responses outlive the process, so do the numbers: in a file that belongs to a log of purges, as the
//! responses do. A number is used by one process only, unless the file says that it is still in force. Where the file is
//! gone, damaged or another log's, everything begins anew, and nothing from before is found.

mod file;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Key;
use crate::purge::LogId;
use file::EpochsFile;

/// Keys that are listed; with one more, everything counts as invalidated.
const KEYS_MAX: usize = 64 * 1024;

/// The numbers.
pub struct Epochs {
    known: Mutex<Known>,
    file: Option<EpochsFile>,
}

struct Known {
    listed: HashMap<Key, Epoch>,
    /// Of keys that are not listed.
    base: u64,
    next: u64,
    /// Whether any number was asked for: else nothing is to be invalidated.
    asked: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Never,
    Ever,
}

/// The number of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Epoch {
    number: u64,
    use_: Use,
}

/// Whether anything may be stored under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Unused,
    Used,
}

/// What an invalidation has to write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    One { key: Key, number: u64, base: u64 },
    All { base: u64 },
}

/// An invalidation that holds already, and does not outlive the process yet.
#[must_use = "it does not outlive the process before it is written"]
pub struct Unwritten {
    epochs: Arc<Epochs>,
    change: Change,
}

impl Epochs {
    /// Numbers that end with the process. `start` is greater than all that an earlier one may have used.
    pub fn volatile(start: u64) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::new(Known::new(start)),
            file: None,
        })
    }

    /// The numbers in the file at `path`, if it is of this log and all that was written; and otherwise new ones. The
    /// `witness` is a file beside what is stored, which says how far the first must reach.
    pub fn open(path: &Path, witness: &Path, log: LogId, start: u64) -> Arc<Self> {
        let mut known = Known::new(start);
        let (file, saved) = EpochsFile::open(path, witness, log);
        if let Some(saved) = saved {
            known.base = saved.base;
            known.asked = Asked::Ever;
            for (key, number) in saved.listed {
                known.next = known.next.max(number.saturating_add(1));
                let use_ = Use::Used;
                known.listed.insert(key, Epoch { number, use_ });
            }
            known.next = known.next.max(saved.base.saturating_add(1));
        }
        Arc::new(Self {
            known: Mutex::new(known),
            file: Some(file),
        })
    }

    /// The number of a key. Something may be stored under it from now on.
    pub fn of(self: &Arc<Self>, key: Key) -> u64 {
        let mut known = self.known.lock();
        if known.asked == Asked::Never {
            known.asked = Asked::Ever;
            self.begin(known.base);
        }
        match known.listed.get_mut(&key) {
            Some(epoch) => {
                epoch.use_ = Use::Used;
                epoch.number
            }
            None => known.base,
        }
    }

    /// Has the file begun, on a thread that may wait. Until it is there, the numbers end with the process.
    fn begin(self: &Arc<Self>, base: u64) {
        if self.file.is_none() {
            return;
        }
        let epochs = Arc::clone(self);
        let thread = std::thread::Builder::new().name("epochs".to_owned());
        let begun = thread.spawn(move || {
            let file = epochs.file.as_ref();
            if let Some(Err(error)) = file.map(|file| file.begin(base)) {
                tracing::warn!(%error, "what is stored of queries will not be found by the next start");
            }
        });
        if let Err(error) = begun {
            tracing::warn!(%error, "no thread for the file of epochs");
        }
    }

    /// What was stored under the number of `key` is not found any more. To be written where it is to outlive the process.
    pub fn invalidate(self: &Arc<Self>, key: Key) -> Option<Unwritten> {
        let change = self.known.lock().invalidate(key)?;
        self.file.is_some().then(|| Unwritten {
            epochs: Arc::clone(self),
            change,
        })
    }
}

impl Known {
    fn new(start: u64) -> Self {
        Self {
            listed: HashMap::new(),
            base: start,
            next: start.saturating_add(1),
            asked: Asked::Never,
        }
    }

    fn invalidate(&mut self, key: Key) -> Option<Change> {
        if self.asked == Asked::Never {
            return None;
        }
        let number = self.next;
        let epoch = Epoch {
            number,
            use_: Use::Unused,
        };
        let listed = self.listed.get(&key);
        if listed.is_some_and(|listed| listed.use_ == Use::Unused) {
            // There is nothing to invalidate.
            return None;
        }
        if listed.is_none() && self.listed.len() >= KEYS_MAX {
            self.listed.clear();
            self.base = number;
            self.next += 1;
            return Some(Change::All { base: number });
        }
        self.listed.insert(key, epoch);
        self.next += 1;
        let base = self.base;
        Some(Change::One { key, number, base })
    }
}

impl Unwritten {
    /// Writes it down, and waits until it would survive a power cut. For a thread that may wait.
    ///
    /// # Errors
    /// What the system says. The file is gone then, so that the next start finds nothing that it does not know of.
    pub fn write(self) -> io::Result<()> {
        let Some(file) = &self.epochs.file else {
            return Ok(());
        };
        match self.change {
            Change::One { key, number, base } => file.append((key, number), base),
            Change::All { base } => file.renew(base),
        }
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").finish_non_exhaustive()
    }
}

impl fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unwritten").field(&self.change).finish()
    }
}

#[cfg(test)]
mod tests;

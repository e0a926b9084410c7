//! Purges that wait for a log that cannot be reached: a file each, in the order in which they came.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use purge_api::Order;
use serde::{Deserialize, Serialize};
use storage::purge::LogError;
use tokio::time::sleep;

use super::{Shared, publish};
use crate::purges::log::{PublishError, Published};

/// Purges that may wait; one more is refused.
pub(crate) const QUEUE_MAX: usize = 10_000;
/// Between two looks at what waits.
const PAUSE: Duration = Duration::from_millis(250);

/// A purge that waits.
#[derive(Debug, Deserialize, Serialize)]
struct Waiting {
    site: Option<String>,
    purge: Order,
}

/// The outbox of a node.
#[derive(Debug)]
pub(crate) struct Outbox {
    folder: PathBuf,
    /// The number of the next file.
    next: Mutex<u64>,
    length: AtomicUsize,
}

impl Outbox {
    /// Opens the outbox below a folder, or makes one.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let folder = folder.join("outbox");
        fs::create_dir_all(&folder)?;
        let waiting = numbers(&folder)?;
        Ok(Self {
            folder,
            next: Mutex::new(waiting.last().map_or(1, |last| last + 1)),
            length: AtomicUsize::new(waiting.len()),
        })
    }

    /// Purges that wait.
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Keeps a purge until the log can be reached. It blocks until the disk has it.
    pub(crate) fn put(&self, order: &Order, site: Option<&str>) -> Result<Published, PublishError> {
        let mut next = self.next.lock();
        if self.len() >= QUEUE_MAX {
            return Err(PublishError::Busy);
        }
        let waiting = Waiting {
            site: site.map(str::to_owned),
            purge: order.clone(),
        };
        let path = self.path(*next);
        self.write(&path, &waiting).map_err(|source| {
            let error = LogError::Io { path, source };
            PublishError::Log(Arc::new(error))
        })?;
        *next += 1;
        self.length.fetch_add(1, Ordering::AcqRel);
        Ok(Published::Queued)
    }

    fn write(&self, path: &Path, waiting: &Waiting) -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(waiting)?)?;
        file.sync_data()?;
        fs::rename(&draft, path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.json"))
    }

    /// The oldest that waits. One that cannot be read is told of and left aside.
    fn first(&self) -> io::Result<Option<(u64, Waiting)>> {
        for number in numbers(&self.folder)? {
            let path = self.path(number);
            match serde_json::from_slice(&fs::read(&path)?) {
                Ok(waiting) => return Ok(Some((number, waiting))),
                Err(error) => {
                    tracing::error!(%error, file = %path.display(), "a purge in the outbox cannot be read");
                    fs::rename(&path, path.with_extension("bad"))?;
                    self.length.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        Ok(None)
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.path(number))?;
        self.length.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }
}

/// The numbers of what waits, in their order.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Brings what waits into the log, one after the other, for ever.
pub(super) async fn drain(shared: Arc<Shared>) {
    let Some(outbox) = &shared.outbox else {
        return;
    };
    loop {
        if outbox.len() == 0 {
            sleep(PAUSE).await;
            continue;
        }
        if let Err(error) = send_first(&shared, outbox).await {
            tracing::error!(%error, "the outbox of purges cannot be read");
            sleep(PAUSE).await;
        }
    }
}

async fn send_first(shared: &Shared, outbox: &Outbox) -> io::Result<()> {
    let Some((number, Waiting { site, purge })) = outbox.first()? else {
        return Ok(());
    };
    match publish::publish(shared, &purge, site.as_deref()).await {
        Ok(_) => {
            tracing::info!(id = purge.id, "a purge from the outbox is in the log");
            outbox.remove(number)
        }
        Err(error) => {
            tracing::warn!(%error, waiting = outbox.len(), "purges wait in the outbox");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> Order {
        Order::parse(br#"{"all":true}"#, id.to_owned(), "now".to_owned()).unwrap()
    }

    #[test]
    fn what_waits_is_there_after_a_restart_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path()).unwrap();
        for id in ["a", "b", "c"] {
            let put = outbox.put(&order(id), Some("s")).unwrap();
            assert_eq!(put, Published::Queued);
        }
        fs::write(outbox.path(1), "{").unwrap();
        drop(outbox);
        let outbox = Outbox::open(folder.path()).unwrap();
        assert_eq!(outbox.len(), 3);
        for id in ["b", "c"] {
            let (number, waiting) = outbox.first().unwrap().unwrap();
            assert_eq!(
                (waiting.purge.id.as_str(), waiting.site.as_deref()),
                (id, Some("s"))
            );
            outbox.remove(number).unwrap();
        }
        assert!(outbox.first().unwrap().is_none());
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn an_outbox_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path()).unwrap();
        outbox.length.store(QUEUE_MAX - 1, Ordering::Release);
        assert!(outbox.put(&order("a"), None).is_ok());
        let refused = outbox.put(&order("b"), None);
        assert!(matches!(refused, Err(PublishError::Busy)));
    }
}

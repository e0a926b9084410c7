//! Purges that wait for a log that cannot be reached: a file each, in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
/// Of those that left so many can still be found: it takes a moment until they are applied.
const LEFT_MAX: usize = 16;
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
    queue: Mutex<Queue>,
}

/// What waits.
#[derive(Debug)]
struct Queue {
    /// The number of the next file.
    next: u64,
    /// The numbers of the files, by the identifiers of the purges in them. One that cannot be read has none.
    numbers: HashMap<String, u64>,
    length: usize,
    /// The last that left for the log, the oldest first.
    left: VecDeque<Order>,
}

impl Outbox {
    /// Opens the outbox below a folder, or makes one.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let folder = folder.join("outbox");
        fs::create_dir_all(&folder)?;
        let waiting = numbers(&folder)?;
        let outbox = Self {
            queue: Mutex::new(Queue {
                next: waiting.last().map_or(1, |last| last + 1),
                numbers: HashMap::new(),
                length: waiting.len(),
                left: VecDeque::new(),
            }),
            folder,
        };
        for number in waiting {
            if let Some(waiting) = outbox.read(number)? {
                let mut queue = outbox.queue.lock();
                queue.numbers.insert(waiting.purge.id, number);
            }
        }
        Ok(outbox)
    }

    /// Purges that wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().length
    }

    /// The purge with that identifier, if it waits or has only just left. It blocks until the disk has told.
    pub(crate) fn find(&self, id: &str) -> Option<Order> {
        let number = self.queue.lock().numbers.get(id).copied();
        if let Some(number) = number
            && let Ok(Some(waiting)) = self.read(number)
        {
            return Some(waiting.purge);
        }
        let queue = self.queue.lock();
        queue.left.iter().find(|left| left.id == id).cloned()
    }

    /// Keeps a purge until the log can be reached. It blocks until the disk has it.
    pub(crate) fn put(&self, order: &Order, site: Option<&str>) -> Result<Published, PublishError> {
        let mut queue = self.queue.lock();
        if queue.length >= QUEUE_MAX {
            return Err(PublishError::Busy);
        }
        let waiting = Waiting {
            site: site.map(str::to_owned),
            purge: order.clone(),
        };
        let number = queue.next;
        let path = self.path(number);
        self.write(&path, &waiting).map_err(|source| {
            let error = LogError::Io { path, source };
            PublishError::Log(Arc::new(error))
        })?;
        queue.next += 1;
        queue.length += 1;
        queue.numbers.insert(order.id.clone(), number);
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
            if let Some(waiting) = self.read(number)? {
                return Ok(Some((number, waiting)));
            }
        }
        Ok(None)
    }

    /// What waits under a number. None where it cannot be understood: then it waits no more.
    fn read(&self, number: u64) -> io::Result<Option<Waiting>> {
        let path = self.path(number);
        match serde_json::from_slice(&fs::read(&path)?) {
            Ok(waiting) => Ok(Some(waiting)),
            Err(error) => {
                tracing::error!(%error, file = %path.display(), "a purge in the outbox cannot be read");
                fs::rename(&path, path.with_extension("bad"))?;
                self.queue.lock().forget(number);
                Ok(None)
            }
        }
    }

    /// A purge is in the log.
    fn leave(&self, number: u64, purge: Order) -> io::Result<()> {
        fs::remove_file(self.path(number))?;
        let mut queue = self.queue.lock();
        queue.forget(number);
        if queue.left.len() >= LEFT_MAX {
            queue.left.pop_front();
        }
        queue.left.push_back(purge);
        Ok(())
    }
}

impl Queue {
    fn forget(&mut self, number: u64) {
        self.length = self.length.saturating_sub(1);
        self.numbers.retain(|_, known| *known != number);
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
            outbox.leave(number, purge)
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
        assert_eq!(outbox.find("b"), Some(order("b")));
        assert_eq!(outbox.find("d"), None);
        fs::write(outbox.path(1), "{").unwrap();
        drop(outbox);
        let outbox = Outbox::open(folder.path()).unwrap();
        assert_eq!((outbox.len(), outbox.find("a")), (2, None));
        for id in ["b", "c"] {
            assert_eq!(outbox.find(id), Some(order(id)));
            let (number, waiting) = outbox.first().unwrap().unwrap();
            assert_eq!(
                (waiting.purge.id.as_str(), waiting.site.as_deref()),
                (id, Some("s"))
            );
            outbox.leave(number, waiting.purge).unwrap();
            assert_eq!(outbox.find(id), Some(order(id)), "it has only just left");
        }
        assert!(outbox.first().unwrap().is_none());
        assert_eq!(outbox.len(), 0);
        for more in 1..LEFT_MAX {
            let purge = order(&more.to_string());
            outbox.put(&purge, None).unwrap();
            let (number, waiting) = outbox.first().unwrap().unwrap();
            outbox.leave(number, waiting.purge).unwrap();
        }
        assert_eq!(outbox.find("b"), None);
        assert_eq!(outbox.find("c"), Some(order("c")));
    }

    #[test]
    fn an_outbox_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path()).unwrap();
        outbox.queue.lock().length = QUEUE_MAX - 1;
        assert!(outbox.put(&order("a"), None).is_ok());
        let refused = outbox.put(&order("b"), None);
        assert!(matches!(refused, Err(PublishError::Busy)));
    }
}

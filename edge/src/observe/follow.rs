//! `GET /v1/log`: the lines of requests as they end, for those who follow them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use purge_api::Reader;
use serde_json::Value;
use tokio::sync::mpsc;

use super::filter::Filter;

/// Who may follow at once.
const FOLLOWERS_MAX: usize = 8;
/// Lines that wait for a slow follower; further ones are dropped and counted.
const LINES_MAX: usize = 1024;
/// When nothing happens for so long, an empty line is sent: a follower that is gone is noticed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Who follows the log.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    all: Mutex<Vec<Follower>>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Follower {
    filter: Filter,
    /// The only sites whose lines are for it; none means all.
    sites: Option<Vec<String>>,
    lines: mpsc::Sender<Bytes>,
    dropped: Arc<AtomicU64>,
}

/// The lines of one follower.
#[derive(Debug)]
pub(crate) struct Following {
    lines: mpsc::Receiver<Bytes>,
    dropped: Arc<AtomicU64>,
}

/// Too many follow already.
#[derive(Debug)]
pub(super) struct Crowded;

impl Followers {
    /// Whether anybody follows: a request that ends asks nothing else.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Begins to follow, of all `sites` those that the reader may see.
    pub(super) fn follow<'a>(
        &self,
        filter: Filter,
        reader: Reader<'_>,
        sites: impl Iterator<Item = &'a str>,
    ) -> Result<Following, Crowded> {
        let own = || {
            sites
                .filter(|site| reader.sees(site))
                .map(str::to_owned)
                .collect()
        };
        let sites = (!reader.sees_all()).then(own);
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let follower = Follower {
            filter,
            sites,
            lines: sender,
            dropped: Arc::clone(&dropped),
        };
        let mut all = self.all.lock();
        all.retain(|it| !it.lines.is_closed());
        if all.len() >= FOLLOWERS_MAX {
            // Who is gone is noticed by the second one at the latest.
            let signs = all.iter().flat_map(|it| [&it.lines; 2]);
            signs.for_each(|it| it.try_send(Bytes::from_static(b"\n")).unwrap_or_default());
            return Err(Crowded);
        }
        all.push(follower);
        self.count.store(all.len(), Ordering::Relaxed);
        Ok(Following { lines, dropped })
    }

    /// Hands a line over to who wants it. It waits for nobody.
    pub(crate) fn tell(&self, line: &Value) {
        let mut all = self.all.lock();
        let mut text: Option<Bytes> = None;
        for follower in all.iter() {
            let site = line["site"].as_str().unwrap_or_default();
            let is_own = |sites: &Vec<String>| sites.iter().any(|own| own == site);
            if !follower.sites.as_ref().is_none_or(is_own) || !follower.filter.wants(line) {
                continue;
            }
            let text = text.get_or_insert_with(|| Bytes::from(format!("{line}\n")));
            if let Err(mpsc::error::TrySendError::Full(_)) = follower.lines.try_send(text.clone()) {
                follower.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        all.retain(|it| !it.lines.is_closed());
        self.count.store(all.len(), Ordering::Relaxed);
    }
}

impl Following {
    /// What is to be sent next; none when the node ends.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let told = format!("{{\"kind\":\"dropped\",\"lines\":{dropped}}}\n");
            return Some(Bytes::from(told));
        }
        match tokio::time::timeout(SIGN_OF_LIFE, self.lines.recv()).await {
            Ok(line) => line,
            Err(_elapsed) => Some(Bytes::from_static(b"\n")),
        }
    }
}

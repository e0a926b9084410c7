//! Which URLs most misses and most bytes are of, lately.
//!
//! Each table finds the frequent ones (Space-Saving, Metwally 2005): who comes in takes over the count of the least, and
//! its place. What is told is without what was taken over: never too much.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use policy::time::Timestamp;
use storage::Key;

use crate::exchange::Request;

/// URLs in a table.
const URLS_MAX: usize = 256;
/// Of a URL; the rest is cut off.
const URL_BYTES_MAX: usize = 512;
/// After so long, a table becomes the old one, and the old one is forgotten.
const GENERATION: Duration = Duration::from_secs(300);
/// A thread tells of every so manieth byte that it sends, and of the request that has it.
const SAMPLED: u64 = 64 * 1024;

/// A URL and how much it was counted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Top {
    pub site: Box<str>,
    pub url: Box<str>,
    pub count: u64,
}

/// A URL's place in a table.
#[derive(Clone, Debug)]
struct Entry {
    top: Top,
    /// What of its count was taken over.
    over: u64,
}

impl Entry {
    fn told(&self) -> Top {
        Top {
            count: self.top.count - self.over,
            ..self.top.clone()
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    urls: HashMap<Key, Entry>,
    /// No count of a full table is less.
    least: u64,
}

impl Table {
    fn count(&mut self, key: Key, amount: u64, name: impl FnOnce() -> (Box<str>, Box<str>)) {
        if let Some(known) = self.urls.get_mut(&key) {
            known.top.count += amount;
            return;
        }
        let mut before = 0;
        if self.urls.len() >= URLS_MAX
            && let Some(least) = self.least()
        {
            if let Some(entry) = self.urls.remove(&least) {
                before = entry.top.count;
            }
            self.least = before;
        }
        let (site, url) = name();
        let count = before + amount;
        let top = Top { site, url, count };
        self.urls.insert(key, Entry { top, over: before });
    }

    /// One of those with the least count. It never falls in a full table: so the first that has what was the least before is
    /// one, and most of the table is seldom looked at.
    fn least(&self) -> Option<Key> {
        let mut least: Option<(Key, u64)> = None;
        for (key, entry) in &self.urls {
            let count = entry.top.count;
            if count <= self.least {
                return Some(*key);
            }
            if least.is_none_or(|(_, least)| count < least) {
                least = Some((*key, count));
            }
        }
        least.map(|(key, _)| key)
    }
}

/// Lately: in this generation and the one before.
#[derive(Debug, Default)]
struct Lately {
    young: Table,
    old: Table,
}

impl Lately {
    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }

    fn most(&self, count: usize, sees: &dyn Fn(&str) -> bool) -> Vec<Top> {
        let mut all: HashMap<Key, Top> = HashMap::new();
        for (key, entry) in self.young.urls.iter().chain(&self.old.urls) {
            let told = entry.told();
            match all.get_mut(key) {
                Some(known) => known.count += told.count,
                None => drop(all.insert(*key, told)),
            }
        }
        let mut all: Vec<Top> = all.into_values().filter(|top| sees(&top.site)).collect();
        all.sort_unstable_by(|one, other| {
            other
                .count
                .cmp(&one.count)
                .then_with(|| one.url.cmp(&other.url))
        });
        all.truncate(count);
        all
    }
}

/// The URLs with most misses, and those with most bytes.
#[derive(Debug)]
pub(crate) struct Tops {
    misses: Mutex<Lately>,
    bytes: Mutex<Lately>,
    /// When the old generation began, and when the young one did.
    began: Mutex<(Timestamp, Timestamp)>,
}

impl Tops {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            misses: Mutex::default(),
            bytes: Mutex::default(),
            began: Mutex::new((now, now)),
        }
    }

    pub(super) fn tick(&self, now: Timestamp) {
        let mut began = self.began.lock();
        if now.since(began.1) >= GENERATION {
            *began = (began.1, now);
            self.misses.lock().age();
            self.bytes.lock().age();
        }
    }

    /// A request that no stored response answered.
    pub(crate) fn missed(&self, request: &Request) {
        // Where others count at this moment, one more or less makes no difference.
        if let Some(mut misses) = self.misses.try_lock() {
            misses
                .young
                .count(request.storage_key(), 1, || name(request));
        }
    }

    /// Content that was sent.
    pub(crate) fn sent(&self, request: &Request, bytes: u64) {
        thread_local! {
            static UNTOLD: Cell<u64> = const { Cell::new(0) };
        }
        let untold = UNTOLD.get() + bytes;
        UNTOLD.set(untold % SAMPLED);
        let told = untold - untold % SAMPLED;
        if told > 0
            && let Some(mut bytes) = self.bytes.try_lock()
        {
            bytes
                .young
                .count(request.storage_key(), told, || name(request));
        }
    }

    /// Since when it is counted.
    pub(super) fn since(&self) -> Timestamp {
        self.began.lock().0
    }

    pub(super) fn misses(&self, count: usize, sees: &dyn Fn(&str) -> bool) -> Vec<Top> {
        self.misses.lock().most(count, sees)
    }

    pub(super) fn bytes(&self, count: usize, sees: &dyn Fn(&str) -> bool) -> Vec<Top> {
        self.bytes.lock().most(count, sees)
    }
}

fn name(request: &Request) -> (Box<str>, Box<str>) {
    let uri = request.uri_text();
    let mut end = uri.len().min(URL_BYTES_MAX);
    while !uri.is_char_boundary(end) {
        end -= 1;
    }
    (request.site.name.as_str().into(), uri[..end].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(table: &mut Table, number: usize, amount: u64) {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        table.count(Key(key), amount, || {
            ("s".into(), format!("/{number}").into())
        });
    }

    #[test]
    fn the_frequent_ones_stay_among_many() {
        let mut lately = Lately::default();
        for number in 0..100_000 {
            count(&mut lately.young, 1_000_000 + number, 1);
            if number % 50 == 0 {
                count(&mut lately.young, 7, 1);
            }
        }
        assert!(lately.young.urls.len() <= URLS_MAX);
        let most = lately.most(3, &|_| true);
        assert_eq!(&*most[0].url, "/7");
        assert!(most[0].count >= 2000);
    }

    #[test]
    fn two_generations_count_as_one_and_a_third_is_forgotten() {
        let mut lately = Lately::default();
        count(&mut lately.young, 1, 5);
        lately.age();
        count(&mut lately.young, 1, 6);
        assert_eq!(lately.most(9, &|_| true)[0].count, 11);
        assert!(lately.most(9, &|_| false).is_empty());
        lately.age();
        lately.age();
        assert!(lately.most(9, &|_| true).is_empty());
    }
}

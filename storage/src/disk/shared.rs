//! What the threads of a disk tier have in common.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::admission::Asked;
use super::allowance::Allowance;
use super::format::{HEADER, Header, Name, Removal, Target};
use super::index::{Displaced, Index, spread};
use super::life::Life;
use super::log::Appended;
use super::recovery::{Progress, entry_of};
use super::settings::Settings;
use super::table::{BODY_MAX, Entry};
use super::volume::{Numbers, Volume};
use crate::{Key, Variant};

/// Says whether an object with this key, born then, is still alive.
pub type Liveness = Arc<dyn Fn(&Key, u64) -> bool + Send + Sync>;

/// Says whether what was stored with this head is worth being written once more; and whether a walk has looked at it,
/// see [`Disk::prove`](super::Disk::prove).
pub type Worth = Arc<dyn Fn(&Bytes, bool) -> bool + Send + Sync>;

/// Told when what leaves a disk for others was stored: what its [`NewRecord`](super::NewRecord) said.
pub type Evicting = Arc<dyn Fn(u64) + Send + Sync>;

/// Locks that keep the order of what happens to a key.
const ORDERS: usize = 64;

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) volumes: Vec<Arc<Volume>>,
    pub(crate) index: Index,
    pub(crate) asked: Asked,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) allowance: Arc<Allowance>,
    pub(crate) progress: Progress,
    pub(crate) opened: Duration,
    /// The first number of this run: what is on the disks has lower ones.
    pub(crate) begin: u64,
    pub(crate) stopping: AtomicBool,
    orders: Box<[Mutex<()>]>,
    liveness: RwLock<Option<Liveness>>,
    worth: RwLock<Option<Worth>>,
    evicting: RwLock<Option<Evicting>>,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        volumes: Vec<Arc<Volume>>,
        numbers: Arc<Numbers>,
        allowance: Arc<Allowance>,
    ) -> Arc<Self> {
        let bytes = volumes.iter().map(|volume| volume.geometry.size).sum();
        let asked = Asked::new(bytes, settings.bytes_per_trace);
        Arc::new(Self {
            opened: (settings.monotonic)(),
            begin: numbers.next(),
            settings,
            volumes,
            index: Index::new(),
            asked,
            numbers,
            allowance,
            progress: Progress::default(),
            stopping: AtomicBool::new(false),
            orders: (0..ORDERS).map(|_| Mutex::default()).collect(),
            liveness: RwLock::default(),
            worth: RwLock::default(),
            evicting: RwLock::default(),
        })
    }

    /// While it is held, nothing of this key is stored, replaced, moved or removed: the order of the
    /// numbers is the order of the index.
    pub(crate) fn order(&self, tag: u64) -> MutexGuard<'_, ()> {
        self.orders[spread(tag, ORDERS)].lock()
    }

    pub(crate) fn set_liveness(&self, liveness: Liveness) {
        *self.liveness.write() = Some(liveness);
    }

    pub(crate) fn is_alive(&self, key: &Key, born: u64) -> bool {
        let liveness = self.liveness.read().clone();
        liveness.is_none_or(|is_alive| is_alive(key, born))
    }

    pub(crate) fn set_worth(&self, worth: Worth) {
        *self.worth.write() = Some(worth);
    }

    pub(crate) fn set_evicting(&self, evicting: Evicting) {
        *self.evicting.write() = Some(evicting);
    }

    pub(crate) fn evicted(&self, stored_at: u32) {
        let evicting = self.evicting.read().clone();
        if let Some(evicting) = evicting {
            evicting(u64::from(stored_at));
        }
    }

    pub(crate) fn is_worth_keeping(&self, head: &Bytes, is_proven: bool) -> bool {
        let worth = self.worth.read().clone();
        worth.is_none_or(|is_worth| is_worth(head, is_proven))
    }

    pub(crate) fn body_max(&self) -> u64 {
        self.settings.object_max.min(BODY_MAX)
    }

    pub(crate) fn volume(&self, id: u8) -> Option<&Arc<Volume>> {
        self.volumes.get(usize::from(id))
    }

    /// Where a new object with this tag goes: each volume has its share by size. The next one, if
    /// that is out of service.
    pub(crate) fn home(&self, tag: u64) -> Option<Arc<Volume>> {
        let total: u64 = self.volumes.iter().map(|volume| volume.geometry.size).sum();
        let mut point = ((u128::from(tag) * u128::from(total)) >> 64) as u64;
        let mut first = 0;
        for (number, volume) in self.volumes.iter().enumerate() {
            first = number;
            match point.checked_sub(volume.geometry.size) {
                Some(beyond) => point = beyond,
                None => break,
            }
        }
        let (before, from) = self.volumes.split_at(first);
        let mut healthy = from
            .iter()
            .chain(before)
            .filter(|volume| !volume.health.is_offline());
        healthy.next().cloned()
    }

    /// What the index knows of an object now, and its segment, held fast; none if it is not there any more.
    ///
    /// Nobody lives anew in a segment before the index has let go of those who left it: what stands in the index while
    /// a life is held is of that life.
    pub(crate) fn hold(&self, entry: &Entry) -> Option<(&Arc<Volume>, Arc<Life>, Entry)> {
        let place = entry.place();
        let volume = self.volume(place.volume)?;
        let life = volume.lives.pin(place.segment)?;
        let entry = self.index.at(entry.tag, place)?;
        Some((volume, life, entry))
    }

    /// Has the index told of a record that was written, by `tell`. False if nothing points to the record now.
    ///
    /// Whoever writes may be held up here until the segment has been reclaimed. Reclaim looks for such latecomers once
    /// more when the life has ended, and who comes even later sees here that it has.
    pub(crate) fn enter(
        &self,
        volume: &Volume,
        appended: &Appended,
        tell: impl FnOnce(Entry) -> bool,
    ) -> bool {
        let entry = entry_of(volume, &appended.life, &appended.header, appended.class);
        if !tell(entry) {
            return false;
        }
        if volume.lives.has(&appended.life) {
            return true;
        }
        self.index.take(entry.tag, entry.place());
        false
    }

    pub(crate) fn life_of(&self, entry: &Entry) -> Option<Arc<Life>> {
        let place = entry.place();
        self.volume(place.volume)?.lives.pin(place.segment)
    }

    pub(crate) fn has_variant(&self, entry: &Entry, variant: Variant) -> bool {
        let class = self.life_of(entry).and_then(|life| life.class(entry.class));
        class.is_some_and(|class| class.variant == variant)
    }

    /// Which of the entries of a key a new one with this variant takes the place of.
    pub(crate) fn displaced_by(&self, variant: Variant, others: &[Entry]) -> Displaced {
        let (same, mut others): (Vec<Entry>, Vec<Entry>) = others
            .iter()
            .partition(|other| self.has_variant(other, variant));
        let max = self.settings.variants_max.max(1);
        others.sort_by_key(|other| other.stored_at);
        others.truncate((others.len() + 1).saturating_sub(max));
        Displaced { same, others }
    }

    /// A record that is gone has replaced one that is still there: keeps that one from being found at a start. Nothing
    /// that was stored later is touched.
    pub(crate) fn bury_older(&self, name: Name, number: u64) {
        let target = Target::Variant(name.key, name.variant);
        for volume in &self.volumes {
            volume.removals.add(Removal { target, number });
        }
    }

    /// Whether what has this name and number has been removed since.
    pub(crate) fn was_removed(&self, name: Name, number: u64) -> bool {
        self.volumes
            .iter()
            .any(|volume| volume.removals.cover(name, number))
    }

    /// The number of the record that this entry points to.
    pub(crate) fn number_at(&self, entry: &Entry) -> Option<u64> {
        let (volume, life) = (self.volume(entry.place().volume)?, self.life_of(entry)?);
        let bytes = volume
            .read_waiting(&life, entry.place().at(), HEADER)
            .ok()?;
        let header = Header::parse(volume.nonce, &volume.geometry, &bytes)?;
        (header.life == life.number).then_some(header.number)
    }

    pub(crate) fn forget_volume(&self, volume: u8) {
        self.index.retain(|entry| entry.place().volume != volume);
    }

    pub(crate) fn forget_segment(&self, volume: u8, segment: u32) {
        self.index
            .retain(|entry| entry.place().volume != volume || entry.place().segment != segment);
    }

    /// Forgets all that may be older than this number.
    pub(crate) fn forget_older(&self, number: u64) {
        self.index.retain(|entry| {
            self.life_of(entry)
                .is_some_and(|life| life.number >= number)
        });
    }

    /// The number that every record on every volume is later than.
    pub(crate) fn oldest_life(&self) -> u64 {
        let oldest = self
            .volumes
            .iter()
            .filter_map(|volume| volume.oldest_life());
        oldest.min().unwrap_or_else(|| self.numbers.next())
    }

    pub(crate) fn sync_media(&self) -> io::Result<()> {
        let mut online = self
            .volumes
            .iter()
            .filter(|volume| !volume.health.is_offline());
        online.try_for_each(|volume| volume.medium.sync())
    }

    /// Until then it is not known what the disks hold.
    pub(crate) fn wait_until_recovered(&self) {
        while !self.progress.is_done() && !self.stopping.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

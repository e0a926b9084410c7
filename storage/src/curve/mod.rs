//! Miss-ratio curves: what the hit ratio would be with another amount of memory or disk, estimated while serving.
//!
//! A sample of the keys is played through shadows of the tiers, which hold names and sizes and no bodies: at half, at
//! double and at four times the size, and under the other policy. A shadow of a few objects has another hit ratio than
//! the real cache (Carra and Neglia, ATC 2020, show how much), but the *ratio* of the misses of two shadows is close to
//! that of two caches. So each estimate is anchored on what was measured:
//!
//! ```text
//! ratio(f) = hits + misses × (1 − misses of the shadow at f ÷ misses of the shadow at the present size)
//! ```
//!
//! Keys are sampled by their hash (SHARDS; Waldspurger et al., FAST 2015), those of long responses more often: in
//! proportion to their size. A shadow is a cache of the same proportions scaled down, as in miniature simulation
//! (Waldspurger et al., ATC 2017), where every sampled object takes its size times the chance of a short one over its
//! own. So a single long response does not fill a shadow, and ratios of bytes are as good as those of requests.
//!
//! Shadows begin as their tiers do: those of memory empty, those of disks with what is on the disk ([`Curve::seed`]).

mod below;
mod disk;
mod names;
mod objects;
mod rate;
mod sample;
mod seed;
mod shadow;
mod tally;

use crate::Eviction;
use crate::disk::Admit;

use below::DiskShadows;
use rate::Newcomers;
use sample::Sampled;
pub use sample::{Name, Sampler};
pub use seed::{RESIDENTS_PICKED_MAX, Resident, Residents};
use shadow::{Above, Shadow};
use tally::Tally;
pub use tally::{Estimate, Measured};

/// The sizes that are looked at, as multiples of the present one.
pub const FACTORS: [f64; 3] = [0.5, 2.0, 4.0];

/// Objects in all shadows of memory together: at some 70 bytes each, tables with room to grow included.
const RESIDENTS_MAX: usize = 14_000;

/// Objects that shadows of disks have or remember: at 112 bytes each, and one place in a table. Together they are below
/// 4 MiB (`tests/curve_memory.rs`).
const OBJECTS_BELOW_MAX: usize = 14_000;

/// Sampled objects that a statement needs.
pub const OBJECTS_MIN: usize = 1000;

/// The tiers as they are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of memory.
    pub memory: u64,
    /// The longest body in memory.
    pub object_max: u64,
    /// Who leaves memory when room is needed.
    pub eviction: Eviction,
    /// What is below it.
    pub disk: Option<DiskShape>,
}

/// The disks as they are.
#[derive(Clone, Copy, Debug)]
pub struct DiskShape {
    /// Bytes of all volumes.
    pub bytes: u64,
    /// The longest response on them, in bytes; with other disks it is as much longer or shorter.
    pub object_max: u64,
    /// Bytes for which one key is remembered that was asked for, as the disks' settings have it.
    pub bytes_per_trace: u64,
    /// When a response is written.
    pub admit: Admit,
    /// Percent of the volume for what was written once.
    pub fresh_percent: u32,
    /// Percent of what is reclaimed that may be written again.
    pub kept_percent: u32,
}

/// A request that could be answered from what is stored.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// What its response is stored under.
    pub name: Name,
    /// Bytes of its body.
    pub bytes: u64,
    /// What the response costs in memory: its body, its head, and what is kept beside them, in bytes.
    pub cost: u64,
    /// Seconds, on any clock that only rises.
    pub now: u32,
    /// Until when the response may be used, on that clock.
    pub until: u32,
    /// What it was answered by.
    pub seen: Seen,
    /// How many requests it stands for that came one after the other: more than one only of what is stored.
    pub times: u32,
}

/// How much there was to do for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It is not sampled any more.
    None,
    /// All shadows have what was asked for.
    Little,
    /// Some do not: they have it now, in the place of others.
    Much,
}

/// What a request was answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// By what was fetched, and is stored now: where something is kept, that may be as old.
    Fetched,
    /// By what is stored, fresh or not, validated or not: who keeps it has what answered.
    Stored,
}

/// What is changed in one of the shadows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// So many times the memory.
    Memory(f64),
    /// So many times the disks.
    Disk(f64),
    /// Another policy in memory.
    Policy(Eviction),
}

impl Change {
    /// What a shadow of a few objects does not tell of a cache, as a share: on five traces, the greatest error by seed
    /// was a little above it. A small one compares a larger part of its objects for each eviction, for example.
    fn model_error(&self, rate: f64, disk: Option<DiskShape>) -> tally::Doubt {
        let of_few = match self {
            Self::Memory(_) => 0.006,
            Self::Disk(_) => 0.009,
            // A trace of downloads and pages together was the worst, 2.1 points off.
            Self::Policy(_) => 0.022,
        };
        // Of all objects: segments, and when something is written, are not in the shadow of a disk.
        let of_all = match disk {
            None => 0.002,
            Some(_) => 0.007,
        };
        let unsampled = (1.0 - rate).max(0.0);
        tally::Doubt {
            unsampled,
            model: of_all + of_few * unsampled,
        }
    }
}

/// What a change would do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The change.
    pub change: Change,
    /// Requests that would be answered from what is stored, as a share.
    pub requests: Estimate,
    /// Bytes that would.
    pub bytes: Estimate,
}

/// The shadows of a node's tiers.
#[derive(Debug)]
pub struct Curve {
    shape: Shape,
    sampler: Sampler,
    /// Whose misses are counted: those keys that the shadows know as well as any.
    counted: Sampler,
    newcomers: Newcomers,
    /// As it is, at each of the factors, and under the other policy.
    memory: [Shadow; MEMORIES],
    /// As they are below each of those, and at each of the factors.
    disks: Option<DiskShadows>,
    tally: Tally,
    /// Objects that were new to the largest memory.
    seen: usize,
}

/// Where a change is in the tally; the present state is at 0.
const PRESENT: usize = 0;
const LARGEST: usize = FACTORS.len();
const OTHER_POLICY: usize = FACTORS.len() + 1;
/// The shadows of memory: as it is, and with each of those changes.
const MEMORIES: usize = OTHER_POLICY + 1;
const DISKS: usize = MEMORIES;
const CHANGES: usize = DISKS + FACTORS.len();

impl Curve {
    /// Empty shadows of these tiers.
    pub fn new(shape: Shape) -> Self {
        let memory = |factor: f64, eviction| {
            let shadow = Shadow::new(shape.memory as f64 * factor, eviction);
            match shape.disk {
                Some(_) => shadow.with_victims(),
                None => shadow,
            }
        };
        let [half, twice, fourfold] = FACTORS.map(|factor| memory(factor, shape.eviction));
        Self {
            memory: [
                memory(1.0, shape.eviction),
                half,
                twice,
                fourfold,
                memory(1.0, other(shape.eviction)),
            ],
            disks: shape.disk.map(|disk| DiskShadows::new(&disk)),
            sampler: Sampler::all(),
            counted: Sampler::all(),
            newcomers: Newcomers::default(),
            tally: Tally::default(),
            seen: 0,
            shape,
        }
    }

    /// Which requests are to be told; it changes when there are too many objects, or few.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// A request that the [`Sampler`] takes; another one is passed over. How much there was to do.
    pub fn record(&mut self, access: &Access) -> Work {
        let Some(sampled) = self.sampler.sample(access) else {
            return Work::None;
        };
        let fits = access.bytes <= self.shape.object_max;
        let sampler = self.sampler;
        let memory = self.memory.each_mut();
        let above = memory.map(|shadow| shadow.asked(&sampled, fits, &sampler));
        self.seen += usize::from(!above[LARGEST].is_answered());
        let mut hits = [above[PRESENT].is_answered(); CHANGES];
        for (hit, above) in hits.iter_mut().zip(&above) {
            *hit = above.is_answered();
        }
        if let Some(answered) = self.asked_below(&sampled, &above) {
            let both = hits.iter_mut().zip(answered);
            both.for_each(|(hit, answered)| *hit |= answered);
        }
        let chance = self.counted.chance(access.cost);
        let is_counted = self.counted.takes(access.name, access.cost);
        if is_counted {
            self.tally.count(&sampled, chance, &hits);
        }
        if chance < 1.0 && hits == [false; CHANGES] {
            self.newcomers.missed(is_counted);
        }
        while self.residents() > RESIDENTS_MAX || self.objects_below() > OBJECTS_BELOW_MAX {
            self.thin();
        }
        match hits == [true; CHANGES] {
            true => Work::Little,
            false => Work::Much,
        }
    }

    /// What memory made of a request is known: now the disks are asked, if there are any. Whether each has an answer.
    fn asked_below(
        &mut self,
        sampled: &Sampled,
        above: &[Above; MEMORIES],
    ) -> Option<[bool; CHANGES]> {
        let disks = self.disks.as_mut()?;
        let below = disks.asked(sampled, above, &self.sampler);
        for (number, (memory, above)) in self.memory.iter_mut().zip(above).enumerate() {
            match above {
                Above::Answered { copies, .. } if *copies == below.copies => {}
                _ => memory.copied(sampled.name, below.copies),
            }
            for victim in memory.victims() {
                disks.evicted(number, &victim, &self.sampler);
            }
        }
        Some(below.answered)
    }

    /// What was stored under this key is gone at any size: it was purged, or made invalid.
    pub fn forget(&mut self, Name(name): Name) {
        for shadow in &mut self.memory {
            shadow.forget(name, &self.sampler);
        }
        if let Some(disks) = &mut self.disks {
            disks.forget(name, &self.sampler);
        }
    }

    /// Begins another window: what is said is of the last two.
    pub fn turn(&mut self) {
        self.tally.turn();
        self.welcome();
    }

    /// Sampled objects that the statements rest on.
    pub fn objects(&self) -> usize {
        if self.sampler.rate() >= 1.0 {
            return self.seen;
        }
        self.memory[PRESENT].len().max(self.objects_below())
    }

    /// Objects in all shadows, with what is remembered of others.
    pub fn entries(&self) -> usize {
        self.residents() + self.objects_below()
    }

    fn residents(&self) -> usize {
        self.memory.iter().map(Shadow::len).sum()
    }

    fn objects_below(&self) -> usize {
        self.disks.as_ref().map_or(0, DiskShadows::entries)
    }

    /// What each change would do, given what was measured in the same windows. Nothing below [`OBJECTS_MIN`].
    pub fn points(&self, measured: &Measured) -> Vec<Point> {
        if self.objects() < OBJECTS_MIN {
            return Vec::new();
        }
        let mut points = Vec::new();
        for (place, change) in self.changes() {
            if self.filling(place).is_some() {
                continue;
            }
            let doubt = change.model_error(self.counted.rate(), self.shape.disk);
            let estimated = self.tally.estimate(place, measured, doubt);
            if let Some((requests, bytes)) = estimated {
                points.push(Point {
                    change,
                    requests,
                    bytes,
                });
            }
        }
        points
    }

    /// Changes of which nothing is said yet, since it is not known what would have been kept from before the start, and
    /// how far they have come, from 0 to 1.
    pub fn untold(&self) -> Vec<(Change, f64)> {
        let filling = |(place, change)| Some((change, self.filling(place)?));
        self.changes().filter_map(filling).collect()
    }

    /// The changes that there are shadows of, with their place in the tally.
    fn changes(&self) -> impl Iterator<Item = (usize, Change)> + use<> {
        let memory = FACTORS.iter().map(|factor| Change::Memory(*factor));
        let disks = self.disks.iter().flat_map(|_| FACTORS.iter());
        let disks: Vec<Change> = disks.map(|factor| Change::Disk(*factor)).collect();
        let changes = memory
            .chain([Change::Policy(other(self.shape.eviction))])
            .chain(disks);
        (PRESENT + 1..).zip(changes)
    }

    /// How far the shadow of a disk has come that does not know what it would have kept from before the start.
    fn filling(&self, place: usize) -> Option<f64> {
        self.disks.as_ref()?.filling(place)
    }
}

const fn other(eviction: Eviction) -> Eviction {
    match eviction {
        Eviction::SampledGdsf => Eviction::Lru,
        Eviction::Lru => Eviction::SampledGdsf,
    }
}

#[cfg(test)]
mod tests;

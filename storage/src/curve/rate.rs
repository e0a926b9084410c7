//! How many of the keys are sampled: fewer when there are too many objects or requests, more again when there are few.
//!
//! The shadows know nothing of keys that are sampled anew, and grow for them at once. So the misses of those keys are not
//! counted before they are as many as those of other keys, and the rate rises by a little at a time, each time after the
//! shadows have filled up.

use std::mem::take;

use super::{Curve, OBJECTS_BELOW_MAX, RESIDENTS_MAX, Shadow};

/// What the rate of sampling is multiplied by when there are too many objects.
pub(super) const THINNING: f64 = 0.8;

/// And when there are few of them.
const RAISING: f64 = 1.25;

/// The most objects, in percent of all there may be, with which it rises: it would fall at once if they were more.
const ROOM_PERCENT: usize = 70;

/// A shadow that had to let go of something is full while so much of it is in use.
pub(super) const FULL: f64 = 0.97;

/// Misses of all shadows in this window: of keys that they know as well as any, and of keys that are sampled anew.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    known: f64,
    new: f64,
}

/// So many times the misses that are expected of keys that are known are no more of them, beside chance.
const AS_MANY: f64 = 1.25;

impl Newcomers {
    pub(super) fn missed(&mut self, is_known: bool) {
        let missed = match is_known {
            true => &mut self.known,
            false => &mut self.new,
        };
        *missed += 1.0;
    }

    /// Whether keys that are sampled anew are missed no more often than others, given how many times those they are.
    fn are_known(&self, times: f64) -> bool {
        let expected = self.known * times;
        self.new <= expected * AS_MANY + 2.0 * expected.sqrt()
    }
}

impl Curve {
    /// Counts the keys that are sampled anew from now on, if the shadows know them.
    pub(super) fn welcome(&mut self) {
        let times = self.sampler.rate() / self.counted.rate() - 1.0;
        if take(&mut self.newcomers).are_known(times) {
            self.counted = self.sampler;
        }
    }

    /// Lets fewer keys be sampled from now on, for example because there are too many requests.
    pub fn thin(&mut self) {
        self.sampler = self.sampler.thinned();
        self.counted = self.counted.least(self.sampler);
        self.resample();
    }

    /// Lets more keys be sampled, if there is room for them, and those of before have settled. To be called when a window
    /// has begun in which there were few requests.
    pub fn raise(&mut self) {
        let has_room = self.residents() * 100 <= RESIDENTS_MAX * ROOM_PERCENT
            && self.objects_below() * 100 <= OBJECTS_BELOW_MAX * ROOM_PERCENT;
        let all_count = self.counted == self.sampler;
        if self.sampler.rate() >= 1.0 || !has_room || !all_count || !self.is_settled() {
            return;
        }
        self.sampler = self.sampler.times(RAISING);
        take(&mut self.newcomers);
        self.resample();
    }

    /// Whether what had to let go of objects is full again.
    fn is_settled(&self) -> bool {
        let is_settled = |shadow: &Shadow| shadow.is_settled(&self.sampler);
        let disks = self.disks.as_ref();
        self.memory.iter().all(is_settled) && disks.is_none_or(|disks| disks.is_settled())
    }

    /// Has the shadows hold what the sampler takes.
    fn resample(&mut self) {
        for shadow in &mut self.memory {
            shadow.resample(&self.sampler);
            shadow.victims(); // nobody asked for anything
        }
        if let Some(disks) = &mut self.disks {
            disks.resample(&self.sampler);
        }
    }
}

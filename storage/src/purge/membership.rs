//! What a stored response can be purged by, and what is known of the purges since.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Label, Sequence};
use crate::Moment;

/// Neither softly purged nor in doubt.
const FRESH: u64 = u64::MAX;
/// In doubt: worse than stale since whatever moment.
const DOUBTFUL: u64 = 0;

/// The labels of a stored response and the sequence that it was born at.
#[derive(Debug)]
pub struct Membership {
    born: Sequence,
    labels: Box<[Label]>,
    /// What of them is seen without going to them.
    signature: Signature,
    /// Whether it had other labels before: what is proven was of them.
    relabelled: bool,
    /// The sequence up to which all purges are accounted for: most checks are one comparison with it.
    proven: AtomicU64,
    /// When it was softly purged by one of those, in the milliseconds of a [`Moment`], or [`FRESH`] or [`DOUBTFUL`].
    stale: AtomicU64,
}

/// What the purges up to what is proven made of a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    Fresh,
    Stale(Moment),
    Doubtful,
}

/// Two bits for each label of a response (Bloom, 1970): with a dozen of them, one label in thirty is taken for one of
/// them that is none.
#[derive(Clone, Copy, Debug, Default)]
struct Signature([u64; 2]);

impl Signature {
    fn of(labels: &[Label]) -> Self {
        let add = |Self([one, other]), label: &Label| {
            let [bit, second] = Self::bits(label);
            Self([one | bit, other | second])
        };
        labels.iter().fold(Self::default(), add)
    }

    const fn may_have(&self, label: &Label) -> bool {
        let [bit, second] = Self::bits(label);
        self.0[0] & bit != 0 && self.0[1] & second != 0
    }

    /// A label is a keyed hash: any of its bits are as good as others.
    const fn bits(label: &Label) -> [u64; 2] {
        [1 << (label.0 & 63), 1 << (label.0 >> 6 & 63)]
    }
}

impl Membership {
    /// A response whose request was sent when `born` was applied.
    #[must_use]
    pub fn new(born: Sequence, labels: Vec<Label>) -> Self {
        Self {
            born,
            signature: Signature::of(&labels),
            labels: labels.into_boxed_slice(),
            relabelled: false,
            proven: AtomicU64::new(born.0),
            stale: AtomicU64::new(FRESH),
        }
    }

    /// The same response under other labels: what is known of the purges so far holds on.
    #[must_use]
    pub fn relabelled(&self, labels: Vec<Label>) -> Self {
        // In this order: what is proven is never newer than what is known of it.
        let proven = self.proven.load(Ordering::Acquire);
        Self {
            born: self.born,
            signature: Signature::of(&labels),
            labels: labels.into_boxed_slice(),
            relabelled: true,
            proven: AtomicU64::new(proven),
            stale: AtomicU64::new(self.stale.load(Ordering::Acquire)),
        }
    }

    /// The sequence that it was born at.
    #[must_use]
    pub const fn born(&self) -> Sequence {
        self.born
    }

    /// The latest sequence that it might as well have been born at: no purge between the two has named it.
    #[must_use]
    pub fn reborn(&self) -> Sequence {
        // In this order: what is known is of everything that is proven, at least.
        let proven = Sequence(self.proven.load(Ordering::Acquire));
        match self.known() {
            Known::Fresh if !self.relabelled => proven,
            Known::Fresh | Known::Stale(_) | Known::Doubtful => self.born,
        }
    }

    /// Notes that no purge up to `upto` names it, and that none of them is missing.
    pub fn outlive(&self, upto: Sequence) {
        self.prove(upto);
    }

    /// What it can be purged by.
    #[must_use]
    pub const fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The bytes it owns on the heap.
    #[must_use]
    pub const fn weight(&self) -> usize {
        size_of_val::<[Label]>(&self.labels)
    }

    /// Whether it may carry one of these: where not, it does not.
    pub(super) fn may_carry(&self, label: &Label) -> bool {
        self.signature.may_have(label)
    }

    /// The sequence up to which all purges are accounted for.
    pub(super) fn proven(&self) -> Sequence {
        Sequence(self.proven.load(Ordering::Acquire))
    }

    pub(super) fn is_proven(&self, latest: Sequence) -> bool {
        self.proven.load(Ordering::Acquire) >= latest.0
    }

    pub(super) fn prove(&self, latest: Sequence) {
        self.proven.fetch_max(latest.0, Ordering::AcqRel);
    }

    /// It is stale, at the latest since then.
    pub(super) fn soften(&self, since: Moment) {
        self.stale
            .fetch_min(since.0.max(DOUBTFUL + 1), Ordering::AcqRel);
    }

    /// Some purges are not known that may have named it.
    pub(super) fn doubt(&self) {
        self.stale.store(DOUBTFUL, Ordering::Release);
    }

    pub(super) fn known(&self) -> Known {
        match self.stale.load(Ordering::Acquire) {
            FRESH => Known::Fresh,
            DOUBTFUL => Known::Doubtful,
            since => Known::Stale(Moment(since)),
        }
    }
}

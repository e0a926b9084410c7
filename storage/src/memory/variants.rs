//! The stored variants of one key.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::near::bring_answer_near;
use super::object::Object;
use crate::{Head, Variant};

/// The stored objects of one key at one moment, the one stored last first.
///
/// Taking it copies one pointer. It stays as it is whatever happens to the cache.
pub struct Variants<H: Head>(Stored<H>);

enum Stored<H: Head> {
    None,
    /// In the index with its head beside it: then both can be read at once.
    One(Arc<Object<H>>, Option<Arc<H>>),
    Many(Arc<[Arc<Object<H>>]>),
}

impl<H: Head> Variants<H> {
    pub(super) fn none() -> Self {
        Self(Stored::None)
    }

    /// Puts `object` first, where it replaces its own variant. At most `max` stay. Returns those
    /// that had to leave.
    pub(super) fn put(&mut self, object: &Arc<Object<H>>, max: usize) -> Vec<Arc<Object<H>>> {
        let (mut leave, mut stay): (Vec<_>, Vec<_>) = self
            .iter()
            .cloned()
            .partition(|stored| stored.variant() == object.variant());
        leave.extend(stay.drain(stay.len().min(max.max(1) - 1)..));
        stay.insert(0, Arc::clone(object));
        *self = stay.into();
        leave
    }

    /// Puts `new` in the place of `old`, if `old` itself is there.
    pub(super) fn swap(&mut self, old: &Arc<Object<H>>, new: &Arc<Object<H>>) -> bool {
        let mut objects = self.to_vec();
        let place = objects.iter_mut().find(|stored| Arc::ptr_eq(stored, old));
        let found = place.map(|place| *place = Arc::clone(new)).is_some();
        *self = objects.into();
        found
    }

    /// Takes out `object` itself; false if another or none is there.
    pub(super) fn take(&mut self, object: &Arc<Object<H>>) -> bool {
        let mut objects = self.to_vec();
        objects.retain(|stored| !Arc::ptr_eq(stored, object));
        let found = objects.len() < self.len();
        *self = objects.into();
        found
    }

    /// Brings near what an answer is made of, where there is one that may answer.
    pub(super) fn bring_near(&self) {
        if let Stored::One(object, Some(head)) = &self.0 {
            bring_answer_near(object, &**head);
        }
    }

    /// The stored object of this variant.
    pub fn find(&self, variant: Variant) -> Option<&Arc<Object<H>>> {
        self.iter().find(|object| object.variant() == variant)
    }
}

impl<H: Head> From<Vec<Arc<Object<H>>>> for Variants<H> {
    fn from(objects: Vec<Arc<Object<H>>>) -> Self {
        match <[_; 1]>::try_from(objects) {
            Ok([object]) => {
                let head = Arc::clone(object.head());
                Self(Stored::One(object, Some(head)))
            }
            Err(none) if none.is_empty() => Self(Stored::None),
            Err(many) => Self(Stored::Many(many.into())),
        }
    }
}

impl<H: Head> Deref for Variants<H> {
    type Target = [Arc<Object<H>>];

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Stored::None => &[],
            Stored::One(object, _) => std::slice::from_ref(object),
            Stored::Many(objects) => objects,
        }
    }
}

impl<H: Head> Clone for Variants<H> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Stored::None => Stored::None,
            Stored::One(object, _) => Stored::One(Arc::clone(object), None),
            Stored::Many(objects) => Stored::Many(Arc::clone(objects)),
        })
    }
}

impl<H: Head> fmt::Debug for Variants<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::tests::object;

    fn names(variants: &Variants<usize>) -> Vec<u8> {
        variants
            .iter()
            .map(|object| object.variant().0[0])
            .collect()
    }

    #[test]
    fn the_newest_is_first_and_the_oldest_makes_room() {
        let mut variants = Variants::none();
        for variant in 1..=3 {
            assert!(variants.put(&object(0, variant), 3).is_empty());
        }
        assert_eq!(names(&variants), [3, 2, 1]);

        let gone = variants.put(&object(0, 4), 3);
        assert_eq!(gone[0].variant().0[0], 1);
        assert_eq!(names(&variants), [4, 3, 2]);
    }

    #[test]
    fn a_variant_replaces_itself() {
        let mut variants = Variants::none();
        variants.put(&object(0, 1), 2);
        variants.put(&object(0, 2), 2);

        let gone = variants.put(&object(0, 1), 2);
        assert_eq!(gone.len(), 1);
        assert_eq!(names(&variants), [1, 2]);
    }

    #[test]
    fn only_the_very_object_is_taken_or_swapped() {
        let (stored, stranger) = (object(0, 1), object(0, 1));
        let mut variants = Variants::none();
        variants.put(&stored, 1);

        assert!(!variants.take(&stranger));
        assert!(!variants.swap(&stranger, &stored));
        assert!(variants.swap(&stored, &stranger));
        assert!(!variants.take(&stored));
        assert!(variants.take(&stranger));
        assert!(variants.is_empty());
    }

    #[test]
    fn a_head_stays_no_longer_than_its_object() {
        let (stored, next) = (object(0, 1), object(0, 1));
        let heads = [&stored, &next].map(|object| Arc::downgrade(object.head()));
        let mut variants = Variants::none();
        variants.put(&stored, 9);
        variants.bring_near();
        assert!(variants.swap(&stored, &next));
        drop(stored);
        assert!(heads[0].upgrade().is_none());
        assert!(variants.take(&next));
        drop(next);
        assert!(heads[1].upgrade().is_none());
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut variants = Variants::none();
        variants.put(&object(0, 1), 9);
        let snapshot = variants.clone();
        variants.put(&object(0, 2), 9);
        assert_eq!(names(&snapshot), [1]);
        assert!(variants.find(Variant([2; 16])).is_some());
        assert!(snapshot.find(Variant([2; 16])).is_none());
    }
}

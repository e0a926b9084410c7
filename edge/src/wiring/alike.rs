//! What sites have in common although each says it for itself: it is kept once.
//!
//! A node with a thousand sites reads of each what a request for it needs. What is the same for all of them stays in a
//! processor's caches where it is one, and does not where it is a thousand.

use std::sync::Arc;

/// How many that differ are looked through for each.
const COMPARED_MAX: usize = 64;

/// Values that were met so far, the last ones of those that differ.
#[derive(Debug)]
pub(super) struct Alike<T: ?Sized>(Vec<Arc<T>>);

impl<T: ?Sized> Default for Alike<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq + ?Sized> Alike<T> {
    /// One that is the same, or this one.
    pub(super) fn share(&mut self, value: impl Into<Arc<T>>) -> Arc<T> {
        let value = value.into();
        let mut known = self.0.iter().rev().take(COMPARED_MAX);
        if let Some(same) = known.find(|known| **known == value) {
            return Arc::clone(same);
        }
        self.0.push(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_one() {
        let mut alike = Alike::<[u8]>::default();
        let one = alike.share(vec![1, 2]);
        let other = alike.share(vec![3]);
        assert!(!Arc::ptr_eq(&one, &other));
        assert!(Arc::ptr_eq(&one, &alike.share(vec![1, 2])));
        assert!(Arc::ptr_eq(&other, &alike.share(vec![3])));
    }

    #[test]
    fn so_many_are_compared_and_no_more() {
        let mut alike = Alike::<usize>::default();
        let first = alike.share(0);
        (1..COMPARED_MAX).for_each(|number| drop(alike.share(number)));
        assert!(Arc::ptr_eq(&first, &alike.share(0)));
        alike.share(COMPARED_MAX);
        assert!(!Arc::ptr_eq(&first, &alike.share(0)));
    }
}

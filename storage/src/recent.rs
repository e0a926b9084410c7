//! A bounded table that forgets what was written longest ago.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
/// It holds at most `entries_max` and, once it has been full, at least half as many; every operation
/// takes constant time.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// At most `entries_max`, but at least two.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max: (entries_max / 2).max(1),
        }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let young = self.young.remove(key);
        young.or_else(|| self.old.remove(key))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_at_most_what_it_may_and_at_least_half() {
        let mut table = Recent::new(10);
        for number in 0..1000 {
            table.insert(number, ());
            assert!(table.len() <= 10);
            assert!((0..5).all(|back| number < back || table.get(&(number - back)).is_some()));
        }
    }

    #[test]
    fn writing_again_keeps_an_entry() {
        let mut table = Recent::new(4);
        for number in 0..100 {
            table.insert(1000, number);
            table.insert(number, number);
            assert_eq!(table.get(&1000), Some(&number));
        }
    }

    #[test]
    fn what_is_removed_is_gone_from_both_generations() {
        let mut table = Recent::new(4);
        (0..4).for_each(|number| table.insert(number, number));

        assert_eq!(table.remove(&0), Some(0));
        assert_eq!(table.remove(&3), Some(3));
        assert_eq!(table.remove(&3), None);
        assert_eq!(table.get(&0), None);
        assert_eq!(table.len(), 2);
    }
}

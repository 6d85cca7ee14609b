//! A map that keeps so many entries, and forgets the oldest.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

pub(super) struct Kept<K, V> {
    entries: HashMap<K, V>,
    /// Its keys, the oldest first.
    order: VecDeque<K>,
    max: usize,
}

impl<K: Clone + Eq + Hash, V> Kept<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), max }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    /// Keeps an entry, in place of one with the same key or of the oldest. Says whether its key is new.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        if self.entries.insert(key.clone(), value).is_some() {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut kept = Kept::new(2);
        assert!(kept.insert(1, "a"));
        assert!(kept.insert(2, "b"));
        assert!(!kept.insert(1, "c"), "it is there");
        assert!(kept.insert(3, "d"));

        assert_eq!((kept.get(&1), kept.get(&2), kept.get(&3)), (None, Some(&"b"), Some(&"d")));
    }
}

//! Lists whose indices come from the wire: in any order, with holes, of any size.

use std::collections::BTreeMap;

/// A list with holes, filled in any order and read in the order of its indices. An index is a key, never an
/// amount of memory. The entry used last is found again without a search.
#[derive(Debug, Clone)]
pub(crate) struct Sparse<T> {
    /// In order of arrival.
    entries: Vec<(u64, T)>,
    /// Index on the wire → place in `entries`; empty while the two are the same, as they mostly are to the end.
    places: BTreeMap<u64, usize>,
    recent: usize,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: BTreeMap::new(), recent: 0 }
    }
}

impl<T> Sparse<T> {
    /// The entry at `index`.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        if self.entries.get(self.recent).is_none_or(|(key, _)| *key != index) {
            self.recent = self.place(index)?;
        }
        self.entries.get_mut(self.recent).map(|(_, entry)| entry)
    }

    /// The entry at `index`, for readers.
    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        self.entries.get(self.place(index)?).map(|(_, entry)| entry)
    }

    fn place(&self, index: u64) -> Option<usize> {
        if self.places.is_empty() {
            return usize::try_from(index).ok().filter(|&place| place < self.entries.len());
        }
        self.places.get(&index).copied()
    }

    /// The entry at `index`, which `make` makes if there is none; there always is one then.
    #[inline]
    pub(crate) fn obtain(&mut self, index: u64, make: impl FnOnce() -> T) -> Option<&mut T> {
        if self.get_mut(index).is_none() {
            self.insert(index, make());
        }
        self.get_mut(index)
    }

    /// Puts `entry` at `index`; returns what stood there.
    pub(crate) fn insert(&mut self, index: u64, entry: T) -> Option<T> {
        if let Some(place) = self.get_mut(index) {
            return Some(std::mem::replace(place, entry));
        }
        self.recent = self.entries.len();
        if self.places.is_empty() && index != self.recent as u64 {
            self.places.extend((0..).zip(0..self.recent));
        }
        if !self.places.is_empty() || index != self.recent as u64 {
            self.places.insert(index, self.recent);
        }
        if self.entries.is_empty() {
            self.entries.reserve_exact(1); // entries are large, and most lists have one
        }
        self.entries.push((index, entry));
        None
    }

    /// All entries with their indices, in the order of the indices.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        let in_order = if self.places.is_empty() { self.entries.as_slice() } else { &[] };
        let by_place = self.places.values().filter_map(|&place| self.entries.get(place));
        in_order.iter().chain(by_place).map(|(index, entry)| (*index, entry))
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The highest index.
    pub(crate) fn last_index(&self) -> Option<u64> {
        match self.places.last_key_value() {
            Some((&index, _)) => Some(index),
            None => self.entries.last().map(|(index, _)| *index),
        }
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Sparse;

    #[test]
    fn what_comes_in_order_needs_no_places() {
        let mut list = Sparse::default();
        for (index, entry) in [(0, 'a'), (1, 'b'), (2, 'c')] {
            assert_eq!((list.last_index(), list.insert(index, entry)), (index.checked_sub(1), None));
        }
        assert!(list.places.is_empty());
        assert_eq!((list.get(1), list.get(3)), (Some(&'b'), None));
        assert_eq!(list.get_mut(u64::MAX), None);
        assert_eq!(list.insert(1, 'd'), Some('b'));
        assert_eq!(list.insert(9, 'e'), None);
        assert_eq!(list.insert(3, 'f'), None);
        assert_eq!((list.len(), list.last_index(), list.get(3)), (5, Some(9), Some(&'f')));
        assert!(list.iter().map(|(index, _)| index).eq([0, 1, 2, 3, 9]));
        assert!(list.iter().rev().map(|(_, entry)| *entry).eq(['e', 'f', 'c', 'd', 'a']));
    }

    #[test]
    fn indices_are_keys() {
        let mut list = Sparse::default();
        assert!(list.is_empty());
        for (index, entry) in [(7, 'a'), (0, 'b'), (u64::MAX, 'c'), (3, 'd')] {
            assert_eq!(list.insert(index, entry), None);
        }
        assert_eq!(list.insert(3, 'e'), Some('d'));
        assert_eq!(list.get_mut(7), Some(&mut 'a'));
        assert_eq!(list.get_mut(1), None);
        assert_eq!((list.get(0), list.get(1)), (Some(&'b'), None));
        assert_eq!(list.iter().collect::<Vec<_>>(), [(0, &'b'), (3, &'e'), (7, &'a'), (u64::MAX, &'c')]);
        assert!(!list.is_empty());
    }
}

//! Lists whose indices come from the wire: in any order, with holes, of any size.

use std::collections::BTreeMap;

/// A list with holes, filled in any order and read in the order of its indices. An index is a key, never an
/// amount of memory. The entry used last is found again without a search.
#[derive(Debug, Clone)]
pub(crate) struct Sparse<T> {
    /// In order of arrival.
    entries: Vec<(u64, T)>,
    /// Index on the wire → place in `entries`.
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
            self.recent = *self.places.get(&index)?;
        }
        self.entries.get_mut(self.recent).map(|(_, entry)| entry)
    }

    /// The entry at `index`, for readers.
    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        self.entries.get(*self.places.get(&index)?).map(|(_, entry)| entry)
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
        self.places.insert(index, self.recent);
        if self.entries.is_empty() {
            self.entries.reserve_exact(1); // entries are large, and most lists have one
        }
        self.entries.push((index, entry));
        None
    }

    /// All entries with their indices, in the order of the indices.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        self.places
            .values()
            .filter_map(|&place| self.entries.get(place).map(|(index, entry)| (*index, entry)))
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The highest index.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.places.last_key_value().map(|(&index, _)| index)
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

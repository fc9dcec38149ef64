//! A bounded map from digests to whatever they lead to; the least recently used entry goes first.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::prefix::{Chain, Digest};

/// Values by the digest of a prefix: a response's id, a worker that has the prefix in its cache.
pub struct Index<V> {
    places: HashMap<Digest, usize, Folding>,
    entries: Vec<Entry<V>>,
    /// The entry used last; its `older` leads on to the one used longest ago.
    newest: usize,
    oldest: usize,
    capacity: usize,
}

struct Entry<V> {
    digest: Digest,
    value: V,
    newer: usize,
    older: usize,
}

/// No entry.
const NONE: usize = usize::MAX;

impl<V> Index<V> {
    /// An empty index for at most `capacity` entries, at least one. `seed` should be random where others choose the
    /// items: it keeps them from choosing digests that crowd one place of the table.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(1, NONE - 1);
        let places = HashMap::with_hasher(Folding(seed));
        Self { places, entries: Vec::new(), newest: NONE, oldest: NONE, capacity }
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries it has room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the value of a digest and marks it as used. Returns the value that had to go: the digest's own former
    /// one, or that of the entry used longest ago.
    pub fn put(&mut self, digest: Digest, value: V) -> Option<V> {
        if let Some(&place) = self.places.get(&digest) {
            self.touch(place);
            return self.entries.get_mut(place).map(|entry| std::mem::replace(&mut entry.value, value));
        }
        let evicted = if self.len() < self.capacity { None } else { self.remove_at(self.oldest) };
        let place = self.entries.len();
        self.entries.push(Entry { digest, value, newer: NONE, older: NONE });
        self.places.insert(digest, place);
        self.link(place);
        evicted
    }

    /// The value of a digest, which is marked as used.
    pub fn get(&mut self, digest: &Digest) -> Option<&V> {
        let place = *self.places.get(digest)?;
        self.touch(place);
        self.entries.get(place).map(|entry| &entry.value)
    }

    /// The longest prefix of `chain` that has a value, by its length; it is marked as used.
    pub fn longest_match(&mut self, chain: &Chain) -> Option<(usize, &V)> {
        let (length, place) = chain
            .digests_backwards()
            .find_map(|(length, digest)| Some((length, *self.places.get(digest)?)))?;
        self.touch(place);
        self.entries.get(place).map(|entry| (length, &entry.value))
    }

    /// Takes an entry out and returns its value.
    pub fn remove(&mut self, digest: &Digest) -> Option<V> {
        let place = *self.places.get(digest)?;
        self.remove_at(place)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// Takes all entries out and returns their values, in no order.
    pub fn clear(&mut self) -> Vec<V> {
        self.places.clear();
        (self.newest, self.oldest) = (NONE, NONE);
        std::mem::take(&mut self.entries).into_iter().map(|entry| entry.value).collect()
    }

    fn touch(&mut self, place: usize) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    /// Takes an entry out and moves the last one into its place.
    fn remove_at(&mut self, place: usize) -> Option<V> {
        if place >= self.entries.len() {
            return None;
        }
        self.unlink(place);
        let removed = self.entries.swap_remove(place);
        self.places.remove(&removed.digest);
        if let Some(moved) = self.entries.get(place) {
            let (digest, newer, older) = (moved.digest, moved.newer, moved.older);
            self.places.insert(digest, place);
            *self.older_of(newer) = place;
            *self.newer_of(older) = place;
        }
        Some(removed.value)
    }

    /// Puts an entry at the newest end.
    fn link(&mut self, place: usize) {
        let newest = self.newest;
        *self.newer_of(newest) = place;
        if let Some(entry) = self.entries.get_mut(place) {
            (entry.newer, entry.older) = (NONE, newest);
        }
        self.newest = place;
    }

    fn unlink(&mut self, place: usize) {
        let Some(entry) = self.entries.get(place) else { return };
        let (newer, older) = (entry.newer, entry.older);
        *self.older_of(newer) = older;
        *self.newer_of(older) = newer;
    }

    /// The pointer from an entry to the older one; for no entry, that to the newest.
    fn older_of(&mut self, place: usize) -> &mut usize {
        match self.entries.get_mut(place) {
            Some(entry) => &mut entry.older,
            None => &mut self.newest,
        }
    }

    /// The pointer from an entry to the newer one; for no entry, that to the oldest.
    fn newer_of(&mut self, place: usize) -> &mut usize {
        match self.entries.get_mut(place) {
            Some(entry) => &mut entry.newer,
            None => &mut self.oldest,
        }
    }
}

/// Hashes digests, which are random enough but for who tries many items: two words of them, folded with a seed.
#[derive(Clone, Copy)]
struct Folding(u64);

struct Folded {
    seed: u64,
    hash: u64,
}

impl BuildHasher for Folding {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { seed: self.0, hash: 0 }
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let mut words =
            bytes.chunks_exact(8).filter_map(|word| Some(u64::from_be_bytes(word.try_into().ok()?)));
        if let (Some(one), Some(two)) = (words.next(), words.next()) {
            let product = u128::from(one ^ self.seed) * u128::from(two ^ self.seed.rotate_left(32) | 1);
            self.hash ^= product as u64 ^ (product >> 64) as u64;
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::Index;
    use crate::limits::Limits;
    use crate::prefix::{Chain, Digest, Seed};

    fn digest(number: u16) -> Digest {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn the_entry_used_longest_ago_goes() {
        let mut index = Index::new(3, 1);
        for number in 0..3 {
            assert_eq!(index.put(digest(number), number), None);
        }
        assert_eq!(index.get(&digest(0)), Some(&0));
        assert_eq!(index.put(digest(3), 3), Some(1));
        assert_eq!(index.put(digest(2), 20), Some(2));
        assert_eq!(index.put(digest(4), 4), Some(0));
        assert_eq!(index.remove(&digest(3)), Some(3));
        assert_eq!(index.remove(&digest(3)), None);
        assert_eq!((index.len(), index.capacity()), (2, 3));
        let mut rest = index.clear();
        rest.sort_unstable();
        assert_eq!(rest, [4, 20]);
        assert!(index.is_empty());
        assert_eq!(index.put(digest(9), 9), None);
        assert_eq!(index.get(&digest(9)), Some(&9));
    }

    /// The same by a list in the order of use.
    #[test]
    fn it_does_what_a_list_does() {
        let mut state = 12_345_u32;
        let mut index = Index::new(8, 7);
        let mut list: Vec<(Digest, u32)> = Vec::new();
        for step in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = digest((state >> 16) as u16 % 20);
            let held = list.iter().position(|(held, _)| *held == key);
            match state >> 8 & 3 {
                0 | 1 => {
                    let gone = match held {
                        Some(place) => Some(list.remove(place).1),
                        None if list.len() == 8 => Some(list.remove(0).1),
                        None => None,
                    };
                    list.push((key, step));
                    assert_eq!(index.put(key, step), gone);
                }
                2 => {
                    let value = held.map(|place| {
                        let entry = list.remove(place);
                        list.push(entry);
                        entry.1
                    });
                    assert_eq!(index.get(&key).copied(), value);
                }
                _ => assert_eq!(index.remove(&key), held.map(|place| list.remove(place).1)),
            }
            assert_eq!(index.len(), list.len());
        }
    }

    #[test]
    fn the_longest_prefix_that_is_there_is_found() {
        let mut chain = Chain::new(Seed::default());
        chain.extend_json(b"[1,2,3,4,5]", &Limits::default()).unwrap();
        let mut index = Index::new(10, 0);
        assert_eq!(index.longest_match(&chain), None);
        for length in [0, 2, 4] {
            index.put(*chain.prefix(length).unwrap().digest(), length);
        }
        for (length, expected) in [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4), (5, 4)] {
            assert_eq!(index.longest_match(&chain.prefix(length).unwrap()), Some((expected, &expected)));
        }
        assert_eq!(index.longest_match(&Chain::new(Seed { salt: b"x", ..Seed::default() })), None);
    }
}

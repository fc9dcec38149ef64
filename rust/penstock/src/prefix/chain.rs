//! One digest for every prefix of a list of items, each made from the one before it and one more item.
//!
//! ```text
//! root   = SHA-256(DOMAIN, ROOT, fields of the seed, each: tag, length in 8 bytes, bytes)
//! digest = SHA-256(DOMAIN, ITEM, digest before, canonical text of the item, its length in 8 bytes)
//! ```
//!
//! So no two lists of fields write the same bytes: what has no fixed length has it told beside it. Equal digests
//! mean equal seeds and equal items before them, however the items were spelled.
//!
//! Digests are nodes that point to the one before, and never change: a copy is one more pointer to the last node,
//! copies that grow apart share what they have in common. Each node also points far back, as in Myers's
//! random-access list (1983), so that a prefix of any length is found in O(log n) steps.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::json::{CanonicalElement, Out, canonical_elements, canonicalize};
use crate::limits::Limits;
use crate::prefix::{Digest, Hasher};

const DOMAIN: &[u8] = b"penstock.prefix\x01";
const ROOT: u8 = 0;
const ITEM: u8 = 1;

/// What a chain starts from besides its items. Chains of different seeds have no digest in common.
#[derive(Clone, Copy, Default)]
pub struct Seed<'a> {
    /// Whose chain it is; keeps tenants' digests apart, and unknown to others if it is secret.
    pub salt: &'a [u8],
    /// The model, if chains of different models shall differ.
    pub model: Option<&'a [u8]>,
    /// The canonical text of what else a continuation depends on, such as tools and instructions.
    pub context: Option<&'a [u8]>,
}

/// The digests of all prefixes of a list of items. Copies cost one pointer.
#[derive(Clone)]
pub struct Chain {
    last: Arc<Node>,
}

struct Node {
    digest: Digest,
    /// How many items it is the digest of.
    length: usize,
    /// None for the root.
    before: Option<Arc<Node>>,
    /// An earlier node, at a distance that depends on `length` alone.
    far: Option<Arc<Node>>,
}

impl Chain {
    /// A chain without items.
    #[must_use]
    pub fn new(seed: Seed<'_>) -> Self {
        let mut hasher = Hasher::new();
        hasher.write(DOMAIN);
        hasher.byte(ROOT);
        for (tag, field) in [(0, Some(seed.salt)), (1, seed.model), (2, seed.context)] {
            if let Some(field) = field {
                hasher.byte(tag);
                hasher.write(&(field.len() as u64).to_be_bytes());
                hasher.write(field);
            }
        }
        Self { last: Arc::new(Node { digest: hasher.finish(), length: 0, before: None, far: None }) }
    }

    /// How many items it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.last.length
    }

    /// Whether it has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of all items; without any, that of the seed.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.last.digest
    }

    /// Adds one item, of which `write` writes the canonical text. When that fails, nothing is added.
    pub fn append_with<E>(
        &mut self,
        write: impl FnOnce(&mut Measured<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut hasher = Hasher::new();
        hasher.write(DOMAIN);
        hasher.byte(ITEM);
        hasher.write(self.digest());
        let mut item = Measured { hasher: &mut hasher, length: 0 };
        write(&mut item)?;
        let length = item.length;
        hasher.write(&length.to_be_bytes());
        self.push(hasher.finish());
        Ok(())
    }

    /// Adds one item, a JSON text. Of the limits, `max_number_digits` and `max_depth` apply, the latter as if the
    /// item stood in an array.
    pub fn append_json(&mut self, item: &[u8], limits: &Limits) -> Result<(), Error> {
        let limits = Limits { max_depth: limits.max_depth.saturating_sub(1), ..*limits };
        self.append_with(|out| canonicalize(item, &limits, out))
    }

    /// Adds the elements of a JSON array. When one of them is refused, none is added.
    pub fn extend_json(&mut self, items: &[u8], limits: &Limits) -> Result<(), Error> {
        let mut longer = self.clone();
        canonical_elements(items, limits, |element: CanonicalElement<'_>| {
            longer.append_with(|out| element.write(out))
        })?;
        *self = longer;
        Ok(())
    }

    /// The chain of its first `length` items; None if it has fewer.
    #[must_use]
    pub fn prefix(&self, length: usize) -> Option<Self> {
        if length > self.len() {
            return None;
        }
        let mut node = &self.last;
        while node.length > length {
            node = node.step(|far| far.length >= length)?;
        }
        Some(Self { last: Arc::clone(node) })
    }

    /// How many items both begin with. Chains of different seeds have none in common.
    #[must_use]
    pub fn longest_match(&self, other: &Self) -> usize {
        let shorter = self.len().min(other.len());
        let (Some(one), Some(two)) = (self.prefix(shorter), other.prefix(shorter)) else { return 0 };
        let (mut one, mut two) = (&one.last, &two.last);
        // Nodes of one length point equally far, so both sides always stand at the same length.
        while one.digest != two.digest {
            let apart =
                one.far.as_ref().zip(two.far.as_ref()).is_some_and(|(one, two)| one.digest != two.digest);
            let (Some(next), Some(other)) = (one.step(|_| apart), two.step(|_| apart)) else { return 0 };
            (one, two) = (next, other);
        }
        one.length
    }

    /// The digests from the longest prefix to the seed's.
    pub fn digests_backwards(&self) -> impl Iterator<Item = (usize, &Digest)> {
        std::iter::successors(Some(&self.last), |node| node.before.as_ref())
            .map(|node| (node.length, &node.digest))
    }

    fn push(&mut self, digest: Digest) {
        let before = &self.last;
        // Two jumps of one width become one of double width and one.
        let far = match (&before.far, before.far.as_ref().and_then(|far| far.far.as_ref())) {
            (Some(far), Some(farther)) if before.length - far.length == far.length - farther.length => {
                farther
            }
            _ => before,
        };
        let far = Some(Arc::clone(far));
        let node = Node { digest, length: before.length + 1, before: Some(Arc::clone(before)), far };
        self.last = Arc::new(node);
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Node {
    /// The far node if `wanted` says so, else the one before.
    fn step(&self, wanted: impl FnOnce(&Self) -> bool) -> Option<&Arc<Self>> {
        match &self.far {
            Some(far) if wanted(far) => Some(far),
            _ => self.before.as_ref(),
        }
    }
}

impl Drop for Node {
    /// Takes a chain apart in a loop; one call a node would be too deep.
    fn drop(&mut self) {
        self.far = None;
        let mut next = self.before.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            node.far = None;
            next = node.before.take();
        }
    }
}

/// Takes the text of one item and counts its bytes.
pub struct Measured<'a> {
    hasher: &'a mut Hasher,
    length: u64,
}

impl Out for Measured<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hasher.write(bytes);
    }

    #[inline]
    fn quoted(&mut self, plain: &[u8]) {
        self.length += plain.len() as u64 + 2;
        self.hasher.quoted(plain);
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, Seed};
    use crate::limits::Limits;

    fn chain(items: &[&str]) -> Chain {
        let mut chain = Chain::new(Seed::default());
        for item in items {
            chain.append_json(item.as_bytes(), &Limits::default()).unwrap();
        }
        chain
    }

    fn numbers(count: usize) -> Chain {
        let text = format!("[{}]", (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(","));
        let mut chain = Chain::new(Seed::default());
        chain.extend_json(text.as_bytes(), &Limits::default()).unwrap();
        chain
    }

    #[test]
    fn every_prefix_has_its_own_digest() {
        let long = numbers(300);
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..=300 {
            let prefix = long.prefix(length).unwrap();
            assert_eq!(prefix.len(), length);
            assert_eq!(prefix.digest(), numbers(length).digest());
            assert!(seen.insert(*prefix.digest()));
        }
        assert!(long.prefix(301).is_none());
        assert_eq!(long.digests_backwards().count(), 301);
        assert!(
            long.digests_backwards().all(|(length, digest)| long.prefix(length).unwrap().digest() == digest)
        );
    }

    #[test]
    fn the_longest_match_is_found_wherever_it_ends() {
        let long = numbers(130);
        for shared in 0..=130 {
            for (own, others) in [(0, 0), (0, 3), (2, 2), (40, 1)] {
                let grow = |count, word: &str| {
                    let mut grown = numbers(shared);
                    (0..count).for_each(|_| grown.append_json(word.as_bytes(), &Limits::default()).unwrap());
                    grown
                };
                let (one, two) = (grow(own, "\"one\""), grow(others, "\"two\""));
                assert_eq!(one.longest_match(&two), shared);
                assert_eq!(two.longest_match(&long), shared);
            }
        }
    }

    #[test]
    fn copies_grow_apart() {
        let stem = numbers(10);
        let (mut one, mut two) = (stem.clone(), stem.clone());
        one.append_json(b"1", &Limits::default()).unwrap();
        two.append_json(b"2", &Limits::default()).unwrap();
        assert_eq!((stem.len(), one.len(), two.len()), (10, 11, 11));
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.prefix(10).unwrap().digest(), stem.digest());
    }

    #[test]
    fn seeds_do_not_run_into_each_other() {
        let seeds = [
            Seed::default(),
            Seed { salt: b"ab", ..Seed::default() },
            Seed { salt: b"a", model: Some(b"b"), context: None },
            Seed { salt: b"b", model: Some(b"a"), context: None },
            Seed { salt: b"ab", model: Some(b""), context: None },
            Seed { salt: b"a", model: None, context: Some(b"b") },
            Seed { salt: b"", model: Some(b"ab"), context: None },
        ];
        let digests: std::collections::BTreeSet<_> =
            seeds.iter().map(|seed| *Chain::new(*seed).digest()).collect();
        assert_eq!(digests.len(), seeds.len());
        assert_eq!(Chain::new(seeds[1]).longest_match(&Chain::new(seeds[2])), 0);
    }

    #[test]
    fn meaning_counts_and_spelling_does_not() {
        let one = chain(&[r#"{"a":1,"b":"x"}"#, "[1.5]"]);
        let two = chain(&[r#" {"b" : "\u0078", "a":2, "a":1}"#, "[15e-1]"]);
        assert_eq!(one.digest(), two.digest());
        assert_ne!(chain(&["1"]).digest(), chain(&["1.0"]).digest());
        assert_ne!(chain(&["[1,2]"]).digest(), chain(&["1", "2"]).digest());
    }

    #[test]
    fn a_refused_list_adds_nothing() {
        let mut chain = numbers(3);
        let before = *chain.digest();
        for text in ["[1,2", "{}", "[1,\"\u{1}\"]", "[1,1e999]"] {
            assert!(chain.extend_json(text.as_bytes(), &Limits::default()).is_err());
            assert_eq!((chain.len(), chain.digest()), (3, &before));
        }
    }

    #[test]
    fn a_long_chain_is_dropped_without_deep_calls() {
        drop(numbers(500_000));
    }
}

//! SHA-256 behind a buffer, so that a text may be written in small pieces.

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::json::{Out, canonicalize};
use crate::limits::Limits;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Bytes of a block of the hash.
const BLOCK: usize = 64;
/// Bytes gathered before they are hashed: many pieces of a text, and whole blocks.
const GATHERED: usize = 16 * BLOCK;
/// Longer pieces are not gathered: whole blocks of them are hashed where they stand.
const LONG: usize = 4 * BLOCK;

/// A SHA-256 that is written piece by piece.
#[derive(Clone)]
pub struct Hasher {
    state: Sha256,
    gathered: [u8; GATHERED],
    filled: usize,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { state: Sha256::new(), gathered: [0; GATHERED], filled: 0 }
    }
}

impl Hasher {
    /// A hash of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The digest of all that was written.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        self.state.update(self.gathered.get(..self.filled).unwrap_or_default());
        self.state.finalize().into()
    }

    /// Takes what does not fit behind what is gathered, or is long enough to be hashed where it stands.
    #[inline(never)]
    fn spill(&mut self, bytes: &[u8]) {
        let gap = self.filled.next_multiple_of(BLOCK) - self.filled;
        let (head, rest) = bytes.split_at(gap.min(bytes.len()));
        self.gather(head);
        self.state.update(self.gathered.get(..self.filled).unwrap_or_default());
        self.filled = 0;
        let (blocks, tail) = rest.split_at(rest.len() - rest.len() % BLOCK);
        self.state.update(blocks);
        self.gather(tail);
    }

    #[inline]
    fn gather(&mut self, bytes: &[u8]) {
        if let Some(slots) = self.gathered.get_mut(self.filled..self.filled + bytes.len()) {
            slots.copy_from_slice(bytes);
            self.filled += bytes.len();
        }
    }

    /// As [`Hasher::spill`], with quotes.
    #[inline(never)]
    fn spill_quoted(&mut self, plain: &[u8]) {
        self.byte(b'"');
        self.write(plain);
        self.byte(b'"');
    }
}

impl Out for Hasher {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        match self.gathered.get_mut(self.filled..self.filled + bytes.len()) {
            Some(slots) if bytes.len() <= LONG => {
                copy(bytes, slots);
                self.filled += bytes.len();
            }
            _ => self.spill(bytes),
        }
    }

    #[inline(always)]
    fn quoted(&mut self, plain: &[u8]) {
        let end = self.filled + plain.len() + 2;
        if plain.len() <= LONG
            && let Some([open, slots @ .., close]) = self.gathered.get_mut(self.filled..end)
        {
            (*open, *close) = (b'"', b'"');
            copy(plain, slots);
            self.filled = end;
        } else {
            self.spill_quoted(plain);
        }
    }
}

/// Copies to as many slots. Most pieces of a text are a key or a short word, which two moves that overlap copy faster
/// than a call does.
#[inline(always)]
fn copy(bytes: &[u8], slots: &mut [u8]) {
    match bytes.len() {
        4..8 => copy_ends::<4>(bytes, slots),
        8..16 => copy_ends::<8>(bytes, slots),
        16..=32 => copy_ends::<16>(bytes, slots),
        _ => slots.copy_from_slice(bytes),
    }
}

/// Copies the first and the last `WIDTH` bytes, which are all there are.
#[inline(always)]
fn copy_ends<const WIDTH: usize>(bytes: &[u8], slots: &mut [u8]) {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<WIDTH>(), bytes.last_chunk::<WIDTH>()) {
        if let Some(slots) = slots.first_chunk_mut() {
            *slots = *head;
        }
        if let Some(slots) = slots.last_chunk_mut() {
            *slots = *tail;
        }
    }
}

/// The SHA-256 of `json.dumps(json.loads(text), sort_keys=True)`, which pipecat takes of a conversation's items.
/// Of the limits, `max_depth` and `max_number_digits` apply.
pub fn hash_json(text: &[u8], limits: &Limits) -> Result<Digest, Error> {
    let mut hasher = Hasher::new();
    canonicalize(text, limits, &mut hasher)?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::{GATHERED, Hasher};
    use crate::json::Out;

    #[test]
    fn pieces_of_any_length_hash_as_one() {
        let text: Vec<u8> = (0..5 * GATHERED).map(|place| (place * 7 % 251) as u8).collect();
        let expected: [u8; 32] = Sha256::digest(&text).into();
        for length in (1..=66).chain([GATHERED - 1, GATHERED, GATHERED + 1, 3 * GATHERED + 5, text.len()]) {
            let mut hasher = Hasher::new();
            text.chunks(length).for_each(|piece| hasher.write(piece));
            assert_eq!(hasher.finish(), expected, "{length}");
        }
        assert_eq!(Hasher::new().finish(), <[u8; 32]>::from(Sha256::digest(b"")));
    }
}

//! Text that grows by deltas, and the account of what an accumulator holds.

use crate::error::Error;
use crate::json::{RawStr, push_wtf8};
use crate::limits::Limit;

/// Counts something an accumulator holds against one of its limits. What is refused has changed nothing.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    limit: Limit,
    maximum: u64,
    held: u64,
}

impl Meter {
    /// Counts against `limit`, whose value is `maximum`.
    pub(crate) const fn new(limit: Limit, maximum: u64) -> Self {
        Self { limit, maximum, held: 0 }
    }

    /// Counts `amount` more, or refuses it; `at` is the byte of the payload that asks for it.
    #[inline]
    pub(crate) fn take(&mut self, amount: usize, at: usize) -> Result<(), Error> {
        let held = self.held.saturating_add(amount as u64);
        if held > self.maximum {
            return Err(self.refusal(held, at));
        }
        self.held = held;
        Ok(())
    }

    /// Counts `amount` less: it was dropped.
    #[inline]
    pub(crate) fn give(&mut self, amount: usize) {
        self.held = self.held.saturating_sub(amount as u64);
    }

    /// Nothing is held any more.
    pub(crate) const fn reset(&mut self) {
        self.held = 0;
    }

    /// Counts `next` in place of `previous`, which is dropped, or refuses it.
    pub(crate) fn replace(&mut self, previous: usize, next: usize, at: usize) -> Result<(), Error> {
        let kept = self.held.saturating_sub(previous as u64);
        let held = kept.saturating_add(next as u64);
        if held > self.maximum {
            return Err(self.refusal(held, at));
        }
        self.held = held;
        Ok(())
    }

    /// How much is held.
    pub(crate) const fn held(&self) -> u64 {
        self.held
    }

    #[cold]
    const fn refusal(&self, value: u64, at: usize) -> Error {
        Error::Limit { limit: self.limit, maximum: self.maximum, value, offset: at as u64 }
    }
}

/// WTF-8 text assembled from pieces: a surrogate pair whose halves came in two pieces is one character, a half
/// that stays alone is written back as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// Appends a piece that starts at byte `at` of the payload.
    #[inline]
    pub(crate) fn push(&mut self, piece: RawStr<'_>, at: usize, meter: &mut Meter) -> Result<(), Error> {
        meter.take(piece.raw.len(), at)?;
        if piece.ascii && !piece.escaped {
            self.bytes.extend_from_slice(piece.raw);
        } else {
            self.push_decoded(piece, meter);
        }
        Ok(())
    }

    /// Appends a piece that may not be as long as it was written, and corrects the account by the difference:
    /// escapes shrink, bytes that are not UTF-8 grow to U+FFFD.
    fn push_decoded(&mut self, piece: RawStr<'_>, meter: &mut Meter) {
        let before = self.bytes.len();
        push_wtf8(piece, &mut self.bytes);
        meter.give(piece.raw.len());
        meter.held = meter.held.saturating_add(self.bytes.len() as u64).saturating_sub(before as u64);
    }

    /// Whether these are the characters of `text`.
    pub(crate) fn equals(&self, text: RawStr<'_>) -> bool {
        *text.decoded() == *self.bytes
    }

    /// Replaces the whole text.
    pub(crate) fn set(&mut self, text: RawStr<'_>, at: usize, meter: &mut Meter) -> Result<(), Error> {
        let mut next = Self::default();
        next.push(text, at, meter)?;
        let previous = std::mem::replace(self, next);
        meter.give(previous.len());
        Ok(())
    }

    /// The text, WTF-8.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The part of the text that later pieces cannot change: all but a high surrogate at its end, which may
    /// still find its other half.
    pub(crate) fn stable(&self) -> &[u8] {
        match self.bytes.as_slice() {
            [head @ .., 0xed, 0xa0..=0xaf, _] => head,
            all => all,
        }
    }

    /// Bytes held.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has come.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// WTF-8 as text that any program can take: U+FFFD for each lone surrogate.
pub(crate) fn lossy(wtf8: Vec<u8>) -> String {
    let wtf8 = match String::from_utf8(wtf8) {
        Ok(text) => return text,
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(wtf8.len());
    let mut skip = 0_u8;
    for chunk in wtf8.utf8_chunks() {
        text.push_str(chunk.valid());
        // A surrogate is three invalid bytes in a row, each a chunk of its own.
        if !chunk.invalid().is_empty() {
            if chunk.valid().is_empty() && skip > 0 {
                skip -= 1;
            } else {
                text.push(char::REPLACEMENT_CHARACTER);
                skip = 2;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Meter, Text, lossy};
    use crate::error::Error;
    use crate::json::{Cursor, RawStr};
    use crate::limits::Limit;

    fn raw(text: &[u8]) -> RawStr<'_> {
        Cursor::new(text).string().unwrap()
    }

    fn meter(maximum: u64) -> Meter {
        Meter::new(Limit::MessageBytes, maximum)
    }

    #[test]
    fn account_follows_the_text() {
        let mut meter = meter(u64::MAX);
        let mut text = Text::default();
        for piece in
            [&br#""plain""#[..], br#""\n\u00e9""#, b"\"\xff\xfe\"", br#""\ud83d""#, br#""\ude00""#, b"\"\""]
        {
            text.push(raw(piece), 0, &mut meter).unwrap();
            assert_eq!(meter.held(), text.len() as u64);
        }
        assert_eq!(text.as_bytes(), "plain\n\u{e9}\u{fffd}\u{fffd}\u{1f600}".as_bytes());
        text.set(raw(br#""sh\u006frt""#), 0, &mut meter).unwrap();
        assert!(text.equals(raw(br#""short""#)) && text.equals(raw(br#""\u0073hort""#)));
        assert!(!text.equals(raw(br#""shorter""#)));
        assert_eq!((text.as_bytes(), meter.held()), (&b"short"[..], 5));
    }

    #[test]
    fn refusals_change_nothing() {
        let mut meter = meter(4);
        let mut text = Text::default();
        text.push(raw(b"\"abc\""), 0, &mut meter).unwrap();
        let refusal = Error::Limit { limit: Limit::MessageBytes, maximum: 4, value: 5, offset: 9 };
        assert_eq!(text.push(raw(b"\"de\""), 9, &mut meter), Err(refusal));
        assert_eq!((text.as_bytes(), meter.held()), (&b"abc"[..], 3));
        text.push(raw(b"\"d\""), 0, &mut meter).unwrap();
        assert!(text.set(raw(b"\"abcde\""), 0, &mut meter).is_err());
        assert_eq!((text.as_bytes(), meter.held()), (&b"abcd"[..], 4));
    }

    #[test]
    fn lone_surrogates_show_as_one_replacement() {
        for (text, expected) in [
            (&br#""\ud83d""#[..], "\u{fffd}"),
            (br#""a\ud83d\ud83db\ude00""#, "a\u{fffd}\u{fffd}b\u{fffd}"),
            (br#""\ud83d\ude00""#, "\u{1f600}"),
        ] {
            assert_eq!(lossy(raw(text).decoded().into_owned()), expected);
        }
    }

    #[test]
    fn a_half_pair_is_not_yet_stable() {
        let mut meter = meter(u64::MAX);
        let mut text = Text::default();
        text.push(raw(br#""a\ud83d""#), 0, &mut meter).unwrap();
        assert_eq!(text.stable(), b"a");
        text.push(raw(br#""\ude00""#), 0, &mut meter).unwrap();
        assert_eq!(text.stable(), "a\u{1f600}".as_bytes());
    }
}

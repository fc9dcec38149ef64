//! Text in slices, as a model that streams would have sent it.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use unicode_segmentation::UnicodeSegmentation;

/// What slices of text are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SliceUnit {
    /// Unicode code points: no character is ever cut.
    #[default]
    CodePoints,
    /// Extended grapheme clusters (UAX 29): nothing that a reader sees as one character is ever cut.
    Graphemes,
    /// Words, each with the white space after it.
    Words,
}

/// `text`, which is WTF-8, in slices of `slice` units. Decoding has joined surrogate halves, so a code point is
/// never cut.
pub(super) fn slices(
    text: &[u8],
    slice: NonZeroUsize,
    unit: SliceUnit,
) -> impl Iterator<Item = &[u8]> + use<'_> {
    let slice = slice.get();
    let shape = if unit == SliceUnit::Graphemes { shape(text) } else { Cow::Borrowed("") };
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let length = match unit {
            SliceUnit::CodePoints => code_points_end(rest, slice),
            // No rule looks back past the start of a cluster, so a text may be cut there and counted on.
            SliceUnit::Graphemes => graphemes_end(shape.get(at..).unwrap_or_default(), slice),
            SliceUnit::Words => words_end(rest, slice),
        };
        at += length;
        rest.get(..length)
    })
}

/// `text` with U+FFFD, which is as long, in place of each lone surrogate.
fn shape(text: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(text) {
        return Cow::Borrowed(text);
    }
    let mut shape = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        shape.push_str(chunk.valid());
        // A surrogate is invalid byte by byte: its first byte stands for it.
        if chunk.invalid().first() == Some(&0xed) {
            shape.push('\u{fffd}');
        }
    }
    Cow::Owned(shape)
}

/// Where each code point of WTF-8 text starts.
fn starts(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    text.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 != 0x80).map(|(at, _)| at)
}

/// Where the first `count` code points end.
fn code_points_end(text: &[u8], count: usize) -> usize {
    starts(text).nth(count).unwrap_or(text.len())
}

/// Where the first `count` grapheme clusters end.
fn graphemes_end(text: &str, count: usize) -> usize {
    text.grapheme_indices(true).nth(count).map_or(text.len(), |(at, _)| at)
}

/// Where the first `count` words and the white space after them end.
fn words_end(text: &[u8], count: usize) -> usize {
    let (mut words, mut inside) = (0, false);
    for at in starts(text) {
        let character =
            text.get(at..).unwrap_or_default().iter().skip(1).take_while(|&byte| byte & 0xc0 == 0x80);
        let character = text.get(at..=at + character.count()).unwrap_or_default();
        let space = std::str::from_utf8(character).is_ok_and(|character| character.trim().is_empty());
        if !space && !inside {
            if words == count {
                return at;
            }
            words += 1;
        }
        inside = !space;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{SliceUnit, slices};
    use std::num::NonZeroUsize;

    /// A cow, a family of four, a flag, a letter with two marks, a syllable in three code points, CR LF.
    const CLUSTERS: [&str; 6] = ["🐄", "👨‍👩‍👧‍👦", "🇳🇴", "e\u{301}\u{323}", "각", "\r\n"];

    #[test]
    fn clusters_stay_whole() {
        for slice in 1..8 {
            for unit in [SliceUnit::Graphemes, SliceUnit::CodePoints, SliceUnit::Words] {
                let text = CLUSTERS.concat();
                let slice = NonZeroUsize::new(slice).unwrap();
                let found: Vec<&[u8]> = slices(text.as_bytes(), slice, unit).collect();
                assert_eq!(found.concat(), text.as_bytes());
                if unit == SliceUnit::Graphemes {
                    let expected: Vec<String> = CLUSTERS.chunks(slice.get()).map(<[&str]>::concat).collect();
                    assert_eq!(found, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn flags_are_counted_in_pairs_from_the_first() {
        let one = NonZeroUsize::MIN;
        let found: Vec<&[u8]> = slices("🇳🇴🇸🇪🇩".as_bytes(), one, SliceUnit::Graphemes).collect();
        assert_eq!(found, ["🇳🇴".as_bytes(), "🇸🇪".as_bytes(), "🇩".as_bytes()]);
    }

    #[test]
    fn lone_surrogates_are_clusters_of_their_own() {
        let text = b"a\xed\xa0\xbd\xed\xb0\x80\xc3\xa9\xed\xbf\xbf";
        let found: Vec<&[u8]> = slices(text, NonZeroUsize::MIN, SliceUnit::Graphemes).collect();
        assert_eq!(found, [b"a", &b"\xed\xa0\xbd"[..], b"\xed\xb0\x80", b"\xc3\xa9", b"\xed\xbf\xbf"]);
    }
}

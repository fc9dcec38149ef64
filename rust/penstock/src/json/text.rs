//! Between escaped JSON text and characters.
//!
//! Accumulated text is WTF-8: UTF-8 that may also hold lone surrogates, so that a pair whose halves arrive in two
//! deltas joins, and a half that stays alone is written back as the escape it came as.

use std::borrow::Cow;

use crate::json::RawStr;
use crate::simd::{Backend, Task, dispatch, string_stop};

impl<'a> RawStr<'a> {
    /// The characters as WTF-8, borrowed where nothing had to be decoded.
    #[must_use]
    pub fn decoded(self) -> Cow<'a, [u8]> {
        if self.ascii && !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut characters = Vec::new();
        push_wtf8(self, &mut characters);
        Cow::Owned(characters)
    }
}

/// What a lone surrogate escape becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surrogates {
    /// U+FFFD.
    Replace,
    /// Its three WTF-8 bytes.
    Keep,
}

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Appends the characters of `text` as UTF-8; lone surrogates and invalid bytes become U+FFFD. Returns whether
/// any surrogate had to be replaced.
pub fn push_lossy(text: RawStr<'_>, out: &mut Vec<u8>) -> bool {
    push(text, Surrogates::Replace, out)
}

/// Appends the characters of `text` as WTF-8; invalid bytes become U+FFFD. A low surrogate at the start joins a
/// high one that `out` ends with.
pub fn push_wtf8(text: RawStr<'_>, out: &mut Vec<u8>) {
    push(text, Surrogates::Keep, out);
}

fn push(text: RawStr<'_>, surrogates: Surrogates, out: &mut Vec<u8>) -> bool {
    let mut replaced = false;
    let mut rest = text.raw;
    if !text.escaped {
        push_utf8(rest, text.ascii, out);
        return false;
    }
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(backslash);
        push_utf8(plain, text.ascii, out);
        rest = push_escape(escape, surrogates, out, &mut replaced);
    }
    push_utf8(rest, text.ascii, out);
    replaced
}

/// Appends the text of a string that is ASCII and spelled as [`push_escaped`] spells it, and says so; otherwise some of
/// it may be appended.
#[inline]
pub(crate) fn push_usual(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [escape, after @ ..]) => {
                let byte = match escape {
                    b'n' => b'\n',
                    b'"' | b'\\' => *escape,
                    b't' => b'\t',
                    b'r' => b'\r',
                    _ => return false,
                };
                (byte, after)
            }
            (0x80.., _) | (b'\\', []) => return false,
            (&byte, after) => (byte, after),
        };
        out.push(byte);
        rest = after;
    }
    true
}

/// Appends bytes between escapes, replacing what is not UTF-8 by maximal subparts as WHATWG decoding does.
fn push_utf8(bytes: &[u8], ascii: bool, out: &mut Vec<u8>) {
    if ascii || std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

/// Appends one escape sequence, checked by the cursor before, and returns what follows it.
fn push_escape<'a>(
    escape: &'a [u8],
    surrogates: Surrogates,
    out: &mut Vec<u8>,
    replaced: &mut bool,
) -> &'a [u8] {
    let Some((&[_, letter], rest)) = escape.split_first_chunk::<2>() else {
        return &[];
    };
    let plain = match letter {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'u' => {
            let (unit, rest) = code_unit(rest);
            return push_code_unit(unit, rest, surrogates, out, replaced);
        }
        other => other,
    };
    out.push(plain);
    rest
}

/// Appends the character that starts with UTF-16 unit `unit`, taking the escape of its second half from `rest`.
fn push_code_unit<'a>(
    unit: u32,
    rest: &'a [u8],
    surrogates: Surrogates,
    out: &mut Vec<u8>,
    replaced: &mut bool,
) -> &'a [u8] {
    if let Some(character) = char::from_u32(unit) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return rest;
    }
    if unit < 0xdc00
        && let Some(tail) = rest.strip_prefix(b"\\u")
    {
        let (low, tail) = code_unit(tail);
        if (0xdc00..0xe000).contains(&low) {
            push_pair(unit, low, out);
            return tail;
        }
    }
    if surrogates == Surrogates::Replace {
        *replaced = true;
        out.extend_from_slice(REPLACEMENT);
        return rest;
    }
    if unit >= 0xdc00
        && let Some(high) = trailing_high(out)
    {
        out.truncate(out.len() - 3);
        push_pair(high, unit, out);
        return rest;
    }
    out.extend_from_slice(&[
        0xe0 | (unit >> 12) as u8,
        0x80 | (unit >> 6 & 0x3f) as u8,
        0x80 | (unit & 0x3f) as u8,
    ]);
    rest
}

/// Appends `piece` to WTF-8 text: surrogates keep their three bytes, except that a high and a low one that meet
/// become their character; whatever else is not UTF-8 becomes U+FFFD.
pub(crate) fn append_wtf8(piece: &[u8], out: &mut Vec<u8>) {
    let mut rest = piece;
    loop {
        let Err(error) = std::str::from_utf8(rest) else {
            return out.extend_from_slice(rest);
        };
        let (valid, invalid) = rest.split_at(error.valid_up_to());
        out.extend_from_slice(valid);
        if let Some((&[0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf], tail)) = invalid.split_first_chunk()
        {
            let unit = 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
            match trailing_high(out) {
                Some(high) if unit >= 0xdc00 => {
                    out.truncate(out.len() - 3);
                    push_pair(high, unit, out);
                }
                _ => out.extend_from_slice(&[0xed, second, third]),
            }
            rest = tail;
        } else {
            out.extend_from_slice(REPLACEMENT);
            rest = invalid.get(error.error_len().unwrap_or(invalid.len())..).unwrap_or_default();
        }
    }
}

/// The high surrogate that WTF-8 text ends with.
fn trailing_high(out: &[u8]) -> Option<u32> {
    match out.last_chunk::<3>() {
        Some(&[0xed, middle @ 0xa0..=0xaf, last]) => {
            Some(0xd000 | u32::from(middle & 0x3f) << 6 | u32::from(last & 0x3f))
        }
        _ => None,
    }
}

/// Appends the character of a surrogate pair.
fn push_pair(high: u32, low: u32, out: &mut Vec<u8>) {
    let point = 0x1_0000 + ((high & 0x3ff) << 10 | low & 0x3ff);
    if let Some(character) = char::from_u32(point) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// The value of four hexadecimal digits, checked before, and what follows them.
fn code_unit(text: &[u8]) -> (u32, &[u8]) {
    let Some((digits, rest)) = text.split_first_chunk::<4>() else {
        return (0xfffd, &[]);
    };
    let value = digits.iter().fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
        };
        value << 4 | u32::from(digit)
    });
    (value, rest)
}

/// Appends WTF-8 `text` as the inside of a JSON string: the short escapes, `\u00xx` for other controls, `\udxxx`
/// for lone surrogates, everything else as it is.
pub fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let (stop, ascii) = if rest.len() < LONG { string_stop(rest, 0) } else { dispatch(Stop(rest)) };
        let (plain, special) = rest.split_at(stop);
        if ascii {
            out.extend_from_slice(plain);
        } else {
            push_wide(plain, out);
        }
        let Some((&special, after)) = special.split_first() else { return };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => push_hex(u32::from(control), out),
        }
        rest = after;
    }
}

/// Texts at least this long are worth choosing the widest instructions for.
const LONG: usize = 64;

/// Finds the first character that needs an escape.
struct Stop<'a>(&'a [u8]);

impl Task for Stop<'_> {
    type Output = (usize, bool);

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        B::string_stop(self.0, 0)
    }
}

/// Appends WTF-8 in which nothing but surrogates needs an escape.
fn push_wide(text: &[u8], out: &mut Vec<u8>) {
    let mut plain_from = 0;
    // U+D000 and above begin with this byte; few texts have it.
    for at in memchr::memchr_iter(0xed, text) {
        if let Some(&[second @ 0xa0..=0xff, third]) = text.get(at + 1..at + 3) {
            out.extend_from_slice(text.get(plain_from..at).unwrap_or_default());
            push_hex(0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f), out);
            plain_from = at + 3;
        }
    }
    out.extend_from_slice(text.get(plain_from..).unwrap_or_default());
}

/// Appends `\u` and four lower-case hexadecimal digits.
fn push_hex(unit: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from_digit(unit >> shift & 0xf, 16).map_or(b'0', |digit| digit as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::{append_wtf8, push_escaped, push_lossy, push_usual, push_wtf8};
    use crate::json::{Cursor, RawStr};

    fn raw(text: &[u8]) -> RawStr<'_> {
        Cursor::new(text).string().unwrap()
    }

    #[test]
    fn escapes_stand_wherever_they_are_needed() {
        for length in [1, 2, 15, 16, 17, 63, 64, 65, 130] {
            for place in 0..length {
                for (special, escape) in [
                    ("\"", "\\\""),
                    ("\\", "\\\\"),
                    ("\n", "\\n"),
                    ("\u{1f}", "\\u001f"),
                    ("\u{7f}", "\u{7f}"),
                    ("\u{e9}", "\u{e9}"),
                    ("\u{d7ff}", "\u{d7ff}"),
                    ("\u{10000}\"", "\u{10000}\\\""),
                ] {
                    let around = |middle| ["a".repeat(place), middle, "b".repeat(length - place)].concat();
                    let mut out = Vec::new();
                    push_escaped(around(special.to_owned()).as_bytes(), &mut out);
                    assert_eq!(out, around(escape.to_owned()).as_bytes());
                }
                let surrogate =
                    [&vec![b'a'; place][..], b"\xed\xa0\xbd", &vec![b'b'; length - place]].concat();
                let mut out = Vec::new();
                push_escaped(&surrogate, &mut out);
                assert_eq!(out, [&vec![b'a'; place][..], b"\\ud83d", &vec![b'b'; length - place]].concat());
            }
        }
    }

    #[test]
    fn pieces_join_where_surrogates_meet() {
        for (pieces, expected) in [
            (&[&b"a"[..], b"\xc3\xa9"][..], "a\u{e9}".as_bytes()),
            (&[b"\xed\xa0\xbd", b"\xed\xb8\x80"], "\u{1f600}".as_bytes()),
            (&[b"\xed\xa0\xbd\xed\xb8\x80!"], "\u{1f600}!".as_bytes()),
            (&[b"\xed\xb8\x80", b"\xed\xa0\xbd"], b"\xed\xb8\x80\xed\xa0\xbd"),
            (&[b"x\xff", b"\xed"], "x\u{fffd}\u{fffd}".as_bytes()),
        ] {
            let mut out = Vec::new();
            for piece in pieces {
                append_wtf8(piece, &mut out);
            }
            assert_eq!(out, expected, "{pieces:x?}");
        }
    }

    #[test]
    fn escapes_decode() {
        for (text, expected) in [
            (r#""plain""#, "plain"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\u0000\uFFFF""#, "\u{e9}\u{0}\u{ffff}"),
            (r#""\ud83d\ude00!""#, "\u{1f600}!"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            ("\"\u{2028}\\n\"", "\u{2028}\n"),
        ] {
            let mut out = Vec::new();
            push_lossy(raw(text.as_bytes()), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_bytes_become_replacements() {
        let mut out = Vec::new();
        push_lossy(raw(b"\"a\xff\xe2\x82\\n\xf0\x9f\x98\""), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\u{fffd}\u{fffd}\n\u{fffd}");
    }

    #[test]
    fn pairs_join_across_pieces() {
        let mut out = Vec::new();
        push_wtf8(raw(br#""a\ud83d""#), &mut out);
        push_wtf8(raw(br#""\ude00b""#), &mut out);
        assert_eq!(out, "a\u{1f600}b".as_bytes());
    }

    #[test]
    fn lone_surrogates_are_written_back() {
        let mut out = Vec::new();
        push_wtf8(raw(br#""\ud83d \udc00\ud83d""#), &mut out);
        let mut written = Vec::new();
        push_escaped(&out, &mut written);
        assert_eq!(written, br"\ud83d \udc00\ud83d");
        written.clear();
        push_escaped("\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}\u{d7ff}\u{e9}".as_bytes(), &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), "\\\"\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}\u{d7ff}\u{e9}");
    }

    #[test]
    fn what_is_spelled_as_usual_is_spelled_so_again() {
        let all = [r"a\n", r"\n\n", r#"\"x\\\t\r"#, "", " word"];
        let others = [r"\u00e9", r"\/", r"\b", "\u{e9}", r"\u0041", r"a\"];
        for (text, usual) in all.map(|text| (text, true)).into_iter().chain(others.map(|text| (text, false)))
        {
            let mut decoded = Vec::new();
            assert_eq!(push_usual(text.as_bytes(), &mut decoded), usual, "{text}");
            if usual {
                let mut spelled = Vec::new();
                push_escaped(&decoded, &mut spelled);
                assert_eq!(spelled, text.as_bytes());
            }
        }
    }
}

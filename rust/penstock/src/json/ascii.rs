//! Strings and floats as Python's `json.dumps` writes them by default: all ASCII, floats by their shortest repr.
//!
//! Everything but the printable ASCII characters is escaped, U+007F included, with lower-case digits and two
//! escapes for a character beyond U+FFFF. Strings come in whatever form their owner has them.

use std::io::{Cursor as Slots, Write};

use crate::simd::{Backend, Task, dispatch};

/// Takes the bytes of a text that is being written.
pub trait Out {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]);

    /// Appends one byte.
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.write(&[byte]);
    }

    /// Appends a string that needs no escapes, with its quotes.
    #[inline]
    fn quoted(&mut self, plain: &[u8]) {
        self.byte(b'"');
        self.write(plain);
        self.byte(b'"');
    }
}

impl Out for Vec<u8> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Strings at least this long are worth choosing the widest instructions for.
const LONG: usize = 64;

/// How many bytes at the start of `text` stand for themselves inside an ASCII string.
#[inline(always)]
pub(crate) fn plain_prefix(text: &[u8]) -> usize {
    if text.len() >= LONG {
        return dispatch(Plain(text));
    }
    if text.len() >= 16 {
        return Plain(text).count::<16>();
    }
    // The first and the last bytes, which are all there are.
    let is_plain = if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        is_plain_word(u64::from_le_bytes(*head)) && is_plain_word(u64::from_le_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
        is_plain_word(u64::from(head) | u64::from(tail) << 32)
    } else {
        false
    };
    if is_plain { text.len() } else { first_special(text) }
}

/// Whether all eight bytes stand for themselves.
#[inline(always)]
const fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    /// Not 0 if a byte is below `least`, which is 0x80 at most, and perhaps if a byte has its high bit set.
    const fn below(word: u64, least: u64) -> u64 {
        word.wrapping_sub(ONES * least) & !word
    }

    let quote = below(word ^ (ONES * b'"' as u64), 1);
    let backslash = below(word ^ (ONES * b'\\' as u64), 1);
    // Adding one carries U+007F into the high bit.
    (word | word.wrapping_add(ONES) | below(word, 0x20) | quote | backslash) & HIGHS == 0
}

struct Plain<'a>(&'a [u8]);

impl Plain<'_> {
    /// Of a text of `WIDTH` bytes or more.
    #[inline(always)]
    fn count<const WIDTH: usize>(self) -> usize {
        let Self(text) = self;
        let mut count = 0;
        for chunk in text.as_chunks::<WIDTH>().0 {
            if !is_all_plain(chunk) {
                return count + first_special(chunk);
            }
            count += WIDTH;
        }
        // What is left is judged together with some bytes before it, as one chunk more.
        match text.last_chunk::<WIDTH>() {
            Some(last) if is_all_plain(last) => text.len(),
            _ => count + first_special(text.get(count..).unwrap_or_default()),
        }
    }
}

/// Where the first byte stands that does not stand for itself, or the length.
#[inline(always)]
fn first_special(text: &[u8]) -> usize {
    text.iter().position(|&byte| !is_plain(byte)).unwrap_or(text.len())
}

/// Whether all bytes stand for themselves; judged at once, which the compiler turns into wide compares.
#[inline(always)]
fn is_all_plain<const WIDTH: usize>(chunk: &[u8; WIDTH]) -> bool {
    !chunk.iter().fold(false, |found, &byte| found | !is_plain(byte))
}

impl Task for Plain<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<B: Backend>(self) -> usize {
        self.count::<64>()
    }
}

/// Whether a byte stands for itself.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool, reason = "without branches it is done on many bytes at once")]
const fn is_plain(byte: u8) -> bool {
    (byte.wrapping_sub(b' ') < 0x5f) & (byte != b'"') & (byte != b'\\')
}

/// Writes a string of code points below 256, one a byte, with its quotes.
#[inline]
pub fn write_latin1(text: &[u8], out: &mut impl Out) {
    let length = plain_prefix(text);
    if length == text.len() {
        return out.quoted(text);
    }
    write_special_latin1(text, length, out);
}

/// The rest of [`write_latin1`], for a string of which only the first `length` bytes are plain.
#[inline(never)]
fn write_special_latin1(text: &[u8], length: usize, out: &mut impl Out) {
    out.byte(b'"');
    let mut rest = text;
    let mut length = length;
    loop {
        let (plain, other) = rest.split_at(length);
        out.write(plain);
        let Some((&special, after)) = other.split_first() else { break };
        write_unit(u16::from(special), out);
        rest = after;
        length = plain_prefix(rest);
    }
    out.byte(b'"');
}

/// Writes a string of UTF-16 units, surrogates in any order, with its quotes.
pub fn write_utf16(units: &[u16], out: &mut impl Out) {
    out.byte(b'"');
    for &unit in units {
        write_character(u32::from(unit), out);
    }
    out.byte(b'"');
}

/// Writes a string of code points, surrogates among them, with its quotes.
pub fn write_utf32(points: &[u32], out: &mut impl Out) {
    out.byte(b'"');
    for &point in points {
        write_character(point, out);
    }
    out.byte(b'"');
}

/// Writes a string of WTF-8 — UTF-8 that may hold surrogates — with its quotes.
pub fn write_wtf8(text: &[u8], out: &mut impl Out) {
    out.byte(b'"');
    let mut rest = text;
    loop {
        let (plain, other) = rest.split_at(plain_prefix(rest));
        out.write(plain);
        let Some((point, after)) = split_point(other) else { break };
        write_character(point, out);
        rest = after;
    }
    out.byte(b'"');
}

/// The first code point of WTF-8 text, and what follows it.
#[inline]
fn split_point(text: &[u8]) -> Option<(u32, &[u8])> {
    let (&first, rest) = text.split_first()?;
    let (bits, tail) = match first {
        0..0x80 => (u32::from(first), 0),
        0x80..0xe0 => (u32::from(first & 0x1f), 1),
        0xe0..0xf0 => (u32::from(first & 0x0f), 2),
        _ => (u32::from(first & 0x07), 3),
    };
    let (tail, rest) = rest.split_at_checked(tail)?;
    Some((tail.iter().fold(bits, |bits, &byte| bits << 6 | u32::from(byte & 0x3f)), rest))
}

#[inline]
fn write_character(point: u32, out: &mut impl Out) {
    match point {
        0..0x80 if is_plain(point as u8) => out.byte(point as u8),
        0..0x1_0000 => write_unit(point as u16, out),
        _ => {
            let bits = point - 0x1_0000;
            write_unit(0xd800 | (bits >> 10) as u16, out);
            write_unit(0xdc00 | (bits & 0x3ff) as u16, out);
        }
    }
}

/// Writes the escape of one UTF-16 unit.
#[inline]
fn write_unit(unit: u16, out: &mut impl Out) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match unit {
        0x22 => b"\\\"",
        0x5c => b"\\\\",
        0x0a => b"\\n",
        0x0d => b"\\r",
        0x09 => b"\\t",
        0x08 => b"\\b",
        0x0c => b"\\f",
        _ => {
            let digit = |shift: u32| DIGITS.get(usize::from(unit >> shift & 0xf)).copied().unwrap_or(b'0');
            return out.write(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
        }
    };
    out.write(short);
}

/// Writes a float as `float.__repr__` does; the three that are not finite as `json.dumps` does, which is no JSON.
pub fn write_float(value: f64, out: &mut impl Out) {
    if !value.is_finite() {
        let word: &[u8] = match value {
            f64::INFINITY => b"Infinity",
            f64::NEG_INFINITY => b"-Infinity",
            _ => b"NaN",
        };
        return out.write(word);
    }
    let shortest = Scientific::shortest(value);
    let nearest = shortest.nearest(value);
    let digits = nearest.as_ref().unwrap_or(&shortest);
    let text = digits.as_str();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.byte(b'-');
            rest
        }
        None => mantissa,
    };
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    place_point(first.as_bytes(), rest.as_bytes(), exponent.parse().unwrap_or_default(), out);
}

/// A number as digits with an exponent, such as `-1.25e-7`.
struct Scientific {
    slots: [u8; 32],
    length: usize,
}

impl Scientific {
    fn new(text: std::fmt::Arguments<'_>) -> Self {
        let mut slots = Slots::new([0_u8; 32]);
        // No double needs more than 24 bytes.
        let _ = slots.write_fmt(text);
        Self { length: slots.position() as usize, slots: slots.into_inner() }
    }

    /// The fewest digits that read back as `value`.
    fn shortest(value: f64) -> Self {
        Self::new(format_args!("{value:e}"))
    }

    /// As many digits, half to even. Where two strings of the fewest digits are equally near, Python takes the even
    /// one and Rust the larger; that needs 15 digits or more, as fewer never stand for two doubles.
    fn nearest(&self, value: f64) -> Option<Self> {
        let digits =
            self.as_str().bytes().take_while(|&byte| byte != b'e').filter(u8::is_ascii_digit).count();
        if digits < 15 {
            return None;
        }
        let even = Self::new(format_args!("{value:.*e}", digits - 1));
        even.as_str().parse().is_ok_and(|read: f64| read.to_bits() == value.to_bits()).then_some(even)
    }

    fn as_str(&self) -> &str {
        self.slots.get(..self.length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// Writes digits, of which `first` is the one before the point, with an exponent where Python wants one.
fn place_point(first: &[u8], rest: &[u8], exponent: i32, out: &mut impl Out) {
    const ZEROS: &[u8; 16] = b"0000000000000000";
    let zeros = |count: usize| ZEROS.get(..count).unwrap_or(ZEROS);
    match exponent {
        0..16 => {
            out.write(first);
            let whole = exponent.unsigned_abs() as usize;
            if let Some((whole, fraction)) = rest.split_at_checked(whole) {
                out.write(whole);
                out.byte(b'.');
                out.write(if fraction.is_empty() { b"0" } else { fraction });
            } else {
                out.write(rest);
                out.write(zeros(whole - rest.len()));
                out.write(b".0");
            }
        }
        -4..0 => {
            out.write(b"0.");
            out.write(zeros(exponent.unsigned_abs() as usize - 1));
            out.write(first);
            out.write(rest);
        }
        _ => {
            out.write(first);
            if !rest.is_empty() {
                out.byte(b'.');
                out.write(rest);
            }
            out.write(if exponent < 0 { b"e-" } else { b"e+" });
            let size = exponent.unsigned_abs();
            if size < 10 {
                out.byte(b'0');
            }
            let mut digits = Vec::with_capacity(3);
            super::push_number(u64::from(size), &mut digits);
            out.write(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{write_float, write_latin1, write_utf16, write_utf32, write_wtf8};

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_what_python_writes() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e-4, "0.0001"),
            (1.5e-4, "0.00015"),
            (1e-5, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (12345.678, "12345.678"),
            (f64::powi(2.0, 49) + 0.25, "562949953421312.2"),
            (f64::powi(2.0, -44), "5.684341886080802e-14"),
            (5e-324, "5e-324"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| write_float(value, out)), expected);
        }
    }

    #[test]
    fn strings_are_ascii_in_every_form() {
        for (string, expected) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("\"\\\n\r\t\u{8}\u{c}/", r#""\"\\\n\r\t\b\f/""#),
            ("\0\u{1f}\u{7f}\u{80}\u{e9}", r#""\u0000\u001f\u007f\u0080\u00e9""#),
        ] {
            let latin1: Vec<u8> = string.chars().map(|character| character as u8).collect();
            assert_eq!(text(|out| write_latin1(&latin1, out)), expected);
        }
        for (string, expected) in [
            ("h\u{e9}\u{2028}", r#""h\u00e9\u2028""#),
            ("\u{1f600}\"", r#""\ud83d\ude00\"""#),
            ("\u{ffff}\u{10000}\u{10ffff}", r#""\uffff\ud800\udc00\udbff\udfff""#),
        ] {
            let units: Vec<u16> = string.encode_utf16().collect();
            let points: Vec<u32> = string.chars().map(u32::from).collect();
            assert_eq!(text(|out| write_utf16(&units, out)), expected);
            assert_eq!(text(|out| write_utf32(&points, out)), expected);
            assert_eq!(text(|out| write_wtf8(string.as_bytes(), out)), expected);
        }
        assert_eq!(text(|out| write_utf32(&[0xd83d, 0x61], out)), r#""\ud83da""#);
        assert_eq!(text(|out| write_wtf8(b"\xed\xa0\xbda", out)), r#""\ud83da""#);
    }

    #[test]
    fn a_special_byte_is_found_at_every_place() {
        for length in [1, 3, 4, 5, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 65, 127, 130, 200] {
            for place in 0..length {
                for special in [b'"', b'\\', 0x1f, 0x7f, 0x80, 0xff] {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = special;
                    assert_eq!(super::plain_prefix(&bytes), place);
                }
            }
            assert_eq!(super::plain_prefix(&vec![b' '; length]), length);
            assert_eq!(super::plain_prefix(&vec![b'~'; length]), length);
        }
    }
}

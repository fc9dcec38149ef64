//! A pull scanner over one JSON text. It never recurses: nesting is one bit a level in a `u128`.

use crate::error::{Error, JsonReason};
use crate::limits::{DEPTH_CEILING, Limit};
use crate::simd::string_stop;

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// `-` or a digit
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// The inside of a string as it stands in the text, quotes excluded, escapes checked but not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawStr<'a> {
    /// The bytes between the quotes.
    pub raw: &'a [u8],
    /// Whether a backslash occurs.
    pub escaped: bool,
    /// Every byte is ASCII; false when that was not looked at to the end.
    pub ascii: bool,
}

impl<'a> RawStr<'a> {
    /// The inside of a string that is known to be valid.
    #[inline]
    #[must_use]
    pub fn checked(raw: &'a [u8]) -> Self {
        let (stop, ascii) = string_stop(raw, 0);
        let escaped = stop < raw.len();
        Self { raw, escaped, ascii: ascii && (!escaped || raw.is_ascii()) }
    }
}

/// A number as it stands in the text, its grammar checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<'a> {
    /// The text, all ASCII.
    pub raw: &'a [u8],
    /// Without fraction and exponent.
    pub integer: bool,
}

/// A position in one JSON text, and the moves from there. After an error the cursor must not be used.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Stands before the first byte of `text`.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes passed so far.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The text from `start` to here.
    #[inline]
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The error for what stands here.
    #[cold]
    fn refuse<T>(&self, reason: JsonReason) -> Result<T, Error> {
        let reason = if self.at >= self.text.len() { JsonReason::UnexpectedEnd } else { reason };
        Err(Error::json(reason, self.at.min(self.text.len())))
    }

    /// Passes white space.
    #[inline]
    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Tells what value starts here, after white space, without passing it.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, Error> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            _ => self.refuse(JsonReason::UnexpectedByte),
        }
    }

    /// Passes one byte, which must be `expected`, after white space.
    #[inline]
    pub fn expect(&mut self, expected: u8) -> Result<(), Error> {
        self.skip_space();
        if self.take(expected) { Ok(()) } else { self.refuse(JsonReason::UnexpectedByte) }
    }

    /// Passes `byte` if it stands right here.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Passes a string, which must start right here.
    #[inline]
    pub fn string(&mut self) -> Result<RawStr<'a>, Error> {
        if !self.take(b'"') {
            return self.refuse(JsonReason::UnexpectedByte);
        }
        let start = self.at;
        let (stop, ascii) = string_stop(self.text, start);
        self.at = stop;
        if self.take(b'"') {
            let raw = self.text.get(start..stop).unwrap_or_default();
            return Ok(RawStr { raw, escaped: false, ascii });
        }
        self.string_with_escapes(start, ascii)
    }

    /// The rest of a string that does not end at its first stop.
    fn string_with_escapes(&mut self, start: usize, mut ascii: bool) -> Result<RawStr<'a>, Error> {
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let raw = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(RawStr { raw, escaped, ascii });
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                _ => return self.refuse(JsonReason::ControlCharacter),
            }
            let (stop, plain) = string_stop(self.text, self.at);
            self.at = stop;
            ascii &= plain;
        }
    }

    /// Passes one escape sequence.
    fn escape(&mut self) -> Result<(), Error> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.refuse(JsonReason::InvalidEscape);
                    }
                    self.at += 1;
                }
            }
            _ => return self.refuse(JsonReason::InvalidEscape),
        }
        Ok(())
    }

    /// Passes a number, which must start right here (RFC 8259 section 6).
    #[inline]
    pub fn number(&mut self) -> Result<Number<'a>, Error> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut integer = true;
        if self.take(b'.') {
            integer = false;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Number { raw: self.since(start), integer })
    }

    /// Passes one digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.refuse(JsonReason::InvalidNumber) } else { Ok(()) }
    }

    /// Passes the literal that a value of this kind is.
    #[inline]
    pub fn literal(&mut self, kind: Kind) -> Result<(), Error> {
        let word: &[u8] = match kind {
            Kind::True => b"true",
            Kind::False => b"false",
            _ => b"null",
        };
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.at += rest.iter().zip(word).take_while(|(found, wanted)| found == wanted).count();
        self.refuse(JsonReason::UnexpectedByte)
    }

    /// Passes what may follow a value inside a container: true after `,`, false after `close`.
    #[inline]
    pub fn more(&mut self, close: u8) -> Result<bool, Error> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.refuse(JsonReason::UnexpectedByte),
        }
    }

    /// Passes a key and its colon, after white space.
    #[inline]
    pub fn key(&mut self) -> Result<RawStr<'a>, Error> {
        self.skip_space();
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Passes `{` and tells whether a member follows; passes `}` when none does.
    #[inline]
    pub fn open_object(&mut self) -> Result<bool, Error> {
        self.open(b'{', b'}')
    }

    /// Passes `[` and tells whether an element follows; passes `]` when none does.
    #[inline]
    pub fn open_array(&mut self) -> Result<bool, Error> {
        self.open(b'[', b']')
    }

    #[inline]
    fn open(&mut self, open: u8, close: u8) -> Result<bool, Error> {
        self.expect(open)?;
        self.skip_space();
        Ok(!self.take(close))
    }

    /// Requires the end of the text, white space allowed.
    #[inline]
    pub fn end(&mut self) -> Result<(), Error> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { self.refuse(JsonReason::TrailingData) }
    }

    /// Passes any value, after white space, checking it whole; `depth` levels are open around it, of which
    /// with this value's own there may be `maximum`.
    #[inline]
    pub fn skip_value(&mut self, depth: u64, maximum: u64) -> Result<Kind, Error> {
        let kind = self.kind()?;
        match kind {
            Kind::String => self.string().map(drop)?,
            Kind::Number => self.number().map(drop)?,
            Kind::Object | Kind::Array => self.skip_container(depth, maximum)?,
            _ => self.literal(kind)?,
        }
        Ok(kind)
    }

    /// Passes an object or array. Bit `n` of `objects` tells what stands open at level `n` of this value.
    fn skip_container(&mut self, depth: u64, maximum: u64) -> Result<(), Error> {
        let maximum = maximum.min(DEPTH_CEILING);
        let mut objects: u128 = 0;
        let mut level: u64 = 0;
        loop {
            // A value starts here.
            let kind = self.kind()?;
            let opened = match kind {
                Kind::Object | Kind::Array => {
                    check_depth(depth + level + 1, maximum, self.at)?;
                    let object = kind == Kind::Object;
                    let bit = 1_u128 << level;
                    objects = if object { objects | bit } else { objects & !bit };
                    let filled = if object { self.open_object()? } else { self.open_array()? };
                    level += u64::from(filled);
                    if filled && object {
                        self.key()?;
                    }
                    filled
                }
                Kind::String => {
                    self.string()?;
                    false
                }
                Kind::Number => {
                    self.number()?;
                    false
                }
                _ => {
                    self.literal(kind)?;
                    false
                }
            };
            if opened {
                continue;
            }
            // A value ended here: close what ends with it, stop at the next one.
            loop {
                if level == 0 {
                    return Ok(());
                }
                let object = objects >> (level - 1) & 1 == 1;
                if self.more(if object { b'}' } else { b']' })? {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                level -= 1;
            }
        }
    }
}

/// Refuses nesting level `level` (1 is the outermost container) above `maximum`.
#[inline]
pub(crate) fn check_depth(level: u64, maximum: u64, at: usize) -> Result<(), Error> {
    if level > maximum {
        return Err(Error::Limit { limit: Limit::Depth, maximum, value: maximum + 1, offset: at as u64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use crate::error::{Error, JsonReason};

    fn check(text: &[u8]) -> Result<(), Error> {
        let mut cursor = Cursor::new(text);
        cursor.skip_value(0, 128)?;
        cursor.end()
    }

    #[test]
    fn accepts() {
        for text in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "1.5e+10",
            "\"\"",
            "\"\\u00e9\\\"\"",
            "[]",
            "[ ]",
            "{}",
            "{ }",
            "[1, 2,[3]]",
            "{\"a\":{\"b\":[{}]},\"c\":null}",
            "\r\n\t [0]",
            "\"\u{2028}\"",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        assert_eq!(check(b"\"\xff\""), Ok(()));
    }

    #[test]
    fn refuses_with_reason_and_offset() {
        use JsonReason::{
            ControlCharacter, InvalidEscape, InvalidNumber, TrailingData, UnexpectedByte, UnexpectedEnd,
        };
        for (text, reason, offset) in [
            ("", UnexpectedEnd, 0),
            ("nul", UnexpectedEnd, 3),
            ("nulp", UnexpectedByte, 3),
            ("nn", UnexpectedByte, 1),
            ("01", TrailingData, 1),
            ("-", UnexpectedEnd, 1),
            ("-x", InvalidNumber, 1),
            ("1.", UnexpectedEnd, 2),
            ("1.e1", InvalidNumber, 2),
            ("NaN", UnexpectedByte, 0),
            ("\"a", UnexpectedEnd, 2),
            ("\"\\x\"", InvalidEscape, 2),
            ("\"\\u12g4\"", InvalidEscape, 5),
            ("\"\n\"", ControlCharacter, 1),
            ("[1,]", UnexpectedByte, 3),
            ("[1 2]", UnexpectedByte, 3),
            ("{\"a\" 1}", UnexpectedByte, 5),
            ("{1:1}", UnexpectedByte, 1),
            ("{\"a\":1,}", UnexpectedByte, 7),
            ("[}", UnexpectedByte, 1),
            ("{]", UnexpectedByte, 1),
            ("[[]", UnexpectedEnd, 3),
            ("1 2", TrailingData, 2),
            ("\u{feff}1", UnexpectedByte, 0),
        ] {
            assert_eq!(check(text.as_bytes()), Err(Error::json(reason, offset)), "{text}");
        }
    }

    #[test]
    fn depth_is_counted_in_containers() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check(nested(128).as_bytes()), Ok(()));
        assert!(matches!(
            check(nested(129).as_bytes()),
            Err(Error::Limit { maximum: 128, value: 129, offset: 128, .. })
        ));
        assert!(matches!(check("{\"a\":".repeat(100_000).as_bytes()), Err(Error::Limit { .. })));
    }
}

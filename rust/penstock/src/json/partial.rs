//! A push reader of one JSON text that arrives in pieces, such as the arguments of a tool call being streamed.
//!
//! Pieces may end anywhere: inside an escape, a surrogate pair, a UTF-8 character, a number, a literal. No byte is
//! read twice, so a text costs its length however it is cut. What is certain is handed to a [`PartialSink`] at
//! once; what more input could still change (a number that may go on, half a literal, an open key, half an escape)
//! is withheld. The one value that is neither is the open string: [`PartialJson::open_string`] gives its text so far.
//!
//! Input is WTF-8, as accumulated text is: surrogate halves written as bytes join like halves written as escapes.
//! Halves that stay alone and bytes that are neither become U+FFFD.

use crate::error::{Error, JsonReason, exceeded};
use crate::json::cursor::{Kind, Number, check_depth};
use crate::json::partial_text::PartialText;
use crate::limits::{DEPTH_CEILING, Limit, Limits};
use crate::simd::string_stop;

/// Takes the parts of a value in the order of its text, each once and each final.
pub trait PartialSink {
    /// An object or an array begins.
    fn open(&mut self, object: bool);
    /// The innermost open container ends.
    fn close(&mut self);
    /// The name of the member whose value comes next.
    fn key(&mut self, key: &str);
    /// A whole string.
    fn string(&mut self, text: &str);
    /// A whole number.
    fn number(&mut self, number: Number<'_>);
    /// `true`, `false` or `null`.
    fn literal(&mut self, literal: Kind);
}

/// How far a text has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartialState {
    /// Nothing but white space.
    Empty,
    /// A value has begun.
    Incomplete,
    /// The value is whole; only white space may follow.
    Complete,
    /// The text is not JSON or over a limit: [`PartialJson::error`] says where. What came before stays valid.
    Invalid,
}

/// What the reader expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ElementOrEnd,
    MemberOrEnd,
    Key,
    Colon,
    CommaOrEnd,
    /// The rest of a string.
    Text,
    /// The letter after a backslash.
    Escape,
    /// Hexadecimal digits: how many have come, and their value.
    Unicode(u8, u16),
    Number(Digits),
    /// The rest of a literal, of which so many bytes have come.
    Literal(Kind, u8),
    Nothing,
}

/// The last thing read of a number (RFC 8259 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Digits {
    /// What `byte` makes of the number; `None` when it does not belong to it.
    const fn then(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }

    /// Whether a number may end here.
    const fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Power)
    }
}

/// The reader of one text. After an error it stays failed and repeats that error.
#[derive(Debug)]
pub struct PartialJson {
    expect: Expect,
    /// Whether the string being read is a member's name.
    in_key: bool,
    text: PartialText,
    /// The number being read.
    number: Vec<u8>,
    /// Bit `n` tells whether the container at level `n` is an object.
    objects: u128,
    level: u32,
    /// Bytes of the text passed so far.
    offset: u64,
    steps: u64,
    max_bytes: u64,
    max_depth: u64,
    max_digits: u64,
    error: Option<Error>,
}

impl PartialJson {
    /// Stands before the first byte; `limits` bound the text's length, its nesting and the digits of an integer.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            expect: Expect::Value,
            in_key: false,
            text: PartialText::default(),
            number: Vec::new(),
            objects: 0,
            level: 0,
            offset: 0,
            steps: 0,
            max_bytes: limits.max_message_bytes,
            max_depth: limits.max_depth.min(DEPTH_CEILING),
            max_digits: limits.max_number_digits,
            error: None,
        }
    }

    /// Reads the next piece. On an error everything before the offending byte has reached the sink.
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl PartialSink) -> Result<(), Error> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let room = usize::try_from(self.max_bytes - self.offset).unwrap_or(usize::MAX);
        let result = self.read(piece.get(..room).unwrap_or(piece), sink).and_then(|()| {
            let over = piece.len() > room;
            if over { Err(exceeded(Limit::MessageBytes, self.max_bytes, self.offset)) } else { Ok(()) }
        });
        result.inspect_err(|error| self.error = Some(error.clone()))
    }

    /// Ends the input, which makes a number at its end certain. A value that is not whole stays incomplete.
    pub fn finish(&mut self, sink: &mut impl PartialSink) {
        if let Expect::Number(digits) = self.expect
            && self.level == 0
            && self.error.is_none()
            && digits.may_end()
        {
            self.end_number(sink);
        }
    }

    /// How far the text has come.
    #[must_use]
    pub const fn state(&self) -> PartialState {
        match self.expect {
            _ if self.error.is_some() => PartialState::Invalid,
            Expect::Nothing => PartialState::Complete,
            Expect::Value if self.level == 0 => PartialState::Empty,
            _ => PartialState::Incomplete,
        }
    }

    /// The error that stopped this reader.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The text so far of the string that is the innermost open value; `None` when none is open.
    #[must_use]
    pub fn open_string(&self) -> Option<&str> {
        let open = matches!(self.expect, Expect::Text | Expect::Escape | Expect::Unicode(..));
        (open && !self.in_key).then_some(self.text.as_str())
    }

    /// Bytes passed so far, all of them checked.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.offset
    }

    /// How often a byte was looked at: at most twice each, however the text was cut.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    fn read(&mut self, piece: &[u8], sink: &mut impl PartialSink) -> Result<(), Error> {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            self.steps += 1;
            if self.expect == Expect::Text {
                let (plain, tail) = rest.split_at(string_stop(rest, 0).0);
                if !plain.is_empty() {
                    self.text.push(plain);
                    self.offset += plain.len() as u64;
                    self.steps += plain.len() as u64 - 1;
                    rest = tail;
                    continue;
                }
            }
            if self.take(byte, sink)? {
                self.offset += 1;
                rest = behind;
            }
        }
        Ok(())
    }

    #[cold]
    const fn refuse<T>(&self, reason: JsonReason) -> Result<T, Error> {
        Err(Error::Json { reason, offset: self.offset })
    }

    /// Passes one byte; false when it ended a number and has to be looked at again as what follows one.
    fn take(&mut self, byte: u8, sink: &mut impl PartialSink) -> Result<bool, Error> {
        match (self.expect, byte) {
            (Expect::Text, b'"') => self.end_string(sink),
            (Expect::Text, b'\\') => self.expect = Expect::Escape,
            (Expect::Text, _) => return self.refuse(JsonReason::ControlCharacter),
            (Expect::Escape, _) => self.escape(byte)?,
            (Expect::Unicode(count, unit), _) => self.unicode(byte, count, unit)?,
            (Expect::Literal(kind, length), _) => self.literal(byte, kind, length, sink)?,
            (Expect::Number(digits), _) => match digits.then(byte) {
                Some(next) => self.digit(byte, next)?,
                None if digits.may_end() => {
                    self.end_number(sink);
                    return Ok(false);
                }
                None => return self.refuse(JsonReason::InvalidNumber),
            },
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (Expect::Nothing, _) => return self.refuse(JsonReason::TrailingData),
            (Expect::Colon, b':') => self.expect = Expect::Value,
            (Expect::ElementOrEnd, b']') | (Expect::MemberOrEnd, b'}') => self.close(sink),
            (Expect::CommaOrEnd, b']' | b'}') if self.in_object() == (byte == b'}') => self.close(sink),
            (Expect::CommaOrEnd, b',') => {
                self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
            }
            (Expect::MemberOrEnd | Expect::Key, b'"') => self.begin_string(true),
            (Expect::Value | Expect::ElementOrEnd, b'"') => self.begin_string(false),
            (Expect::Value | Expect::ElementOrEnd, _) => self.value(byte, sink)?,
            _ => return self.refuse(JsonReason::UnexpectedByte),
        }
        Ok(true)
    }

    /// Begins the value whose first byte is `byte`.
    fn value(&mut self, byte: u8, sink: &mut impl PartialSink) -> Result<(), Error> {
        self.expect = match byte {
            b'{' | b'[' => return self.open(byte == b'{', sink),
            b't' => Expect::Literal(Kind::True, 1),
            b'f' => Expect::Literal(Kind::False, 1),
            b'n' => Expect::Literal(Kind::Null, 1),
            b'-' | b'0'..=b'9' => {
                self.number.clear();
                return self.digit(byte, Digits::Minus.then(byte).unwrap_or(Digits::Minus));
            }
            _ => return self.refuse(JsonReason::UnexpectedByte),
        };
        Ok(())
    }

    fn open(&mut self, object: bool, sink: &mut impl PartialSink) -> Result<(), Error> {
        check_depth(u64::from(self.level) + 1, self.max_depth, self.offset as usize)?;
        let bit = 1_u128 << self.level;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.level += 1;
        self.expect = if object { Expect::MemberOrEnd } else { Expect::ElementOrEnd };
        sink.open(object);
        Ok(())
    }

    fn close(&mut self, sink: &mut impl PartialSink) {
        self.level -= 1;
        self.end_value();
        sink.close();
    }

    const fn in_object(&self) -> bool {
        self.level > 0 && self.objects >> (self.level - 1) & 1 == 1
    }

    const fn end_value(&mut self) {
        self.expect = if self.level == 0 { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    fn begin_string(&mut self, key: bool) {
        self.in_key = key;
        self.text.clear();
        self.expect = Expect::Text;
    }

    fn end_string(&mut self, sink: &mut impl PartialSink) {
        self.text.settle();
        if self.in_key {
            self.expect = Expect::Colon;
            sink.key(self.text.as_str());
        } else {
            self.end_value();
            sink.string(self.text.as_str());
        }
    }

    fn escape(&mut self, letter: u8) -> Result<(), Error> {
        let plain = match letter {
            b'u' => {
                self.expect = Expect::Unicode(0, 0);
                return Ok(());
            }
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return self.refuse(JsonReason::InvalidEscape),
        };
        self.text.unit(u16::from(plain));
        self.expect = Expect::Text;
        Ok(())
    }

    fn unicode(&mut self, byte: u8, count: u8, unit: u16) -> Result<(), Error> {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return self.refuse(JsonReason::InvalidEscape);
        };
        let unit = unit << 4 | digit as u16;
        if count < 3 {
            self.expect = Expect::Unicode(count + 1, unit);
        } else {
            self.text.unit(unit);
            self.expect = Expect::Text;
        }
        Ok(())
    }

    fn digit(&mut self, byte: u8, digits: Digits) -> Result<(), Error> {
        // The bound holds for the integer part of every number: whether a fraction follows is not known yet.
        if digits == Digits::Integer {
            let count = self.number.len() - usize::from(self.number.starts_with(b"-"));
            if count as u64 >= self.max_digits {
                return Err(exceeded(Limit::NumberDigits, self.max_digits, self.offset));
            }
        }
        self.number.push(byte);
        self.expect = Expect::Number(digits);
        Ok(())
    }

    fn end_number(&mut self, sink: &mut impl PartialSink) {
        let integer = matches!(self.expect, Expect::Number(Digits::Zero | Digits::Integer));
        self.end_value();
        sink.number(Number { raw: &self.number, integer });
    }

    fn literal(
        &mut self,
        byte: u8,
        kind: Kind,
        length: u8,
        sink: &mut impl PartialSink,
    ) -> Result<(), Error> {
        let word: &[u8] = match kind {
            Kind::True => b"true",
            Kind::False => b"false",
            _ => b"null",
        };
        if word.get(usize::from(length)) != Some(&byte) {
            return self.refuse(JsonReason::UnexpectedByte);
        }
        if usize::from(length) + 1 < word.len() {
            self.expect = Expect::Literal(kind, length + 1);
        } else {
            self.end_value();
            sink.literal(kind);
        }
        Ok(())
    }
}

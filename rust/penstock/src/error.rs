//! What penstock refuses, whose fault it is and where it stands. Words are made only when someone prints them.

use std::fmt;

use crate::limits::{Bound, Limit};

/// A refusal. Offsets count bytes: from the start of the stream for [`Error::Limit`] and [`Error::Text`] raised
/// by a decoder, from the start of the payload for everything that reads one JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The input wants more than a limit grants: it is hostile, or the limit too small for it.
    Limit {
        /// Which limit.
        limit: Limit,
        /// Its value.
        maximum: u64,
        /// The first count above it.
        value: u64,
        /// Where the count passed the limit.
        offset: u64,
    },
    /// The payload is not one JSON text (RFC 8259).
    Json {
        /// What was wrong.
        reason: JsonReason,
        /// Where.
        offset: u64,
    },
    /// The text cannot be represented, and the caller asked to be told rather than to have it replaced.
    Text {
        /// What was wrong.
        reason: TextReason,
        /// Where.
        offset: u64,
    },
    /// An event breaks the rules of its API, and the caller asked for strictness.
    Event {
        /// Which rule, as the diagnostics count it.
        rule: &'static str,
        /// The event's type as it came.
        event: Box<str>,
    },
    /// A turn is larger than a store may hold.
    Bound {
        /// Which bound.
        bound: Bound,
        /// Its value.
        maximum: u64,
        /// What the turn needs.
        value: u64,
    },
    /// No turn of this tenant has the id: none ever had, or it expired, was evicted or deleted.
    PreviousResponse,
    /// The id belongs to a turn with other content.
    TurnConflict,
}

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonReason {
    /// The text ends before its value does.
    UnexpectedEnd,
    /// A byte that cannot stand here.
    UnexpectedByte,
    /// A control character inside a string.
    ControlCharacter,
    /// A backslash followed by none of `"\/bfnrtu`.
    InvalidEscape,
    /// A number that RFC 8259 section 6 does not allow, `NaN` and `Infinity` included.
    InvalidNumber,
    /// Something after the value.
    TrailingData,
}

/// Why a text cannot be represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextReason {
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A `\ud800`-`\udfff` escape without its other half.
    LoneSurrogate,
}

impl fmt::Display for JsonReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnexpectedEnd => "unexpected end of JSON",
            Self::UnexpectedByte => "unexpected byte in JSON",
            Self::ControlCharacter => "unescaped control character in a JSON string",
            Self::InvalidEscape => "invalid escape in a JSON string",
            Self::InvalidNumber => "invalid JSON number",
            Self::TrailingData => "trailing data after the JSON value",
        })
    }
}

impl fmt::Display for TextReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::LoneSurrogate => "lone surrogate escape in a JSON string",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, maximum, value, offset } => {
                write!(f, "{} is {maximum}, the input needs {value} or more (byte {offset})", limit.name())
            }
            Self::Json { reason, offset } => write!(f, "{reason} (byte {offset})"),
            Self::Text { reason, offset } => write!(f, "{reason} (byte {offset})"),
            Self::Event { rule, event } if event.is_empty() => write!(f, "the rule {rule} is broken"),
            Self::Event { rule, event } => write!(f, "event {event:?} breaks the rule {rule}"),
            Self::Bound { bound, maximum, value } => {
                write!(f, "{} is {maximum}, the turn needs {value}", bound.name())
            }
            Self::PreviousResponse => f.write_str("no stored response has this id"),
            Self::TurnConflict => f.write_str("the response id is stored with other content"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// A JSON error at `offset` bytes from the start of the text.
    pub(crate) const fn json(reason: JsonReason, offset: usize) -> Self {
        Self::Json { reason, offset: offset as u64 }
    }
}

/// The error of a count that passed `maximum` at `offset`.
#[cold]
pub(crate) const fn exceeded(limit: Limit, maximum: u64, offset: u64) -> Error {
    Error::Limit { limit, maximum, value: maximum.saturating_add(1), offset }
}

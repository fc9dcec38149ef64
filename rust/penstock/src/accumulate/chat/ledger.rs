//! What an accumulator holds, and what it was told that it should not have been.

use crate::accumulate::chat::rules;
use crate::accumulate::diagnostics::Diagnostics;
use crate::accumulate::text::{Meter, Text};
use crate::dialect::chat::Pieces;
use crate::error::Error;
use crate::event::string;
use crate::json::RawStr;
use crate::limits::{Limit, Limits};

/// The accounts of one accumulator, handed down to whatever a chunk touches.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(super) bytes: Meter,
    pub(super) parts: Meter,
    pub(super) calls: Meter,
    pub(super) diagnostics: Diagnostics,
    /// Where in the payload the member being read stands, for errors.
    pub(super) at: usize,
    /// Whether the chunk added text, arguments or sound to its message.
    pub(super) added: bool,
}

impl Ledger {
    pub(super) const fn new(limits: &Limits, strict: bool) -> Self {
        Self {
            bytes: Meter::new(Limit::MessageBytes, limits.max_message_bytes),
            parts: Meter::new(Limit::Parts, limits.max_parts),
            calls: Meter::new(Limit::ToolCalls, limits.max_tool_calls),
            diagnostics: Diagnostics::new(strict),
            at: 0,
            added: false,
        }
    }

    /// A ledger for another message of the same stream: nothing is held, the breaches stay counted.
    pub(super) fn renewed(&self, limits: &Limits) -> Self {
        Self { diagnostics: self.diagnostics.clone(), ..Self::new(limits, self.diagnostics.is_strict()) }
    }

    /// Holds `new` bytes in place of `old`.
    pub(super) fn exchange(&mut self, old: usize, new: usize) -> Result<(), Error> {
        self.bytes.replace(old, new, self.at)
    }

    /// Holds one more choice, part, list entry or unknown member.
    pub(super) fn part(&mut self) -> Result<(), Error> {
        self.parts.take(1, self.at)
    }

    /// Appends a piece of the message.
    #[inline]
    pub(super) fn append(&mut self, text: &mut Text, piece: RawStr<'_>) -> Result<(), Error> {
        self.added |= !piece.raw.is_empty();
        text.push(piece, self.at, &mut self.bytes)
    }

    /// The string that a member should be; `null` and no member are none.
    #[inline]
    pub(super) fn string<'a>(&mut self, value: &'a [u8]) -> Result<Option<RawStr<'a>>, Error> {
        let text = string(value);
        if text.is_none() && !matches!(value, b"" | b"null") {
            self.breach(rules::BAD_VALUE)?;
        }
        Ok(text)
    }

    /// The members of an object nested in a delta.
    pub(super) fn pieces<'a>(&mut self, object: &'a [u8]) -> Result<Pieces<'a>, Error> {
        let pieces = Pieces::read(object);
        if pieces.duplicates {
            self.breach(rules::DUPLICATE_FIELD)?;
        }
        Ok(pieces)
    }

    /// The chunk broke a rule.
    #[cold]
    pub(super) fn breach(&mut self, rule: &'static str) -> Result<(), Error> {
        self.diagnostics.breach(rule, "chat.completion.chunk")
    }
}

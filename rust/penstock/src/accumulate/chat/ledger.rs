//! What an accumulator holds, and what it was told that it should not have been.

use crate::accumulate::chat::diagnostics::ChunkDiagnostics;
use crate::accumulate::text::{Meter, Text};
use crate::error::Error;
use crate::json::RawStr;
use crate::limits::{Limit, Limits};

/// The accounts of one accumulator, handed down to whatever a chunk touches.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(super) bytes: Meter,
    pub(super) parts: Meter,
    pub(super) calls: Meter,
    pub(super) diagnostics: ChunkDiagnostics,
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
            diagnostics: ChunkDiagnostics::new(strict),
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
}

//! What the transcoder holds beside the emitter, and what it was told that it should not have been.

use std::borrow::Cow;

use crate::accumulate::{ChunkDiagnostics, Meter};
use crate::error::Error;
use crate::limits::{Limit, Limits};

/// The accounts of one stream, handed down to whatever a chunk touches.
#[derive(Debug)]
pub(super) struct Accounts {
    bytes: Meter,
    pub(super) calls: Meter,
    pub(super) diagnostics: ChunkDiagnostics,
    /// Chunks read so far.
    pub(super) chunks: u64,
    /// Whether the chunk added something to the message.
    pub(super) added: bool,
}

impl Accounts {
    pub(super) const fn new(limits: &Limits, strict: bool) -> Self {
        Self {
            bytes: Meter::new(Limit::MessageBytes, limits.max_message_bytes),
            calls: Meter::new(Limit::ToolCalls, limits.max_tool_calls),
            diagnostics: ChunkDiagnostics::new(strict),
            chunks: 0,
            added: false,
        }
    }

    /// Holds so many bytes more.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes.take(bytes, 0)
    }
}

/// JSON text with U+FFFD for what is not UTF-8, as events must be.
pub(super) fn clean(json: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(json) {
        Ok(_) => Cow::Borrowed(json),
        Err(_) => Cow::Owned(String::from_utf8_lossy(json).into_owned().into_bytes()),
    }
}

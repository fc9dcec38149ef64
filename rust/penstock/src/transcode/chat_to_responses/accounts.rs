//! What the transcoder holds beside the emitter, and what it was told that it should not have been.

use std::borrow::Cow;

use crate::accumulate::{Diagnostics, Meter};
use crate::dialect::chat::Pieces;
use crate::error::Error;
use crate::event::string;
use crate::json::RawStr;
use crate::limits::{Limit, Limits};
use crate::transcode::rules;

/// The accounts of one stream, handed down to whatever a chunk touches.
#[derive(Debug)]
pub(super) struct Accounts {
    bytes: Meter,
    pub(super) calls: Meter,
    pub(super) diagnostics: Diagnostics,
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
            diagnostics: Diagnostics::new(strict),
            chunks: 0,
            added: false,
        }
    }

    /// Holds so many bytes more.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes.take(bytes, 0)
    }

    /// The chunk broke a rule.
    #[cold]
    pub(super) fn breach(&mut self, rule: &'static str) -> Result<(), Error> {
        self.diagnostics.breach(rule, "chat.completion.chunk")
    }

    /// Something worth knowing that breaks no rule.
    #[cold]
    pub(super) fn note(&mut self, kind: &'static str) {
        self.diagnostics.note(kind);
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
}

/// JSON text with U+FFFD for what is not UTF-8, as events must be.
pub(super) fn clean(json: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(json) {
        Ok(_) => Cow::Borrowed(json),
        Err(_) => Cow::Owned(String::from_utf8_lossy(json).into_owned().into_bytes()),
    }
}

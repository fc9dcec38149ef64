//! What chunks say that they should not, and how their values are read so that it is counted.

use crate::accumulate::chat::rules;
use crate::accumulate::diagnostics::Diagnostics;
use crate::dialect::chat::Pieces;
use crate::error::Error;
use crate::event::string;
use crate::json::RawStr;

/// The diagnostics of a stream of chunks, for whoever folds them into something.
#[derive(Debug, Clone)]
pub(crate) struct ChunkDiagnostics(Diagnostics);

impl ChunkDiagnostics {
    /// With `strict`, a breach is an error; otherwise it is counted and the stream goes on.
    pub(crate) const fn new(strict: bool) -> Self {
        Self(Diagnostics::new(strict))
    }

    /// The chunk broke a rule.
    #[cold]
    pub(crate) fn breach(&mut self, rule: &'static str) -> Result<(), Error> {
        self.0.breach(rule, "chat.completion.chunk")
    }

    /// Something worth knowing that breaks no rule.
    #[cold]
    pub(crate) fn note(&mut self, kind: &'static str) {
        self.0.note(kind);
    }

    /// The string that a member should be; `null` and no member are none.
    #[inline]
    pub(crate) fn string<'a>(&mut self, value: &'a [u8]) -> Result<Option<RawStr<'a>>, Error> {
        let text = string(value);
        if text.is_none() && !matches!(value, b"" | b"null") {
            self.breach(rules::BAD_VALUE)?;
        }
        Ok(text)
    }

    /// The members of an object nested in a delta.
    pub(crate) fn pieces<'a>(&mut self, object: &'a [u8]) -> Result<Pieces<'a>, Error> {
        let pieces = Pieces::read(object);
        if pieces.duplicates {
            self.breach(rules::DUPLICATE_FIELD)?;
        }
        Ok(pieces)
    }

    /// How often anything was counted.
    pub(crate) fn total(&self) -> u64 {
        self.0.total()
    }

    /// Whether breaches are errors.
    pub(crate) const fn is_strict(&self) -> bool {
        self.0.is_strict()
    }

    /// How often each kind came, in the order of the names.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.counts()
    }
}

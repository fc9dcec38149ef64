//! One string that streams into an item or a part.

use super::context::Context;
use super::oddity::Oddity;
use crate::accumulate::text::Text;
use crate::error::Error;
use crate::json::RawStr;

/// How far a streamed string has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing came; what the announced object holds counts.
    #[default]
    Untouched,
    /// Deltas came. They count alone: an announcement that held text already was a preview of them.
    Growing,
    /// The whole came; nothing can follow.
    Settled,
}

/// A string of an announced object that events fill.
#[derive(Debug, Default)]
pub(super) struct Value {
    text: Text,
    stage: Stage,
    /// The server said that nothing follows, whether or not it repeated the whole.
    ended: bool,
    /// How often the text was replaced.
    revision: u32,
}

impl Value {
    /// Appends a delta.
    #[inline]
    pub(super) fn append(&mut self, piece: RawStr<'_>, at: usize, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.stage != Stage::Growing || self.ended {
            return self.begin(piece, at, cx);
        }
        self.text.push(piece, at, cx.bytes)
    }

    /// Takes the first delta, or one that comes too late.
    #[cold]
    fn begin(&mut self, piece: RawStr<'_>, at: usize, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.ended {
            return cx.note(Oddity::AfterDone);
        }
        self.text.set(piece, at, cx.bytes)?;
        self.stage = Stage::Growing;
        self.revision = self.revision.wrapping_add(1);
        Ok(())
    }

    /// Takes a preview of the string, which counts until a delta comes.
    pub(super) fn preview(
        &mut self,
        piece: RawStr<'_>,
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.stage == Stage::Untouched { self.text.set(piece, at, cx.bytes) } else { Ok(()) }
    }

    /// Takes the whole string, or the word that it is whole when `whole` is missing.
    pub(super) fn settle(
        &mut self,
        whole: Option<RawStr<'_>>,
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if let Some(whole) = whole {
            if self.stage == Stage::Untouched || !self.text.equals(whole) {
                if self.stage != Stage::Untouched {
                    cx.note(Oddity::DeltaMismatch)?;
                }
                self.text.set(whole, at, cx.bytes)?;
                self.revision = self.revision.wrapping_add(1);
            }
            self.stage = Stage::Settled;
        }
        self.ended = true;
        Ok(())
    }

    /// Whether an event has filled it.
    #[inline]
    pub(super) fn is_touched(&self) -> bool {
        self.stage != Stage::Untouched
    }

    /// Whether the server said that nothing follows.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Changes when the text is replaced instead of added to.
    pub(super) const fn revision(&self) -> u32 {
        self.revision
    }

    /// What events have filled in.
    pub(super) const fn text(&self) -> &Text {
        &self.text
    }
}

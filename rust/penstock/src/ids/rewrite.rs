//! Ids replaced within one message; every other byte stays.

use std::ops::Range;

use memchr::memmem::Finder;

use super::locate::{Found, is_object, locate};
use super::{Direction, IdKind, Origin, Selection, Translation};
use crate::error::Error;
use crate::event::explain;
use crate::ids::translate::Invalid;
use crate::json::{RawStr, push_escaped};

/// Translations that are kept: the ids of a stream are few and come again and again.
const KEPT: usize = 8;

/// Why a message cannot be rewritten. Only [`Translation::refuses`] and what cannot be encoded lead here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// An id is not one of ours.
    Id,
    /// The message is no JSON, so nobody knows what ids are in it; or a stream is larger than its limits.
    Message(Error),
}

impl From<Invalid> for Refusal {
    fn from(Invalid: Invalid) -> Self {
        Self::Id
    }
}

/// Rewrites the ids of messages: events' payloads, WebSocket messages, bodies of requests and responses.
#[derive(Debug)]
pub struct Rewriter {
    translation: Translation,
    selection: Selection,
    found: Vec<Found>,
    kept: Vec<Kept>,
    /// Where the next translation is kept.
    next: usize,
    origin: Option<Origin>,
    finders: Finders,
}

#[derive(Debug)]
struct Finders {
    response: Finder<'static>,
    mention: Finder<'static>,
    escape: Finder<'static>,
}

/// An id as it is spelled in JSON, and what it becomes.
#[derive(Debug)]
struct Kept {
    kind: IdKind,
    from: Box<[u8]>,
    to: Box<[u8]>,
}

/// A piece of a message and what stands in its place.
pub(super) struct Replaced<'a> {
    pub(super) place: Range<usize>,
    pub(super) by: &'a [u8],
}

impl Rewriter {
    /// Rewrites by `translation` what `selection` names.
    #[must_use]
    pub fn new(translation: Translation, selection: Selection) -> Self {
        let finders = Finders {
            response: Finder::new(b"\"response\""),
            mention: Finder::new(b"response_id\""),
            escape: Finder::new(b"\\u"),
        };
        Self { translation, selection, found: Vec::new(), kept: Vec::new(), next: 0, origin: None, finders }
    }

    /// Where the last response's id that was decoded came from.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Appends `message` with its ids rewritten to `out` and returns true; false, and nothing is appended, if it stays
    /// as it is.
    pub fn message(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<bool, Refusal> {
        let mut copied = 0;
        let start = out.len();
        let written = self.each(message, |replaced| {
            if copied == 0 {
                // An id of ours is some hundred bytes longer than an upstream's.
                out.reserve(message.len() + 128);
            }
            out.extend_from_slice(message.get(copied..replaced.place.start).unwrap_or_default());
            out.extend_from_slice(replaced.by);
            copied = replaced.place.end;
        });
        if let Err(refusal) = written {
            out.truncate(start);
            return Err(refusal);
        }
        if copied > 0 {
            out.extend_from_slice(message.get(copied..).unwrap_or_default());
        }
        Ok(copied > 0)
    }

    /// Calls `replace` for every id that changes, in the order of the message. Some may have been told when a later one
    /// is refused.
    pub(super) fn each(
        &mut self,
        message: &[u8],
        mut replace: impl FnMut(Replaced<'_>),
    ) -> Result<(), Refusal> {
        if !self.concerns(message) {
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.found);
        let mut done = Ok(());
        let readable = !self.translation.refuses() || is_object(message);
        if !readable || locate(message, &mut found).is_err() {
            found.clear();
            done = self.unreadable(message);
        }
        for id in &found {
            if done.is_err() || !self.selects(id) {
                continue;
            }
            let place = id.start..id.end;
            let raw = message.get(place.clone()).unwrap_or_default();
            done = self.translated(id.kind, raw).map(|by| {
                if let Some(by) = by.filter(|&by| by != raw) {
                    replace(Replaced { place, by });
                }
            });
        }
        self.found = found;
        done
    }

    /// Whether `message` may hold an id that is rewritten; says so too often rather than too rarely.
    #[inline]
    fn concerns(&self, message: &[u8]) -> bool {
        let Finders { response, mention, escape } = &self.finders;
        self.selection.items
            || self.selection.content
            || self.translation.refuses()
            || response.find(message).is_some()
            || self.selection.mentions && mention.find(message).is_some()
            || escape.find(message).is_some()
    }

    /// What becomes of a message that cannot be read: where ids must be ours it must not pass, as who reads it next may
    /// be less strict.
    fn unreadable(&self, message: &[u8]) -> Result<(), Refusal> {
        let text = message.trim_ascii();
        if !self.translation.refuses() || text.is_empty() || text == b"[DONE]" {
            return Ok(());
        }
        Err(Refusal::Message(explain(message)))
    }

    fn selects(&self, id: &Found) -> bool {
        match id.kind {
            IdKind::Response => !id.mention || self.selection.mentions,
            IdKind::Item => self.selection.items,
            IdKind::Content => self.selection.content,
        }
    }

    /// What an id, as it is spelled in JSON, becomes; None if it stays.
    fn translated(&mut self, kind: IdKind, raw: &[u8]) -> Result<Option<&[u8]>, Refusal> {
        let kept = self.kept.iter().position(|kept| kept.kind == kind && *kept.from == *raw);
        let place = match kept {
            Some(place) => place,
            None => match self.translate(kind, raw)? {
                Some(to) => self.keep(Kept { kind, from: raw.into(), to }),
                None => return Ok(None),
            },
        };
        Ok(self.kept.get(place).map(|kept| &*kept.to))
    }

    #[cold]
    fn translate(&mut self, kind: IdKind, raw: &[u8]) -> Result<Option<Box<[u8]>>, Refusal> {
        let decoded = RawStr::checked(raw).decoded();
        let Ok(id) = std::str::from_utf8(&decoded) else {
            // A surrogate by itself, which no id of ours has.
            return if self.translation.refuses() { Err(Refusal::Id) } else { Ok(None) };
        };
        let Some((id, origin)) = self.translation.translate(kind, id)? else { return Ok(None) };
        if kind == IdKind::Response && self.translation.direction == Direction::Decode {
            self.origin = origin;
        }
        let mut to = Vec::with_capacity(id.len());
        push_escaped(id.as_bytes(), &mut to);
        Ok(Some(to.into()))
    }

    fn keep(&mut self, kept: Kept) -> usize {
        let place = self.next;
        match self.kept.get_mut(place) {
            Some(slot) => *slot = kept,
            None => self.kept.push(kept),
        }
        self.next = (place + 1) % KEPT;
        place
    }
}

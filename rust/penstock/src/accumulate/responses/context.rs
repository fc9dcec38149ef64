//! What an event may touch besides the response it belongs to.

use super::oddity::Oddity;
use crate::accumulate::diagnostics::Diagnostics;
use crate::accumulate::text::Meter;
use crate::error::Error;
use crate::event::{EventType, Field, Fields, index};
use crate::json::{Cursor, RawStr};

/// One event, scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) payload: &'a [u8],
    pub(super) fields: &'a Fields,
    pub(super) kind: EventType,
}

impl<'a> Event<'a> {
    /// The JSON text of a field.
    #[inline]
    pub(super) fn value(&self, field: Field) -> Option<&'a [u8]> {
        self.fields.value(self.payload, field)
    }

    /// A string field.
    #[inline]
    pub(super) fn text(&self, field: Field) -> Option<RawStr<'a>> {
        self.fields.text(self.payload, field)
    }

    /// A string that is mostly short and plain.
    #[inline]
    pub(super) fn piece(&self, field: Field) -> Option<RawStr<'a>> {
        let value = self.fields.span(field).of(self.payload);
        let raw = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let odd = raw.iter().fold(0, |odd, &byte| odd | byte & 0x80 | u8::from(byte == b'\\'));
        if odd == 0 { Some(RawStr { raw, escaped: false, ascii: true }) } else { Some(RawStr::checked(raw)) }
    }

    /// An integer field.
    #[inline]
    pub(super) fn index(&self, field: Field) -> Option<u64> {
        match self.fields.span(field).of(self.payload) {
            // Most indices have one digit.
            &[digit @ b'0'..=b'9'] => Some(u64::from(digit - b'0')),
            value => index(value),
        }
    }

    /// Where a field's value starts.
    #[inline]
    pub(super) fn at(&self, field: Field) -> usize {
        self.fields.span(field).start as usize
    }
}

/// One event and the accounts it is charged to.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) event: Event<'a>,
    pub(super) max_depth: u64,
    pub(super) bytes: &'a mut Meter,
    pub(super) diagnostics: &'a mut Diagnostics,
}

impl<'a> Context<'a> {
    /// Counts an oddity; in strict mode, refuses the event for it. Stands before any change of state.
    #[cold]
    pub(super) fn note(&mut self, oddity: Oddity) -> Result<(), Error> {
        if oddity.is_fault() {
            return self.diagnostics.breach(oddity.name(), self.event.kind.as_str());
        }
        self.diagnostics.note(oddity.name());
        Ok(())
    }

    /// Counts an object in which a member that is read stands twice.
    pub(super) fn require_unique(&mut self, repeated: bool) -> Result<(), Error> {
        if repeated { self.note(Oddity::DuplicateField) } else { Ok(()) }
    }

    /// The object that a field holds; `None`, and counted, if it holds anything else. `null` is not counted:
    /// servers write it for "nothing".
    pub(super) fn object(&mut self, field: Field) -> Result<Option<&'a [u8]>, Error> {
        match self.event.value(field) {
            Some(value) if value.first() == Some(&b'{') => return Ok(Some(value)),
            Some(b"null") => {}
            _ => self.note(Oddity::BadValue)?,
        }
        Ok(None)
    }

    /// The place in a list that a field names; 0 when it names none.
    #[inline]
    pub(super) fn place(&mut self, field: Field) -> Result<u64, Error> {
        match self.event.index(field) {
            Some(place) => Ok(place),
            None => self.note_missing_index(field).map(|()| 0),
        }
    }

    /// Counts that `field` holds no index.
    #[cold]
    pub(super) fn note_missing_index(&mut self, field: Field) -> Result<(), Error> {
        self.note(match self.event.value(field) {
            None | Some(b"null") => Oddity::MissingIndex,
            Some(_) => Oddity::BadIndex,
        })
    }

    /// Requires that `value` can stand below `levels` containers without nesting too deep: what can be taken in
    /// can be written and read back.
    pub(super) fn require_depth(&self, value: &[u8], levels: u64) -> Result<(), Error> {
        // There are at most as many levels as brackets, and counting those is much cheaper.
        if levels + brackets(value) <= self.max_depth {
            return Ok(());
        }
        Cursor::new(value).skip_value(levels, self.max_depth).map(drop)
    }
}

/// How many opening brackets `value` has, those in strings counted too.
fn brackets(value: &[u8]) -> u64 {
    // Sums that fit a byte are taken sixteen or more at a time.
    let count = |block: &[u8]| block.iter().map(|&byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    value.chunks(255).map(|block| u64::from(count(block))).sum()
}

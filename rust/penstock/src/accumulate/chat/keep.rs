//! What an accumulator keeps as it came: single values, unknown members, lists that grow or repeat.

use std::collections::{BTreeMap, BTreeSet};

use crate::accumulate::chat::Ledger;
use crate::dialect::chat::{elements, is_blank};
use crate::error::Error;
use crate::json::{RawStr, push_comma, push_string};

/// One JSON value, byte for byte; empty while none has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raw {
    bytes: Vec<u8>,
}

impl Raw {
    /// Replaces the value.
    pub(super) fn set(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        ledger.exchange(self.bytes.len(), value.len())?;
        self.bytes.clear();
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Takes `value` unless it is blank or a value is there already.
    #[inline]
    pub(super) fn set_first(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if self.bytes.is_empty() && !is_blank(value) { self.set(value, ledger) } else { Ok(()) }
    }

    /// Takes `value` unless it is blank.
    #[inline]
    pub(super) fn set_last(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if is_blank(value) || value == self.bytes { Ok(()) } else { self.set(value, ledger) }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The members of an object that nobody reads, in order of first arrival: of each key the last value that is not
/// `null`, byte for byte.
#[derive(Debug, Clone, Default)]
pub(super) struct Extras {
    members: Vec<Member>,
    /// Decoded key → place in `members`.
    places: BTreeMap<Box<[u8]>, usize>,
}

/// `"key":value`, and where the value starts.
#[derive(Debug, Clone)]
struct Member {
    text: Vec<u8>,
    value: usize,
}

impl Extras {
    /// Takes one member; `key` is still escaped.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let key = &*RawStr::checked(key).decoded();
        let place = self.places.get(key).copied();
        let Some(member) = place.and_then(|place| self.members.get_mut(place)) else {
            let mut text = Vec::with_capacity(key.len() + value.len() + 3);
            push_string(key, &mut text);
            text.push(b':');
            let start = text.len();
            text.extend_from_slice(value);
            ledger.part()?;
            ledger.exchange(0, key.len() + text.len())?;
            self.places.insert(key.into(), self.members.len());
            self.members.push(Member { text, value: start });
            return Ok(());
        };
        if value == b"null" || member.text.get(member.value..) == Some(value) {
            return Ok(());
        }
        ledger.exchange(member.text.len() - member.value, value.len())?;
        member.text.truncate(member.value);
        member.text.extend_from_slice(value);
        Ok(())
    }

    /// Appends the members, each behind a comma.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for member in &self.members {
            push_comma(out);
            out.extend_from_slice(&member.text);
        }
    }
}

/// A list that servers repeat or add to: each element once, in order of first arrival.
#[derive(Debug, Clone, Default)]
pub(super) struct Unique {
    elements: Vec<u8>,
    seen: BTreeSet<Box<[u8]>>,
    /// The list as it came last; most servers repeat the whole of it.
    last: Raw,
}

impl Unique {
    /// Takes the elements of `list` that are new.
    pub(super) fn extend(&mut self, list: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if list == self.last.as_bytes() {
            return Ok(());
        }
        for element in elements(list) {
            if self.seen.contains(element) {
                continue;
            }
            ledger.part()?;
            ledger.exchange(0, 2 * element.len() + 1)?;
            push_element(element, &mut self.elements);
            self.seen.insert(element.into());
        }
        self.last.set(list, ledger)
    }

    /// Whether a list has come, be it empty.
    pub(super) fn is_present(&self) -> bool {
        !self.last.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_list(&self.elements, out);
    }
}

/// A list that arrives in pieces, its elements untouched.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined {
    elements: Vec<u8>,
    present: bool,
}

impl Joined {
    /// Appends the elements of `list`; anything but an array is no list.
    pub(super) fn extend(&mut self, list: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let Some(inside) = list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]")) else {
            return Ok(());
        };
        self.present = true;
        let inside = inside.trim_ascii();
        if inside.is_empty() {
            return Ok(());
        }
        ledger.exchange(0, inside.len() + 1)?;
        push_element(inside, &mut self.elements);
        Ok(())
    }

    /// Whether a list has come, be it empty.
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Appends the list, or `null` if none has come.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.present {
            write_list(&self.elements, out);
        } else {
            out.extend_from_slice(b"null");
        }
    }
}

fn push_element(element: &[u8], out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(element);
}

fn write_list(elements: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend_from_slice(elements);
    out.push(b']');
}

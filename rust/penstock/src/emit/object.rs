//! JSON objects that are written again and again while they change: responses and items.

use std::borrow::Cow;

use crate::error::{Error, TextReason};
use crate::json::{Cursor, entries, push_escaped, push_string};
use crate::limits::DEPTH_CEILING;

/// The members of an object in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    /// Each key decoded, each value one JSON text without line ends.
    entries: Vec<(Box<[u8]>, Vec<u8>)>,
}

impl Members {
    /// Those of `object`, which [`accept`] has let through; of duplicates the last value counts.
    pub(super) fn read(object: &[u8]) -> Result<Self, Error> {
        let mut members = Self::default();
        members.merge(object)?;
        Ok(members)
    }

    /// Sets each member of `object`.
    pub(super) fn merge(&mut self, object: &[u8]) -> Result<(), Error> {
        entries(object, |key, value| {
            let value = object.get(value).unwrap_or_default();
            self.set(&key.decoded(), value.to_vec());
        })
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.iter().find(|(known, _)| **known == *key).map(|(_, value)| &**value)
    }

    /// Gives `key` the value `value`, in place if it is there.
    pub(super) fn set(&mut self, key: &[u8], value: Vec<u8>) {
        match self.entries.iter_mut().find(|(known, _)| **known == *key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.into(), value)),
        }
    }

    /// Gives `key` a string as its value.
    pub(super) fn set_string(&mut self, key: &str, value: &[u8]) {
        let mut json = Vec::new();
        push_string(value, &mut json);
        self.set(key.as_bytes(), json);
    }

    /// Appends the object.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (place, (key, value)) in self.entries.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.push(b'"');
            push_escaped(key, out);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }
}

/// Checks JSON from outside and brings it into the form that frames can hold: one line of UTF-8. `levels`
/// containers will stand around it.
pub(super) fn accept(json: &[u8], levels: u64) -> Result<Cow<'_, [u8]>, Error> {
    let mut cursor = Cursor::new(json);
    cursor.skip_value(levels, DEPTH_CEILING)?;
    cursor.end()?;
    if let Err(error) = std::str::from_utf8(json) {
        let (reason, offset) = (TextReason::InvalidUtf8, error.valid_up_to() as u64);
        return Err(Error::Text { reason, offset });
    }
    if memchr::memchr2(b'\r', b'\n', json).is_none() {
        return Ok(Cow::Borrowed(json.trim_ascii()));
    }
    // Line ends stand between tokens only: inside strings they are escaped.
    Ok(Cow::Owned(json.trim_ascii().iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()))
}

/// As [`accept`], for an object; nothing at all counts as `{}`.
pub(super) fn accept_object(json: &[u8], levels: u64) -> Result<Cow<'_, [u8]>, Error> {
    if json.is_empty() {
        return Ok(Cow::Borrowed(b"{}"));
    }
    let json = accept(json, levels)?;
    entries(&json, |_, _| {})?;
    Ok(json)
}

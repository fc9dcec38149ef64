//! JSON objects that are written again and again while they change: responses and items.

use std::borrow::Cow;

use crate::error::{Error, TextReason};
use crate::json::{Cursor, entries, push_escaped, push_string};
use crate::limits::DEPTH_CEILING;

/// Bytes that most of an object's values are written in.
type Text = Cow<'static, [u8]>;

/// The members of an object in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    /// Each key as JSON writes it, without its quotes, and each value, one JSON text without line ends.
    entries: Vec<(Text, Text)>,
}

impl Members {
    /// None yet, with room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { entries: Vec::with_capacity(count) }
    }

    /// Those of `object`, which [`accept`] has let through; of duplicates the last value counts.
    pub(super) fn read(object: &[u8]) -> Result<Self, Error> {
        let mut members = Self::default();
        members.merge(object)?;
        Ok(members)
    }

    /// Sets each member of `object`.
    pub(super) fn merge(&mut self, object: &[u8]) -> Result<(), Error> {
        entries(object, |key, value| {
            // Two spellings of one key are one member.
            let mut name = Vec::new();
            if key.escaped {
                push_escaped(&key.decoded(), &mut name);
            } else {
                name.extend_from_slice(key.raw);
            }
            self.put(name.into(), object.get(value).unwrap_or_default().to_vec().into());
        })
    }

    /// The value of `key`, which needs no escape.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.entries.iter().find(|(known, _)| **known == *key.as_bytes()).map(|(_, value)| &**value)
    }

    /// Gives `key`, which needs no escape, the value `value`, in place if it is there.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Text>) {
        self.put(Cow::Borrowed(key.as_bytes()), value.into());
    }

    /// Gives `key`, which needs no escape, a string as its value.
    pub(super) fn set_string(&mut self, key: &'static str, value: &[u8]) {
        self.set(key, quoted(value));
    }

    /// As [`set`](Self::set), unless the key is there with another value than `null`.
    pub(super) fn set_missing(&mut self, key: &'static str, value: impl Into<Text>) {
        if self.get(key).is_none_or(|value| value == b"null") {
            self.set(key, value);
        }
    }

    /// As [`set`](Self::set), for a key that is not there.
    pub(super) fn add(&mut self, key: &'static str, value: impl Into<Text>) {
        debug_assert!(self.get(key).is_none());
        self.entries.push((Cow::Borrowed(key.as_bytes()), value.into()));
    }

    /// As [`set_string`](Self::set_string), for a key that is not there.
    pub(super) fn add_string(&mut self, key: &'static str, value: &[u8]) {
        self.add(key, quoted(value));
    }

    fn put(&mut self, key: Text, value: Text) {
        match self.entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key, value)),
        }
    }

    /// How long the object is, roughly.
    pub(super) fn size(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.len() + value.len() + 4).sum::<usize>() + 2
    }

    /// Appends the object.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.size());
        out.push(b'{');
        for (place, (key, value)) in self.entries.iter().enumerate() {
            out.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }

    /// The object.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        self.write(&mut json);
        json
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(text.len() + 2);
    push_string(text, &mut json);
    json
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

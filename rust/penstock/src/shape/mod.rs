//! The shape that events of one stream share.
//!
//! A stream sends the same kind of event hundreds of times: the same keys in the same order, and of the strings and
//! numbers only a few differ. The first of such events teach a [`Scanner`] their shape — the bytes between those
//! strings and numbers — and the next one is read by comparing these bytes and measuring what fills the holes
//! between them. The lines around the payload in an event stream belong to the shape, so that such an event is
//! found, framed and read in one go. A payload that fits is valid JSON by construction; one that does not fit is
//! scanned in full, so a shape decides how fast an event is read, never how.

mod form;
mod learn;

use std::sync::Arc;

pub(crate) use form::{DATA, SUFFIX, miss, miss_in_string, string_end};
pub use form::{Fillings, Hole, Miss, Shape};
use learn::{Leaves, Lesson};

use crate::error::Error;
use crate::event::{EventType, Fields, Head, Span};

/// Longer payloads are rare, so nothing is learned from them.
const LONGEST: usize = 1024;
/// A longer event is not recognised in a stream, so that limits above this need no second look.
pub(crate) const KNOWN_LONGEST: usize = 2048;
/// Nor one with a longer name.
pub(crate) const KNOWN_NAME_LONGEST: usize = 128;
/// More holes than any streamed event has.
const HOLES: usize = 15;
/// So many shapes in a row may turn out useless before learning becomes rarer.
const PATIENCE: u32 = 4;

/// Reads the fields of one payload after another.
#[derive(Debug, Default)]
pub struct Scanner {
    fields: Fields,
    /// Kept for their room.
    fillings: Fillings,
    shape: Option<Arc<Shape>>,
    /// Whether the last payload had that shape.
    fitted: bool,
    last: Last,
}

/// The payload last scanned in full.
#[derive(Debug, Default)]
struct Last {
    /// Its type and how many known fields it has.
    kind: Option<(Option<EventType>, u32)>,
    /// Empty if it was too long.
    payload: Vec<u8>,
    /// The `event` field of its frame.
    name: Vec<u8>,
    /// Occasions to learn since a shape was last of use.
    wasted: u32,
    /// Room to learn in.
    leaves: Leaves,
}

/// An event that was recognised in an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The `event` field, from the event's start; empty if there is none.
    pub name: Span,
    /// The payload, from the event's start.
    pub data: Span,
    /// Length of the event, its blank line included.
    pub length: usize,
}

impl Known {
    #[inline(always)]
    fn find(shape: &Shape, stream: &[u8], at: usize, fillings: &mut Fillings) -> Result<Self, Miss> {
        if shape.prefix == 0 {
            return Err(Miss::Different);
        }
        let length = shape.frame(stream, at, fillings)? - at;
        if length > KNOWN_LONGEST {
            return Err(Miss::Different);
        }
        let data = Span::new(shape.prefix as usize, length - SUFFIX.len());
        Ok(Self { name: shape.name, data, length })
    }
}

impl Scanner {
    /// The fields of `payload`, as [`Fields::scan`] finds them.
    #[inline]
    pub fn scan(&mut self, payload: &[u8]) -> Result<&Fields, Error> {
        if let Some(shape) = &self.shape
            && shape.measure(payload, &mut self.fillings)
        {
            shape.fill(&self.fillings, &mut self.fields);
            self.fits();
            return Ok(&self.fields);
        }
        self.scan_in_full(payload)
    }

    /// The head of `payload`; that of a payload which is no JSON object is empty.
    #[inline]
    pub fn head(&mut self, payload: &[u8]) -> Head {
        if let Some(shape) = &self.shape
            && shape.measure(payload, &mut self.fillings)
        {
            let head = shape.head(&self.fillings);
            self.fits();
            return head;
        }
        self.scan_in_full(payload).map_or_else(|_| Head::default(), Head::of)
    }

    /// Tells the `event` field of the frame whose payload is scanned next, so that [`Scanner::known_head`] can recognise
    /// more of its kind; empty if it has none.
    #[inline]
    pub fn set_name(&mut self, name: &[u8]) {
        if self.last.name != name {
            self.last.name.clear();
            self.last.name.extend_from_slice(name);
        }
    }

    /// The event that starts at `at` of an event stream, and its head, if all of it is there and it has the shape
    /// known so far. An event stands there only if what came before it has been dispatched.
    #[inline]
    pub fn known_head(&mut self, stream: &[u8], at: usize) -> Result<(Known, Head), Miss> {
        let shape = self.shape.as_deref().ok_or(Miss::Different)?;
        let known = Known::find(shape, stream, at, &mut self.fillings)?;
        let head = shape.head(&self.fillings);
        self.fits();
        Ok((known, head))
    }

    /// As [`Scanner::known_head`], with all fields of the payload.
    #[inline]
    pub fn known_fields(&mut self, stream: &[u8], at: usize) -> Result<(Known, &Fields), Miss> {
        let shape = self.shape.as_deref().ok_or(Miss::Different)?;
        let known = Known::find(shape, stream, at, &mut self.fillings)?;
        shape.fill(&self.fillings, &mut self.fields);
        self.fits();
        Ok((known, &self.fields))
    }

    /// The shape of the payload last scanned, if it has the one that those before it taught.
    #[inline]
    #[must_use]
    pub fn shape(&self) -> Option<&Arc<Shape>> {
        self.shape.as_ref().filter(|_| self.fitted)
    }

    #[inline]
    fn fits(&mut self) {
        self.fitted = true;
        self.last.wasted = 0;
    }

    #[inline(never)]
    fn scan_in_full(&mut self, payload: &[u8]) -> Result<&Fields, Error> {
        self.fitted = false;
        self.fields.rescan(payload)?;
        let kind = Some((self.fields.event_type(), self.fields.count()));
        let short = payload.len() <= LONGEST;
        let again = kind == self.last.kind && !self.last.payload.is_empty();
        let streamed = self.fields.event_type().is_some_and(EventType::is_delta);
        if short && (again || streamed) && self.last.is_worth_it() {
            let Last { payload: before, name, leaves, .. } = &mut self.last;
            let before = again.then_some(&**before);
            let known = self.shape.as_deref();
            let lesson = Lesson { name, payload, fields: &self.fields, before, known };
            self.shape = lesson.learn(leaves).map(Arc::new).or(self.shape.take());
        }
        self.last.kind = kind;
        self.last.payload.clear();
        if short {
            self.last.payload.extend_from_slice(payload);
        }
        Ok(&self.fields)
    }
}

impl Last {
    /// Whether to learn once more: payloads that never fit what was learned from those before them teach nothing.
    fn is_worth_it(&mut self) -> bool {
        self.wasted = self.wasted.saturating_add(1);
        self.wasted <= PATIENCE || self.wasted.is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;
    use crate::event::{Field, Fields, Head};

    /// Scans payloads one after the other and holds each answer to a full scan.
    fn compare(payloads: &[&str]) {
        let (mut scanner, mut heads) = (Scanner::default(), Scanner::default());
        for payload in payloads.iter().map(|payload| payload.as_bytes()) {
            match (scanner.scan(payload), Fields::scan(payload)) {
                (Ok(found), Ok(expected)) => {
                    for &field in Field::ALL {
                        assert_eq!(found.value(payload, field), expected.value(payload, field), "{field:?}");
                    }
                    assert_eq!(found.event_type(), expected.event_type());
                    let head = Head::of(&expected);
                    let found = heads.head(payload);
                    let text = head.text(payload);
                    assert_eq!(found.text(payload), text);
                    assert!(!found.plain || text.is_some_and(|text| text.ascii && !text.escaped));
                    assert_eq!(Head { text: head.text, unread: head.unread, plain: false, ..found }, head);
                }
                (Err(found), Err(expected)) => {
                    assert_eq!(found, expected);
                    assert_eq!(heads.head(payload), Head::default());
                }
                (found, expected) => panic!("{found:?} but {expected:?}"),
            }
        }
    }

    #[test]
    fn fits_and_misfits_read_alike() {
        let delta = r#"{"type":"response.output_text.delta","sequence_number":4,"delta":"a","logprobs":[],"n":-1.5e3}"#;
        compare(&[
            delta,
            delta,
            delta,
            r#"{"type":"response.output_text.delta","sequence_number":17,"delta":"","logprobs":[],"n":0}"#,
            r#"{"type":"response.output_text.delta","sequence_number":17,"delta":"\"\\\u00e9","logprobs":[],"n":0}"#,
            r#"{"type":"response.output_text.delta","sequence_number":017,"delta":"a","logprobs":[],"n":0}"#,
            r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"\x","logprobs":[],"n":0}"#,
            r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"a","logprobs":[],"n":0} x"#,
            r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"a","logprobs":[],"n":0"#,
            r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"a","logprobs":[1],"n":0}"#,
            r#"{"type":"response.output_text.done","sequence_number":1,"delta":"a","logprobs":[],"n":0}"#,
            r#"{"type":"response.output_text.delta","sequence_number":"1","delta":"a","logprobs":[],"n":0}"#,
            r#"{"type":"response.output_text.delta","sequence_number":1,"delta":null,"logprobs":[],"n":0}"#,
            delta,
        ]);
    }

    #[test]
    fn nested_holes_move_the_fields_around_them() {
        let chunk = |id: &str, text: &str| {
            format!(
                r#"{{"id":"{id}","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}],"usage":null}}"#
            )
        };
        let chunks = [chunk("a", "b"), chunk("a", "b"), chunk("abc", "a longer text"), chunk("", "")];
        compare(&chunks.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn the_text_of_a_chunk_is_that_of_choice_zero_whatever_varies() {
        let chunk = |index: &str, more: &str, content: &str| {
            let choice = format!(r#"{{"index":{index},"delta":{{"content":{content}}}}}"#);
            format!(r#"{{"id":"a","n":1,"choices":[{choice}{more}],"usage":null}}"#)
        };
        let other = r#",{"index":1,"delta":{"content":"b"}}"#;
        for (index, more) in [("0", ""), ("1", ""), ("0", other), ("1", other)] {
            let chunks: Vec<_> = ["\"a\"", "\"b\"", "\"c\"", "\"\\n\"", "null", "null", "\"d\"", "7", "8"]
                .map(|content| chunk(index, more, content))
                .into();
            compare(&chunks.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let chunks = ["0", "1", "0", "2", "1.0", "-0", "0", "1"].map(|index| chunk(index, "", "\"a\""));
        compare(&chunks.iter().map(String::as_str).collect::<Vec<_>>());
        compare(&[
            r#"{"choices":[1]}"#,
            r#"{"choices":[2]}"#,
            r#"{"choices":[{"index":0}]}"#,
            r#"{"choices":5}"#,
        ]);
    }

    #[test]
    fn numbers_stand_at_every_edge() {
        compare(&[
            r#"{"a":1}"#,
            r#"{"a":1}"#,
            r#"{"a":12}"#,
            r#"{"index":1,"index":2}"#,
            r#"{"index":1,"index":2}"#,
        ]);
        compare(&[
            r#"{"index":1}"#,
            r#"{"index":1}"#,
            r#"{"index":123}"#,
            r#"{"index":1e5}"#,
            r#"{"index":}"#,
        ]);
        compare(&[r#"{"index": 1 }"#, r#"{"index": 1 }"#, r#"{"index": 22 }"#]);
        compare(&[r#"{"index":[1,2]}"#, r#"{"index":[1,2]}"#, r#"{"index":[11,22]}"#]);
    }
}

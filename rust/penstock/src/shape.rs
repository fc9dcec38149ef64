//! The shape that events of one stream share.
//!
//! A stream sends the same kind of event hundreds of times: the same keys in the same order, only strings and
//! numbers differ. Two such events in a row teach a [`Scanner`] their shape — the bytes between those strings and
//! numbers — and the next one is read by comparing these bytes and measuring what fills the holes between them.
//! A payload that fits is valid JSON by construction; one that does not fit is scanned in full, so a shape
//! decides how fast an event is read, never how.

use std::sync::Arc;

use crate::error::Error;
use crate::event::{EventType, Field, Fields, Head, Span};
use crate::json::{Cursor, Kind};
use crate::simd::{Backend, Task, dispatch};

/// Longer payloads are rare, so nothing is learned from them.
const LONGEST: usize = 1024;
/// More holes than any streamed event has.
const HOLES: usize = 15;

/// Reads the fields of one payload after another.
#[derive(Debug, Default)]
pub struct Scanner {
    fields: Fields,
    shape: Option<Arc<Shape>>,
    /// Whether the last payload had that shape.
    fitted: bool,
    /// Kind and number of known fields of the payload last scanned in full.
    last: Option<(Option<EventType>, u32)>,
}

impl Scanner {
    /// The fields of `payload`, as [`Fields::scan`] finds them.
    #[inline]
    pub fn scan(&mut self, payload: &[u8]) -> Result<&Fields, Error> {
        if let Some(shape) = &self.shape
            && dispatch(Fit { shape, payload, found: &mut self.fields })
        {
            self.fitted = true;
            return Ok(&self.fields);
        }
        self.fitted = false;
        self.scan_in_full(payload)
    }

    /// The head of `payload`; that of a payload which is no JSON object is empty.
    #[inline]
    pub fn head(&mut self, payload: &[u8]) -> Head {
        if let Some(shape) = &self.shape {
            let mut fillings = Fillings::default();
            if dispatch(Measure { shape, payload, fillings: &mut fillings }) {
                self.fitted = true;
                return shape.head(&fillings);
            }
        }
        self.fitted = false;
        self.scan_in_full(payload).map_or_else(|_| Head::default(), Head::of)
    }

    /// The shape of the payload last scanned, if it has the one that those before it taught.
    #[inline]
    #[must_use]
    pub fn shape(&self) -> Option<&Arc<Shape>> {
        self.shape.as_ref().filter(|_| self.fitted)
    }

    #[inline(never)]
    fn scan_in_full(&mut self, payload: &[u8]) -> Result<&Fields, Error> {
        self.fields.rescan(payload)?;
        let this = Some((self.fields.event_type(), self.fields.count()));
        if this == self.last && payload.len() <= LONGEST {
            self.shape = Shape::learn(payload, &self.fields).map(Arc::new).or(self.shape.take());
        }
        self.last = this;
        Ok(&self.fields)
    }
}

/// What stands between two literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// The inside of a string; its quotes belong to the literals.
    String,
    /// A number.
    Number,
    /// Nothing: the payload ends.
    End,
}

/// A literal, and the hole behind it.
#[derive(Debug, Clone, Copy)]
struct Step {
    start: u32,
    end: u32,
    hole: Hole,
}

/// A place in any payload of a shape: so many bytes into a literal.
#[derive(Debug, Clone, Copy, Default)]
struct Edge {
    step: u32,
    offset: u32,
}

impl Edge {
    /// The place in a payload whose holes are filled so. A literal starts where the hole before it ends, the first
    /// one at the payload's start.
    #[inline]
    fn place(self, fillings: &Fillings) -> u32 {
        let hole = (self.step as usize).checked_sub(1);
        hole.and_then(|hole| fillings.get(hole)).map_or(0, |span| span.end) + self.offset
    }
}

/// The bytes that the payloads of a kind of event have in common, and what may stand between them.
#[derive(Debug)]
pub struct Shape {
    /// The literals, one behind the other.
    literals: Vec<u8>,
    steps: Vec<Step>,
    fields: Vec<(Field, Edge, Edge)>,
    event_type: Option<EventType>,
    /// Where the fields of a head start and end.
    type_span: Option<(Edge, Edge)>,
    delta: Option<(Edge, Edge)>,
    sequence_number: Option<(Edge, Edge)>,
    output_index: Option<(Edge, Edge)>,
}

/// Tries a shape on a payload.
struct Fit<'a> {
    shape: &'a Shape,
    payload: &'a [u8],
    found: &'a mut Fields,
}

impl Task for Fit<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<B: Backend>(self) -> bool {
        self.shape.fit::<B>(self.payload, self.found)
    }
}

/// What fills the holes of one payload, in order: strings without their quotes, numbers.
pub type Fillings = [Span; HOLES];

struct Measure<'a> {
    shape: &'a Shape,
    payload: &'a [u8],
    fillings: &'a mut Fillings,
}

impl Task for Measure<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<B: Backend>(self) -> bool {
        self.shape.measure::<B>(self.payload, self.fillings)
    }
}

impl Shape {
    /// The kinds of the holes, in order.
    pub fn holes(&self) -> impl Iterator<Item = Hole> {
        self.steps.iter().map(|step| step.hole).filter(|&hole| hole != Hole::End)
    }

    /// The head of a payload whose holes are filled so.
    #[inline]
    fn head(&self, fillings: &Fillings) -> Head {
        let span = |edges: Option<(Edge, Edge)>| {
            let place =
                |(start, end): (Edge, Edge)| Span { start: start.place(fillings), end: end.place(fillings) };
            edges.map(place).unwrap_or_default()
        };
        Head {
            event_type: self.event_type,
            type_span: span(self.type_span),
            delta: span(self.delta),
            sequence_number: span(self.sequence_number),
            output_index: span(self.output_index),
        }
    }

    /// What fills the holes of a payload, or `None` if it does not have this shape.
    #[must_use]
    pub fn fillings(&self, payload: &[u8]) -> Option<Fillings> {
        let mut fillings = Fillings::default();
        dispatch(Measure { shape: self, payload, fillings: &mut fillings }).then_some(fillings)
    }

    /// The shape of a payload whose fields have been found.
    fn learn(payload: &[u8], fields: &Fields) -> Option<Self> {
        let type_span = fields.span(Field::Type);
        let mut steps: Vec<Step> = Vec::new();
        let mut starts: Vec<u32> = Vec::new();
        let mut literals = Vec::with_capacity(payload.len());
        let mut from = 0;
        let mut step = |from: usize, to: usize, hole: Hole| {
            let start = literals.len() as u32;
            literals.extend_from_slice(payload.get(from..to).unwrap_or_default());
            steps.push(Step { start, end: literals.len() as u32, hole });
            starts.push(from as u32);
        };
        for (kind, span) in leaves(payload)? {
            // The type decides what an event is, so it is part of its shape.
            if span == type_span {
                continue;
            }
            if kind == Kind::String {
                step(from, span.start as usize + 1, Hole::String);
                from = span.end as usize - 1;
            } else {
                step(from, span.start as usize, Hole::Number);
                from = span.end as usize;
            }
        }
        step(from, payload.len(), Hole::End);
        if steps.len() > HOLES + 1 {
            return None;
        }
        // A field starts and ends inside a literal or at its edge: quotes are literal, and a number starts where a
        // literal ends.
        let edge = |at: u32| {
            let step = starts.iter().rposition(|&start| start <= at)?;
            Some(Edge { step: step as u32, offset: at - starts.get(step)? })
        };
        let places = fields
            .iter()
            .map(|(field, span)| Some((field, edge(span.start)?, edge(span.end)?)))
            .collect::<Option<Vec<_>>>()?;
        let of = |wanted: Field| {
            places.iter().find(|(field, ..)| *field == wanted).map(|&(_, start, end)| (start, end))
        };
        Some(Self {
            type_span: of(Field::Type),
            delta: of(Field::Delta),
            sequence_number: of(Field::SequenceNumber),
            output_index: of(Field::OutputIndex),
            literals,
            steps,
            fields: places,
            event_type: fields.event_type(),
        })
    }

    /// Whether `payload` has this shape; if so, `found` holds its fields.
    #[inline(always)]
    fn fit<B: Backend>(&self, payload: &[u8], found: &mut Fields) -> bool {
        let mut fillings = Fillings::default();
        if !self.measure::<B>(payload, &mut fillings) {
            return false;
        }
        found.refill(
            self.event_type,
            self.fields.iter().map(|&(field, start, end)| {
                (field, Span { start: start.place(&fillings), end: end.place(&fillings) })
            }),
        );
        true
    }

    /// Compares the literals of a payload and measures what fills the holes.
    #[inline(always)]
    fn measure<B: Backend>(&self, payload: &[u8], fillings: &mut Fillings) -> bool {
        let mut at = 0;
        let mut fillings = fillings.iter_mut();
        for step in &self.steps {
            let literal = self.literals.get(step.start as usize..step.end as usize).unwrap_or_default();
            if !B::stands_at(payload, at, literal) {
                return false;
            }
            at += literal.len();
            let end = match step.hole {
                Hole::String => string_end::<B>(payload, at),
                Hole::Number => number_end(payload, at),
                Hole::End => return at == payload.len(),
            };
            let (Some(end), Some(filling)) = (end, fillings.next()) else { return false };
            *filling = Span { start: at as u32, end: end as u32 };
            at = end;
        }
        false
    }
}

/// Where the string whose inside starts at `at` ends, if it is valid.
#[inline(always)]
pub(crate) fn string_end<B: Backend>(payload: &[u8], at: usize) -> Option<usize> {
    let stop = B::string_stop(payload, at);
    if payload.get(stop) == Some(&b'"') {
        return Some(stop);
    }
    // An escape, or an error; the cursor takes the string again from its quote.
    let mut cursor = Cursor::new(payload.get(at.checked_sub(1)?..)?);
    cursor.string().ok()?;
    Some(at + cursor.position() - 2)
}

/// Where the number that starts at `at` ends, if it is valid.
#[inline(always)]
fn number_end(payload: &[u8], at: usize) -> Option<usize> {
    let rest = payload.get(at..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let plain = digits == 1 || digits > 1 && rest.first() != Some(&b'0');
    if plain && matches!(rest.get(digits), Some(b',' | b'}' | b']')) {
        return Some(at + digits);
    }
    let mut cursor = Cursor::new(rest);
    cursor.number().ok()?;
    Some(at + cursor.position())
}

/// All strings and numbers of a payload that are values, in order, at any depth.
fn leaves(payload: &[u8]) -> Option<Vec<(Kind, Span)>> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(payload);
    let mut open: Vec<Kind> = Vec::new();
    loop {
        let kind = cursor.kind().ok()?;
        let start = cursor.position();
        match kind {
            Kind::Object | Kind::Array => {
                let object = kind == Kind::Object;
                if if object { cursor.open_object().ok()? } else { cursor.open_array().ok()? } {
                    open.push(kind);
                    if object {
                        cursor.key().ok()?;
                    }
                    continue;
                }
            }
            Kind::String => drop(cursor.string().ok()?),
            Kind::Number => drop(cursor.number().ok()?),
            _ => cursor.literal(kind).ok()?,
        }
        if let Kind::String | Kind::Number = kind {
            found.push((kind, Span { start: start as u32, end: cursor.position() as u32 }));
        }
        while let Some(&container) = open.last() {
            let object = container == Kind::Object;
            if cursor.more(if object { b'}' } else { b']' }).ok()? {
                if object {
                    cursor.key().ok()?;
                }
                break;
            }
            open.pop();
        }
        if open.is_empty() {
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;
    use crate::event::{Field, Fields};

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
                    let head = crate::event::Head::of(&expected);
                    assert_eq!(heads.head(payload), head);
                }
                (Err(found), Err(expected)) => {
                    assert_eq!(found, expected);
                    assert_eq!(heads.head(payload), crate::event::Head::default());
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

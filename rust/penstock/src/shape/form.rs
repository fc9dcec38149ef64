//! What the payloads of one kind of event have in common, and how a payload is held to it.

use crate::event::{EventType, Field, Fields, Head, Span};
use crate::json::Cursor;
use crate::shape::HOLES;
use crate::simd::{Backend, Task, dispatch, string_stop};

/// What stands behind a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// The inside of a string; its quotes belong to the literals.
    String,
    /// A number.
    Number,
    /// Nothing: the payload ends.
    End,
}

/// Where a literal ends, and the hole behind it. The next literal starts where this one ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) end: u32,
    pub(super) hole: Hole,
}

/// A place in any payload of a shape: so many bytes behind the hole before `step`, or behind the payload's start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Edge {
    pub(super) step: u32,
    pub(super) offset: u32,
}

/// Where a field stands; empty if there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) start: Edge,
    pub(super) end: Edge,
}

/// What fills the holes of one payload, in order: strings without their quotes, numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fillings {
    starts: [u32; HOLES],
    /// The payload's start, then where each filling ends.
    ends: [u32; HOLES + 1],
    /// Bit `n` tells whether filling `n` is a string of ASCII without escapes.
    plain: u32,
}

impl Fillings {
    /// What fills the hole with this number; empty if there is none.
    #[inline]
    #[must_use]
    pub fn span(&self, hole: usize) -> Span {
        match (self.starts.get(hole), self.ends.get(hole + 1)) {
            (Some(&start), Some(&end)) => Span { start, end },
            _ => Span::default(),
        }
    }

    /// Whether that is a string of ASCII without escapes.
    #[inline]
    #[must_use]
    pub const fn is_plain(&self, hole: usize) -> bool {
        self.plain >> hole & 1 == 1
    }

    #[inline(always)]
    fn place(&self, edge: Edge) -> u32 {
        self.ends.get(edge.step as usize).copied().unwrap_or_default() + edge.offset
    }

    #[inline(always)]
    fn extent(&self, extent: Extent) -> Span {
        Span { start: self.place(extent.start), end: self.place(extent.end) }
    }
}

/// The bytes that the payloads of a kind of event have in common, and what may stand between them; also the bytes
/// around such a payload in an event stream.
#[derive(Debug)]
pub struct Shape {
    /// The field lines before the payload, then the payload's literals one behind the other, then two line ends.
    pub(super) literals: Vec<u8>,
    /// Length of what stands before the payload in an event stream; zero if nothing is known of it.
    pub(super) prefix: u32,
    /// The `event` field's place in that.
    pub(super) name: Span,
    pub(super) steps: Vec<Step>,
    /// Which of all strings and numbers are holes.
    pub(super) varying: Vec<bool>,
    pub(super) fields: Vec<(Field, Extent)>,
    pub(super) event_type: Option<EventType>,
    /// The fields of a head.
    pub(super) type_span: Extent,
    pub(super) sequence_number: Extent,
    pub(super) output_index: Extent,
    pub(super) text: Extent,
    /// Whether the text has to be looked for.
    pub(super) unread: bool,
    /// The hole that is all of a string `text`.
    pub(super) text_hole: Option<u8>,
}

/// What stands before a payload in an event stream, behind its other lines.
pub(crate) const DATA: &[u8] = b"data: ";
/// The lines that end behind a payload in an event stream.
pub(crate) const SUFFIX: &[u8] = b"\n\n";

impl Shape {
    /// The kinds of the holes, in order.
    pub fn holes(&self) -> impl Iterator<Item = Hole> {
        self.steps.iter().map(|step| step.hole).filter(|&hole| hole != Hole::End)
    }

    /// The hole that is all of the text which an event adds.
    #[must_use]
    pub fn text_hole(&self) -> Option<usize> {
        self.text_hole.map(usize::from)
    }

    /// What fills the holes of a payload, or `None` if it does not have this shape.
    #[inline]
    #[must_use]
    pub fn fillings(&self, payload: &[u8]) -> Option<Fillings> {
        let mut fillings = Fillings::default();
        self.measure(payload, &mut fillings).then_some(fillings)
    }

    /// Whether a payload has this shape; if so, notes what fills its holes.
    #[inline]
    pub(super) fn measure(&self, payload: &[u8], fillings: &mut Fillings) -> bool {
        let measure = Measure { shape: self, text: payload, at: 0, framed: false, fillings };
        dispatch(measure).is_ok_and(|end| end == payload.len())
    }

    /// Where the event that starts at `at` of a stream ends; notes what fills its holes.
    #[inline]
    pub(super) fn frame(&self, stream: &[u8], at: usize, fillings: &mut Fillings) -> Result<usize, Miss> {
        dispatch(Measure { shape: self, text: stream, at, framed: true, fillings })
    }

    /// The head of a payload whose holes are filled so.
    #[inline]
    pub(super) fn head(&self, fillings: &Fillings) -> Head {
        Head {
            event_type: self.event_type,
            type_span: fillings.extent(self.type_span),
            sequence_number: fillings.extent(self.sequence_number),
            output_index: fillings.extent(self.output_index),
            text: fillings.extent(self.text),
            unread: self.unread,
            plain: self.text_hole.is_some_and(|hole| fillings.is_plain(hole.into())),
        }
    }

    /// The fields of a payload whose holes are filled so.
    #[inline]
    pub(super) fn fill(&self, fillings: &Fillings, found: &mut Fields) {
        let fields = self.fields.iter().map(|&(field, extent)| (field, fillings.extent(extent)));
        found.refill(self.event_type, fields);
    }
}

/// Compares the literals of an event and measures what fills the holes between them. What the fillings held before
/// is written over as far as the shape has holes, and behind them nobody reads.
struct Measure<'a> {
    shape: &'a Shape,
    text: &'a [u8],
    at: usize,
    /// Whether the lines around the payload are to be there too.
    framed: bool,
    fillings: &'a mut Fillings,
}

impl Task for Measure<'_> {
    /// Where the event ends, if it has the shape.
    type Output = Result<usize, Miss>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Result<usize, Miss> {
        let Self { shape, text, mut at, framed, fillings } = self;
        let prefix = shape.prefix as usize;
        let (mut start, payload) = if framed { (0, at + prefix) } else { (prefix, at) };
        let Fillings { starts, ends, plain } = fillings;
        *plain = 0;
        let mut slots = starts.iter_mut().zip(ends.iter_mut().skip(1));
        let mut bit = 1;
        for step in &shape.steps {
            let tail = if framed && step.hole == Hole::End { SUFFIX.len() } else { 0 };
            let literal = shape.literals.get(start..step.end as usize + tail).ok_or(Miss::Different)?;
            if !B::stands_at(text, at, literal) {
                return Err(miss(text, at, literal));
            }
            at += literal.len();
            start = step.end as usize;
            let end = match step.hole {
                Hole::String => {
                    let Some((end, is_plain)) = string_end::<B>(text, at) else {
                        return Err(miss_in_string(text, at));
                    };
                    *plain |= if is_plain { bit } else { 0 };
                    end
                }
                Hole::Number => {
                    let Some(end) = number_end(text, at) else { return Err(miss(text, at, b"")) };
                    end
                }
                Hole::End => return Ok(at),
            };
            let (filling_start, filling_end) = slots.next().ok_or(Miss::Different)?;
            *filling_start = (at - payload) as u32;
            *filling_end = (end - payload) as u32;
            bit <<= 1;
            at = end;
        }
        Err(Miss::Different)
    }
}

/// Why an event was not recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// The text ends before the event does; as far as it goes, it is as expected.
    Unfinished,
    /// It is something else.
    Different,
}

/// Why `literal` does not stand at `at`.
#[cold]
pub(crate) fn miss(text: &[u8], at: usize, literal: &[u8]) -> Miss {
    let rest = text.get(at..).unwrap_or_default();
    if literal.starts_with(rest) { Miss::Unfinished } else { Miss::Different }
}

/// Why the string whose inside starts at `at` has no end, or none that is valid.
#[cold]
pub(crate) fn miss_in_string(text: &[u8], at: usize) -> Miss {
    // What stands in an event stream has line ends behind it, so only a string that was cut reaches the text's end.
    let rest = text.get(at..).unwrap_or_default();
    if rest.iter().any(|&byte| byte < 0x20) { Miss::Different } else { Miss::Unfinished }
}

/// Where the string whose inside starts at `at` ends, if it is valid, and whether it is ASCII without escapes.
#[inline(always)]
pub(crate) fn string_end<B: Backend>(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let (stop, ascii) = B::string_stop(text, at);
    if text.get(stop) == Some(&b'"') {
        return Some((stop, ascii));
    }
    escaped_end(text, at, stop).map(|end| (end, false))
}

/// The same for a string with an escape at `stop`, or an error. What is not of the usual kind the cursor takes again
/// from its quote.
#[inline(never)]
fn escaped_end(text: &[u8], at: usize, mut stop: usize) -> Option<usize> {
    loop {
        match text.get(stop..)? {
            [b'"', ..] => return Some(stop),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                (stop, _) = string_stop(text, stop + 2);
            }
            _ => break,
        }
    }
    let mut cursor = Cursor::new(text.get(at.checked_sub(1)?..)?);
    cursor.string().ok()?;
    Some(at + cursor.position() - 2)
}

/// Where the number that starts at `at` ends, if it is valid.
#[inline(always)]
fn number_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let plain = digits == 1 || digits > 1 && rest.first() != Some(&b'0');
    if plain && matches!(rest.get(digits), Some(b',' | b'}' | b']')) {
        return Some(at + digits);
    }
    uncommon_number_end(text, at)
}

#[inline(never)]
fn uncommon_number_end(text: &[u8], at: usize) -> Option<usize> {
    let mut cursor = Cursor::new(text.get(at..)?);
    cursor.number().ok()?;
    Some(at + cursor.position())
}

//! How a shape is learned from the payloads of one kind.

use crate::event::{Field, Fields, Span, chat_text_span, may_be_chat};
use crate::json::{Cursor, Kind, Tokens};
use crate::shape::form::{DATA, Edge, Extent, Hole, SUFFIX, Shape, Step};
use crate::shape::{HOLES, KNOWN_NAME_LONGEST};
use crate::simd::{Backend, Task, dispatch};

/// What stays the same while one part of one item is streamed.
const STEADY: [Field; 6] = [
    Field::Type,
    Field::StreamId,
    Field::ItemId,
    Field::OutputIndex,
    Field::ContentIndex,
    Field::SummaryIndex,
];

/// A payload to learn from, and what is known of its kind.
pub(super) struct Lesson<'a> {
    /// The `event` field that it came with; empty if it had none.
    pub(super) name: &'a [u8],
    pub(super) payload: &'a [u8],
    /// Of `payload`.
    pub(super) fields: &'a Fields,
    /// The one before it, if that was of the same kind.
    pub(super) before: Option<&'a [u8]>,
    /// The shape known so far.
    pub(super) known: Option<&'a Shape>,
}

/// A string or a number that is a value.
type Leaf = (Kind, Span);

/// Kept from lesson to lesson for its room.
pub(super) type Leaves = Vec<Leaf>;

impl Lesson<'_> {
    /// The shape of this payload. What differs from the one before, or has differed earlier, is a hole; without one
    /// before, whatever is known to change from event to event. All else is taken to stay as it is. Were that
    /// wrong, the next payload would not fit, and teach better.
    pub(super) fn learn(self, leaves: &mut Leaves) -> Option<Shape> {
        leaves.clear();
        dispatch(Collect { text: self.payload, leaves });
        let varying = self.varying(leaves);
        let holes = || leaves.iter().zip(&varying).filter(|&(_, &varies)| varies).map(|(leaf, _)| *leaf);
        let count = holes().count();
        if count > HOLES {
            return None;
        }
        let mut literals = Vec::with_capacity(self.name.len() + self.payload.len() + 32);
        let name = self.prefix(&mut literals);
        let prefix = literals.len() as u32;
        let mut steps: Vec<Step> = Vec::with_capacity(count + 1);
        let mut starts = [0; HOLES + 1];
        let text = self.text(|span| holes().any(|(_, hole)| hole == span));
        let mut text_hole = None;
        let mut from = 0;
        let mut step = |from: usize, to: usize, hole: Hole| {
            literals.extend_from_slice(self.payload.get(from..to).unwrap_or_default());
            if let Some(start) = starts.get_mut(steps.len()) {
                *start = from as u32;
            }
            steps.push(Step { end: literals.len() as u32, hole });
        };
        for (number, (kind, span)) in holes().enumerate() {
            if kind == Kind::String {
                if Some(span) == text {
                    text_hole = Some(number as u8);
                }
                step(from, span.start as usize + 1, Hole::String);
                from = span.end as usize - 1;
            } else {
                step(from, span.start as usize, Hole::Number);
                from = span.end as usize;
            }
        }
        step(from, self.payload.len(), Hole::End);
        literals.extend_from_slice(SUFFIX);
        // A field starts and ends inside a literal or at its edge: quotes are literal, and a number starts where a
        // literal ends.
        let starts = starts.get(..steps.len())?;
        let edge = |at: u32| {
            let step = starts.iter().rposition(|&start| start <= at)?;
            Some(Edge { step: step as u32, offset: at - starts.get(step)? })
        };
        let extent = |span: Span| Some(Extent { start: edge(span.start)?, end: edge(span.end)? });
        let mut fields = Vec::with_capacity(self.fields.count() as usize);
        for (field, span) in self.fields.iter() {
            fields.push((field, extent(span)?));
        }
        let of = |wanted: Field| {
            fields.iter().find(|(field, _)| *field == wanted).map(|&(_, extent)| extent).unwrap_or_default()
        };
        Some(Shape {
            type_span: of(Field::Type),
            sequence_number: of(Field::SequenceNumber),
            output_index: of(Field::OutputIndex),
            text: text.filter(|span| !span.is_empty()).map_or(Some(Extent::default()), extent)?,
            unread: text.is_none(),
            text_hole,
            literals,
            prefix,
            name,
            steps,
            varying,
            fields,
            event_type: self.fields.event_type(),
        })
    }

    /// Where the text stands that the event adds; `None` if another payload of the shape may have it elsewhere.
    fn text(&self, is_hole: impl Fn(Span) -> bool) -> Option<Span> {
        if !may_be_chat(self.fields) {
            return Some(self.fields.span(Field::Delta));
        }
        let choices = self.fields.span(Field::Choices);
        let at = choices.start as usize;
        let mut steady = true;
        let text = chat_text_span(choices.of(self.payload), |index| steady &= !is_hole(index.moved(at)));
        steady.then_some(text.map_or(Span::NONE, |text| text.moved(at)))
    }

    /// Which leaves differ. The type decides what an event is, so it never does.
    fn varying(&self, leaves: &[Leaf]) -> Vec<bool> {
        let type_span = self.fields.span(Field::Type);
        let mut varying = match self.before {
            Some(before) => self.differing(before, leaves),
            None => leaves
                .iter()
                .map(|&(_, span)| STEADY.iter().all(|&field| self.fields.span(field) != span))
                .collect(),
        };
        let known = self.known.filter(|known| {
            known.varying.len() == leaves.len() && known.event_type == self.fields.event_type()
        });
        for (varies, has_varied) in varying.iter_mut().zip(known.map_or(&[][..], |known| &known.varying)) {
            *varies |= has_varied;
        }
        for (varies, (_, span)) in varying.iter_mut().zip(leaves) {
            *varies &= *span != type_span;
        }
        varying
    }

    /// Which leaves are not the same in the payload before; all of them from where its structure is another.
    fn differing(&self, before: &[u8], leaves: &[Leaf]) -> Vec<bool> {
        let mut varying = Vec::with_capacity(leaves.len());
        let (mut here, mut there) = (0, 0);
        for &(kind, span) in leaves {
            let gap = self.payload.get(here..span.start as usize).unwrap_or_default();
            let Some(earlier) = before.get(there..).and_then(|rest| rest.strip_prefix(gap)) else { break };
            let mut cursor = Cursor::new(earlier);
            let read = match kind {
                Kind::String => cursor.string().map(drop),
                _ => cursor.number().map(drop),
            };
            if read.is_err() {
                break;
            }
            there += gap.len() + cursor.position();
            here = span.end as usize;
            varying.push(cursor.since(0) != span.of(self.payload));
        }
        varying.resize(leaves.len(), true);
        varying
    }

    /// Writes the lines that stand before such a payload in an event stream; gives the name's place.
    fn prefix(&self, literals: &mut Vec<u8>) -> Span {
        const NAME: &[u8] = b"event: ";
        let mut name = Span::default();
        if self.name.len() > KNOWN_NAME_LONGEST {
            return name;
        }
        if !self.name.is_empty() {
            literals.extend_from_slice(NAME);
            literals.extend_from_slice(self.name);
            name = Span::new(NAME.len(), literals.len());
            literals.push(b'\n');
        }
        literals.extend_from_slice(DATA);
        name
    }
}

/// Collects all strings and numbers of a text that are values, in order, at any depth. The text must be valid.
struct Collect<'a> {
    text: &'a [u8],
    leaves: &'a mut Leaves,
}

impl Task for Collect<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Backend>(self) {
        let mut tokens = Tokens::<B>::new(self.text);
        let mut token = tokens.pull();
        while token.byte != 0 {
            let next = match token.byte {
                b'"' => {
                    let next = tokens.pull();
                    if next.byte != b':' {
                        self.leaves.push((Kind::String, Span::new(token.at, tokens.end_before(next.at))));
                    }
                    next
                }
                b'-' | b'0'..=b'9' => {
                    if let Ok((kind, end)) = tokens.scalar(token) {
                        self.leaves.push((kind, Span::new(token.at, end)));
                    }
                    tokens.pull()
                }
                _ => tokens.pull(),
            };
            token = next;
        }
    }
}

//! Strings that stream: those of items' own, and how any of them grows.

use std::ops::Range;

use super::writer::Writer;
use crate::dialect::responses::{Channel, Kind};
use crate::event::EventType;
use crate::json::{append_wtf8, push_escaped};

/// The events of an item's own string: delta and whole.
pub(super) const fn string_events(channel: Channel) -> Option<[EventType; 2]> {
    use EventType as E;
    Some(match channel {
        Channel::FunctionArguments => [E::FunctionCallArgumentsDelta, E::FunctionCallArgumentsDone],
        Channel::CustomInput => [E::CustomToolCallInputDelta, E::CustomToolCallInputDone],
        Channel::McpArguments => [E::McpCallArgumentsDelta, E::McpCallArgumentsDone],
        Channel::Code => [E::CodeInterpreterCallCodeDelta, E::CodeInterpreterCallCodeDone],
        Channel::Diff => [E::ApplyPatchCallOperationDiffDelta, E::ApplyPatchCallOperationDiffDone],
        _ => return None,
    })
}

/// The string that items of `kind` have of their own.
pub(super) const fn own_channel(kind: Kind) -> Option<Channel> {
    match kind {
        Kind::FunctionCall => Some(Channel::FunctionArguments),
        Kind::CustomToolCall => Some(Channel::CustomInput),
        Kind::McpCall => Some(Channel::McpArguments),
        Kind::CodeInterpreterCall => Some(Channel::Code),
        Kind::ApplyPatchCall => Some(Channel::Diff),
        _ => None,
    }
}

/// A piece of a string.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    /// WTF-8; other bytes become U+FFFD.
    pub(crate) text: &'a [u8],
    /// The text as [`push_escaped`] spells it, if somebody knows; then the text is UTF-8.
    pub(crate) spelled: Option<Spelled<'a>>,
}

/// A text as it stands in JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelled<'a> {
    pub(crate) json: &'a [u8],
    /// What begins with that and goes on behind it, if that is known: most pieces are a short word, and so many bytes
    /// are copied faster than as many as it has.
    pub(crate) wide: Option<&'a [u8; WIDE]>,
}

/// Longer pieces are copied as they are.
const WIDE: usize = 16;

impl<'a> From<&'a [u8]> for Piece<'a> {
    #[inline]
    fn from(text: &'a [u8]) -> Self {
        Self { text, spelled: None }
    }
}

impl Spelled<'_> {
    #[inline(always)]
    fn push(self, out: &mut Vec<u8>) {
        match self.wide {
            Some(wide) if self.json.len() <= WIDE => {
                let end = out.len() + self.json.len();
                out.extend_from_slice(wide);
                out.truncate(end);
            }
            _ => out.extend_from_slice(self.json),
        }
    }
}

/// Room of a string that begins.
const FIRST_BYTES: usize = 128;

/// A string that grows, with what stands around its deltas.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) text: Vec<u8>,
    /// From the event's beginning to the delta's quote, with the number of the delta before.
    head: Vec<u8>,
    /// Where in that the number stands.
    number: Range<usize>,
    /// From the delta's other quote to the event's end, without log probabilities.
    end: Vec<u8>,
}

impl Growing {
    /// A string whose deltas are events of type `event`, standing at `place`.
    pub(super) fn new(event: EventType, place: &[u8], writer: &Writer) -> Self {
        let mut head = writer.prefix(event, place.len() + 16);
        let number = head.len()..head.len();
        head.extend_from_slice(place);
        head.extend_from_slice(b",\"delta\":\"");
        let mut end = Vec::with_capacity(32);
        let has_logprobs = event == EventType::OutputTextDelta;
        end.extend_from_slice(if has_logprobs { b"\",\"logprobs\":[]" } else { b"\"" });
        end.extend_from_slice(writer.tail());
        Self { text: Vec::with_capacity(FIRST_BYTES), head, number, end }
    }

    /// Writes one delta and keeps its text; `logprobs` is the inside of a list, for text only.
    #[inline]
    pub(super) fn push(&mut self, piece: Piece<'_>, logprobs: &[u8], writer: &mut Writer) {
        self.renumber(writer.number());
        let out = writer.begin_with(&self.head);
        let Piece { text, spelled } = piece;
        if let Some(spelled) = spelled {
            spelled.push(out);
            if spelled.json.len() == text.len() {
                // Nothing is escaped.
                spelled.push(&mut self.text);
            } else {
                self.text.extend_from_slice(text);
            }
        } else if std::str::from_utf8(text).is_ok() {
            push_escaped(text, out);
            self.text.extend_from_slice(text);
        } else {
            let mut clean = Vec::new();
            append_wtf8(text, &mut clean);
            push_escaped(&clean, out);
            append_wtf8(&clean, &mut self.text);
        }
        if logprobs.is_empty() && writer.is_plain() {
            return writer.end_with(&self.end);
        }
        if logprobs.is_empty() {
            let end = self.end.strip_suffix(writer.tail()).unwrap_or_default();
            writer.out.extend_from_slice(end);
        } else {
            writer.out.extend_from_slice(b"\",\"logprobs\":[");
            writer.out.extend_from_slice(logprobs);
            writer.out.push(b']');
        }
        writer.end_delta();
    }

    /// Puts the digits of a number into the head.
    #[inline]
    fn renumber(&mut self, digits: &[u8]) {
        match (self.head.get_mut(self.number.clone()), digits) {
            // As most are; without a call.
            (Some([one]), [first]) => *one = *first,
            (Some([ten, one]), [first, second]) => (*ten, *one) = (*first, *second),
            (Some([hundred, ten, one]), [first, second, third]) => {
                (*hundred, *ten, *one) = (*first, *second, *third);
            }
            (Some(slots), _) if slots.len() == digits.len() => slots.copy_from_slice(digits),
            _ => {
                self.head.splice(self.number.clone(), digits.iter().copied());
                self.number.end = self.number.start + digits.len();
            }
        }
    }
}

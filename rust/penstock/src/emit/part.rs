//! Parts of items, while they are open: their text, annotations and log probabilities.

use std::ops::Range;

use super::string::{Growing, Piece};
use super::writer::Writer;
use crate::dialect::responses::{Channel, List};
use crate::event::EventType;
use crate::json::{push_number, push_string};

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// `output_text`, in a message.
    Text,
    /// `refusal`, in a message.
    Refusal,
    /// `reasoning_text`: raw reasoning, in the content of a reasoning item.
    ReasoningText,
    /// `summary_text`, in the summary of a reasoning item.
    SummaryText,
}

impl PartKind {
    pub(super) const fn channel(self) -> Channel {
        match self {
            Self::Text => Channel::Text,
            Self::Refusal => Channel::Refusal,
            Self::ReasoningText => Channel::ReasoningText,
            Self::SummaryText => Channel::SummaryText,
        }
    }

    pub(super) const fn list(self) -> List {
        match self {
            Self::SummaryText => List::Summary,
            _ => List::Content,
        }
    }

    /// The events of a part's life: added, delta, whole, done.
    pub(super) const fn events(self) -> [EventType; 4] {
        use EventType as E;
        match self {
            Self::Text => [E::ContentPartAdded, E::OutputTextDelta, E::OutputTextDone, E::ContentPartDone],
            Self::Refusal => [E::ContentPartAdded, E::RefusalDelta, E::RefusalDone, E::ContentPartDone],
            Self::ReasoningText => {
                [E::ContentPartAdded, E::ReasoningTextDelta, E::ReasoningTextDone, E::ContentPartDone]
            }
            Self::SummaryText => [
                E::ReasoningSummaryPartAdded,
                E::ReasoningSummaryTextDelta,
                E::ReasoningSummaryTextDone,
                E::ReasoningSummaryPartDone,
            ],
        }
    }
}

/// The part that is open in an item.
#[derive(Debug)]
pub(super) struct OpenPart {
    pub(super) kind: PartKind,
    pub(super) index: u64,
    pub(super) string: Growing,
    /// Which item and part, as members.
    place: Vec<u8>,
    annotations: Vec<u8>,
    pub(super) annotation_count: u64,
    logprobs: Vec<u8>,
}

impl OpenPart {
    /// Writes that a part begins.
    pub(super) fn open(kind: PartKind, index: u64, item: &[u8], writer: &mut Writer) -> Self {
        let [added, delta, ..] = kind.events();
        let mut place = Vec::with_capacity(item.len() + 24);
        place.extend_from_slice(item);
        place.extend_from_slice(b",\"");
        place.extend_from_slice(kind.list().index().as_str().as_bytes());
        place.extend_from_slice(b"\":");
        push_number(index, &mut place);
        let string = Growing::new(delta, &place, writer);
        let (annotations, logprobs) = (Vec::new(), Vec::new());
        let part = Self { kind, index, string, place, annotations, annotation_count: 0, logprobs };
        part.write_with(added, &part.to_json().0, writer);
        part
    }

    /// Writes a delta; `logprobs` is the inside of a list.
    #[inline]
    pub(super) fn push(&mut self, piece: Piece<'_>, logprobs: &[u8], writer: &mut Writer) {
        let logprobs = if self.kind == PartKind::Text { logprobs } else { b"" };
        if !logprobs.is_empty() {
            push_separator(&mut self.logprobs);
            self.logprobs.extend_from_slice(logprobs);
        }
        self.string.push(piece, logprobs, writer);
    }

    /// Writes an annotation.
    pub(super) fn annotate(&mut self, annotation: &[u8], writer: &mut Writer) {
        let out = writer.begin(EventType::OutputTextAnnotationAdded);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(b",\"annotation_index\":");
        push_number(self.annotation_count, out);
        out.extend_from_slice(b",\"annotation\":");
        out.extend_from_slice(annotation);
        writer.end();
        self.annotation_count += 1;
        push_separator(&mut self.annotations);
        self.annotations.extend_from_slice(annotation);
    }

    /// Writes that the part is done, and returns it.
    pub(super) fn close(&self, writer: &mut Writer) -> Vec<u8> {
        let [.., whole, done] = self.kind.events();
        let (part, text) = self.to_json();
        let out = writer.begin(whole);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(if self.kind == PartKind::Refusal { b",\"refusal\":" } else { b",\"text\":" });
        out.extend_from_slice(part.get(text).unwrap_or_default());
        if self.kind == PartKind::Text {
            out.extend_from_slice(b",\"logprobs\":[");
            out.extend_from_slice(&self.logprobs);
            out.push(b']');
        }
        writer.end();
        self.write_with(done, &part, writer);
        part
    }

    /// Writes an event that holds the `part`.
    fn write_with(&self, event: EventType, part: &[u8], writer: &mut Writer) {
        let out = writer.begin(event);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(b",\"part\":");
        out.extend_from_slice(part);
        writer.end();
    }

    /// The part as it is now, and where in that its text stands, quotes included.
    fn to_json(&self) -> (Vec<u8>, Range<usize>) {
        let text = &self.string.text;
        let mut part = Vec::with_capacity(
            text.len() + text.len() / 16 + self.annotations.len() + self.logprobs.len() + 80,
        );
        match self.kind {
            PartKind::Text => {
                part.extend_from_slice(b"{\"type\":\"output_text\",\"annotations\":[");
                part.extend_from_slice(&self.annotations);
                part.extend_from_slice(b"],\"logprobs\":[");
                part.extend_from_slice(&self.logprobs);
                part.extend_from_slice(b"],\"text\":");
            }
            PartKind::Refusal => part.extend_from_slice(b"{\"type\":\"refusal\",\"refusal\":"),
            PartKind::ReasoningText => part.extend_from_slice(b"{\"type\":\"reasoning_text\",\"text\":"),
            PartKind::SummaryText => part.extend_from_slice(b"{\"type\":\"summary_text\",\"text\":"),
        }
        let from = part.len();
        push_string(text, &mut part);
        let text = from..part.len();
        part.push(b'}');
        (part, text)
    }
}

/// The comma between the elements of a list whose brackets are written elsewhere.
fn push_separator(elements: &mut Vec<u8>) {
    if !elements.is_empty() {
        elements.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::PartKind;
    use crate::dialect::responses::{Kind, Step, step};
    use crate::emit::string::{own_channel, string_events};

    #[test]
    fn events_are_those_of_the_channel() {
        for kind in [PartKind::Text, PartKind::Refusal, PartKind::ReasoningText, PartKind::SummaryText] {
            let [added, delta, whole, done] = kind.events().map(step);
            let (channel, list) = (kind.channel(), kind.list());
            assert_eq!(channel.list(), Some(list));
            assert_eq!(
                [added, delta, whole, done],
                [Step::PartAdded(list), Step::Delta(channel), Step::Whole(channel), Step::PartDone(list)]
            );
        }
        for kind in [Kind::FunctionCall, Kind::CustomToolCall, Kind::McpCall, Kind::CodeInterpreterCall] {
            let channel = own_channel(kind).unwrap();
            let events = string_events(channel).unwrap().map(step);
            assert_eq!(events, [Step::Delta(channel), Step::Whole(channel)]);
        }
    }
}

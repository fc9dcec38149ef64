//! Output items while they are written: their members, the strings that stream into them, the parts they hold.

use super::object::Members;
use super::writer::Writer;
use crate::dialect::responses::{Channel, Kind, List};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{append_wtf8, push_comma, push_escaped, push_number, push_string};

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

/// A string that grows, with what stands around its deltas.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) text: Vec<u8>,
    /// From the event's beginning to its number.
    prefix: Vec<u8>,
    /// From there to the delta's quote: which item and part it belongs to.
    place: Vec<u8>,
}

impl Growing {
    /// A string whose deltas are events of type `event`, standing at `place`.
    pub(super) fn new(event: EventType, place: &[u8], writer: &Writer) -> Self {
        let mut place = place.to_vec();
        place.extend_from_slice(b",\"delta\":\"");
        Self { text: Vec::new(), prefix: writer.prefix(event), place }
    }

    /// Writes one delta and keeps its text; `logprobs` is the inside of a list, for text only.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8], logprobs: Option<&[u8]>, writer: &mut Writer) {
        let out = writer.begin_with(&self.prefix);
        out.extend_from_slice(&self.place);
        if std::str::from_utf8(piece).is_ok() {
            push_escaped(piece, out);
            self.text.extend_from_slice(piece);
        } else {
            let mut clean = Vec::new();
            append_wtf8(piece, &mut clean);
            push_escaped(&clean, out);
            append_wtf8(&clean, &mut self.text);
        }
        out.push(b'"');
        if let Some(logprobs) = logprobs {
            out.extend_from_slice(b",\"logprobs\":[");
            out.extend_from_slice(logprobs);
            out.push(b']');
        }
        writer.end_delta();
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
        let mut place = item.to_vec();
        place.extend_from_slice(b",\"");
        place.extend_from_slice(kind.list().index().as_str().as_bytes());
        place.extend_from_slice(b"\":");
        push_number(index, &mut place);
        let string = Growing::new(delta, &place, writer);
        let (annotations, logprobs) = (Vec::new(), Vec::new());
        let part = Self { kind, index, string, place, annotations, annotation_count: 0, logprobs };
        part.write_with_part(added, writer);
        part
    }

    /// Writes a delta; `logprobs` is the inside of a list.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8], logprobs: &[u8], writer: &mut Writer) {
        let logprobs = if self.kind == PartKind::Text {
            if !logprobs.is_empty() {
                push_separator(&mut self.logprobs);
                self.logprobs.extend_from_slice(logprobs);
            }
            Some(logprobs)
        } else {
            None
        };
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
        let out = writer.begin(whole);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(if self.kind == PartKind::Refusal { b",\"refusal\":" } else { b",\"text\":" });
        push_string(&self.string.text, out);
        if self.kind == PartKind::Text {
            out.extend_from_slice(b",\"logprobs\":[");
            out.extend_from_slice(&self.logprobs);
            out.push(b']');
        }
        writer.end();
        self.write_with_part(done, writer);
        let mut part = Vec::new();
        self.write(&mut part);
        part
    }

    fn write_with_part(&self, event: EventType, writer: &mut Writer) {
        let out = writer.begin(event);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(b",\"part\":");
        self.write(out);
        writer.end();
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self.kind {
            PartKind::Text => {
                out.extend_from_slice(b"{\"type\":\"output_text\",\"annotations\":[");
                out.extend_from_slice(&self.annotations);
                out.extend_from_slice(b"],\"logprobs\":[");
                out.extend_from_slice(&self.logprobs);
                out.extend_from_slice(b"],\"text\":");
            }
            PartKind::Refusal => out.extend_from_slice(b"{\"type\":\"refusal\",\"refusal\":"),
            PartKind::ReasoningText => out.extend_from_slice(b"{\"type\":\"reasoning_text\",\"text\":"),
            PartKind::SummaryText => out.extend_from_slice(b"{\"type\":\"summary_text\",\"text\":"),
        }
        push_string(&self.string.text, out);
        out.push(b'}');
    }
}

/// The comma between the elements of a list whose brackets are written elsewhere.
fn push_separator(elements: &mut Vec<u8>) {
    if !elements.is_empty() {
        elements.push(b',');
    }
}

/// One output item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    index: u64,
    pub(super) members: Members,
    /// Which item, as members.
    place: Vec<u8>,
    /// The string of its own.
    pub(super) string: Option<Growing>,
    pub(super) part: Option<OpenPart>,
    content: Vec<Vec<u8>>,
    summary: Vec<Vec<u8>>,
    /// The finished item; empty until then.
    pub(super) done: Vec<u8>,
}

impl Item {
    /// An item before its first event; `members` hold its id.
    pub(super) fn new(kind: Kind, index: u64, id: &[u8], members: Members, writer: &Writer) -> Self {
        let mut place = b",\"item_id\":".to_vec();
        push_string(id, &mut place);
        place.extend_from_slice(b",\"output_index\":");
        push_number(index, &mut place);
        let events = own_channel(kind).and_then(string_events);
        let string = events.map(|[delta, _]| Growing::new(delta, &place, writer));
        Self {
            kind,
            index,
            members,
            place,
            string,
            part: None,
            content: Vec::new(),
            summary: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Writes `response.output_item.added` or `.done`.
    pub(super) fn write_whole(&self, event: EventType, item: &[u8], writer: &mut Writer) {
        let out = writer.begin(event);
        out.extend_from_slice(b",\"output_index\":");
        push_number(self.index, out);
        out.extend_from_slice(b",\"item\":");
        out.extend_from_slice(item);
        writer.end();
    }

    /// The item as it stands.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        self.members.write(&mut json);
        json
    }

    /// Writes that a part begins, the one that is open having ended.
    pub(super) fn open_part(&mut self, kind: PartKind, writer: &mut Writer) -> u64 {
        self.close_part(writer);
        let index = self.parts(kind.list());
        self.part = Some(OpenPart::open(kind, index, &self.place, writer));
        index
    }

    /// Writes that the open part is done, if there is one.
    pub(super) fn close_part(&mut self, writer: &mut Writer) -> Option<(PartKind, u64)> {
        let part = self.part.take()?;
        let json = part.close(writer);
        self.take_part(part.kind.list(), &json);
        Some((part.kind, part.index))
    }

    /// Keeps a part that is done.
    pub(super) fn take_part(&mut self, list: List, part: &[u8]) {
        match list {
            List::Content => self.content.push(part.to_vec()),
            List::Summary => self.summary.push(part.to_vec()),
        }
    }

    /// Parts of `list` that are done.
    pub(super) fn parts(&self, list: List) -> u64 {
        match list {
            List::Content => self.content.len() as u64,
            List::Summary => self.summary.len() as u64,
        }
    }

    /// Whether the `done` event of its own string is due when the item ends: always, but where there may be none.
    pub(super) fn owes_string(&self) -> bool {
        let optional = matches!(self.kind, Kind::CodeInterpreterCall | Kind::ApplyPatchCall);
        self.string.as_ref().is_some_and(|string| !optional || !string.text.is_empty())
    }

    /// Writes the whole of its own string.
    pub(super) fn close_string(&mut self, writer: &mut Writer) {
        let Some(channel) = own_channel(self.kind) else { return };
        let (Some([_, whole]), Some(string)) = (string_events(channel), &self.string) else { return };
        let out = writer.begin(whole);
        out.extend_from_slice(&self.place);
        if self.kind == Kind::FunctionCall
            && let Some(name) = self.members.get(b"name")
        {
            out.extend_from_slice(b",\"name\":");
            out.extend_from_slice(name);
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(channel.field().as_str().as_bytes());
        out.extend_from_slice(b"\":");
        push_string(&string.text, out);
        writer.end();
    }

    /// Writes an event that says no more than which item it is about, or `members` besides.
    pub(super) fn write_event(&self, event: EventType, members: &[u8], writer: &mut Writer) {
        let out = writer.begin(event);
        out.extend_from_slice(&self.place);
        if let [b'{', inside @ .., b'}'] = members
            && !inside.trim_ascii().is_empty()
        {
            out.push(b',');
            out.extend_from_slice(inside);
        }
        writer.end();
    }

    /// Puts everything that was streamed into the members, with `more` on top, and keeps the finished item.
    pub(super) fn finish(&mut self, status: Option<&str>, more: &[u8]) -> Result<(), Error> {
        if let Some(status) = status {
            self.members.set_string("status", status.as_bytes());
        }
        if self.owes_string()
            && let (Some(string), Some(channel)) = (&self.string, own_channel(self.kind))
        {
            if channel == Channel::Diff {
                let mut operation = Members::read(self.members.get(b"operation").unwrap_or(b"{}"))?;
                operation.set_string("diff", &string.text);
                let mut json = Vec::new();
                operation.write(&mut json);
                self.members.set(b"operation", json);
            } else {
                self.members.set_string(channel.field().as_str(), &string.text);
            }
        }
        for (key, parts) in [(&b"content"[..], &self.content), (b"summary", &self.summary)] {
            if !parts.is_empty() {
                let mut list = vec![b'['];
                for part in parts {
                    push_comma(&mut list);
                    list.extend_from_slice(part);
                }
                list.push(b']');
                self.members.set(key, list);
            }
        }
        self.members.merge(more)?;
        self.done = self.json();
        self.string = None;
        self.content = Vec::new();
        self.summary = Vec::new();
        Ok(())
    }

    /// Whether the item tells its status, so that a new one can be told.
    pub(super) fn has_status(&self) -> bool {
        self.members.get(b"status").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{PartKind, own_channel, string_events};
    use crate::dialect::responses::{Kind, Step, step};

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

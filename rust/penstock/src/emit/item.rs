//! Output items while they are written: their members, and the parts that are done.

use super::object::Members;
use super::part::{OpenPart, PartKind};
use super::string::{Growing, own_channel, string_events};
use super::writer::Writer;
use crate::dialect::responses::{Channel, Kind, List, decoded, is_empty};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{push_comma, push_number, push_string};

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
        let mut place = Vec::with_capacity(id.len() + 48);
        place.extend_from_slice(b",\"item_id\":");
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

    /// Writes `response.output_item.added`, with these members.
    pub(super) fn write_added(&self, members: &Members, writer: &mut Writer) {
        let out = writer.begin(EventType::OutputItemAdded);
        self.push_index(out);
        members.write(out);
        writer.end();
    }

    /// Writes `response.output_item.done`.
    pub(super) fn write_done(&self, writer: &mut Writer) {
        let out = writer.begin(EventType::OutputItemDone);
        self.push_index(out);
        out.extend_from_slice(&self.done);
        writer.end();
    }

    fn push_index(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"output_index\":");
        push_number(self.index, out);
        out.extend_from_slice(b",\"item\":");
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
        self.take_part(part.kind.list(), json);
        Some((part.kind, part.index))
    }

    /// Keeps a part that is done.
    pub(super) fn take_part(&mut self, list: List, part: Vec<u8>) {
        match list {
            List::Content => self.content.push(part),
            List::Summary => self.summary.push(part),
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
            && let Some(name) = self.members.get("name")
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
                let mut operation = Members::read(self.members.get("operation").unwrap_or(b"{}"))?;
                operation.set_string("diff", &string.text);
                self.members.set("operation", operation.to_json());
            } else {
                self.members.set_string(channel.field().as_str(), &string.text);
            }
        }
        for (key, parts) in [("content", &self.content), ("summary", &self.summary)] {
            if !parts.is_empty() {
                let mut list =
                    Vec::with_capacity(parts.iter().map(Vec::len).sum::<usize>() + parts.len() + 2);
                list.push(b'[');
                for part in parts {
                    push_comma(&mut list);
                    list.extend_from_slice(part);
                }
                list.push(b']');
                self.members.set(key, list);
            }
        }
        self.members.merge(more)?;
        self.done = self.members.to_json();
        self.string = None;
        self.content = Vec::new();
        self.summary = Vec::new();
        Ok(())
    }

    /// Whether `more` names the call and its tool as the item was added with, as far as it names them.
    pub(super) fn is_same_call(&self, more: &[u8]) -> Result<bool, Error> {
        let more = Members::read(more)?;
        Ok(["call_id", "name"].into_iter().all(|key| {
            let (added, told) = (self.members.get(key), more.get(key));
            told.is_none() || is_empty(added) || decoded(added) == decoded(told)
        }))
    }

    /// Whether the item tells its status, so that a new one can be told.
    pub(super) fn has_status(&self) -> bool {
        self.members.get("status").is_some()
    }
}

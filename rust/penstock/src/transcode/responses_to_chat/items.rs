//! Items and their strings: what of them has been written, and what has to be.

use std::collections::{BTreeMap, BTreeSet};

use crate::dialect::chat::elements;
use crate::dialect::responses::{Channel, Item, Kind, Part, decoded, is_empty};
use crate::error::Error;
use crate::event::{EventType, Field, Fields, index, string};
use crate::json::{Cursor, push_number, push_string};
use crate::limits::DEPTH_CEILING;
use crate::transcode::citation::{characters, push_citation};
use crate::transcode::rules;
use crate::transcode::usage::{member, push_others};

use super::ResponsesToChat;

/// One output item.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The number of the tool call it is.
    call: Option<(u64, bool)>,
    /// Bytes written of each string, by channel and part.
    written: BTreeMap<(u8, u64), usize>,
    /// Of each part of text, how many characters of the completion stand before it.
    starts: BTreeMap<u64, i64>,
    /// Parts of which annotations were written.
    cited: BTreeSet<u64>,
    done: bool,
}

/// The string that an event adds to, and whether it says the whole of it.
const fn string_of(event: EventType) -> Option<(Channel, bool)> {
    use EventType as E;
    Some(match event {
        E::OutputTextDelta => (Channel::Text, false),
        E::RefusalDelta => (Channel::Refusal, false),
        E::ReasoningTextDelta => (Channel::ReasoningText, false),
        E::ReasoningSummaryTextDelta => (Channel::SummaryText, false),
        E::FunctionCallArgumentsDelta => (Channel::FunctionArguments, false),
        E::CustomToolCallInputDelta => (Channel::CustomInput, false),
        E::OutputTextDone => (Channel::Text, true),
        E::RefusalDone => (Channel::Refusal, true),
        E::ReasoningTextDone => (Channel::ReasoningText, true),
        E::ReasoningSummaryTextDone => (Channel::SummaryText, true),
        E::FunctionCallArgumentsDone => (Channel::FunctionArguments, true),
        E::CustomToolCallInputDone => (Channel::CustomInput, true),
        _ => return None,
    })
}

impl ResponsesToChat {
    /// Takes an event of a string: a delta, or the whole of it.
    pub(super) fn add_text(
        &mut self,
        event: EventType,
        fields: &Fields,
        payload: &[u8],
    ) -> Result<(), Error> {
        let Some((channel, whole)) = string_of(event) else { return Ok(()) };
        let field = if whole { channel.field() } else { Field::Delta };
        let Some(text) = fields.text(payload, field) else {
            return self.breach(rules::BAD_VALUE, Some(event));
        };
        let place = self.place(fields, payload);
        let part = channel.list().and_then(|list| fields.value(payload, list.index())).and_then(index);
        let (text, part) = (text.decoded(), part.unwrap_or(0));
        let logprobs = fields.value(payload, Field::Logprobs).filter(|list| is_filled_list(list));
        if whole {
            return self.complete(place, channel, part, &text, logprobs);
        }
        self.write(place, channel, part, &text, logprobs)
    }

    /// Takes the whole of a string: what of it has not been written is.
    fn complete(
        &mut self,
        place: u64,
        channel: Channel,
        part: u64,
        whole: &[u8],
        logprobs: Option<&[u8]>,
    ) -> Result<(), Error> {
        let written = self.slot(place)?.written.get(&(channel as u8, part)).copied().unwrap_or(0);
        if written == whole.len() {
            return Ok(());
        }
        if written > 0 {
            return self.breach(rules::DELTA_MISMATCH, None);
        }
        self.write(place, channel, part, whole, logprobs)
    }

    fn write(
        &mut self,
        place: u64,
        channel: Channel,
        part: u64,
        piece: &[u8],
        logprobs: Option<&[u8]>,
    ) -> Result<(), Error> {
        if piece.is_empty() && logprobs.is_none() {
            return Ok(());
        }
        let slot = self.slot(place)?;
        let is_new = !slot.written.contains_key(&(channel as u8, part));
        let call = slot.call;
        *slot.written.entry((channel as u8, part)).or_default() += piece.len();
        if is_new {
            self.parts.take(1, 0)?;
        }
        match channel {
            Channel::Text => {
                let before = self.characters;
                self.slot(place)?.starts.entry(part).or_insert(before);
                self.characters += characters(piece);
                self.chunks.text("content", piece, logprobs, &mut self.out);
            }
            Channel::Refusal => self.chunks.text("refusal", piece, None, &mut self.out),
            Channel::ReasoningText | Channel::SummaryText => {
                if is_new && self.reasoned {
                    self.chunks.text("reasoning_content", b"\n\n", None, &mut self.out);
                }
                self.reasoned = true;
                self.chunks.text("reasoning_content", piece, None, &mut self.out);
            }
            _ => {
                let number = match call {
                    Some((number, _)) => number,
                    None => self.announce(place, channel == Channel::CustomInput, b"{}")?,
                };
                self.write_arguments(number, channel == Channel::CustomInput, piece);
            }
        }
        Ok(())
    }

    fn write_arguments(&mut self, number: u64, custom: bool, piece: &[u8]) {
        let mut list = b"[{\"index\":".to_vec();
        push_number(number, &mut list);
        list.extend_from_slice(if custom {
            b",\"custom\":{\"input\":"
        } else {
            b",\"function\":{\"arguments\":"
        });
        push_string(piece, &mut list);
        list.extend_from_slice(b"}}]");
        self.chunks.raw("tool_calls", &list, &mut self.out);
    }

    /// Writes that a call begins, and returns its number.
    fn announce(&mut self, place: u64, custom: bool, item: &[u8]) -> Result<u64, Error> {
        self.max_calls.take(1, 0)?;
        let number = self.calls;
        self.calls += 1;
        self.slot(place)?.call = Some((number, custom));
        let view = Item::read(item).unwrap_or_default();
        let id = decoded(view.call_id).or_else(|| decoded(view.id)).unwrap_or_default();
        let name = decoded(view.name).unwrap_or_default();
        let mut list = b"[{\"index\":".to_vec();
        push_number(number, &mut list);
        list.extend_from_slice(b",\"id\":");
        push_string(&id, &mut list);
        list.extend_from_slice(if custom {
            b",\"type\":\"custom\",\"custom\":{\"name\":"
        } else {
            b",\"type\":\"function\",\"function\":{\"name\":"
        });
        push_string(&name, &mut list);
        list.extend_from_slice(if custom { b",\"input\":\"\"}" } else { b",\"arguments\":\"\"}" });
        // What providers hang on a call goes with it: thought signatures and the like.
        let own =
            ["id", "type", "status", "call_id", "name", "arguments", "input", "index", "custom", "function"];
        push_others(item, &own, &mut list);
        list.extend_from_slice(b"}]");
        self.chunks.raw("tool_calls", &list, &mut self.out);
        Ok(number)
    }

    /// Takes `output_item.added` or `.done`.
    pub(super) fn add_item(&mut self, fields: &Fields, payload: &[u8], done: bool) -> Result<(), Error> {
        let given = fields.value(payload, Field::OutputIndex).and_then(index);
        let next = self.slots.last_key_value().map_or(0, |(place, _)| *place + 1);
        let place = given.unwrap_or(if done { next.saturating_sub(1) } else { next });
        let item = fields.value(payload, Field::Item).unwrap_or_default();
        if done {
            return self.finish_item(place, item);
        }
        let kind = Kind::of_item(Item::read(item).unwrap_or_default().kind);
        self.slot(place)?;
        match kind {
            Kind::FunctionCall | Kind::CustomToolCall => self.begin_call(place, kind, item),
            Kind::Message | Kind::Reasoning => Ok(()),
            _ => {
                self.diagnostics.note(rules::CONTENT_DROPPED);
                Ok(())
            }
        }
    }

    fn begin_call(&mut self, place: u64, kind: Kind, item: &[u8]) -> Result<(), Error> {
        if self.slot(place)?.call.is_none() {
            self.announce(place, kind == Kind::CustomToolCall, item)?;
        }
        Ok(())
    }

    /// Takes a finished item: what of it has not been written is.
    pub(super) fn finish_item(&mut self, place: u64, item: &[u8]) -> Result<(), Error> {
        if std::mem::replace(&mut self.slot(place)?.done, true) {
            return Ok(());
        }
        let view = Item::read(item).unwrap_or_default();
        let kind = Kind::of_item(view.kind);
        match kind {
            Kind::FunctionCall | Kind::CustomToolCall => {
                self.begin_call(place, kind, item)?;
                let channel = kind_channel(kind);
                let whole = decoded(view.string(channel)).unwrap_or_default();
                self.complete(place, channel, 0, &whole, None)
            }
            Kind::Message | Kind::Reasoning => {
                for list in [view.summary, view.content] {
                    for (number, part) in elements(list.unwrap_or_default()).enumerate() {
                        self.finish_part(place, number as u64, part)?;
                    }
                }
                self.add_encrypted(item);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a part of a finished item.
    fn finish_part(&mut self, place: u64, number: u64, part: &[u8]) -> Result<(), Error> {
        let view = Part::read(part).unwrap_or_default();
        let Some(channel) = Channel::of_part(view.kind) else {
            self.diagnostics.note(rules::CONTENT_DROPPED);
            return Ok(());
        };
        let whole = decoded(view.string(channel)).unwrap_or_default();
        let logprobs = member(part, "logprobs").filter(|list| is_filled_list(list));
        self.complete(place, channel, number, &whole, logprobs)?;
        if channel == Channel::Text && !self.slot(place)?.cited.contains(&number) {
            for annotation in elements(view.annotations.unwrap_or_default()) {
                self.annotate(place, number, annotation)?;
            }
        }
        Ok(())
    }

    /// Takes an annotation of a part; its place in the part becomes one in the completion.
    pub(super) fn annotate(&mut self, place: u64, part: u64, annotation: &[u8]) -> Result<(), Error> {
        let kind = member(annotation, "type").and_then(string);
        if kind.is_none_or(|kind| kind.raw != b"url_citation") {
            self.diagnostics.note(rules::ANNOTATION_DROPPED);
            return Ok(());
        }
        let slot = self.slot(place)?;
        slot.cited.insert(part);
        let start = slot.starts.get(&part).copied().unwrap_or_default();
        let mut citation = vec![b'{'];
        push_citation(annotation, start, &mut citation);
        citation.push(b'}');
        let list = [b"[{\"type\":\"url_citation\",\"url_citation\":", &*citation, b"}]"].concat();
        self.chunks.raw("annotations", &list, &mut self.out);
        Ok(())
    }

    /// Encrypted reasoning that is a list of thinking blocks goes with the completion; no other has a form there.
    fn add_encrypted(&mut self, item: &[u8]) {
        let Some(content) = decoded(member(item, "encrypted_content")) else { return };
        let mut cursor = Cursor::new(&content);
        let is_list = content.starts_with(b"[{\"type\":\"")
            && cursor.skip_value(4, DEPTH_CEILING).is_ok()
            && cursor.end().is_ok();
        let blocks = is_list
            && elements(&content).all(|block| {
                let kind = member(block, "type").and_then(string);
                kind.is_some_and(|kind| matches!(kind.raw, b"thinking" | b"redacted_thinking"))
            });
        if blocks {
            self.chunks.raw("thinking_blocks", &content, &mut self.out);
        } else {
            self.diagnostics.note(rules::REASONING_DROPPED);
        }
    }
}

fn is_filled_list(value: &[u8]) -> bool {
    value.starts_with(b"[") && !is_empty(Some(value))
}

const fn kind_channel(kind: Kind) -> Channel {
    if matches!(kind, Kind::CustomToolCall) { Channel::CustomInput } else { Channel::FunctionArguments }
}

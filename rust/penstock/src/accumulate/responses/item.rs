//! An item as a whole: announced again, finished, read and written.

use std::borrow::Cow;

use super::context::Context;
use super::oddity::Oddity;
use super::part::{Part, Parts, import};
use super::read::{FunctionCall, list as list_of, push_message_text};
use super::slot::{DEPTH, Slot};
use crate::accumulate::text::{Meter, lossy};
use crate::dialect::responses::{self as dialect, Action, Channel, Item, Kind, Status, decoded, is_empty};
use crate::error::Error;
use crate::json::{Edit, merge, patch, push_comma, push_string};

/// How many further announcements of an item are merged with the first. Merging costs the size of both, so that
/// without a bound a stream could cost the square of its length.
const REPETITIONS: u8 = 8;

impl Slot {
    /// Takes a second announcement of this index. For an open item of the same type its members count, except
    /// that what it leaves empty stays. Anything else is a new item.
    pub(super) fn announce_again(
        &mut self,
        raw: &[u8],
        item: &Item<'_>,
        at: usize,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        cx.require_unique(item.repeated)?;
        let same = !self.done && self.kind == Kind::of_item(item.kind);
        if same && self.repetitions == REPETITIONS {
            return cx.note(Oddity::ItemReannounced);
        }
        if !same || decoded(item.kind) != decoded(Item::reread(&self.raw)?.kind) {
            cx.note(Oddity::ItemReplaced)?;
            let next = Self::announced(raw, item, at, entries, cx)?;
            entries.give(self.entries());
            cx.bytes.give(self.held());
            *self = next;
            return Ok(());
        }
        cx.note(Oddity::ItemReannounced)?;
        cx.require_depth(raw, DEPTH)?;
        let merged = merge_announcements(&self.raw, raw)?;
        cx.bytes.replace(self.raw.len(), merged.len(), at)?;
        self.repetitions += 1;
        self.set_raw(merged)?;
        for (list, parts) in [(item.content, &mut self.content), (item.summary, &mut self.summary)] {
            if !is_empty(list) && !parts.values().any(|part| part.has_text()) {
                let next = import(list, at, entries, cx.bytes)?;
                entries.give(parts.values().map(|part| part.entries()).sum());
                cx.bytes.give(parts.values().map(|part| part.held()).sum());
                *parts = next;
            }
        }
        Ok(())
    }

    /// Takes the finished item in place of this one. What was streamed and it leaves empty stays.
    pub(super) fn finish(
        &mut self,
        raw: &[u8],
        item: &Item<'_>,
        at: usize,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        cx.require_unique(item.repeated)?;
        cx.require_depth(raw, DEPTH)?;
        let mut next = Self::new(raw, item, true);
        let lacks = if next.kind == self.kind { self.lacked_by(item)? } else { Lacks::default() };
        if lacks.any() {
            cx.note(Oddity::EmptyDone)?;
        }
        let (entries_before, bytes_before) = (self.entries(), self.held());
        self.hand_over(&lacks, item, &mut next)?;
        *self = next;
        entries.replace(entries_before, self.entries(), at)?;
        cx.bytes.replace(bytes_before, self.held(), at)
    }

    /// What was streamed here and the finished `item` does not have.
    fn lacked_by(&self, item: &Item<'_>) -> Result<Lacks, Error> {
        let value = self.channel.is_some_and(|channel| is_empty(item.string(channel)));
        let mut lacks = Lacks {
            value: value && !self.value.text().is_empty(),
            content: lack_text(&self.content, item.content)?,
            summary: lack_text(&self.summary, item.summary)?,
            ..Lacks::default()
        };
        if let Some(shell) = &self.shell {
            let action = item.action.map(Action::read).transpose()?.unwrap_or_default();
            lacks.commands = shell.lacks_commands(action.commands);
            lacks.outputs = shell.lacks_output(item.output);
        }
        Ok(lacks)
    }

    /// Gives `next`, made of the finished `item`, what it lacks.
    fn hand_over(&mut self, lacks: &Lacks, item: &Item<'_>, next: &mut Self) -> Result<(), Error> {
        if lacks.value {
            next.value = std::mem::take(&mut self.value);
            next.channel = self.channel;
        }
        if lacks.content {
            next.content = with_text_of(&mut self.content, item.content)?;
        }
        if lacks.summary {
            next.summary = with_text_of(&mut self.summary, item.summary)?;
        }
        if lacks.commands || lacks.outputs {
            let shell = self.shell.take();
            next.shell = shell.map(|shell| Box::new(shell.keep(lacks.commands, lacks.outputs)));
        }
        Ok(())
    }

    /// Appends the item as JSON. With `cut`, the response ended before the item did, and an item that has a
    /// status says so.
    pub(super) fn write(&self, cut: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let item = Item::reread(&self.raw)?;
        let mut status = self.status;
        if cut && !self.done && (status.is_some() || !is_empty(item.status)) {
            let rank = status.map_or_else(|| Status::rank_of(item.status), Status::rank);
            if rank < Status::Completed.rank() {
                status = Some(Status::Incomplete);
            }
        }
        let status_value = |out: &mut Vec<u8>| {
            push_string(status.map_or("", Status::as_str).as_bytes(), out);
            Ok(())
        };
        let name = |out: &mut Vec<u8>| {
            out.extend_from_slice(self.name.as_deref().unwrap_or_default());
            Ok(())
        };
        let value = |out: &mut Vec<u8>| {
            push_string(self.value.text().as_bytes(), out);
            Ok(())
        };
        let diff =
            |out: &mut Vec<u8>| patch(item.operation.unwrap_or(b"{}"), &[Edit::new("diff", &value)], out);
        let commands = |out: &mut Vec<u8>| {
            let list = |out: &mut Vec<u8>| {
                self.shell.iter().for_each(|shell| shell.write_commands(out));
                Ok(())
            };
            patch(item.action.unwrap_or(b"{}"), &[Edit::new("commands", &list)], out)
        };
        let outputs = |out: &mut Vec<u8>| {
            self.shell.iter().for_each(|shell| shell.write_outputs(out));
            Ok(())
        };
        let content = |out: &mut Vec<u8>| write_parts(&self.content, out);
        let summary = |out: &mut Vec<u8>| write_parts(&self.summary, out);

        let mut edits = Vec::new();
        if status.is_some() {
            edits.push(Edit::new("status", &status_value));
        }
        if self.name.is_some() {
            edits.push(Edit::new("name", &name));
        }
        if let (true, Some(channel)) = (self.value.is_touched(), self.channel) {
            edits.push(match channel {
                Channel::Diff => Edit::new("operation", &diff),
                _ => Edit::new(channel.field().as_str(), &value),
            });
        }
        if !self.content.is_empty() {
            edits.push(Edit::new("content", &content));
        }
        if !self.summary.is_empty() {
            edits.push(Edit::new("summary", &summary));
        }
        if let Some(shell) = &self.shell {
            if shell.has_commands() {
                edits.push(Edit::new("action", &commands));
            }
            if shell.has_outputs() {
                edits.push(Edit::new("output", &outputs));
            }
        }
        if edits.is_empty() {
            out.extend_from_slice(&self.raw);
            return Ok(());
        }
        patch(&self.raw, &edits, out)
    }

    /// Appends the text of a message.
    pub(super) fn push_output_text(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.kind != Kind::Message {
            return Ok(());
        }
        if self.content.is_empty() {
            return push_message_text(&Item::reread(&self.raw)?, out);
        }
        self.content.values().try_for_each(|part| part.push_output_text(out))
    }

    /// The arguments or input of a call; `None` for an item that is no call of the kind.
    pub(super) fn arguments(&self) -> Result<Option<Streamed<'_>>, Error> {
        if !matches!(self.kind, Kind::FunctionCall | Kind::McpCall | Kind::CustomToolCall) {
            return Ok(None);
        }
        let whole = self.done || self.value.is_ended();
        let revision = u64::from(self.value.revision()) << 1 | u64::from(self.done);
        let text = if self.value.is_touched() {
            let text = self.value.text();
            Cow::Borrowed(if whole { text.as_bytes() } else { text.stable() })
        } else {
            let item = Item::reread(&self.raw)?;
            let own = if self.kind == Kind::CustomToolCall { item.input } else { item.arguments };
            decoded(own).unwrap_or_default()
        };
        Ok(Some(Streamed { text, whole, revision }))
    }

    /// Whether the item is the call with this `call_id`.
    pub(super) fn is_call(&self, call_id: &[u8]) -> Result<bool, Error> {
        let callable = matches!(self.kind, Kind::FunctionCall | Kind::CustomToolCall);
        Ok(callable && decoded(Item::reread(&self.raw)?.call_id).as_deref() == Some(call_id))
    }

    /// The call that the client has to run, if the item is one; `runnable` unless it is known to be cut short.
    pub(super) fn function_call(&self, index: u64, runnable: bool) -> Result<Option<FunctionCall>, Error> {
        if !matches!(self.kind, Kind::FunctionCall | Kind::CustomToolCall) {
            return Ok(None);
        }
        let item = Item::reread(&self.raw)?;
        let Some(mut call) = FunctionCall::read(&item, index, runnable && self.done) else { return Ok(None) };
        if let Some(name) = decoded(self.name.as_deref()) {
            call.name = lossy(name.into_owned());
        }
        if self.value.is_touched() {
            call.arguments = lossy(self.value.text().as_bytes().to_vec());
        }
        Ok(Some(call))
    }
}

/// The arguments or input of a call as far as they have come.
pub(super) struct Streamed<'a> {
    /// What no later event can change, unless it replaces the whole.
    pub(super) text: Cow<'a, [u8]>,
    /// Whether nothing can follow.
    pub(super) whole: bool,
    /// Changes when the text is replaced instead of added to.
    pub(super) revision: u64,
}

/// `after` as it came, except that what it leaves empty or out is taken from `before`.
fn merge_announcements(before: &[u8], after: &[u8]) -> Result<Vec<u8>, Error> {
    let (old, new) = (Item::reread(before)?, Item::reread(after)?);
    let kept: Vec<_> = [
        ("content", old.content, new.content),
        ("summary", old.summary, new.summary),
        ("arguments", old.arguments, new.arguments),
        ("input", old.input, new.input),
        ("code", old.code, new.code),
    ]
    .into_iter()
    .filter(|(_, old, new)| is_empty(*new) && !is_empty(*old))
    .map(|(key, old, _)| {
        (key, move |out: &mut Vec<u8>| {
            out.extend_from_slice(old.unwrap_or_default());
            Ok(())
        })
    })
    .collect();
    let edits: Vec<_> = kept.iter().map(|(key, value)| Edit::new(key, value)).collect();
    let mut patched = Vec::with_capacity(after.len());
    patch(after, &edits, &mut patched)?;
    let mut merged = Vec::with_capacity(patched.len());
    merge(&patched, before, &mut merged)?;
    Ok(merged)
}

/// What was streamed into an item and its finished form does not have.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each says something of its own")]
struct Lacks {
    value: bool,
    content: bool,
    summary: bool,
    commands: bool,
    outputs: bool,
}

impl Lacks {
    const fn any(&self) -> bool {
        self.value || self.content || self.summary || self.commands || self.outputs
    }
}

/// Whether the finished `list` lacks text that was streamed into `parts`: all of it if it is empty, else that of
/// the part in the same place.
fn lack_text(parts: &Parts, list: Option<&[u8]>) -> Result<bool, Error> {
    if !parts.values().any(|part| part.has_text()) {
        return Ok(false);
    }
    let finished = list_of(list)?;
    if finished.is_empty() {
        return Ok(true);
    }
    for (part, raw) in parts.values().zip(finished) {
        if raw.starts_with(b"{") && part.lacks(&dialect::Part::reread(raw)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The parts of the finished `list`, with the streamed text that they lack; the streamed ones if it is empty.
fn with_text_of(streamed: &mut Parts, list: Option<&[u8]>) -> Result<Parts, Error> {
    let finished = list_of(list)?;
    if finished.is_empty() {
        return Ok(std::mem::take(streamed));
    }
    let mut parts = Parts::new();
    let mut before = streamed.values_mut();
    for (place, raw) in finished.into_iter().enumerate() {
        let view = if raw.starts_with(b"{") { dialect::Part::reread(raw)? } else { dialect::Part::default() };
        let mut part = Part::new(raw, Channel::of_part(view.kind));
        if let Some(before) = before.next()
            && before.lacks(&view)
        {
            part.take_text_of(before);
        }
        parts.insert(place as u64, Box::new(part));
    }
    Ok(parts)
}

fn write_parts(parts: &Parts, out: &mut Vec<u8>) -> Result<(), Error> {
    out.push(b'[');
    for part in parts.values() {
        push_comma(out);
        part.write(out)?;
    }
    out.push(b']');
    Ok(())
}

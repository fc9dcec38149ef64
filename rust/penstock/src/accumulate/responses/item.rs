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
        if self.done || decoded(item.kind) != decoded(Item::read(&self.raw)?.kind) {
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
        self.raw = merged;
        self.status = None;
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
        let mut next = Self::new(raw.to_vec(), Kind::of_item(item.kind), true);
        if next.kind == self.kind && self.keep_streamed(item, &mut next)? {
            cx.note(Oddity::EmptyDone)?;
        }
        entries.replace(self.entries(), next.entries(), at)?;
        cx.bytes.replace(self.held(), next.held(), at)?;
        *self = next;
        Ok(())
    }

    /// Gives `next`, made of the finished `item`, what was streamed here and `item` lacks; tells if anything was.
    fn keep_streamed(&self, item: &Item<'_>, next: &mut Self) -> Result<bool, Error> {
        let mut kept = false;
        if let Some(channel) = self.channel
            && !self.value.text().is_empty()
            && is_empty(item.string(channel))
        {
            next.value = self.value.clone();
            next.channel = self.channel;
            kept = true;
        }
        if let Some(content) = keep_parts(&self.content, item.content)? {
            next.content = content;
            kept = true;
        }
        if let Some(summary) = keep_parts(&self.summary, item.summary)? {
            next.summary = summary;
            kept = true;
        }
        if let Some(shell) = &self.shell {
            let action = item.action.map(Action::read).transpose()?.unwrap_or_default();
            let (commands, outputs) =
                (shell.lacks_commands(action.commands), shell.lacks_output(item.output));
            if commands || outputs {
                next.shell = Some(Box::new(Clone::clone(&**shell).keep(commands, outputs)));
                kept = true;
            }
        }
        Ok(kept)
    }

    /// Appends the item as JSON. With `cut`, the response ended before the item did, and an item that has a
    /// status says so.
    pub(super) fn write(&self, cut: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let item = Item::read(&self.raw)?;
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
            return push_message_text(&Item::read(&self.raw)?, out);
        }
        self.content.values().try_for_each(|part| part.push_output_text(out))
    }

    /// The arguments or input of a call; `None` for an item that is no call of the kind.
    pub(super) fn arguments(&self) -> Result<Option<Streamed<'_>>, Error> {
        let item = Item::read(&self.raw)?;
        let raw = match self.kind {
            Kind::FunctionCall | Kind::McpCall => item.arguments,
            Kind::CustomToolCall => item.input,
            _ => return Ok(None),
        };
        let whole = self.done || self.value.is_ended();
        let revision = u64::from(self.value.revision()) << 1 | u64::from(self.done);
        let text = if self.value.is_touched() {
            let text = self.value.text();
            Cow::Borrowed(if whole { text.as_bytes() } else { text.stable() })
        } else {
            decoded(raw).unwrap_or_default()
        };
        Ok(Some(Streamed { text, whole, revision }))
    }

    /// The call that the client has to run, if the item is one; `runnable` unless it is known to be cut short.
    pub(super) fn function_call(&self, index: u64, runnable: bool) -> Result<Option<FunctionCall>, Error> {
        if !matches!(self.kind, Kind::FunctionCall | Kind::CustomToolCall) {
            return Ok(None);
        }
        let item = Item::read(&self.raw)?;
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
    let (old, new) = (Item::read(before)?, Item::read(after)?);
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

/// The parts to keep although the finished list is there: all if it is empty, those whose text it lacks if it is
/// not; `None` if the finished list lacks nothing.
fn keep_parts(parts: &Parts, list: Option<&[u8]>) -> Result<Option<Parts>, Error> {
    if !parts.values().any(|part| part.has_text()) {
        return Ok(None);
    }
    let finished = list_of(list)?;
    if finished.is_empty() {
        return Ok(Some(parts.clone()));
    }
    let mut kept = Parts::new();
    let mut lacking = false;
    let mut streamed = parts.values();
    for (place, raw) in finished.into_iter().enumerate() {
        if !raw.starts_with(b"{") {
            return Ok(None);
        }
        let view = dialect::Part::read(raw)?;
        let mut part = Part::new(raw, Channel::of_part(view.kind));
        if let Some(before) = streamed.next()
            && before.lacks(&view)
        {
            part.take_text_of(before);
            lacking = true;
        }
        kept.insert(place as u64, Box::new(part));
    }
    Ok(lacking.then_some(kept))
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

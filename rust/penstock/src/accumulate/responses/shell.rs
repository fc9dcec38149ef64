//! Commands and their output, which stream into the `action` and `output` of shell items.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::context::Context;
use super::oddity::Oddity;
use super::value::Value;
use crate::accumulate::text::{Meter, Text};
use crate::dialect::responses::{Written, is_empty};
use crate::error::Error;
use crate::event::{Field, string};
use crate::json::{push_comma, push_key, push_string};

/// What has been streamed into one shell item.
#[derive(Debug, Default)]
pub(super) struct Shell {
    commands: BTreeMap<u64, Value>,
    outputs: BTreeMap<u64, Output>,
}

/// The output of one command.
#[derive(Debug, Default)]
struct Output {
    stdout: Text,
    stderr: Text,
    /// The elements of the whole list, once it has come.
    whole: Option<Vec<u8>>,
}

impl Shell {
    /// Bytes charged for it.
    pub(super) fn held(&self) -> usize {
        let commands: usize = self.commands.values().map(|command| command.text().len()).sum();
        let outputs: usize = self.outputs.values().map(Output::held).sum();
        commands + outputs
    }

    /// Entries charged for it.
    pub(super) fn entries(&self) -> usize {
        self.commands.len() + self.outputs.len()
    }

    /// Whether commands have come that a finished item with these does not have.
    pub(super) fn lacks_commands(&self, commands: Option<&[u8]>) -> bool {
        is_empty(commands) && self.commands.values().any(|command| !command.text().is_empty())
    }

    /// Whether output has come that a finished item with this does not have.
    pub(super) fn lacks_output(&self, output: Option<&[u8]>) -> bool {
        is_empty(output) && self.outputs.values().any(|output| output.held() > 0)
    }

    /// Forgets all but the commands or the output.
    pub(super) fn keep(mut self, commands: bool, outputs: bool) -> Self {
        if !commands {
            self.commands = BTreeMap::new();
        }
        if !outputs {
            self.outputs = BTreeMap::new();
        }
        self
    }

    /// The command that the event is about.
    pub(super) fn command(&mut self, entries: &mut Meter, cx: &mut Context<'_>) -> Result<&mut Value, Error> {
        let place = cx.place(Field::CommandIndex)?;
        entry(&mut self.commands, place, entries, cx.event.at(Field::CommandIndex))
    }

    /// Appends to the output of a command.
    pub(super) fn append_output(&mut self, entries: &mut Meter, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(delta) = cx.object(Field::Delta)? else { return Ok(()) };
        let at = cx.event.at(Field::Delta);
        let written = Written::read(delta)?;
        cx.require_unique(written.repeated)?;
        let place = cx.place(Field::CommandIndex)?;
        let output = entry(&mut self.outputs, place, entries, at)?;
        if output.whole.is_some() {
            return cx.note(Oddity::AfterDone);
        }
        if let Some(text) = written.stdout.and_then(string) {
            output.stdout.push(text, at, cx.bytes)?;
        }
        if let Some(text) = written.stderr.and_then(string) {
            output.stderr.push(text, at, cx.bytes)?;
        }
        Ok(())
    }

    /// Takes the whole output of a command.
    pub(super) fn settle_output(&mut self, entries: &mut Meter, cx: &mut Context<'_>) -> Result<(), Error> {
        let list = cx.event.value(Field::Output).unwrap_or_default();
        let Some(inside) = list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]")) else {
            return cx.note(Oddity::BadValue);
        };
        let at = cx.event.at(Field::Output);
        let place = cx.place(Field::CommandIndex)?;
        // Response, output, item.
        cx.require_depth(list, 3)?;
        let inside = inside.trim_ascii();
        let output = entry(&mut self.outputs, place, entries, at)?;
        cx.bytes.replace(output.held(), inside.len(), at)?;
        *output = Output { whole: Some(inside.to_vec()), ..Output::default() };
        Ok(())
    }

    /// The commands that the server has not said are whole, with their index.
    pub(super) fn open_commands(&self) -> impl Iterator<Item = (u64, &Text)> {
        let open = self.commands.iter().filter(|(_, command)| !command.is_ended());
        open.map(|(&index, command)| (index, command.text()))
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    pub(super) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Appends the list of commands.
    pub(super) fn write_commands(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for command in self.commands.values() {
            push_comma(out);
            push_string(command.text().as_bytes(), out);
        }
        out.push(b']');
    }

    /// Appends the list of outputs. How a command ended is known from its whole output only and not invented
    /// before.
    pub(super) fn write_outputs(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for output in self.outputs.values() {
            match output.whole.as_deref() {
                Some(b"") => {}
                Some(elements) => {
                    push_comma(out);
                    out.extend_from_slice(elements);
                }
                None => {
                    push_comma(out);
                    output.write(out);
                }
            }
        }
        out.push(b']');
    }
}

/// The entry at `place`, made and charged if there is none.
fn entry<'a, T: Default>(
    list: &'a mut BTreeMap<u64, T>,
    place: u64,
    entries: &mut Meter,
    at: usize,
) -> Result<&'a mut T, Error> {
    match list.entry(place) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => {
            entries.take(1, at)?;
            Ok(entry.insert(T::default()))
        }
    }
}

impl Output {
    fn held(&self) -> usize {
        self.stdout.len() + self.stderr.len() + self.whole.as_ref().map_or(0, Vec::len)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        push_key("stdout", out);
        push_string(self.stdout.as_bytes(), out);
        out.push(b',');
        push_key("stderr", out);
        push_string(self.stderr.as_bytes(), out);
        out.push(b'}');
    }
}

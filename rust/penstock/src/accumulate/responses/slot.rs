//! One output item: as it was announced, what has been streamed into it since, and as it was finished.

use std::collections::btree_map::Entry;

use super::context::Context;
use super::oddity::Oddity;
use super::part::{Part, Parts, import};
use super::shell::Shell;
use super::value::Value;
use crate::accumulate::text::Meter;
use crate::dialect::responses::{Channel, Item, Kind, List, Part as PartView, Status, is_empty};
use crate::error::Error;
use crate::event::Field;

/// Levels around an item in the final response: response, output.
pub(super) const DEPTH: u64 = 2;

/// An output item. Whatever no event has touched is kept as the bytes it came in.
#[derive(Debug)]
pub(super) struct Slot {
    /// The object as announced, implied or finished.
    pub(super) raw: Vec<u8>,
    pub(super) kind: Kind,
    /// The server has sent it whole; nothing can follow.
    pub(super) done: bool,
    /// The status that events gave it.
    pub(super) status: Option<Status>,
    /// How far along the object's own status is.
    rank: u8,
    /// Whether the object has a name.
    named: bool,
    /// A name that came later than the item, as JSON.
    pub(super) name: Option<Vec<u8>>,
    /// How often it was announced again.
    pub(super) repetitions: u8,
    /// The string of the item itself: arguments, input, code or diff.
    pub(super) value: Value,
    pub(super) channel: Option<Channel>,
    pub(super) content: Parts,
    pub(super) summary: Parts,
    pub(super) shell: Option<Box<Shell>>,
}

impl Slot {
    /// An item from its JSON text, charged already, and where its members stand.
    pub(super) fn new(raw: &[u8], item: &Item<'_>, done: bool) -> Self {
        Self {
            raw: raw.to_vec(),
            kind: Kind::of_item(item.kind),
            done,
            status: None,
            rank: Status::rank_of(item.status),
            named: !is_empty(item.name),
            name: None,
            repetitions: 0,
            value: Value::default(),
            channel: None,
            content: Parts::new(),
            summary: Parts::new(),
            shell: None,
        }
    }

    /// Replaces the object, keeping what was streamed; a status in the new one counts.
    pub(super) fn set_raw(&mut self, raw: Vec<u8>) -> Result<(), Error> {
        let item = Item::reread(&raw)?;
        self.rank = Status::rank_of(item.status);
        self.named = !is_empty(item.name);
        self.status = None;
        self.raw = raw;
        Ok(())
    }

    /// An item as announced.
    pub(super) fn announced(
        raw: &[u8],
        item: &Item<'_>,
        at: usize,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<Self, Error> {
        cx.require_unique(item.repeated)?;
        cx.require_depth(raw, DEPTH)?;
        entries.take(1, at)?;
        cx.bytes.take(raw.len(), at)?;
        let mut slot = Self::new(raw, item, false);
        slot.content = import(item.content, at, entries, cx.bytes)?;
        slot.summary = import(item.summary, at, entries, cx.bytes)?;
        Ok(slot)
    }

    /// An item that no event announced, known from events about it.
    pub(super) fn implied(
        kind: Kind,
        id: Option<&[u8]>,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<Self, Error> {
        let raw = kind.implied(id);
        entries.take(1, 0)?;
        cx.bytes.take(raw.len(), 0)?;
        Ok(Self::new(&raw, &Item::reread(&raw)?, false))
    }

    /// An item that the server has sent whole.
    pub(super) fn whole(
        raw: &[u8],
        item: &Item<'_>,
        at: usize,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<Self, Error> {
        cx.require_unique(item.repeated)?;
        cx.require_depth(raw, DEPTH)?;
        entries.take(1, at)?;
        cx.bytes.take(raw.len(), at)?;
        Ok(Self::new(raw, item, true))
    }

    /// Bytes charged for it.
    pub(super) fn held(&self) -> usize {
        let parts: usize = self.content.values().chain(self.summary.values()).map(|part| part.held()).sum();
        let name = self.name.as_ref().map_or(0, Vec::len);
        let shell = self.shell.as_ref().map_or(0, |shell| shell.held());
        self.raw.len() + self.value.text().len() + parts + name + shell
    }

    /// Entries charged for it.
    pub(super) fn entries(&self) -> usize {
        let parts: usize =
            self.content.values().chain(self.summary.values()).map(|part| part.entries()).sum();
        1 + parts + self.shell.as_ref().map_or(0, |shell| shell.entries())
    }

    /// The part that the event is about, implied if it was never announced.
    #[inline]
    fn part(
        &mut self,
        list: List,
        channel: Channel,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<&mut Part, Error> {
        match self.parts(list).entry(cx.place(list.index())?) {
            Entry::Occupied(part) => Ok(part.into_mut()),
            Entry::Vacant(vacant) => {
                cx.note(Oddity::MissingPart)?;
                entries.take(1, 0)?;
                cx.bytes.take(channel.part().len(), 0)?;
                Ok(vacant.insert(Box::new(Part::new(channel.part(), Some(channel)))))
            }
        }
    }

    #[inline]
    const fn parts(&mut self, list: List) -> &mut Parts {
        match list {
            List::Content => &mut self.content,
            List::Summary => &mut self.summary,
        }
    }

    /// The string of the item itself; `None`, and counted, if `channel` is not the one that streams into it.
    #[inline]
    fn own(&mut self, channel: Channel, cx: &mut Context<'_>) -> Result<Option<&mut Value>, Error> {
        if self.channel.get_or_insert(channel).field() != channel.field() {
            cx.note(Oddity::TypeMismatch)?;
            return Ok(None);
        }
        Ok(Some(&mut self.value))
    }

    /// Whether an event of this kind can still change the item; counted if not.
    #[inline]
    fn is_open(&self, fits: bool, cx: &mut Context<'_>) -> Result<bool, Error> {
        if self.done || !fits {
            cx.note(if fits { Oddity::AfterDone } else { Oddity::TypeMismatch })?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Appends the event's `delta`.
    #[inline]
    pub(super) fn append(
        &mut self,
        channel: Channel,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if !self.is_open(channel.fits(self.kind), cx)? {
            return Ok(());
        }
        let Some(piece) = cx.event.piece(Field::Delta) else { return cx.note(Oddity::BadValue) };
        let at = cx.event.at(Field::Delta);
        match (channel.list(), channel) {
            (Some(list), _) => {
                let part = self.part(list, channel, entries, cx)?;
                part.append(channel, piece, at, cx)?;
                match cx.event.value(Field::Logprobs) {
                    Some(logprobs) if logprobs.len() > 2 => {
                        part.append_logprobs(logprobs, cx.event.at(Field::Logprobs), cx)
                    }
                    _ => Ok(()),
                }
            }
            (None, Channel::Command) => self.shell().command(entries, cx)?.append(piece, at, cx),
            (None, _) => match self.own(channel, cx)? {
                Some(value) => value.append(piece, at, cx),
                None => Ok(()),
            },
        }
    }

    fn shell(&mut self) -> &mut Shell {
        self.shell.get_or_insert_default()
    }

    /// Takes the whole of a string, which counts whatever its deltas said.
    pub(super) fn settle(
        &mut self,
        channel: Channel,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if !self.is_open(channel.fits(self.kind), cx)? {
            return Ok(());
        }
        let field = channel.field();
        let whole = cx.event.text(field);
        if whole.is_none() && !matches!(cx.event.value(field), None | Some(b"null")) {
            cx.note(Oddity::BadValue)?;
        }
        let at = cx.event.at(field);
        match (channel.list(), channel) {
            (Some(list), _) => {
                let logprobs = cx.event.value(Field::Logprobs);
                self.part(list, channel, entries, cx)?.settle(channel, whole, at, logprobs, cx)
            }
            (None, Channel::Command) => self.shell().command(entries, cx)?.settle(whole, at, cx),
            (None, _) => {
                let Some(value) = self.own(channel, cx)? else { return Ok(()) };
                value.settle(whole, at, cx)?;
                self.fill_name(cx)
            }
        }
    }

    /// Takes the name that comes with the whole arguments, if the item came without one.
    fn fill_name(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(name) = cx.event.value(Field::Name).filter(|name| name.len() > 2 && name.starts_with(b"\""))
        else {
            return Ok(());
        };
        if self.name.is_none() && !self.named {
            cx.bytes.take(name.len(), cx.event.at(Field::Name))?;
            self.name = Some(name.to_vec());
        }
        Ok(())
    }

    /// Takes the announcement of a part.
    pub(super) fn add_part(
        &mut self,
        list: List,
        part: (&[u8], &PartView<'_>),
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if !self.is_open(self.kind.holds(list), cx)? {
            return Ok(());
        }
        let at = cx.event.at(Field::Part);
        match self.parts(list).entry(cx.place(list.index())?) {
            Entry::Occupied(mut known) => known.get_mut().announce_again(part, at, cx),
            Entry::Vacant(vacant) => {
                entries.take(1, at)?;
                vacant.insert(Box::new(Part::announced(part, at, cx)?));
                Ok(())
            }
        }
    }

    /// Takes a finished part.
    pub(super) fn finish_part(
        &mut self,
        list: List,
        part: (&[u8], &PartView<'_>),
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if !self.is_open(self.kind.holds(list), cx)? {
            return Ok(());
        }
        let at = cx.event.at(Field::Part);
        match self.parts(list).entry(cx.place(list.index())?) {
            Entry::Occupied(mut known) => {
                let annotations = known.get().entries() - 1;
                known.get_mut().finish(part, at, cx)?;
                entries.give(annotations);
                Ok(())
            }
            Entry::Vacant(vacant) => {
                cx.note(Oddity::MissingPart)?;
                entries.take(1, at)?;
                let mut part = Part::announced(part, at, cx)?;
                part.close();
                vacant.insert(Box::new(part));
                Ok(())
            }
        }
    }

    /// Takes an annotation of a text.
    pub(super) fn annotate(&mut self, entries: &mut Meter, cx: &mut Context<'_>) -> Result<(), Error> {
        if !self.is_open(Channel::Text.fits(self.kind), cx)? {
            return Ok(());
        }
        let Some(annotation) = cx.object(Field::Annotation)? else { return Ok(()) };
        let place = cx.place(Field::AnnotationIndex)?;
        let at = cx.event.at(Field::Annotation);
        self.part(List::Content, Channel::Text, entries, cx)?.annotate(place, annotation, at, entries, cx)
    }

    /// Takes a status. A finished item goes forward only.
    pub(super) fn set_status(
        &mut self,
        kind: Kind,
        status: Status,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if kind != self.kind && self.kind != Kind::Other {
            return cx.note(Oddity::TypeMismatch);
        }
        if self.done {
            let current = self.status.map_or(self.rank, Status::rank);
            if status.rank() < current {
                return cx.note(Oddity::StatusBackwards);
            }
            if status.rank() == current {
                return Ok(());
            }
        }
        self.status = Some(status);
        Ok(())
    }

    /// Takes the beginning of a shell command.
    pub(super) fn add_command(&mut self, entries: &mut Meter, cx: &mut Context<'_>) -> Result<(), Error> {
        if !self.is_open(Channel::Command.fits(self.kind), cx)? {
            return Ok(());
        }
        let at = cx.event.at(Field::Command);
        let text = cx.event.text(Field::Command);
        let command = self.shell().command(entries, cx)?;
        text.map_or(Ok(()), |text| command.preview(text, at, cx))
    }

    /// Takes output of a shell command: more of it, or the whole.
    pub(super) fn set_output(
        &mut self,
        whole: bool,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if !self.is_open(matches!(self.kind, Kind::ShellCallOutput | Kind::Other), cx)? {
            return Ok(());
        }
        if whole { self.shell().settle_output(entries, cx) } else { self.shell().append_output(entries, cx) }
    }
}

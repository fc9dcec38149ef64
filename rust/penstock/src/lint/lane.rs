//! One lane of a connection: its responses one after the other, each held to the rules.

use std::collections::BTreeSet;

use super::item::{ItemText, digest};
use super::{Event, Report, is_aside};
use crate::accumulate::Sparse;
use crate::dialect::responses::{Channel, Item, Kind, Part, Step, decoded, is_empty, step};
use crate::emit::is_prefilled;
use crate::error::{Error, exceeded};
use crate::event::{EventType, Field, string};
use crate::json::elements;
use crate::lifecycle::{Lifecycle, Move, Phase, is_about_item};
use crate::limits::{Limit, Limits};
use crate::rule::Rule;

/// What one known id costs besides its bytes, roughly.
const ID_OVERHEAD: usize = 32;

/// The responses of one `stream_id`.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) life: Lifecycle,
    /// The next `sequence_number`; `None` before the first.
    sequence: Option<u64>,
    /// The response began without one.
    unnumbered: bool,
    /// The response's id, decoded.
    pub(super) id: Vec<u8>,
    pub(super) items: Sparse<ItemText>,
    ids: BTreeSet<Box<[u8]>>,
    /// Messages and reasoning items that are open.
    exclusive: usize,
    parts: u64,
    held: u64,
}

impl Lane {
    /// Bytes held.
    #[inline]
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    /// Takes one event.
    #[inline]
    pub(super) fn take(
        &mut self,
        kind: EventType,
        event: &Event<'_>,
        limits: &Limits,
        report: &mut Report,
    ) -> Result<(), Error> {
        let said = step(kind);
        if said == Step::Created {
            self.begin();
        }
        self.check_sequence(kind, said, event, report);
        if let Step::Delta(channel) = said {
            return self.take_delta(kind, channel, event, limits, report);
        }
        self.take_other(kind, said, event, limits, report)
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, last: &[u8], report: &mut Report) {
        match self.life.phase() {
            Phase::Before | Phase::Ended => {}
            Phase::Erred => report.note(Rule::ErrorNotFailed, last, None),
            _ => report.note(Rule::NoTerminal, last, None),
        }
        *self = Self::default();
    }

    /// A response begins: what the last one was is forgotten, except that it was open.
    fn begin(&mut self) {
        if matches!(self.life.phase(), Phase::Before | Phase::Ended) {
            *self = Self { life: std::mem::take(&mut self.life), ..Self::default() };
        }
    }

    #[inline]
    fn check_sequence(&mut self, kind: EventType, said: Step, event: &Event<'_>, report: &mut Report) {
        match event.fields.index(event.payload, Field::SequenceNumber) {
            Some(number) => {
                let begins = self.sequence.is_none();
                let expected = self.sequence.unwrap_or_default();
                if self.unnumbered || number < expected || begins && number > 0 {
                    report.add(Rule::SequenceGap, event);
                } else if number > expected {
                    report.add(Rule::SequenceSkipped, event);
                }
                self.sequence = Some(number.saturating_add(1));
                self.unnumbered = false;
            }
            // Not every server numbers what stands outside of a response.
            None if is_aside(kind) || said == Step::Error && self.life.phase() == Phase::Before => {}
            None if self.unnumbered => {}
            None if self.sequence.is_none() => {
                self.unnumbered = true;
                report.add(Rule::Unnumbered, event);
            }
            None => report.add(Rule::MissingSequence, event),
        }
    }

    /// The place that an index names; 0, and reported, if it names none.
    #[inline]
    fn place(field: Field, event: &Event<'_>, report: &mut Report) -> u64 {
        event.fields.index(event.payload, field).unwrap_or_else(|| {
            report.add(Rule::MissingIndex, event);
            0
        })
    }

    #[inline]
    fn take_delta(
        &mut self,
        kind: EventType,
        channel: Channel,
        event: &Event<'_>,
        limits: &Limits,
        report: &mut Report,
    ) -> Result<(), Error> {
        let item = Self::place(Field::OutputIndex, event, report);
        let part = channel.list().map_or(0, |list| Self::place(list.index(), event, report));
        let mv = Move::item(kind, Step::Delta(channel), item, part);
        if let Err(rule) = self.life.step(&mv) {
            report.add(rule, event);
            self.life.apply(&mv);
            // The part that was never added is there now, and counts.
            self.parts += 1;
            self.require_room(limits)?;
        }
        if channel != Channel::Command {
            self.check_item_id(item, event, report);
        }
        let Some(delta) = event.fields.text(event.payload, Field::Delta) else {
            report.add(Rule::MissingField, event);
            return Ok(());
        };
        if delta.raw.is_empty() && is_empty(event.fields.value(event.payload, Field::Logprobs)) {
            report.add(Rule::EmptyDelta, event);
        }
        let Some(text) = self.items.obtain(item, ItemText::default) else { return Ok(()) };
        let before = text.held();
        text.push(channel, part, delta);
        self.held = (self.held + text.held() as u64).saturating_sub(before as u64);
        Ok(())
    }

    /// Compares the event's `item_id` with the item's.
    #[inline]
    fn check_item_id(&mut self, item: u64, event: &Event<'_>, report: &mut Report) {
        let id = event.fields.text(event.payload, Field::ItemId);
        let known = self.items.get_mut(item).map(|item| &*item.id);
        match (id, known) {
            (None, _) => report.add(Rule::MissingItemId, event),
            (Some(id), _) if id.raw.is_empty() => report.add(Rule::MissingItemId, event),
            (Some(id), Some(known)) if !known.is_empty() && id.raw != known && *id.decoded() != *known => {
                report.add(Rule::ItemIdChanged, event);
            }
            _ => {}
        }
    }

    fn take_other(
        &mut self,
        kind: EventType,
        said: Step,
        event: &Event<'_>,
        limits: &Limits,
        report: &mut Report,
    ) -> Result<(), Error> {
        let value = |field| event.fields.value(event.payload, field);
        let object = |field| value(field).filter(|value| value.starts_with(b"{"));
        let needs = match said {
            Step::Created | Step::Progress | Step::Terminal(_) => Some(Field::Response),
            Step::ItemAdded | Step::ItemDone => Some(Field::Item),
            Step::PartAdded(_) | Step::PartDone(_) => Some(Field::Part),
            Step::Annotation => Some(Field::Annotation),
            _ => None,
        };
        if needs.is_some_and(|field| object(field).is_none()) {
            report.add(Rule::MissingField, event);
        }
        let mut mv = Move::response(kind, said);
        if is_about_item(said) || said == Step::ItemAdded {
            mv.item = Self::place(Field::OutputIndex, event, report);
        }
        let list = match said {
            Step::PartAdded(list) | Step::PartDone(list) => Some(list.index()),
            Step::Whole(channel) => channel.list().map(crate::dialect::responses::List::index),
            Step::Annotation => Some(Field::ContentIndex),
            _ => None,
        };
        if let Some(index) = list {
            mv.part = Self::place(index, event, report);
        }
        let item = object(Field::Item).map(Item::read).transpose()?;
        let part = object(Field::Part).map(Part::read).transpose()?;
        if let Some(item) = &item {
            mv.kind = Kind::of_item(item.kind);
            mv.incomplete = decoded(item.status).as_deref() == Some(b"incomplete");
        }
        mv.channel = part.as_ref().and_then(|part| Channel::of_part(part.kind));

        let breach = self.life.check(&mv).err();
        if let Some(rule) = breach {
            report.add(rule, event);
        }
        let lawful = breach.is_none();
        self.parts += u64::from(matches!(breach, Some(Rule::PartNotAdded)));
        match said {
            Step::Created | Step::Progress => self.check_response(said, kind, event, report)?,
            Step::Terminal(terminal) => self.check_terminal(terminal, lawful, event, report)?,
            Step::ItemAdded => {
                if let (Some(item), Some(raw)) = (&item, object(Field::Item)) {
                    self.add_item(&mv, item, raw, event, report);
                }
            }
            Step::ItemDone => {
                if let (Some(item), Some(raw)) = (&item, object(Field::Item)) {
                    self.finish_item(&mv, item, raw, breach, event, report);
                }
            }
            Step::PartAdded(list) => {
                self.check_item_id(mv.item, event, report);
                let filled = part.is_some_and(|part| !is_empty(part.text) || !is_empty(part.refusal));
                if filled && mv.channel.is_some() {
                    report.add(Rule::PartPrefilled, event);
                }
                self.parts += 1;
                if let Some(item) = self.items.get_mut(mv.item) {
                    item.add_part(list, mv.part);
                }
            }
            Step::PartDone(list) => {
                self.check_item_id(mv.item, event, report);
                if let (Some(item), Some(raw)) = (self.items.get_mut(mv.item), object(Field::Part))
                    && lawful
                    && !item.agrees_with_part(list, mv.part, raw)?
                {
                    report.add(Rule::PartMismatch, event);
                }
                if let Some(part) = &part
                    && lawful
                    && mv.channel == Some(Channel::Text)
                    && self.life.annotations(mv.item, mv.part) != count(part.annotations)?
                {
                    report.add(Rule::AnnotationsLost, event);
                }
            }
            Step::Whole(channel) => self.settle(channel, &mv, lawful, event, report)?,
            Step::Annotation => {
                self.check_item_id(mv.item, event, report);
                let expected = self.life.annotations(mv.item, mv.part);
                if event.fields.index(event.payload, Field::AnnotationIndex) != Some(expected) && lawful {
                    report.add(Rule::AnnotationOrder, event);
                }
            }
            Step::Status(..) | Step::PartialImage => self.check_item_id(mv.item, event, report),
            _ => {}
        }
        self.life.apply(&mv);
        self.require_room(limits)
    }

    /// Refuses more items and parts than a response may have.
    fn require_room(&self, limits: &Limits) -> Result<(), Error> {
        if self.parts + self.life.items() as u64 > limits.max_parts {
            return Err(exceeded(Limit::Parts, limits.max_parts, 0));
        }
        Ok(())
    }

    fn add_item(&mut self, mv: &Move, item: &Item<'_>, raw: &[u8], event: &Event<'_>, report: &mut Report) {
        let id = decoded(item.id).unwrap_or_default();
        if id.is_empty() {
            if mv.kind != Kind::Other {
                report.add(Rule::MissingItemId, event);
            }
        } else if self.ids.insert(id.as_ref().into()) {
            self.held += (id.len() + ID_OVERHEAD) as u64;
        } else {
            report.add(Rule::DuplicateItemId, event);
        }
        match is_prefilled(mv.kind, raw) {
            Ok(false) => {}
            Ok(true) => report.add(Rule::ItemPrefilled, event),
            Err(_) => report.add(Rule::MissingField, event),
        }
        let exclusive = is_exclusive(mv.kind);
        if self.life.open() > 0 && (exclusive || self.exclusive > 0) {
            report.add(Rule::ItemsOverlap, event);
        }
        self.exclusive += usize::from(exclusive);
        let text = ItemText::new(&id, mv.kind, item);
        self.held += text.held() as u64;
        if let Some(before) = self.items.insert(mv.item, text) {
            self.held = self.held.saturating_sub(before.held() as u64);
        }
    }

    fn finish_item(
        &mut self,
        mv: &Move,
        item: &Item<'_>,
        raw: &[u8],
        breach: Option<Rule>,
        event: &Event<'_>,
        report: &mut Report,
    ) {
        let id = decoded(item.id).unwrap_or_default();
        if self.life.item(mv.item).is_some_and(|item| !item.is_done() && is_exclusive(item.kind())) {
            self.exclusive = self.exclusive.saturating_sub(1);
        }
        let Some(text) = self.items.obtain(mv.item, ItemText::default) else { return };
        if *id != *text.id && !text.id.is_empty() {
            report.add(Rule::ItemIdChanged, event);
        }
        if !text.is_call(item.call_id, item.name) {
            report.add(Rule::CallChanged, event);
        }
        // A string that nobody ended may have lost some of its deltas as well.
        let comparable = match breach {
            None => true,
            Some(Rule::StringNotDone | Rule::InputNotDone) => text.is_begun(),
            Some(_) => false,
        };
        match text.agrees_with(item, mv.kind) {
            Ok(agrees) if agrees || !comparable => {}
            Ok(_) => report.add(Rule::ItemMismatch, event),
            Err(_) => report.add(Rule::MissingField, event),
        }
        text.digest = digest(raw).ok();
    }

    fn settle(
        &mut self,
        channel: Channel,
        mv: &Move,
        lawful: bool,
        event: &Event<'_>,
        report: &mut Report,
    ) -> Result<(), Error> {
        if channel != Channel::Command {
            self.check_item_id(mv.item, event, report);
        }
        let Some(whole) = event.fields.value(event.payload, channel.field()).and_then(string) else {
            report.add(Rule::MissingField, event);
            return Ok(());
        };
        let Some(text) = self.items.obtain(mv.item, ItemText::default) else { return Ok(()) };
        if channel == Channel::FunctionArguments && !text.is_call(None, name_of(event)?) {
            report.add(Rule::CallChanged, event);
        }
        let before = text.held();
        if let Some(rule) = text.settle(channel, mv.part, whole)
            && lawful
        {
            report.add(rule, event);
        }
        self.held = (self.held + text.held() as u64).saturating_sub(before as u64);
        Ok(())
    }
}

/// How many elements a list has.
fn count(list: Option<&[u8]>) -> Result<u64, Error> {
    let mut count = 0;
    if let Some(list) = list.filter(|list| list.starts_with(b"[")) {
        elements(list, |_| count += 1)?;
    }
    Ok(count)
}

/// The name that an event about a function call tells; not all servers do.
fn name_of<'a>(event: &Event<'a>) -> Result<Option<&'a [u8]>, Error> {
    Ok(Item::read(event.payload)?.name)
}

/// Whether an item of this kind is to be the only one open.
const fn is_exclusive(kind: Kind) -> bool {
    matches!(kind, Kind::Message | Kind::Reasoning)
}

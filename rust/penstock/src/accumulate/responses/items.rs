//! The output items of one response, and which of them an event is about.

use std::collections::BTreeMap;

use super::context::Context;
use super::oddity::Oddity;
use super::read::list;
use super::slot::Slot;
use crate::accumulate::text::Meter;
use crate::dialect::responses::{Channel, Item, Kind, List, Part, Step, decoded};
use crate::error::Error;
use crate::event::Field;
use crate::limits::{Limit, Limits};

/// The items by `output_index`, which is a key and never an amount of memory.
#[derive(Debug)]
pub(super) struct Items {
    slots: Slots,
    /// Item ids, from the first event on that comes without `output_index`.
    ids: Option<Ids>,
    /// Counts items, parts, annotations and the like.
    pub(super) entries: Meter,
    calls: Meter,
}

/// Among how many of the last items an event without index and known id looks for its own; without a bound, a
/// stream could cost the square of its length.
const REACH: usize = 64;

/// Items by their index.
pub(super) type Slots = BTreeMap<u64, Box<Slot>>;

impl Items {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            slots: Slots::new(),
            ids: None,
            entries: Meter::new(Limit::Parts, limits.max_parts),
            calls: Meter::new(Limit::ToolCalls, limits.max_tool_calls),
        }
    }

    /// The items.
    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Bytes charged for them.
    pub(super) fn held(&self) -> usize {
        let ids = self.ids.as_ref().map_or(0, |ids| ids.held);
        ids + self.slots.values().map(|slot| slot.held()).sum::<usize>()
    }

    /// Drops the items; the caller gives back what they held.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.ids = None;
        self.entries.reset();
        self.calls.reset();
    }

    /// Appends a delta.
    #[inline]
    pub(super) fn append(&mut self, channel: Channel, cx: &mut Context<'_>) -> Result<(), Error> {
        self.about(channel.kind(), cx, |slot, entries, cx| slot.append(channel, entries, cx))
    }

    /// Takes any other event about an item.
    pub(super) fn apply(&mut self, step: Step, cx: &mut Context<'_>) -> Result<(), Error> {
        match step {
            Step::ItemAdded => self.add(cx),
            Step::ItemDone => self.finish(cx),
            Step::PartAdded(list) | Step::PartDone(list) => self.part(list, step, cx),
            Step::Annotation => self.about(Kind::Message, cx, Slot::annotate),
            Step::Whole(channel) => {
                self.about(channel.kind(), cx, |slot, entries, cx| slot.settle(channel, entries, cx))
            }
            Step::Status(kind, status) => {
                self.about(kind, cx, |slot, _, cx| slot.set_status(kind, status, cx))
            }
            Step::CommandAdded => self.about(Kind::ShellCall, cx, Slot::add_command),
            Step::OutputDelta => {
                self.about(Kind::ShellCallOutput, cx, |slot, entries, cx| slot.set_output(false, entries, cx))
            }
            Step::OutputWhole => {
                self.about(Kind::ShellCallOutput, cx, |slot, entries, cx| slot.set_output(true, entries, cx))
            }
            _ => Ok(()),
        }
    }

    /// Lets `change` change the item that the event is about; one that was never announced is implied to be of
    /// kind `kind`.
    #[inline]
    fn about(
        &mut self,
        kind: Kind,
        cx: &mut Context<'_>,
        change: impl FnOnce(&mut Slot, &mut Meter, &mut Context<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(index) = self.route(kind, cx)? else { return cx.note(Oddity::Unroutable) };
        if let Some(slot) = self.slots.get_mut(&index) {
            return change(slot, &mut self.entries, cx);
        }
        self.imply(index, kind, cx)?;
        let Some(slot) = self.slots.get_mut(&index) else { return Ok(()) };
        change(slot, &mut self.entries, cx)
    }

    /// The index of the item that an event is about.
    #[inline]
    pub(super) fn route(&mut self, kind: Kind, cx: &mut Context<'_>) -> Result<Option<u64>, Error> {
        match cx.event.index(Field::OutputIndex) {
            None => self.search(cx.event.value(Field::ItemId), kind, cx),
            known => Ok(known),
        }
    }

    /// The index of the item that an event without one is about: that of the item with this id, else of the latest
    /// open one of this kind, if it is not far back.
    #[cold]
    fn search(&mut self, id: Option<&[u8]>, kind: Kind, cx: &mut Context<'_>) -> Result<Option<u64>, Error> {
        cx.note_missing_index(Field::OutputIndex)?;
        let ids = match &mut self.ids {
            Some(ids) => ids,
            none => {
                let mut ids = Ids::default();
                for (&index, slot) in &self.slots {
                    ids.insert(Item::reread(&slot.raw)?.id, index, cx)?;
                }
                none.insert(ids)
            }
        };
        let open = |slot: &Slot| !slot.done && (slot.kind == kind || slot.kind == Kind::Other);
        let latest =
            || self.slots.iter().rev().take(REACH).find(|(_, slot)| open(slot)).map(|(&index, _)| index);
        Ok(ids.find(id).or_else(latest))
    }

    /// The index behind all others.
    fn next(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(index, _)| index.saturating_add(1))
    }

    /// Puts an item that was never announced at `index`.
    #[cold]
    fn imply(&mut self, index: u64, kind: Kind, cx: &mut Context<'_>) -> Result<(), Error> {
        cx.note(Oddity::MissingItem)?;
        let id = decoded(cx.event.value(Field::ItemId));
        self.calls.take(usize::from(kind.is_call()), cx.event.at(Field::OutputIndex))?;
        let slot = Slot::implied(kind, id.as_deref(), &mut self.entries, cx)?;
        self.slots.insert(index, Box::new(slot));
        self.remember(cx.event.value(Field::ItemId), index, cx)
    }

    /// The item of the event; `None`, and counted, if it is not an object. `null` is passed over silently.
    fn item<'a>(cx: &mut Context<'a>) -> Result<Option<(&'a [u8], Item<'a>)>, Error> {
        let Some(raw) = cx.object(Field::Item)? else { return Ok(None) };
        Ok(Some((raw, Item::reread(raw)?)))
    }

    /// `response.output_item.added`
    fn add(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some((raw, item)) = Self::item(cx)? else { return Ok(()) };
        let at = cx.event.at(Field::Item);
        let kind = Kind::of_item(item.kind);
        let index = if let Some(index) = cx.event.index(Field::OutputIndex) {
            index
        } else {
            cx.note_missing_index(Field::OutputIndex)?;
            self.next()
        };
        if let Some(slot) = self.slots.get_mut(&index) {
            let before = usize::from(slot.kind.is_call());
            slot.announce_again(raw, &item, at, &mut self.entries, cx)?;
            self.calls.replace(before, usize::from(slot.kind.is_call()), at)?;
        } else {
            let slot = Slot::announced(raw, &item, at, &mut self.entries, cx)?;
            self.calls.take(usize::from(kind.is_call()), at)?;
            self.slots.insert(index, Box::new(slot));
        }
        self.remember(item.id, index, cx)
    }

    /// `response.output_item.done`
    fn finish(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some((raw, item)) = Self::item(cx)? else { return Ok(()) };
        let at = cx.event.at(Field::Item);
        let kind = Kind::of_item(item.kind);
        let index = if let Some(index) = cx.event.index(Field::OutputIndex) {
            index
        } else {
            self.search(item.id, kind, cx)?.unwrap_or_else(|| self.next())
        };
        if let Some(slot) = self.slots.get_mut(&index) {
            let before = usize::from(slot.kind.is_call());
            slot.finish(raw, &item, at, &mut self.entries, cx)?;
            self.calls.replace(before, usize::from(slot.kind.is_call()), at)?;
        } else {
            cx.note(Oddity::MissingItem)?;
            let slot = Slot::whole(raw, &item, at, &mut self.entries, cx)?;
            self.calls.take(usize::from(kind.is_call()), at)?;
            self.slots.insert(index, Box::new(slot));
        }
        self.remember(item.id, index, cx)
    }

    /// A part begins or is finished.
    fn part(&mut self, list: List, step: Step, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(raw) = cx.object(Field::Part)? else { return Ok(()) };
        let view = Part::reread(raw)?;
        let channel = Channel::of_part(view.kind);
        let kind = match list {
            List::Content => channel.map_or(Kind::Message, Channel::kind),
            List::Summary => Kind::Reasoning,
        };
        self.about(kind, cx, |slot, entries, cx| match step {
            Step::PartAdded(_) => slot.add_part(list, (raw, &view), entries, cx),
            _ => slot.finish_part(list, (raw, &view), entries, cx),
        })
    }

    /// Takes the items at the end of a response object's output that no event has told of, as when a stream is
    /// resumed.
    pub(super) fn seed(&mut self, output: Option<&[u8]>, cx: &mut Context<'_>) -> Result<(), Error> {
        let at = cx.event.at(Field::Response);
        let known = self.slots.len();
        for (index, raw) in list(output)?.into_iter().enumerate().skip(known) {
            let index = index as u64;
            if raw.starts_with(b"{") && !self.slots.contains_key(&index) {
                let item = Item::reread(raw)?;
                let slot = Slot::whole(raw, &item, at, &mut self.entries, cx)?;
                self.calls.take(usize::from(slot.kind.is_call()), at)?;
                self.remember(item.id, index, cx)?;
                self.slots.insert(index, Box::new(slot));
            }
        }
        Ok(())
    }

    /// Notes which item an id belongs to, once somebody has asked.
    fn remember(&mut self, id: Option<&[u8]>, index: u64, cx: &mut Context<'_>) -> Result<(), Error> {
        self.ids.as_mut().map_or(Ok(()), |ids| ids.insert(id, index, cx))
    }
}

/// Which item an id belongs to. Charged, since a stream may have as many ids as events.
#[derive(Debug, Default)]
struct Ids {
    indices: BTreeMap<Box<[u8]>, u64>,
    held: usize,
}

impl Ids {
    /// What an entry costs besides the id, roughly.
    const OVERHEAD: usize = 32;

    fn insert(&mut self, id: Option<&[u8]>, index: u64, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(id) = decoded(id) else { return Ok(()) };
        if self.indices.get(&*id) == Some(&index) {
            return Ok(());
        }
        cx.bytes.take(id.len() + Self::OVERHEAD, cx.event.at(Field::Item))?;
        self.held += id.len() + Self::OVERHEAD;
        self.indices.insert(id.as_ref().into(), index);
        Ok(())
    }

    fn find(&self, id: Option<&[u8]>) -> Option<u64> {
        self.indices.get(&*decoded(id)?).copied()
    }
}

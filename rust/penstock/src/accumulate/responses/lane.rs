//! One response at a time: its life, and which item an event belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Context;
use super::oddity::Oddity;
use super::outcome::{Ending, FinalResponse, write_error, write_response};
use super::side::Side;
use super::slot::Slot;
use crate::accumulate::diagnostics::Diagnostics;
use crate::accumulate::text::Meter;
use crate::dialect::responses::{
    Channel, Item, Kind, List, Part, Response, ResponseTerminal, Step, decoded, is_empty,
};
use crate::error::Error;
use crate::event::Field;
use crate::limits::{Limit, Limits};

/// What one entry of the id map costs besides the id, roughly.
const ID_OVERHEAD: usize = 32;

/// Where a lane stands. Whatever ends a response, only `response.created` begins the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No event has come.
    Idle,
    /// A response is being built.
    Open,
    /// The last response has ended.
    Ended,
}

/// The responses of one `stream_id`, one after the other.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// The last response object that came, as JSON; empty if none did.
    pub(super) base: Vec<u8>,
    /// Its `id`, decoded.
    id: Vec<u8>,
    /// The output items by `output_index`, which is a key and never an amount of memory.
    pub(super) slots: BTreeMap<u64, Box<Slot>>,
    /// Item ids, for events that come without `output_index`.
    ids: BTreeMap<Box<[u8]>, u64>,
    ids_held: usize,
    /// The error that an `error` event told of, as JSON; empty if none did.
    pub(super) error: Vec<u8>,
    pub(super) side: Side,
    pub(super) last: Option<Arc<FinalResponse>>,
    /// The input ended before the response did.
    pub(super) truncated: bool,
    pub(super) sequence_number: Option<u64>,
    /// How many responses have begun.
    pub(super) serial: u64,
    entries: Meter,
    calls: Meter,
}

impl Lane {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            phase: Phase::Idle,
            base: Vec::new(),
            id: Vec::new(),
            slots: BTreeMap::new(),
            ids: BTreeMap::new(),
            ids_held: 0,
            error: Vec::new(),
            side: Side::default(),
            last: None,
            truncated: false,
            sequence_number: None,
            serial: 0,
            entries: Meter::new(Limit::Parts, limits.max_parts),
            calls: Meter::new(Limit::ToolCalls, limits.max_tool_calls),
        }
    }

    /// Takes one event; gives the response that it ended.
    #[inline]
    pub(super) fn apply(
        &mut self,
        step: Step,
        cx: &mut Context<'_>,
    ) -> Result<Option<Arc<FinalResponse>>, Error> {
        self.truncated = false;
        if self.phase != Phase::Open && !self.admit(step, cx)? {
            return Ok(None);
        }
        if let Step::Delta(channel) = step {
            return self.about(
                channel.kind(),
                |kind| channel.fits(kind),
                cx,
                |slot, entries, cx| slot.append(channel, entries, cx),
            );
        }
        self.apply_rare(step, cx)
    }

    /// Whether an event counts although no response is open.
    #[cold]
    fn admit(&mut self, step: Step, cx: &mut Context<'_>) -> Result<bool, Error> {
        match (self.phase, step) {
            (_, Step::Aside) => return Ok(false),
            (_, Step::Created) => {}
            (Phase::Ended, _) => {
                cx.note(Oddity::AfterTerminal)?;
                return Ok(false);
            }
            (Phase::Idle, Step::Error) => self.phase = Phase::Open,
            (Phase::Idle | Phase::Open, _) => {
                cx.note(Oddity::BeforeCreated)?;
                self.phase = Phase::Open;
            }
        }
        Ok(true)
    }

    fn apply_rare(&mut self, step: Step, cx: &mut Context<'_>) -> Result<Option<Arc<FinalResponse>>, Error> {
        match step {
            Step::Created => return self.create(cx),
            Step::Progress => self.progress(cx)?,
            Step::Terminal(terminal) => return self.end(terminal, cx).map(Some),
            Step::Error => self.set_error(cx)?,
            Step::ItemAdded => self.add_item(cx)?,
            Step::ItemDone => self.finish_item(cx)?,
            Step::PartAdded(list) | Step::PartDone(list) => self.part(list, step, cx)?,
            Step::Annotation => {
                return self.about(Kind::Message, |kind| Channel::Text.fits(kind), cx, Slot::annotate);
            }
            Step::Whole(channel) => {
                return self.about(
                    channel.kind(),
                    |kind| channel.fits(kind),
                    cx,
                    |slot, entries, cx| slot.settle(channel, entries, cx),
                );
            }
            Step::Status(kind, status) => {
                return self.about(
                    kind,
                    |found| found == kind,
                    cx,
                    |slot, _, cx| slot.set_status(kind, status, cx),
                );
            }
            Step::CommandAdded => {
                return self.about(Kind::ShellCall, |kind| kind == Kind::ShellCall, cx, Slot::add_command);
            }
            Step::OutputDelta | Step::OutputWhole => {
                let fits = |kind| kind == Kind::ShellCallOutput;
                return self.about(Kind::ShellCallOutput, fits, cx, |slot, entries, cx| {
                    slot.set_output(step == Step::OutputWhole, entries, cx)
                });
            }
            Step::PartialImage => {
                let fits = |kind| kind == Kind::ImageGenerationCall;
                let index = self.route(cx.event.value(Field::ItemId), fits, cx)?;
                self.side.set_image(index.unwrap_or_default(), &mut self.entries, cx)?;
            }
            Step::AudioDelta => self.side.append_audio(cx)?,
            Step::TranscriptDelta => self.side.append_transcript(cx)?,
            Step::Delta(_) | Step::Aside => {}
        }
        Ok(None)
    }

    /// Lets `change` change the item that the event is about; an item that was never announced is implied to be
    /// of kind `kind`.
    #[inline]
    fn about(
        &mut self,
        kind: Kind,
        fits: impl Fn(Kind) -> bool,
        cx: &mut Context<'_>,
        change: impl FnOnce(&mut Slot, &mut Meter, &mut Context<'_>) -> Result<(), Error>,
    ) -> Result<Option<Arc<FinalResponse>>, Error> {
        let Some(index) = self.route(cx.event.value(Field::ItemId), fits, cx)? else {
            return cx.note(Oddity::Unroutable).map(|()| None);
        };
        if let Some(slot) = self.slots.get_mut(&index) {
            return change(slot, &mut self.entries, cx).map(|()| None);
        }
        self.imply(index, kind, cx)?;
        let Some(slot) = self.slots.get_mut(&index) else { return Ok(None) };
        change(slot, &mut self.entries, cx).map(|()| None)
    }

    /// The index of the item that an event belongs to. Where the event has none: that of the item with this id,
    /// else of the latest open one that fits.
    fn route(
        &self,
        id: Option<&[u8]>,
        fits: impl Fn(Kind) -> bool,
        cx: &mut Context<'_>,
    ) -> Result<Option<u64>, Error> {
        if let Some(index) = cx.event.index(Field::OutputIndex) {
            return Ok(Some(index));
        }
        cx.note_missing_index(Field::OutputIndex)?;
        Ok(self.find(id).or_else(|| self.latest(fits)))
    }

    /// The index of the item with this id.
    fn find(&self, id: Option<&[u8]>) -> Option<u64> {
        self.ids.get(&*decoded(id)?).copied()
    }

    /// The index behind all others.
    fn next(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(index, _)| index.saturating_add(1))
    }

    /// The highest index with an open item that fits.
    fn latest(&self, fits: impl Fn(Kind) -> bool) -> Option<u64> {
        let open = |slot: &Slot| !slot.done && (fits(slot.kind) || slot.kind == Kind::Other);
        self.slots.iter().rev().find(|(_, slot)| open(slot)).map(|(&index, _)| index)
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

    /// `response.created`: everything begins anew.
    fn create(&mut self, cx: &mut Context<'_>) -> Result<Option<Arc<FinalResponse>>, Error> {
        let response = cx.object(Field::Response)?.unwrap_or_default();
        let view = Self::read_response(response, cx)?;
        if self.phase == Phase::Open && self.error.is_empty() && !self.is_blank() {
            cx.note(Oddity::Unterminated)?;
        }
        // An error that no `response.failed` followed ended the response before this one.
        let mut ended = None;
        if self.phase == Phase::Open && !self.error.is_empty() {
            ended = Some(self.fail(cx.event.at(Field::Response), cx.bytes)?);
        }
        self.clear(cx.bytes);
        self.phase = Phase::Open;
        self.set_base(response, &view, cx)?;
        self.seed(&view, cx)?;
        Ok(ended)
    }

    /// Whether nothing has been said of the open response.
    fn is_blank(&self) -> bool {
        self.base.is_empty() && self.slots.is_empty()
    }

    /// `response.queued` and `response.in_progress`: the response object again.
    fn progress(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(response) = cx.object(Field::Response)? else { return Ok(()) };
        let view = Self::read_response(response, cx)?;
        self.require_identity(&view, cx)?;
        self.set_base(response, &view, cx)?;
        self.seed(&view, cx)
    }

    fn read_response<'a>(response: &'a [u8], cx: &mut Context<'_>) -> Result<Response<'a>, Error> {
        if response.is_empty() {
            return Ok(Response::default());
        }
        let view = Response::read(response)?;
        cx.require_unique(view.repeated)?;
        Ok(view)
    }

    /// Counts a response id other than the one known.
    fn require_identity(&self, view: &Response<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.is_other(decoded(view.id).as_deref()) { cx.note(Oddity::IdentityChanged) } else { Ok(()) }
    }

    /// Whether `id` is the id of another response than the one known.
    pub(super) fn is_other(&self, id: Option<&[u8]>) -> bool {
        id.is_some_and(|id| !self.id.is_empty() && *id != *self.id)
    }

    fn set_base(&mut self, response: &[u8], view: &Response<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        cx.bytes.replace(self.base.len(), response.len(), cx.event.at(Field::Response))?;
        self.base.clear();
        self.base.extend_from_slice(response);
        if let Some(id) = decoded(view.id) {
            self.id = id.into_owned();
        }
        Ok(())
    }

    /// Takes items that a response object brings and no event has told of, as when a stream is resumed.
    fn seed(&mut self, view: &Response<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        let at = cx.event.at(Field::Response);
        for (index, raw) in super::read::list(view.output)?.into_iter().enumerate() {
            let index = index as u64;
            if raw.starts_with(b"{") && !self.slots.contains_key(&index) {
                let item = Item::read(raw)?;
                let slot = Slot::whole(raw, &item, at, &mut self.entries, cx)?;
                self.calls.take(usize::from(slot.kind.is_call()), at)?;
                self.remember(item.id, index, cx)?;
                self.slots.insert(index, Box::new(slot));
            }
        }
        Ok(())
    }

    /// Notes which item an id belongs to. The map is charged: ids may be as many as events.
    fn remember(&mut self, id: Option<&[u8]>, index: u64, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(id) = decoded(id) else { return Ok(()) };
        if self.ids.get(&*id) == Some(&index) {
            return Ok(());
        }
        cx.bytes.take(id.len() + ID_OVERHEAD, cx.event.at(Field::Item))?;
        self.ids_held += id.len() + ID_OVERHEAD;
        self.ids.insert(id.as_ref().into(), index);
        Ok(())
    }

    /// `error`: kept, in whichever of its three shapes it comes; a terminal event decides what became of it.
    fn set_error(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut error = Vec::new();
        write_error(&cx.event, &mut error);
        cx.require_depth(&error, 1)?;
        cx.bytes.replace(self.error.len(), error.len(), cx.event.at(Field::Error))?;
        self.error = error;
        Ok(())
    }

    /// The item of the event; `None`, and counted, if it is not an object. `null` is passed over silently.
    fn item<'a>(cx: &mut Context<'a>) -> Result<Option<(&'a [u8], Item<'a>)>, Error> {
        let Some(raw) = cx.object(Field::Item)? else { return Ok(None) };
        Ok(Some((raw, Item::read(raw)?)))
    }

    /// `response.output_item.added`
    fn add_item(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
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
    fn finish_item(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some((raw, item)) = Self::item(cx)? else { return Ok(()) };
        let at = cx.event.at(Field::Item);
        let kind = Kind::of_item(item.kind);
        let routed = self.route(item.id, |found| found == kind, cx)?;
        let index = routed.unwrap_or_else(|| self.next());
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
        let channel = Channel::of_part(Part::read(raw)?.kind);
        let kind = match list {
            List::Content => channel.map_or(Kind::Message, Channel::kind),
            List::Summary => Kind::Reasoning,
        };
        self.about(
            kind,
            |found| found == kind,
            cx,
            |slot, entries, cx| match step {
                Step::PartAdded(_) => slot.add_part(list, raw, entries, cx),
                _ => slot.finish_part(list, raw, entries, cx),
            },
        )
        .map(drop)
    }

    /// A terminal event: its response object counts, except that an output it leaves out is filled from the items.
    fn end(&mut self, terminal: ResponseTerminal, cx: &mut Context<'_>) -> Result<Arc<FinalResponse>, Error> {
        let response = cx.object(Field::Response)?.unwrap_or_default();
        let view = Self::read_response(response, cx)?;
        self.require_identity(&view, cx)?;
        let filled = is_empty(view.output) && !self.slots.is_empty();
        if filled {
            cx.note(Oddity::OutputFilled)?;
        }
        let mut json = Vec::with_capacity(response.len());
        if filled || is_empty(view.status) {
            let (object, error) =
                if response.is_empty() { (&*self.base, &*self.error) } else { (response, &[][..]) };
            let ending = Ending { terminal, status: is_empty(view.status), error };
            write_response(object, Some(ending), filled.then_some(&self.slots), &mut json)?;
        } else {
            json.extend_from_slice(response);
        }
        self.close(json, terminal, cx.event.at(Field::Response), cx.bytes)
    }

    /// The end of input. A response that has not ended is cut short, or has failed if an `error` event said so;
    /// in no case has it been completed.
    pub(super) fn finish(
        &mut self,
        bytes: &mut Meter,
        diagnostics: &mut Diagnostics,
    ) -> Result<Option<Arc<FinalResponse>>, Error> {
        if self.phase != Phase::Open || self.truncated {
            return Ok(None);
        }
        if self.error.is_empty() {
            self.truncated = true;
            diagnostics.note(Oddity::Truncated.name());
            return Ok(None);
        }
        self.fail(0, bytes).map(Some)
    }

    /// Ends the response as failed with the error that an `error` event told of.
    fn fail(&mut self, at: usize, bytes: &mut Meter) -> Result<Arc<FinalResponse>, Error> {
        let mut json = Vec::new();
        let ending = Ending { terminal: ResponseTerminal::Error, status: true, error: &self.error };
        write_response(&self.base, Some(ending), Some(&self.slots), &mut json)?;
        self.close(json, ResponseTerminal::Error, at, bytes)
    }

    /// Keeps the final response in place of what it was made of.
    fn close(
        &mut self,
        json: Vec<u8>,
        terminal: ResponseTerminal,
        at: usize,
        bytes: &mut Meter,
    ) -> Result<Arc<FinalResponse>, Error> {
        bytes.replace(self.base.len() + self.held_by_items(), json.len(), at)?;
        let indices = self.slots.keys().copied().collect();
        let last = Arc::new(FinalResponse::new(json, terminal, indices));
        self.base = Vec::new();
        self.slots.clear();
        self.ids.clear();
        self.ids_held = 0;
        self.phase = Phase::Ended;
        self.last = Some(Arc::clone(&last));
        Ok(last)
    }

    fn held_by_items(&self) -> usize {
        self.ids_held + self.slots.values().map(|slot| slot.held()).sum::<usize>()
    }

    /// Forgets everything, for the next response.
    fn clear(&mut self, bytes: &mut Meter) {
        let last = self.last.as_ref().map_or(0, |last| last.json().len());
        bytes.give(self.base.len() + self.held_by_items() + self.error.len() + self.side.held() + last);
        self.base.clear();
        self.id.clear();
        self.slots.clear();
        self.ids.clear();
        self.ids_held = 0;
        self.error.clear();
        self.side = Side::default();
        self.last = None;
        self.entries.reset();
        self.calls.reset();
        self.serial += 1;
    }
}

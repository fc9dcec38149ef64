//! Objects that were whole before they are streamed: `done` and terminal events hold them as they came.

use std::borrow::Cow;

use super::checks::breach;
use super::object::{Members, accept};
use super::{Emitter, EmitterOptions};
use crate::dialect::responses::{List, Step, is_empty, step};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{entries, push_number};
use crate::lifecycle::Move;
use crate::rule::Rule;

/// Members of a response that is over which one that has just begun does not have yet.
const LATER: [&str; 4] = ["usage", "error", "incomplete_details", "completed_at"];

/// Checks a whole response from outside, as an object that stands in a one-line event.
pub(crate) fn whole_object(json: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let json = accept(json, 1)?;
    entries(&json, |_, _| {})?;
    Ok(json)
}

impl Emitter {
    /// An emitter whose response begins with the members of `response`, an object that [`whole_object`] has let
    /// through, but without what is known only at the end.
    pub(crate) fn of_whole(options: EmitterOptions, response: &[u8]) -> Result<Self, Error> {
        let mut emitter = Self::new(options)?;
        let mut members = Members::read(response)?;
        for key in LATER {
            if members.get(key).is_some() || key == "usage" {
                members.set(key, b"null");
            }
        }
        members.set("output", b"[]");
        members.set("status", b"\"in_progress\"");
        emitter.response = members;
        Ok(emitter)
    }

    /// Writes a part into which nothing streams, added and done at once, as it came.
    pub(crate) fn part_whole(&mut self, item: usize, list: List, part: &[u8]) -> Result<(), Error> {
        let [added, done] = match list {
            List::Content => [EventType::ContentPartAdded, EventType::ContentPartDone],
            List::Summary => [EventType::ReasoningSummaryPartAdded, EventType::ReasoningSummaryPartDone],
        };
        self.close_part(item)?;
        let Some(entry) = self.items.get(item) else { return Err(breach(Rule::ItemNotAdded, added)) };
        let index = entry.parts(list);
        let mv = Move::item(added, Step::PartAdded(list), item as u64, index);
        self.check(&mv)?;
        self.charge(part.len(), 1)?;
        self.life.apply(&mv);
        self.life.apply(&Move { event: done, step: Step::PartDone(list), ..mv });
        if let Some(entry) = self.items.get_mut(item) {
            entry.take_part(list, part.to_vec());
            let mut members = b"{\"".to_vec();
            members.extend_from_slice(list.index().as_str().as_bytes());
            members.extend_from_slice(b"\":");
            push_number(index, &mut members);
            members.extend_from_slice(b",\"part\":");
            members.extend_from_slice(part);
            members.push(b'}');
            entry.write_event(added, &members, &mut self.writer);
            entry.write_event(done, &members, &mut self.writer);
        }
        Ok(())
    }

    /// Ends an item as `whole`, the object it was made from. Ids that it lacks are those it was opened with.
    pub(crate) fn close_item_whole(
        &mut self,
        item: usize,
        whole: &[u8],
        incomplete: bool,
    ) -> Result<(), Error> {
        let event = EventType::OutputItemDone;
        self.charge(whole.len(), 0)?;
        self.close_strings(item)?;
        let Some(entry) = self.items.get_mut(item) else { return Err(breach(Rule::ItemNotAdded, event)) };
        let mut members = Members::read(whole)?;
        for key in ["id", "call_id"] {
            if is_empty(members.get(key))
                && let Some(known) = entry.members.get(key)
            {
                members.set(key, known.to_vec());
            }
        }
        entry.members = members;
        entry.done = entry.members.to_json();
        let kind = entry.kind;
        self.life.apply(&Move { kind, incomplete, ..Move::item(event, Step::ItemDone, item as u64, 0) });
        entry.write_done(&mut self.writer);
        Ok(())
    }

    /// Ends the response with `event` as `whole`, the object it was made from; its output are the items written.
    pub(crate) fn finish_whole(&mut self, event: EventType, status: &str, whole: &[u8]) -> Result<(), Error> {
        self.check(&Move::response(event, step(event)))?;
        self.response = Members::read(whole)?;
        self.response.set_string("status", status.as_bytes());
        self.end(event);
        Ok(())
    }
}

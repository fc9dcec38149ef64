//! How a response ends that its server left open: whatever streams is closed as far as it came, then the truth is
//! told in the terminal event.

use super::ResponseAccumulator;
use super::lane::{Lane, Phase};
use super::outcome::{Ending, write_response};
use super::part::Part;
use super::slot::Slot;
use crate::dialect::responses::{Channel, Item, Kind, List, ResponseTerminal};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{push_key, push_number, push_string};

/// An event that the server owes: its type and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// The type, which is also the frame's name.
    pub event: EventType,
    /// One JSON object.
    pub payload: Vec<u8>,
}

impl ResponseAccumulator {
    /// Ends the open response as failed, and returns the events that say so: the `done` events of what is open, and
    /// `response.failed` with the partial output and this error, or that of an `error` event that came before.
    /// Where no event has come, a lone `error` event is all there can be. Nothing is owed by a response that has ended.
    ///
    /// It is about the response of [`response`](Self::response). The events are taken in, so that what is read
    /// afterwards is the failed response.
    pub fn fail(&mut self, code: &str, message: &str) -> Result<Vec<Owed>, Error> {
        let lane = self.state.lanes.get(self.state.unnamed.unwrap_or_default());
        let owed = match lane {
            Some(lane) if lane.phase == Phase::Ended => return Ok(Vec::new()),
            Some(lane) if lane.phase == Phase::Open => close(lane, code, message)?,
            _ => vec![lone_error(code, message)],
        };
        // An accumulator that has failed itself takes nothing in; what is owed to the client is owed all the same.
        if self.state.failed.is_none() {
            for event in &owed {
                self.feed(&event.payload, None)?;
            }
            self.finish()?;
        }
        Ok(owed)
    }
}

/// The events that close the response of `lane`.
fn close(lane: &Lane, code: &str, message: &str) -> Result<Vec<Owed>, Error> {
    let mut closing = Closing { number: lane.sequence_number, owed: Vec::new() };
    for (&index, slot) in lane.items.slots().iter().filter(|(_, slot)| !slot.done) {
        closing.item(index, slot)?;
    }
    let mut error = lane.error.clone();
    if error.is_empty() {
        push_error(code, message, &mut error);
    }
    closing.event(EventType::Failed, |out| {
        push_member("response", out);
        let ending = Ending { terminal: ResponseTerminal::Failed, status: true, error: &error };
        write_response(&lane.base, Some(ending), Some(lane.items.slots()), out)
    })?;
    Ok(closing.owed)
}

/// The only event of a response that never began.
fn lone_error(code: &str, message: &str) -> Owed {
    let mut payload = br#"{"type":"error","sequence_number":0"#.to_vec();
    for (key, value) in [("code", code), ("message", message)] {
        push_member(key, &mut payload);
        push_string(value.as_bytes(), &mut payload);
    }
    payload.extend_from_slice(b",\"param\":null}");
    Owed { event: EventType::Error, payload }
}

fn push_error(code: &str, message: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    push_key("code", out);
    push_string(code.as_bytes(), out);
    push_member("message", out);
    push_string(message.as_bytes(), out);
    out.push(b'}');
}

fn push_member(key: &str, out: &mut Vec<u8>) {
    out.push(b',');
    push_key(key, out);
}

/// The events owed so far.
struct Closing {
    /// The last `sequence_number`; a stream without numbers gets none.
    number: Option<u64>,
    owed: Vec<Owed>,
}

impl Closing {
    fn event(
        &mut self,
        event: EventType,
        members: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut payload = vec![b'{'];
        push_key("type", &mut payload);
        push_string(event.as_str().as_bytes(), &mut payload);
        if let Some(number) = &mut self.number {
            *number = number.saturating_add(1);
            push_member("sequence_number", &mut payload);
            push_number(*number, &mut payload);
        }
        members(&mut payload)?;
        payload.push(b'}');
        self.owed.push(Owed { event, payload });
        Ok(())
    }

    /// Closes an item: its parts, its own string, itself.
    fn item(&mut self, index: u64, slot: &Slot) -> Result<(), Error> {
        let item = Item::reread(&slot.raw)?;
        let mut place = Vec::new();
        if let Some(id) = item.id {
            push_member("item_id", &mut place);
            place.extend_from_slice(id);
        }
        push_member("output_index", &mut place);
        push_number(index, &mut place);
        for (list, parts) in [(List::Summary, &slot.summary), (List::Content, &slot.content)] {
            for (&at, part) in parts.iter().filter(|(_, part)| !part.is_done()) {
                let mut place = place.clone();
                push_member(list.index().as_str(), &mut place);
                push_number(at, &mut place);
                self.part(list, &place, part)?;
            }
        }
        self.own_string(&place, slot)?;
        for (at, command) in slot.shell.iter().flat_map(|shell| shell.open_commands()) {
            self.event(EventType::ShellCallCommandDone, |out| {
                push_member("output_index", out);
                push_number(index, out);
                push_member("command_index", out);
                push_number(at, out);
                push_member("command", out);
                push_string(command.as_bytes(), out);
                Ok(())
            })?;
        }
        self.event(EventType::OutputItemDone, |out| {
            push_member("output_index", out);
            push_number(index, out);
            push_member("item", out);
            slot.write(true, out)
        })
    }

    fn part(&mut self, list: List, place: &[u8], part: &Part) -> Result<(), Error> {
        if let Some((channel, whole)) = part.open_string()
            && let Some(event) = channel.whole()
        {
            self.event(event, |out| {
                out.extend_from_slice(place);
                push_member(channel.field().as_str(), out);
                push_string(whole, out);
                if channel == Channel::Text {
                    push_member("logprobs", out);
                    part.write_logprobs(out);
                }
                Ok(())
            })?;
        }
        let event = match list {
            List::Content => EventType::ContentPartDone,
            List::Summary => EventType::ReasoningSummaryPartDone,
        };
        self.event(event, |out| {
            out.extend_from_slice(place);
            push_member("part", out);
            part.write(out)
        })
    }

    /// Closes what streams into the item itself. Calls owe it even where nothing came.
    fn own_string(&mut self, place: &[u8], slot: &Slot) -> Result<(), Error> {
        let owing = match slot.kind {
            Kind::FunctionCall => Some(Channel::FunctionArguments),
            Kind::CustomToolCall => Some(Channel::CustomInput),
            _ => None,
        };
        let Some(channel) = slot.channel.or(owing) else { return Ok(()) };
        let Some(event) = channel.whole().filter(|_| !slot.value.is_ended()) else { return Ok(()) };
        self.event(event, |out| {
            out.extend_from_slice(place);
            push_member(channel.field().as_str(), out);
            push_string(slot.value.text().as_bytes(), out);
            Ok(())
        })
    }
}

//! Builds a legal Responses stream, event by event, from what a model or another dialect says.
//!
//! Rules of this module: every event passes the [`Lifecycle`] before it is written, and every byte passes the
//! writer. A call that would break a rule is [`Error::Event`] with the rule's name and has changed nothing. Ids
//! and the time come from the caller: the core has neither clock nor randomness.

mod checks;
mod complete;
mod frame;
mod item;
mod items;
mod object;
mod options;
mod part;
mod pieces;
mod string;
mod whole;
mod writer;

use std::collections::BTreeSet;

use crate::accumulate::Meter;
use crate::dialect::responses::{Step, step};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{push_comma, push_key};
use crate::lifecycle::{Lifecycle, Move, Phase};
use crate::limits::Limit;
use crate::rule::Rule;

use checks::{breach, require_id, require_unreserved};
use complete::{complete_error, complete_usage};
use item::Item;
use object::{Members, accept_object};
use options::{RESERVED, response_members};
use writer::Writer;

pub(crate) use checks::is_prefilled;
pub(crate) use complete::complete_logprobs;
pub use frame::{SseFrame, write_sse};
pub use options::{EmitterOptions, IdSource, ItemStatus, NewItem, Terminal};
pub use part::PartKind;
pub(crate) use string::{Piece, Spelled};
pub(crate) use whole::whole_object;
pub use writer::Wire;

/// Writes the events of one response.
///
/// ```
/// use penstock::{Emitter, EmitterOptions, ItemStatus, NewItem, Terminal};
///
/// let mut emitter = Emitter::new(EmitterOptions::new("resp_1", 1_700_000_000, "a-model"))?;
/// emitter.start()?;
/// let message = emitter.open_item(NewItem::message())?;
/// emitter.text(message, b"Hello")?;
/// emitter.close_item(message, ItemStatus::Completed, b"")?;
/// emitter.finish(Terminal::Completed)?;
/// let stream = emitter.take();
/// assert!(stream.starts_with(b"event: response.created\ndata: {"));
/// # Ok::<(), penstock::Error>(())
/// ```
#[derive(Debug)]
pub struct Emitter {
    life: Lifecycle,
    writer: Writer,
    response: Members,
    items: Vec<Item>,
    ids: IdSource,
    known_ids: BTreeSet<Box<[u8]>>,
    bytes: Meter,
    /// Items, parts and annotations.
    entries: Meter,
    /// What the final response is to tell: one that has just begun has none yet.
    usage: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
}

impl Emitter {
    /// An emitter before its first event. Refuses ids that are empty or hold CR, LF or NUL, and members of the
    /// response that are the emitter's own to write.
    pub fn new(options: EmitterOptions) -> Result<Self, Error> {
        require_id(options.id.as_bytes())?;
        let mut tail = Vec::new();
        if let Some(stream_id) = &options.stream_id {
            require_id(stream_id.as_bytes())?;
            tail.extend_from_slice(b",\"stream_id\":");
            crate::json::push_string(stream_id.as_bytes(), &mut tail);
        }
        let echo = accept_object(&options.echo, 2)?;
        require_unreserved(&echo, RESERVED)?;
        Ok(Self {
            life: Lifecycle::default(),
            writer: Writer::new(options.wire, options.escape_separators, options.padding, &tail),
            response: response_members(&options, &echo)?,
            items: Vec::new(),
            ids: options.ids,
            known_ids: BTreeSet::new(),
            bytes: Meter::new(Limit::MessageBytes, options.limits.max_message_bytes),
            entries: Meter::new(Limit::Parts, options.limits.max_parts),
            usage: None,
            last: None,
        })
    }

    /// Writes `response.created` and `response.queued`; `start` is to follow, or `finish`.
    pub fn queue(&mut self) -> Result<(), Error> {
        self.advance(EventType::Created)?;
        self.response.set("status", b"\"queued\"");
        self.write_response(EventType::Created);
        self.advance(EventType::Queued)?;
        self.write_response(EventType::Queued);
        Ok(())
    }

    /// Writes `response.created`, unless it waited in the queue, and `response.in_progress`.
    pub fn start(&mut self) -> Result<(), Error> {
        let waited = self.life.phase() == Phase::Queued;
        if !waited {
            self.advance(EventType::Created)?;
        }
        self.response.set("status", b"\"in_progress\"");
        // Both events hold the same.
        let response = self.response.to_json();
        self.writer.reserve(2 * response.len());
        if !waited {
            self.write_with_response(EventType::Created, &response);
        }
        self.advance(EventType::InProgress)?;
        self.write_with_response(EventType::InProgress, &response);
        Ok(())
    }

    /// Sets the response's usage, a JSON object. What every usage has and this one lacks is 0, a total the sum.
    pub fn usage(&mut self, usage: &[u8]) -> Result<(), Error> {
        self.require_open()?;
        let usage = accept_object(usage, 2)?;
        self.usage = Some(complete_usage(&usage)?);
        Ok(())
    }

    /// As [`usage`](Self::usage), for what was made of checked JSON: nothing can be wrong with it but line ends and
    /// its depth, which its brackets bound.
    pub(crate) fn set_usage(&mut self, usage: Vec<u8>) -> Result<(), Error> {
        let brackets = usage.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
        if brackets > 32 || memchr::memchr2(b'\r', b'\n', &usage).is_some() {
            return self.usage(&usage);
        }
        self.require_open()?;
        self.usage = Some(usage);
        Ok(())
    }

    /// Sets members of the response object that are not the emitter's own, from a JSON object.
    pub fn members(&mut self, members: &[u8]) -> Result<(), Error> {
        self.require_open()?;
        let members = accept_object(members, 2)?;
        require_unreserved(&members, RESERVED)?;
        self.charge(members.len(), 0)?;
        self.response.merge(&members)
    }

    /// Sets a member of the response object that is not the emitter's own; `value` is one JSON text in one line.
    pub(crate) fn set_member(&mut self, key: &'static str, value: Vec<u8>) -> Result<(), Error> {
        self.require_open()?;
        self.charge(value.len(), 0)?;
        self.response.set(key, value);
        Ok(())
    }

    /// Writes an `error` event with `code`, `message` and `param` of `error`, a JSON object; only `finish` with
    /// [`Terminal::Failed`] may follow, so open items end incomplete before it.
    pub fn error(&mut self, error: &[u8]) -> Result<(), Error> {
        let error = accept_object(error, 2)?;
        require_unreserved(&error, &["sequence_number", "stream_id"])?;
        let mv = Move::response(EventType::Error, Step::Error);
        if self.life.phase() == Phase::Before {
            return Err(breach(Rule::NotCreated, EventType::Error));
        }
        self.check(&mv)?;
        self.cut_open_items()?;
        self.life.apply(&mv);
        let members = Members::read(&error)?;
        let out = self.writer.begin(EventType::Error);
        for (key, nothing) in [("code", "null"), ("message", "\"\""), ("param", "null")] {
            push_comma(out);
            push_key(key, out);
            let value = members.get(key).filter(|value| *value != b"null");
            out.extend_from_slice(value.unwrap_or(nothing.as_bytes()));
        }
        self.writer.end();
        Ok(())
    }

    /// Ends the response; items that are open end incomplete before it. Completing is refused while an item is
    /// open or when one ended incomplete.
    pub fn finish(&mut self, terminal: Terminal<'_>) -> Result<(), Error> {
        let event = terminal.event();
        let said = step(event);
        let error = match terminal {
            Terminal::Failed { error } => Some(complete_error(&accept_object(error, 2)?)?),
            _ => None,
        };
        let completes = matches!(terminal, Terminal::Completed);
        // Items that are open stand in the way of completion only: the others cut them short.
        if self.life.open() == 0 || completes {
            self.check(&Move::response(event, said))?;
        }
        self.cut_open_items()?;
        self.response.set_string("status", terminal.status().as_bytes());
        if let Some(error) = error {
            self.response.set("error", error);
        }
        if let Terminal::Incomplete { reason } = terminal {
            let mut details = Members::default();
            details.set_string("reason", reason.as_bytes());
            self.response.set("incomplete_details", details.to_json());
        }
        self.end(event);
        Ok(())
    }

    /// Writes the terminal event, with the finished items as its output; everything has been checked.
    fn end(&mut self, event: EventType) {
        let mut output =
            Vec::with_capacity(self.items.iter().map(|item| item.done.len() + 1).sum::<usize>() + 2);
        output.push(b'[');
        for item in &self.items {
            push_comma(&mut output);
            output.extend_from_slice(&item.done);
        }
        output.push(b']');
        self.response.set("output", output);
        if let Some(usage) = self.usage.take() {
            self.response.set("usage", usage);
        }
        self.life.apply(&Move::response(event, step(event)));
        self.write_response(event);
    }

    /// Whether the terminal event has been written.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.life.phase() == Phase::Ended
    }

    /// The final response object; `None` before `finish`.
    #[must_use]
    pub fn final_response(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }

    /// The string of an open item's own, as far as it came: arguments, input, code.
    pub(crate) fn own_string(&self, item: usize) -> Option<&[u8]> {
        self.items.get(item)?.string.as_ref().map(|string| &*string.text)
    }

    /// The text of the part that is open in an item, as far as it came.
    pub(crate) fn part_string(&self, item: usize) -> Option<&[u8]> {
        self.items.get(item)?.part.as_ref().map(|part| &*part.string.text)
    }

    /// How many items have been opened; the next one's `output_index`.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// The `sequence_number` of the next event.
    #[must_use]
    pub const fn sequence_number(&self) -> u64 {
        self.writer.sequence()
    }

    /// What was written and not taken, all events one after the other.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.writer.out
    }

    /// Each message written and not taken; none with [`Wire::Sse`].
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.writer.messages()
    }

    /// Forgets what was written, which the caller has read.
    pub fn clear(&mut self) {
        self.writer.clear();
    }

    /// Takes what was written.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.writer.take()
    }

    fn require_open(&self) -> Result<(), Error> {
        if self.is_finished() { Err(breach(Rule::AfterTerminal, EventType::InProgress)) } else { Ok(()) }
    }

    #[inline]
    fn check(&mut self, mv: &Move) -> Result<(), Error> {
        self.life.check(mv).map_err(|rule| breach(rule, mv.event))
    }

    /// Lets an event about the response happen, if it may.
    fn advance(&mut self, event: EventType) -> Result<(), Error> {
        // One emitter writes one response.
        if event == EventType::Created && self.life.phase() == Phase::Ended {
            return Err(breach(Rule::AfterTerminal, event));
        }
        self.life.step(&Move::response(event, step(event))).map_err(|rule| breach(rule, event))
    }

    fn charge(&mut self, bytes: usize, entries: usize) -> Result<(), Error> {
        self.entries.take(entries, 0)?;
        self.bytes.take(bytes, 0).inspect_err(|_| self.entries.give(entries))
    }

    /// Writes an event that holds the response object as it is now.
    fn write_response(&mut self, event: EventType) {
        let response = self.response.to_json();
        self.write_with_response(event, &response);
        if self.life.phase() == Phase::Ended {
            self.last = Some(response);
        }
    }

    fn write_with_response(&mut self, event: EventType, response: &[u8]) {
        let out = self.writer.begin(event);
        out.extend_from_slice(b",\"response\":");
        out.extend_from_slice(response);
        self.writer.end();
    }
}

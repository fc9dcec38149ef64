//! Builds a legal Responses stream, event by event, from what a model or another dialect says.
//!
//! Rules of this module: every event passes the [`Lifecycle`] before it is written, and every byte passes the
//! writer. A call that would break a rule is [`Error::Event`] with the rule's name and has changed nothing. Ids
//! and the time come from the caller: the core has neither clock nor randomness.

mod item;
mod object;
mod options;
mod pieces;
mod whole;
mod writer;

use std::collections::BTreeSet;

use crate::accumulate::Meter;
use crate::dialect::responses::{Channel, Item as ItemView, Kind, List, Part, Step, decoded, is_empty, step};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{elements, entries, push_comma, push_number};
use crate::lifecycle::{Lifecycle, Move, Phase};
use crate::limits::Limit;
use crate::rule::Rule;

use item::{Item, own_channel, string_events};
use object::{Members, accept_object};
use options::{RESERVED, response_members};
use writer::{Writer, require_one_line};

pub use item::PartKind;
pub use options::{EmitterOptions, IdSource, ItemStatus, NewItem, Terminal};
pub(crate) use whole::whole_object;
pub use writer::{SseFrame, Wire, write_sse};

/// Containers around an item in the final response, and around the members of an item in an event.
const ITEM_LEVELS: u64 = 3;

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
            last: None,
        })
    }

    /// Writes `response.created` and `response.queued`; `start` is to follow, or `finish`.
    pub fn queue(&mut self) -> Result<(), Error> {
        self.advance(EventType::Created)?;
        self.response.set_string("status", b"queued");
        self.write_response(EventType::Created);
        self.advance(EventType::Queued)?;
        self.write_response(EventType::Queued);
        Ok(())
    }

    /// Writes `response.created`, unless it waited in the queue, and `response.in_progress`.
    pub fn start(&mut self) -> Result<(), Error> {
        if self.life.phase() != Phase::Queued {
            self.advance(EventType::Created)?;
            self.write_response(EventType::Created);
        }
        self.advance(EventType::InProgress)?;
        self.response.set_string("status", b"in_progress");
        self.write_response(EventType::InProgress);
        Ok(())
    }

    /// Opens an item and returns its `output_index`. Strings that stream into it begin empty: members that hold
    /// text or parts of it are refused.
    pub fn open_item(&mut self, new: NewItem<'_>) -> Result<usize, Error> {
        let event = EventType::OutputItemAdded;
        let more = accept_object(new.members, ITEM_LEVELS)?;
        require_unreserved(&more, if new.kind == Kind::Other { &["id"] } else { &["id", "type"] })?;
        let kind = if new.kind == Kind::Other { kind_of(&more, event)? } else { new.kind };
        if is_prefilled(kind, &more)? {
            return Err(breach(Rule::ItemPrefilled, event));
        }
        let index = self.items.len() as u64;
        let mv = Move { kind, ..Move::item(event, Step::ItemAdded, index, 0) };
        self.check(&mv)?;
        let id = self.new_id(new.id, kind.id_prefix(), event)?;

        let mut members = Members::default();
        members.set_string("id", &id);
        if kind != Kind::Other {
            members.merge(&kind.implied(None))?;
        }
        members.merge(&more)?;
        let call_id = match new.call_id {
            None if matches!(kind, Kind::FunctionCall | Kind::CustomToolCall) => {
                members.get(b"call_id").is_none_or(|id| id == b"\"\"").then(|| self.ids.next("call_"))
            }
            given => given.map(str::to_owned),
        };
        for (key, value) in [("call_id", call_id.as_deref()), ("name", new.name)] {
            if let Some(value) = value {
                members.set_string(key, value.as_bytes());
            }
        }
        self.charge(id.len() + new.members.len(), 1)?;
        self.life.apply(&mv);
        self.known_ids.insert(id.clone());
        let item = Item::new(kind, index, &id, members, &self.writer);
        item.write_whole(event, &item.json(), &mut self.writer);
        self.items.push(item);
        Ok(index as usize)
    }

    /// Writes an item into which nothing streams, added and done at once, and returns its `output_index`. `item` is
    /// the finished item; one that holds text, arguments or parts is refused, they are to be streamed.
    pub fn item_whole(&mut self, item: &[u8]) -> Result<usize, Error> {
        let event = EventType::OutputItemAdded;
        let item = accept_object(item, ITEM_LEVELS)?;
        let view = ItemView::read(&item)?;
        let kind = kind_of(&item, event)?;
        if is_prefilled(kind, &item)? {
            return Err(breach(Rule::ItemPrefilled, event));
        }
        let id = decoded(view.id).unwrap_or_default();
        let index = self.items.len() as u64;
        let incomplete = view.status == Some(b"\"incomplete\"");
        let added = Move { kind, ..Move::item(event, Step::ItemAdded, index, 0) };
        self.check(&added)?;
        let owed = matches!(kind, Kind::FunctionCall | Kind::CustomToolCall);
        if owed {
            return Err(breach(Rule::StringNotDone, EventType::OutputItemDone));
        }
        if !id.is_empty() {
            self.require_new_id(&id, event)?;
        }
        self.charge(item.len(), 1)?;
        self.known_ids.insert(id.as_ref().into());
        let mut members = Members::read(&item)?;
        let mut written = Item::new(kind, index, &id, members.clone(), &self.writer);
        if members.get(b"status").is_some() {
            members.set_string("status", b"in_progress");
        }
        let mut first = Vec::new();
        members.write(&mut first);
        self.life.apply(&added);
        written.write_whole(event, &first, &mut self.writer);
        let done = EventType::OutputItemDone;
        self.life.apply(&Move { kind, incomplete, ..Move::item(done, Step::ItemDone, index, 0) });
        written.write_whole(done, &item, &mut self.writer);
        written.done = item.into_owned();
        self.items.push(written);
        Ok(index as usize)
    }

    /// Writes a status event of an item, such as `response.web_search_call.searching`; `members` is a JSON object
    /// with what the event has besides, or empty. Only events that announce a status, and previews of images.
    pub fn status(&mut self, item: usize, event: EventType, members: &[u8]) -> Result<(), Error> {
        use EventType::{McpListToolsCompleted, McpListToolsFailed, McpListToolsInProgress};
        let members = accept_object(members, 1)?;
        require_unreserved(&members, &["type", "sequence_number", "item_id", "output_index", "stream_id"])?;
        let said = match (step(event), event) {
            (said @ (Step::Status(..) | Step::PartialImage), _) => said,
            (_, McpListToolsInProgress | McpListToolsCompleted | McpListToolsFailed) => {
                // Their items have no status to advance.
                Step::OutputDelta
            }
            _ => return Err(breach(Rule::WrongItem, event)),
        };
        let mv = Move::item(event, said, item as u64, 0);
        self.check(&mv)?;
        self.life.apply(&mv);
        if let Some(entry) = self.items.get(item) {
            entry.write_event(event, &members, &mut self.writer);
        }
        Ok(())
    }

    /// Ends an item, and its open part with it. `members` is a JSON object with what the finished item has beyond
    /// what was streamed (`encrypted_content`, `outputs`, `action`, …), or empty.
    pub fn close_item(&mut self, item: usize, status: ItemStatus, members: &[u8]) -> Result<(), Error> {
        let event = EventType::OutputItemDone;
        let Some(entry) = self.items.get(item) else { return Err(breach(Rule::ItemNotAdded, event)) };
        let more = accept_object(members, ITEM_LEVELS)?;
        require_unreserved(&more, &["id", "type", "status"])?;
        // Whatever streams into an item is what was streamed, so the members may not hold it in any form.
        if is_prefilled(entry.kind, &more)?
            || require_unreserved(&more, &streamed_members(entry.kind)).is_err()
        {
            return Err(breach(Rule::ItemMismatch, event));
        }
        if !entry.done.is_empty() {
            return Err(breach(Rule::AfterItemDone, event));
        }
        if self.life.phase() != Phase::Running {
            return Err(breach(Rule::AfterTerminal, event));
        }
        self.charge(members.len(), 0)?;
        self.finish_item(item, status, &more)
    }

    /// Sets the response's usage, a JSON object.
    pub fn usage(&mut self, usage: &[u8]) -> Result<(), Error> {
        self.require_open()?;
        let usage = accept_object(usage, 2)?;
        self.response.set(b"usage", usage.into_owned());
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
        let mut members = Members::default();
        for key in [&b"code"[..], b"message", b"param"] {
            members.set(key, b"null".to_vec());
        }
        members.merge(&error)?;
        let out = self.writer.begin(EventType::Error);
        for key in [&b"code"[..], b"message", b"param"] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(members.get(key).unwrap_or(b"null"));
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
            Terminal::Failed { error } => Some(accept_object(error, 2)?),
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
            self.response.set(b"error", error.into_owned());
        }
        if let Terminal::Incomplete { reason } = terminal {
            let mut details = Members::default();
            details.set_string("reason", reason.as_bytes());
            let mut json = Vec::new();
            details.write(&mut json);
            self.response.set(b"incomplete_details", json);
        }
        self.end(event);
        Ok(())
    }

    /// Writes the terminal event, with the finished items as its output; everything has been checked.
    fn end(&mut self, event: EventType) {
        let mut output = vec![b'['];
        for item in &self.items {
            push_comma(&mut output);
            output.extend_from_slice(&item.done);
        }
        output.push(b']');
        self.response.set(b"output", output);
        self.life.apply(&Move::response(event, step(event)));
        self.last = Some(self.write_response(event));
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

    /// Ends all items that are open as incomplete.
    fn cut_open_items(&mut self) -> Result<(), Error> {
        for place in 0..self.items.len() {
            if self.life.open() > 0 && self.items.get(place).is_some_and(|item| item.done.is_empty()) {
                self.finish_item(place, ItemStatus::Incomplete, b"{}")?;
            }
        }
        Ok(())
    }

    /// Ends an open item; everything has been checked.
    fn finish_item(&mut self, place: usize, status: ItemStatus, more: &[u8]) -> Result<(), Error> {
        self.close_strings(place)?;
        let Some(entry) = self.items.get_mut(place) else { return Ok(()) };
        let incomplete = status == ItemStatus::Incomplete;
        let told = (incomplete || entry.has_status()).then(|| status.as_str());
        entry.finish(told, more)?;
        let (event, kind) = (EventType::OutputItemDone, entry.kind);
        self.life.apply(&Move { kind, incomplete, ..Move::item(event, Step::ItemDone, place as u64, 0) });
        entry.write_whole(event, &entry.done, &mut self.writer);
        Ok(())
    }

    /// Ends the open part of an item, and the string of its own.
    fn close_strings(&mut self, place: usize) -> Result<(), Error> {
        self.close_part(place)?;
        let Some(entry) = self.items.get_mut(place) else { return Ok(()) };
        if entry.owes_string()
            && let Some(channel) = own_channel(entry.kind)
            && let Some([_, whole]) = string_events(channel)
        {
            entry.close_string(&mut self.writer);
            self.life.apply(&Move::item(whole, Step::Whole(channel), place as u64, 0));
        }
        Ok(())
    }

    /// The id of a new item: the one given, or the next of the source.
    fn new_id(&mut self, given: Option<&str>, prefix: &str, event: EventType) -> Result<Box<[u8]>, Error> {
        let id = given.map_or_else(|| self.ids.next(prefix), str::to_owned);
        self.require_new_id(id.as_bytes(), event)?;
        Ok(id.into_bytes().into())
    }

    fn require_new_id(&self, id: &[u8], event: EventType) -> Result<(), Error> {
        require_id(id)?;
        if self.known_ids.contains(id) { Err(breach(Rule::DuplicateItemId, event)) } else { Ok(()) }
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

    /// Writes an event that holds the response object, and returns that.
    fn write_response(&mut self, event: EventType) -> Vec<u8> {
        let mut response = Vec::new();
        self.response.write(&mut response);
        let out = self.writer.begin(event);
        out.extend_from_slice(b",\"response\":");
        out.extend_from_slice(&response);
        self.writer.end();
        response
    }
}

/// The error of a call that would break `rule`.
#[cold]
fn breach(rule: Rule, event: EventType) -> Error {
    Error::Event { rule: rule.name(), event: event.as_str().into() }
}

/// Refuses an id that is empty or could not stand in a header or frame.
fn require_id(id: &[u8]) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::Event { rule: "unsafe_id", event: Box::default() });
    }
    require_one_line("unsafe_id", id)
}

/// Refuses members that are the emitter's own to write.
fn require_unreserved(object: &[u8], reserved: &[&str]) -> Result<(), Error> {
    let mut found = false;
    entries(object, |key, _| {
        found |= reserved.iter().any(|name| name.as_bytes() == &*key.decoded());
    })?;
    if found { Err(Error::Event { rule: "reserved_member", event: Box::default() }) } else { Ok(()) }
}

/// What an item is by its `type`, which it must have.
fn kind_of(item: &[u8], event: EventType) -> Result<Kind, Error> {
    let word = ItemView::read(item)?.kind;
    if decoded(word).is_none_or(|word| word.is_empty()) {
        return Err(breach(Rule::MissingField, event));
    }
    Ok(Kind::of_item(word))
}

/// Whether `item` holds something that events stream into items of `kind`.
pub(crate) fn is_prefilled(kind: Kind, item: &[u8]) -> Result<bool, Error> {
    let view = ItemView::read(item)?;
    let own = own_channel(kind).is_some_and(|channel| !is_empty(view.string(channel)));
    let content = kind.holds(List::Content) && kind != Kind::Other && holds_text(view.content)?;
    let summary = kind.holds(List::Summary) && kind != Kind::Other && holds_text(view.summary)?;
    Ok(own || content || summary)
}

/// The members of an item of `kind` that events stream into; a patch's diff stands deeper.
fn streamed_members(kind: Kind) -> Vec<&'static str> {
    let own = own_channel(kind).filter(|&channel| channel != Channel::Diff);
    let lists = [(List::Content, "content"), (List::Summary, "summary")];
    let lists = lists.into_iter().filter(|&(list, _)| kind != Kind::Other && kind.holds(list));
    own.map(|channel| channel.field().as_str()).into_iter().chain(lists.map(|(_, name)| name)).collect()
}

/// Whether a list of parts is anything but empty.
fn holds_text(parts: Option<&[u8]>) -> Result<bool, Error> {
    let Some(parts) = parts.filter(|parts| parts.starts_with(b"[")) else { return Ok(false) };
    let mut holds = false;
    let mut failed = None;
    elements(parts, |part| {
        let part = parts.get(part).unwrap_or_default();
        match Part::read(part) {
            Ok(view) => holds |= view.kind.is_some(),
            Err(error) => failed = Some(error),
        }
    })?;
    failed.map_or(Ok(holds), Err)
}

/// A number of seconds as JSON.
fn push_seconds(seconds: u64) -> Vec<u8> {
    let mut json = Vec::new();
    push_number(seconds, &mut json);
    json
}

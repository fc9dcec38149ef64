//! The life of items: opened, told of, ended.

use super::checks::{
    ITEM_LEVELS, breach, holds_all, is_prefilled, kind_of, require_id, require_unreserved, streamed_members,
};
use super::item::Item;
use super::object::{Members, accept_object};
use super::string::{own_channel, string_events};
use super::{Emitter, ItemStatus, NewItem};
use crate::dialect::responses::{Item as ItemView, Kind, Step, decoded, step};
use crate::error::Error;
use crate::event::EventType;
use crate::lifecycle::{Move, Phase};
use crate::rule::Rule;

/// What most items have room in.
const ITEM_MEMBERS: usize = 8;

/// What a search asks for before anybody says so: servers leave it out, but the models of clients want one.
const UNKNOWN_SEARCH: &[u8] = br#"{"type":"search","query":""}"#;

impl Emitter {
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

        let mut members = Members::with_capacity(ITEM_MEMBERS);
        members.add_string("id", &id);
        if kind != Kind::Other {
            members.add_string("type", kind.word().as_bytes());
            for (key, value) in kind.implied_members() {
                members.add(key, value.as_bytes());
            }
            if kind == Kind::WebSearchCall {
                members.add("action", UNKNOWN_SEARCH);
            }
        }
        members.merge(&more)?;
        let call_id = match new.call_id {
            None if matches!(kind, Kind::FunctionCall | Kind::CustomToolCall) => {
                members.get("call_id").is_none_or(|id| id == b"\"\"").then(|| self.ids.next("call_"))
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
        item.write_added(&item.members, &mut self.writer);
        self.items.push(item);
        Ok(index as usize)
    }

    /// Writes an item into which nothing streams, added and done at once, and returns its `output_index`. `item` is
    /// the finished item, which gets an id if it has none and is of a known kind; one that holds text, arguments or
    /// parts is refused, they are to be streamed.
    pub fn item_whole(&mut self, item: &[u8]) -> Result<usize, Error> {
        let event = EventType::OutputItemAdded;
        let item = accept_object(item, ITEM_LEVELS)?;
        let view = ItemView::read(&item)?;
        let kind = kind_of(&item, event)?;
        if is_prefilled(kind, &item)? {
            return Err(breach(Rule::ItemPrefilled, event));
        }
        let index = self.items.len() as u64;
        let incomplete = view.status == Some(b"\"incomplete\"");
        let added = Move { kind, ..Move::item(event, Step::ItemAdded, index, 0) };
        self.check(&added)?;
        let owed = matches!(kind, Kind::FunctionCall | Kind::CustomToolCall);
        if owed {
            return Err(breach(Rule::StringNotDone, EventType::OutputItemDone));
        }
        let mut members = Members::read(&item)?;
        let id: Box<[u8]> = match &*decoded(view.id).unwrap_or_default() {
            // Not all items that nobody here knows have ids.
            b"" if kind == Kind::Other => Box::default(),
            b"" => {
                let id = self.new_id(None, kind.id_prefix(), event)?;
                members.set_string("id", &id);
                id
            }
            given => {
                self.require_new_id(given, event)?;
                given.into()
            }
        };
        self.charge(item.len(), 1)?;
        let done = members.to_json();
        self.known_ids.insert(id.clone());
        let mut written = Item::new(kind, index, &id, Members::default(), &self.writer);
        // What a tool gave back is whole when it comes.
        if kind != Kind::Other && members.get("status").is_some() {
            members.set("status", b"\"in_progress\"");
        }
        self.life.apply(&added);
        written.write_added(&members, &mut self.writer);
        let event = EventType::OutputItemDone;
        self.life.apply(&Move { kind, incomplete, ..Move::item(event, Step::ItemDone, index, 0) });
        written.done = done;
        written.write_done(&mut self.writer);
        self.items.push(written);
        Ok(index as usize)
    }

    /// Writes a status event of an item, such as `response.web_search_call.searching`; `members` is a JSON object
    /// with what the event has besides, or empty. Only events that announce a status, and previews of images.
    pub fn status(&mut self, item: usize, event: EventType, members: &[u8]) -> Result<(), Error> {
        use EventType::{McpListToolsCompleted, McpListToolsFailed, McpListToolsInProgress};
        let members = accept_object(members, 1)?;
        if event == EventType::ImageGenerationCallPartialImage
            && !holds_all(&members, &["partial_image_b64", "partial_image_index"])?
        {
            return Err(breach(Rule::MissingField, event));
        }
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
        if entry.kind.keeps_call() && !entry.is_same_call(&more)? {
            return Err(breach(Rule::CallChanged, event));
        }
        if self.life.phase() != Phase::Running {
            return Err(breach(Rule::AfterTerminal, event));
        }
        self.charge(members.len(), 0)?;
        self.finish_item(item, status, &more)
    }

    /// Ends all items that are open as incomplete.
    pub(super) fn cut_open_items(&mut self) -> Result<(), Error> {
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
        // Some tools' calls are never told to be incomplete.
        let word = if incomplete { entry.kind.cut_status() } else { status.as_str() };
        let told = (incomplete || entry.has_status()).then_some(word);
        entry.finish(told, more)?;
        let (event, kind) = (EventType::OutputItemDone, entry.kind);
        self.life.apply(&Move { kind, incomplete, ..Move::item(event, Step::ItemDone, place as u64, 0) });
        entry.write_done(&mut self.writer);
        Ok(())
    }

    /// Ends the open part of an item, and the string of its own.
    pub(super) fn close_strings(&mut self, place: usize) -> Result<(), Error> {
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
}

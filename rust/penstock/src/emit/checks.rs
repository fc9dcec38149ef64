//! What callers may say: ids, and members that are not the emitter's own to write.

use super::frame::require_one_line;
use super::object::Members;
use super::string::own_channel;
use crate::dialect::responses::{Channel, Item as ItemView, Kind, List, Part, decoded, is_empty};
use crate::error::Error;
use crate::event::EventType;
use crate::json::{elements, entries};
use crate::rule::Rule;

/// Containers around an item in the final response, and around the members of an item in an event.
pub(super) const ITEM_LEVELS: u64 = 3;

/// The error of a call that would break `rule`.
#[cold]
pub(super) fn breach(rule: Rule, event: EventType) -> Error {
    Error::Event { rule: rule.name(), event: event.as_str().into() }
}

/// Refuses an id that is empty or could not stand in a header or frame.
pub(super) fn require_id(id: &[u8]) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::Event { rule: "unsafe_id", event: Box::default() });
    }
    require_one_line("unsafe_id", id)
}

/// Refuses members that are the emitter's own to write.
pub(super) fn require_unreserved(object: &[u8], reserved: &[&str]) -> Result<(), Error> {
    let mut found = false;
    entries(object, |key, _| {
        found |= reserved.iter().any(|name| name.as_bytes() == &*key.decoded());
    })?;
    if found { Err(Error::Event { rule: "reserved_member", event: Box::default() }) } else { Ok(()) }
}

/// Whether an object has all of these members.
pub(super) fn holds_all(object: &[u8], names: &[&str]) -> Result<bool, Error> {
    let members = Members::read(object)?;
    Ok(names.iter().all(|name| members.get(name).is_some()))
}

/// What an item is by its `type`, which it must have.
pub(super) fn kind_of(item: &[u8], event: EventType) -> Result<Kind, Error> {
    let word = ItemView::read(item)?.kind;
    if decoded(word).is_none_or(|word| word.is_empty()) {
        return Err(breach(Rule::MissingField, event));
    }
    Ok(Kind::of_item(word))
}

/// Whether `item` holds something that events stream into items of `kind`.
pub(crate) fn is_prefilled(kind: Kind, item: &[u8]) -> Result<bool, Error> {
    if item == b"{}" {
        return Ok(false);
    }
    let view = ItemView::read(item)?;
    let own = own_channel(kind).is_some_and(|channel| !is_empty(view.string(channel)));
    let content = kind.holds(List::Content) && kind != Kind::Other && holds_text(view.content)?;
    let summary = kind.holds(List::Summary) && kind != Kind::Other && holds_text(view.summary)?;
    Ok(own || content || summary)
}

/// The members of an item of `kind` that events stream into; a patch's diff stands deeper.
pub(super) fn streamed_members(kind: Kind) -> Vec<&'static str> {
    let own = own_channel(kind).filter(|&channel| channel != Channel::Diff);
    let lists = [(List::Content, "content"), (List::Summary, "summary")];
    let lists = lists.into_iter().filter(|&(list, _)| kind != Kind::Other && kind.holds(list));
    own.map(|channel| channel.field().as_str()).into_iter().chain(lists.map(|(_, name)| name)).collect()
}

/// Whether what is to be a list of parts is anything but empty.
fn holds_text(parts: Option<&[u8]>) -> Result<bool, Error> {
    let Some(parts) = parts.filter(|parts| parts.starts_with(b"[")) else { return Ok(!is_empty(parts)) };
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

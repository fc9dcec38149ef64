//! What was streamed into one item, and whether the finished item says the same.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::accumulate::Sparse;
use crate::dialect::responses::{Channel, Item, Kind, List, Part, decoded};
use crate::error::Error;
use crate::json::{RawStr, elements, push_wtf8};
use crate::rule::Rule;

/// A string as its deltas make it.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    text: Vec<u8>,
    /// Deltas came.
    touched: bool,
    /// The whole came, and counts from then on.
    whole: bool,
}

impl Streamed {
    /// Appends a delta.
    #[inline]
    pub(super) fn push(&mut self, piece: RawStr<'_>) {
        self.touched = true;
        if piece.ascii && !piece.escaped {
            self.text.extend_from_slice(piece.raw);
        } else {
            push_wtf8(piece, &mut self.text);
        }
    }

    /// Takes the whole; tells what is wrong if it is not what the deltas said. That none came is no fault.
    fn settle(&mut self, whole: RawStr<'_>) -> Option<Rule> {
        let whole = whole.decoded();
        let breach = match () {
            () if !self.touched || *whole == *self.text => None,
            () if whole.starts_with(&self.text) => Some(Rule::DeltasCut),
            () => Some(Rule::TextMismatch),
        };
        if breach.is_some() || !self.touched {
            self.text = whole.into_owned();
        }
        self.whole = true;
        breach
    }

    /// Whether `value`, a JSON string, is what came. Nothing has been said where nothing came.
    fn agrees(&self, value: Option<&[u8]>) -> bool {
        let value = decoded(value).unwrap_or_default();
        *value == *self.text || !self.touched && !self.whole && value.is_empty()
    }
}

/// One item.
#[derive(Debug, Default)]
pub(super) struct ItemText {
    /// As it was added, decoded.
    pub(super) id: Vec<u8>,
    /// Which call it is, as it was added: `call_id` and name, decoded; empty if nothing is told.
    call: [Box<[u8]>; 2],
    own: Streamed,
    content: Sparse<Streamed>,
    summary: Sparse<Streamed>,
    /// Of the finished item; see [`digest`].
    pub(super) digest: Option<u64>,
    held: usize,
}

impl ItemText {
    /// An item with this id.
    pub(super) fn new(id: &[u8], kind: Kind, item: &Item<'_>) -> Self {
        let told = |value| decoded(value).filter(|_| kind.keeps_call()).unwrap_or_default().into();
        let call: [Box<[u8]>; 2] = [item.call_id, item.name].map(told);
        let held = id.len() + call.iter().map(|told| told.len()).sum::<usize>();
        Self { id: id.to_vec(), call, held, ..Self::default() }
    }

    /// Whether this is the call's `call_id`, and this its name, as far as both sides tell.
    pub(super) fn is_call(&self, call_id: Option<&[u8]>, name: Option<&[u8]>) -> bool {
        self.call
            .iter()
            .zip([call_id, name])
            .all(|(added, told)| added.is_empty() || decoded(told).is_none_or(|told| *told == **added))
    }

    /// Bytes held.
    #[inline]
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// The string of a channel, at a place of its list.
    #[inline]
    fn string(&mut self, channel: Channel, place: u64) -> Option<&mut Streamed> {
        let list = match channel.list() {
            None => return Some(&mut self.own),
            Some(List::Content) => &mut self.content,
            Some(List::Summary) => &mut self.summary,
        };
        list.obtain(place, Streamed::default)
    }

    /// Appends a delta.
    #[inline]
    pub(super) fn push(&mut self, channel: Channel, place: u64, piece: RawStr<'_>) {
        // Commands have a place of their own each and are not compared.
        if channel != Channel::Command
            && let Some(string) = self.string(channel, place)
        {
            string.push(piece);
            self.held += piece.raw.len();
        }
    }

    /// Takes a whole string; tells what is wrong if the deltas say something else.
    pub(super) fn settle(&mut self, channel: Channel, place: u64, whole: RawStr<'_>) -> Option<Rule> {
        if channel == Channel::Command {
            return None;
        }
        let string = self.string(channel, place)?;
        let before = string.text.len();
        let breach = string.settle(whole);
        let after = string.text.len();
        self.held = (self.held + after).saturating_sub(before);
        breach
    }

    /// Whether deltas of its own string came.
    pub(super) const fn is_begun(&self) -> bool {
        self.own.touched
    }

    /// Notes that a part begins.
    pub(super) fn add_part(&mut self, list: List, place: u64) {
        let list = if list == List::Content { &mut self.content } else { &mut self.summary };
        list.obtain(place, Streamed::default);
    }

    /// Whether a finished part says what was streamed.
    pub(super) fn agrees_with_part(&mut self, list: List, place: u64, part: &[u8]) -> Result<bool, Error> {
        let view = Part::read(part)?;
        let Some(channel) = Channel::of_part(view.kind) else { return Ok(true) };
        let list = if list == List::Content { &mut self.content } else { &mut self.summary };
        Ok(list.get_mut(place).is_none_or(|streamed| streamed.agrees(view.string(channel))))
    }

    /// Whether a finished item says what was streamed.
    pub(super) fn agrees_with(&self, item: &Item<'_>, kind: Kind) -> Result<bool, Error> {
        let own = match kind {
            Kind::FunctionCall | Kind::McpCall => item.arguments,
            Kind::CustomToolCall => item.input,
            Kind::CodeInterpreterCall => item.code,
            // Where nobody knows what streams into an item, nothing can be compared.
            Kind::Message | Kind::Reasoning => None,
            _ => return Ok(true),
        };
        let is_call = !matches!(kind, Kind::Message | Kind::Reasoning);
        // MCP calls and code that come whole are not announced by an event of their own.
        let comes_whole =
            matches!(kind, Kind::McpCall | Kind::CodeInterpreterCall) && !self.own.touched && !self.own.whole;
        if is_call {
            return Ok(comes_whole || self.own.agrees(own));
        }
        Ok(agrees_with_list(&self.content, item.content)? && agrees_with_list(&self.summary, item.summary)?)
    }
}

/// Whether a finished list holds the parts that were streamed, in their order.
fn agrees_with_list(streamed: &Sparse<Streamed>, list: Option<&[u8]>) -> Result<bool, Error> {
    let mut agrees = true;
    let mut parts = streamed.iter();
    if let Some(list) = list.filter(|list| list.starts_with(b"[")) {
        let mut failed = None;
        elements(list, |part| {
            let part = list.get(part).unwrap_or_default();
            agrees &= match (parts.next(), Part::read(part)) {
                (Some((_, streamed)), Ok(view)) => {
                    Channel::of_part(view.kind).is_none_or(|channel| streamed.agrees(view.string(channel)))
                }
                (None, Ok(_)) => false,
                (_, Err(error)) => {
                    failed = Some(error);
                    false
                }
            };
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(agrees && parts.next().is_none())
}

/// What tells one finished item from another: its type, its id, which call it is and all its strings. Not everything
/// else: tokens such as `encrypted_content` differ between an item's `done` event and the final response.
pub(super) fn digest(item: &[u8]) -> Result<u64, Error> {
    let view = Item::read(item)?;
    let mut hasher = DefaultHasher::new();
    decoded(view.kind).hash(&mut hasher);
    decoded(view.id).hash(&mut hasher);
    if Kind::of_item(view.kind).keeps_call() {
        [view.call_id, view.name].map(decoded).hash(&mut hasher);
    }
    for value in [view.arguments, view.input, view.code] {
        decoded(value).unwrap_or_default().hash(&mut hasher);
    }
    for list in [view.content, view.summary] {
        let Some(list) = list.filter(|list| list.starts_with(b"[")) else { continue };
        let mut failed = None;
        elements(list, |part| match Part::read(list.get(part).unwrap_or_default()) {
            Ok(view) => {
                decoded(view.kind).hash(&mut hasher);
                decoded(view.text.or(view.refusal)).hash(&mut hasher);
            }
            Err(error) => failed = Some(error),
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(hasher.finish())
}

//! Tool calls: which call a fragment belongs to, and what the fragments make of it.
//!
//! Servers disagree on how a fragment names its call: by `index` (most), by `id` alone (Mistral), by nothing but
//! its place after the last one. The rules, for fragments that carry
//!
//! | | same call | new call |
//! |---|---|---|
//! | a known `index` | no id, the call's id, or another id without a name | another id with a name; another name once arguments came |
//! | a new `index` | | always |
//! | no `index` | the id of a call; the last call's name; neither id nor name | another id; another name; a name again in one chunk |
//!
//! A fragment without `index` whose call has neither id nor name yet gives it both. The first id that is not
//! blank stays. A name may come in pieces until the first argument; a piece that repeats all of it is no piece.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::keep::{Extras, Raw, is_blank, is_string};
use crate::accumulate::chat::rules;
use crate::accumulate::text::Text;
use crate::dialect::chat::{PieceField, Pieces, elements};
use crate::error::Error;
use crate::event::{index, string};
use crate::json::{RawStr, push_comma, push_key, push_string};

/// What is called: a name, and arguments or input as text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Function {
    pub(crate) name: Text,
    pub(crate) arguments: Text,
    /// How often the arguments were replaced, not added to.
    pub(crate) revision: u64,
    extras: Extras,
}

impl Function {
    /// Adds a fragment; `text` is the member that holds the arguments.
    pub(super) fn apply(
        &mut self,
        fragment: &[u8],
        text: PieceField,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        let pieces = ledger.pieces(fragment)?;
        self.add_name(pieces.get(PieceField::Name), ledger)?;
        self.add_arguments(pieces.get(text), ledger)?;
        pieces
            .others(&[PieceField::Name, text])
            .try_for_each(|(key, value)| self.extras.set(key, value, ledger))
    }

    fn add_name(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let Some(name) = ledger.string(value)? else { return Ok(()) };
        if self.name.equals(name) {
            return Ok(());
        }
        if !self.arguments.is_empty() && !self.name.is_empty() && !name.raw.is_empty() {
            return ledger.breach(rules::TOOL_NAME_CHANGED);
        }
        ledger.append(&mut self.name, name)
    }

    fn add_arguments(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if let Some(piece) = string(value) {
            return ledger.append(&mut self.arguments, piece);
        }
        if is_blank(value) {
            return Ok(());
        }
        // An object in place of its text, whole: the text it stands for.
        ledger.breach(rules::ARGUMENTS_NOT_TEXT)?;
        let mut compact = Vec::with_capacity(value.len());
        push_compact(value, &mut compact);
        let piece = RawStr { raw: &compact, escaped: false, ascii: compact.is_ascii() };
        self.arguments.set(piece, ledger.at, &mut ledger.bytes)?;
        self.revision += 1;
        ledger.added = true;
        Ok(())
    }

    pub(super) fn write(&self, text: PieceField, out: &mut Vec<u8>) {
        out.push(b'{');
        push_key("name", out);
        push_string(self.name.as_bytes(), out);
        out.push(b',');
        push_key(text.as_str(), out);
        push_string(self.arguments.as_bytes(), out);
        self.extras.write(out);
        out.push(b'}');
    }
}

/// One tool call of a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToolCall {
    /// Stays with the call; calls are numbered in order of arrival.
    pub(crate) serial: u64,
    pub(crate) index: Option<u64>,
    pub(crate) id: Text,
    kind: Raw,
    /// A custom tool: `custom` and `input` in place of `function` and `arguments`.
    pub(crate) custom: bool,
    pub(crate) function: Function,
    extras: Extras,
    /// The number of the chunk that named it last.
    named_in: u64,
}

impl ToolCall {
    fn apply(&mut self, fragment: &Pieces<'_>, ledger: &mut Ledger) -> Result<(), Error> {
        self.add_id(fragment.get(PieceField::Id), ledger)?;
        let kind = fragment.get(PieceField::Type);
        let custom = fragment.get(PieceField::Custom);
        self.custom |= is_string(kind, "custom") || custom.first() == Some(&b'{');
        self.kind.set_first(kind, ledger)?;
        self.function.apply(fragment.get(PieceField::Function), PieceField::Arguments, ledger)?;
        self.function.apply(custom, PieceField::Input, ledger)?;
        let read =
            [PieceField::Index, PieceField::Id, PieceField::Type, PieceField::Function, PieceField::Custom];
        fragment.others(&read).try_for_each(|(key, value)| self.extras.set(key, value, ledger))
    }

    fn add_id(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let Some(id) = ledger.string(value)? else { return Ok(()) };
        if id.raw.is_empty() || self.id.equals(id) {
            return Ok(());
        }
        if !self.id.is_empty() {
            return ledger.breach(rules::TOOL_ID_CHANGED);
        }
        self.id.push(id, ledger.at, &mut ledger.bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if !self.id.is_empty() {
            push_key("id", out);
            push_string(self.id.as_bytes(), out);
        }
        let (member, text) =
            if self.custom { ("custom", PieceField::Input) } else { ("function", PieceField::Arguments) };
        push_comma(out);
        push_key("type", out);
        if self.kind.is_empty() {
            push_string(member.as_bytes(), out);
        } else {
            out.extend_from_slice(self.kind.as_bytes());
        }
        out.push(b',');
        push_key(member, out);
        self.function.write(text, out);
        self.extras.write(out);
        out.push(b'}');
    }
}

/// How a fragment names its call.
#[derive(Default)]
struct Address<'a> {
    index: Option<u64>,
    id: Option<RawStr<'a>>,
    name: Option<RawStr<'a>>,
}

impl<'a> Address<'a> {
    fn read(fragment: &Pieces<'a>, ledger: &mut Ledger) -> Result<Self, Error> {
        let given = |value| string(value).filter(|text| !text.raw.is_empty());
        let name = |member| given(Pieces::read(fragment.get(member)).get(PieceField::Name));
        let place = fragment.get(PieceField::Index);
        let index = index(place);
        if index.is_none() && !is_blank(place) {
            ledger.breach(rules::BAD_INDEX)?;
        }
        Ok(Self {
            index,
            id: given(fragment.get(PieceField::Id)),
            name: name(PieceField::Function).or_else(|| name(PieceField::Custom)),
        })
    }
}

/// The calls of one message, ordered by index where they have one, else by arrival.
#[derive(Debug, Clone, Default)]
pub(super) struct ToolCalls {
    calls: Vec<ToolCall>,
    /// Place of the call that the last fragment belonged to.
    last: usize,
}

impl ToolCalls {
    /// Adds the fragments of a delta's list; `chunk` numbers the chunk.
    pub(super) fn extend(&mut self, list: &[u8], chunk: u64, ledger: &mut Ledger) -> Result<(), Error> {
        for fragment in elements(list) {
            let fragment = ledger.pieces(fragment)?;
            let address = Address::read(&fragment, ledger)?;
            let place = match self.find(&address, chunk) {
                Some(place) => place,
                None => self.insert(address.index, ledger)?,
            };
            self.last = place;
            if let Some(call) = self.calls.get_mut(place) {
                if address.name.is_some() {
                    call.named_in = chunk;
                }
                call.apply(&fragment, ledger)?;
            }
        }
        Ok(())
    }

    /// The place of the call that a fragment belongs to, by the rules above.
    fn find(&self, address: &Address<'_>, chunk: u64) -> Option<usize> {
        if address.index.is_some() {
            let place = self.place_of_index(address.index)?;
            let call = self.calls.get(place)?;
            let other_id = address.id.is_some_and(|id| !call.id.is_empty() && !call.id.equals(id));
            let other_name = address.name.is_some_and(|name| {
                !call.function.arguments.is_empty()
                    && !call.function.name.is_empty()
                    && !call.function.name.equals(name)
            });
            let other = other_name || other_id && address.name.is_some();
            return (!other).then_some(place);
        }
        if let Some(id) = address.id
            && let Some(place) = self.calls.iter().rposition(|call| call.id.equals(id))
        {
            return Some(place);
        }
        let last = self.calls.get(self.last)?;
        let anonymous = last.id.is_empty() && last.function.name.is_empty();
        let same = match (address.id, address.name) {
            (None, None) => true,
            (None, Some(name)) => last.function.name.equals(name) && last.named_in != chunk,
            (Some(_), _) => false,
        };
        (same || anonymous).then_some(self.last)
    }

    /// The place of the call that came last under an index.
    fn place_of_index(&self, index: Option<u64>) -> Option<usize> {
        if self.calls.get(self.last)?.index == index {
            return Some(self.last);
        }
        self.calls.iter().rposition(|call| call.index == index)
    }

    fn insert(&mut self, index: Option<u64>, ledger: &mut Ledger) -> Result<usize, Error> {
        ledger.calls.take(1, ledger.at)?;
        let behind = |call: &ToolCall| index.is_none() || call.index.is_none() || call.index <= index;
        let place = self.calls.iter().rposition(behind).map_or(0, |place| place + 1);
        if index.is_some() && self.calls.iter().any(|call| call.index == index) {
            ledger.breach(rules::TOOL_INDEX_REUSED)?;
        }
        let serial = self.calls.len() as u64;
        self.calls.insert(place, ToolCall { serial, index, ..ToolCall::default() });
        Ok(place)
    }

    /// The arguments of the call that the last fragment belonged to.
    pub(super) fn last_arguments(&mut self) -> Option<&mut Text> {
        self.calls.get_mut(self.last).map(|call| &mut call.function.arguments)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ToolCall> {
        self.calls.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for call in &self.calls {
            push_comma(out);
            call.write(out);
        }
        out.push(b']');
    }
}

/// Appends a checked JSON value without the white space between its tokens.
fn push_compact(value: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in value {
        if in_string || !byte.is_ascii_whitespace() {
            out.push(byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
}

//! Tool calls, and what their fragments make of them.
//!
//! The first id that is not blank stays. A name may come in pieces until the first argument; a piece that repeats
//! all of it is no piece.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::keep::{Extras, Raw};
use crate::accumulate::chat::rules;
use crate::accumulate::text::Text;
use crate::dialect::chat::{CallAddress, KnownCall, PieceField, Pieces, elements, is_blank, is_string};
use crate::error::Error;
use crate::event::string;
use crate::json::{RawStr, push_comma, push_compact, push_key, push_string};

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
        let pieces = ledger.diagnostics.pieces(fragment)?;
        self.add_name(pieces.get(PieceField::Name), ledger)?;
        self.add_arguments(pieces.get(text), ledger)?;
        pieces
            .others(&[PieceField::Name, text])
            .try_for_each(|(key, value)| self.extras.set(key, value, ledger))
    }

    fn add_name(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let Some(name) = ledger.diagnostics.string(value)? else { return Ok(()) };
        if self.name.equals(name) {
            return Ok(());
        }
        if !self.arguments.is_empty() && !self.name.is_empty() && !name.raw.is_empty() {
            return ledger.diagnostics.breach(rules::TOOL_NAME_CHANGED);
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
        ledger.diagnostics.breach(rules::ARGUMENTS_NOT_TEXT)?;
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

impl KnownCall for ToolCall {
    fn index(&self) -> Option<u64> {
        self.index
    }

    fn id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    fn name(&self) -> &[u8] {
        self.function.name.as_bytes()
    }

    fn has_arguments(&self) -> bool {
        !self.function.arguments.is_empty()
    }

    fn named_in(&self) -> u64 {
        self.named_in
    }
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
        let Some(id) = ledger.diagnostics.string(value)? else { return Ok(()) };
        if id.raw.is_empty() || self.id.equals(id) {
            return Ok(());
        }
        if !self.id.is_empty() {
            return ledger.diagnostics.breach(rules::TOOL_ID_CHANGED);
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
            let fragment = ledger.diagnostics.pieces(fragment)?;
            let address = CallAddress::read(&fragment);
            if address.bad_index {
                ledger.diagnostics.breach(rules::BAD_INDEX)?;
            }
            let place = match address.find(&self.calls, self.last, chunk) {
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

    fn insert(&mut self, index: Option<u64>, ledger: &mut Ledger) -> Result<usize, Error> {
        ledger.calls.take(1, ledger.at)?;
        let behind = |call: &ToolCall| index.is_none() || call.index.is_none() || call.index <= index;
        let place = self.calls.iter().rposition(behind).map_or(0, |place| place + 1);
        if index.is_some() && self.calls.iter().any(|call| call.index == index) {
            ledger.diagnostics.breach(rules::TOOL_INDEX_REUSED)?;
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

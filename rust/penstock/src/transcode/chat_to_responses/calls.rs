//! Tool calls: from fragments to items.
//!
//! A call is announced once its name and id are known; what comes before is its first delta. Calls stay open
//! beside one another, as their fragments may alternate; other output ends those whose arguments are whole.

use crate::dialect::chat::{CallAddress, KnownCall, PieceField, Pieces, elements, is_blank, is_string};
use crate::emit::{Emitter, ItemStatus, NewItem};
use crate::error::Error;
use crate::event::string;
use crate::json::{Cursor, push_compact, push_string};
use crate::limits::DEPTH_CEILING;
use crate::transcode::rules;

use super::accounts::{Accounts, clean};

/// Google's way to carry a signature: behind this mark in the call's id.
const THOUGHT_MARK: &[u8] = b"__thought__";

/// How far the item of a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Open,
    /// Its arguments were looked at, and were not whole.
    Partial,
    Done,
}

/// One call. Texts are WTF-8, empty while unknown.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: Vec<u8>,
    name: Vec<u8>,
    custom: bool,
    /// A legacy function call, which has neither index nor id.
    legacy: bool,
    /// The item, once announced.
    item: Option<usize>,
    stage: Stage,
    /// Arguments that came before the call could be announced.
    pending: Vec<u8>,
    has_arguments: bool,
    named_in: u64,
    /// Members of the fragment that nobody reads, one JSON object without its braces: thought signatures and the like.
    extras: Vec<u8>,
}

impl KnownCall for Call {
    fn index(&self) -> Option<u64> {
        self.index
    }

    fn id(&self) -> &[u8] {
        &self.id
    }

    fn name(&self) -> &[u8] {
        &self.name
    }

    fn has_arguments(&self) -> bool {
        self.has_arguments
    }

    fn named_in(&self) -> u64 {
        self.named_in
    }
}

impl Call {
    fn is_open(&self) -> bool {
        self.item.is_some() && self.stage != Stage::Done
    }

    fn add_id(&mut self, given: &[u8], accounts: &mut Accounts) -> Result<(), Error> {
        let mark = memchr::memmem::find(given, THOUGHT_MARK);
        let (id, thought) = given.split_at(mark.unwrap_or(given.len()));
        if id.is_empty() || self.id == id {
            return Ok(());
        }
        if !self.id.is_empty() {
            return accounts.diagnostics.breach(rules::TOOL_ID_CHANGED);
        }
        accounts.hold(given.len())?;
        self.id = id.to_vec();
        if let Some(signature) = thought.strip_prefix(THOUGHT_MARK) {
            self.extras.extend_from_slice(b",\"thought_signature\":");
            push_string(signature, &mut self.extras);
        }
        Ok(())
    }

    fn add_name(&mut self, value: &[u8], chunk: u64, accounts: &mut Accounts) -> Result<(), Error> {
        let Some(name) = accounts.diagnostics.string(value)?.filter(|name| !name.raw.is_empty()) else {
            return Ok(());
        };
        self.named_in = chunk;
        let name = name.decoded();
        if self.name == *name {
            return Ok(());
        }
        if self.item.is_some() || self.has_arguments && !self.name.is_empty() {
            return accounts.diagnostics.breach(rules::TOOL_NAME_CHANGED);
        }
        accounts.hold(name.len())?;
        self.name.extend_from_slice(&name);
        Ok(())
    }

    /// Keeps the members of `object` that are none of `read` and none of the item's own.
    fn add_extras(
        &mut self,
        object: &Pieces<'_>,
        read: &[PieceField],
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        for (key, value) in object.others(read) {
            let own = [&b"call_id"[..], b"status", b"id", b"type", b"name", b"arguments", b"input"];
            if value == b"null" || own.contains(&key) || self.holds(key) {
                continue;
            }
            accounts.hold(key.len() + value.len() + 4)?;
            self.extras.extend_from_slice(b",\"");
            self.extras.extend_from_slice(&clean(key));
            self.extras.extend_from_slice(b"\":");
            self.extras.extend_from_slice(&clean(value));
        }
        Ok(())
    }

    fn holds(&self, key: &[u8]) -> bool {
        crate::transcode::usage::member(&self.members(), &String::from_utf8_lossy(key)).is_some()
    }

    /// The extras as an object.
    fn members(&self) -> Vec<u8> {
        let inside = self.extras.strip_prefix(b",").unwrap_or_default();
        [b"{", inside, b"}"].concat()
    }

    fn add_arguments(
        &mut self,
        value: &[u8],
        emitter: &mut Emitter,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        if let Some(piece) = string(value) {
            return self.push(&piece.decoded(), emitter, accounts);
        }
        if is_blank(value) {
            return Ok(());
        }
        // An object in place of its text: the text it stands for.
        accounts.diagnostics.breach(rules::ARGUMENTS_NOT_TEXT)?;
        let mut compact = Vec::with_capacity(value.len());
        push_compact(value, &mut compact);
        self.push(&compact, emitter, accounts)
    }

    fn push(&mut self, piece: &[u8], emitter: &mut Emitter, accounts: &mut Accounts) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        self.has_arguments = true;
        accounts.added = true;
        match self.item {
            Some(_) if self.stage == Stage::Done => accounts.diagnostics.breach(rules::LATE_ARGUMENTS),
            Some(item) if self.custom => emitter.custom_input(item, piece),
            Some(item) => emitter.arguments(item, piece),
            None => {
                accounts.hold(piece.len())?;
                self.pending.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Opens the call's item and writes what has come of its arguments.
    fn announce(&mut self, emitter: &mut Emitter) -> Result<(), Error> {
        let (id, name) = (String::from_utf8_lossy(&self.id), String::from_utf8_lossy(&self.name));
        let id = (!id.is_empty()).then_some(&*id);
        let new = if self.custom {
            NewItem::custom_tool_call(id, &name)
        } else {
            NewItem::function_call(id, &name)
        };
        let item = emitter.open_item(new.with_members(&self.members()))?;
        self.item = Some(item);
        self.extras.clear();
        let pending = std::mem::take(&mut self.pending);
        if self.custom { emitter.custom_input(item, &pending) } else { emitter.arguments(item, &pending) }
    }

    /// Whether the call could be executed: its arguments are one JSON text, or nothing, or free text.
    fn is_whole(&self, emitter: &Emitter) -> bool {
        let arguments = self.item.and_then(|item| emitter.own_string(item)).unwrap_or(&self.pending);
        let mut cursor = Cursor::new(arguments);
        self.custom
            || arguments.is_empty()
            || cursor.skip_value(0, DEPTH_CEILING).is_ok() && cursor.end().is_ok()
    }

    fn close(&mut self, status: ItemStatus, empty: &[u8], emitter: &mut Emitter) -> Result<(), Error> {
        let Some(item) = self.item else { return Ok(()) };
        if !self.has_arguments && !self.custom {
            emitter.arguments(item, empty)?;
        }
        self.stage = Stage::Done;
        emitter.close_item(item, status, &self.members())
    }
}

/// The calls of the message, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Place of the call that the last fragment belonged to.
    last: usize,
}

impl Calls {
    /// Adds the fragments of a delta's list. Calls that can be announced wait for [`Calls::announce`].
    pub(super) fn extend(
        &mut self,
        list: &[u8],
        emitter: &mut Emitter,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        for fragment in elements(list) {
            let fragment = accounts.diagnostics.pieces(fragment)?;
            let address = CallAddress::read(&fragment);
            if address.bad_index {
                accounts.diagnostics.breach(rules::BAD_INDEX)?;
            }
            let place = match address.find(&self.calls, self.last, accounts.chunks) {
                Some(place) => place,
                None => self.insert(&address, accounts)?,
            };
            self.last = place;
            if let Some(call) = self.calls.get_mut(place) {
                let custom = fragment.get(PieceField::Custom);
                let is_custom =
                    is_string(fragment.get(PieceField::Type), "custom") || custom.first() == Some(&b'{');
                if call.item.is_none() {
                    call.custom |= is_custom;
                }
                if let Some(id) = address.id {
                    call.add_id(&id.decoded(), accounts)?;
                }
                let read = [
                    PieceField::Index,
                    PieceField::Id,
                    PieceField::Type,
                    PieceField::Function,
                    PieceField::Custom,
                ];
                call.add_extras(&fragment, &read, accounts)?;
                for (function, text) in
                    [(fragment.get(PieceField::Function), PieceField::Arguments), (custom, PieceField::Input)]
                {
                    let function = accounts.diagnostics.pieces(function)?;
                    call.add_name(function.get(PieceField::Name), accounts.chunks, accounts)?;
                    call.add_extras(&function, &[PieceField::Name, text], accounts)?;
                    call.add_arguments(function.get(text), emitter, accounts)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a legacy function call, of which a message has one.
    pub(super) fn add_legacy(
        &mut self,
        function: &[u8],
        emitter: &mut Emitter,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        let place = if let Some(place) = self.calls.iter().position(|call| call.legacy) {
            place
        } else {
            let place = self.insert(&CallAddress::default(), accounts)?;
            if let Some(call) = self.calls.get_mut(place) {
                call.legacy = true;
            }
            place
        };
        self.last = place;
        let Some(call) = self.calls.get_mut(place) else { return Ok(()) };
        let function = accounts.diagnostics.pieces(function)?;
        call.add_name(function.get(PieceField::Name), accounts.chunks, accounts)?;
        call.add_arguments(function.get(PieceField::Arguments), emitter, accounts)
    }

    fn insert(&mut self, address: &CallAddress<'_>, accounts: &mut Accounts) -> Result<usize, Error> {
        accounts.calls.take(1, 0)?;
        if address.index.is_some() && self.calls.iter().any(|call| call.index == address.index) {
            accounts.diagnostics.breach(rules::TOOL_INDEX_REUSED)?;
        }
        self.calls.push(Call { index: address.index, ..Call::default() });
        Ok(self.calls.len() - 1)
    }

    /// Whether a call waits that can be announced.
    pub(super) fn can_announce(&self) -> bool {
        self.calls.iter().any(is_ready)
    }

    /// Announces the calls whose name and id are known.
    pub(super) fn announce(&mut self, emitter: &mut Emitter) -> Result<(), Error> {
        self.calls.iter_mut().filter(|call| is_ready(call)).try_for_each(|call| call.announce(emitter))
    }

    /// Other output begins: ends the calls whose arguments are whole. Each is looked at once; what is not whole
    /// then stays open to the end.
    pub(super) fn settle(&mut self, empty: &[u8], emitter: &mut Emitter) -> Result<(), Error> {
        for call in self.calls.iter_mut().filter(|call| call.item.is_some() && call.stage == Stage::Open) {
            if call.has_arguments && call.is_whole(emitter) {
                call.close(ItemStatus::Completed, empty, emitter)?;
            } else {
                call.stage = Stage::Partial;
            }
        }
        Ok(())
    }

    /// Whether a call waits for an id or name that will not come any more.
    pub(super) fn has_waiting(&self) -> bool {
        self.calls.iter().any(|call| call.item.is_none())
    }

    /// Announces the calls that wait for an id or name.
    pub(super) fn announce_rest(
        &mut self,
        emitter: &mut Emitter,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        for call in self.calls.iter_mut().filter(|call| call.item.is_none()) {
            if call.name.is_empty() {
                accounts.diagnostics.breach(rules::TOOL_NAME_MISSING)?;
            }
            call.announce(emitter)?;
        }
        Ok(())
    }

    /// The message ended: ends all calls. If it was `cut` short, calls whose arguments are not whole, and the last
    /// one if it `is_last` of all output, are incomplete.
    pub(super) fn close(
        &mut self,
        cut: bool,
        is_last: bool,
        empty: &[u8],
        emitter: &mut Emitter,
    ) -> Result<(), Error> {
        let last = self.last;
        let mut incomplete = Vec::new();
        for (place, call) in self.calls.iter_mut().enumerate().filter(|(_, call)| call.is_open()) {
            if cut && (is_last && place == last || !call.is_whole(emitter)) {
                incomplete.push(place);
            } else {
                call.close(ItemStatus::Completed, empty, emitter)?;
            }
        }
        for place in incomplete {
            if let Some(call) = self.calls.get_mut(place) {
                // What was cut short has no arguments to make up.
                call.close(ItemStatus::Incomplete, b"", emitter)?;
            }
        }
        Ok(())
    }

    /// The item of the function call that the last fragment belonged to, while it is open.
    pub(super) fn last_item(&self) -> Option<usize> {
        self.calls.get(self.last).filter(|call| call.is_open() && !call.custom).and_then(|call| call.item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

fn is_ready(call: &Call) -> bool {
    call.item.is_none() && !call.name.is_empty() && (call.legacy || !call.id.is_empty())
}

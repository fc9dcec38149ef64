//! Strings that stream: those of items' own, and how any of them grows.

use super::writer::Writer;
use crate::dialect::responses::{Channel, Kind};
use crate::event::EventType;
use crate::json::{append_wtf8, push_escaped};

/// The events of an item's own string: delta and whole.
pub(super) const fn string_events(channel: Channel) -> Option<[EventType; 2]> {
    use EventType as E;
    Some(match channel {
        Channel::FunctionArguments => [E::FunctionCallArgumentsDelta, E::FunctionCallArgumentsDone],
        Channel::CustomInput => [E::CustomToolCallInputDelta, E::CustomToolCallInputDone],
        Channel::McpArguments => [E::McpCallArgumentsDelta, E::McpCallArgumentsDone],
        Channel::Code => [E::CodeInterpreterCallCodeDelta, E::CodeInterpreterCallCodeDone],
        Channel::Diff => [E::ApplyPatchCallOperationDiffDelta, E::ApplyPatchCallOperationDiffDone],
        _ => return None,
    })
}

/// The string that items of `kind` have of their own.
pub(super) const fn own_channel(kind: Kind) -> Option<Channel> {
    match kind {
        Kind::FunctionCall => Some(Channel::FunctionArguments),
        Kind::CustomToolCall => Some(Channel::CustomInput),
        Kind::McpCall => Some(Channel::McpArguments),
        Kind::CodeInterpreterCall => Some(Channel::Code),
        Kind::ApplyPatchCall => Some(Channel::Diff),
        _ => None,
    }
}

/// Room of a string that begins.
const FIRST_BYTES: usize = 128;

/// A string that grows, with what stands around its deltas.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) text: Vec<u8>,
    /// From the event's beginning to its number.
    prefix: Vec<u8>,
    /// From there to the delta's quote: which item and part it belongs to.
    place: Vec<u8>,
}

impl Growing {
    /// A string whose deltas are events of type `event`, standing at `place`.
    pub(super) fn new(event: EventType, place: &[u8], writer: &Writer) -> Self {
        let place = [place, b",\"delta\":\""].concat();
        Self { text: Vec::with_capacity(FIRST_BYTES), prefix: writer.prefix(event), place }
    }

    /// Writes one delta and keeps its text; `logprobs` is the inside of a list, for text only.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8], logprobs: Option<&[u8]>, writer: &mut Writer) {
        let out = writer.begin_with(&self.prefix);
        out.extend_from_slice(&self.place);
        if std::str::from_utf8(piece).is_ok() {
            push_escaped(piece, out);
            self.text.extend_from_slice(piece);
        } else {
            let mut clean = Vec::new();
            append_wtf8(piece, &mut clean);
            push_escaped(&clean, out);
            append_wtf8(&clean, &mut self.text);
        }
        out.push(b'"');
        if let Some(logprobs) = logprobs {
            out.extend_from_slice(b",\"logprobs\":[");
            out.extend_from_slice(logprobs);
            out.push(b']');
        }
        writer.end_delta();
    }
}

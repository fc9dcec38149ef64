//! What users ask of output items, read from their JSON.

use crate::accumulate::text::lossy;
use crate::dialect::responses::{Channel, Item, Kind, Part, decoded};
use crate::error::Error;
use crate::json::elements;

/// A call that the model wants the client to run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionCall {
    /// `function_call` or `custom_tool_call`.
    pub kind: &'static str,
    /// The item's index in the response's output.
    pub output_index: u64,
    /// The item's `id`, if it has one.
    pub item_id: Option<String>,
    /// What the call's output has to name; empty if the server left it out.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// A function's arguments, JSON text if the model made no mistake; a custom tool's input, any text.
    pub arguments: String,
    /// Whether the call may be run: the server finished the item, and the response neither failed nor was cut.
    pub complete: bool,
}

impl FunctionCall {
    /// The call that `item` is, if it is one the client has to run. `complete` says whether the item came whole.
    pub(super) fn read(item: &Item<'_>, output_index: u64, complete: bool) -> Option<Self> {
        let (kind, arguments) = match Kind::of_item(item.kind) {
            Kind::FunctionCall => ("function_call", item.arguments),
            Kind::CustomToolCall => ("custom_tool_call", item.input),
            _ => return None,
        };
        let text = |value| decoded(value).map(|text| lossy(text.into_owned()));
        Some(Self {
            kind,
            output_index,
            item_id: text(item.id),
            call_id: text(item.call_id).unwrap_or_default(),
            name: text(item.name).unwrap_or_default(),
            arguments: text(arguments).unwrap_or_default(),
            complete: complete && decoded(item.status).is_none_or(|status| *status != *b"incomplete"),
        })
    }
}

/// Appends the text of a message item: its `output_text` parts, one behind the other.
pub(super) fn push_message_text(item: &Item<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    if Kind::of_item(item.kind) != Kind::Message {
        return Ok(());
    }
    for part in list(item.content)? {
        if !part.starts_with(b"{") {
            continue;
        }
        let part = Part::reread(part)?;
        if Channel::of_part(part.kind) == Some(Channel::Text)
            && let Some(text) = decoded(part.text)
        {
            out.extend_from_slice(&text);
        }
    }
    Ok(())
}

/// The elements of a list, each as JSON; none of anything else.
pub(super) fn list(value: Option<&[u8]>) -> Result<Vec<&[u8]>, Error> {
    let mut found = Vec::new();
    if let Some(list) = value.filter(|list| list.starts_with(b"[")) {
        elements(list, |element| found.extend(list.get(element)))?;
    }
    Ok(found)
}

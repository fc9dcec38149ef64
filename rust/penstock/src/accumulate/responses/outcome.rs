//! The response object: written while it grows, kept when it is final.

use super::context::Event;
use super::items::Slots;
use super::read::{FunctionCall, list, push_message_text};

use crate::dialect::responses::{Item, Response, ResponseTerminal, is_empty};
use crate::error::Error;
use crate::event::Field;
use crate::json::{Edit, patch, push_comma, push_key, push_string};

/// A response that has ended, as JSON.
#[derive(Debug)]
pub struct FinalResponse {
    json: Vec<u8>,
    terminal: ResponseTerminal,
    /// The `output_index` of each item that was streamed.
    indices: Vec<u64>,
}

impl FinalResponse {
    pub(super) const fn new(json: Vec<u8>, terminal: ResponseTerminal, indices: Vec<u64>) -> Self {
        Self { json, terminal, indices }
    }

    /// The response object, byte for byte as the server sent it unless it left something out.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// How it ended.
    #[must_use]
    pub const fn terminal(&self) -> ResponseTerminal {
        self.terminal
    }

    /// Its items with their `output_index`. Where the output is not what was streamed, that is the place.
    fn items(&self) -> Result<impl Iterator<Item = Result<(u64, Item<'_>), Error>>, Error> {
        let mut items = list(Response::reread(&self.json)?.output)?;
        items.retain(|item| item.starts_with(b"{"));
        let known = items.len() == self.indices.len();
        let index =
            move |place: usize| self.indices.get(place).copied().filter(|_| known).unwrap_or(place as u64);
        Ok(items.into_iter().enumerate().map(move |(place, item)| Ok((index(place), Item::reread(item)?))))
    }

    pub(super) fn push_output_text(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        for item in self.items()? {
            push_message_text(&item?.1, out)?;
        }
        Ok(())
    }

    pub(super) fn function_calls(&self) -> Result<Vec<FunctionCall>, Error> {
        let complete = self.terminal == ResponseTerminal::Completed;
        let mut calls = Vec::new();
        for item in self.items()? {
            let (index, item) = item?;
            calls.extend(FunctionCall::read(&item, index, complete));
        }
        Ok(calls)
    }
}

/// What a response is given at its end because its object does not say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending<'a> {
    pub(super) terminal: ResponseTerminal,
    /// Whether its status is missing or out of date.
    pub(super) status: bool,
    /// Its error, as JSON; empty for none.
    pub(super) error: &'a [u8],
}

/// The object of a response of which no event has told.
const UNTOLD: &[u8] = br#"{"object":"response","status":"in_progress","output":[]}"#;

/// Appends `response` with the items of `slots` as its output and what `ending` adds.
pub(super) fn write_response(
    response: &[u8],
    ending: Option<Ending<'_>>,
    slots: Option<&Slots>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let response = if response.is_empty() { UNTOLD } else { response };
    let status = |out: &mut Vec<u8>| {
        let word = match ending.map(|ending| ending.terminal) {
            Some(ResponseTerminal::Completed) => "completed",
            Some(ResponseTerminal::Incomplete) => "incomplete",
            Some(ResponseTerminal::Failed | ResponseTerminal::Error) => "failed",
            Some(ResponseTerminal::Cancelled) => "cancelled",
            None => "in_progress",
        };
        push_string(word.as_bytes(), out);
        Ok(())
    };
    let error = |out: &mut Vec<u8>| {
        out.extend_from_slice(ending.map_or(b"null", |ending| ending.error));
        Ok(())
    };
    let cut = ending.is_some_and(|ending| ending.terminal != ResponseTerminal::Completed);
    let output = |out: &mut Vec<u8>| {
        out.push(b'[');
        for slot in slots.into_iter().flat_map(Slots::values) {
            push_comma(out);
            slot.write(cut, out)?;
        }
        out.push(b']');
        Ok(())
    };
    let mut edits = Vec::with_capacity(3);
    if ending.is_some_and(|ending| ending.status) {
        edits.push(Edit::new("status", &status));
    }
    if ending.is_some_and(|ending| !ending.error.is_empty()) {
        edits.push(Edit::new("error", &error));
    }
    if slots.is_some_and(|slots| !slots.is_empty()) {
        edits.push(Edit::new("output", &output));
    }
    patch(response, &edits, out)
}

/// Appends the error object of an `error` event, of which there are three shapes: flat, nested, and that of the
/// WebSocket frame, which is nested beside a status.
pub(super) fn write_error(event: &Event<'_>, out: &mut Vec<u8>) {
    match event.value(Field::Error) {
        Some(error) if error.starts_with(b"{") => out.extend_from_slice(error),
        Some(message) if !is_empty(Some(message)) => {
            out.push(b'{');
            push_key("message", out);
            out.extend_from_slice(message);
            out.push(b'}');
        }
        _ => {
            out.push(b'{');
            for field in [Field::Code, Field::Message, Field::Param] {
                if let Some(value) = event.value(field) {
                    push_comma(out);
                    push_key(field.as_str(), out);
                    out.extend_from_slice(value);
                }
            }
            out.push(b'}');
        }
    }
}

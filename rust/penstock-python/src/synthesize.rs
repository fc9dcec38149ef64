//! `synthesize`: a whole response in, the events of its stream out.

use penstock::{Scanner, SliceUnit, SynthesizeOptions, Wire};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};
use std::num::NonZeroUsize;

use crate::errors::{guard, raise_illegal};
use crate::event::Context;
use crate::given::{json_of, unknown};
use crate::json::Options;
use crate::limits::Limits;
use crate::strings::utf8;
use crate::written::event;

/// The stream that a whole response could have come in, for models and back ends that cannot stream.
///
/// Items are added empty and in progress, text and arguments come in slices, the last event is the one that the
/// response's `status` asks for, and what accumulates the events has `response` again. `penstock.lint` finds nothing in
/// them. All are made at once, so errors come before the first event; the pace is the caller's.
///
/// Args:
///     response: the response object: a dict, or JSON text as str or bytes.
///     slice: how many units of text each delta holds.
///     unit: "codepoints", "graphemes" for what a reader sees as one character, or "words" with the white space after
///         each.
///     format: "events" for `Event`s, "sse" for bytes of the event stream, "websocket" for the texts of frames.
///     compat: "litellm" for the bare stream of LiteLLM's mock iterator: deltas of all text of messages, with the
///         response's id and indices of 0, and `response.completed`; that is not a legal stream.
///     limits: the bounds: `max_message_bytes` and, for items, parts and annotations together, `max_parts`.
///
/// Raises:
///     DecodeError: the response is not JSON, or something else than an object holds the items.
///     IllegalEvent: no legal stream brings it: it has no id, has not ended, or completes with an incomplete item.
///     LimitExceeded: it is larger than allowed.
#[pyfunction]
#[pyo3(signature = (response, /, *, slice=5, unit="codepoints", format="events", compat=None, limits=None))]
pub(crate) fn synthesize<'py>(
    response: &Bound<'py, PyAny>,
    slice: usize,
    unit: &str,
    format: &str,
    compat: Option<&str>,
    limits: Option<&Limits>,
) -> PyResult<Bound<'py, PyIterator>> {
    let py = response.py();
    guard(py, || {
        let Some(slice) = NonZeroUsize::new(slice) else {
            return Err(PyValueError::new_err("slice must be at least 1"));
        };
        let unit = match unit {
            "codepoints" => SliceUnit::CodePoints,
            "graphemes" => SliceUnit::Graphemes,
            "words" => SliceUnit::Words,
            other => {
                return Err(unknown("unit", other, "\"codepoints\", \"graphemes\" or \"words\""));
            }
        };
        let wire = match format {
            "sse" => Wire::Sse,
            "websocket" | "events" => Wire::Messages,
            other => return Err(unknown("format", other, "\"events\", \"sse\" or \"websocket\"")),
        };
        let bare = match compat {
            None => false,
            Some("litellm") => true,
            Some(other) => return Err(unknown("compat", other, "\"litellm\" or None")),
        };
        let limits = Limits::or_default(limits);
        let options = SynthesizeOptions { slice, unit, wire, bare, limits };
        let made =
            penstock::synthesize(&json_of(response)?, &options).map_err(|error| raise_illegal(py, &error))?;
        let list = PyList::empty(py);
        let mut scanner = Scanner::default();
        let context = Context::new(py, Options::new(&limits, false), None)?;
        for text in made.events() {
            match format {
                "sse" => list.append(PyBytes::new(py, text))?,
                "websocket" => list.append(utf8(py, text))?,
                _ => list.append(event(py, text, &mut scanner, &context)?)?,
            }
        }
        list.try_iter()
    })
}

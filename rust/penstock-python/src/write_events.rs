//! `write_events`: events as bytes of an event stream.

use penstock::{Head, Scanner, SseFrame, write_sse};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::bytes_like::with_bytes;
use crate::errors::{guard, raise_illegal};
use crate::event::Event;
use crate::given::json_of;
use crate::partial::with_utf8;

/// Writes events as bytes of an event stream, their payloads untouched.
///
/// The frame's `event` field is the event's name, else the `type` of its payload; Chat Completions chunks have neither
/// and get none.
///
/// Args:
///     events: an `Event`, or a payload: bytes-like or str, or a dict, which is written as JSON; or a list or tuple of
///         these.
///     id: the frame's `id` field, for a single event; by default none.
///
/// Raises:
///     IllegalEvent: a name or id with a character that would end its line.
#[pyfunction]
#[pyo3(signature = (events, /, *, id=None))]
pub(crate) fn write_events<'py>(
    events: &Bound<'py, PyAny>,
    id: Option<&str>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = events.py();
    guard(py, || {
        let mut out = Vec::new();
        let mut scanner = Scanner::default();
        let id = id.map(str::as_bytes);
        if let Ok(list) = events.cast::<PyList>() {
            list.iter().try_for_each(|event| write(&event, id, &mut scanner, &mut out))?;
        } else if let Ok(tuple) = events.cast::<PyTuple>() {
            tuple.iter().try_for_each(|event| write(&event, id, &mut scanner, &mut out))?;
        } else {
            write(events, id, &mut scanner, &mut out)?;
        }
        Ok(PyBytes::new(py, &out))
    })
}

fn write(
    event: &Bound<'_, PyAny>,
    id: Option<&[u8]>,
    scanner: &mut Scanner,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    let py = event.py();
    let mut frame = |payload: &[u8], name: Option<&[u8]>| {
        let head: Head = scanner.head(payload);
        let kind = head.type_span.of(payload);
        let kind = kind.strip_prefix(b"\"").and_then(|kind| kind.strip_suffix(b"\""));
        // A type with escapes is no name that anybody uses.
        let name = name.or(kind.filter(|kind| !kind.is_empty() && !kind.contains(&b'\\')));
        let frame = SseFrame { name, id, data: Some(payload), ..SseFrame::default() };
        write_sse(&frame, out).map_err(|error| raise_illegal(py, &error))
    };
    if let Ok(event) = event.cast::<Event>() {
        let event = event.get();
        return frame(event.payload(py), event.name_bytes(py));
    }
    if let Ok(text) = event.cast::<PyString>() {
        return with_utf8(text, |payload| frame(payload, None));
    }
    if event.is_instance_of::<PyDict>() {
        return frame(&json_of(event)?, None);
    }
    with_bytes(event, |payload| frame(payload.as_bytes(), None))
}

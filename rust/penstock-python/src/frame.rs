//! `write_sse`: one frame of an event stream, whatever dialect it speaks.

use penstock::SseFrame;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use crate::bytes_like::with_bytes;
use crate::errors::{construct, guard, raise_illegal};

/// Writes one frame of an event stream, for servers that send what no other class here writes.
///
/// What a reader gets is what was given, or the call raises: no value can end its field, let alone forge an event.
/// Each line of `data` becomes a `data` line, each line of `comment` a comment; a reader sees LF for each line end.
/// A frame without `data` is no event: a comment keeps a connection alive, an `id` or `retry` counts from then on.
///
/// Args:
///     data: the payload, as text or as bytes, which are written as they are.
///     event: the `event` field: one line, not empty, without NUL.
///     id: the `id` field: one line without NUL; an empty one makes a reader forget the last.
///     retry: the `retry` field, in milliseconds.
///     comment: what readers ignore.
///
/// Raises:
///     IllegalEvent: the rule is "unsafe_name", "unsafe_id" or, for a number below 0 or from 2**64 on, "unsafe_retry".
///     UnicodeEncodeError: a text that holds a lone surrogate.
#[pyfunction]
#[pyo3(signature = (data=None, *, event=None, id=None, retry=None, comment=None))]
pub(crate) fn write_sse<'py>(
    py: Python<'py>,
    data: Option<&Bound<'py, PyAny>>,
    event: Option<&Bound<'py, PyString>>,
    id: Option<&Bound<'py, PyString>>,
    retry: Option<&Bound<'py, PyInt>>,
    comment: Option<&Bound<'py, PyString>>,
) -> PyResult<Bound<'py, PyBytes>> {
    guard(py, || {
        let frame = SseFrame {
            comment: text(comment)?,
            name: text(event)?,
            id: text(id)?,
            retry: retry.map(milliseconds).transpose()?,
            data: None,
        };
        let write = |data: Option<&[u8]>| {
            let mut out = Vec::new();
            penstock::write_sse(&SseFrame { data, ..frame }, &mut out)
                .map_err(|error| raise_illegal(py, &error))?;
            Ok(PyBytes::new(py, &out))
        };
        match data {
            None => write(None),
            Some(data) => match data.cast::<PyString>() {
                Ok(data) => write(Some(data.to_str()?.as_bytes())),
                Err(_) => with_bytes(data, |bytes| write(Some(bytes.as_bytes()))),
            },
        }
    })
}

fn text<'a>(value: Option<&'a Bound<'_, PyString>>) -> PyResult<Option<&'a [u8]>> {
    Ok(value.map(|value| value.to_str()).transpose()?.map(str::as_bytes))
}

fn milliseconds(retry: &Bound<'_, PyInt>) -> PyResult<u64> {
    retry.extract().map_err(|_| {
        construct(retry.py(), "IllegalEvent", "retry is a number of milliseconds, 0 or more", |fields| {
            fields.set_item("rule", "unsafe_retry")?;
            fields.set_item("event", None::<&str>)
        })
    })
}

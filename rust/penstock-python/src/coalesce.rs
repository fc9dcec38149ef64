//! `_coalesce`: neighbouring deltas of a stream as one.

use std::borrow::Cow;

use penstock::{Limits, coalesce_frames};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::errors::{guard, raise};

/// Merges the neighbouring deltas of frames: those that differ in nothing but the text they add. Each frame is bytes
/// that hold one event; what merges with nothing is the same object.
#[pyfunction]
#[pyo3(signature = (frames, /))]
pub(crate) fn _coalesce<'py>(frames: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
    let py = frames.py();
    guard(py, || {
        let given = frames.iter().map(Bound::cast_into::<PyBytes>).collect::<Result<Vec<_>, _>>()?;
        let limits = Limits { max_line_bytes: u64::MAX, max_event_bytes: u64::MAX, ..Limits::default() };
        let merged = coalesce_frames(given.iter().map(PyBytesMethods::as_bytes), &limits);
        let list = PyList::empty(py);
        let mut rest = given.iter();
        for frame in merged.map_err(|error| raise(py, &error))? {
            match frame {
                // Frames come out in order, so those that stayed are found by going on from the last one.
                Cow::Borrowed(bytes) => match rest.find(|given| std::ptr::eq(given.as_bytes(), bytes)) {
                    Some(same) => list.append(same)?,
                    None => list.append(PyBytes::new(py, bytes))?,
                },
                Cow::Owned(bytes) => list.append(PyBytes::new(py, &bytes))?,
            }
        }
        Ok(list)
    })
}

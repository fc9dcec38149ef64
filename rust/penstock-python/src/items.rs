//! `Items`: what was said in a conversation, as text until somebody asks for objects.

use penstock::json::push_string;
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use crate::bounds::Bounds;
use crate::bytes_like::with_bytes;
use crate::errors::{guard, raise};
use crate::json::{Options, to_python};
use crate::partial::with_utf8;

/// Items of a conversation, oldest first, kept as the JSON text they came in.
///
/// A history costs nothing to load however long it is: its items are put together when `data` is read, and become
/// objects when `json()` is called, an item is asked for or iterated. Those are the caller's own, made anew each time.
///
/// Args:
///     items: dicts and JSON texts as bytes in any iterable, a JSON array as bytes, or a str: a user's message.
#[pyclass(frozen, module = "penstock.store")]
pub(crate) struct Items {
    pub(crate) core: penstock::Items,
}

/// JSON text of `value`, without the white space that `json.dumps` would put into it.
fn compact(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    static ENCODERS: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();
    let py = value.py();
    let [plain, ascii] = ENCODERS.get_or_try_init(py, || {
        let class = py.import("json")?.getattr("JSONEncoder")?;
        let encoder = |ascii: bool| {
            let options = PyDict::new(py);
            options.set_item("ensure_ascii", ascii)?;
            options.set_item("allow_nan", false)?;
            options.set_item("separators", (",", ":"))?;
            class.call((), Some(&options))?.getattr("encode").map(Bound::unbind)
        };
        Ok::<_, PyErr>([encoder(false)?, encoder(true)?])
    })?;
    let text = plain.bind(py).call1((value,))?;
    if let Ok(text) = text.cast::<PyString>()?.to_str() {
        return Ok(text.as_bytes().to_vec());
    }
    // Escapes carry surrogates that UTF-8 could not.
    let text = ascii.bind(py).call1((value,))?;
    Ok(text.cast::<PyString>()?.to_str()?.as_bytes().to_vec())
}

/// JSON text of an object: text as it is, a dict written.
pub(crate) fn object_json(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if value.is_instance_of::<PyDict>() {
        return compact(value);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return with_utf8(text, |text| Ok(text.to_vec()));
    }
    with_bytes(value, |text| Ok(text.as_bytes().to_vec()))
}

/// JSON text of items, as callers have them.
pub(crate) fn items_json(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(items) = value.cast::<Items>() {
        return Ok(items.get().json_text());
    }
    if let Ok(text) = value.cast::<PyString>() {
        let mut out = Vec::new();
        with_utf8(text, |text| {
            push_string(text, &mut out);
            Ok(())
        })?;
        return Ok(out);
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return array_json(value);
    }
    if value.is_instance_of::<PyDict>() {
        return Err(PyTypeError::new_err("items are a list, a str or bytes, not one dict"));
    }
    if pyo3::buffer::PyUntypedBuffer::get(value).is_ok() {
        return with_bytes(value, |text| Ok(text.as_bytes().to_vec()));
    }
    array_json(value)
}

/// JSON text of a sequence of dicts and JSON texts.
fn array_json(items: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = vec![b'['];
    for item in items.try_iter()? {
        let item = item?;
        if out.len() > 1 {
            out.push(b',');
        }
        if item.is_instance_of::<PyDict>() {
            out.extend(compact(&item)?);
        } else if item.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("an item is a dict or JSON text as bytes, not str"));
        } else {
            with_bytes(&item, |text| {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            })?;
        }
    }
    out.push(b']');
    Ok(out)
}

impl Items {
    fn json_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.core.write_json(&mut out);
        out
    }
}

#[pymethods]
impl Items {
    #[new]
    #[pyo3(signature = (items=None, /), text_signature = "(items=(), /)")]
    fn new(py: Python<'_>, items: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        guard(py, || {
            let Some(items) = items else { return Ok(Self { core: penstock::Items::default() }) };
            let core = penstock::Items::of_input(&items_json(items)?).map_err(|error| raise(py, &error))?;
            Ok(Self { core })
        })
    }

    /// The items of JSON arrays, one array after the other.
    #[staticmethod]
    fn _join(py: Python<'_>, arrays: &Bound<'_, PyList>) -> PyResult<Self> {
        guard(py, || {
            let arrays: Vec<Bound<'_, PyBytes>> = arrays.extract()?;
            let core = penstock::Items::read(arrays.iter().map(PyBytesMethods::as_bytes));
            Ok(Self { core: core.map_err(|error| raise(py, &error))? })
        })
    }

    /// What stays of them before a turn with which a history would be too long.
    fn _before(&self, py: Python<'_>, input: &Self, output: &Self, bounds: &Bounds) -> PyResult<Self> {
        guard(py, || Ok(Self { core: self.core.before(&input.core, &output.core, &bounds.core) }))
    }

    /// All of them as one JSON array.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || Ok(PyBytes::new(py, &self.json_text())))
    }

    /// Bytes of the items' texts, without what separates them.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(self.core.bytes()))
    }

    /// All of them as a list of dicts, made anew each time.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || to_python(py, &self.json_text(), Options::default()))
    }

    /// At most so many items and bytes of them: the newest, and every system and developer message, which stay
    /// whatever the bounds.
    ///
    /// The cut never parts a call from its output, nor reasoning from the message or call it led to.
    #[pyo3(signature = (*, max_items=None, max_bytes=None))]
    fn trim(&self, py: Python<'_>, max_items: Option<u64>, max_bytes: Option<u64>) -> PyResult<Self> {
        guard(py, || Ok(self.trimmed(max_items, max_bytes)))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.core.len() as usize))
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let length = self.core.len();
            let place = if index < 0 {
                length.checked_sub(index.unsigned_abs() as u64)
            } else {
                Some(index.unsigned_abs() as u64)
            };
            let item = place.and_then(|place| self.core.get(place));
            let item = item.ok_or_else(|| PyIndexError::new_err("no such item"))?;
            to_python(py, item, Options::default())
        })
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        guard(py, || to_python(py, &self.json_text(), Options::default())?.try_iter())
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        guard(py, || Ok(other.cast::<Self>().is_ok_and(|other| other.get().core == self.core)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(format!("<Items count={} size={}>", self.core.len(), self.core.bytes())))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let py = slf.py();
        guard(py, || Ok((slf.get_type().into_any(), (PyBytes::new(py, &slf.get().json_text()),))))
    }
}

impl Items {
    pub(crate) fn trimmed(&self, max_items: Option<u64>, max_bytes: Option<u64>) -> Self {
        Self { core: self.core.trim(max_items.unwrap_or(u64::MAX), max_bytes.unwrap_or(u64::MAX), 0) }
    }
}

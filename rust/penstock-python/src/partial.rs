//! `PartialJSON`: JSON that is still arriving, as the Python objects it holds so far.

use std::sync::Mutex;

use penstock::json::{Kind, Number, PartialJson, PartialSink, PartialState};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString};

use crate::bytes_like::with_bytes;
use crate::errors::{guard, lock, raise};
use crate::json::{Options, to_python};
use crate::limits::Limits;

/// A reader and the objects it has made. What is whole is made once; what is open is copied for each caller.
pub(crate) struct PartialReader {
    core: PartialJson,
    tree: Tree,
    options: Options,
}

/// The value so far: containers that are whole stand in their parents, open ones only here.
#[derive(Default)]
struct Tree {
    root: Option<Py<PyAny>>,
    open: Vec<Level>,
}

enum Level {
    /// With the name of the member whose value comes next.
    Object(Py<PyDict>, Option<Py<PyString>>),
    Array(Py<PyList>),
}

impl PartialReader {
    pub(crate) fn new(limits: &penstock::Limits) -> Self {
        Self { core: PartialJson::new(limits), tree: Tree::default(), options: Options::new(limits, false) }
    }

    /// Reads the next piece. A text that is no JSON is no error here: the reader stays at what came before it.
    pub(crate) fn feed(&mut self, py: Python<'_>, piece: &[u8]) -> PyResult<()> {
        let mut growth = Growth { py, tree: &mut self.tree, options: self.options, failure: None };
        // The core keeps its refusal.
        let _ = self.core.feed(piece, &mut growth);
        growth.failure.map_or(Ok(()), Err)
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        let mut growth = Growth { py, tree: &mut self.tree, options: self.options, failure: None };
        self.core.finish(&mut growth);
        growth.failure.map_or(Ok(()), Err)
    }

    /// Reads what `text`, which begins with all that was read before, has more.
    pub(crate) fn follow(&mut self, py: Python<'_>, text: &[u8]) -> PyResult<()> {
        let read = usize::try_from(self.core.position()).unwrap_or(usize::MAX);
        match text.get(read..) {
            Some(more) if !more.is_empty() => self.feed(py, more),
            _ => Ok(()),
        }
    }

    /// The value so far; `None` while nothing of it is certain.
    pub(crate) fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut inner = self.core.open_string().map(|text| PyString::new(py, text).into_any());
        for level in self.tree.open.iter().rev() {
            inner = Some(level.copy_with(py, inner)?);
        }
        Ok(inner.or_else(|| self.tree.root.as_ref().map(|root| root.bind(py).clone())))
    }
}

impl Level {
    /// A copy of the container, with the open value in its place.
    fn copy_with<'py>(
        &self,
        py: Python<'py>,
        inner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Object(members, key) => {
                let copy = members.bind(py).copy()?;
                if let (Some(key), Some(inner)) = (key, inner) {
                    copy.set_item(key, inner)?;
                }
                Ok(copy.into_any())
            }
            Self::Array(elements) => {
                let elements = elements.bind(py);
                let copy = elements.get_slice(0, elements.len());
                inner.map_or(Ok(()), |inner| copy.append(inner))?;
                Ok(copy.into_any())
            }
        }
    }
}

/// Lets a tree grow by what the core finds.
struct Growth<'a, 'py> {
    py: Python<'py>,
    tree: &'a mut Tree,
    options: Options,
    failure: Option<PyErr>,
}

impl<'py> Growth<'_, 'py> {
    fn put(&mut self, value: PyResult<Bound<'py, PyAny>>) {
        let placed = value.and_then(|value| match self.tree.open.last() {
            None => {
                self.tree.root = Some(value.unbind());
                Ok(())
            }
            Some(Level::Object(members, key)) => match key {
                Some(key) => members.bind(self.py).set_item(key, value),
                None => Ok(()),
            },
            Some(Level::Array(elements)) => elements.bind(self.py).append(value),
        });
        if let Err(error) = placed {
            self.failure.get_or_insert(error);
        }
    }
}

impl PartialSink for Growth<'_, '_> {
    fn open(&mut self, object: bool) {
        self.tree.open.push(if object {
            Level::Object(PyDict::new(self.py).unbind(), None)
        } else {
            Level::Array(PyList::empty(self.py).unbind())
        });
    }

    fn close(&mut self) {
        match self.tree.open.pop() {
            Some(Level::Object(members, _)) => self.put(Ok(members.into_bound(self.py).into_any())),
            Some(Level::Array(elements)) => self.put(Ok(elements.into_bound(self.py).into_any())),
            None => {}
        }
    }

    fn key(&mut self, key: &str) {
        if let Some(Level::Object(_, next)) = self.tree.open.last_mut() {
            *next = Some(PyString::new(self.py, key).unbind());
        }
    }

    fn string(&mut self, text: &str) {
        self.put(Ok(PyString::new(self.py, text).into_any()));
    }

    fn number(&mut self, number: Number<'_>) {
        self.put(to_python(self.py, number.raw, self.options));
    }

    fn literal(&mut self, literal: Kind) {
        self.put(Ok(match literal {
            Kind::True => PyBool::new(self.py, true).to_owned().into_any(),
            Kind::False => PyBool::new(self.py, false).to_owned().into_any(),
            _ => self.py.None().into_bound(self.py),
        }));
    }
}

/// Reads one JSON text that is still arriving, such as the arguments of a tool call, and knows its value so far.
///
/// No byte is read twice, however the text is cut. The value holds what is certain: a number or literal at the end
/// of the input may go on and is withheld, so are a key without a value and half an escape; a string that is
/// open is there with its text so far. Nothing raises on text that is no JSON: `error` tells, and `value` stays
/// what it was before the first wrong byte.
///
/// Args:
///     limits: `max_message_bytes` bounds the text, `max_depth` its nesting, `max_number_digits` its integers.
#[pyclass(frozen, name = "PartialJSON", module = "penstock")]
pub(crate) struct PartialJSON {
    state: Mutex<PartialReader>,
}

impl PartialJSON {
    fn ask<T>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&mut PartialReader) -> PyResult<T>,
    ) -> PyResult<T> {
        guard(py, || question(&mut *lock(py, &self.state)?))
    }
}

#[pymethods]
impl PartialJSON {
    #[new]
    #[pyo3(signature = (*, limits=None))]
    fn new(py: Python<'_>, limits: Option<&Limits>) -> PyResult<Self> {
        guard(py, || Ok(Self { state: Mutex::new(PartialReader::new(&Limits::or_default(limits))) }))
    }

    /// Takes the next piece of the text, cut anywhere.
    ///
    /// Args:
    ///     data: a str, which may end between surrogates, or bytes-like UTF-8, which may end inside a character.
    #[pyo3(signature = (data, /))]
    fn feed(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if let Ok(text) = data.cast::<PyString>() {
            return with_utf8(text, |bytes| self.ask(py, |reader| reader.feed(py, bytes)));
        }
        with_bytes(data, |bytes| self.ask(py, |reader| reader.feed(py, bytes.as_bytes())))
    }

    /// Ends the input, which makes a number at its end certain. May be called again, to no effect.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, |reader| reader.finish(py))
    }

    /// The value so far; None while nothing of it is certain.
    ///
    /// Containers that are still open are copies, the caller's own. What is whole is made once and the same object
    /// each time: who changes it changes it for later readings too.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |reader| reader.value(py))
    }

    /// Whether the value is whole.
    #[getter]
    fn complete(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |reader| Ok(reader.core.state() == PartialState::Complete))
    }

    /// What is wrong with the text, a `DecodeError` or `LimitExceeded` with its `offset`; None if nothing is.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<PyErr>> {
        self.ask(py, |reader| Ok(reader.core.error().map(|error| raise(py, error))))
    }

    /// "empty", "incomplete", "complete" or "invalid".
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.ask(py, |reader| Ok(state_name(reader.core.state())))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |reader| {
            let PartialReader { core, .. } = reader;
            Ok(format!("<PartialJSON {} bytes={}>", state_name(core.state()), core.position()))
        })
        .or_else(|_| Ok("<PartialJSON in use or spoiled>".to_owned()))
    }
}

const fn state_name(state: PartialState) -> &'static str {
    match state {
        PartialState::Empty => "empty",
        PartialState::Incomplete => "incomplete",
        PartialState::Complete => "complete",
        PartialState::Invalid => "invalid",
    }
}

/// Calls `work` with a string as UTF-8; surrogates, which UTF-8 cannot hold, as WTF-8.
pub(crate) fn with_utf8<T>(
    text: &Bound<'_, PyString>,
    work: impl FnOnce(&[u8]) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(text) = text.to_str() {
        return work(text.as_bytes());
    }
    let encoded = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    with_bytes(&encoded, |bytes| work(bytes.as_bytes()))
}

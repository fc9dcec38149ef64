//! `Event`: a frozen view on the bytes of one event.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use penstock::json::RawStr;
use penstock::{EventType, Field, Fields, Scanner, Span};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyString, PyTuple};

use crate::errors::guard;
use crate::json::{self, Options};
use crate::strings;
use crate::template::Template;

/// What every consumer asks of an event, read in one pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head {
    kind: Option<EventType>,
    event_type: Span,
    sequence_number: Span,
    output_index: Span,
    item_id: Span,
    stream_id: Span,
    delta: Span,
    choices: Span,
}

impl Head {
    /// The head of one payload, found with the help of those before it.
    #[inline]
    pub(crate) fn scan(scanner: &mut Scanner, payload: &[u8]) -> Self {
        scanner.scan(payload).map_or_else(|_| Self::default(), Self::of)
    }

    #[inline]
    fn of(fields: &Fields) -> Self {
        Self {
            kind: fields.event_type(),
            event_type: fields.span(Field::Type),
            sequence_number: fields.span(Field::SequenceNumber),
            output_index: fields.span(Field::OutputIndex),
            item_id: fields.span(Field::ItemId),
            stream_id: fields.span(Field::StreamId),
            delta: fields.span(Field::Delta),
            choices: fields.span(Field::Choices),
        }
    }
}

/// One event of a stream: a frozen view on its bytes.
///
/// Reading an attribute decodes that field alone and builds no dict; `event["key"]`, `get`, `in`, `keys()` and
/// iteration read the payload as the JSON object that `json()` builds, once. Two events are equal when their
/// payload, name and id are. An event is always true.
///
/// Args:
///     data: the payload, usually one JSON text; a str is encoded as UTF-8.
///     name: the `event` field of the frame.
///     id: the stream's last event id.
#[pyclass(frozen, mapping, freelist = 256, module = "penstock")]
pub(crate) struct Event {
    /// Holds the payload, and the name if it stands in the same chunk.
    bytes: Py<PyBytes>,
    data: Range,
    name: Option<Range>,
    id: Option<Py<PyString>>,
    flushed: bool,
    options: Options,
    head: Head,
    template: Option<Arc<Template>>,
    object: PyOnceLock<Py<PyAny>>,
}

/// A piece of the event's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Event {
    /// An event whose payload and name are pieces of `bytes`.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "one a field")]
    pub(crate) fn of(
        bytes: Py<PyBytes>,
        data: Range,
        name: Option<Range>,
        id: Option<Py<PyString>>,
        flushed: bool,
        options: Options,
        head: Head,
        template: Option<Arc<Template>>,
    ) -> Self {
        Self { bytes, data, name, id, flushed, options, head, template, object: PyOnceLock::new() }
    }

    fn piece<'a>(&'a self, py: Python<'a>, range: Range) -> &'a [u8] {
        self.bytes.as_bytes(py).get(range.start..range.end).unwrap_or_default()
    }

    /// The payload.
    #[inline]
    pub(crate) fn payload<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.piece(py, self.data)
    }

    fn name_bytes<'a>(&'a self, py: Python<'a>) -> Option<&'a [u8]> {
        self.name.map(|name| self.piece(py, name))
    }

    /// The payload's object, built on first use.
    fn object<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let object = self.object.get_or_try_init(py, || self.build(py).map(Bound::unbind))?;
        Ok(object.bind(py))
    }

    fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let payload = self.payload(py);
        if let Some(template) = &self.template
            && let Some(object) = template.build(py, payload, self.options)?
        {
            return Ok(object);
        }
        json::to_python(py, payload, self.options)
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyDict>> {
        self.object(py)?
            .cast::<PyDict>()
            .map_err(|_| PyTypeError::new_err("the event's data is not a JSON object"))
    }
}

/// Reads of single fields, shared by `Event` and projections.
pub(crate) struct Reader<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) payload: &'a [u8],
    pub(crate) name: Option<&'a [u8]>,
    pub(crate) head: &'a Head,
}

impl<'py> Reader<'_, 'py> {
    #[inline]
    pub(crate) fn event_type(&self) -> PyResult<Bound<'py, PyString>> {
        let words = strings::words(self.py)?;
        if let Some(word) = self.head.kind.and_then(|kind| words.event_type(kind)) {
            return Ok(word.bind(self.py).clone());
        }
        match (self.text(self.head.event_type), self.name) {
            (Some(text), _) => words.string(self.py, text),
            (None, Some(name)) => Ok(name_string(self.py, name)),
            (None, None) => Ok(pyo3::intern!(self.py, "message").clone()),
        }
    }

    #[inline]
    fn text(&self, span: Span) -> Option<RawStr<'_>> {
        penstock::event::string(span.of(self.payload))
    }

    #[inline]
    fn optional(&self, span: Span) -> PyResult<Option<Bound<'py, PyString>>> {
        self.text(span).map(|text| strings::string(self.py, text)).transpose()
    }

    #[inline]
    pub(crate) fn delta(&self) -> PyResult<Option<Bound<'py, PyString>>> {
        if !self.head.delta.is_empty() || self.head.choices.is_empty() {
            return self.optional(self.head.delta);
        }
        let text = penstock::event::chat_text(self.head.choices.of(self.payload));
        text.map(|text| strings::string(self.py, text)).transpose()
    }

    pub(crate) fn item_id(&self) -> PyResult<Option<Bound<'py, PyString>>> {
        self.optional(self.head.item_id)
    }

    pub(crate) fn stream_id(&self) -> PyResult<Option<Bound<'py, PyString>>> {
        self.optional(self.head.stream_id)
    }

    pub(crate) fn sequence_number(&self) -> Option<u64> {
        penstock::event::index(self.head.sequence_number.of(self.payload))
    }

    pub(crate) fn output_index(&self) -> Option<u64> {
        penstock::event::index(self.head.output_index.of(self.payload))
    }
}

/// The `event` field as a string.
pub(crate) fn name_string<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
    let known = strings::words(py).ok().and_then(|words| words.find(name));
    known.map_or_else(|| strings::utf8(py, name), |word| word.bind(py).clone())
}

impl Event {
    #[inline]
    fn read<'py, T>(
        &self,
        py: Python<'py>,
        field: impl FnOnce(Reader<'_, 'py>) -> PyResult<T>,
    ) -> PyResult<T> {
        guard(py, || {
            let name = self.name_bytes(py);
            field(Reader { py, payload: self.payload(py), name, head: &self.head })
        })
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (data, *, name=None, id=None))]
    fn new(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        name: Option<&str>,
        id: Option<Py<PyString>>,
    ) -> PyResult<Self> {
        let payload: Vec<u8> = match data.cast::<PyString>() {
            Ok(text) => text.to_cow()?.as_bytes().to_vec(),
            Err(_) => crate::decoder::with_bytes(data, |chunk| Ok(chunk.as_bytes().to_vec()))?,
        };
        let end = payload.len();
        let mut bytes = payload;
        bytes.extend_from_slice(name.unwrap_or_default().as_bytes());
        let name = name.filter(|name| !name.is_empty()).map(|_| Range { start: end, end: bytes.len() });
        let options = Options::new(&penstock::Limits::default(), false);
        let head = Head::scan(&mut Scanner::default(), bytes.get(..end).unwrap_or_default());
        Ok(Self::of(
            PyBytes::new(py, &bytes).unbind(),
            Range { start: 0, end },
            name,
            id,
            false,
            options,
            head,
            None,
        ))
    }

    /// The JSON `type` if the payload has one, else the frame's name, else "message".
    #[getter]
    fn r#type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.read(py, |reader| reader.event_type())
    }

    /// The frame's `event` field; None if it has none.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.name_bytes(py).map(|name| name_string(py, name))
    }

    /// The stream's last event id when this event came; None if none was set.
    #[getter]
    fn id(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.id.as_ref().map(|id| id.clone_ref(py))
    }

    /// The payload's `sequence_number`; None if it is missing or no non-negative integer.
    #[getter]
    fn sequence_number(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.read(py, |reader| Ok(reader.sequence_number()))
    }

    /// The payload's `output_index`; None if it is missing or no non-negative integer.
    #[getter]
    fn output_index(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.read(py, |reader| Ok(reader.output_index()))
    }

    /// The payload's `item_id`; None if it is missing or no string.
    #[getter]
    fn item_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.read(py, |reader| reader.item_id())
    }

    /// The payload's `stream_id`, the lane of a WebSocket connection; None if it is missing or no string.
    #[getter]
    fn stream_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.read(py, |reader| reader.stream_id())
    }

    /// The text this event adds: its `delta` if that is a string; for a Chat Completions chunk the content of
    /// the choice with index 0. None if it adds none.
    #[getter]
    fn delta<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.read(py, |reader| reader.delta())
    }

    /// The payload, untouched.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = self.bytes.bind(py);
        let whole = bytes.as_bytes();
        if self.data.start == 0 && self.data.end == whole.len() {
            return bytes.clone();
        }
        PyBytes::new(py, self.payload(py))
    }

    /// Delivered at the end of input although its blank line never came.
    #[getter]
    fn flushed(&self) -> bool {
        self.flushed
    }

    /// The payload as Python objects, built on first use and then the same each time.
    ///
    /// Equal to `json.loads` on valid JSON; lone surrogates and invalid UTF-8 become U+FFFD, or an error when the
    /// decoder was made with `errors="strict"`.
    ///
    /// Raises:
    ///     DecodeError: the payload is not one JSON text (RFC 8259).
    ///     LimitExceeded: nested deeper than `max_depth`, or an integer longer than `max_number_digits`.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.object(py).cloned())
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || match self.dict(py)?.get_item(&key)? {
            Some(value) => Ok(value),
            None => Err(PyKeyError::new_err(key.unbind())),
        })
    }

    /// The value of `key`, or `default`; also when the payload is no JSON object.
    #[pyo3(signature = (key, default=None, /))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(py, || match self.object(py)?.cast::<PyDict>() {
            Ok(dict) => Ok(dict.get_item(key)?.or(default)),
            Err(_) => Ok(default),
        })
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        guard(py, || match self.object(py)?.cast::<PyDict>() {
            Ok(dict) => dict.contains(key),
            Err(_) => Ok(false),
        })
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        guard(py, || self.dict(py)?.try_iter())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.dict(py)?.len()))
    }

    #[allow(clippy::unused_self, reason = "an event without members is an event all the same")]
    fn __bool__(&self) -> bool {
        true
    }

    /// The keys of the payload's object.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.dict(py)?.call_method0(pyo3::intern!(py, "keys")))
    }

    /// The values of the payload's object.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.dict(py)?.call_method0(pyo3::intern!(py, "values")))
    }

    /// The members of the payload's object.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.dict(py)?.call_method0(pyo3::intern!(py, "items")))
    }

    fn __richcmp__(&self, py: Python<'_>, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
        let other = other.get();
        let same_id = match (&self.id, &other.id) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => mine.bind(py).as_any().eq(theirs)?,
            _ => false,
        };
        let equal =
            same_id && self.payload(py) == other.payload(py) && self.name_bytes(py) == other.name_bytes(py);
        match op {
            CompareOp::Eq => {
                equal.into_pyobject(py).map(|same| same.to_owned().into_any().unbind()).map_err(PyErr::from)
            }
            CompareOp::Ne => (!equal)
                .into_pyobject(py)
                .map(|same| same.to_owned().into_any().unbind())
                .map_err(PyErr::from),
            _ => Ok(py.NotImplemented()),
        }
    }

    fn __hash__(&self, py: Python<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.payload(py).hash(&mut hasher);
        self.name_bytes(py).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let event_type = self.r#type(py)?;
        let mut parts = vec![format!("type={}", event_type.repr()?)];
        if let Some(id) = &self.id {
            parts.push(format!("id={}", id.bind(py).repr()?));
        }
        if self.flushed {
            parts.push("flushed=True".to_owned());
        }
        parts.push(format!("{} bytes", self.payload(py).len()));
        Ok(format!("<Event {}>", parts.join(" ")))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, event) = (slf.py(), slf.get());
        let class = slf.get_type();
        let state = (
            event.data(py),
            event.name(py),
            event.id(py),
            event.flushed,
            (event.options.strict, event.options.max_depth, event.options.max_number_digits),
        );
        Ok((class.getattr("_restore")?, state.into_pyobject(py)?))
    }

    /// Rebuilds a pickled event.
    #[staticmethod]
    fn _restore(
        py: Python<'_>,
        data: &Bound<'_, PyBytes>,
        name: Option<&str>,
        id: Option<Py<PyString>>,
        flushed: bool,
        options: (bool, u64, u64),
    ) -> PyResult<Self> {
        let mut event = Self::new(py, data, name, id)?;
        event.flushed = flushed;
        let (strict, max_depth, max_number_digits) = options;
        event.options = Options { strict, max_depth, max_number_digits };
        Ok(event)
    }
}

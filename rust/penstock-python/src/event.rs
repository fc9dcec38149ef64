//! `Event`: a frozen view on the bytes of one event.

pub(crate) mod place;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use penstock::{Field, Fields, Head, Scanner, Span};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyString, PyTuple};

use crate::bytes_like::{join, with_bytes};
use crate::errors::guard;
use crate::json::{self, Options};
use crate::strings;
use crate::template::Template;

/// One event of a stream: a frozen view on its bytes.
///
/// Reading an attribute decodes that field alone and builds no dict; `event["key"]`, `get`, `in`, `keys()` and
/// iteration read the payload as the JSON object that `json()` builds, once. Two events are equal when their
/// payload, name and id are. An event is always true. It takes no part in garbage collection, so an event that is
/// put into its own `json()` object is never freed.
///
/// Args:
///     data: the payload, usually one JSON text; a str is encoded as UTF-8.
///     name: the `event` field of the frame.
///     id: the stream's last event id.
#[pyclass(frozen, mapping, module = "penstock")]
pub(crate) struct Event {
    /// The JSON `type` if the payload has one, else the frame's name, else "message".
    #[pyo3(get)]
    r#type: Py<PyString>,
    /// The text this event adds: its `delta` if that is a string; for a Chat Completions chunk, which has neither
    /// `type` nor `delta`, the content of the choice with index 0. None if it adds none.
    #[pyo3(get)]
    delta: Py<PyAny>,
    /// Holds the payload, and the name if it stands in the same chunk.
    bytes: Py<PyBytes>,
    data: Span,
    /// Empty when the frame has none.
    name: Span,
    id: Option<Py<PyString>>,
    sequence_number: Span,
    output_index: Span,
    context: Py<Context>,
    flushed: bool,
    object: OnceLock<Py<PyAny>>,
}

/// Characters of a type or id that a repr shows.
const SHOWN: usize = 80;

/// What the events of a decoder have in common. An object of Python, since its counter of references is the
/// cheaper one: no event can do without.
#[pyclass(frozen)]
pub(crate) struct Context {
    pub(crate) options: Options,
    /// How to build the object of an event with a known shape.
    pub(crate) template: Option<Template>,
}

impl Context {
    pub(crate) fn new(py: Python<'_>, options: Options, template: Option<Template>) -> PyResult<Py<Self>> {
        Py::new(py, Self { options, template })
    }
}

/// The bytes an event is made of.
pub(crate) struct Parts {
    pub(crate) bytes: Py<PyBytes>,
    pub(crate) data: Span,
    pub(crate) name: Span,
    pub(crate) id: Option<Py<PyString>>,
    pub(crate) flushed: bool,
}

impl Event {
    #[inline(always)]
    pub(crate) fn of(py: Python<'_>, parts: Parts, head: &Head, context: Py<Context>) -> PyResult<Self> {
        let Parts { bytes, data, name, id, flushed } = parts;
        let all = bytes.as_bytes(py);
        let reader = Reader { py, payload: data.of(all), name: name.of(all), head };
        let r#type = reader.event_type()?.unbind();
        let delta = reader.delta()?.map_or_else(|| py.None(), |delta| delta.into_any().unbind());
        Ok(Self {
            r#type,
            delta,
            bytes,
            data,
            name,
            id,
            sequence_number: head.sequence_number,
            output_index: head.output_index,
            context,
            flushed,
            object: OnceLock::new(),
        })
    }

    /// Gives back what it holds.
    #[inline(always)]
    fn release(self, py: Python<'_>) {
        let Self { r#type, delta, bytes, id, context, object, .. } = self;
        r#type.drop_ref(py);
        delta.drop_ref(py);
        bytes.drop_ref(py);
        context.drop_ref(py);
        if let Some(id) = id {
            id.drop_ref(py);
        }
        if let Some(object) = object.into_inner() {
            object.drop_ref(py);
        }
    }

    /// The payload.
    #[inline]
    pub(crate) fn payload<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.data.of(self.bytes.as_bytes(py))
    }

    /// The `event` field.
    pub(crate) fn name_bytes<'a>(&'a self, py: Python<'a>) -> Option<&'a [u8]> {
        Some(self.name.of(self.bytes.as_bytes(py))).filter(|name| !name.is_empty())
    }

    /// The payload's object, built on first use.
    fn object<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        if let Some(object) = self.object.get() {
            return Ok(object.bind(py));
        }
        // Two threads may build it at once; the first one's is kept. Making the second wait would cost every
        // first read a release of the GIL.
        let built = self.build(py)?.unbind();
        Ok(self.object.get_or_init(|| built).bind(py))
    }

    fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let payload = self.payload(py);
        let Context { options, template } = self.context.get();
        if let Some(template) = template
            && let Some(object) = template.build(py, payload, self.delta.bind(py), *options)?
        {
            return Ok(object);
        }
        json::to_python(py, payload, *options)
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
    /// Empty when the frame has none.
    pub(crate) name: &'a [u8],
    pub(crate) head: &'a Head,
}

impl<'py> Reader<'_, 'py> {
    #[inline]
    pub(crate) fn event_type(&self) -> PyResult<Bound<'py, PyString>> {
        let words = strings::words(self.py)?;
        if let Some(word) = self.head.event_type.and_then(|known| words.event_type(known)) {
            return Ok(word.bind(self.py).clone());
        }
        match penstock::event::string(self.head.type_span.of(self.payload)) {
            Some(text) => words.string(self.py, text),
            None if !self.name.is_empty() => Ok(name_string(self.py, self.name)),
            None => Ok(intern!(self.py, "message").clone()),
        }
    }

    #[inline]
    pub(crate) fn delta(&self) -> PyResult<Option<Bound<'py, PyString>>> {
        if self.head.plain
            && let [_, inside @ .., _] = self.head.text.of(self.payload)
        {
            return strings::ascii(self.py, inside).map(Some);
        }
        self.head.text(self.payload).map(|text| strings::string(self.py, text)).transpose()
    }

    pub(crate) fn item_id(&self) -> PyResult<Option<Bound<'py, PyString>>> {
        string_field(self.py, self.payload, Field::ItemId)
    }

    pub(crate) fn stream_id(&self) -> PyResult<Option<Bound<'py, PyString>>> {
        string_field(self.py, self.payload, Field::StreamId)
    }

    pub(crate) fn sequence_number(&self) -> Option<u64> {
        penstock::event::index(self.head.sequence_number.of(self.payload))
    }

    pub(crate) fn output_index(&self) -> Option<u64> {
        penstock::event::index(self.head.output_index.of(self.payload))
    }
}

/// A string field that no head holds.
fn string_field<'py>(
    py: Python<'py>,
    payload: &[u8],
    field: Field,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let Ok(fields) = Fields::scan(payload) else { return Ok(None) };
    fields.text(payload, field).map(|text| strings::string(py, text)).transpose()
}

/// The `event` field as a string.
pub(crate) fn name_string<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
    let known = strings::words(py).ok().and_then(|words| words.find(name));
    known.map_or_else(|| strings::utf8(py, name), |word| word.bind(py).clone())
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (data, *, name=None, id=None))]
    fn new(py: Python<'_>, data: &Bound<'_, PyAny>, name: Option<&str>, id: Option<&str>) -> PyResult<Self> {
        guard(py, || {
            let payload: Vec<u8> = match data.cast::<PyString>() {
                Ok(text) => text.to_cow()?.as_bytes().to_vec(),
                Err(_) => with_bytes(data, |chunk| Ok(chunk.as_bytes().to_vec()))?,
            };
            let id = id.map(|id| PyString::new(py, id).unbind());
            let head = Scanner::default().head(&payload);
            let context = Context::new(py, Options::default(), None)?;
            let (bytes, data, name) = join(py, &payload, name.unwrap_or_default().as_bytes())?;
            Self::of(py, Parts { bytes: bytes.unbind(), data, name, id, flushed: false }, &head, context)
        })
    }

    /// The frame's `event` field; None if it has none.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        guard(py, || Ok(self.name_bytes(py).map(|name| name_string(py, name))))
    }

    /// The stream's last event id when this event came; None if none was set.
    #[getter]
    fn id(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.id.as_ref().map(|id| id.clone_ref(py))
    }

    /// The payload's `sequence_number`; None if it is missing or no non-negative integer.
    #[getter]
    fn sequence_number(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        guard(py, || Ok(penstock::event::index(self.sequence_number.of(self.payload(py)))))
    }

    /// The payload's `output_index`; None if it is missing or no non-negative integer.
    #[getter]
    fn output_index(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        guard(py, || Ok(penstock::event::index(self.output_index.of(self.payload(py)))))
    }

    /// The payload's `item_id`; None if it is missing or no string.
    #[getter]
    fn item_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        guard(py, || string_field(py, self.payload(py), Field::ItemId))
    }

    /// The payload's `stream_id`, the lane of a WebSocket connection; None if it is missing or no string.
    #[getter]
    fn stream_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        guard(py, || string_field(py, self.payload(py), Field::StreamId))
    }

    /// The payload, untouched.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = self.bytes.bind(py);
        let whole = bytes.as_bytes();
        if self.data.of(whole).len() == whole.len() {
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
        guard(py, || self.dict(py)?.call_method0(intern!(py, "keys")))
    }

    /// The values of the payload's object.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.dict(py)?.call_method0(intern!(py, "values")))
    }

    /// The members of the payload's object.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || self.dict(py)?.call_method0(intern!(py, "items")))
    }

    fn __richcmp__(&self, py: Python<'_>, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
            let other = other.get();
            let same_id = match (&self.id, &other.id) {
                (None, None) => true,
                (Some(mine), Some(theirs)) => mine.bind(py).as_any().eq(theirs)?,
                _ => false,
            };
            let equal = same_id
                && self.payload(py) == other.payload(py)
                && self.name_bytes(py) == other.name_bytes(py);
            match op {
                CompareOp::Eq => equal
                    .into_pyobject(py)
                    .map(|same| same.to_owned().into_any().unbind())
                    .map_err(PyErr::from),
                CompareOp::Ne => (!equal)
                    .into_pyobject(py)
                    .map(|same| same.to_owned().into_any().unbind())
                    .map_err(PyErr::from),
                _ => Ok(py.NotImplemented()),
            }
        })
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || {
            let mut hasher = DefaultHasher::new();
            self.payload(py).hash(&mut hasher);
            self.name_bytes(py).hash(&mut hasher);
            Ok(hasher.finish())
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let shown = |text: &Py<PyString>| {
                let text = text.bind(py).to_string_lossy();
                let cut: String = text.chars().take(SHOWN).collect();
                PyString::new(py, &if cut.len() < text.len() { cut + "…" } else { cut }).repr()
            };
            let mut parts = vec![format!("type={}", shown(&self.r#type)?)];
            if let Some(id) = &self.id {
                parts.push(format!("id={}", shown(id)?));
            }
            if self.flushed {
                parts.push("flushed=True".to_owned());
            }
            parts.push(format!("{} bytes", self.payload(py).len()));
            Ok(format!("<Event {}>", parts.join(" ")))
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, event) = (slf.py(), slf.get());
        guard(py, || {
            let (data, name, id) = (event.data(py), event.name(py)?, event.id(py));
            let state = (data, name, id, event.flushed, event.context.get().options.as_tuple());
            Ok((slf.get_type().getattr("_restore")?, state.into_pyobject(py)?))
        })
    }

    /// Rebuilds a pickled event.
    #[staticmethod]
    fn _restore(
        py: Python<'_>,
        data: &Bound<'_, PyBytes>,
        name: Option<&str>,
        id: Option<&str>,
        flushed: bool,
        options: (bool, u64, u64),
    ) -> PyResult<Self> {
        let mut event = Self::new(py, data, name, id)?;
        event.flushed = flushed;
        event.context = Context::new(py, Options::from_tuple(options), None)?;
        Ok(event)
    }
}

//! `Decoder`: bytes-like chunks in, events or rows of fields out.

#![allow(unsafe_code, reason = "buffers of foreign objects are borrowed for the length of a call")]

use std::ops::Range;
use std::sync::Mutex;

use penstock::{
    DecoderOptions, EndOfInput, Error, Frame, Framing, Head, Known, Malformed, Miss, Piece, Scanner, Sink,
    Span,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::errors::{guard, lock, raise, raise_after};
use crate::event::{Context, Event, Parts, Reader, name_string, place};
use crate::json::Options;
use crate::limits::Limits;
use crate::strings;
use crate::template::Template;

/// Decodes one stream, push style: feed it chunks in any split, then call `finish()`.
///
/// The event-stream rules are those of the HTML standard, section 9.2; nothing but LF, CR and CR LF ends a line.
/// After an error the decoder stays failed and raises the same error again; the error's `events` holds what the
/// chunk contained before it.
///
/// Args:
///     framing: "sse", or "ndjson" for one JSON text a line.
///     eof: what becomes of an event whose blank line never comes: "spec" drops it, "flush" delivers it, with
///         `event.flushed` set, if its payload is a whole JSON object.
///     errors: "replace" turns bytes that are not UTF-8, and lone surrogate escapes in JSON, into U+FFFD when they
///         are decoded; "strict" raises `DecodeError`.
///     sentinel: the payload that ends the stream, compared whole after trimming white space; None for none.
///     skip_empty: leave out events with an empty payload, which some servers send to keep connections alive.
///     limits: the bounds.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct Decoder {
    state: Mutex<State>,
}

struct State {
    core: penstock::Decoder,
    scanner: Scanner,
    contexts: Contexts,
    id: Option<Py<PyString>>,
    projection: Option<Projection>,
    /// Empty between calls; kept for its room.
    made: Vec<Py<PyAny>>,
}

/// What the events made so far share.
struct Contexts {
    /// For events without a shape.
    plain: Py<Context>,
    /// For those of the shape seen last.
    shaped: Py<Context>,
}

/// The fields asked for last; mostly the same tuple each time.
struct Projection {
    fields: Py<PyAny>,
    columns: Vec<Column>,
}

/// Events of a larger chunk have bytes of their own, so that one that is kept does not keep them all.
const LARGE_CHUNK: usize = 1 << 16;

/// A field of a projection.
#[derive(Debug, Clone, Copy)]
enum Column {
    Type,
    Name,
    Id,
    SequenceNumber,
    OutputIndex,
    ItemId,
    StreamId,
    Delta,
    Data,
    Flushed,
}

impl Column {
    const ALL: [(&'static str, Self); 10] = [
        ("type", Self::Type),
        ("name", Self::Name),
        ("id", Self::Id),
        ("sequence_number", Self::SequenceNumber),
        ("output_index", Self::OutputIndex),
        ("item_id", Self::ItemId),
        ("stream_id", Self::StreamId),
        ("delta", Self::Delta),
        ("data", Self::Data),
        ("flushed", Self::Flushed),
    ];
}

impl Projection {
    fn parse(fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        if fields.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("fields must be a sequence of names, not one str"));
        }
        // A tuple cannot change, so its columns can be kept as long as the same one comes.
        let names = PyTuple::new(fields.py(), fields.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        let mut columns = Vec::with_capacity(names.len());
        for name in &names {
            let name = name.cast::<PyString>()?.to_cow()?;
            let known = Column::ALL.iter().find(|(known, _)| *known == name);
            let Some((_, column)) = known else {
                let known: Vec<&str> = Column::ALL.iter().map(|(known, _)| *known).collect();
                return Err(PyValueError::new_err(format!(
                    "no field {name:?}; there are {}",
                    known.join(", ")
                )));
            };
            columns.push(*column);
        }
        let fields = if fields.is_exact_instance_of::<PyTuple>() { fields } else { names.as_any() };
        Ok(Self { fields: fields.clone().unbind(), columns })
    }
}

/// Turns frames into what the caller wants.
struct Output<'a, 'py> {
    chunk: &'a Bound<'py, PyBytes>,
    columns: Option<&'a [Column]>,
    id: &'a mut Option<Py<PyString>>,
    scanner: &'a mut Scanner,
    contexts: &'a mut Contexts,
    made: &'a mut Vec<Py<PyAny>>,
    failure: Option<PyErr>,
}

impl<'py> Output<'_, 'py> {
    #[inline(always)]
    fn event(&mut self, frame: &Frame<'_>) -> PyResult<Bound<'py, PyAny>> {
        let chunk = self.chunk.as_bytes();
        let (bytes, data, name) = match (&frame.data, &frame.name) {
            (Piece::Chunk(data), None) if chunk.len() <= LARGE_CHUNK => {
                (self.chunk.clone(), span(data), Span::default())
            }
            (Piece::Chunk(data), Some(Piece::Chunk(name))) if chunk.len() <= LARGE_CHUNK => {
                (self.chunk.clone(), span(data), span(name))
            }
            (data, name) => {
                let name = name.as_ref().map(|name| name.bytes(chunk)).unwrap_or_default();
                join(self.chunk.py(), data.bytes(chunk), name)?
            }
        };
        let whole = bytes.as_bytes();
        self.scanner.set_name(name.of(whole));
        let head = self.scanner.head(data.of(whole));
        self.make(Place { bytes, data, name }, head, frame.flushed)
    }

    /// The event that was recognised at `at` of a text, which is the chunk unless it is `carried`.
    #[inline(always)]
    fn known_event(
        &mut self,
        text: &[u8],
        at: usize,
        carried: bool,
        known: &Known,
        head: Head,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (data, name) = (known.data.moved(at), known.name.moved(at));
        if !carried && text.len() <= LARGE_CHUNK {
            return self.make(Place { bytes: self.chunk.clone(), data, name }, head, false);
        }
        let (bytes, data, name) = join(self.chunk.py(), data.of(text), name.of(text))?;
        self.make(Place { bytes, data, name }, head, false)
    }

    #[inline(always)]
    fn make(&mut self, place: Place<'py>, head: Head, flushed: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = self.chunk.py();
        let Place { bytes, data, name } = place;
        let id = self.id.as_ref().map(|id| id.clone_ref(py));
        let parts = Parts { bytes: bytes.unbind(), data, name, id, flushed };
        Ok(place::make(py, Event::of(py, parts, head, self.context()?)?)?.into_any())
    }

    /// The context of the payload just scanned.
    #[inline]
    fn context(&mut self) -> PyResult<Py<Context>> {
        let py = self.chunk.py();
        let Some(shape) = self.scanner.shape() else { return Ok(self.contexts.plain.clone_ref(py)) };
        let known = self.contexts.shaped.get().template.as_ref();
        if !known.is_some_and(|template| template.is_of(shape)) {
            let template = Some(Template::new(shape.clone()));
            self.contexts.shaped = Context::new(py, self.contexts.plain.get().options, template)?;
        }
        Ok(self.contexts.shaped.clone_ref(py))
    }

    #[inline]
    fn row(&mut self, columns: &[Column], frame: &Frame<'_>) -> PyResult<Bound<'py, PyAny>> {
        let chunk = self.chunk.as_bytes();
        let payload = frame.data.bytes(chunk);
        let name = frame.name.as_ref().map(|name| name.bytes(chunk)).unwrap_or_default();
        self.scanner.set_name(name);
        let head = self.scanner.head(payload);
        self.cells(columns, &Reader { py: self.chunk.py(), payload, name, head: &head }, frame.flushed)
    }

    /// A row of the event that was recognised at `at` of a text.
    #[inline]
    fn known_row(
        &self,
        columns: &[Column],
        text: &[u8],
        at: usize,
        known: &Known,
        head: &Head,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (payload, name) = (known.data.moved(at).of(text), known.name.moved(at).of(text));
        self.cells(columns, &Reader { py: self.chunk.py(), payload, name, head }, false)
    }

    #[inline]
    fn cells(
        &self,
        columns: &[Column],
        reader: &Reader<'_, 'py>,
        flushed: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.chunk.py();
        let cell = |column: &Column| -> PyResult<Bound<'py, PyAny>> {
            Ok(match column {
                Column::Type => reader.event_type()?.into_any(),
                Column::Delta => or_none(py, reader.delta()?),
                Column::Name => or_none(py, (!reader.name.is_empty()).then(|| name_string(py, reader.name))),
                Column::Id => or_none(py, self.id.as_ref().map(|id| id.bind(py).clone())),
                Column::ItemId => or_none(py, reader.item_id()?),
                Column::StreamId => or_none(py, reader.stream_id()?),
                Column::SequenceNumber => reader.sequence_number().into_pyobject(py)?,
                Column::OutputIndex => reader.output_index().into_pyobject(py)?,
                Column::Data => PyBytes::new(py, reader.payload).into_any(),
                Column::Flushed => flushed.into_pyobject(py)?.to_owned().into_any(),
            })
        };
        match columns {
            [one] => Ok(PyTuple::new(py, [cell(one)?])?.into_any()),
            [one, two] => Ok((cell(one)?, cell(two)?).into_pyobject(py)?.into_any()),
            many => {
                let cells = many.iter().map(cell).collect::<PyResult<Vec<_>>>()?;
                Ok(PyTuple::new(py, cells)?.into_any())
            }
        }
    }

    #[inline(always)]
    fn keep(&mut self, made: PyResult<Bound<'py, PyAny>>) {
        match made {
            Ok(made) => self.made.push(made.unbind()),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// Where an event's bytes are.
struct Place<'py> {
    bytes: Bound<'py, PyBytes>,
    data: Span,
    name: Span,
}

impl Sink for Output<'_, '_> {
    #[inline]
    fn frame(&mut self, _: &[u8], frame: Frame<'_>) {
        if self.failure.is_some() {
            return;
        }
        if frame.id_changed {
            let id = (!frame.id.is_empty()).then(|| strings::utf8(self.chunk.py(), frame.id).unbind());
            *self.id = id;
        }
        let made = match self.columns {
            None => self.event(&frame),
            Some(columns) => self.row(columns, &frame),
        };
        self.keep(made);
    }

    #[inline]
    fn known(&mut self, text: &[u8], at: usize, carried: bool) -> Result<usize, Miss> {
        if self.failure.is_some() {
            return Err(Miss::Different);
        }
        let (known, head) = self.scanner.known_head(text, at)?;
        let made = match self.columns {
            None => self.known_event(text, at, carried, &known, head),
            Some(columns) => self.known_row(columns, text, at, &known, &head),
        };
        self.keep(made);
        Ok(at + known.length)
    }
}

fn or_none<'py, T>(py: Python<'py>, value: Option<Bound<'py, T>>) -> Bound<'py, PyAny> {
    value.map_or_else(|| py.None().into_bound(py), Bound::into_any)
}

/// Chunks are fed in pieces shorter than 4 GiB.
fn span(range: &Range<usize>) -> Span {
    Span { start: range.start as u32, end: range.end as u32 }
}

/// Copies a payload and the name behind it into bytes of their own.
pub(crate) fn join<'py>(
    py: Python<'py>,
    data: &[u8],
    name: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Span, Span)> {
    let whole = 0..data.len() + name.len();
    let bytes = PyBytes::new_with(py, whole.end, |buffer| {
        let (head, tail) = buffer.split_at_mut(data.len());
        head.copy_from_slice(data);
        tail.copy_from_slice(name);
        Ok(())
    })?;
    Ok((bytes, span(&(0..data.len())), span(&(data.len()..whole.end))))
}

/// Calls `work` with the chunk as bytes: bytes as they are, any other buffer copied, so that nobody can change it
/// under an event.
pub(crate) fn with_bytes<'py, T>(
    chunk: &Bound<'py, PyAny>,
    work: impl FnOnce(&Bound<'py, PyBytes>) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(bytes) = chunk.cast_exact::<PyBytes>() {
        return work(bytes);
    }
    let py = chunk.py();
    let mut view = std::mem::MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: `PyObject_GetBuffer` fills the view or returns an error; a simple buffer is contiguous.
    let status = unsafe { ffi::PyObject_GetBuffer(chunk.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) };
    if status != 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: filled above. The slice is copied before the buffer is given back, with the GIL held throughout.
    let bytes = unsafe {
        let mut view = view.assume_init();
        let length = view.len.cast_unsigned();
        let held =
            if length == 0 { &[][..] } else { std::slice::from_raw_parts(view.buf.cast::<u8>(), length) };
        let bytes = PyBytes::new(py, held);
        ffi::PyBuffer_Release(&raw mut view);
        bytes
    };
    work(&bytes)
}

impl Decoder {
    fn run<'py>(
        &self,
        chunk: &Bound<'py, PyBytes>,
        fields: Option<&Bound<'py, PyAny>>,
        step: impl FnOnce(&mut penstock::Decoder, &mut Output<'_, 'py>) -> Result<(), Error>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = chunk.py();
        let mut state = lock(py, &self.state)?;
        let State { core, scanner, contexts, id, projection, made } = &mut *state;
        if let Some(fields) = fields
            && !projection.as_ref().is_some_and(|last| last.fields.is(fields))
        {
            *projection = Some(Projection::parse(fields)?);
        }
        let columns = fields.and(projection.as_ref()).map(|projection| &*projection.columns);
        let mut output = Output { chunk, columns, id, scanner, contexts, made, failure: None };
        let result = step(core, &mut output);
        let failure = output.failure;
        let made = PyList::new(py, made.drain(..));
        match (failure, result) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => made,
            (None, Err(error)) => Err(raise_after(py, &error, &made?)),
        }
    }

    fn ask<T>(&self, py: Python<'_>, question: impl FnOnce(&penstock::Decoder) -> T) -> PyResult<T> {
        guard(py, || Ok(question(&lock(py, &self.state)?.core)))
    }
}

#[pymethods]
impl Decoder {
    #[new]
    #[pyo3(
        signature = (*, framing="sse", eof="spec", errors="replace", sentinel=Some(&b"[DONE]"[..]),
            skip_empty=false, limits=None),
        text_signature = "(*, framing='sse', eof='spec', errors='replace', sentinel=b'[DONE]', skip_empty=False, \
            limits=None)"
    )]
    fn new(
        py: Python<'_>,
        framing: &str,
        eof: &str,
        errors: &str,
        sentinel: Option<&[u8]>,
        skip_empty: bool,
        limits: Option<&Limits>,
    ) -> PyResult<Self> {
        guard(py, || {
            let mut limits = Limits::or_default(limits);
            let choice = |name: &str, value: &str, choices: &str| {
                Err(PyValueError::new_err(format!("{name} must be {choices}, not {value:?}")))
            };
            let framing = match framing {
                "sse" => Framing::Sse,
                "ndjson" => Framing::Ndjson,
                other => return choice("framing", other, "\"sse\" or \"ndjson\""),
            };
            let end_of_input = match eof {
                "spec" => EndOfInput::Spec,
                "flush" => EndOfInput::Flush,
                other => return choice("eof", other, "\"spec\" or \"flush\""),
            };
            let malformed = match errors {
                "replace" => Malformed::Replace,
                "strict" => Malformed::Refuse,
                other => return choice("errors", other, "\"replace\" or \"strict\""),
            };
            // Places within a payload are kept in 32 bits.
            limits.max_event_bytes = limits.max_event_bytes.min(u64::from(u32::MAX));
            let core = penstock::Decoder::new(DecoderOptions {
                framing,
                end_of_input,
                malformed,
                sentinel: sentinel.map(Box::from),
                skip_empty,
                limits,
            });
            let options = Options::new(&limits, malformed == Malformed::Refuse);
            let plain = Context::new(py, options, None)?;
            let contexts = Contexts { shaped: plain.clone_ref(py), plain };
            let scanner = Scanner::default();
            let state = State { core, scanner, contexts, id: None, projection: None, made: Vec::new() };
            Ok(Self { state: Mutex::new(state) })
        })
    }

    /// Takes the next bytes of the stream.
    ///
    /// Args:
    ///     chunk: any bytes-like object.
    ///     fields: names of `Event` attributes; with them the answer is a tuple of their values for each event,
    ///         and no `Event` is made.
    ///
    /// Returns:
    ///     The events that these bytes complete, in order.
    ///
    /// Raises:
    ///     LimitExceeded: the input wants more than `limits` grants.
    ///     DecodeError: with `errors="strict"`, bytes that are not UTF-8.
    #[pyo3(signature = (chunk, *, fields=None))]
    fn feed<'py>(
        &self,
        chunk: &Bound<'py, PyAny>,
        fields: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(chunk.py(), || {
            with_bytes(chunk, |bytes| {
                self.run(bytes, fields, |core, output| core.feed(bytes.as_bytes(), output))
            })
        })
    }

    /// Ends the input: what is unfinished is dropped or flushed. May be called again, to no effect; bytes fed later are
    /// read as new lines of the same stream.
    ///
    /// Returns:
    ///     The event that was unfinished, if `eof="flush"` and its payload is whole.
    #[pyo3(signature = (*, fields=None))]
    fn finish<'py>(
        &self,
        py: Python<'py>,
        fields: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let nothing = PyBytes::new(py, b"");
            self.run(&nothing, fields, |core, output| core.finish(output))
        })
    }

    /// Whether the sentinel has come; everything after it is ignored.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, penstock::Decoder::is_done)
    }

    /// Whether an error has stopped this decoder.
    #[getter]
    fn failed(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |core| core.failure().is_some())
    }

    /// The error that stopped this decoder; None if it is well.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<PyErr>> {
        self.ask(py, |core| core.failure().cloned()).map(|error| error.map(|error| raise(py, &error)))
    }

    /// Bytes fed so far.
    #[getter]
    fn bytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, |core| core.counts().bytes)
    }

    /// Events delivered so far.
    #[getter]
    fn events(&self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, |core| core.counts().events)
    }

    /// Comment lines so far.
    #[getter]
    fn comments(&self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, |core| core.counts().comments)
    }

    /// The last `retry` field, in milliseconds; None if none came.
    #[getter]
    fn retry(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.ask(py, penstock::Decoder::retry)
    }

    /// The last event id; empty if none was set.
    #[getter]
    fn last_event_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.ask(py, |core| strings::utf8(py, core.last_event_id()))
    }

    /// The input so far, at most 1 MiB of it, if it starts like a JSON or HTML document and has held no event: an
    /// error that came in place of a stream. None otherwise.
    #[getter]
    fn non_sse_body<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.ask(py, |core| core.non_stream_body().map(|body| PyBytes::new(py, body)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |core| {
            let counts = core.counts();
            let state = match (core.failure(), core.is_done()) {
                (Some(_), _) => " failed",
                (None, true) => " done",
                _ => "",
            };
            format!("<Decoder{state} events={} bytes={}>", counts.events, counts.bytes)
        })
        .or_else(|_| Ok("<Decoder in use or spoiled>".to_owned()))
    }
}

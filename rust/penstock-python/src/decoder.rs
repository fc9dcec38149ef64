//! `Decoder`: bytes-like chunks in, events or rows of fields out.

mod output;
mod row;

use std::sync::Mutex;

use penstock::{DecoderOptions, EndOfInput, Error, Framing, Malformed, Scanner};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::bytes_like::with_bytes;
use crate::decoder::output::{Contexts, Output};
use crate::decoder::row::Projection;
use crate::errors::{guard, lock, raise, raise_after};
use crate::event::Context;
use crate::json::Options;
use crate::limits::Limits;
use crate::strings;

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
            && !projection.as_ref().is_some_and(|last| last.is_of(fields))
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

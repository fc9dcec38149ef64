//! `Relay`: a stream that passes through, frame by frame, to a truthful end.

use std::borrow::Cow;
use std::sync::Mutex;

use penstock::{RelayDialect, RelayOptions, ResponseTerminal, ResponseView};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bytes_like::with_bytes;
use crate::errors::{construct, guard, lock, raise};
use crate::given::{json_of, unknown};
use crate::json::{Options, to_python};
use crate::limits::Limits;

/// Passes one event stream through: bytes in, the same bytes out, and always a truthful end.
///
/// Whole frames leave as they came, so what is written ends where an event ends, and a terminal event can be appended
/// at any time. What passes is accumulated: a stream that is cut or fails ends with what had come. Chat Completions
/// streams end with an error object in place of a chunk and `[DONE]`; Responses streams with the `done` events of what
/// is open and `response.failed`; all others with an `error` event.
///
/// Args:
///     dialect: "responses", "chat", "messages", or "auto" to find it by the first event that tells. With None nothing
///         is accumulated and no end is known: half frames are held, and that is all.
///     hold: keep the event that ends the stream back: the terminal event, the chunk with the final usage, or `[DONE]`.
///         `held` tells that it has come, and `release()` gives it. What must happen before the client knows of the
///         end happens in between.
///     limits: the bounds of what passes and of what is accumulated.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct Relay {
    state: Mutex<penstock::Relay>,
    options: Options,
}

impl Relay {
    fn ask<T>(&self, py: Python<'_>, ask: impl FnOnce(&penstock::Relay) -> PyResult<T>) -> PyResult<T> {
        guard(py, || ask(&*lock(py, &self.state)?))
    }

    fn written<'py>(
        &self,
        py: Python<'py>,
        write: impl FnOnce(&mut penstock::Relay) -> Result<Vec<u8>, penstock::Error>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let written = write(&mut *lock(py, &self.state)?).map_err(|error| raise(py, &error))?;
            Ok(PyBytes::new(py, &written))
        })
    }

    fn snapshot_of<'py>(
        &self,
        py: Python<'py>,
        relay: &penstock::Relay,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let snapshot = match (relay.responses(), relay.chat()) {
            (Some(responses), _) => responses
                .response()
                .map_or(Ok(None), ResponseView::snapshot)
                .map_err(|error| raise(py, &error))?,
            (_, Some(chat)) => chat.snapshot().map(Cow::Owned),
            _ => None,
        };
        snapshot.map(|text| to_python(py, &text, self.options)).transpose()
    }
}

#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (*, dialect="auto", hold=false, limits=None))]
    fn new(py: Python<'_>, dialect: Option<&str>, hold: bool, limits: Option<&Limits>) -> PyResult<Self> {
        guard(py, || {
            let dialect = match dialect {
                None => Some(RelayDialect::Framing),
                Some("auto") => None,
                Some("responses") => Some(RelayDialect::Responses),
                Some("chat") => Some(RelayDialect::Chat),
                Some("messages") => Some(RelayDialect::Messages),
                Some(other) => {
                    let words = "\"auto\", \"responses\", \"chat\" or \"messages\"";
                    return Err(unknown("dialect", other, words));
                }
            };
            let limits = Limits::or_default(limits);
            let core = penstock::Relay::new(&RelayOptions { dialect, hold, limits });
            Ok(Self { state: Mutex::new(core), options: Options::new(&limits, false) })
        })
    }

    /// Tells the dialect of a stream by how it begins.
    ///
    /// Args:
    ///     chunk: bytes-like, the stream's first.
    ///
    /// Returns:
    ///     The dialect; None if no whole event in `chunk` tells it.
    #[staticmethod]
    #[pyo3(signature = (chunk, /))]
    fn recognize(chunk: &Bound<'_, PyAny>) -> PyResult<Option<&'static str>> {
        guard(chunk.py(), || {
            with_bytes(chunk, |bytes| {
                let found = penstock::Relay::recognize(bytes.as_bytes(), &penstock::Limits::default());
                Ok(found.and_then(name_of))
            })
        })
    }

    /// Takes the next bytes.
    ///
    /// Args:
    ///     chunk: bytes-like, in any split.
    ///
    /// Returns:
    ///     The bytes that may be written now: `chunk` itself where it is whole frames.
    ///
    /// Raises:
    ///     LimitExceeded: the stream wants more than `limits` grants. The frames before come first, in a call of
    ///         their own; from then on nothing passes.
    #[pyo3(signature = (chunk, /))]
    fn feed<'py>(&self, chunk: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = chunk.py();
        guard(py, || {
            with_bytes(chunk, |bytes| {
                let mut relay = lock(py, &self.state)?;
                let passed = relay.feed(bytes.as_bytes()).map_err(|error| raise(py, &error))?;
                Ok(match passed {
                    Cow::Borrowed(passed) if passed.len() == bytes.as_bytes().len() => bytes.clone(),
                    passed => PyBytes::new(py, &passed),
                })
            })
        })
    }

    /// Ends the input.
    ///
    /// Returns:
    ///     What is left to write: an event that only lacked its blank line, and, if the stream has not ended, that it
    ///     has failed. A Chat Completions stream that lacks `[DONE]` alone is given it.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.written(py, penstock::Relay::finish)
    }

    /// Ends the stream as failed: the upstream broke off, was silent too long, or sent what cannot pass.
    ///
    /// Args:
    ///     message: what happened, for the client to read.
    ///     code: the error's code.
    ///
    /// Returns:
    ///     The rest of the stream, in place of an end that is held back; nothing if it has ended.
    #[pyo3(signature = (message, /, *, code="server_error"))]
    fn fail<'py>(&self, py: Python<'py>, message: &str, code: &str) -> PyResult<Bound<'py, PyBytes>> {
        self.written(py, |relay| relay.fail(code, message))
    }

    /// Gives what is held back.
    ///
    /// Args:
    ///     usage: members to put into the event's `usage`, if it has one, such as `{"cost": 0.25}`. The rest of the
    ///         event stays as it came, byte for byte.
    ///
    /// Returns:
    ///     The event that ends the stream and what came behind it.
    #[pyo3(signature = (*, usage=None))]
    fn release<'py>(
        &self,
        py: Python<'py>,
        usage: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let usage = guard(py, || usage.map_or(Ok(Vec::new()), json_of))?;
        self.written(py, |relay| relay.release(&usage))
    }

    /// Whether the event that ends the stream has come and waits for `release()`.
    #[getter]
    fn held(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |relay| Ok(relay.is_held()))
    }

    /// Whether the stream has ended in its dialect's own way, held back or not.
    #[getter]
    fn ended(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |relay| Ok(relay.has_ended()))
    }

    /// Whether the last event of the stream has come, held back or not: nothing that belongs to it follows. A Chat
    /// Completions stream that has `ended` may still bring its usage and `[DONE]`.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |relay| Ok(relay.is_done()))
    }

    /// The dialect; None before it is known, or if it is none that is known.
    #[getter]
    fn dialect(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.ask(py, |relay| Ok(relay.dialect().and_then(name_of)))
    }

    /// How the stream ended, as the accumulators' `terminal`; None while it has not.
    #[getter]
    fn terminal(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.ask(py, |relay| {
            if let Some(chat) = relay.chat() {
                return Ok(chat.terminal().map(crate::chat_accumulator::terminal_name));
            }
            let terminal = relay.responses().and_then(|responses| responses.response()?.terminal());
            Ok(terminal.map(ResponseTerminal::as_str))
        })
    }

    /// Events that have come, those held back included.
    #[getter]
    fn events(&self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, |relay| Ok(relay.events()))
    }

    /// The usage so far; None while the server has not said.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |relay| {
            let usage =
                match (relay.responses().and_then(penstock::ResponseAccumulator::response), relay.chat()) {
                    (Some(response), _) => response.usage().map_err(|error| raise(py, &error))?,
                    (_, Some(chat)) => chat.usage(),
                    _ => None,
                };
            usage.map(|text| to_python(py, text, self.options)).transpose()
        })
    }

    /// The `Response` or `ChatCompletion` so far, built anew each time; None before its first event, and for
    /// dialects that are not accumulated.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |relay| self.snapshot_of(py, relay))
    }

    /// The `Response` or `ChatCompletion` that has ended, however it ended.
    ///
    /// Raises:
    ///     IncompleteStream: it has not ended ("open"), or it is of a dialect that is not accumulated ("dialect");
    ///         `partial` is what came.
    #[pyo3(name = "final")]
    fn final_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, |relay| {
            let snapshot = self.snapshot_of(py, relay)?;
            let reason = match snapshot {
                Some(object) if relay.has_ended() => return Ok(object),
                _ if relay.responses().is_none() && relay.chat().is_none() => "dialect",
                _ => "open",
            };
            Err(construct(
                py,
                "IncompleteStream",
                "the stream has not come to an end that is known",
                |fields| {
                    fields.set_item("partial", snapshot)?;
                    fields.set_item("reason", reason)
                },
            ))
        })
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let shown = self.ask(py, |relay| {
            let state = if relay.is_held() {
                "held"
            } else if relay.has_ended() {
                "ended"
            } else {
                "open"
            };
            Ok(format!("<Relay {state}, {} events>", relay.events()))
        });
        shown.unwrap_or_else(|_| "<Relay in use or spoiled>".to_owned())
    }
}

/// A dialect's name in Python; `None` for that of bare frames.
const fn name_of(dialect: RelayDialect) -> Option<&'static str> {
    match dialect {
        RelayDialect::Chat => Some("chat"),
        RelayDialect::Messages => Some("messages"),
        RelayDialect::Responses => Some("responses"),
        _ => None,
    }
}

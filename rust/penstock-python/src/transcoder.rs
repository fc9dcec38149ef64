//! `Transcoder`: a stream of one dialect in, the same stream in another dialect out.

use std::sync::Mutex;

use penstock::{
    ChatToResponsesOptions, Compat, EmitterOptions, Error, Messages, ReasoningAs, ResponsesToChatOptions,
    Truncated,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyList};

use crate::bytes_like::with_bytes;
use crate::decoder::Decoder;
use crate::errors::{guard, lock, raise};
use crate::feed::{Accumulate, Feed};
use crate::given::json_of;
use crate::limits::Limits;
use crate::origin::{Raised, id_source, require_callable, seconds, take_raised, token_hex};

/// Rewrites a stream of Chat Completions chunks as the events of a Responses stream, or the other way round.
///
/// Feed it the bytes of the source's event stream in any split, or events, then call `finish()`: the stream it
/// writes always ends in one truthful terminal event, whatever the upstream did. `response.completed` is written
/// only if the upstream said that its message is whole or sent `[DONE]`.
///
/// After an error the transcoder stays failed and raises the same error again; `finish()` then ends the stream as
/// failed. What had been written before the error is returned by the next call.
///
/// Args:
///     source: "chat" or "responses".
///     target: the other one.
///     model: the model's name; None to take it from the source.
///     id: of the response or completion; None for a new one.
///     new_id: called with a prefix ("resp_", "msg_", "fc_", …), returns an id; None for random ones.
///     now: called once, returns seconds since 1970; None for the time of the system.
///     limits: the bounds.
///     strict: raise `DecodeError` for what the source's API does not allow; otherwise `diagnostics` counts it.
///     reasoning: what reasoning becomes in a response: "summary" or "raw" (`reasoning_text`).
///     messages: "many": text behind reasoning or a tool call begins another message; "one": all text goes to one.
///     empty_arguments: the arguments of a function call that has none: "" or "{}".
///     truncated: how a cut stream ends: "failed", or "incomplete" with reason `stream_truncated`.
///     compat: "openai-agents" for that library's order of events.
///     echo: the Responses request, or members of it (instructions, tools, metadata, …), which the response repeats;
///         members that a response does not repeat are left out.
///     include_usage: write the usage chunk, as `stream_options.include_usage` asks a Chat Completions server to.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct Transcoder {
    /// In a box, as it is large and would be moved a few times until its object is made.
    state: Mutex<Box<State>>,
}

struct State {
    core: penstock::Transcoder,
    feed: Feed,
    /// Reads back what was written, for callers who want events; made for the first of them.
    reader: Option<Py<PyAny>>,
    id_error: Raised,
}

impl Accumulate for penstock::Transcoder {
    fn take(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        self.feed_event(payload, name)
    }

    fn done(&mut self) {
        // What it could refuse, the next call reports.
        let _ = self.feed_event(b"[DONE]", None);
    }
}

impl State {
    /// What an error of the core is to the caller: his own exception, if `new_id` raised one.
    #[cold]
    fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        take_raised(&self.id_error).unwrap_or_else(|| raise(py, error))
    }

    fn bytes<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = PyBytes::new(py, self.core.output());
        self.core.clear();
        bytes
    }

    fn events<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let bytes = self.bytes(py);
        let reader = match &mut self.reader {
            Some(reader) => reader,
            reader => reader.insert(make_reader(py)?),
        };
        Ok(reader.bind(py).call_method1("feed", (bytes,))?.cast_into::<PyList>()?)
    }
}

/// What a caller gives besides the direction.
struct Given {
    model: Option<String>,
    id: Option<String>,
    new_id: Option<Py<PyAny>>,
    created: u64,
    limits: penstock::Limits,
}

impl Given {
    fn first_id(&self, py: Python<'_>, prefix: &str) -> PyResult<String> {
        match (&self.id, &self.new_id) {
            (Some(id), _) => Ok(id.clone()),
            (None, Some(new_id)) => new_id.call1(py, (prefix,))?.extract(py),
            (None, None) => Ok(format!("{prefix}{}", token_hex(py, 16)?)),
        }
    }
}

/// The value that `word` names.
fn choose<T: Copy>(option: &str, word: &str, words: &[(&str, T)]) -> PyResult<T> {
    let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(known, _)| format!("{known:?}")).collect();
        PyValueError::new_err(format!("{option} is {}, not {word:?}", known.join(" or ")))
    })
}

/// What the word of the `reasoning` option names.
pub(crate) fn reasoning_of(word: &str) -> PyResult<ReasoningAs> {
    choose("reasoning", word, &[("summary", ReasoningAs::Summary), ("raw", ReasoningAs::Raw)])
}

/// What the word of the `truncated` option names.
pub(crate) fn truncated_of(word: &str) -> PyResult<Truncated> {
    choose("truncated", word, &[("failed", Truncated::Failed), ("incomplete", Truncated::Incomplete)])
}

#[pymethods]
impl Transcoder {
    #[new]
    #[pyo3(signature = (source, target, *, model=None, id=None, new_id=None, now=None, limits=None, strict=false,
        reasoning="summary", messages="many", empty_arguments="", truncated="failed", compat=None, echo=None,
        include_usage=false))]
    #[allow(clippy::too_many_arguments, reason = "one keyword an option")]
    fn new(
        py: Python<'_>,
        source: &str,
        target: &str,
        model: Option<String>,
        id: Option<String>,
        new_id: Option<Bound<'_, PyAny>>,
        now: Option<Bound<'_, PyAny>>,
        limits: Option<&Limits>,
        strict: bool,
        reasoning: &str,
        messages: &str,
        empty_arguments: &str,
        truncated: &str,
        compat: Option<&str>,
        echo: Option<&Bound<'_, PyDict>>,
        include_usage: bool,
    ) -> PyResult<Self> {
        guard(py, || {
            require_callable("new_id", new_id.as_ref())?;
            let now = now.map(|now| now.call0()?.extract()).transpose()?;
            let mut given = Given {
                model,
                id,
                new_id: new_id.map(Bound::unbind),
                created: seconds(py, now, "now must return seconds since 1970")?,
                limits: Limits::or_default(limits),
            };
            let options = ChatToResponsesOptions {
                reasoning: reasoning_of(reasoning)?,
                messages: choose("messages", messages, &[("many", Messages::Many), ("one", Messages::One)])?,
                empty_arguments_as_object: choose(
                    "empty_arguments",
                    empty_arguments,
                    &[("", false), ("{}", true)],
                )?,
                truncated: truncated_of(truncated)?,
                compat: compat
                    .map(|word| choose("compat", word, &[("openai-agents", Compat::OpenAiAgents)]))
                    .transpose()?,
                strict,
            };
            let id_error = Raised::default();
            let core = match (source, target) {
                ("chat", "responses") => to_responses(py, &mut given, options, echo, id_error.clone())?,
                ("responses", "chat") => penstock::Transcoder::responses_to_chat(ResponsesToChatOptions {
                    model: given.model.take().unwrap_or_default(),
                    include_usage,
                    strict,
                    limits: given.limits,
                    ..ResponsesToChatOptions::new(given.first_id(py, "chatcmpl-")?, given.created)
                }),
                _ => {
                    return Err(PyValueError::new_err(
                        "source and target are \"chat\" and \"responses\", or the other way round",
                    ));
                }
            };
            let feed = Feed::new(&given.limits);
            Ok(Self { state: Mutex::new(Box::new(State { core, feed, reader: None, id_error })) })
        })
    }

    /// Takes the next bytes of the source's event stream.
    ///
    /// Args:
    ///     chunk: bytes-like, in any split.
    ///
    /// Returns:
    ///     What they add to the target's event stream.
    #[pyo3(signature = (chunk, /))]
    fn feed<'py>(&self, chunk: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = chunk.py();
        guard(py, || {
            with_bytes(chunk, |bytes| {
                let mut state = lock(py, &self.state)?;
                let result = state.core.feed(bytes.as_bytes());
                result.map_err(|error| state.raise(py, &error))?;
                Ok(state.bytes(py))
            })
        })
    }

    /// Takes events of the source: an `Event`, a payload as str or dict, bytes of the stream, or a list of these.
    ///
    /// Returns:
    ///     The events they become.
    #[pyo3(signature = (events, /))]
    fn feed_events<'py>(&self, events: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = events.py();
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let State { core, feed, .. } = &mut **state;
            let result = feed.feed(events, core);
            if let Err(error) = result {
                return Err(take_raised(&state.id_error).unwrap_or(error));
            }
            state.events(py)
        })
    }

    /// Ends the input and, if it has not ended, the stream that is written. May be called again, to no effect.
    ///
    /// Returns:
    ///     The rest of the target's event stream.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let result = state.core.finish();
            result.map_err(|error| state.raise(py, &error))?;
            Ok(state.bytes(py))
        })
    }

    /// As `finish()`, for callers of `feed_events()`.
    fn finish_events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let State { core, feed, .. } = &mut **state;
            let result = feed.finish(core).and_then(|()| core.finish());
            result.map_err(|error| state.raise(py, &error))?;
            state.events(py)
        })
    }

    /// Ends the stream as failed: the upstream cannot be reached, or takes too long. Nothing happens if it has ended.
    ///
    /// Returns:
    ///     The rest of the target's event stream.
    #[pyo3(signature = (message, /, *, code="server_error"))]
    fn fail<'py>(&self, py: Python<'py>, message: &str, code: &str) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let result = state.core.fail(code, message);
            result.map_err(|error| state.raise(py, &error))?;
            Ok(state.bytes(py))
        })
    }

    /// Ends the stream as cancelled. Nothing happens if it has ended.
    ///
    /// Returns:
    ///     The rest of the target's event stream.
    fn cancel<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let result = state.core.cancel();
            result.map_err(|error| state.raise(py, &error))?;
            Ok(state.bytes(py))
        })
    }

    /// Whether the stream that is written has ended.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        guard(py, || Ok(lock(py, &self.state)?.core.is_finished()))
    }

    /// How often the source did what its API does not allow, and what could not be carried over, by kind.
    #[getter]
    fn diagnostics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(py, || lock(py, &self.state)?.core.diagnostics().into_py_dict(py))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            Ok(format!("<Transcoder {}>", if state.core.is_finished() { "done" } else { "open" }))
        })
        .or_else(|_| Ok("<Transcoder in use or spoiled>".to_owned()))
    }
}

fn to_responses(
    py: Python<'_>,
    given: &mut Given,
    options: ChatToResponsesOptions,
    echo: Option<&Bound<'_, PyDict>>,
    id_error: Raised,
) -> PyResult<penstock::Transcoder> {
    let mut model = given.model.take();
    let mut echoed = Vec::new();
    if let Some(echo) = echo {
        if model.is_none() {
            model = echo.get_item("model")?.and_then(|model| model.extract().ok());
        }
        echoed = penstock::echoed(&json_of(echo)?).map_err(|error| raise(py, &error))?;
    }
    let response = EmitterOptions {
        echo: echoed,
        limits: given.limits,
        ..EmitterOptions::new(given.first_id(py, "resp_")?, given.created, model.unwrap_or_default())
    };
    let response = EmitterOptions { ids: id_source(py, given.new_id.take(), id_error)?, ..response };
    penstock::Transcoder::chat_to_responses(response, options).map_err(|error| raise(py, &error))
}

/// A decoder for what penstock has written within the caller's limits: it needs none of its own.
fn make_reader(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let unbounded = PyDict::new(py);
    for name in ["max_line_bytes", "max_event_bytes", "max_idle_bytes"] {
        unbounded.set_item(name, py.None())?;
    }
    let keywords = PyDict::new(py);
    keywords.set_item("limits", py.get_type::<Limits>().call((), Some(&unbounded))?)?;
    Ok(py.get_type::<Decoder>().call((), Some(&keywords))?.unbind())
}

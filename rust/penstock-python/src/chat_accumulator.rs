//! `ChatAccumulator`: Chat Completions chunks in, the `ChatCompletion` they spell out.

use std::collections::HashMap;
use std::sync::Mutex;

use penstock::{ChatCall, ChatTerminal, Error};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyList, PyString};

use crate::errors::{construct, guard, lock, raise};
use crate::feed::{Accumulate, Feed};
use crate::json::{Options, to_python};
use crate::limits::Limits;
use crate::partial::{PartialReader, with_utf8};
use crate::strings;

/// Folds the chunks of a Chat Completions stream into the `ChatCompletion` they spell, without building a Python
/// object before one is asked for.
///
/// All choices are kept by their `index`. Text, refusal, reasoning (in each of its fields), tool and function
/// calls, audio and log probabilities are joined; annotations and citations count once; usage, finish reasons and
/// all members penstock does not know are the last that came and are not null, the latter byte for byte.
///
/// The stream is whole when every choice has a finish reason, or at `[DONE]`; a finish reason is never invented.
/// After an error the accumulator stays failed and raises the same error again; what came before can be read.
///
/// Args:
///     strict: raise `DecodeError` for what the API does not allow; otherwise `diagnostics` counts it.
///     limits: the bounds.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct ChatAccumulator {
    state: Mutex<State>,
    options: Options,
}

struct State {
    core: penstock::ChatAccumulator,
    feed: Feed,
    limits: penstock::Limits,
    readers: HashMap<ReaderKey, (u64, PartialReader)>,
}

/// A call whose arguments somebody has asked for: completions before its own, its choice, its serial number.
type ReaderKey = (usize, u64, Option<u64>);

impl Accumulate for penstock::ChatAccumulator {
    #[inline]
    fn take(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        self.feed(payload, name)
    }

    fn done(&mut self) {
        Self::done(self);
    }
}

/// How a caller names a call.
#[derive(FromPyObject)]
enum CallKey<'py> {
    Index(u64),
    Id(Bound<'py, PyString>),
}

impl ChatAccumulator {
    fn ask<T>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&penstock::ChatAccumulator) -> PyResult<T>,
    ) -> PyResult<T> {
        guard(py, || question(&lock(py, &self.state)?.core))
    }

    /// The object of a JSON text, or None.
    fn object<'py>(&self, py: Python<'py>, text: Option<&[u8]>) -> PyResult<Option<Bound<'py, PyAny>>> {
        text.map(|text| to_python(py, text, self.options)).transpose()
    }
}

#[pymethods]
impl ChatAccumulator {
    #[new]
    #[pyo3(signature = (*, strict=false, limits=None))]
    fn new(py: Python<'_>, strict: bool, limits: Option<&Limits>) -> PyResult<Self> {
        guard(py, || {
            let limits = Limits::or_default(limits);
            let core = penstock::ChatAccumulator::new(&limits, strict);
            let state = State { core, feed: Feed::new(&limits), limits, readers: HashMap::new() };
            Ok(Self { state: Mutex::new(state), options: Options::new(&limits, false) })
        })
    }

    /// Takes what comes next of the stream.
    ///
    /// Args:
    ///     data: an `Event`, or a list of them; bytes-like: bytes of the event stream, cut anywhere, or one whole
    ///         JSON object, which is one chunk; str or dict: one chunk.
    ///
    /// Raises:
    ///     LimitExceeded: the stream wants more than `limits` grants.
    ///     DecodeError: with `strict=True`, something the API does not allow; `reason` names the rule.
    #[pyo3(signature = (data, /))]
    fn feed(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        guard(py, || {
            let State { core, feed, .. } = &mut *lock(py, &self.state)?;
            feed.feed(data, core)
        })
    }

    /// Ends the input. May be called again, to no effect.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        guard(py, || {
            let State { core, feed, .. } = &mut *lock(py, &self.state)?;
            let result = feed.finish(core);
            core.finish();
            result.map_err(|error| raise(py, &error))
        })
    }

    /// The `ChatCompletion` so far, built anew each time; None before the first chunk.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |core| self.object(py, core.snapshot().as_deref()))
    }

    /// The `ChatCompletion`.
    ///
    /// Raises:
    ///     IncompleteStream: the stream was cut (`reason` "eof"), is not over yet ("open"), ended in an error
    ///         ("error") or never held a chunk ("empty"); `partial` is what came.
    #[pyo3(name = "final")]
    fn final_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, |core| {
            let partial = self.object(py, core.snapshot().as_deref())?;
            let (message, reason) = match (core.terminal(), core.has_ended()) {
                (Some(ChatTerminal::FinishReason | ChatTerminal::Done), _) => match partial {
                    Some(completion) => return Ok(completion),
                    None => ("the stream held no chunk", "empty"),
                },
                (Some(ChatTerminal::Error), _) => ("the stream ended in an error", "error"),
                (None, true) => ("the stream ended before its finish reason", "eof"),
                (None, false) => ("the stream is not over yet", "open"),
            };
            Err(construct(py, "IncompleteStream", message, |fields| {
                fields.set_item("partial", partial)?;
                fields.set_item("reason", reason)
            }))
        })
    }

    /// The text of choice 0: its content, or the text parts of it.
    #[getter]
    fn output_text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.ask(py, |core| Ok(strings::wtf8(py, &core.output_text())))
    }

    /// The tool calls, and legacy function calls, of all choices: dicts of `type` ("function" or "custom"),
    /// `choice`, `index` (the server's, or None), `call_id`, `name`, `arguments` (text so far) and `complete`.
    ///
    /// A call is complete when the server has ended its choice regularly and the arguments are whole. Any other
    /// must not be executed.
    #[getter]
    fn function_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.ask(py, |core| {
            let calls = PyList::empty(py);
            for call in core.calls() {
                let fields = PyDict::new(py);
                fields.set_item("type", if call.custom { "custom" } else { "function" })?;
                fields.set_item("choice", call.choice)?;
                fields.set_item("index", call.index)?;
                fields.set_item("call_id", (!call.id.is_empty()).then(|| strings::wtf8(py, call.id)))?;
                fields.set_item("name", strings::wtf8(py, call.name))?;
                fields.set_item("arguments", strings::wtf8(py, call.arguments))?;
                fields.set_item("complete", call.is_complete())?;
                calls.append(fields)?;
            }
            Ok(calls)
        })
    }

    /// The arguments of a call, parsed as far as they have come; None if there is no such call, or nothing of its
    /// arguments is certain yet.
    ///
    /// Each call reads only what came since the last one. Open containers are copies, the caller's own; what is
    /// whole is the same object each time. Arguments that are no JSON stay at what stood before the first wrong
    /// byte.
    ///
    /// Args:
    ///     call: the server's `index` of the call, or its place where the server gives none; or the call's id.
    ///     choice: the index of the choice.
    #[pyo3(signature = (call=CallKey::Index(0), /, *, choice=0))]
    #[allow(clippy::needless_pass_by_value, reason = "an argument is extracted into a value")]
    fn partial_arguments<'py>(
        &self,
        py: Python<'py>,
        call: CallKey<'_>,
        choice: u64,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(py, || {
            let State { core, limits, readers, .. } = &mut *lock(py, &self.state)?;
            let Some(call) = find_call(core, &call, choice)? else { return Ok(None) };
            let fresh = || (call.revision, PartialReader::new(limits));
            let key = (core.completed().len(), choice, call.serial);
            let (revision, reader) = readers.entry(key).or_insert_with(fresh);
            if *revision != call.revision {
                (*revision, *reader) = fresh();
            }
            reader.follow(py, call.stable_arguments)?;
            reader.value(py)
        })
    }

    /// The usage; None while none has come.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |core| self.object(py, core.usage()))
    }

    /// The finish reason of choice 0; None while it has none.
    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |core| self.object(py, core.finish_reason(0)))
    }

    /// What ended the stream: "error", "[DONE]" or "finish_reason"; None while it has not ended, or if it was cut.
    #[getter]
    fn terminal(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.ask(py, |core| Ok(core.terminal().map(terminal_name)))
    }

    /// The error that came in the stream, mostly a dict with `message` and `code`; None if none came.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.ask(py, |core| self.object(py, core.error()))
    }

    /// How often the stream did what its API does not allow, or something else worth knowing, by kind.
    #[getter]
    fn diagnostics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.ask(py, |core| core.diagnostics().into_py_dict(py))
    }

    /// Chunks that added a piece of text, of a call or of sound.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, |core| Ok(core.tokens()))
    }

    /// All whole completions so far; a stream usually holds one.
    #[getter]
    fn responses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.ask(py, |core| {
            let whole = matches!(core.terminal(), Some(ChatTerminal::FinishReason | ChatTerminal::Done));
            let last = whole.then(|| core.snapshot()).flatten();
            let completions = core.completed().iter().chain(&last);
            let objects = completions.map(|text| to_python(py, text, self.options));
            PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |core| {
            let state = match (core.failure(), core.terminal()) {
                (Some(_), _) => "failed",
                (None, Some(terminal)) => terminal_name(terminal),
                (None, None) => "open",
            };
            Ok(format!("<ChatAccumulator {state} tokens={}>", core.tokens()))
        })
        .or_else(|_| Ok("<ChatAccumulator in use or spoiled>".to_owned()))
    }
}

pub(crate) const fn terminal_name(terminal: ChatTerminal) -> &'static str {
    match terminal {
        ChatTerminal::FinishReason => "finish_reason",
        ChatTerminal::Done => "[DONE]",
        ChatTerminal::Error => "error",
    }
}

fn find_call<'a>(
    core: &'a penstock::ChatAccumulator,
    key: &CallKey<'_>,
    choice: u64,
) -> PyResult<Option<ChatCall<'a>>> {
    let calls = || core.calls().filter(move |call| call.choice == choice);
    match key {
        CallKey::Index(index) => {
            let by_index = calls().filter(|call| call.index == Some(*index)).last();
            let place = usize::try_from(*index).unwrap_or(usize::MAX);
            Ok(by_index.or_else(|| calls().nth(place).filter(|call| call.index.is_none())))
        }
        CallKey::Id(id) => with_utf8(id, |id| Ok(calls().filter(|call| call.id == id).last())),
    }
}

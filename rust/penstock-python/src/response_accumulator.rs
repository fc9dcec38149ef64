//! `ResponseAccumulator`: events of the Responses API in, the `Response` they spell out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use penstock::{Error, FinalResponse, FunctionCall, Miss, ResponseOptions, ResponseTerminal, ResponseView};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyList, PyString};

use crate::errors::{construct, guard, lock, raise};
use crate::feed::{Accumulate, Feed};
use crate::json::{Options, to_python};
use crate::limits::Limits;
use crate::partial::{PartialReader, with_utf8};

/// Folds the events of a Responses stream into the `Response` they spell, without building a Python object before
/// one is asked for.
///
/// Items are kept by their `output_index`, whatever their ids. What the server sends whole (a text, a part, an item,
/// the terminal response) replaces what was built of deltas, unless it holds nothing; members penstock does not know
/// stay byte for byte. A status is the server's: `completed` is never invented, a stream cut short leaves the response
/// as it was, and one that ends behind an `error` event has failed.
///
/// Several responses may follow one another, in several lanes (the `stream_id` of a WebSocket connection). After
/// `LimitExceeded` the accumulator stays failed and raises the same error again; what came before can be read. Any
/// other error leaves it as it was before the event.
///
/// Args:
///     strict: raise `DecodeError` for events that break the API's rules; otherwise `diagnostics` counts them.
///     resume_after: the stream is resumed after the event of this `sequence_number`: events up to it are not
///         applied, nor any that repeats a later number. -1 for a stream that begins anew.
///     limits: the bounds.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct ResponseAccumulator {
    state: Arc<Mutex<State>>,
    /// The lane whose response this object shows; `None` for the stream's main one.
    lane: Option<Box<[u8]>>,
    options: Options,
}

struct State {
    core: penstock::ResponseAccumulator,
    feed: Feed,
    limits: penstock::Limits,
    readers: HashMap<ReaderKey, (u64, PartialReader)>,
}

/// A call whose arguments somebody has asked for: its lane, response and index.
type ReaderKey = (Option<Box<[u8]>>, u64, u64);

impl Accumulate for penstock::ResponseAccumulator {
    #[inline]
    fn take(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        self.feed(payload, name).map(drop)
    }

    #[inline]
    fn take_known(&mut self, chunk: &[u8], at: usize) -> Result<(usize, Result<(), Error>), Miss> {
        let (length, fed) = self.feed_known(chunk, at)?;
        Ok((at + length, fed.map(drop)))
    }
}

/// How a caller names a call.
#[derive(FromPyObject)]
enum CallKey<'py> {
    Index(u64),
    Id(Bound<'py, PyString>),
}

/// The response that `lane` names.
fn view<'a>(core: &'a penstock::ResponseAccumulator, lane: Option<&[u8]>) -> Option<ResponseView<'a>> {
    match lane {
        None => core.response(),
        Some(name) => core.lane(name),
    }
}

impl ResponseAccumulator {
    fn ask<T>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&penstock::ResponseAccumulator) -> PyResult<T>,
    ) -> PyResult<T> {
        guard(py, || question(&lock(py, &self.state)?.core))
    }

    /// Asks the response this object shows; `T`'s default where there is none yet.
    fn view<T: Default>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(ResponseView<'_>) -> PyResult<T>,
    ) -> PyResult<T> {
        self.ask(py, |core| view(core, self.lane.as_deref()).map_or(Ok(T::default()), question))
    }

    fn object<'py>(&self, py: Python<'py>, text: Option<&[u8]>) -> PyResult<Option<Bound<'py, PyAny>>> {
        text.map(|text| to_python(py, text, self.options)).transpose()
    }

    fn objects<'py>(
        &self,
        py: Python<'py>,
        responses: impl ExactSizeIterator<Item = impl AsRef<FinalResponse>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let objects = responses.map(|response| to_python(py, response.as_ref().json(), self.options));
        PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
    }
}

#[pymethods]
impl ResponseAccumulator {
    #[new]
    #[pyo3(signature = (*, strict=false, resume_after=None, limits=None))]
    fn new(
        py: Python<'_>,
        strict: bool,
        resume_after: Option<i64>,
        limits: Option<&Limits>,
    ) -> PyResult<Self> {
        guard(py, || {
            let limits = Limits::or_default(limits);
            let after = sequence_number(resume_after)?;
            let mut core =
                penstock::ResponseAccumulator::new(&ResponseOptions { strict, resume_after: after, limits });
            if resume_after.is_some() {
                core.resume(after);
            }
            let state = State { core, feed: Feed::new(&limits), limits, readers: HashMap::new() };
            let options = Options::new(&limits, false);
            Ok(Self { state: Arc::new(Mutex::new(state)), lane: None, options })
        })
    }

    /// Takes what comes next of the stream.
    ///
    /// Args:
    ///     data: an `Event`, or a list of them; bytes-like: bytes of the event stream, cut anywhere, or one whole
    ///         JSON object, which is one event; str or dict: one event.
    ///
    /// Raises:
    ///     LimitExceeded: the stream wants more than `limits` grants.
    ///     DecodeError: with `strict=True`, an event that breaks the API's rules; `reason` names the rule.
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
            let fed = feed.finish(core);
            fed.and(core.finish()).map_err(|error| raise(py, &error))
        })
    }

    /// Prepares for events that may have been applied before, as when a cut stream is fetched again.
    ///
    /// Args:
    ///     after: the `sequence_number` of the last event applied; None for the last one that came.
    #[pyo3(signature = (after=None))]
    fn resume(&self, py: Python<'_>, after: Option<i64>) -> PyResult<()> {
        guard(py, || {
            let State { core, feed, limits, .. } = &mut *lock(py, &self.state)?;
            // What is left of the cut stream's bytes is no part of the next one.
            *feed = Feed::new(limits);
            core.resume(sequence_number(after)?);
            Ok(())
        })
    }

    /// The `Response` so far, built anew each time; None before its first event.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.view(py, |view| {
            let snapshot = view.snapshot().map_err(|error| raise(py, &error))?;
            self.object(py, snapshot.as_deref())
        })
    }

    /// The `Response` that has ended, whatever its status.
    ///
    /// Raises:
    ///     IncompleteStream: the stream was cut (`reason` "eof"), is not over yet ("open") or never held a response
    ///         ("empty"); `partial` is what came.
    #[pyo3(name = "final")]
    fn final_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, |core| {
            let view = view(core, self.lane.as_deref());
            if let Some(last) = view.and_then(ResponseView::last) {
                return to_python(py, last.json(), self.options);
            }
            let snapshot =
                view.map_or(Ok(None), ResponseView::snapshot).map_err(|error| raise(py, &error))?;
            let partial = self.object(py, snapshot.as_deref())?;
            let (message, reason) = match view {
                Some(view) if view.is_truncated() => ("the stream ended before its terminal event", "eof"),
                Some(_) if partial.is_some() => ("the stream is not over yet", "open"),
                _ => ("the stream held no response", "empty"),
            };
            Err(construct(py, "IncompleteStream", message, |fields| {
                fields.set_item("partial", partial)?;
                fields.set_item("reason", reason)
            }))
        })
    }

    /// The text of all messages.
    #[getter]
    fn output_text(&self, py: Python<'_>) -> PyResult<String> {
        self.view(py, |view| view.output_text().map_err(|error| raise(py, &error)))
    }

    /// The calls that the client has to run: dicts of `type` ("function_call" or "custom_tool_call"), `output_index`,
    /// `item_id`, `call_id`, `name`, `arguments` (text so far; a custom tool's input) and `complete`.
    ///
    /// A call is complete when the server has finished its item, and its response has neither failed nor been cut
    /// short. Any other must not be run.
    #[getter]
    fn function_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.ask(py, |core| {
            let calls = view(core, self.lane.as_deref()).map_or(Ok(Vec::new()), ResponseView::function_calls);
            let calls = calls.map_err(|error| raise(py, &error))?;
            let calls = calls.iter().map(|call| describe(py, call)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, calls)
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
    ///     call: the `output_index` of the call's item, or its `call_id`.
    #[pyo3(signature = (call, /))]
    #[allow(clippy::needless_pass_by_value, reason = "an argument is extracted into a value")]
    fn partial_arguments<'py>(
        &self,
        py: Python<'py>,
        call: CallKey<'_>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(py, || {
            let State { core, limits, readers, .. } = &mut *lock(py, &self.state)?;
            let Some(view) = view(core, self.lane.as_deref()) else { return Ok(None) };
            let raised = |error| raise(py, &error);
            let index = match call {
                CallKey::Index(index) => Some(index),
                CallKey::Id(id) => {
                    with_utf8(&id, |id| view.find_call(&String::from_utf8_lossy(id)).map_err(raised))?
                }
            };
            let Some(index) = index else { return Ok(None) };
            let Some(arguments) = view.arguments(index).map_err(raised)? else { return Ok(None) };
            let (serial, revision) = arguments.revision;
            readers.retain(|(lane, of, _), _| *of == serial || *lane != self.lane);
            let fresh = || (revision, PartialReader::new(limits));
            let (read, reader) = readers.entry((self.lane.clone(), serial, index)).or_insert_with(fresh);
            if *read != revision {
                (*read, *reader) = fresh();
            }
            reader.follow(py, &arguments.text)?;
            reader.value(py)
        })
    }

    /// The response's `usage`; None while the server has not said.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.view(py, |view| self.object(py, view.usage().map_err(|error| raise(py, &error))?))
    }

    /// The response's `status` as the server said it last, or "failed" where the stream ended behind an `error`
    /// event; None before the first event.
    #[getter]
    fn status(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.view(py, |view| view.status().map_err(|error| raise(py, &error)))
    }

    /// The type of the event that ended the response, such as "response.completed"; "error" if no other came; None
    /// while it has not ended, or if it was cut short.
    #[getter]
    fn terminal(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.view(py, |view| Ok(view.terminal().map(ResponseTerminal::as_str)))
    }

    /// The response's `error`, else the error of the last `error` event; None if there is none.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.view(py, |view| self.object(py, view.error().map_err(|error| raise(py, &error))?))
    }

    /// Whether the input ended before the response did.
    #[getter]
    fn truncated(&self, py: Python<'_>) -> PyResult<bool> {
        self.view(py, |view| Ok(view.is_truncated()))
    }

    /// The `sequence_number` of the last event that had one, to resume after.
    #[getter]
    fn sequence_number(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.view(py, |view| Ok(view.sequence_number()))
    }

    /// The sound of the response, decoded; None if it has none.
    #[getter]
    fn audio<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.view(py, |view| Ok(view.audio().map(|audio| PyBytes::new(py, audio))))
    }

    /// What the sound says; None if no transcript came.
    #[getter]
    fn transcript(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.view(py, |view| Ok(view.transcript()))
    }

    /// The event that brought the last preview of each image, by `output_index`.
    #[getter]
    fn images<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.ask(py, |core| {
            let images = PyDict::new(py);
            for (index, event) in view(core, self.lane.as_deref()).into_iter().flat_map(ResponseView::images)
            {
                images.set_item(index, to_python(py, event, self.options)?)?;
            }
            Ok(images)
        })
    }

    /// How often the stream broke its API's rules, or did something else worth knowing, by kind; over all lanes.
    #[getter]
    fn diagnostics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.ask(py, |core| core.diagnostics().into_py_dict(py))
    }

    /// Events that brought a piece of text, arguments or the like, over all lanes.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> PyResult<u64> {
        self.ask(py, |core| Ok(core.deltas()))
    }

    /// The responses that have ended and were not taken, oldest first, over all lanes. The list is bounded by
    /// `max_message_bytes` and `max_parts`; the oldest leave it first, and `diagnostics` counts them.
    #[getter]
    fn responses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.ask(py, |core| self.objects(py, core.responses()))
    }

    /// Takes the responses that have ended out of `responses`.
    fn take_responses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let objects = self.objects(py, state.core.responses())?;
            state.core.take_responses();
            Ok(objects)
        })
    }

    /// The `stream_id` of each lane that has had events; None is that of events without one.
    #[getter]
    fn lanes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.ask(py, |core| {
            let name = |name: &[u8]| (!name.is_empty()).then(|| crate::strings::wtf8(py, name));
            PyList::new(py, core.lanes().map(name).collect::<Vec<_>>())
        })
    }

    /// The same accumulator, showing the response of one lane: what it is asked about a response, it answers for
    /// this lane. Without it, an accumulator shows the response of events without `stream_id`, or where all have
    /// one, that of the first lane.
    #[pyo3(signature = (stream_id, /))]
    fn lane(&self, py: Python<'_>, stream_id: Option<&Bound<'_, PyString>>) -> PyResult<Self> {
        guard(py, || {
            let lane = stream_id.map_or(Ok(Box::default()), |id| with_utf8(id, |id| Ok(Box::from(id))))?;
            Ok(Self { state: Arc::clone(&self.state), lane: Some(lane), options: self.options })
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |core| {
            let terminal = view(core, self.lane.as_deref()).and_then(ResponseView::terminal);
            let state = match (core.failure(), terminal) {
                (Some(_), _) => "failed",
                (None, Some(terminal)) => terminal.as_str(),
                (None, None) => "open",
            };
            Ok(format!("<ResponseAccumulator {state} tokens={}>", core.deltas()))
        })
        .or_else(|_| Ok("<ResponseAccumulator in use or spoiled>".to_owned()))
    }
}

/// The number to resume after; -1 is before the first.
fn sequence_number(number: Option<i64>) -> PyResult<Option<u64>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u64::try_from(number)
            .map(Some)
            .map_err(|_| PyValueError::new_err("a sequence number is -1 or more")),
    }
}

fn describe<'py>(py: Python<'py>, call: &FunctionCall) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("type", call.kind)?;
    fields.set_item("output_index", call.output_index)?;
    fields.set_item("item_id", &call.item_id)?;
    fields.set_item("call_id", &call.call_id)?;
    fields.set_item("name", &call.name)?;
    fields.set_item("arguments", &call.arguments)?;
    fields.set_item("complete", call.complete)?;
    Ok(fields)
}

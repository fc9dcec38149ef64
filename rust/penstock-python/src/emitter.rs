//! `ResponseEmitter`: what a model says in, the events of a legal Responses stream out.

use std::sync::{Mutex, MutexGuard};

use penstock::{Emitter, EmitterOptions, EventType, ItemKind, NewItem, Terminal};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::{guard, lock, raise_illegal};
use crate::given::{item_status, json_of, json_or_empty, part_kind, unknown, with_type};
use crate::json::{Options, to_python};
use crate::limits::Limits;
use crate::origin::{Raised, id_source, make_id, padding, require_callable, seconds, take_raised};
use crate::partial::with_utf8;
use crate::written::{Format, Written};

/// Writes the events of one Responses stream, for engines and gateways that serve it.
///
/// `start()` begins the response, `open_item()` an output item, whose number the calls for its text and arguments
/// take; `complete()`, `incomplete()`, `fail()` or `cancel()` ends it. What was written since the last call is
/// `take()`n: bytes of the event stream, or a list with a text or an `Event` for each event. Order, indices, ids,
/// `sequence_number`, the `done` events and the final response are made here, and `penstock.lint` finds nothing in
/// them. A call that would make the stream illegal raises `IllegalEvent` and changes nothing.
///
/// JSON arguments are dicts and lists, or JSON text as str or bytes, which is checked and passed on as it is. Strings
/// and parts need no closing: a piece of another kind, the end of the item and the end of the response close them.
///
/// Args:
///     model: the model's name.
///     id: the response's id; None for a random one.
///     created_at: when it was created, in seconds since 1970; None for now.
///     echo: members of the response object that repeat the request: instructions, tools, metadata, …
///     ids: called with a prefix (`msg_`, `fc_`, `call_`, …), returns an id that begins with it; None for random ones.
///     format: "sse" for bytes of the event stream, "websocket" for the texts of frames, "events" for `Event`s.
///     stream_id: the lane of a WebSocket connection, written into every event.
///     escape_separators: write U+0085, U+2028 and U+2029 as escapes, for clients that take them for line ends.
///     pad_to: pad each delta with an `obfuscation` member to a multiple of so many bytes, so that sizes do not tell
///         the lengths of tokens; compressing the stream undoes it.
///     limits: the bounds: `max_message_bytes` and, for items, parts and annotations together, `max_parts`.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct ResponseEmitter {
    state: Mutex<State>,
    id: String,
    ids: Option<Py<PyAny>>,
    options: Options,
}

struct State {
    core: Emitter,
    written: Written,
    id_error: Raised,
}

impl ResponseEmitter {
    fn lock<'a>(&'a self, py: Python<'_>) -> PyResult<MutexGuard<'a, State>> {
        lock(py, &self.state)
    }

    /// One call of the core.
    #[inline]
    fn call<T>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut Emitter) -> Result<T, penstock::Error>,
    ) -> PyResult<T> {
        guard(py, || {
            let State { core, id_error, .. } = &mut *self.lock(py)?;
            // What the caller's generator raised, the core knows only as an id that is none.
            call(core).map_err(|error| take_raised(id_error).unwrap_or_else(|| raise_illegal(py, &error)))
        })
    }

    /// One call of the core with a piece of text.
    #[inline]
    fn push(
        &self,
        piece: &Bound<'_, PyString>,
        call: impl FnOnce(&mut Emitter, &[u8]) -> Result<(), penstock::Error>,
    ) -> PyResult<()> {
        let py = piece.py();
        guard(py, || {
            with_utf8(piece, |piece| {
                call(&mut self.lock(py)?.core, piece).map_err(|error| raise_illegal(py, &error))
            })
        })
    }

    /// A new id from the caller's generator, or a random one.
    fn new_id(&self, py: Python<'_>, prefix: &str) -> PyResult<String> {
        make_id(py, self.ids.as_ref(), prefix)
    }
}

#[pymethods]
impl ResponseEmitter {
    #[new]
    #[pyo3(signature = (*, model, id=None, created_at=None, echo=None, ids=None, format="sse", stream_id=None,
        escape_separators=false, pad_to=None, limits=None))]
    #[allow(clippy::too_many_arguments, reason = "one keyword an option")]
    fn new(
        py: Python<'_>,
        model: String,
        id: Option<String>,
        created_at: Option<f64>,
        echo: Option<&Bound<'_, PyAny>>,
        ids: Option<Bound<'_, PyAny>>,
        format: &str,
        stream_id: Option<String>,
        escape_separators: bool,
        pad_to: Option<usize>,
        limits: Option<&Limits>,
    ) -> PyResult<Self> {
        guard(py, || {
            let format = Format::parse(format)?;
            require_callable("ids", ids.as_ref())?;
            let ids = ids.map(Bound::unbind);
            let id = id.map_or_else(|| make_id(py, ids.as_ref(), "resp_"), Ok)?;
            let created_at = seconds(py, created_at, "created_at must be seconds since 1970")?;
            let limits = Limits::or_default(limits);
            let id_error = Raised::default();
            let core = Emitter::new(EmitterOptions {
                echo: json_or_empty(echo)?,
                ids: id_source(py, ids.as_ref().map(|ids| ids.clone_ref(py)), id_error.clone())?,
                wire: format.wire(),
                stream_id,
                escape_separators,
                padding: padding(py, pad_to)?,
                limits,
                ..EmitterOptions::new(id.clone(), created_at, model)
            })
            .map_err(|error| raise_illegal(py, &error))?;
            let options = Options::new(&limits, false);
            let state = Mutex::new(State { core, written: Written::new(py, format, &limits)?, id_error });
            Ok(Self { state, id, ids, options })
        })
    }

    /// Writes `response.created` and `response.queued`; `start()` is to follow, or an end.
    fn queue(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, Emitter::queue)
    }

    /// Writes `response.created`, unless the response was queued, and `response.in_progress`.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, Emitter::start)
    }

    /// Opens an output item, its text and arguments empty, and returns its `output_index`.
    ///
    /// Args:
    ///     type: "message", "reasoning", "function_call", "custom_tool_call", or any other item type.
    ///     id: its id; None for a new one.
    ///     call_id: of a call; None for a new one.
    ///     name: of the tool that is called.
    ///     members: what else the item has from the start: `phase`, `server_label`, `container_id`, …
    #[pyo3(signature = (r#type, /, *, id=None, call_id=None, name=None, members=None))]
    fn open_item(
        &self,
        py: Python<'_>,
        r#type: &str,
        id: Option<String>,
        call_id: Option<String>,
        name: Option<&str>,
        members: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        guard(py, || {
            let kind = ItemKind::from_type(r#type);
            let mut members = json_or_empty(members)?;
            if kind == ItemKind::Other {
                members = with_type(&members, r#type).map_err(|error| raise_illegal(py, &error))?;
            }
            let id = id.map_or_else(|| self.new_id(py, kind.id_prefix()), Ok)?;
            let is_call = matches!(kind, ItemKind::FunctionCall | ItemKind::CustomToolCall);
            let call_id = match call_id {
                None if is_call => Some(self.new_id(py, "call_")?),
                given => given,
            };
            let new = NewItem { kind, id: Some(&id), call_id: call_id.as_deref(), name, members: &members };
            self.lock(py)?.core.open_item(new).map_err(|error| raise_illegal(py, &error))
        })
    }

    /// Writes an item into which nothing streams, added and done at once, and returns its `output_index`.
    ///
    /// Args:
    ///     item: the finished item; one of a known type gets an id if it has none. One that holds text, parts,
    ///         arguments or code is refused: those are streamed.
    #[pyo3(signature = (item, /))]
    fn add_item(&self, item: &Bound<'_, PyAny>) -> PyResult<usize> {
        let json = guard(item.py(), || json_of(item))?;
        self.call(item.py(), |core| core.item_whole(&json))
    }

    /// Opens a part of an item and returns its index; the part that is open ends.
    ///
    /// Args:
    ///     item: the `output_index`.
    ///     type: "output_text", "refusal", "reasoning_text" or "summary_text".
    #[pyo3(signature = (item, r#type, /))]
    fn open_part(&self, py: Python<'_>, item: usize, r#type: &str) -> PyResult<usize> {
        let kind = part_kind(r#type)?;
        self.call(py, |core| core.open_part(item, kind))
    }

    /// Adds text to a message, in a new part if none of its kind is open; an empty piece writes nothing.
    ///
    /// Args:
    ///     item: the `output_index`.
    ///     delta: the piece of text.
    ///     logprobs: a list with the log probabilities of its tokens. Bytes and alternatives that a token lacks are
    ///         empty; one without a probability is left out.
    #[pyo3(signature = (item, delta, /, logprobs=None))]
    fn text(
        &self,
        item: usize,
        delta: &Bound<'_, PyString>,
        logprobs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let Some(logprobs) = logprobs else { return self.push(delta, |core, piece| core.text(item, piece)) };
        let logprobs = guard(delta.py(), || json_of(logprobs))?;
        self.push(delta, |core, piece| core.text_with_logprobs(item, piece, &logprobs))
    }

    /// Adds to a message's refusal.
    #[pyo3(signature = (item, delta, /))]
    fn refusal(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.refusal(item, piece))
    }

    /// Adds raw reasoning to a reasoning item.
    #[pyo3(signature = (item, delta, /))]
    fn reasoning_text(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.reasoning_text(item, piece))
    }

    /// Adds to the summary of a reasoning item; `open_part` begins its next part.
    #[pyo3(signature = (item, delta, /))]
    fn reasoning_summary(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.reasoning_summary(item, piece))
    }

    /// Adds to the arguments of a function or MCP call.
    #[pyo3(signature = (item, delta, /))]
    fn arguments(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.arguments(item, piece))
    }

    /// Adds to the input of a custom tool call.
    #[pyo3(signature = (item, delta, /))]
    fn custom_input(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.custom_input(item, piece))
    }

    /// Adds to the code of a code interpreter call.
    #[pyo3(signature = (item, delta, /))]
    fn code(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.code(item, piece))
    }

    /// Adds to the diff of a patch.
    #[pyo3(signature = (item, delta, /))]
    fn diff(&self, item: usize, delta: &Bound<'_, PyString>) -> PyResult<()> {
        self.push(delta, |core, piece| core.diff(item, piece))
    }

    /// Adds an annotation to the open text part of a message.
    #[pyo3(signature = (item, annotation, /))]
    fn annotation(&self, item: usize, annotation: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = guard(annotation.py(), || json_of(annotation))?;
        self.call(annotation.py(), |core| core.annotation(item, &json))
    }

    /// Writes a status event of an item, such as "response.web_search_call.searching", or a preview of an image.
    ///
    /// Args:
    ///     item: the `output_index`.
    ///     event: the event's type.
    ///     members: what the event has besides.
    #[pyo3(signature = (item, event, /, members=None))]
    fn status(
        &self,
        py: Python<'_>,
        item: usize,
        event: &str,
        members: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let members = guard(py, || json_or_empty(members))?;
        let Some(event) = EventType::from_bytes(event.as_bytes()) else {
            return Err(unknown("event", event, "a type of the Responses API"));
        };
        self.call(py, |core| core.status(item, event, &members))
    }

    /// Ends the open part of an item, if there is one.
    #[pyo3(signature = (item, /))]
    fn close_part(&self, py: Python<'_>, item: usize) -> PyResult<()> {
        self.call(py, |core| core.close_part(item))
    }

    /// Ends an item.
    ///
    /// Args:
    ///     item: the `output_index`.
    ///     status: "completed", "incomplete" (nothing can be added any more, nor can the response complete) or
    ///         "failed".
    ///     members: what the finished item has beyond what was streamed: `encrypted_content`, `action`, `outputs`, …
    #[pyo3(signature = (item, /, status="completed", *, members=None))]
    fn close_item(
        &self,
        py: Python<'_>,
        item: usize,
        status: &str,
        members: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let status = item_status(status)?;
        let members = guard(py, || json_or_empty(members))?;
        self.call(py, |core| core.close_item(item, status, &members))
    }

    /// Sets the usage that the final response tells; counts that clients expect and that are missing are 0.
    #[pyo3(signature = (usage, /))]
    fn usage(&self, usage: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = guard(usage.py(), || json_of(usage))?;
        self.call(usage.py(), |core| core.usage(&json))
    }

    /// Sets further members of the response object, such as `service_tier`.
    #[pyo3(signature = (members, /))]
    fn members(&self, members: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = guard(members.py(), || json_of(members))?;
        self.call(members.py(), |core| core.members(&json))
    }

    /// Writes an `error` event; open items end incomplete before it, and only `fail()` may follow.
    ///
    /// Args:
    ///     error: its `code`, `message` and `param`; a message that is missing is empty.
    #[pyo3(signature = (error, /))]
    fn error(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = guard(error.py(), || json_of(error))?;
        self.call(error.py(), |core| core.error(&json))
    }

    /// Ends the response as completed; refused while an item is open, or if one ended incomplete.
    fn complete(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |core| core.finish(Terminal::Completed))
    }

    /// Ends the response as incomplete, and what is open with it.
    ///
    /// Args:
    ///     reason: "max_output_tokens", "content_filter", …
    #[pyo3(signature = (reason, /))]
    fn incomplete(&self, py: Python<'_>, reason: &str) -> PyResult<()> {
        self.call(py, |core| core.finish(Terminal::Incomplete { reason }))
    }

    /// Ends the response as failed; what is open ends incomplete.
    ///
    /// Args:
    ///     error: its `code` and `message`, "server_error" and empty if they are missing.
    #[pyo3(signature = (error, /))]
    fn fail(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let json = guard(error.py(), || json_of(error))?;
        self.call(error.py(), |core| core.finish(Terminal::Failed { error: &json }))
    }

    /// Ends the response as cancelled; what is open ends incomplete.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |core| core.finish(Terminal::Cancelled))
    }

    /// What was written since the last call, in the emitter's format: bytes, a list of str or a list of `Event`.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let State { core, written, .. } = &mut *self.lock(py)?;
            let taken = written.read(py, core)?;
            core.clear();
            Ok(taken)
        })
    }

    /// The final response; None before the stream has ended.
    #[pyo3(name = "final")]
    fn final_<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(py, || {
            let state = self.lock(py)?;
            state.core.final_response().map(|json| to_python(py, json, self.options)).transpose()
        })
    }

    /// The response's id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// Whether the terminal event has been written.
    #[getter]
    fn finished(&self, py: Python<'_>) -> PyResult<bool> {
        guard(py, || Ok(self.lock(py)?.core.is_finished()))
    }

    /// How many items have been opened: the next one's `output_index`.
    #[getter]
    fn items(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.lock(py)?.core.items()))
    }

    /// The `sequence_number` of the next event.
    #[getter]
    fn sequence_number(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(self.lock(py)?.core.sequence_number()))
    }
}

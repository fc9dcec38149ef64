//! `IdRewriter`: the ids within messages and streams.

use std::sync::Mutex;

use penstock::ids::{Codec, Direction, Refusal, Rewriter, Scope, Selection, SseRewriter, Translation};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::bytes_like::with_bytes;
use crate::errors::{guard, lock, raise, with_events};
use crate::event::Event;
use crate::given::unknown;
use crate::ids::{Parts, codec_of, invalid, parts, with_text};
use crate::limits::Limits;
use crate::partial::with_utf8;
use crate::strings::{ascii, is_ascii};

/// Rewrites the ids in messages and streams; every other byte stays as it is.
///
/// Encoding puts the codec's ids in the place of the upstream's, in the `response` of every event that has one and in
/// bodies that are a response; brackets and strings tell where, so that text which only nearly is JSON (`NaN`) is
/// rewritten as well. Decoding is the way back, for what clients send: there, an id that a `SealedCodec` did not
/// seal for the tenant raises, and so does text that is no JSON, as nobody knows what ids it holds. LiteLLM's codec lets
/// pass what it did not encode.
///
/// Args:
///     codec: a `LiteLLMCodec` or `SealedCodec`.
///     direction: "encode" towards the client, "decode" towards the upstream.
///     tenant: whose ids they are; needed by a `SealedCodec`.
///     provider, model: what encoded ids say.
///     mentions: rewrite `previous_response_id` and `response_id` too; None for what is right: not for ids that
///         LiteLLM's codec encodes, as LiteLLM leaves them alone, and otherwise yes.
///     items: rewrite the ids of items, wherever they occur. LiteLLM's codec needs a model for that.
///     content: rewrite the `encrypted_content` of items, likewise.
///     limits: `max_event_bytes` bounds an event of a stream that is fed.
#[pyclass(frozen, module = "penstock.ids")]
pub(crate) struct IdRewriter {
    /// In a box, as the searchers inside are aligned to 32 bytes and Python's objects to 16.
    state: Mutex<Box<State>>,
}

struct State {
    stream: SseRewriter,
    /// Kept for its room.
    message: Vec<u8>,
}

/// No room is kept for a message that is larger.
const KEPT_ROOM: usize = 64 * 1024;

impl State {
    /// Hands `made` the message rewritten, or None if it stays as it is.
    #[inline]
    fn message<T>(
        &mut self,
        py: Python<'_>,
        message: &[u8],
        made: impl FnOnce(Option<&[u8]>) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut large = Vec::new();
        let out = if message.len() > KEPT_ROOM { &mut large } else { &mut self.message };
        out.clear();
        match &self.stream.rewriter_mut().message(message, out) {
            Ok(true) => made(Some(out)),
            Ok(false) => made(None),
            Err(refusal) => Err(refused(py, refusal)),
        }
    }
}

#[pymethods]
impl IdRewriter {
    #[new]
    #[pyo3(signature = (codec, direction, *, tenant=None, provider=None, model=None, mentions=None, items=false, content=false, limits=None))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords")]
    fn new(
        codec: &Bound<'_, PyAny>,
        direction: &str,
        tenant: Option<&Bound<'_, PyAny>>,
        provider: Option<String>,
        model: Option<String>,
        mentions: Option<bool>,
        items: bool,
        content: bool,
        limits: Option<&Limits>,
    ) -> PyResult<Self> {
        guard(codec.py(), || {
            let codec = codec_of(codec)?;
            let direction = match direction {
                "encode" => Direction::Encode,
                "decode" => Direction::Decode,
                other => return Err(unknown("direction", other, "\"encode\" or \"decode\"")),
            };
            let sealed = matches!(codec, Codec::Sealed(_));
            let tenant = match tenant {
                Some(tenant) => with_text(tenant, |tenant| Ok(tenant.to_vec()))?,
                None if sealed => return Err(PyTypeError::new_err("a SealedCodec needs a tenant")),
                None => Vec::new(),
            };
            let mentions = mentions.unwrap_or(sealed || direction == Direction::Decode);
            let translation = Translation { codec, direction, scope: Scope { tenant, provider, model } };
            let rewriter = Rewriter::new(translation, Selection { mentions, items, content });
            let stream = SseRewriter::new(rewriter, &Limits::or_default(limits));
            Ok(Self { state: Mutex::new(Box::new(State { stream, message: Vec::new() })) })
        })
    }

    /// Takes the next bytes of an event stream, in any split, and gives those that may pass. An event with data waits
    /// for its blank line; everything else passes at once. After an error it stays failed; what passed of the same bytes
    /// before it is in the error's `events`.
    ///
    /// Raises:
    ///     InvalidResponseId: decoding met an id that is not one of ours.
    ///     DecodeError: sealed ids are decoded, and an event is no JSON.
    ///     LimitExceeded: an event is larger than `max_event_bytes`.
    #[pyo3(signature = (data, /))]
    fn feed<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = data.py();
        guard(py, || {
            with_bytes(data, |data| {
                let mut state = lock(py, &self.state)?;
                let mut out = Vec::with_capacity(data.as_bytes().len() + 128);
                state
                    .stream
                    .feed(data.as_bytes(), &mut out)
                    .map_err(|refusal| refused_after(py, &refusal, &out))?;
                // What passes unchanged and whole is the same object.
                if out == data.as_bytes() { Ok(data.clone()) } else { Ok(PyBytes::new(py, &out)) }
            })
        })
    }

    /// Ends the stream and gives the rest of it, rewritten as if the event that is unfinished were whole.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let mut out = Vec::new();
            let finished = lock(py, &self.state)?.stream.finish(&mut out);
            finished.map_err(|refusal| refused_after(py, &refusal, &out))?;
            Ok(PyBytes::new(py, &out))
        })
    }

    /// One whole message: a WebSocket frame's text, an event's payload, the body of a request or response; str or
    /// bytes-like, or an `Event`. The same comes back if nothing changes, else one of the same kind, bytes for bytes-like.
    ///
    /// Raises:
    ///     InvalidResponseId: decoding met an id that is not one of ours.
    ///     DecodeError: sealed ids are decoded, and the message is no JSON object.
    #[pyo3(signature = (message, /))]
    fn message<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            if let Ok(event) = message.cast::<Event>() {
                return state.message(py, event.get().payload(py), |out| {
                    let Some(out) = out else { return Ok(message.clone()) };
                    let fields = PyDict::new(py);
                    fields.set_item("name", message.getattr("name")?)?;
                    fields.set_item("id", message.getattr("id")?)?;
                    message.get_type().call((PyBytes::new(py, out),), Some(&fields))
                });
            }
            if let Ok(text) = message.cast::<PyString>() {
                return with_utf8(text, |bytes| {
                    state.message(py, bytes, |out| match out {
                        Some(out) => wtf8(py, out),
                        None => Ok(message.clone()),
                    })
                });
            }
            with_bytes(message, |bytes| {
                state.message(py, bytes.as_bytes(), |out| {
                    Ok(out.map_or_else(|| message.clone(), |out| PyBytes::new(py, out).into_any()))
                })
            })
        })
    }

    /// Provider, model and upstream id of the last response's id that was decoded; None before that.
    #[getter]
    fn origin(&self, py: Python<'_>) -> PyResult<Option<Parts>> {
        guard(py, || {
            let state = lock(py, &self.state)?;
            let origin = state.stream.rewriter().origin().cloned();
            Ok(origin.map(parts))
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(py, || lock(py, &self.state).map(|_| "<IdRewriter>"))
            .or_else(|_| Ok("<IdRewriter in use or spoiled>"))
    }
}

/// The str that UTF-8 which may hold surrogates is of.
#[inline]
fn wtf8<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if is_ascii(text) {
        return Ok(ascii(py, text)?.into_any());
    }
    match std::str::from_utf8(text) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, text).call_method1("decode", ("utf-8", "surrogatepass")),
    }
}

#[cold]
fn refused(py: Python<'_>, refusal: &Refusal) -> PyErr {
    match refusal {
        Refusal::Message(error) => raise(py, error),
        _ => invalid(py),
    }
}

/// With the bytes that passed before.
#[cold]
fn refused_after(py: Python<'_>, refusal: &Refusal, passed: &[u8]) -> PyErr {
    let passed = Some(passed).filter(|passed| !passed.is_empty()).map(|passed| PyBytes::new(py, passed));
    match PyList::new(py, passed) {
        Ok(events) => with_events(py, refused(py, refusal), &events),
        Err(error) => error,
    }
}

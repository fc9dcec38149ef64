//! `HarmonyParser`: what a gpt-oss model generates in, the events of its response out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use penstock::{EmitterOptions, Error, FinishReason, HarmonyOptions, IdSource, SpecialToken};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyString};

use crate::bytes_like::with_bytes;
use crate::errors::{guard, lock, raise, raise_illegal};
use crate::given::{json_of, json_or_empty, unknown};
use crate::json::{Options, to_python};
use crate::limits::Limits;
use crate::origin::{Raised, id_source, make_id, padding, require_callable, seconds, take_raised};
use crate::partial::with_utf8;
use crate::transcoder::{reasoning_of, truncated_of};
use crate::written::{Format, Written};

/// Reads what a gpt-oss model generates, in the Harmony format, and writes the events of its response.
///
/// Feed it text with special tokens in any split, or token ids, then call `finish()` with what the engine says; each
/// call returns what it adds to the stream, and `penstock.lint` finds nothing in the whole. Analysis becomes reasoning,
/// commentary and final answer become messages, calls of functions, python and the browser become the items of these
/// tools, their arguments streamed. `response.completed` is written only if the engine says that the model came to
/// its end or, without a word of the engine, if the model said so; what is open otherwise ends incomplete.
///
/// The first call begins the response: `feed("")` does that before there is text. After an error the parser stays
/// failed and raises the same error again; `finish()` then ends the stream as failed.
///
/// Args:
///     model: the model's name.
///     id: the response's id; None for a random one.
///     created_at: when it was created, in seconds since 1970; None for now.
///     echo: members of the response object that repeat the request: instructions, tools, metadata, …
///     ids: called with a prefix (`msg_`, `rs_`, `fc_`, …), returns an id that begins with it; None for random ones.
///     format: "sse" for bytes of the event stream, "websocket" for the texts of frames, "events" for `Event`s.
///     stream_id: the lane of a WebSocket connection, written into every event.
///     escape_separators: write U+0085, U+2028 and U+2029 as escapes, for clients that take them for line ends.
///     pad_to: pad each delta with an `obfuscation` member to a multiple of so many bytes.
///     limits: the bounds: `max_message_bytes`, `max_parts` and `max_tool_calls`.
///     strict: raise `DecodeError` for what the format does not allow; otherwise `diagnostics` counts it.
///     reasoning: what analysis becomes: "raw" (`reasoning_text`) or "summary".
///     truncated: how a response ends whose text was cut for no known reason: "failed", or "incomplete" with reason
///         `stream_truncated`.
///     custom_tools: names of functions that are custom tools.
///     container_id: of code interpreter calls.
///     vocabulary: what token ids mean: `is_special_token(id)` and `decode(ids, errors=…)`, as encodings of
///         openai-harmony and tiktoken have them; None for gpt-oss's own, which openai-harmony loads.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct HarmonyParser {
    state: Mutex<State>,
    id: String,
    options: Options,
    vocabulary: Option<Py<PyAny>>,
}

struct State {
    core: penstock::HarmonyParser,
    written: Written,
    raised: Raised,
    /// What each token is that has come.
    tokens: HashMap<u32, Meaning>,
}

/// What a token is.
enum Meaning {
    Text(Box<[u8]>),
    Special(SpecialToken),
    /// A special token that Harmony has no use for.
    Unknown,
}

impl State {
    /// What an error of the core is to the caller: his own exception, if `ids` raised one.
    #[cold]
    fn raise(&self, py: Python<'_>, error: &Error) -> PyErr {
        take_raised(&self.raised).unwrap_or_else(|| raise(py, error))
    }

    /// Ends a call of the core: what it wrote, or what it refused.
    #[inline]
    fn ended<'py>(&mut self, py: Python<'py>, result: Result<(), Error>) -> PyResult<Bound<'py, PyAny>> {
        result.map_err(|error| self.raise(py, &error))?;
        let written = self.written.read(py, self.core.emitter())?;
        self.core.clear();
        Ok(written)
    }

    /// Feeds tokens whose meanings are known; text that follows text comes in one piece.
    fn feed_tokens(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let mut text = Vec::new();
        for token in tokens {
            if let Some(Meaning::Text(piece)) = self.tokens.get(token) {
                text.extend_from_slice(piece);
                continue;
            }
            if !text.is_empty() {
                self.core.feed_text(&text)?;
                text.clear();
            }
            match self.tokens.get(token) {
                Some(Meaning::Special(token)) => self.core.feed_special(*token)?,
                _ => self.core.feed_unknown_special()?,
            }
        }
        self.core.feed_text(&text)
    }
}

impl HarmonyParser {
    /// Asks the vocabulary what tokens mean that are new.
    fn look_up(&self, py: Python<'_>, tokens: &[u32], state: &mut State) -> PyResult<()> {
        for &token in tokens {
            if let Entry::Vacant(entry) = state.tokens.entry(token) {
                let loaded;
                let vocabulary = if let Some(vocabulary) = &self.vocabulary {
                    vocabulary.bind(py)
                } else {
                    loaded = py.import("penstock.harmony")?.call_method0("gpt_oss_vocabulary")?;
                    &loaded
                };
                entry.insert(meaning(vocabulary, token)?);
            }
        }
        Ok(())
    }
}

/// What a vocabulary says of a token. Bytes that are no character by themselves come as surrogates, and go back.
fn meaning(vocabulary: &Bound<'_, PyAny>, token: u32) -> PyResult<Meaning> {
    let py = vocabulary.py();
    let keywords = PyDict::new(py);
    keywords.set_item("errors", "surrogateescape")?;
    let text = vocabulary.call_method("decode", ([token],), Some(&keywords))?;
    let text: Vec<u8> = text.call_method1("encode", ("utf-8", "surrogateescape"))?.extract()?;
    if !vocabulary.call_method1("is_special_token", (token,))?.is_truthy()? {
        return Ok(Meaning::Text(text.into()));
    }
    Ok(SpecialToken::from_text(&text).map_or(Meaning::Unknown, Meaning::Special))
}

#[pymethods]
impl HarmonyParser {
    #[new]
    #[pyo3(signature = (*, model, id=None, created_at=None, echo=None, ids=None, format="sse", stream_id=None,
        escape_separators=false, pad_to=None, limits=None, strict=false, reasoning="raw", truncated="failed",
        custom_tools=Vec::new(), container_id=String::new(), vocabulary=None),
        text_signature = "(*, model, id=None, created_at=None, echo=None, ids=None, format=\"sse\", stream_id=None, \
            escape_separators=False, pad_to=None, limits=None, strict=False, reasoning=\"raw\", \
            truncated=\"failed\", custom_tools=(), container_id=\"\", vocabulary=None)")]
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
        strict: bool,
        reasoning: &str,
        truncated: &str,
        custom_tools: Vec<String>,
        container_id: String,
        vocabulary: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let format = Format::parse(format)?;
            require_callable("ids", ids.as_ref())?;
            let options = HarmonyOptions {
                reasoning: reasoning_of(reasoning)?,
                custom_tools,
                container_id,
                truncated: truncated_of(truncated)?,
                strict,
            };
            let ids = ids.map(Bound::unbind);
            let id = id.map_or_else(|| make_id(py, ids.as_ref(), "resp_"), Ok)?;
            let created_at = seconds(py, created_at, "created_at must be seconds since 1970")?;
            let limits = Limits::or_default(limits);
            let raised = Raised::default();
            let response = EmitterOptions {
                echo: json_or_empty(echo)?,
                ids: id_source(py, ids, raised.clone())?,
                wire: format.wire(),
                stream_id,
                escape_separators,
                padding: padding(py, pad_to)?,
                limits,
                ..EmitterOptions::new(id.clone(), created_at, model)
            };
            let core =
                penstock::HarmonyParser::new(response, options).map_err(|error| raise_illegal(py, &error))?;
            let written = Written::new(py, format, &limits)?;
            let state = Mutex::new(State { core, written, raised, tokens: HashMap::new() });
            Ok(Self { state, id, options: Options::new(&limits, false), vocabulary })
        })
    }

    /// Takes the next piece of the model's text, special tokens spelled out in it, cut anywhere.
    ///
    /// Args:
    ///     text: a str, or bytes-like UTF-8, which may end inside a character.
    ///
    /// Returns:
    ///     What it adds to the stream, in the parser's format.
    #[pyo3(signature = (text, /))]
    fn feed<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = text.py();
        let feed = |text: &[u8]| {
            let mut state = lock(py, &self.state)?;
            let result = state.core.feed(text);
            state.ended(py, result)
        };
        guard(py, || match text.cast::<PyString>() {
            Ok(text) => with_utf8(text, feed),
            Err(_) => with_bytes(text, |bytes| feed(bytes.as_bytes())),
        })
    }

    /// Takes the next tokens of the model, any number of them. Only tokens that are special structure the output:
    /// text that spells one is text.
    ///
    /// Args:
    ///     tokens: their ids in the vocabulary.
    ///
    /// Returns:
    ///     What they add to the stream, in the parser's format.
    #[pyo3(signature = (tokens, /))]
    fn feed_tokens<'py>(&self, tokens: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = tokens.py();
        guard(py, || {
            let tokens = tokens.try_iter()?.map(|token| token?.extract()).collect::<PyResult<Vec<u32>>>()?;
            let mut state = lock(py, &self.state)?;
            self.look_up(py, &tokens, &mut state)?;
            let result = state.feed_tokens(&tokens);
            state.ended(py, result)
        })
    }

    /// Ends the response, if it has not ended. May be called again, to no effect.
    ///
    /// Args:
    ///     reason: what the engine says: "stop", "length", "content_filter", "timeout", "cancelled" or "error", or
    ///         another engine's word for one of them. None if it says nothing: then the response completes only if
    ///         the model ended its turn, with `<|return|>`, `<|call|>` or `<|endoftext|>`.
    ///     usage: the usage that the final response tells.
    ///
    /// Returns:
    ///     The rest of the stream, in the parser's format.
    #[pyo3(signature = (reason=None, /, *, usage=None))]
    fn finish<'py>(
        &self,
        py: Python<'py>,
        reason: Option<&str>,
        usage: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let reason = reason.map(|word| reason_of("reason", word)).transpose()?;
            let usage = usage.map(json_of).transpose()?;
            let mut state = lock(py, &self.state)?;
            if let (Some(usage), false) = (usage, state.core.is_finished()) {
                state.core.usage(&usage).map_err(|error| raise_illegal(py, &error))?;
            }
            let result = state.core.finish(reason);
            state.ended(py, result)
        })
    }

    /// Ends the response as failed: the engine raised an error. Nothing happens if it has ended.
    ///
    /// Returns:
    ///     The rest of the stream, in the parser's format.
    #[pyo3(signature = (message, /, *, code="server_error"))]
    fn fail<'py>(&self, py: Python<'py>, message: &str, code: &str) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let result = state.core.fail(code, message);
            state.ended(py, result)
        })
    }

    /// Ends the response as cancelled. Nothing happens if it has ended.
    ///
    /// Returns:
    ///     The rest of the stream, in the parser's format.
    fn cancel<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let mut state = lock(py, &self.state)?;
            let result = state.core.cancel();
            state.ended(py, result)
        })
    }

    /// The final response; None before the stream has ended.
    #[pyo3(name = "final")]
    fn final_<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(py, || {
            let state = lock(py, &self.state)?;
            state.core.emitter().final_response().map(|json| to_python(py, json, self.options)).transpose()
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
        guard(py, || Ok(lock(py, &self.state)?.core.is_finished()))
    }

    /// How often the model wrote what the format does not allow, by kind.
    #[getter]
    fn diagnostics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(py, || lock(py, &self.state)?.core.diagnostics().into_py_dict(py))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let finished = lock(py, &self.state)?.core.is_finished();
            Ok(format!("<HarmonyParser {}>", if finished { "finished" } else { "open" }))
        })
        .or_else(|_| Ok("<HarmonyParser in use or spoiled>".to_owned()))
    }
}

/// What an engine's word says.
fn reason_of(option: &str, word: &str) -> PyResult<FinishReason> {
    let words = "\"stop\", \"length\", \"content_filter\", \"timeout\", \"cancelled\" or \"error\"";
    FinishReason::from_word(word).ok_or_else(|| unknown(option, word, words))
}

/// The items of whole messages, a JSON list; `penstock.harmony` documents it.
#[pyfunction]
#[pyo3(signature = (messages, /, *, ids, finish_reason, strict, reasoning, custom_tools, container_id, limits))]
#[allow(clippy::too_many_arguments, reason = "one keyword an option")]
pub(crate) fn _harmony_to_items<'py>(
    messages: &Bound<'py, PyAny>,
    ids: Option<Bound<'py, PyAny>>,
    finish_reason: &str,
    strict: bool,
    reasoning: &str,
    custom_tools: Vec<String>,
    container_id: String,
    limits: Option<&Limits>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = messages.py();
    guard(py, || {
        require_callable("ids", ids.as_ref())?;
        let raised = Raised::default();
        let limits = Limits::or_default(limits);
        let is_cut = reason_of("finish_reason", finish_reason)? != FinishReason::Stop;
        let source: IdSource = id_source(py, ids.map(Bound::unbind), raised.clone())?;
        let response = EmitterOptions { ids: source, limits, ..EmitterOptions::new("resp_0", 0, "") };
        let options = HarmonyOptions {
            reasoning: reasoning_of(reasoning)?,
            custom_tools,
            container_id,
            strict,
            ..HarmonyOptions::default()
        };
        let items = penstock::harmony_to_items(&json_of(messages)?, response, options, is_cut)
            .map_err(|error| take_raised(&raised).unwrap_or_else(|| raise(py, &error)))?;
        to_python(py, &items, Options::new(&limits, false))
    })
}

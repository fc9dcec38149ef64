//! From one dialect to another, event by event: bytes in any split in, the other dialect's event stream out.
//!
//! Every stream ends in one truthful terminal event of its dialect, whatever the upstream did. Events of the
//! Responses API are written by the [`Emitter`](crate::Emitter) alone.

mod chat_to_responses;
mod citation;
mod failure;
mod responses_to_chat;
mod rules;
mod usage;

use crate::decoder::{Decoder, DecoderOptions, EndOfInput, Frame, Sink};
use crate::emit::EmitterOptions;
use crate::error::Error;
use crate::limits::Limits;
use crate::shape::Miss;
use chat_to_responses::ChatToResponses;
use responses_to_chat::ResponsesToChat;

pub(crate) use failure::Failure;

pub use chat_to_responses::{ChatToResponsesOptions, Compat, Messages, ReasoningAs, Truncated};
pub use responses_to_chat::ResponsesToChatOptions;

/// Rewrites a stream in another dialect.
///
/// After an error it stays failed and repeats that error; [`finish`](Self::finish) then still ends the stream it
/// writes, as failed.
///
/// ```
/// use penstock::{ChatToResponsesOptions, EmitterOptions, Transcoder};
///
/// let response = EmitterOptions::new("resp_1", 1_700_000_000, "");
/// let mut transcoder = Transcoder::chat_to_responses(response, ChatToResponsesOptions::default())?;
/// transcoder.feed(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n")?;
/// transcoder.feed(b"data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")?;
/// transcoder.finish()?;
/// let stream = String::from_utf8(transcoder.take())?;
/// assert!(stream.contains("event: response.output_text.delta\n"));
/// assert!(stream.contains("event: response.completed\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Transcoder {
    decoder: Decoder,
    direction: Direction,
    failure: Option<Error>,
}

#[derive(Debug)]
enum Direction {
    ToResponses(Box<ChatToResponses>),
    ToChat(Box<ResponsesToChat>),
}

impl Transcoder {
    /// From Chat Completions to Responses. An empty `model` is taken from the first chunk that names one.
    pub fn chat_to_responses(
        response: EmitterOptions,
        options: ChatToResponsesOptions,
    ) -> Result<Self, Error> {
        let limits = response.limits;
        let direction = ChatToResponses::new(response, options, &limits)?;
        Ok(Self::new(Direction::ToResponses(Box::new(direction)), &limits))
    }

    /// From Responses to Chat Completions.
    #[must_use]
    pub fn responses_to_chat(options: ResponsesToChatOptions) -> Self {
        let limits = options.limits;
        Self::new(Direction::ToChat(Box::new(ResponsesToChat::new(options))), &limits)
    }

    fn new(direction: Direction, limits: &Limits) -> Self {
        let options =
            DecoderOptions { end_of_input: EndOfInput::Flush, limits: *limits, ..DecoderOptions::default() };
        Self { decoder: Decoder::new(options), direction, failure: None }
    }

    /// Takes the next bytes of the source's event stream.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.guarded(|this| this.decode(Some(chunk)))
    }

    /// Takes one event of the source: its payload, and the name of its `event` field.
    pub fn feed_event(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        self.guarded(|this| this.direction.feed(payload, name))
    }

    /// The input ended: writes the terminal event if none has been written. A body that is no event stream counts
    /// as one event, which it mostly is: an error, or an answer that was not streamed. May be called again.
    pub fn finish(&mut self) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            let failure = Failure::new("server_error", &failure.to_string());
            return self.direction.fail(&failure);
        }
        self.guarded(|this| {
            this.decode(None)?;
            if let Some(body) = this.decoder.non_stream_body() {
                this.direction.feed(body, (!is_answer(body)).then_some(b"error"))?;
            }
            this.direction.finish()
        })
        .or_else(|error| self.finish_failed(error))
    }

    /// Ends the stream as failed: an upstream that cannot be reached, a time-out. Nothing happens if it has ended.
    pub fn fail(&mut self, code: &str, message: &str) -> Result<(), Error> {
        self.direction.fail(&Failure::new(code, message))
    }

    /// Ends the stream as cancelled. Nothing happens if it has ended.
    pub fn cancel(&mut self) -> Result<(), Error> {
        match &mut self.direction {
            Direction::ToResponses(to) => to.cancel(),
            Direction::ToChat(to) => {
                to.fail(&Failure::new("cancelled", "the response was cancelled"));
                Ok(())
            }
        }
    }

    /// What was written and not taken.
    #[must_use]
    pub fn output(&mut self) -> &[u8] {
        match &mut self.direction {
            Direction::ToResponses(to) => to.emitter().output(),
            Direction::ToChat(to) => &to.out,
        }
    }

    /// Forgets what was written, which the caller has read.
    pub fn clear(&mut self) {
        match &mut self.direction {
            Direction::ToResponses(to) => to.emitter().clear(),
            Direction::ToChat(to) => to.out.clear(),
        }
    }

    /// Takes what was written.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.direction {
            Direction::ToResponses(to) => to.emitter().take(),
            Direction::ToChat(to) => std::mem::take(&mut to.out),
        }
    }

    /// Whether the terminal event has been written.
    #[must_use]
    pub fn is_finished(&mut self) -> bool {
        match &mut self.direction {
            Direction::ToResponses(to) => to.emitter().is_finished(),
            Direction::ToChat(to) => to.is_finished(),
        }
    }

    /// How often the source did what its API does not allow, and what could not be carried over, by kind.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<(&'static str, u64)> {
        match &self.direction {
            Direction::ToResponses(to) => to.diagnostics().collect(),
            Direction::ToChat(to) => to.diagnostics().collect(),
        }
    }

    /// The error that stopped this transcoder.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Decodes a chunk, or the end of input, and hands the frames to the direction until one is refused.
    fn decode(&mut self, chunk: Option<&[u8]>) -> Result<(), Error> {
        let mut to = Into { direction: &mut self.direction, refused: None };
        let decoded = match chunk {
            Some(chunk) => self.decoder.feed(chunk, &mut to),
            None => self.decoder.finish(&mut to),
        };
        if let Some(refused) = to.refused {
            return Err(refused);
        }
        if self.decoder.is_done() {
            self.direction.done()?;
        }
        decoded
    }

    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        step(self).inspect_err(|error| self.failure = Some(error.clone()))
    }

    /// The end of input could not be read: the stream still ends, and the caller is told.
    #[cold]
    fn finish_failed(&mut self, error: Error) -> Result<(), Error> {
        self.direction.fail(&Failure::new("server_error", &error.to_string()))?;
        Err(error)
    }
}

/// Whether a body that is no event stream is one event of an API; else it tells what went wrong, in words of its own.
#[cold]
fn is_answer(body: &[u8]) -> bool {
    let kind = usage::member(body, "type").and_then(crate::event::string);
    ["choices", "object", "error"].into_iter().any(|key| usage::member(body, key).is_some())
        || kind.is_some_and(|kind| kind.raw == b"error" || kind.raw.starts_with(b"response."))
}

/// Hands frames to a direction until one is refused.
struct Into<'a> {
    direction: &'a mut Direction,
    refused: Option<Error>,
}

impl Sink for Into<'_> {
    #[inline]
    fn frame(&mut self, chunk: &[u8], frame: Frame<'_>) {
        if self.refused.is_none() {
            let name = frame.name.as_ref().map(|name| name.bytes(chunk));
            self.refused = self.direction.feed(frame.data.bytes(chunk), name).err();
        }
    }

    #[inline]
    fn known(&mut self, text: &[u8], at: usize, _carried: bool) -> Result<usize, Miss> {
        match &mut *self.direction {
            Direction::ToResponses(to) if self.refused.is_none() => {
                to.feed_known(text, at, &mut self.refused)
            }
            _ => Err(Miss::Different),
        }
    }
}

impl Direction {
    fn feed(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        match self {
            Self::ToResponses(to) => to.feed(payload, name),
            Self::ToChat(to) => to.feed(payload, name),
        }
    }

    fn done(&mut self) -> Result<(), Error> {
        match self {
            Self::ToResponses(to) => to.done(),
            Self::ToChat(to) => {
                to.finish();
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        match self {
            Self::ToResponses(to) => to.finish(),
            Self::ToChat(to) => {
                to.finish();
                Ok(())
            }
        }
    }

    fn fail(&mut self, failure: &Failure) -> Result<(), Error> {
        match self {
            Self::ToResponses(to) => to.fail(failure),
            Self::ToChat(to) => {
                to.fail(failure);
                Ok(())
            }
        }
    }
}

/// Members of a request that its response repeats.
const ECHOED: [&str; 22] = [
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// The members of `request`, a Responses request or a part of one, that its response repeats, as
/// [`EmitterOptions::echo`] takes them. The model is not among them: the response names it anyway.
pub fn echoed(request: &[u8]) -> Result<Vec<u8>, Error> {
    let mut echo = vec![b'{'];
    crate::json::entries(request, |key, value| {
        let value = request.get(value).unwrap_or_default();
        if value != b"null" && ECHOED.iter().any(|known| crate::json::spells(key, known)) {
            crate::json::push_comma(&mut echo);
            crate::json::push_string(&key.decoded(), &mut echo);
            echo.push(b':');
            echo.extend_from_slice(value);
        }
    })?;
    echo.push(b'}');
    Ok(echo)
}

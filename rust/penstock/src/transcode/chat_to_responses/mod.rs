//! Chat Completions chunks → the events of one response.
//!
//! | a chunk's | becomes |
//! |---|---|
//! | `content`, `refusal` | parts of a message |
//! | `reasoning_content`, `reasoning`, thinking parts and blocks | a reasoning item, as summary or raw |
//! | `tool_calls`, `function_call` | function and custom tool calls, one item a call |
//! | `annotations`, `citations` | annotations of the message's text, each once |
//! | `usage` | the usage of the response: the last that came and is not `null` |
//! | `error`, of the chunk or a choice | `response.failed`, with the upstream's words |
//! | `finish_reason` | the terminal event, written at `[DONE]` or at the end of input, as usage may follow |
//!
//! Within a chunk: reasoning, then text, refusal, tool calls. An item ends before another begins; only tool calls
//! stay open beside one another, as their fragments may alternate. A stream that ends without finish reason and
//! without `[DONE]` was cut, and no response completes that was cut.

mod accounts;
mod calls;
mod delta;
mod output;
mod reasoning;
mod state;

use crate::dialect::chat::{Added, Chunk, Repeat, RepeatTarget};
use crate::dialect::responses::Channel;
use crate::emit::{Emitter, EmitterOptions, PartKind, Piece, Spelled};
use crate::error::Error;
use crate::json::{push_usual, push_wtf8};
use crate::limits::Limits;
use crate::shape::Miss;
use crate::transcode::failure::Failure;
use crate::transcode::rules;

use state::State;

/// What reasoning text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReasoningAs {
    /// Parts of the summary, as openai-agents writes it.
    #[default]
    Summary,
    /// Parts of the content, of type `reasoning_text`.
    Raw,
}

/// How many messages a response may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Messages {
    /// Text behind reasoning or a tool call begins another message.
    #[default]
    Many,
    /// All text goes to one message, which stays open to the end.
    One,
}

/// How a stream ends that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncated {
    /// `response.failed`, code `server_error`.
    #[default]
    Failed,
    /// `response.incomplete`, reason `stream_truncated`.
    Incomplete,
}

/// A library whose order of events is kept to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// openai-agents 0.20: one message, raw reasoning from `reasoning`, a reasoning item that ends behind the text,
    /// items that end at the end, and a refusal in place of an answer that a content filter withheld.
    OpenAiAgents,
}

/// How chunks become events.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChatToResponsesOptions {
    /// What reasoning becomes.
    pub reasoning: ReasoningAs,
    /// How many messages there are.
    pub messages: Messages,
    /// A function call without arguments has `{}` for them, not an empty text.
    pub empty_arguments_as_object: bool,
    /// How a cut stream ends.
    pub truncated: Truncated,
    /// A library to be compatible with.
    pub compat: Option<Compat>,
    /// What the API does not allow is an error; otherwise it is counted.
    pub strict: bool,
}

/// Longer pieces with escapes are decoded by what is made for long text.
const USUAL_PIECE: usize = 64;

/// Folds chunks into events. After an error it stays failed; the end of input then ends the response as failed.
#[derive(Debug)]
pub(super) struct ChatToResponses {
    chunk: Chunk,
    repeat: Repeat,
    /// The item that a repeating chunk adds to.
    repeat_item: Option<usize>,
    /// The characters of a piece that is spelled with escapes.
    decoded: Vec<u8>,
    state: State,
}

impl ChatToResponses {
    pub(super) fn new(
        emitter: EmitterOptions,
        options: ChatToResponsesOptions,
        limits: &Limits,
    ) -> Result<Self, Error> {
        Ok(Self {
            chunk: Chunk::new(usize::try_from(limits.max_parts).unwrap_or(usize::MAX)),
            repeat: Repeat::default(),
            repeat_item: None,
            decoded: Vec::new(),
            state: State::new(emitter, options, limits)?,
        })
    }

    pub(super) const fn emitter(&mut self) -> &mut Emitter {
        &mut self.state.output.emitter
    }

    pub(super) fn diagnostics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.state.accounts.diagnostics.counts()
    }

    /// Takes one event: its payload, and the name of its `event` field.
    pub(super) fn feed(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        if name != Some(b"error")
            && let Some(item) = self.repeat_item
            && let Some(added) = self.repeat.fit(payload)
        {
            return self.add(item, added);
        }
        self.repeat_item = None;
        let breaches = self.state.accounts.diagnostics.total();
        // Every chunk that adds something behind the finish reason breaks that rule again, but no other.
        let late = u64::from(self.state.finish_reason.is_some());
        self.state.accounts.added = false;
        self.state.take(&mut self.chunk, payload, name)?;
        if self.state.accounts.added && self.state.accounts.diagnostics.total() == breaches + late {
            self.repeat_item = self.repeat.learn(&self.chunk, payload).and_then(|(target, choice)| {
                let output = &self.state.output;
                match target {
                    _ if choice != 0 => None,
                    RepeatTarget::Content | RepeatTarget::Refusal => output.open_message(),
                    RepeatTarget::ReasoningContent | RepeatTarget::Reasoning => output.open_reasoning(),
                    RepeatTarget::Arguments => output.calls.last_item(),
                }
            });
        }
        Ok(())
    }

    /// Takes the event that starts at `at` of a stream and returns where it ends, if it stands there whole and is of the
    /// common kind; otherwise nothing is taken. What is wrong with what it adds goes to `refused`.
    #[inline(always)]
    pub(super) fn feed_known(
        &mut self,
        stream: &[u8],
        at: usize,
        refused: &mut Option<Error>,
    ) -> Result<usize, Miss> {
        let item = self.repeat_item.ok_or(Miss::Different)?;
        let (added, end) = self.repeat.fit_event(stream, at)?;
        if let Err(error) = self.add(item, added) {
            *refused = Some(error);
        }
        Ok(end)
    }

    /// Adds to an item what a repeating chunk adds.
    #[inline]
    fn add(&mut self, item: usize, added: Added<'_>) -> Result<(), Error> {
        let Added { target, piece, wide, .. } = added;
        let kind = match target {
            RepeatTarget::Content => PartKind::Text,
            RepeatTarget::Refusal => PartKind::Refusal,
            _ => self.state.reasoning_kind(target),
        };
        let emitter = &mut self.state.output.emitter;
        let spelled = Spelled { json: piece.raw, wide };
        let piece = if piece.ascii && !piece.escaped {
            Piece { text: piece.raw, spelled: Some(spelled) }
        } else {
            self.decoded.clear();
            let usual = piece.raw.len() <= USUAL_PIECE && push_usual(piece.raw, &mut self.decoded);
            if !usual {
                self.decoded.clear();
                push_wtf8(piece, &mut self.decoded);
            }
            Piece { text: &self.decoded, spelled: usual.then_some(spelled) }
        };
        match target {
            RepeatTarget::Arguments => emitter.push_string(item, Channel::FunctionArguments, piece)?,
            _ => emitter.push_part(item, kind, piece, b"")?,
        }
        let late = self.state.finish_reason.is_some() && !piece.text.is_empty();
        if late { self.state.accounts.diagnostics.breach(rules::LATE_DELTA) } else { Ok(()) }
    }

    /// `[DONE]` came: writes the terminal event.
    pub(super) fn done(&mut self) -> Result<(), Error> {
        self.repeat_item = None;
        self.state.done()
    }

    /// The input ended.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.repeat_item = None;
        self.state.finish()
    }

    /// Ends the response as failed.
    pub(super) fn fail(&mut self, failure: &Failure) -> Result<(), Error> {
        self.repeat_item = None;
        self.state.fail(failure)
    }

    /// Ends the response as cancelled.
    pub(super) fn cancel(&mut self) -> Result<(), Error> {
        self.repeat_item = None;
        self.state.cancel()
    }
}

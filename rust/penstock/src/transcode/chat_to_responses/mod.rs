//! Chat Completions chunks → the events of one response.
//!
//! | a chunk's | becomes |
//! |---|---|
//! | `content`, `refusal` | parts of a message |
//! | `reasoning_content`, `reasoning`, thinking parts and blocks | a reasoning item, as summary or raw |
//! | `tool_calls`, `function_call` | function and custom tool calls, one item a call |
//! | `annotations`, `citations` | annotations of the message's text, each once |
//! | `usage` | the usage of the response: the last that came and is not `null` |
//! | `finish_reason` | the terminal event, written at `[DONE]` or at the end of input, as usage may follow |
//!
//! Within a chunk: reasoning, then text, refusal, tool calls. An item ends before another begins; only tool calls
//! stay open beside one another, as their fragments may alternate. A stream that ends without finish reason and
//! without `[DONE]` was cut, and no response completes that was cut.

mod accounts;
mod calls;
mod output;
mod reasoning;

use crate::dialect::chat::{
    Choice, ChoiceField, Chunk, ChunkField, DeltaField, PieceField, Pieces, Repeat, RepeatTarget, elements,
    is_blank, is_string,
};
use crate::emit::{Emitter, EmitterOptions, PartKind, Terminal};
use crate::error::{Error, exceeded};
use crate::event::{index, string};
use crate::json::push_string;
use crate::limits::{Limit, Limits};
use crate::transcode::failure::Failure;
use crate::transcode::{rules, usage};

use accounts::{Accounts, clean};
use output::Output;
use reasoning::{holds_blocks, holds_text};

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

/// What openai-agents says for an answer that was withheld without a word.
const WITHHELD: &[u8] = b"Response withheld by the provider's content filter.";

/// The tiers a response can name.
const SERVICE_TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];

/// Folds chunks into events. After an error it stays failed; the end of input then ends the response as failed.
#[derive(Debug)]
pub(super) struct ChatToResponses {
    chunk: Chunk,
    repeat: Repeat,
    /// The item that a repeating chunk adds to.
    repeat_item: Option<usize>,
    state: State,
}

/// How far the response has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Running,
    Ended,
}

#[derive(Debug)]
struct State {
    options: ChatToResponsesOptions,
    limits: Limits,
    output: Output,
    accounts: Accounts,
    phase: Phase,
    /// The response's model is still unknown.
    needs_model: bool,
    needs_tier: bool,
    /// JSON values; empty while none has come.
    usage: Vec<u8>,
    stray_usage: Vec<u8>,
    /// Decoded.
    finish_reason: Option<Vec<u8>>,
}

impl ChatToResponses {
    pub(super) fn new(
        emitter: EmitterOptions,
        options: ChatToResponsesOptions,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let needs_model = emitter.model.is_empty();
        let output = Output::new(Emitter::new(emitter)?, options);
        Ok(Self {
            chunk: Chunk::new(usize::try_from(limits.max_parts).unwrap_or(usize::MAX)),
            repeat: Repeat::default(),
            repeat_item: None,
            state: State {
                options,
                limits: *limits,
                output,
                accounts: Accounts::new(limits, options.strict),
                phase: Phase::Before,
                needs_model,
                needs_tier: true,
                usage: Vec::new(),
                stray_usage: Vec::new(),
                finish_reason: None,
            },
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
            && let Some((target, _, piece)) = self.repeat.fit(payload)
        {
            let kind = self.state.reasoning_kind(target);
            let emitter = &mut self.state.output.emitter;
            let piece = piece.decoded();
            return match target {
                RepeatTarget::Content => emitter.text(item, &piece),
                RepeatTarget::Refusal => emitter.refusal(item, &piece),
                RepeatTarget::Arguments => emitter.arguments(item, &piece),
                _ if kind == PartKind::ReasoningText => emitter.reasoning_text(item, &piece),
                _ => emitter.reasoning_summary(item, &piece),
            };
        }
        self.repeat_item = None;
        let breaches = self.state.accounts.diagnostics.total();
        self.state.accounts.added = false;
        self.state.take(&mut self.chunk, payload, name)?;
        if self.state.accounts.added && self.state.accounts.diagnostics.total() == breaches {
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
        if self.state.phase == Phase::Ended {
            return Ok(());
        }
        self.state.start()?;
        self.state.phase = Phase::Ended;
        self.state.output.emitter.finish(Terminal::Cancelled)
    }
}

impl State {
    fn take(&mut self, chunk: &mut Chunk, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        if payload.len() < 64 {
            match payload.trim_ascii() {
                b"[DONE]" => return self.done(),
                b"" => return Ok(()),
                _ => {}
            }
        }
        if self.phase == Phase::Ended {
            return self.accounts.breach(rules::AFTER_TERMINAL);
        }
        if payload.len() as u64 > self.limits.max_event_bytes.min(u64::from(u32::MAX)) {
            return Err(exceeded(
                Limit::EventBytes,
                self.limits.max_event_bytes,
                self.limits.max_event_bytes,
            ));
        }
        if let Err(error) = chunk.scan(payload) {
            if name == Some(b"error") {
                return self.fail(&Failure::read(payload));
            }
            // A chunk that cannot be read says nothing; its neighbours still do.
            self.accounts.breach(rules::MALFORMED)?;
            return if matches!(error, Error::Limit { .. }) { Err(error) } else { Ok(()) };
        }
        if chunk.crowded {
            return Err(exceeded(Limit::Parts, self.limits.max_parts, 0));
        }
        if chunk.duplicates {
            self.accounts.breach(rules::DUPLICATE_FIELD)?;
        }
        if chunk.odd_choices {
            self.accounts.breach(rules::BAD_VALUE)?;
        }
        self.accounts.chunks += 1;
        self.apply(chunk, payload, name)
    }

    fn apply(&mut self, chunk: &Chunk, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        let value = |field| chunk.field(field).of(payload);
        self.take_model(value(ChunkField::Model))?;
        self.start()?;
        if !is_blank(value(ChunkField::Error)) {
            return self.fail(&Failure::read(value(ChunkField::Error)));
        }
        if name == Some(b"error") || is_string(value(ChunkField::Object), "error") {
            return self.fail(&Failure::read(payload));
        }
        if self.needs_tier && !is_blank(value(ChunkField::ServiceTier)) {
            self.needs_tier = false;
            self.take_tier(value(ChunkField::ServiceTier))?;
        }
        keep_object(&mut self.usage, value(ChunkField::Usage));
        let groq = value(ChunkField::XGroq);
        if !is_blank(groq) {
            keep_object(&mut self.stray_usage, usage::member(groq, "usage").unwrap_or_default());
        }
        let mut found = false;
        for (place, choice) in chunk.choices.iter().enumerate() {
            let number = match choice.field(ChoiceField::Index).of(payload) {
                b"" | b"null" => Some(place as u64),
                value => index(value),
            };
            match number {
                Some(0) if !found => {
                    found = true;
                    let whole = choice.field(ChoiceField::Delta).is_empty()
                        && !choice.field(ChoiceField::Message).is_empty();
                    let choice = if whole { choice.with_message(payload) } else { *choice };
                    self.apply_choice(&choice, payload)?;
                }
                Some(_) => self.accounts.breach(rules::OTHER_CHOICE)?,
                None => self.accounts.breach(rules::BAD_INDEX)?,
            }
        }
        let citations = value(ChunkField::Citations);
        if !is_blank(citations) {
            self.output.cite(citations, &mut self.accounts)?;
        }
        Ok(())
    }

    fn apply_choice(&mut self, choice: &Choice, payload: &[u8]) -> Result<(), Error> {
        let value = |field| choice.delta(field).of(payload);
        let before = std::mem::take(&mut self.accounts.added);
        self.apply_reasoning(choice, payload)?;
        let logprobs = Pieces::read(choice.field(ChoiceField::Logprobs).of(payload));
        if !is_blank(logprobs.get(PieceField::Refusal)) {
            self.accounts.note(rules::LOGPROBS_DROPPED);
        }
        self.apply_content(value(DeltaField::Content), logprobs.get(PieceField::Content))?;
        if let Some(refusal) = self.accounts.string(value(DeltaField::Refusal))? {
            self.output.refusal(&refusal.decoded(), &mut self.accounts)?;
        }
        let annotations = value(DeltaField::Annotations);
        if !is_blank(annotations) {
            self.output.cite(annotations, &mut self.accounts)?;
        }
        for field in [DeltaField::ToolCalls, DeltaField::FunctionCall] {
            if !is_blank(value(field)) {
                self.output.call(value(field), &mut self.accounts)?;
            }
        }
        let audio = value(DeltaField::Audio);
        if !is_blank(audio) {
            let audio = self.accounts.pieces(audio)?;
            self.output.sound(audio.get(PieceField::Data), audio.get(PieceField::Transcript))?;
        }
        if self.accounts.added && self.finish_reason.is_some() {
            self.accounts.breach(rules::LATE_DELTA)?;
        }
        self.accounts.added |= before;
        keep_object(&mut self.stray_usage, choice.field(ChoiceField::Usage).of(payload));
        self.take_finish_reason(choice.field(ChoiceField::FinishReason).of(payload))
    }

    /// All fields of reasoning make one text; what stands in two of them counts once.
    fn apply_reasoning(&mut self, choice: &Choice, payload: &[u8]) -> Result<(), Error> {
        let value = |field| choice.delta(field).of(payload);
        let (content, plain) = (value(DeltaField::ReasoningContent), value(DeltaField::Reasoning));
        let blocks = value(DeltaField::ThinkingBlocks);
        let in_blocks = holds_text(blocks);
        let kind = self.reasoning_kind(RepeatTarget::ReasoningContent);
        if holds_blocks(blocks) {
            self.output.think(blocks, kind, false, &mut self.accounts)?;
        }
        let mut told = in_blocks;
        for (text, field) in [(content, RepeatTarget::ReasoningContent), (plain, RepeatTarget::Reasoning)] {
            // OpenRouter's `reasoning` may be an object; that is no text.
            let Some(text) = string(text).filter(|text| !text.raw.is_empty() && !in_blocks) else { continue };
            if field == RepeatTarget::Reasoning && plain == content {
                continue;
            }
            told = true;
            self.output.reason(self.reasoning_kind(field), &text.decoded(), &mut self.accounts)?;
        }
        let details = value(DeltaField::ReasoningDetails);
        if is_blank(details) {
            return Ok(());
        }
        if !told {
            for detail in elements(details) {
                let detail = Pieces::read(detail);
                let text =
                    string(detail.get(PieceField::Text)).or_else(|| string(detail.get(PieceField::Summary)));
                if let Some(text) = text {
                    self.output.reason(kind, &text.decoded(), &mut self.accounts)?;
                }
            }
        }
        self.output.detail(details, &mut self.accounts)
    }

    /// Content is a string, or a list of parts, of which some may be thinking.
    fn apply_content(&mut self, content: &[u8], logprobs: &[u8]) -> Result<(), Error> {
        if content.first() != Some(&b'[') {
            let text = self.accounts.string(content)?;
            if text.is_none() && is_blank(logprobs) {
                return Ok(());
            }
            let text = text.map(crate::json::RawStr::decoded).unwrap_or_default();
            let logprobs = if matches!(logprobs, [b'[', _, _, ..]) { logprobs } else { b"" };
            return self.output.text(&text, logprobs, &mut self.accounts);
        }
        let kind = self.reasoning_kind(RepeatTarget::ReasoningContent);
        for part in elements(content) {
            if let Some(text) = string(part) {
                self.output.text(&text.decoded(), b"", &mut self.accounts)?;
                continue;
            }
            let piece = self.accounts.pieces(part)?;
            let thinking = piece.get(PieceField::Thinking);
            if let Some(text) = string(piece.get(PieceField::Text)) {
                self.output.text(&text.decoded(), b"", &mut self.accounts)?;
            } else if let Some(text) = string(thinking) {
                self.output.reason(kind, &text.decoded(), &mut self.accounts)?;
            } else if thinking.first() == Some(&b'[') {
                for text in elements(thinking) {
                    let text = string(text).or_else(|| string(Pieces::read(text).get(PieceField::Text)));
                    if let Some(text) = text {
                        self.output.reason(kind, &text.decoded(), &mut self.accounts)?;
                    }
                }
            } else if part != b"null" {
                self.accounts.note(rules::CONTENT_DROPPED);
            }
        }
        Ok(())
    }

    /// What text of this field becomes.
    fn reasoning_kind(&self, field: RepeatTarget) -> PartKind {
        let raw = match self.options.compat {
            Some(Compat::OpenAiAgents) => field == RepeatTarget::Reasoning,
            None => self.options.reasoning == ReasoningAs::Raw,
        };
        if raw { PartKind::ReasoningText } else { PartKind::SummaryText }
    }

    fn take_model(&mut self, model: &[u8]) -> Result<(), Error> {
        if !self.needs_model || is_blank(model) || string(model).is_none() {
            return Ok(());
        }
        self.needs_model = false;
        self.output.emitter.members(&[b"{\"model\":", &*clean(model), b"}"].concat())
    }

    fn take_tier(&mut self, tier: &[u8]) -> Result<(), Error> {
        match SERVICE_TIERS.iter().find(|known| is_string(tier, known)) {
            Some(known) => {
                let mut members = b"{\"service_tier\":".to_vec();
                push_string(known.as_bytes(), &mut members);
                members.push(b'}');
                self.output.emitter.members(&members)
            }
            None => Ok(()),
        }
    }

    fn take_finish_reason(&mut self, value: &[u8]) -> Result<(), Error> {
        let Some(reason) = self.accounts.string(value)?.filter(|reason| !reason.raw.is_empty()) else {
            return Ok(());
        };
        let reason = reason.decoded();
        if self.finish_reason.as_ref().is_some_and(|known| *known != *reason) {
            self.accounts.breach(rules::FINISH_REASON_CHANGED)?;
        }
        self.finish_reason = Some(reason.into_owned());
        Ok(())
    }

    fn start(&mut self) -> Result<(), Error> {
        if self.phase != Phase::Before {
            return Ok(());
        }
        self.phase = Phase::Running;
        self.output.emitter.start()
    }

    fn done(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        if self.finish_reason.is_none() {
            if self.accounts.chunks == 0 {
                return self.finish();
            }
            self.accounts.note(rules::FINISH_REASON_MISSING);
        }
        self.start()?;
        self.conclude()
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.start()?;
        if self.finish_reason.is_some() {
            return self.conclude();
        }
        self.accounts.note(rules::TRUNCATED);
        if self.options.truncated == Truncated::Incomplete {
            return self.end(Some("stream_truncated"));
        }
        self.fail(&Failure::new("server_error", "the upstream's stream ended before its message did"))
    }

    /// Ends the response as its finish reason says.
    fn conclude(&mut self) -> Result<(), Error> {
        match self.finish_reason.as_deref() {
            Some(b"length" | b"max_tokens") => self.end(Some("max_output_tokens")),
            Some(b"content_filter" | b"refusal") => {
                if self.options.compat.is_some() && self.output.is_silent() {
                    self.output.refusal(WITHHELD, &mut self.accounts)?;
                }
                self.end(Some("content_filter"))
            }
            Some(b"error" | b"insufficient_system_resource") => {
                self.fail(&Failure::new("server_error", "the upstream's finish reason is an error"))
            }
            reason => {
                let known = [&b"stop"[..], b"tool_calls", b"function_call", b"end_turn", b"eos"];
                if reason.is_some_and(|reason| !known.contains(&reason)) {
                    self.accounts.note(rules::FINISH_REASON_UNKNOWN);
                }
                self.end(None)
            }
        }
    }

    /// Ends all items and the response: `incomplete` for a reason, or completed.
    fn end(&mut self, incomplete: Option<&str>) -> Result<(), Error> {
        self.phase = Phase::Ended;
        self.output.close(incomplete.is_some(), &mut self.accounts)?;
        self.take_usage()?;
        self.output.emitter.finish(match incomplete {
            Some(reason) => Terminal::Incomplete { reason },
            None => Terminal::Completed,
        })
    }

    fn fail(&mut self, failure: &Failure) -> Result<(), Error> {
        if self.output.emitter.is_finished() {
            return Ok(());
        }
        self.start()?;
        self.phase = Phase::Ended;
        self.output.emitter.error(&failure.to_event_members())?;
        self.take_usage()?;
        self.output.emitter.finish(Terminal::Failed { error: &failure.to_response_error() })
    }

    fn take_usage(&mut self) -> Result<(), Error> {
        let usage = if self.usage.is_empty() { &self.stray_usage } else { &self.usage };
        if usage.is_empty() {
            return Ok(());
        }
        self.output.emitter.usage(&clean(&usage::to_responses(usage)))
    }
}

/// Replaces `kept` by `value` if that is an object.
fn keep_object(kept: &mut Vec<u8>, value: &[u8]) {
    if value.first() == Some(&b'{') && value != kept {
        kept.clear();
        kept.extend_from_slice(value);
    }
}

//! The life of the response: what a chunk says beside its choice, and how the response ends.

use super::accounts::{Accounts, clean};
use super::output::Output;
use super::{ChatToResponsesOptions, Truncated};
use crate::dialect::chat::{ChoiceField, Chunk, ChunkField, Finish, is_blank, is_string};
use crate::emit::{Emitter, EmitterOptions, Terminal};
use crate::error::{Error, exceeded};
use crate::event::{index, string};
use crate::json::push_string;
use crate::limits::{Limit, Limits};
use crate::transcode::failure::Failure;
use crate::transcode::{rules, usage};

/// What openai-agents says for an answer that was withheld without a word.
const WITHHELD: &[u8] = b"Response withheld by the provider's content filter.";

/// The tiers a response can name.
const SERVICE_TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];

/// How far the response has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Running,
    Ended,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) options: ChatToResponsesOptions,
    limits: Limits,
    pub(super) output: Output,
    pub(super) accounts: Accounts,
    phase: Phase,
    /// The response's model is still unknown.
    needs_model: bool,
    needs_tier: bool,
    /// JSON values; empty while none has come.
    usage: Vec<u8>,
    pub(super) stray_usage: Vec<u8>,
    /// Decoded.
    pub(super) finish_reason: Option<Vec<u8>>,
    /// The error of the choice, which goes before its finish reason; usage may follow it.
    pub(super) failure: Option<Failure>,
}

impl State {
    pub(super) fn new(
        emitter: EmitterOptions,
        options: ChatToResponsesOptions,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let needs_model = emitter.model.is_empty();
        Ok(Self {
            options,
            limits: *limits,
            output: Output::new(Emitter::new(emitter)?, options),
            accounts: Accounts::new(limits, options.strict),
            phase: Phase::Before,
            needs_model,
            needs_tier: true,
            usage: Vec::new(),
            stray_usage: Vec::new(),
            finish_reason: None,
            failure: None,
        })
    }

    pub(super) fn take(
        &mut self,
        chunk: &mut Chunk,
        payload: &[u8],
        name: Option<&[u8]>,
    ) -> Result<(), Error> {
        if payload.len() < 64 {
            match payload.trim_ascii() {
                b"[DONE]" => return self.done(),
                b"" => return Ok(()),
                _ => {}
            }
        }
        if self.phase == Phase::Ended {
            return self.accounts.diagnostics.breach(rules::AFTER_TERMINAL);
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
            self.accounts.diagnostics.breach(rules::MALFORMED)?;
            return if matches!(error, Error::Limit { .. }) { Err(error) } else { Ok(()) };
        }
        if chunk.crowded {
            return Err(exceeded(Limit::Parts, self.limits.max_parts, 0));
        }
        if chunk.duplicates {
            self.accounts.diagnostics.breach(rules::DUPLICATE_FIELD)?;
        }
        if chunk.odd_choices {
            self.accounts.diagnostics.breach(rules::BAD_VALUE)?;
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
                Some(_) => self.accounts.diagnostics.breach(rules::OTHER_CHOICE)?,
                None => self.accounts.diagnostics.breach(rules::BAD_INDEX)?,
            }
        }
        let citations = value(ChunkField::Citations);
        if !is_blank(citations) {
            self.output.cite(citations, &mut self.accounts)?;
        }
        Ok(())
    }

    fn take_model(&mut self, model: &[u8]) -> Result<(), Error> {
        if !self.needs_model || is_blank(model) || string(model).is_none() {
            return Ok(());
        }
        self.needs_model = false;
        self.output.emitter.set_member("model", clean(model).into_owned())
    }

    fn take_tier(&mut self, tier: &[u8]) -> Result<(), Error> {
        match SERVICE_TIERS.iter().find(|known| is_string(tier, known)) {
            Some(known) => {
                let mut tier = Vec::new();
                push_string(known.as_bytes(), &mut tier);
                self.output.emitter.set_member("service_tier", tier)
            }
            None => Ok(()),
        }
    }

    fn start(&mut self) -> Result<(), Error> {
        if self.phase != Phase::Before {
            return Ok(());
        }
        self.phase = Phase::Running;
        self.output.emitter.start()
    }

    pub(super) fn done(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        if !self.has_ended() {
            if self.accounts.chunks == 0 {
                return self.finish();
            }
            self.accounts.diagnostics.note(rules::FINISH_REASON_MISSING);
        }
        self.start()?;
        self.conclude()
    }

    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.start()?;
        if self.has_ended() {
            return self.conclude();
        }
        self.accounts.diagnostics.note(rules::TRUNCATED);
        if self.options.truncated == Truncated::Incomplete {
            return self.end(Some("stream_truncated"));
        }
        self.fail(&Failure::new("server_error", "the upstream's stream ended before its message did"))
    }

    /// Whether the upstream said how the message ended.
    const fn has_ended(&self) -> bool {
        self.finish_reason.is_some() || self.failure.is_some()
    }

    /// Ends the response as its error or finish reason says.
    fn conclude(&mut self) -> Result<(), Error> {
        if let Some(failure) = self.failure.take() {
            return self.fail(&failure);
        }
        let Some(reason) = self.finish_reason.as_deref() else { return self.end(None) };
        match Finish::of(reason) {
            Finish::Whole => self.end(None),
            Finish::Length => self.end(Some("max_output_tokens")),
            Finish::Filtered => {
                if self.options.compat.is_some() && self.output.is_silent() {
                    self.output.withhold(WITHHELD)?;
                }
                self.end(Some("content_filter"))
            }
            Finish::Failed => {
                let message = format!("the upstream's finish reason is {}", String::from_utf8_lossy(reason));
                self.fail(&Failure::new("server_error", &message))
            }
            Finish::Unknown => {
                self.accounts.diagnostics.note(rules::FINISH_REASON_UNKNOWN);
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

    pub(super) fn fail(&mut self, failure: &Failure) -> Result<(), Error> {
        if self.output.emitter.is_finished() {
            return Ok(());
        }
        self.start()?;
        self.phase = Phase::Ended;
        self.output.emitter.error(&failure.to_event_members())?;
        self.take_usage()?;
        self.output.emitter.finish(Terminal::Failed { error: &failure.to_response_error() })
    }

    pub(super) fn cancel(&mut self) -> Result<(), Error> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.start()?;
        self.phase = Phase::Ended;
        self.output.emitter.finish(Terminal::Cancelled)
    }

    fn take_usage(&mut self) -> Result<(), Error> {
        let usage = if self.usage.is_empty() { &self.stray_usage } else { &self.usage };
        if usage.is_empty() {
            return Ok(());
        }
        self.output.emitter.set_usage(clean(&usage::to_responses(usage)).into_owned())
    }
}

/// Replaces `kept` by `value` if that is an object.
pub(super) fn keep_object(kept: &mut Vec<u8>, value: &[u8]) {
    if value.first() == Some(&b'{') && value != kept {
        kept.clear();
        kept.extend_from_slice(value);
    }
}

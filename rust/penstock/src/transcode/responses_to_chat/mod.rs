//! The events of one response → Chat Completions chunks.
//!
//! | an event's | becomes |
//! |---|---|
//! | text, refusal | `content`, `refusal` |
//! | reasoning, raw or as summary | `reasoning_content`; parts of a summary stand apart by a blank line |
//! | function and custom tool calls | `tool_calls`, numbered in order of arrival |
//! | annotations that are `url_citation` | `annotations` |
//! | log probabilities | `logprobs` |
//! | sound | `audio` |
//! | terminal event | `finish_reason`, a usage chunk if asked for, `[DONE]` |
//! | `error`, `response.failed`, an end without terminal event | an error object in place of a chunk, `[DONE]` |
//!
//! What is streamed only as a whole (in a `done` event, in a finished item, in the final response) is written when
//! it comes. Events that a completion has no form for are dropped and counted under their type.

mod chunk;
mod items;

use std::collections::BTreeMap;

use crate::accumulate::{Diagnostics, Meter};
use crate::dialect::chat::elements;
use crate::dialect::responses::{Response, is_empty};
use crate::error::Error;
use crate::event::{EventType, Field, Fields, index, string};
use crate::limits::{Limit, Limits};
use crate::shape::Scanner;
use crate::transcode::failure::Failure;
use crate::transcode::{rules, usage};

use chunk::Chunks;
use items::Slot;

/// How events become chunks.
#[derive(Debug, Clone)]
pub struct ResponsesToChatOptions {
    /// The completion's id.
    pub id: String,
    /// When it was created, in seconds since 1970.
    pub created: u64,
    /// The model's name; empty to take it from the response.
    pub model: String,
    /// The client asked for usage with `stream_options.include_usage`.
    pub include_usage: bool,
    /// What the API does not allow is an error; otherwise it is counted.
    pub strict: bool,
    /// The bounds.
    pub limits: Limits,
}

impl ResponsesToChatOptions {
    /// The usual options.
    #[must_use]
    pub fn new(id: impl Into<String>, created: u64) -> Self {
        Self {
            id: id.into(),
            created,
            model: String::new(),
            include_usage: false,
            strict: false,
            limits: Limits::default(),
        }
    }
}

/// Folds events into chunks.
#[derive(Debug)]
pub(super) struct ResponsesToChat {
    pub(super) out: Vec<u8>,
    chunks: Chunks,
    scanner: Scanner,
    /// By `output_index`.
    slots: BTreeMap<u64, Slot>,
    parts: Meter,
    calls: u64,
    max_calls: Meter,
    /// Characters of text written.
    characters: i64,
    /// Reasoning has been written, so that more of it stands apart.
    reasoned: bool,
    diagnostics: Diagnostics,
    error: Option<Failure>,
    ended: bool,
}

impl ResponsesToChat {
    pub(super) fn new(options: ResponsesToChatOptions) -> Self {
        let limits = options.limits;
        Self {
            out: Vec::new(),
            scanner: Scanner::default(),
            slots: BTreeMap::new(),
            parts: Meter::new(Limit::Parts, limits.max_parts),
            calls: 0,
            max_calls: Meter::new(Limit::ToolCalls, limits.max_tool_calls),
            characters: 0,
            reasoned: false,
            diagnostics: Diagnostics::new(options.strict),
            error: None,
            ended: false,
            chunks: Chunks::new(options),
        }
    }

    pub(super) fn diagnostics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.diagnostics.counts()
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.ended
    }

    /// Takes one event: its payload, and the name of its `event` field.
    pub(super) fn feed(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        if matches!(payload.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let Ok(fields) = self.scanner.scan(payload).cloned() else {
            if name == Some(b"error") {
                self.fail(&Failure::read(payload));
                return Ok(());
            }
            return self.breach(rules::MALFORMED, None);
        };
        let event = fields.event_type().or_else(|| name.and_then(EventType::from_bytes));
        if self.ended {
            return self.breach(rules::AFTER_TERMINAL, event);
        }
        let Some(event) = event else {
            if usage::member(payload, "error").is_some_and(|error| error != b"null") {
                self.fail(&Failure::read(payload));
                return Ok(());
            }
            if let Some(event) = terminal_of(payload) {
                return self.end(event, payload);
            }
            self.diagnostics.note(rules::CONTENT_DROPPED);
            return Ok(());
        };
        self.apply(event, &fields, payload)
    }

    fn apply(&mut self, event: EventType, fields: &Fields, payload: &[u8]) -> Result<(), Error> {
        use EventType as E;
        let value = |field| fields.value(payload, field);
        match event {
            E::Created | E::InProgress | E::Queued => {
                self.begin(value(Field::Response).unwrap_or_default());
                Ok(())
            }
            E::OutputTextDelta
            | E::RefusalDelta
            | E::ReasoningTextDelta
            | E::ReasoningSummaryTextDelta
            | E::FunctionCallArgumentsDelta
            | E::CustomToolCallInputDelta
            | E::OutputTextDone
            | E::RefusalDone
            | E::ReasoningTextDone
            | E::ReasoningSummaryTextDone
            | E::FunctionCallArgumentsDone
            | E::CustomToolCallInputDone => self.add_text(event, fields, payload),
            E::OutputItemAdded => self.add_item(fields, payload, false),
            E::OutputItemDone => self.add_item(fields, payload, true),
            E::OutputTextAnnotationAdded => {
                let place = self.place(fields, payload);
                let part = value(Field::ContentIndex).and_then(index).unwrap_or_default();
                self.annotate(place, part, value(Field::Annotation).unwrap_or_default())
            }
            E::AudioDelta | E::AudioTranscriptDelta => {
                let piece = fields.text(payload, Field::Delta).map(crate::json::RawStr::decoded);
                let member = if event == E::AudioDelta { "data" } else { "transcript" };
                self.chunks.audio(member, &piece.unwrap_or_default(), &mut self.out);
                Ok(())
            }
            E::Error => {
                self.error = Some(Failure::read(payload));
                Ok(())
            }
            E::Completed | E::Incomplete | E::Failed | E::Cancelled => {
                self.end(event, value(Field::Response).unwrap_or_default())
            }
            // They frame what the events between them say.
            E::ContentPartAdded
            | E::ContentPartDone
            | E::ReasoningSummaryPartAdded
            | E::ReasoningSummaryPartDone
            | E::AudioDone
            | E::AudioTranscriptDone => Ok(()),
            other => {
                self.diagnostics.note(other.as_str());
                Ok(())
            }
        }
    }

    fn begin(&mut self, response: &[u8]) {
        self.chunks.learn(response);
        self.chunks.begin(&mut self.out);
    }

    fn slot(&mut self, place: u64) -> Result<&mut Slot, Error> {
        if !self.slots.contains_key(&place) {
            self.parts.take(1, 0)?;
        }
        Ok(self.slots.entry(place).or_default())
    }

    /// Writes what of the final response has not been streamed, and ends the completion.
    fn end(&mut self, event: EventType, response: &[u8]) -> Result<(), Error> {
        self.chunks.learn(response);
        let view = Response::read(response).unwrap_or_default();
        let output: Vec<&[u8]> = elements(view.output.unwrap_or_default()).collect();
        // Where indices have holes, the place in the list is not the index; then everything was streamed.
        let last = self.slots.last_key_value().map(|(last, _)| *last);
        let in_place = output.len() == self.slots.len() && last.is_none_or(|last| last < output.len() as u64);
        let streamed = if in_place { 0 } else { self.slots.len() };
        for (place, item) in output.into_iter().enumerate().skip(streamed) {
            self.finish_item(place as u64, item)?;
        }
        if matches!(event, EventType::Failed | EventType::Cancelled) {
            let failure = match view.error.filter(|error| !is_empty(Some(error))) {
                // The event that came before may say more of the same.
                Some(error) => {
                    let told = Failure::read(error);
                    self.error.take().filter(|before| before.is_like(&told)).unwrap_or(told)
                }
                None if event == EventType::Cancelled => {
                    Failure::new("cancelled", "the response was cancelled")
                }
                None => {
                    self.error.take().unwrap_or_else(|| Failure::new("server_error", "the response failed"))
                }
            };
            self.fail(&failure);
            return Ok(());
        }
        let reason = match event {
            EventType::Incomplete => {
                let details = usage::member(response, "incomplete_details").unwrap_or_default();
                match usage::member(details, "reason").and_then(string).map(|reason| reason.raw) {
                    Some(b"content_filter") => "content_filter",
                    Some(b"max_output_tokens") => "length",
                    Some(b"stream_truncated") => {
                        self.fail(&Failure::new("server_error", "the response was cut short"));
                        return Ok(());
                    }
                    _ => {
                        self.diagnostics.note(rules::FINISH_REASON_UNKNOWN);
                        "length"
                    }
                }
            }
            _ if self.calls > 0 => "tool_calls",
            _ => "stop",
        };
        self.chunks.finish(reason, &mut self.out);
        if let Some(usage) = view.usage.filter(|usage| usage.starts_with(b"{")) {
            self.chunks.usage(&usage::to_chat(usage), &mut self.out);
        }
        self.ended = true;
        self.chunks.done(&mut self.out);
        Ok(())
    }

    /// The input ended.
    pub(super) fn finish(&mut self) {
        if self.ended {
            return;
        }
        let failure = self.error.take().unwrap_or_else(|| {
            self.diagnostics.note(rules::TRUNCATED);
            Failure::new("server_error", "the upstream's stream ended before its response did")
        });
        self.fail(&failure);
    }

    /// Ends the completion with an error.
    pub(super) fn fail(&mut self, failure: &Failure) {
        if self.ended {
            return;
        }
        self.ended = true;
        chunk::push_payload(&failure.to_chat_payload(), &mut self.out);
        self.chunks.done(&mut self.out);
    }

    #[cold]
    fn breach(&mut self, rule: &'static str, event: Option<EventType>) -> Result<(), Error> {
        self.diagnostics.breach(rule, event.map_or("unknown", EventType::as_str))
    }

    /// The `output_index` of an event, or the last item's for servers that leave it out.
    fn place(&self, fields: &Fields, payload: &[u8]) -> u64 {
        let given = fields.value(payload, Field::OutputIndex).and_then(index);
        given.unwrap_or_else(|| self.slots.last_key_value().map_or(0, |(place, _)| *place))
    }
}

/// The terminal event that a whole response stands for, which is what comes of a back end that did not stream.
#[cold]
fn terminal_of(payload: &[u8]) -> Option<EventType> {
    let word = |key| usage::member(payload, key).and_then(string).map(|word| word.raw);
    match (word("object")?, word("status")?) {
        (b"response", b"completed") => Some(EventType::Completed),
        (b"response", b"incomplete") => Some(EventType::Incomplete),
        (b"response", b"failed") => Some(EventType::Failed),
        (b"response", b"cancelled") => Some(EventType::Cancelled),
        _ => None,
    }
}

//! What the deltas of the choice add: reasoning, text, refusal, tool calls, sound.

use super::reasoning::{holds_blocks, holds_text};
use super::state::{State, keep_object};
use super::{Compat, ReasoningAs};
use crate::dialect::chat::{
    Choice, ChoiceField, DeltaField, PieceField, Pieces, RepeatTarget, elements, is_blank,
};
use crate::emit::PartKind;
use crate::error::Error;
use crate::event::string;
use crate::transcode::failure::Failure;
use crate::transcode::rules;

impl State {
    /// Takes what choice 0 of a chunk says.
    pub(super) fn apply_choice(&mut self, choice: &Choice, payload: &[u8]) -> Result<(), Error> {
        let value = |field| choice.delta(field).of(payload);
        let before = std::mem::take(&mut self.accounts.added);
        self.check_kinds(choice, payload)?;
        self.apply_reasoning(choice, payload)?;
        if self.options.compat == Some(Compat::OpenAiAgents) {
            self.pause_reasoning(choice, payload)?;
        }
        let logprobs = Pieces::read(choice.field(ChoiceField::Logprobs).of(payload));
        if !is_blank(logprobs.get(PieceField::Refusal)) {
            self.accounts.diagnostics.note(rules::LOGPROBS_DROPPED);
        }
        self.apply_content(value(DeltaField::Content), logprobs.get(PieceField::Content))?;
        if let Some(refusal) = self.accounts.diagnostics.string(value(DeltaField::Refusal))? {
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
            let audio = self.accounts.diagnostics.pieces(audio)?;
            let (data, transcript) = (audio.get(PieceField::Data), audio.get(PieceField::Transcript));
            self.output.sound(data, transcript, &mut self.accounts)?;
        }
        // Images have no place in a response but as the result of a tool.
        elements(value(DeltaField::Images))
            .for_each(|_| self.accounts.diagnostics.note(rules::CONTENT_DROPPED));
        if self.accounts.added && self.finish_reason.is_some() {
            self.accounts.diagnostics.breach(rules::LATE_DELTA)?;
        }
        self.accounts.added |= before;
        keep_object(&mut self.stray_usage, choice.field(ChoiceField::Usage).of(payload));
        let error = choice.field(ChoiceField::Error).of(payload);
        if !is_blank(error) {
            self.failure = Some(Failure::read(error));
        }
        self.take_finish_reason(choice.field(ChoiceField::FinishReason).of(payload))
    }

    /// Counts the values that are passed over, as they are not what their member should be.
    fn check_kinds(&mut self, choice: &Choice, payload: &[u8]) -> Result<(), Error> {
        for (field, opening) in [
            (DeltaField::ReasoningContent, b'"'),
            (DeltaField::ReasoningDetails, b'['),
            (DeltaField::ThinkingBlocks, b'['),
            (DeltaField::Annotations, b'['),
            (DeltaField::Images, b'['),
            (DeltaField::Audio, b'{'),
        ] {
            let value = choice.delta(field).of(payload);
            if !is_blank(value) && value.first() != Some(&opening) {
                self.accounts.diagnostics.breach(rules::BAD_VALUE)?;
            }
        }
        let reasoning = choice.delta(DeltaField::Reasoning).of(payload);
        if !is_blank(reasoning) && string(reasoning).is_none() {
            // OpenRouter's may be an object; that is no text.
            self.accounts.diagnostics.note(rules::REASONING_DROPPED);
        }
        Ok(())
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

    /// To openai-agents, content and calls end the part of the summary, be they empty texts, unless their chunk has
    /// reasoning as well.
    fn pause_reasoning(&mut self, choice: &Choice, payload: &[u8]) -> Result<(), Error> {
        let value = |field| choice.delta(field).of(payload);
        let has_calls = elements(value(DeltaField::ToolCalls)).next().is_some();
        let has_content = !matches!(value(DeltaField::Content), b"" | b"null");
        self.output.pause_reasoning(has_calls || has_content, self.accounts.added)
    }

    /// Content is a string, or a list of parts, of which some may be thinking.
    fn apply_content(&mut self, content: &[u8], logprobs: &[u8]) -> Result<(), Error> {
        if content.first() != Some(&b'[') {
            let text = self.accounts.diagnostics.string(content)?;
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
            let piece = self.accounts.diagnostics.pieces(part)?;
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
                self.accounts.diagnostics.note(rules::CONTENT_DROPPED);
            }
        }
        Ok(())
    }

    /// What text of this field becomes.
    pub(super) fn reasoning_kind(&self, field: RepeatTarget) -> PartKind {
        let raw = match self.options.compat {
            Some(Compat::OpenAiAgents) => field == RepeatTarget::Reasoning,
            None => self.options.reasoning == ReasoningAs::Raw,
        };
        if raw { PartKind::ReasoningText } else { PartKind::SummaryText }
    }

    fn take_finish_reason(&mut self, value: &[u8]) -> Result<(), Error> {
        let Some(reason) = self.accounts.diagnostics.string(value)?.filter(|reason| !reason.raw.is_empty())
        else {
            return Ok(());
        };
        let reason = reason.decoded();
        if self.finish_reason.as_ref().is_some_and(|known| *known != *reason) {
            self.accounts.diagnostics.breach(rules::FINISH_REASON_CHANGED)?;
        }
        self.finish_reason = Some(reason.into_owned());
        Ok(())
    }
}

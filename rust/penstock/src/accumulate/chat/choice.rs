//! One choice: the message its deltas make, its log probabilities and its finish reason.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::audio::Audio;
use crate::accumulate::chat::blocks::Blocks;
use crate::accumulate::chat::keep::{Extras, Joined, Raw, Unique};
use crate::accumulate::chat::rules;
use crate::accumulate::chat::tool_calls::{Function, ToolCalls};
use crate::accumulate::text::Text;
use crate::dialect::chat::{
    self, ChoiceField, DeltaField, Finish, PieceField, RepeatTarget, is_blank, members, word,
};
use crate::error::Error;
use crate::event::string;
use crate::json::{push_comma, push_key, push_string};

/// A choice as far as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    pub(super) message: Message,
    logprobs: Option<Logprobs>,
    pub(super) finish_reason: Raw,
    pub(super) extras: Extras,
}

/// The message of a choice.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    role: Raw,
    /// Content that came as strings; moves into `parts` when a list comes.
    content: Option<Text>,
    parts: Blocks,
    refusal: Option<Text>,
    reasoning_content: Option<Text>,
    reasoning: Option<Text>,
    reasoning_details: Blocks,
    thinking_blocks: Blocks,
    pub(super) tool_calls: ToolCalls,
    pub(super) function_call: Option<Function>,
    audio: Option<Audio>,
    annotations: Unique,
    images: Joined,
    pub(super) extras: Extras,
}

#[derive(Debug, Clone, Default)]
struct Logprobs {
    content: Joined,
    refusal: Joined,
    extras: Extras,
}

impl Choice {
    /// Adds what one choice of a chunk says; `number` counts the chunks.
    #[inline]
    pub(super) fn apply(
        &mut self,
        choice: &chat::Choice,
        payload: &[u8],
        number: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        let added = std::mem::replace(&mut ledger.added, false);
        self.message.apply(choice, payload, number, ledger)?;
        if ledger.added && !self.finish_reason.is_empty() {
            ledger.diagnostics.breach(rules::LATE_DELTA)?;
        }
        ledger.added |= added;

        let logprobs = choice.field(ChoiceField::Logprobs).of(payload);
        if logprobs.first() == Some(&b'{') {
            self.logprobs.get_or_insert_default().apply(logprobs, ledger)?;
        }
        let reason = choice.field(ChoiceField::FinishReason).of(payload);
        if !is_blank(reason) {
            if !self.finish_reason.is_empty() && self.finish_reason.as_bytes() != reason {
                ledger.diagnostics.breach(rules::FINISH_REASON_CHANGED)?;
            }
            if string(reason).is_none() {
                return ledger.diagnostics.breach(rules::BAD_VALUE);
            }
            self.finish_reason.set_last(reason, ledger)?;
        }
        Ok(())
    }

    /// Adds a choice that holds a whole `message` in place of a delta, as an answer that was not streamed does.
    #[cold]
    pub(super) fn apply_message(
        &mut self,
        choice: &chat::Choice,
        payload: &[u8],
        number: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        self.apply(&choice.with_message(payload), payload, number, ledger)?;
        for (key, value) in members(choice.field(ChoiceField::Message).of(payload)) {
            if word(key, DeltaField::from_bytes).is_none() {
                self.message.extras.set(key, value, ledger)?;
            }
        }
        Ok(())
    }

    /// Whether the server said that this choice is whole: its last tool call may be executed.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.finish(), Some(Finish::Whole | Finish::Unknown))
    }

    /// Whether generating it failed.
    pub(super) fn has_failed(&self) -> bool {
        self.finish() == Some(Finish::Failed)
    }

    fn finish(&self) -> Option<Finish> {
        Finish::of_value(self.finish_reason.as_bytes())
    }

    pub(super) fn write(&self, index: u64, out: &mut Vec<u8>) {
        out.push(b'{');
        push_key("index", out);
        out.extend_from_slice(index.to_string().as_bytes());
        out.push(b',');
        push_key("message", out);
        self.message.write(out);
        out.push(b',');
        push_key("logprobs", out);
        match &self.logprobs {
            Some(logprobs) => logprobs.write(out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
        push_key("finish_reason", out);
        push_raw_or_null(&self.finish_reason, out);
        self.extras.write(out);
        out.push(b'}');
    }
}

impl Message {
    #[inline]
    fn apply(
        &mut self,
        choice: &chat::Choice,
        payload: &[u8],
        number: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        let value = |field| choice.delta(field).of(payload);
        self.role.set_first(value(DeltaField::Role), ledger)?;
        self.add_reasoning(value(DeltaField::ReasoningContent), value(DeltaField::Reasoning), ledger)?;
        self.add_content(value(DeltaField::Content), ledger)?;
        add_text(&mut self.refusal, value(DeltaField::Refusal), ledger)?;
        let calls = value(DeltaField::ToolCalls);
        if calls.first() == Some(&b'[') {
            self.tool_calls.extend(calls, number, ledger)?;
        } else if !is_blank(calls) {
            ledger.diagnostics.breach(rules::BAD_VALUE)?;
        }
        let rare = [
            DeltaField::ReasoningDetails,
            DeltaField::ThinkingBlocks,
            DeltaField::FunctionCall,
            DeltaField::Audio,
            DeltaField::Annotations,
            DeltaField::Images,
        ];
        for field in rare {
            let value = value(field);
            if !is_blank(value) {
                self.apply_rare(field, value, ledger)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn apply_rare(&mut self, field: DeltaField, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        match (field, value.first()) {
            (DeltaField::ReasoningDetails, Some(b'[')) => self.reasoning_details.extend(value, ledger),
            (DeltaField::ThinkingBlocks, Some(b'[')) => self.thinking_blocks.extend(value, ledger),
            (DeltaField::Annotations, Some(b'[')) => self.annotations.extend(value, ledger),
            (DeltaField::Images, Some(b'[')) => self.images.extend(value, ledger),
            (DeltaField::Audio, Some(b'{')) => self.audio.get_or_insert_default().apply(value, ledger),
            (DeltaField::FunctionCall, Some(b'{')) => {
                self.function_call.get_or_insert_default().apply(value, PieceField::Arguments, ledger)
            }
            _ => ledger.diagnostics.breach(rules::BAD_VALUE),
        }
    }

    /// Both fields of one chunk may hold the same text, from servers in transition between them: it counts once.
    #[inline]
    fn add_reasoning(&mut self, content: &[u8], plain: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        add_text(&mut self.reasoning_content, content, ledger)?;
        if plain == content { Ok(()) } else { add_text(&mut self.reasoning, plain, ledger) }
    }

    #[inline]
    fn add_content(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if value.first() == Some(&b'[') || !self.parts.is_empty() {
            return self.add_parts(value, ledger);
        }
        add_text(&mut self.content, value, ledger)
    }

    /// Content becomes a list with the first list that comes; strings before and after it are text parts.
    #[cold]
    fn add_parts(&mut self, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if let Some(content) = self.content.take_if(|content| !content.is_empty()) {
            self.parts.seed(content, ledger)?;
        }
        if value.first() == Some(&b'[') {
            return self.parts.extend(value, ledger);
        }
        match ledger.diagnostics.string(value)? {
            Some(text) if !text.raw.is_empty() => self.parts.add_text(text, ledger),
            _ => Ok(()),
        }
    }

    /// The text that a repeating chunk adds to.
    #[inline]
    pub(super) fn target(&mut self, target: RepeatTarget) -> Option<&mut Text> {
        match target {
            RepeatTarget::Content if self.parts.is_empty() => self.content.as_mut(),
            RepeatTarget::Content => None,
            RepeatTarget::Refusal => self.refusal.as_mut(),
            RepeatTarget::ReasoningContent => self.reasoning_content.as_mut(),
            RepeatTarget::Reasoning => self.reasoning.as_mut(),
            RepeatTarget::Arguments => self.tool_calls.last_arguments(),
        }
    }

    /// The text a reader sees.
    pub(super) fn content(&self) -> impl Iterator<Item = &Text> {
        self.content.iter().chain(self.parts.text())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        push_key("role", out);
        if self.role.is_empty() {
            push_string(b"assistant", out);
        } else {
            out.extend_from_slice(self.role.as_bytes());
        }
        out.extend_from_slice(b",\"content\":");
        if self.parts.is_empty() {
            push_text_or_null(self.content.as_ref(), out);
        } else {
            self.parts.write(out);
        }
        out.extend_from_slice(b",\"refusal\":");
        push_text_or_null(self.refusal.as_ref(), out);
        for (name, text) in [("reasoning_content", &self.reasoning_content), ("reasoning", &self.reasoning)] {
            if let Some(text) = text {
                push_member(name, out, |out| push_string(text.as_bytes(), out));
            }
        }
        for (name, blocks) in
            [("reasoning_details", &self.reasoning_details), ("thinking_blocks", &self.thinking_blocks)]
        {
            if !blocks.is_empty() {
                push_member(name, out, |out| blocks.write(out));
            }
        }
        if !self.tool_calls.is_empty() {
            push_member("tool_calls", out, |out| self.tool_calls.write(out));
        }
        if let Some(function) = &self.function_call {
            push_member("function_call", out, |out| function.write(PieceField::Arguments, out));
        }
        if let Some(audio) = &self.audio {
            push_member("audio", out, |out| audio.write(out));
        }
        if self.annotations.is_present() {
            push_member("annotations", out, |out| self.annotations.write(out));
        }
        if self.images.is_present() {
            push_member("images", out, |out| self.images.write(out));
        }
        self.extras.write(out);
        out.push(b'}');
    }
}

impl Logprobs {
    fn apply(&mut self, logprobs: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let pieces = ledger.diagnostics.pieces(logprobs)?;
        self.content.extend(pieces.get(PieceField::Content), ledger)?;
        self.refusal.extend(pieces.get(PieceField::Refusal), ledger)?;
        let read = [PieceField::Content, PieceField::Refusal];
        pieces.others(&read).try_for_each(|(key, value)| self.extras.set(key, value, ledger))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"content\":");
        self.content.write(out);
        out.extend_from_slice(b",\"refusal\":");
        self.refusal.write(out);
        self.extras.write(out);
        out.push(b'}');
    }
}

/// Appends a string to a text that is there from the first string on, be it empty.
#[inline]
fn add_text(text: &mut Option<Text>, value: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
    match ledger.diagnostics.string(value)? {
        Some(piece) => ledger.append(text.get_or_insert_default(), piece),
        None => Ok(()),
    }
}

fn push_member(name: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    push_comma(out);
    push_key(name, out);
    value(out);
}

fn push_text_or_null(text: Option<&Text>, out: &mut Vec<u8>) {
    match text {
        Some(text) => push_string(text.as_bytes(), out),
        None => out.extend_from_slice(b"null"),
    }
}

pub(super) fn push_raw_or_null(raw: &Raw, out: &mut Vec<u8>) {
    out.extend_from_slice(if raw.is_empty() { b"null" } else { raw.as_bytes() });
}

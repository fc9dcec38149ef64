//! Chat Completions chunks: every word penstock knows in them, and a scanner that finds all their values in one
//! pass over the bytes.
//!
//! The scanner checks the whole chunk and enters three levels: the chunk, its choices, their deltas. What lies
//! deeper (tool calls, content parts, log probabilities) is rare or small and is read where it is used, with
//! [`elements`] and [`members`]. Where a key occurs twice, however it is spelled, the last one counts.

mod calls;
mod finish;
mod pieces;
mod repeat;
mod scan;

use crate::error::Error;
use crate::event::{self, Span, explain, string};
use crate::json::{Invalid, RawStr, spells};
use crate::simd::dispatch;
use crate::vocabulary::vocabulary;

pub(crate) use calls::{CallAddress, KnownCall};
pub(crate) use finish::Finish;
pub use pieces::{Pieces, elements, members};
pub(crate) use repeat::{Added, Repeat, RepeatTarget};
use scan::Scan;

vocabulary! {
    /// Members of a chunk.
    ChunkField {
        Id = "id",
        Object = "object",
        Created = "created",
        Model = "model",
        Choices = "choices",
        Usage = "usage",
        ServiceTier = "service_tier",
        SystemFingerprint = "system_fingerprint",
        Error = "error",
        Citations = "citations",
        XGroq = "x_groq",
        Obfuscation = "obfuscation",
    }
}

vocabulary! {
    /// Members of a choice.
    ChoiceField {
        Index = "index",
        Delta = "delta",
        Message = "message",
        FinishReason = "finish_reason",
        Logprobs = "logprobs",
        Usage = "usage",
        Error = "error",
    }
}

vocabulary! {
    /// Members of a delta, and of the message it adds to.
    DeltaField {
        Role = "role",
        Content = "content",
        Refusal = "refusal",
        ReasoningContent = "reasoning_content",
        Reasoning = "reasoning",
        ReasoningDetails = "reasoning_details",
        ThinkingBlocks = "thinking_blocks",
        ToolCalls = "tool_calls",
        FunctionCall = "function_call",
        Audio = "audio",
        Annotations = "annotations",
        Images = "images",
        Index = "index",
    }
}

vocabulary! {
    /// Members of what is nested in a delta: tool calls and their functions, parts, blocks, audio.
    PieceField {
        Index = "index",
        Id = "id",
        Type = "type",
        Function = "function",
        Custom = "custom",
        Name = "name",
        Arguments = "arguments",
        Input = "input",
        Text = "text",
        Thinking = "thinking",
        Summary = "summary",
        Signature = "signature",
        Data = "data",
        Transcript = "transcript",
        Content = "content",
        Refusal = "refusal",
    }
}

/// The word that `key` spells, escapes decoded where there are any; `lookup` is the vocabulary's `from_bytes`.
#[inline]
pub fn word<W>(key: &[u8], lookup: fn(&[u8]) -> Option<W>) -> Option<W> {
    lookup(key).or_else(|| if key.contains(&b'\\') { escaped_word(key, lookup) } else { None })
}

/// Whether a JSON value says nothing: missing, `null` or `""`.
pub(crate) fn is_blank(value: &[u8]) -> bool {
    matches!(value, b"" | b"null" | b"\"\"")
}

/// Whether a JSON value is the string `text`.
pub(crate) fn is_string(value: &[u8], text: &str) -> bool {
    string(value).is_some_and(|value| spells(value, text))
}

#[cold]
fn escaped_word<W>(key: &[u8], lookup: fn(&[u8]) -> Option<W>) -> Option<W> {
    lookup(&RawStr::checked(key).decoded())
}

/// A member that penstock does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    /// The object it stands in.
    pub level: Level,
    /// Its key, still escaped.
    pub key: Span,
    /// Its value.
    pub value: Span,
}

/// The three levels that the scanner enters; a choice is named by its place in the chunk's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The chunk.
    Chunk,
    /// A choice.
    Choice(usize),
    /// The delta of a choice.
    Delta(usize),
}

/// Where the values of one choice stand. A span is empty when there is no such member.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    fields: [Span; ChoiceField::COUNT],
    delta: [Span; DeltaField::COUNT],
}

impl Choice {
    const EMPTY: Self =
        Self { fields: [Span::NONE; ChoiceField::COUNT], delta: [Span::NONE; DeltaField::COUNT] };

    /// A member of the choice.
    #[inline]
    #[must_use]
    pub fn field(&self, field: ChoiceField) -> Span {
        self.fields.get(field as usize).copied().unwrap_or_default()
    }

    /// A member of its delta.
    #[inline]
    #[must_use]
    pub fn delta(&self, field: DeltaField) -> Span {
        self.delta.get(field as usize).copied().unwrap_or_default()
    }

    /// The same choice with its `message` in place of its delta.
    #[must_use]
    pub fn with_message(&self, payload: &[u8]) -> Self {
        let message = self.field(ChoiceField::Message);
        let mut choice = *self;
        // A scan has checked the message; one that is no object has no members.
        let _ = event::members(message.of(payload), |key, _, value| {
            let field = word(key, DeltaField::from_bytes);
            if let Some(slot) = field.and_then(|field| choice.delta.get_mut(field as usize)) {
                *slot = Span { start: message.start + value.start, end: message.start + value.end };
            }
        });
        choice
    }
}

/// Where the values of one chunk stand. Made once and scanned into again and again.
#[derive(Debug, Clone)]
pub struct Chunk {
    fields: [Span; ChunkField::COUNT],
    /// The choices in the order of the list.
    pub choices: Vec<Choice>,
    /// The members that penstock does not know, in the order of the text.
    pub unknown: Vec<Unknown>,
    /// Whether a member that penstock knows occurs twice.
    pub duplicates: bool,
    /// Whether `choices` holds something that is not an object.
    pub odd_choices: bool,
    /// Whether there were more choices or unknown members than `room`; the ones above it are left out.
    pub crowded: bool,
    room: usize,
}

impl Chunk {
    /// A chunk that holds at most `room` choices and as many unknown members: a choice takes two bytes on the
    /// wire and a hundred times that here.
    #[must_use]
    pub const fn new(room: usize) -> Self {
        Self {
            fields: [Span::NONE; ChunkField::COUNT],
            choices: Vec::new(),
            unknown: Vec::new(),
            duplicates: false,
            odd_choices: false,
            crowded: false,
            room,
        }
    }

    /// Reads `payload`, which must be one JSON object. After an error the chunk is half read and means nothing.
    #[inline]
    pub fn scan(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.fields = [Span::NONE; ChunkField::COUNT];
        self.choices.clear();
        self.unknown.clear();
        self.duplicates = false;
        self.odd_choices = false;
        self.crowded = false;
        dispatch(Scan { payload, chunk: self }).map_err(|Invalid| explain(payload))
    }

    /// A member of the chunk.
    #[inline]
    #[must_use]
    pub fn field(&self, field: ChunkField) -> Span {
        self.fields.get(field as usize).copied().unwrap_or_default()
    }

    /// Notes where a member stands, and whether it stood somewhere before.
    #[inline(always)]
    fn set(&mut self, level: Level, place: usize, value: Span) {
        let slot = match level {
            Level::Chunk => self.fields.get_mut(place),
            Level::Choice(number) => {
                self.choices.get_mut(number).and_then(|choice| choice.fields.get_mut(place))
            }
            Level::Delta(number) => {
                self.choices.get_mut(number).and_then(|choice| choice.delta.get_mut(place))
            }
        };
        if let Some(slot) = slot {
            self.duplicates |= !slot.is_empty();
            *slot = value;
        }
    }

    /// Forgets what a member that occurs again said the first time.
    #[cold]
    fn forget(&mut self, level: Level) {
        match level {
            Level::Chunk => {
                self.choices.clear();
                self.unknown.retain(|unknown| unknown.level == Level::Chunk);
            }
            Level::Choice(number) | Level::Delta(number) => {
                if let Some(choice) = self.choices.get_mut(number) {
                    choice.delta = Choice::EMPTY.delta;
                }
                self.unknown.retain(|unknown| unknown.level != Level::Delta(number));
            }
        }
    }
}

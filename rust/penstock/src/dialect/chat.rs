//! Chat Completions chunks: every word penstock knows in them, and a scanner that finds all their values in one
//! pass over the bytes.
//!
//! The scanner checks the whole chunk and enters three levels: the chunk, its choices, their deltas. What lies
//! deeper (tool calls, content parts, log probabilities) is rare or small and is read where it is used, with
//! [`elements`] and [`members`]. Where a key occurs twice, however it is spelled, the last one counts.

use crate::error::Error;
use crate::event::{self, Span, explain};
use crate::json::{Cursor, Invalid, Kind, RawStr, Token, Tokens, push_wtf8};
use crate::limits::DEPTH_CEILING;
use crate::simd::{Backend, Task, dispatch};
use crate::vocabulary::vocabulary;

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

#[cold]
fn escaped_word<W>(key: &[u8], lookup: fn(&[u8]) -> Option<W>) -> Option<W> {
    let mut decoded = Vec::new();
    push_wtf8(RawStr::checked(key), &mut decoded);
    lookup(&decoded)
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

struct Scan<'a> {
    payload: &'a [u8],
    chunk: &'a mut Chunk,
}

impl Task for Scan<'_> {
    type Output = Result<(), Invalid>;

    #[inline(always)]
    fn run<B: Backend>(mut self) -> Self::Output {
        let mut tokens = Tokens::<B>::new(self.payload);
        if tokens.pull().byte != b'{' {
            return Err(Invalid);
        }
        self.object(&mut tokens, Level::Chunk, Self::chunk_member)?;
        tokens.end()
    }
}

/// What follows a value, and where the value ended.
type Behind = Result<(Token, usize), Invalid>;

impl Scan<'_> {
    /// Reads the members of an object whose `{` has been passed, each with `member`, which gets the key and the
    /// value's first token. Returns the token of its `}`.
    #[inline(always)]
    fn object<'t, B: Backend>(
        &mut self,
        tokens: &mut Tokens<'t, B>,
        level: Level,
        member: impl Fn(&mut Self, &mut Tokens<'t, B>, Level, Span, Token) -> Behind,
    ) -> Result<Token, Invalid> {
        let mut token = tokens.pull();
        if token.byte == b'}' {
            return Ok(token);
        }
        loop {
            let colon = tokens.pull();
            if token.byte != b'"' || colon.byte != b':' {
                return Err(Invalid);
            }
            let key = Span::new(token.at + 1, tokens.end_before(colon.at) - 1);
            let value = tokens.pull();
            (token, _) = member(self, tokens, level, key, value)?;
            match token.byte {
                b',' => token = tokens.pull(),
                b'}' => return Ok(token),
                _ => return Err(Invalid),
            }
        }
    }

    #[inline(always)]
    fn chunk_member<B: Backend>(
        &mut self,
        tokens: &mut Tokens<'_, B>,
        level: Level,
        key: Span,
        value: Token,
    ) -> Behind {
        let field = word(key.of(self.payload), ChunkField::from_bytes);
        if field == Some(ChunkField::Choices) && !self.chunk.field(ChunkField::Choices).is_empty() {
            self.chunk.forget(level);
        }
        let behind = if field == Some(ChunkField::Choices) && value.byte == b'[' {
            self.choices(tokens)?
        } else {
            skip(tokens, value, 2)?
        };
        self.note(level, field.map(|field| field as usize), key, Span::new(value.at, behind.1));
        Ok(behind)
    }

    #[inline(always)]
    fn choices<B: Backend>(&mut self, tokens: &mut Tokens<'_, B>) -> Behind {
        let mut token = tokens.pull();
        while token.byte != b']' {
            if token.byte == b'{' && self.chunk.choices.len() < self.chunk.room {
                let level = Level::Choice(self.chunk.choices.len());
                self.chunk.choices.push(Choice::EMPTY);
                self.object(tokens, level, Self::choice_member)?;
                token = tokens.pull();
            } else {
                self.chunk.odd_choices |= token.byte != b'{';
                self.chunk.crowded |= token.byte == b'{';
                (token, _) = skip(tokens, token, 3)?;
            }
            match token.byte {
                b',' => {
                    token = tokens.pull();
                    // A value must follow.
                    if token.byte == b']' {
                        return Err(Invalid);
                    }
                }
                b']' => {}
                _ => return Err(Invalid),
            }
        }
        Ok((tokens.pull(), token.at + 1))
    }

    #[inline(always)]
    fn choice_member<B: Backend>(
        &mut self,
        tokens: &mut Tokens<'_, B>,
        level: Level,
        key: Span,
        value: Token,
    ) -> Behind {
        let field = word(key.of(self.payload), ChoiceField::from_bytes);
        let mut behind = None;
        if field == Some(ChoiceField::Delta)
            && let Level::Choice(number) = level
        {
            let choice = self.chunk.choices.get(number);
            if choice.is_some_and(|choice| !choice.field(ChoiceField::Delta).is_empty()) {
                self.chunk.forget(level);
            }
            if value.byte == b'{' {
                let close = self.object(tokens, Level::Delta(number), Self::delta_member)?;
                behind = Some((tokens.pull(), close.at + 1));
            }
        }
        let behind = match behind {
            Some(behind) => behind,
            None => skip(tokens, value, 4)?,
        };
        self.note(level, field.map(|field| field as usize), key, Span::new(value.at, behind.1));
        Ok(behind)
    }

    #[inline(always)]
    fn delta_member<B: Backend>(
        &mut self,
        tokens: &mut Tokens<'_, B>,
        level: Level,
        key: Span,
        value: Token,
    ) -> Behind {
        let field = word(key.of(self.payload), DeltaField::from_bytes);
        let behind = skip(tokens, value, 5)?;
        self.note(level, field.map(|field| field as usize), key, Span::new(value.at, behind.1));
        Ok(behind)
    }

    #[inline(always)]
    fn note(&mut self, level: Level, field: Option<usize>, key: Span, value: Span) {
        match field {
            Some(place) => self.chunk.set(level, place, value),
            None if self.chunk.unknown.len() < self.chunk.room => {
                self.chunk.unknown.push(Unknown { level, key, value });
            }
            None => self.chunk.crowded = true,
        }
    }
}

/// Passes the value that starts at `value`; a container there would be at level `depth`.
#[inline(always)]
fn skip<B: Backend>(tokens: &mut Tokens<'_, B>, value: Token, depth: u64) -> Behind {
    match value.byte {
        b'"' => {
            let token = tokens.pull();
            Ok((token, tokens.end_before(token.at)))
        }
        b'{' | b'[' => {
            let close = tokens.skip_container(value, depth)?;
            Ok((tokens.pull(), close + 1))
        }
        _ => {
            let (_, end) = tokens.scalar(value)?;
            Ok((tokens.pull(), end))
        }
    }
}

/// The elements of an array that a scan has checked; nothing if `value` is no array.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::new(value);
    let mut more = cursor.kind() == Ok(Kind::Array) && cursor.open_array() == Ok(true);
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let element = whole(&mut cursor)?;
        more = cursor.more(b']') == Ok(true);
        Some(element)
    })
}

/// The members of an object that a scan has checked, keys still escaped; nothing if `value` is no object.
pub fn members(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut cursor = Cursor::new(value);
    let mut more = cursor.kind() == Ok(Kind::Object) && cursor.open_object() == Ok(true);
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let key = cursor.key().ok()?;
        let member = whole(&mut cursor)?;
        more = cursor.more(b'}') == Ok(true);
        Some((key.raw, member))
    })
}

/// Passes one value and gives its text.
fn whole<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    cursor.skip_space();
    let start = cursor.position();
    cursor.skip_value(0, DEPTH_CEILING).ok()?;
    Some(cursor.since(start))
}

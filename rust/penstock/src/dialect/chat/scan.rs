//! The pass over a chunk that finds where its values stand.

use super::{Choice, ChoiceField, Chunk, ChunkField, DeltaField, Level, Unknown, word};
use crate::event::Span;
use crate::json::{Invalid, Token, Tokens};
use crate::simd::{Backend, Task};

/// Scans `payload` into `chunk`.
pub(super) struct Scan<'a> {
    pub(super) payload: &'a [u8],
    pub(super) chunk: &'a mut Chunk,
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

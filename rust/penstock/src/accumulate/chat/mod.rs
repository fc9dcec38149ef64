//! Chat Completions chunks → the `chat.completion` object they spell.
//!
//! Rules, each for what real servers send:
//!
//! * A choice is known by its `index`; its place in the list means nothing unless there is no index.
//! * `id`, `model`, `created`, `service_tier`, `system_fingerprint`, `role`: the first value that is not blank.
//!   `finish_reason`, `usage`, and every member nobody reads: the last that is not `null`, byte for byte.
//! * `usage` may come with the last choice, alone behind it, in every chunk, in a choice or in `x_groq`.
//! * An error may stand in a chunk, in a choice (where `OpenRouter` puts it), or be the chunk.
//! * Text joins; lists of blocks join at their ends; citations and annotations count once.
//! * `obfuscation` is padding and is dropped.
//! * The stream is whole when every choice has its finish reason, or at `[DONE]`. The end of input is neither, and
//!   no finish reason is ever invented.
//! * A chunk with another id and a new `role`, after every choice has finished, starts another completion.
//! * What servers do against the rules is counted by the names in `rules`, or refused where the caller asks for it.

mod audio;
mod blocks;
mod choice;
mod completion;
mod diagnostics;
mod keep;
mod ledger;
mod rules;
mod tool_calls;

use crate::dialect::chat::{
    self, Added, ChoiceField, Chunk, ChunkField, DeltaField, Repeat, is_blank, is_string,
};
use crate::error::{Error, exceeded};
use crate::json::Cursor;
use crate::limits::{DEPTH_CEILING, Limit, Limits};
use completion::Completion;
use ledger::Ledger;

pub(crate) use diagnostics::ChunkDiagnostics;

/// How a stream of chunks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatTerminal {
    /// Every choice that began has a finish reason.
    FinishReason,
    /// `[DONE]` came.
    Done,
    /// An error came, in a chunk, in a choice or as the finish reason of a choice.
    Error,
}

/// A tool call, or a legacy function call, as far as it came.
#[derive(Debug, Clone, Copy)]
pub struct ChatCall<'a> {
    /// The `index` of its choice.
    pub choice: u64,
    /// Stays with the call while others come: its number in order of arrival. `None` for a legacy function call.
    pub serial: Option<u64>,
    /// The `index` the server gave it.
    pub index: Option<u64>,
    /// The call id, WTF-8; empty while unknown.
    pub id: &'a [u8],
    /// The function's or tool's name, WTF-8; empty while unknown.
    pub name: &'a [u8],
    /// The arguments or input so far, WTF-8.
    pub arguments: &'a [u8],
    /// The arguments without a surrogate half that the next piece may complete.
    pub stable_arguments: &'a [u8],
    /// Changes when the arguments are replaced and not merely added to.
    pub revision: u64,
    /// A custom tool, whose input is free text.
    pub custom: bool,
    /// The server said that the message is whole.
    pub ended: bool,
}

impl ChatCall<'_> {
    /// Whether the call may be executed: its message is whole, and its arguments are one JSON text, or nothing,
    /// which is how a call without arguments looks. The input of a custom tool is free text.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let mut cursor = Cursor::new(self.arguments);
        self.ended
            && (self.custom
                || self.arguments.is_empty()
                || cursor.skip_value(0, DEPTH_CEILING).is_ok() && cursor.end().is_ok())
    }
}

/// Folds the chunks of a stream into the completion. After an error it stays failed and repeats that error; what
/// came before can still be read.
#[derive(Debug)]
pub struct ChatAccumulator {
    limits: Limits,
    chunk: Chunk,
    repeat: Repeat,
    ledger: Ledger,
    completion: Completion,
    completed: Vec<Vec<u8>>,
    /// Chunks with a payload that could be read.
    chunks: u64,
    tokens: u64,
    done: bool,
    ended: bool,
    failure: Option<Error>,
}

impl ChatAccumulator {
    /// Nothing has come. With `strict`, what the API does not allow is an error; otherwise it is counted.
    #[must_use]
    pub fn new(limits: &Limits, strict: bool) -> Self {
        // Places within a payload are kept in 32 bits.
        let limits = Limits { max_event_bytes: limits.max_event_bytes.min(u64::from(u32::MAX)), ..*limits };
        Self {
            limits,
            chunk: Chunk::new(usize::try_from(limits.max_parts).unwrap_or(usize::MAX)),
            repeat: Repeat::default(),
            ledger: Ledger::new(&limits, strict),
            completion: Completion::default(),
            completed: Vec::new(),
            chunks: 0,
            tokens: 0,
            done: false,
            ended: false,
            failure: None,
        }
    }

    /// Takes one event: its payload, and the name of its `event` field.
    pub fn feed(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.ledger.at = 0;
        if name != Some(b"error")
            && let Some(result) = self.take_repeat(payload)
        {
            return result.inspect_err(|failure| self.failure = Some(failure.clone()));
        }
        self.repeat.forget();
        self.take(payload, name).inspect_err(|failure| self.failure = Some(failure.clone()))
    }

    /// `[DONE]` came; whatever follows is ignored.
    pub fn done(&mut self) {
        self.repeat.forget();
        if !self.done && self.completion.started && self.terminal().is_none() {
            self.ledger.diagnostics.note(rules::FINISH_REASON_MISSING);
        }
        self.done = true;
    }

    /// The input ended. May be called again; feeding more goes on where the input ended.
    pub fn finish(&mut self) {
        self.repeat.forget();
        if !self.ended && self.terminal().is_none() {
            self.ledger.diagnostics.note(rules::TRUNCATED);
        }
        self.ended = true;
    }

    /// Takes a chunk that repeats the one before save for the piece it adds.
    #[inline]
    fn take_repeat(&mut self, payload: &[u8]) -> Option<Result<(), Error>> {
        let Added { target, choice, piece, .. } = self.repeat.fit(payload)?;
        let text = self.completion.choices.get_mut(choice)?.message.target(target)?;
        self.ledger.added = false;
        let result = self.ledger.append(text, piece);
        self.chunks += 1;
        self.tokens += u64::from(self.ledger.added);
        Some(result)
    }

    fn take(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        if self.done {
            return self.ledger.diagnostics.breach(rules::AFTER_TERMINAL);
        }
        self.ended = false;
        if self.limits.max_depth < DEPTH_CEILING {
            self.require_depth(payload, 0)?;
        }
        if payload.len() < 64 {
            match payload.trim_ascii() {
                b"[DONE]" => {
                    self.done();
                    return Ok(());
                }
                b"" => return Ok(()),
                _ => {}
            }
        }
        if payload.len() as u64 > self.limits.max_event_bytes {
            return Err(exceeded(
                Limit::EventBytes,
                self.limits.max_event_bytes,
                self.limits.max_event_bytes,
            ));
        }
        if let Err(error) = self.chunk.scan(payload) {
            // A chunk that cannot be read says nothing; its neighbours still do.
            self.ledger.diagnostics.note(rules::MALFORMED);
            return if self.ledger.diagnostics.is_strict() || matches!(error, Error::Limit { .. }) {
                Err(error)
            } else {
                Ok(())
            };
        }
        if self.chunk.crowded {
            return Err(exceeded(Limit::Parts, self.limits.max_parts, 0));
        }
        if self.chunk.duplicates {
            self.ledger.diagnostics.breach(rules::DUPLICATE_FIELD)?;
        }
        if self.chunk.odd_choices {
            self.ledger.diagnostics.breach(rules::BAD_VALUE)?;
        }
        self.chunks += 1;
        let breaches = self.ledger.diagnostics.total();
        self.apply(payload, name)?;
        if self.ledger.added && self.ledger.diagnostics.total() == breaches {
            self.repeat.learn(&self.chunk, payload);
        }
        Ok(())
    }

    #[inline]
    fn apply(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        let id = self.chunk.field(ChunkField::Id).of(payload);
        if !is_blank(id) && id != self.completion.id.as_bytes() && !self.completion.id.is_empty() {
            self.id_changed(payload)?;
        }
        self.ledger.added = false;
        self.completion.started = true;
        let flat_error =
            name == Some(b"error") || is_string(self.chunk.field(ChunkField::Object).of(payload), "error");
        if flat_error && is_blank(self.chunk.field(ChunkField::Error).of(payload)) {
            self.require_depth(payload, 1)?;
            return self.completion.error.set(payload.trim_ascii(), &mut self.ledger);
        }
        self.completion.apply_head(&self.chunk, payload, &mut self.ledger)?;
        for (place, choice) in self.chunk.choices.iter().enumerate() {
            self.ledger.at = choice.field(ChoiceField::Delta).start as usize;
            self.completion.apply_choice(choice, place, payload, self.chunks, &mut self.ledger)?;
        }
        if !self.chunk.unknown.is_empty() {
            self.completion.apply_unknown(&self.chunk, payload, &mut self.ledger)?;
        }
        self.tokens += u64::from(self.ledger.added);
        Ok(())
    }

    /// Requires that `payload` can stand below `levels` containers: what is taken in can be written and read back.
    fn require_depth(&self, payload: &[u8], levels: u64) -> Result<(), Error> {
        match Cursor::new(payload).skip_value(levels, self.limits.max_depth) {
            Err(error @ Error::Limit { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Another id means another completion if the last one is whole and a message begins; else it means nothing,
    /// as servers exist that change it with every chunk.
    #[cold]
    fn id_changed(&mut self, payload: &[u8]) -> Result<(), Error> {
        let begins = |choice: &chat::Choice| !is_blank(choice.delta(DeltaField::Role).of(payload));
        if !self.completion.is_finished() || !self.chunk.choices.iter().any(begins) {
            self.ledger.diagnostics.note(rules::ID_CHANGED);
            return Ok(());
        }
        self.completed.extend(self.snapshot());
        self.completion = Completion::default();
        self.ledger = self.ledger.renewed(&self.limits);
        self.ledger.exchange(0, self.completed.iter().map(Vec::len).sum())
    }
}

/// What can be asked at any time. Texts are WTF-8, values are JSON as it came.
impl ChatAccumulator {
    /// The completion so far, as a `chat.completion` object; `None` before the first chunk.
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        self.completion.started.then(|| {
            let mut out = Vec::new();
            self.completion.write(&mut out);
            out
        })
    }

    /// The completions before the current one, for streams that hold several.
    #[must_use]
    pub fn completed(&self) -> &[Vec<u8>] {
        &self.completed
    }

    /// How the stream ended; `None` while it has not, or if it was cut.
    #[must_use]
    pub fn terminal(&self) -> Option<ChatTerminal> {
        if self.completion.has_failed() {
            Some(ChatTerminal::Error)
        } else if self.done {
            Some(ChatTerminal::Done)
        } else {
            self.completion.is_finished().then_some(ChatTerminal::FinishReason)
        }
    }

    /// Whether the input has ended.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended || self.done
    }

    /// The text of choice 0 that a reader sees.
    #[must_use]
    pub fn output_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Some(choice) = self.completion.choices.get(0) {
            choice.message.content().for_each(|part| text.extend_from_slice(part.as_bytes()));
        }
        text
    }

    /// The finish reason of a choice, a JSON string.
    #[must_use]
    pub fn finish_reason(&self, choice: u64) -> Option<&[u8]> {
        let reason = &self.completion.choices.get(choice)?.finish_reason;
        (!reason.is_empty()).then_some(reason.as_bytes())
    }

    /// The usage, a JSON value.
    #[must_use]
    pub fn usage(&self) -> Option<&[u8]> {
        let usage = self.completion.effective_usage();
        (!usage.is_empty()).then_some(usage.as_bytes())
    }

    /// The error that came, in a chunk or in a choice, a JSON value.
    #[must_use]
    pub fn error(&self) -> Option<&[u8]> {
        let error = self.completion.effective_error();
        (!error.is_empty()).then_some(error.as_bytes())
    }

    /// The calls of all choices; those of one choice in the order of its message.
    pub fn calls(&self) -> impl Iterator<Item = ChatCall<'_>> {
        self.completion.choices.iter().flat_map(|(index, choice)| {
            let whole = choice.is_whole() || self.done && choice.finish_reason.is_empty();
            let ended = whole && !self.completion.has_failed();
            let calls = choice.message.tool_calls.iter().map(move |call| ChatCall {
                choice: index,
                serial: Some(call.serial),
                index: call.index,
                id: call.id.as_bytes(),
                name: call.function.name.as_bytes(),
                arguments: call.function.arguments.as_bytes(),
                stable_arguments: call.function.arguments.stable(),
                revision: call.function.revision,
                custom: call.custom,
                ended,
            });
            let legacy = choice.message.function_call.as_ref().map(|function| ChatCall {
                choice: index,
                serial: None,
                index: None,
                id: &[],
                name: function.name.as_bytes(),
                arguments: function.arguments.as_bytes(),
                stable_arguments: function.arguments.stable(),
                revision: function.revision,
                custom: false,
                ended,
            });
            calls.chain(legacy)
        })
    }

    /// How often the stream did what its API does not allow, or something else worth knowing, by kind.
    pub fn diagnostics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.ledger.diagnostics.counts()
    }

    /// Chunks that added a piece of text, of a call or of sound.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The error that stopped this accumulator.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }
}

//! Output of gpt-oss models, in the Harmony format → the events of one response, while it is generated.
//!
//! | a message of the assistant | becomes |
//! |---|---|
//! | channel `analysis` | a reasoning item, raw or as summary |
//! | channel `commentary` | a message of phase `commentary`: what is said before tools are called |
//! | channel `final` | a message of phase `final_answer` |
//! | to `functions.NAME` | a function call, or a custom tool call, whose arguments stream |
//! | to `python` | a code interpreter call, whose code streams |
//! | to `browser.search`, `.open`, `.find` | a web search call; its action is known when the message ends |
//! | to anybody else | a function call of that name |
//! | without a channel, or with one that nobody knows | a message |
//!
//! Messages of other authors become nothing. A message ends with `<|end|>`, `<|call|>` or `<|return|>`, or where the
//! next one begins. What the format does not allow is counted, or refused where the caller asked for strictness.

mod browser;
mod header;
mod lexer;
mod messages;
mod output;
mod reason;
mod route;
mod rules;
mod special;
mod state;

use crate::emit::{Emitter, EmitterOptions};
use crate::error::Error;
use crate::transcode::{Failure, ReasoningAs, Truncated};
use lexer::Lexer;
use state::State;

pub use messages::harmony_to_items;
pub use reason::FinishReason;
pub use special::SpecialToken;

/// How messages become items.
#[derive(Debug, Clone)]
pub struct HarmonyOptions {
    /// What the analysis becomes.
    pub reasoning: ReasoningAs,
    /// Functions that are custom tools: what the model writes to them is no JSON.
    pub custom_tools: Vec<String>,
    /// The `container_id` of code interpreter calls.
    pub container_id: String,
    /// How a response ends whose input was cut, and nobody knows why.
    pub truncated: Truncated,
    /// What the format does not allow is an error; otherwise it is counted.
    pub strict: bool,
}

impl Default for HarmonyOptions {
    fn default() -> Self {
        Self {
            reasoning: ReasoningAs::Raw,
            custom_tools: Vec::new(),
            container_id: String::new(),
            truncated: Truncated::default(),
            strict: false,
        }
    }
}

/// Reads what a model generates and writes the events of its response.
///
/// The first piece, empty or not, begins the response. After an error the parser stays failed and repeats it;
/// [`finish`](Self::finish) then still ends the response, as failed.
///
/// ```
/// use penstock::{EmitterOptions, FinishReason, HarmonyOptions, HarmonyParser};
///
/// let response = EmitterOptions::new("resp_1", 1_700_000_000, "gpt-oss-120b");
/// let mut parser = HarmonyParser::new(response, HarmonyOptions::default())?;
/// parser.feed(b"<|channel|>analysis<|message|>Easy.<|end|>")?;
/// parser.feed(b"<|start|>assistant<|channel|>final<|message|>4<|return|>")?;
/// parser.finish(Some(FinishReason::Stop))?;
/// let stream = String::from_utf8(parser.take())?;
/// assert!(stream.contains("event: response.reasoning_text.delta\n"));
/// assert!(stream.contains("event: response.completed\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HarmonyParser {
    lexer: Lexer,
    state: State,
    failure: Option<Error>,
}

impl HarmonyParser {
    /// A parser at the beginning of an assistant's message: the prompt ended in `<|start|>assistant`, or the text
    /// begins with that.
    pub fn new(response: EmitterOptions, options: HarmonyOptions) -> Result<Self, Error> {
        let limits = response.limits;
        let state = State::new(Emitter::new(response)?, options, &limits);
        Ok(Self { lexer: Lexer::default(), state, failure: None })
    }

    /// Takes the next piece of text in which special tokens are spelled out, cut anywhere. Bytes that are not UTF-8
    /// become U+FFFD.
    pub fn feed(&mut self, text: &[u8]) -> Result<(), Error> {
        self.guarded(|lexer, state| lexer.spelled(text, |token| state.take(token)))
    }

    /// Takes the next piece of text in which there are no special tokens, whatever it looks like; it may end inside
    /// a character. Special tokens come through [`feed_special`](Self::feed_special).
    pub fn feed_text(&mut self, text: &[u8]) -> Result<(), Error> {
        self.guarded(|lexer, state| lexer.plain(text, |token| state.take(token)))
    }

    /// Takes a special token.
    pub fn feed_special(&mut self, token: SpecialToken) -> Result<(), Error> {
        self.guarded(|lexer, state| lexer.special(token, |token| state.take(token)))
    }

    /// Notes a special token of the vocabulary that the format has no use for.
    pub fn feed_unknown_special(&mut self) -> Result<(), Error> {
        self.guarded(|_, state| state.stray_token())
    }

    /// Sets the usage that the final response tells, a JSON object.
    pub fn usage(&mut self, usage: &[u8]) -> Result<(), Error> {
        // A response that begins has no usage yet.
        self.state.is_running()?;
        self.state.output.emitter.usage(usage)
    }

    /// The input ended: writes the terminal event if none has been written. May be called again.
    ///
    /// `reason` is what the engine says. Without one the response completes only if the model ended its turn, with
    /// `<|return|>`, `<|call|>` or `<|endoftext|>`; else the input was cut.
    pub fn finish(&mut self, reason: Option<FinishReason>) -> Result<(), Error> {
        let failed = match &self.failure {
            Some(failure) => failure.clone(),
            None => match self.conclude(reason) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        self.state.fail(&Failure::new("server_error", &failed.to_string()))?;
        if self.failure.is_some() {
            return Ok(());
        }
        self.failure = Some(failed.clone());
        Err(failed)
    }

    /// Ends the response as failed: the engine raised an error. Nothing happens if it has ended.
    pub fn fail(&mut self, code: &str, message: &str) -> Result<(), Error> {
        self.flush();
        self.state.fail(&Failure::new(code, message))
    }

    /// Ends the response as cancelled. Nothing happens if it has ended.
    pub fn cancel(&mut self) -> Result<(), Error> {
        self.flush();
        self.state.cancel()
    }

    /// The emitter, for what was written.
    #[must_use]
    pub const fn emitter(&self) -> &Emitter {
        &self.state.output.emitter
    }

    /// Forgets what was written, which the caller has read.
    pub fn clear(&mut self) {
        self.state.output.emitter.clear();
    }

    /// Takes what was written.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.state.output.emitter.take()
    }

    /// Whether the terminal event has been written.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.emitter().is_finished()
    }

    /// How often the model wrote what its format does not allow, by kind.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<(&'static str, u64)> {
        self.state.diagnostics.counts().collect()
    }

    fn conclude(&mut self, reason: Option<FinishReason>) -> Result<(), Error> {
        let Self { lexer, state, .. } = self;
        if state.is_running()? {
            lexer.flush(|token| state.take(token))?;
            state.conclude(reason)?;
        }
        Ok(())
    }

    /// Hands on what is held before the response ends for reasons of its own; those go before what it might refuse.
    fn flush(&mut self) {
        let _ = self.guarded(|lexer, state| lexer.flush(|token| state.take(token)));
    }

    #[inline]
    fn guarded(
        &mut self,
        step: impl FnOnce(&mut Lexer, &mut State) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { lexer, state, failure } = self;
        if let Some(failure) = failure {
            return Err(failure.clone());
        }
        if !state.is_running()? {
            return Ok(());
        }
        step(lexer, state).inspect_err(|error| *failure = Some(error.clone()))
    }
}

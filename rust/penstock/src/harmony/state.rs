//! Where in the format the parser is, and what each token does there.

use super::HarmonyOptions;
use super::header::{Header, Said};
use super::lexer::Token;
use super::output::Output;
use super::reason::{Ending, FinishReason};
use super::route::{EVENT, Route, route};
use super::rules;
use super::special::SpecialToken;
use crate::accumulate::{Diagnostics, Meter};
use crate::emit::{Emitter, Terminal};
use crate::error::Error;
use crate::limits::{Limit, Limits};
use crate::transcode::{Failure, Truncated};

/// How far the response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Running,
    Ended,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) output: Output,
    pub(super) diagnostics: Diagnostics,
    /// The header that is read; `None` inside a message.
    header: Option<Header>,
    /// Bytes of the header.
    held: Meter,
    phase: Phase,
    truncated: Truncated,
    /// Whether the last thing said was that the model's turn is over.
    is_turn_over: bool,
}

impl State {
    pub(super) fn new(emitter: Emitter, options: HarmonyOptions, limits: &Limits) -> Self {
        Self {
            diagnostics: Diagnostics::new(options.strict),
            truncated: options.truncated,
            output: Output::new(emitter, options, limits),
            header: Some(Header::default()),
            held: Meter::new(Limit::MessageBytes, limits.max_message_bytes),
            phase: Phase::Before,
            is_turn_over: false,
        }
    }

    /// Begins the response if it has not begun; whether it goes on.
    #[inline]
    pub(super) fn is_running(&mut self) -> Result<bool, Error> {
        if self.phase == Phase::Before {
            self.output.emitter.start()?;
            self.phase = Phase::Running;
        }
        Ok(self.phase == Phase::Running)
    }

    #[inline]
    pub(super) fn take(&mut self, token: Token<'_>) -> Result<(), Error> {
        match token {
            Token::Text(text) if self.header.is_none() => self.output.push(text),
            Token::Text(text) => self.take_header(text),
            Token::Special(token) => self.take_special(token),
        }
    }

    /// A special token has no meaning where it stands.
    #[cold]
    pub(super) fn stray_token(&mut self) -> Result<(), Error> {
        self.diagnostics.breach(rules::STRAY_TOKEN, EVENT)
    }

    /// Ends the response for what the engine says, or for what the model said last.
    pub(super) fn conclude(&mut self, reason: Option<FinishReason>) -> Result<(), Error> {
        let ending = match reason {
            Some(reason) => Ending::of(reason),
            None if self.is_turn_over => Ending::Completed,
            None => {
                self.diagnostics.note(rules::TRUNCATED);
                match self.truncated {
                    Truncated::Failed => Ending::Failed("the model's text ended before its turn did"),
                    Truncated::Incomplete => Ending::Incomplete("stream_truncated"),
                }
            }
        };
        match ending {
            Ending::Completed => {
                self.end_message(SpecialToken::EndOfText)?;
                self.finish(Terminal::Completed)
            }
            Ending::Incomplete(reason) => self.finish(Terminal::Incomplete { reason }),
            Ending::Failed(message) => self.fail(&Failure::new("server_error", message)),
            Ending::Cancelled => self.finish(Terminal::Cancelled),
        }
    }

    pub(super) fn cancel(&mut self) -> Result<(), Error> {
        if self.is_running()? { self.finish(Terminal::Cancelled) } else { Ok(()) }
    }

    pub(super) fn fail(&mut self, failure: &Failure) -> Result<(), Error> {
        if !self.is_running()? {
            return Ok(());
        }
        self.output.emitter.error(&failure.to_event_members())?;
        self.finish(Terminal::Failed { error: &failure.to_response_error() })
    }

    fn finish(&mut self, terminal: Terminal<'_>) -> Result<(), Error> {
        self.phase = Phase::Ended;
        self.output.emitter.finish(terminal)
    }

    /// Text where a header is expected.
    fn take_header(&mut self, text: &[u8]) -> Result<(), Error> {
        let Some(header) = &mut self.header else { return Ok(()) };
        self.held.take(text.len(), 0)?;
        header.push(text);
        let Some(text) = header.take_if_text() else { return Ok(()) };
        self.is_turn_over = false;
        self.diagnostics.breach(rules::HEADER_MISSING, EVENT)?;
        self.begin_message(Route::Text(None))?;
        self.output.push(&text)
    }

    fn take_special(&mut self, token: SpecialToken) -> Result<(), Error> {
        match token {
            SpecialToken::StartOfText => Ok(()),
            SpecialToken::Start => {
                self.end_unended(token)?;
                self.is_turn_over = false;
                self.header = Some(Header::started());
                Ok(())
            }
            SpecialToken::Channel => {
                if self.header.is_none() {
                    self.end_unended(token)?;
                }
                self.is_turn_over = false;
                self.header.get_or_insert_default().begin_channel();
                Ok(())
            }
            SpecialToken::Constrain => match &mut self.header {
                Some(header) => {
                    header.begin_constrain();
                    Ok(())
                }
                None => self.stray_token(),
            },
            SpecialToken::Message => match &self.header {
                Some(header) => {
                    let route = route(&header.read(), &mut self.diagnostics)?;
                    self.begin_message(route)
                }
                None => self.stray_token(),
            },
            SpecialToken::End | SpecialToken::Call | SpecialToken::Return | SpecialToken::EndOfText => {
                self.end_message(token)?;
                self.is_turn_over = token.ends_turn();
                Ok(())
            }
        }
    }

    fn begin_message(&mut self, route: Route) -> Result<(), Error> {
        self.header = None;
        self.held.reset();
        self.is_turn_over = false;
        self.output.begin(route)
    }

    /// Ends a message because the next one begins.
    fn end_unended(&mut self, token: SpecialToken) -> Result<(), Error> {
        if self.header.is_none() {
            self.diagnostics.breach(rules::MESSAGE_NOT_ENDED, EVENT)?;
        }
        self.end_message(token)
    }

    /// Ends the message, or the header that was to be one of a message.
    fn end_message(&mut self, token: SpecialToken) -> Result<(), Error> {
        self.held.reset();
        match self.header.replace(Header::default()) {
            None => self.output.end(&mut self.diagnostics),
            Some(header) if header.is_absent() => Ok(()),
            Some(header) => self.end_header(&header, token),
        }
    }

    /// Ends a header that has no `<|message|>`: a call without arguments, or one whose words are the content.
    fn end_header(&mut self, header: &Header, token: SpecialToken) -> Result<(), Error> {
        self.diagnostics.breach(rules::HEADER_CUT, EVENT)?;
        let said = Said { has_stray_words: false, ..header.read() };
        let content = if said.recipient.is_none() { said.rest } else { b"" };
        if content.is_empty() && (said.recipient.is_none() || token != SpecialToken::Call) {
            return Ok(());
        }
        let route = route(&said, &mut self.diagnostics)?;
        self.output.begin(route)?;
        if !content.is_empty() {
            self.output.push(content)?;
        }
        self.output.end(&mut self.diagnostics)
    }
}

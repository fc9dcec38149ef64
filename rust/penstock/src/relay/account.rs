//! What has gone through a relay: how the stream stands in its own dialect, and what ends it truthfully.

use crate::accumulate::{ChatAccumulator, ChatTerminal, ResponseAccumulator, ResponseOptions};
use crate::emit::{SseFrame, write_sse};
use crate::error::Error;
use crate::event::{Field, Fields};
use crate::json::{push_comma, push_key, push_string};
use crate::limits::Limits;

use super::RelayDialect;

/// How many events may pass before a stream counts as one of no known dialect.
const UNDECIDED_EVENTS: u8 = 16;

/// The state of the stream, by dialect.
#[derive(Debug)]
pub(super) enum Account {
    /// So many events have told nothing.
    Undecided(u8),
    Responses(Box<ResponseAccumulator>),
    Chat(Box<ChatAccumulator>),
    /// Whether `message_stop` or `error` has come.
    Messages {
        ended: bool,
    },
    Framing,
    Unknown,
}

impl Account {
    pub(super) fn new(dialect: Option<RelayDialect>, limits: &Limits) -> Self {
        match dialect {
            None => Self::Undecided(0),
            Some(RelayDialect::Responses) => {
                let options = ResponseOptions { limits: *limits, ..ResponseOptions::default() };
                Self::Responses(Box::new(ResponseAccumulator::new(&options)))
            }
            Some(RelayDialect::Chat) => Self::Chat(Box::new(ChatAccumulator::new(limits, false))),
            Some(RelayDialect::Messages) => Self::Messages { ended: false },
            Some(RelayDialect::Framing) => Self::Framing,
        }
    }

    pub(super) const fn dialect(&self) -> Option<RelayDialect> {
        match self {
            Self::Responses(_) => Some(RelayDialect::Responses),
            Self::Chat(_) => Some(RelayDialect::Chat),
            Self::Messages { .. } => Some(RelayDialect::Messages),
            Self::Framing => Some(RelayDialect::Framing),
            Self::Undecided(_) | Self::Unknown => None,
        }
    }

    /// Takes one event; whether it is the one that ends the stream.
    #[inline]
    pub(super) fn take(
        &mut self,
        payload: &[u8],
        name: Option<&[u8]>,
        limits: &Limits,
    ) -> Result<bool, Error> {
        match self {
            Self::Responses(responses) => responses.feed(payload, name).map(|fed| fed.terminal),
            Self::Chat(chat) => {
                chat.feed(payload, name)?;
                Ok(match chat.terminal() {
                    None => false,
                    Some(ChatTerminal::Error) => true,
                    // Usage comes with the finish reason or behind it, and is the last to say anything.
                    Some(_) => Fields::scan(payload).is_ok_and(|fields| {
                        fields.value(payload, Field::Usage).is_some_and(|usage| usage.starts_with(b"{"))
                    }),
                })
            }
            Self::Messages { ended } => {
                let kind = Fields::scan(payload).ok();
                let kind = kind.and_then(|fields| fields.text(payload, Field::Type)).map(|text| text.raw);
                *ended |= matches!(kind, Some(b"message_stop" | b"error"));
                Ok(*ended)
            }
            Self::Framing | Self::Unknown => Ok(false),
            Self::Undecided(events) => {
                *events += 1;
                match dialect_of(payload, name) {
                    Some(dialect) => *self = Self::new(Some(dialect), limits),
                    None if *events >= UNDECIDED_EVENTS => *self = Self::Unknown,
                    None => return Ok(false),
                }
                self.take(payload, name, limits)
            }
        }
    }

    /// The sentinel came.
    pub(super) fn done(&mut self) {
        if let Self::Chat(chat) = self {
            chat.done();
        }
    }

    /// Whether nothing is owed: the stream has ended in its dialect's own way.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Responses(responses) => {
                responses.response().is_some_and(|response| response.terminal().is_some())
            }
            Self::Chat(chat) => chat.terminal().is_some(),
            Self::Messages { ended } => *ended,
            Self::Framing => true,
            Self::Undecided(_) | Self::Unknown => false,
        }
    }

    /// Whether no event of the stream can follow, the sentinel aside.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Chat(chat) => chat.terminal() == Some(ChatTerminal::Error),
            Self::Responses(_) | Self::Messages { .. } => self.has_ended(),
            Self::Framing | Self::Undecided(_) | Self::Unknown => false,
        }
    }

    /// Ends the input of a stream that has ended: what its dialect still wants.
    pub(super) fn finish(&mut self, sentinel_came: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Chat(chat) => {
                chat.finish();
                if !sentinel_came {
                    write_sse(&SseFrame { data: Some(b"[DONE]"), ..SseFrame::default() }, out)?;
                }
                Ok(())
            }
            Self::Responses(responses) => responses.finish(),
            _ => Ok(()),
        }
    }

    /// Appends what ends the stream as failed.
    pub(super) fn fail(&mut self, code: &str, message: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Responses(responses) => {
                for owed in responses.fail(code, message)? {
                    let name = Some(owed.event.as_str().as_bytes());
                    write_sse(&SseFrame { name, data: Some(&owed.payload), ..SseFrame::default() }, out)?;
                }
                Ok(())
            }
            Self::Chat(chat) => {
                let payload = error_object(None, code, message);
                let frame = SseFrame { data: Some(&payload), ..SseFrame::default() };
                write_sse(&frame, out)?;
                write_sse(&SseFrame { data: Some(b"[DONE]"), ..frame }, out)?;
                // One that has failed at a limit takes nothing in any more.
                let _ = chat.feed(&payload, None);
                chat.done();
                Ok(())
            }
            Self::Framing => Ok(()),
            Self::Messages { .. } | Self::Undecided(_) | Self::Unknown => {
                let payload = error_object(Some("error"), code, message);
                *self = Self::Messages { ended: true };
                let name = Some(&b"error"[..]);
                write_sse(&SseFrame { name, data: Some(&payload), ..SseFrame::default() }, out)
            }
        }
    }
}

/// `{"type"?, "error": {"message", "type", "param", "code"}}`, as providers write it in place of an event.
fn error_object(kind: Option<&str>, code: &str, message: &str) -> Vec<u8> {
    let mut out = vec![b'{'];
    if let Some(kind) = kind {
        push_key("type", &mut out);
        push_string(kind.as_bytes(), &mut out);
    }
    push_comma(&mut out);
    push_key("error", &mut out);
    out.push(b'{');
    for (key, value) in [("message", message), ("type", "server_error")] {
        push_comma(&mut out);
        push_key(key, &mut out);
        push_string(value.as_bytes(), &mut out);
    }
    out.extend_from_slice(b",\"param\":null,");
    push_key("code", &mut out);
    push_string(code.as_bytes(), &mut out);
    out.extend_from_slice(b"}}");
    out
}

/// The dialect that an event tells; `None` if it may belong to several.
pub(super) fn dialect_of(payload: &[u8], name: Option<&[u8]>) -> Option<RelayDialect> {
    let fields = Fields::scan(payload).ok()?;
    let kind = fields.text(payload, Field::Type).map(|text| text.raw).or(name);
    match kind {
        Some(kind) if kind.starts_with(b"response.") || kind == b"error" => Some(RelayDialect::Responses),
        Some(kind) if kind.starts_with(b"message_") || kind.starts_with(b"content_block_") => {
            Some(RelayDialect::Messages)
        }
        Some(_) => None,
        None => {
            let is_chat = [Field::Choices, Field::Error].iter().any(|&field| !fields.span(field).is_empty());
            is_chat.then_some(RelayDialect::Chat)
        }
    }
}

//! The items that messages become. One message is open at a time, and one item with it.

use super::route::{BrowserAction, EVENT, Phase, Route};
use super::rules;
use super::{HarmonyOptions, browser};
use crate::accumulate::{Diagnostics, Meter};
use crate::dialect::responses::Kind;
use crate::emit::{Emitter, ItemStatus, NewItem};
use crate::error::Error;
use crate::event::EventType;
use crate::json::push_string;
use crate::limits::{Limit, Limits};
use crate::transcode::ReasoningAs;

/// Adds a piece of text to the item at an index.
type Push = fn(&mut Emitter, usize, &[u8]) -> Result<(), Error>;

/// The message that is being written.
#[derive(Debug)]
enum Open {
    /// None, or one that becomes nothing.
    Nothing,
    /// One whose item begins with its first text, so that no item is empty.
    Awaited(Route),
    /// One whose text streams into its item.
    Streaming { item: usize, push: Push },
    /// A call of the browser, whose arguments are read when they are whole.
    Browser { item: usize, action: BrowserAction, arguments: Vec<u8> },
}

/// Writes the items.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) emitter: Emitter,
    options: HarmonyOptions,
    open: Open,
    calls: Meter,
    /// Bytes of arguments that no event has streamed.
    held: Meter,
}

impl Output {
    pub(super) fn new(emitter: Emitter, options: HarmonyOptions, limits: &Limits) -> Self {
        Self {
            emitter,
            options,
            open: Open::Nothing,
            calls: Meter::new(Limit::ToolCalls, limits.max_tool_calls),
            held: Meter::new(Limit::MessageBytes, limits.max_message_bytes),
        }
    }

    /// Begins a message; the one before has ended.
    pub(super) fn begin(&mut self, route: Route) -> Result<(), Error> {
        self.open = match route {
            Route::Nothing => Open::Nothing,
            Route::Reasoning | Route::Text(_) => Open::Awaited(route),
            Route::Function(name) => self.begin_function(&name)?,
            Route::Python => {
                let mut members = b"{\"container_id\":".to_vec();
                push_string(self.options.container_id.as_bytes(), &mut members);
                members.push(b'}');
                let new = NewItem::new(Kind::CodeInterpreterCall).with_members(&members);
                let item = self.begin_call(new)?;
                self.emitter.status(item, EventType::CodeInterpreterCallInProgress, b"")?;
                Open::Streaming { item, push: Emitter::code }
            }
            Route::Browser(action) => {
                let members = browser::unknown(action);
                let item = self.begin_call(NewItem::new(Kind::WebSearchCall).with_members(&members))?;
                self.emitter.status(item, EventType::WebSearchCallInProgress, b"")?;
                Open::Browser { item, action, arguments: Vec::new() }
            }
        };
        Ok(())
    }

    fn begin_function(&mut self, name: &str) -> Result<Open, Error> {
        if self.options.custom_tools.iter().any(|tool| tool == name) {
            let item = self.begin_call(NewItem::custom_tool_call(None, name))?;
            return Ok(Open::Streaming { item, push: Emitter::custom_input });
        }
        let item = self.begin_call(NewItem::function_call(None, name))?;
        Ok(Open::Streaming { item, push: Emitter::arguments })
    }

    fn begin_call(&mut self, new: NewItem<'_>) -> Result<usize, Error> {
        self.calls.take(1, 0)?;
        self.emitter.open_item(new)
    }

    /// Adds text to the message.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), Error> {
        match &mut self.open {
            Open::Streaming { item, push } => push(&mut self.emitter, *item, text),
            Open::Nothing => Ok(()),
            Open::Browser { arguments, .. } => {
                self.held.take(text.len(), 0)?;
                arguments.extend_from_slice(text);
                Ok(())
            }
            Open::Awaited(_) if text.is_empty() => Ok(()),
            Open::Awaited(_) => self.push_first(text),
        }
    }

    #[cold]
    fn push_first(&mut self, text: &[u8]) -> Result<(), Error> {
        let Open::Awaited(route) = &self.open else { return Ok(()) };
        let (new, push): (_, Push) = match route {
            Route::Reasoning => match self.options.reasoning {
                ReasoningAs::Raw => (NewItem::reasoning(), Emitter::reasoning_text),
                ReasoningAs::Summary => (NewItem::reasoning(), Emitter::reasoning_summary),
            },
            Route::Text(phase) => {
                let members: &[u8] = match phase {
                    Some(Phase::Commentary) => br#"{"phase":"commentary"}"#,
                    Some(Phase::FinalAnswer) => br#"{"phase":"final_answer"}"#,
                    None => b"",
                };
                (NewItem::message().with_members(members), Emitter::text)
            }
            _ => return Ok(()),
        };
        let item = self.emitter.open_item(new)?;
        self.open = Open::Streaming { item, push };
        push(&mut self.emitter, item, text)
    }

    /// Begins another piece of the message's content: another part, where there are parts.
    pub(super) fn next_content(&mut self) -> Result<(), Error> {
        match self.open {
            Open::Streaming { item, .. } => self.emitter.close_part(item),
            _ => Ok(()),
        }
    }

    /// Ends the message.
    pub(super) fn end(&mut self, diagnostics: &mut Diagnostics) -> Result<(), Error> {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing | Open::Awaited(_) => Ok(()),
            Open::Streaming { item, .. } => self.emitter.close_item(item, ItemStatus::Completed, b""),
            Open::Browser { item, action, arguments } => {
                self.held.give(arguments.len());
                let (members, is_read) = browser::asked(action, &arguments);
                if !is_read {
                    diagnostics.breach(rules::ARGUMENTS_NOT_JSON, EVENT)?;
                }
                self.emitter.status(item, EventType::WebSearchCallSearching, b"")?;
                self.emitter.status(item, EventType::WebSearchCallCompleted, b"")?;
                self.emitter.close_item(item, ItemStatus::Completed, &members)
            }
        }
    }
}

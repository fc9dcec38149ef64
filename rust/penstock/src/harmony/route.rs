//! What a message becomes, by its channel and its recipient.

use super::header::{Author, Said};
use super::rules;
use crate::accumulate::Diagnostics;
use crate::error::Error;

/// What a message becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Channel `analysis`.
    Reasoning,
    /// Text for the user, with the phase it is said in.
    Text(Option<Phase>),
    /// A call of the function, or custom tool, of this name.
    Function(String),
    /// Code for the interpreter.
    Python,
    /// A call of the browser.
    Browser(BrowserAction),
    /// Nothing: it is not the assistant's.
    Nothing,
}

/// When a message to the user is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before tools are called.
    Commentary,
    /// At the end.
    FinalAnswer,
}

/// What the browser is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BrowserAction {
    Search,
    Open,
    Find,
}

/// Finds what a message with this header becomes, and counts what is wrong with it.
pub(super) fn route(said: &Said<'_>, diagnostics: &mut Diagnostics) -> Result<Route, Error> {
    if said.author == Author::Other {
        diagnostics.note(rules::AUTHOR_FOREIGN);
        return Ok(Route::Nothing);
    }
    if said.has_stray_words {
        diagnostics.breach(rules::MALFORMED_HEADER, EVENT)?;
    }
    match said.recipient {
        Some(recipient) => to_tool(recipient, diagnostics),
        None => to_user(said.channel, diagnostics),
    }
}

/// What diagnostics name as the event.
pub(super) const EVENT: &str = "harmony message";

fn to_tool(recipient: &[u8], diagnostics: &mut Diagnostics) -> Result<Route, Error> {
    let name = |name: &[u8]| Route::Function(String::from_utf8_lossy(name).into_owned());
    Ok(match recipient {
        b"python" => Route::Python,
        b"browser.search" => Route::Browser(BrowserAction::Search),
        b"browser.open" => Route::Browser(BrowserAction::Open),
        b"browser.find" => Route::Browser(BrowserAction::Find),
        _ => match recipient.strip_prefix(b"functions.") {
            Some(function) if !function.is_empty() => name(function),
            _ => {
                diagnostics.breach(rules::RECIPIENT_UNKNOWN, EVENT)?;
                name(recipient)
            }
        },
    })
}

fn to_user(channel: Option<&[u8]>, diagnostics: &mut Diagnostics) -> Result<Route, Error> {
    let breached = match channel {
        Some(b"analysis") => return Ok(Route::Reasoning),
        Some(b"commentary") => return Ok(Route::Text(Some(Phase::Commentary))),
        Some(b"final") => return Ok(Route::Text(Some(Phase::FinalAnswer))),
        Some(_) => rules::CHANNEL_UNKNOWN,
        None => rules::CHANNEL_MISSING,
    };
    diagnostics.breach(breached, EVENT)?;
    Ok(Route::Text(None))
}

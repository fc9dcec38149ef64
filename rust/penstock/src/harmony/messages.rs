//! Whole messages of the Harmony format → output items, the way the parser makes them of the model's text.

use super::HarmonyOptions;
use super::header::{Author, Said, names_tool};
use super::output::Output;
use super::route::{EVENT, route};
use crate::accumulate::Diagnostics;
use crate::dialect::responses::Response;
use crate::emit::{Emitter, EmitterOptions, Terminal};
use crate::error::Error;
use crate::event::string;
use crate::json::{RawStr, elements, entries, spells};

/// The items of `messages`, a JSON list of objects with `role` (or `author`), `content` (a string, or a list of parts
/// with `text`), `channel` and `recipient`, as `openai-harmony` writes them. Returns a JSON list.
///
/// Of `response` the ids and limits are used. With `is_cut` the model was stopped inside the last message, whose item
/// is then incomplete. Content that is no text is refused in messages of the assistant (rule `content_not_text`).
///
/// ```
/// use penstock::{EmitterOptions, HarmonyOptions, harmony_to_items};
///
/// let messages = br#"[{"role":"assistant","channel":"final","content":"Hi"}]"#;
/// let response = EmitterOptions::new("resp_1", 0, "");
/// let items = harmony_to_items(messages, response, HarmonyOptions::default(), false)?;
/// assert!(items.starts_with(br#"[{"id":"msg_"#));
/// # Ok::<(), penstock::Error>(())
/// ```
pub fn harmony_to_items(
    messages: &[u8],
    response: EmitterOptions,
    options: HarmonyOptions,
    is_cut: bool,
) -> Result<Vec<u8>, Error> {
    let limits = response.limits;
    let mut diagnostics = Diagnostics::new(options.strict);
    let mut output = Output::new(Emitter::new(response)?, options, &limits);
    output.emitter.start()?;
    each(messages, |message| {
        output.end(&mut diagnostics)?;
        Message::read(message)?.write(&mut output, &mut diagnostics)
    })?;
    if is_cut {
        output.emitter.finish(Terminal::Incomplete { reason: "max_output_tokens" })?;
    } else {
        output.end(&mut diagnostics)?;
        output.emitter.finish(Terminal::Completed)?;
    }
    let last = output.emitter.final_response().unwrap_or_default();
    Ok(Response::read(last)?.output.unwrap_or(b"[]").to_vec())
}

/// Calls `visit` for each element of a list, until one is refused.
fn each(list: &[u8], mut visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let mut result = Ok(());
    elements(list, |place| {
        if result.is_ok() {
            result = visit(list.get(place).unwrap_or_default());
        }
    })?;
    result
}

/// The members of a message, each as JSON text.
#[derive(Default)]
struct Message<'a> {
    role: &'a [u8],
    channel: &'a [u8],
    recipient: &'a [u8],
    content: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Error> {
        let mut read = Self::default();
        let mut author: &[u8] = b"{}";
        entries(message, |key, value| {
            let value = message.get(value).unwrap_or_default();
            match &*key.decoded() {
                b"role" => read.role = value,
                b"author" if value.starts_with(b"{") => author = value,
                b"channel" => read.channel = value,
                b"recipient" => read.recipient = value,
                b"content" => read.content = value,
                _ => {}
            }
        })?;
        entries(author, |key, value| {
            if &*key.decoded() == b"role" {
                read.role = author.get(value).unwrap_or_default();
            }
        })?;
        Ok(read)
    }

    fn write(&self, output: &mut Output, diagnostics: &mut Diagnostics) -> Result<(), Error> {
        let text = |value| string(value).map(RawStr::decoded);
        let author = match text(self.role).as_deref() {
            Some(b"assistant") | None => Author::Assistant,
            Some(_) => Author::Other,
        };
        let (channel, recipient) = (text(self.channel), text(self.recipient));
        let said = Said {
            author,
            channel: channel.as_deref(),
            recipient: recipient.as_deref().filter(|name| names_tool(name)),
            has_stray_words: false,
            rest: b"",
        };
        output.begin(route(&said, diagnostics)?)?;
        if author == Author::Other {
            return Ok(());
        }
        if let Some(text) = string(self.content) {
            return output.push(&text.decoded());
        }
        if matches!(self.content, b"" | b"null") {
            return Ok(());
        }
        each(self.content, |part| {
            output.next_content()?;
            output.push(&text_of(part)?)
        })
    }
}

/// The text of a part of a message's content.
fn text_of(part: &[u8]) -> Result<Vec<u8>, Error> {
    let mut text = None;
    entries(part, |key, value| {
        if spells(key, "text") {
            text = string(part.get(value).unwrap_or_default()).map(|text| text.decoded().into_owned());
        }
    })?;
    text.ok_or_else(|| Error::Event { rule: "content_not_text", event: EVENT.into() })
}

#[cfg(test)]
mod tests {
    use super::harmony_to_items;
    use crate::emit::EmitterOptions;
    use crate::error::Error;
    use crate::harmony::HarmonyOptions;

    fn items(messages: &str, is_cut: bool) -> Result<String, Error> {
        let response = EmitterOptions::new("resp_1", 0, "");
        let items = harmony_to_items(messages.as_bytes(), response, HarmonyOptions::default(), is_cut)?;
        Ok(String::from_utf8(items).unwrap())
    }

    #[test]
    fn messages_of_others_and_empty_ones_become_nothing() {
        for messages in [
            "[]",
            r#"[{"role":"user","content":"Hi"}]"#,
            r#"[{"author":{"role":"tool","name":"python"},"content":[{"type":"image"}]}]"#,
            r#"[{"role":"assistant","channel":"final","content":null}]"#,
            r#"[{"role":"assistant","channel":"analysis","content":[]}]"#,
        ] {
            assert_eq!(items(messages, false).unwrap(), "[]", "{messages}");
        }
    }

    #[test]
    fn the_last_message_may_be_cut() {
        let messages = r#"[{"role":"assistant","channel":"analysis","content":"a"},
            {"channel":"final","content":[{"type":"text","text":"b"},{"text":"c"}]}]"#;
        for (is_cut, status) in [(false, "completed"), (true, "incomplete")] {
            let items = items(messages, is_cut).unwrap();
            assert!(items.contains(&format!(r#""status":"{status}""#)), "{items}");
            assert_eq!(items.matches("output_text").count(), 2);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for messages in ["{}", "[1]", r#"[{"content":1}]"#, "["] {
            assert!(matches!(items(messages, false), Err(Error::Json { .. })), "{messages}");
        }
        let messages = r#"[{"content":[{"type":"image"}]}]"#;
        assert!(matches!(items(messages, false), Err(Error::Event { rule: "content_not_text", .. })));
    }
}

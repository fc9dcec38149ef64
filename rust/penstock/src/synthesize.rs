//! A whole response → the legal stream it could have come in, for models and back ends that cannot stream.
//!
//! Items are added empty and in progress, what streams into them comes in slices, and `done` and terminal events
//! hold the objects of the response as they are, so an accumulator gives the response back. Pace is the caller's.

mod slices;

use std::num::NonZeroUsize;

use crate::dialect::responses::{Action, Channel, Item, Kind, List, Part, Response, decoded, is_empty};
use crate::emit::{Emitter, EmitterOptions, NewItem, PartKind, SseFrame, Wire, whole_object, write_sse};
use crate::error::Error;
use crate::event::{EventType, members};
use crate::json::{Edit, elements, entries, patch, push_key, push_string};
use crate::limits::Limits;

use slices::slices;

pub use slices::SliceUnit;

/// How [`synthesize`] writes.
#[derive(Debug, Clone)]
pub struct SynthesizeOptions {
    /// How many units each delta holds; the last one of a text may hold fewer.
    pub slice: NonZeroUsize,
    /// What is counted.
    pub unit: SliceUnit,
    /// How events are framed.
    pub wire: Wire,
    /// Write what `LiteLLM`'s `MockResponsesAPIStreamingIterator` gave, for readers that expect it: the texts of all
    /// messages as deltas of one part that was never added, then `response.completed`. That stream is not legal.
    pub bare: bool,
    /// The bounds: `max_message_bytes` of text and JSON, `max_parts` items, parts and annotations together.
    pub limits: Limits,
}

impl Default for SynthesizeOptions {
    fn default() -> Self {
        Self {
            slice: NonZeroUsize::MIN.saturating_add(4),
            unit: SliceUnit::default(),
            wire: Wire::default(),
            bare: false,
            limits: Limits::default(),
        }
    }
}

/// The events of a stream that was made whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synthesis {
    bytes: Vec<u8>,
    /// Where each event ends.
    ends: Vec<usize>,
}

impl Synthesis {
    /// Each event with its framing, in order.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.bytes.get(start..end).unwrap_or_default())
    }

    /// All events, one after the other.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes the stream of `response`, a response object as the Responses API gives it when nobody asks for a stream.
///
/// Errors come before the first event. Refused are texts that are not JSON ([`Error::Json`]), responses without an id
/// (`unsafe_id`) or still running (`response_not_ended`), and those that no legal stream can bring, such as a completed
/// one with an incomplete item. Items of kinds into which text streams get an id if they have none.
///
/// ```
/// use penstock::{SynthesizeOptions, synthesize};
///
/// let response = br#"{"id":"resp_1","status":"completed","output":[]}"#;
/// let stream = synthesize(response, &SynthesizeOptions::default())?;
/// assert_eq!(stream.events().count(), 3);
/// # Ok::<(), penstock::Error>(())
/// ```
pub fn synthesize(response: &[u8], options: &SynthesizeOptions) -> Result<Synthesis, Error> {
    let whole = whole_object(response)?;
    let view = Response::read(&whole)?;
    let id = decoded(view.id).unwrap_or_default();
    let id = String::from_utf8_lossy(&id).into_owned();
    if options.bare {
        return bare(&id, &whole, view.output, options);
    }
    let (event, status) = terminal(view.status)?;
    let base = EmitterOptions::new(id, 0, "");
    let base = EmitterOptions { wire: options.wire, limits: options.limits, ..base };
    let mut writing = Writing { emitter: Emitter::of_whole(base, &whole)?, options, cut: Vec::new() };
    writing.emitter.start()?;
    each(view.output, |item| writing.item(item))?;
    for (index, item) in std::mem::take(&mut writing.cut) {
        writing.emitter.close_item_whole(index, &item, true)?;
    }
    writing.emitter.finish_whole(event, status, &whole)?;

    let mut end = 0;
    let ends = match options.wire {
        // JSON has no line end of its own here, so an empty line ends an event and nothing else.
        Wire::Sse => memchr::memmem::find_iter(writing.emitter.output(), b"\n\n").map(|at| at + 2).collect(),
        Wire::Messages => writing
            .emitter
            .messages()
            .map(|message| {
                end += message.len();
                end
            })
            .collect(),
    };
    Ok(Synthesis { bytes: writing.emitter.take(), ends })
}

/// The terminal event of a response, and its status; one that tells none is complete.
fn terminal(status: Option<&[u8]>) -> Result<(EventType, &'static str), Error> {
    Ok(match status {
        None | Some(b"null") => (EventType::Completed, "completed"),
        status => match &*decoded(status).unwrap_or_default() {
            b"completed" => (EventType::Completed, "completed"),
            b"incomplete" => (EventType::Incomplete, "incomplete"),
            b"failed" => (EventType::Failed, "failed"),
            b"cancelled" => (EventType::Cancelled, "cancelled"),
            _ => return Err(Error::Event { rule: "response_not_ended", event: Box::default() }),
        },
    })
}

/// Calls `visit` for each element of a list, until one is refused; `null` and nothing are empty lists.
fn each(list: Option<&[u8]>, mut visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let Some(list) = list.filter(|list| *list != b"null") else { return Ok(()) };
    let mut result = Ok(());
    elements(list, |place| {
        if result.is_ok() {
            result = visit(list.get(place).unwrap_or_default());
        }
    })?;
    result
}

/// Whether events stream into items of `kind`, or into their parts.
const fn is_streamed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Message
            | Kind::Reasoning
            | Kind::FunctionCall
            | Kind::CustomToolCall
            | Kind::McpCall
            | Kind::CodeInterpreterCall
            | Kind::ApplyPatchCall
    )
}

/// Adds a piece of text to the item at an index.
type Push = fn(&mut Emitter, usize, &[u8]) -> Result<(), Error>;

/// A stream being made.
struct Writing<'a> {
    emitter: Emitter,
    options: &'a SynthesizeOptions,
    /// The items that are incomplete. They end last, as nothing is added behind an item that ended so.
    cut: Vec<(usize, Vec<u8>)>,
}

impl Writing<'_> {
    /// Writes one item from its first event to its last.
    fn item(&mut self, item: &[u8]) -> Result<(), Error> {
        let view = Item::read(item)?;
        let kind = Kind::of_item(view.kind);
        if !is_streamed(kind) {
            return self.emitter.item_whole(item).map(drop);
        }
        let id = decoded(view.id).unwrap_or_default();
        let id = String::from_utf8_lossy(&id);
        let empty = emptied(item)?;
        let new =
            NewItem { id: Some(&*id).filter(|id| !id.is_empty()), members: &empty, ..NewItem::new(kind) };
        let index = self.emitter.open_item(new)?;
        if kind.holds(List::Summary) {
            each(view.summary, |part| self.part(index, kind, List::Summary, part))?;
        }
        if kind.holds(List::Content) {
            each(view.content, |part| self.part(index, kind, List::Content, part))?;
        }
        let (channel, push): (_, Push) = match kind {
            Kind::FunctionCall => (Channel::FunctionArguments, Emitter::arguments),
            Kind::McpCall => (Channel::McpArguments, Emitter::arguments),
            Kind::CustomToolCall => (Channel::CustomInput, Emitter::custom_input),
            Kind::CodeInterpreterCall => (Channel::Code, Emitter::code),
            _ => (Channel::Diff, Emitter::diff),
        };
        let text = decoded(view.string(channel)).unwrap_or_default();
        for slice in slices(&text, self.options.slice, self.options.unit) {
            push(&mut self.emitter, index, slice)?;
        }
        if decoded(view.status).as_deref() == Some(b"incomplete") {
            self.cut.push((index, item.to_vec()));
            return Ok(());
        }
        self.emitter.close_item_whole(index, item, false)
    }

    /// Writes one part of an item; parts that nothing streams into come at once.
    fn part(&mut self, item: usize, kind: Kind, list: List, part: &[u8]) -> Result<(), Error> {
        let view = Part::read(part)?;
        let (part_kind, push): (_, Push) = match (Channel::of_part(view.kind), kind, list) {
            (Some(Channel::Text), Kind::Message, _) => (PartKind::Text, Emitter::text),
            (Some(Channel::Refusal), Kind::Message, _) => (PartKind::Refusal, Emitter::refusal),
            (Some(Channel::ReasoningText), _, List::Content) => {
                (PartKind::ReasoningText, Emitter::reasoning_text)
            }
            (Some(Channel::SummaryText), _, List::Summary) => {
                (PartKind::SummaryText, Emitter::reasoning_summary)
            }
            _ => return self.emitter.part_whole(item, list, part),
        };
        let channel = Channel::of_part(view.kind).unwrap_or(Channel::Text);
        self.emitter.open_part(item, part_kind)?;
        let text = decoded(view.string(channel)).unwrap_or_default();
        let mut rest = slices(&text, self.options.slice, self.options.unit);
        if let (PartKind::Text, Some(logprobs)) = (part_kind, logprobs(part)?) {
            // Whose tokens they are is not told; with the first slice, no reader gets them before their text began.
            self.emitter.text_with_logprobs(item, rest.next().unwrap_or_default(), logprobs)?;
        }
        for slice in rest {
            push(&mut self.emitter, item, slice)?;
        }
        if part_kind == PartKind::Text {
            each(view.annotations, |annotation| self.emitter.annotation(item, annotation))?;
        }
        self.emitter.close_part(item)
    }
}

/// The log probabilities of a part, unless there are none.
fn logprobs(part: &[u8]) -> Result<Option<&[u8]>, Error> {
    let mut found = None;
    members(part, |key, _, value| {
        if key == b"logprobs" {
            found = Some(value.of(part));
        }
    })?;
    Ok(found.filter(|list| list.starts_with(b"[") && !is_empty(Some(list))))
}

/// The members of an item as it is added: nothing has streamed into it, and no tool has answered.
fn emptied(item: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![b'{'];
    let mut result = Ok(());
    entries(item, |key, place| {
        let value = item.get(place).unwrap_or_default();
        let key = key.decoded();
        let value: &[u8] = match &*key {
            b"id" | b"type" => return,
            b"status" => b"\"in_progress\"",
            b"content" | b"summary" => b"[]",
            b"arguments" | b"input" | b"code" => b"\"\"",
            b"output" | b"outputs" | b"error" => b"null",
            _ => value,
        };
        if out.len() > 1 {
            out.push(b',');
        }
        push_string(&key, &mut out);
        out.push(b':');
        let holds_diff =
            || Action::read(value).is_ok_and(|action| action.diff.is_some_and(|diff| diff != b"null"));
        if *key == *b"operation" && holds_diff() {
            let nothing = |out: &mut Vec<u8>| {
                out.extend_from_slice(b"\"\"");
                Ok(())
            };
            let patched = patch(value, &[Edit::new("diff", &nothing)], &mut out);
            result = std::mem::replace(&mut result, Ok(())).and(patched);
        } else {
            out.extend_from_slice(value);
        }
    })?;
    out.push(b'}');
    result.map(|()| out)
}

/// The stream of [`SynthesizeOptions::bare`].
fn bare(
    id: &str,
    whole: &[u8],
    output: Option<&[u8]>,
    options: &SynthesizeOptions,
) -> Result<Synthesis, Error> {
    let mut text = Vec::new();
    each(output, |item| {
        let view = Item::read(item)?;
        if Kind::of_item(view.kind) != Kind::Message {
            return Ok(());
        }
        each(view.content, |part| {
            let part = Part::read(part)?;
            if Channel::of_part(part.kind) == Some(Channel::Text) {
                text.extend_from_slice(&decoded(part.text).unwrap_or_default());
            }
            Ok(())
        })
    })?;
    let mut made = Synthesis { bytes: Vec::new(), ends: Vec::new() };
    let mut event = |event: EventType, fill: &dyn Fn(&mut Vec<u8>)| {
        let mut payload = b"{".to_vec();
        push_key("type", &mut payload);
        push_string(event.as_str().as_bytes(), &mut payload);
        fill(&mut payload);
        payload.push(b'}');
        match options.wire {
            Wire::Sse => {
                let name = Some(event.as_str().as_bytes());
                write_sse(&SseFrame { name, data: Some(&payload), ..SseFrame::default() }, &mut made.bytes)?;
            }
            Wire::Messages => made.bytes.extend_from_slice(&payload),
        }
        made.ends.push(made.bytes.len());
        Ok::<_, Error>(())
    };
    for slice in slices(&text, options.slice, options.unit) {
        event(EventType::OutputTextDelta, &|out| {
            out.extend_from_slice(b",\"item_id\":");
            push_string(id.as_bytes(), out);
            out.extend_from_slice(b",\"output_index\":0,\"content_index\":0,\"delta\":");
            push_string(slice, out);
        })?;
    }
    event(EventType::Completed, &|out| {
        out.extend_from_slice(b",\"response\":");
        out.extend_from_slice(whole);
    })?;
    Ok(made)
}

//! Neighbouring deltas as one: what a reader who joins late, or is slow, gets of a stream that has gone on.
//!
//! Two events are one delta if they differ in nothing but the text they add, and in what numbers and pads them:
//!
//! | dialect | the text | may differ |
//! |---|---|---|
//! | Responses | `delta` | `sequence_number` (the later counts), `obfuscation` (left out), `logprobs` (joined) |
//! | Chat Completions | `content`, `refusal`, reasoning or arguments of the one choice | |
//! | Messages | `text`, `thinking` or `partial_json` of `delta` | |
//!
//! Texts are joined as they are written, escapes and all, so nothing is decoded and halves of surrogate pairs meet.
//! Merging costs what is merged: any number of neighbours is linear.

use std::borrow::Cow;

use crate::decoder::{Decoder, DecoderOptions, Frame};
use crate::dialect::responses::{Step, step};
use crate::emit::{SseFrame, write_sse};
use crate::error::Error;
use crate::event::{Field, Fields, Span, index, members};
use crate::json::{elements, push_number};
use crate::limits::Limits;

/// Merges neighbouring deltas of one stream.
///
/// ```
/// use penstock::Coalescer;
///
/// let mut coalescer = Coalescer::default();
/// let mut events: Vec<Vec<u8>> = Vec::new();
/// for text in ["a", "b", "c"] {
///     let event = format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"text":"{text}"}}}}"#);
///     coalescer.push(event.as_bytes(), &mut |event| events.push(event.to_vec()));
/// }
/// coalescer.finish(&mut |event| events.push(event.to_vec()));
/// assert_eq!(events, [br#"{"type":"content_block_delta","index":0,"delta":{"text":"abc"}}"#]);
/// ```
#[derive(Debug, Default)]
pub struct Coalescer {
    /// The event that waits for its neighbours; empty if none does.
    first: Vec<u8>,
    /// Where its parts stand; `None` where nothing can merge with it.
    seams: Option<Seams>,
    /// It without those parts.
    skeleton: Vec<u8>,
    scratch: Vec<u8>,
    /// The text of its neighbours, as written.
    text: Vec<u8>,
    /// The elements of their log probabilities, as written, each behind a comma.
    logprobs: Vec<u8>,
    /// The `sequence_number` of the last one.
    number: Option<u64>,
}

impl Coalescer {
    /// Takes the payload of the next event; `emit` gets what it is no neighbour of.
    pub fn push(&mut self, payload: &[u8], emit: &mut impl FnMut(&[u8])) {
        let Some(seams) = Seams::find(payload) else {
            self.finish(emit);
            return emit(payload);
        };
        self.scratch.clear();
        seams.push_skeleton(payload, &mut self.scratch);
        if self.seams.is_some() && self.scratch == self.skeleton {
            self.text.extend_from_slice(seams.text.of(payload));
            let elements = inside(seams.logprobs.of(payload));
            if !elements.is_empty() {
                self.logprobs.push(b',');
                self.logprobs.extend_from_slice(elements);
            }
            self.number = index(seams.number.of(payload));
            return;
        }
        self.finish(emit);
        self.first.extend_from_slice(payload);
        std::mem::swap(&mut self.skeleton, &mut self.scratch);
        self.number = index(seams.number.of(payload));
        self.seams = Some(seams);
    }

    /// Gives what waits for neighbours: none come.
    pub fn finish(&mut self, emit: &mut impl FnMut(&[u8])) {
        let Some(seams) = self.seams.take() else { return };
        if self.text.is_empty()
            && self.logprobs.is_empty()
            && index(seams.number.of(&self.first)) == self.number
        {
            emit(&self.first);
        } else {
            emit(&self.merged(seams));
        }
        self.first.clear();
        self.text.clear();
        self.logprobs.clear();
    }

    fn merged(&self, seams: Seams) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.first.len() + self.text.len() + self.logprobs.len() + 20);
        let mut copied = 0;
        for (part, span) in seams.in_order() {
            let part_of_first = span.of(&self.first);
            out.extend_from_slice(self.first.get(copied..span.start as usize).unwrap_or_default());
            copied = span.end as usize;
            match part {
                SeamPart::Text => {
                    out.extend_from_slice(part_of_first);
                    out.extend_from_slice(&self.text);
                }
                SeamPart::Number => match self.number {
                    Some(number) => push_number(number, &mut out),
                    None => out.extend_from_slice(part_of_first),
                },
                SeamPart::Logprobs => {
                    let elements = inside(part_of_first);
                    let more = self.logprobs.get(usize::from(elements.is_empty())..).unwrap_or_default();
                    out.push(b'[');
                    out.extend_from_slice(elements);
                    out.extend_from_slice(more);
                    out.push(b']');
                }
                SeamPart::Padding => {}
            }
        }
        out.extend_from_slice(self.first.get(copied..).unwrap_or_default());
        out
    }
}

/// Merges the neighbouring deltas of whole frames of an event stream, each written anew with the last `id` it holds;
/// frames that merge with none stay as they are, and so do comments and sentinels.
pub fn coalesce_frames<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<Vec<Cow<'a, [u8]>>, Error> {
    let mut merging = Merging::default();
    for frame in frames {
        let options = DecoderOptions { limits: *limits, sentinel: None, ..DecoderOptions::default() };
        let mut events = 0;
        Decoder::new(options).feed(frame, &mut |chunk: &[u8], found: Frame<'_>| {
            events += 1;
            merging.take(frame, chunk, &found);
        })?;
        if events == 0 {
            merging.flush();
            merging.out.push(Cow::Borrowed(frame));
        }
    }
    merging.flush();
    Ok(merging.out)
}

/// Frames being merged.
#[derive(Default)]
struct Merging<'a> {
    coalescer: Coalescer,
    out: Vec<Cow<'a, [u8]>>,
    /// The frame that waits for its neighbours.
    waiting: Option<Waiting<'a>>,
}

struct Waiting<'a> {
    frame: &'a [u8],
    name: Vec<u8>,
    id: Vec<u8>,
    /// Frames that have become one with it.
    merged: usize,
}

impl<'a> Merging<'a> {
    fn take(&mut self, frame: &'a [u8], chunk: &[u8], found: &Frame<'_>) {
        let mut emitted = Vec::new();
        self.coalescer.push(found.data.bytes(chunk), &mut |event| emitted.push(event.to_vec()));
        let mut emitted = emitted.into_iter();
        if let Some(waiting) = &mut self.waiting
            && emitted.len() == 0
        {
            waiting.merged += 1;
            waiting.id = found.id.to_vec();
            return;
        }
        if let Some(waiting) = self.waiting.take()
            && let Some(event) = emitted.next()
        {
            self.out.push(waiting.written(&event));
        }
        if emitted.next().is_some() {
            self.out.push(Cow::Borrowed(frame));
        } else {
            let name = found.name.as_ref().map_or_else(Vec::new, |name| name.bytes(chunk).to_vec());
            self.waiting = Some(Waiting { frame, name, id: found.id.to_vec(), merged: 0 });
        }
    }

    fn flush(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let mut last = Vec::new();
        self.coalescer.finish(&mut |event| last = event.to_vec());
        self.out.push(waiting.written(&last));
    }
}

impl<'a> Waiting<'a> {
    fn written(&self, event: &[u8]) -> Cow<'a, [u8]> {
        if self.merged == 0 {
            return Cow::Borrowed(self.frame);
        }
        let given = |text: &'_ [u8]| (!text.is_empty()).then(|| text.to_vec());
        let (name, id) = (given(&self.name), given(&self.id));
        let frame =
            SseFrame { name: name.as_deref(), id: id.as_deref(), data: Some(event), ..SseFrame::default() };
        let mut out = Vec::new();
        // Name and id come from frames, which can carry them.
        let _ = write_sse(&frame, &mut out);
        Cow::Owned(out)
    }
}

/// What may differ between two pieces of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeamPart {
    Text,
    Number,
    Logprobs,
    Padding,
}

/// Where the parts of a delta stand in its payload; empty spans for those that it does not have.
#[derive(Debug, Clone, Copy, Default)]
struct Seams {
    /// The text, between its quotes.
    text: Span,
    number: Span,
    logprobs: Span,
    /// `obfuscation`, with its key and the comma before it.
    padding: Span,
}

impl Seams {
    /// The seams of a delta; `None` for any other event.
    fn find(payload: &[u8]) -> Option<Self> {
        let fields = Fields::scan(payload).ok()?;
        if let Some(kind) = fields.event_type() {
            if !matches!(step(kind), Step::Delta(_)) {
                return None;
            }
            let logprobs = fields.span(Field::Logprobs);
            return Some(Self {
                text: within_quotes(payload, fields.span(Field::Delta))?,
                number: fields.span(Field::SequenceNumber),
                logprobs: if logprobs.of(payload).starts_with(b"[") { logprobs } else { Span::default() },
                padding: padding(payload),
            });
        }
        let kind = fields.text(payload, Field::Type).map(|kind| kind.raw);
        let text = match kind {
            Some(b"content_block_delta") => {
                let delta = fields.span(Field::Delta);
                only_text(payload, delta, &[b"text", b"thinking", b"partial_json"])?
            }
            None => chat_text(payload, fields.span(Field::Choices))?,
            Some(_) => return None,
        };
        Some(Self { text, ..Self::default() })
    }

    /// The parts that are there, as they stand.
    fn in_order(self) -> impl Iterator<Item = (SeamPart, Span)> {
        let mut parts = [
            (SeamPart::Text, self.text),
            (SeamPart::Number, self.number),
            (SeamPart::Logprobs, self.logprobs),
            (SeamPart::Padding, self.padding),
        ];
        parts.sort_by_key(|(_, span)| span.start);
        // An empty text has a place all the same.
        parts.into_iter().filter(|(_, span)| span.start > 0)
    }

    /// Appends `payload` without its parts; equal for two pieces of one text.
    fn push_skeleton(self, payload: &[u8], out: &mut Vec<u8>) {
        let mut copied = 0;
        for (part, span) in self.in_order() {
            out.extend_from_slice(payload.get(copied..span.start as usize).unwrap_or_default());
            if part != SeamPart::Padding {
                // Stands for the part; no payload holds it.
                out.push(0);
            }
            copied = span.end as usize;
        }
        out.extend_from_slice(payload.get(copied..).unwrap_or_default());
    }
}

/// The elements of a list.
fn inside(list: &[u8]) -> &[u8] {
    let inside = list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]"));
    inside.unwrap_or_default().trim_ascii()
}

/// The place of a string's characters; `None` for any other value.
fn within_quotes(payload: &[u8], value: Span) -> Option<Span> {
    let text = value.of(payload);
    let quoted = text.len() >= 2 && text.starts_with(b"\"");
    quoted.then(|| Span { start: value.start + 1, end: value.end - 1 })
}

/// The place of `obfuscation` with its key and a comma.
fn padding(payload: &[u8]) -> Span {
    let mut found = Span::default();
    let mut before = 1;
    let scanned = members(payload, |key, _, value| {
        if key == b"obfuscation" && before > 1 {
            found = Span { start: before, end: value.end };
        }
        before = value.end;
    });
    if scanned.is_ok() { found } else { Span::default() }
}

/// The place of the one string in the object at `object` whose key is among `keys`; `None` if there are more, or it
/// holds something that streams, too.
fn only_text(payload: &[u8], object: Span, keys: &[&[u8]]) -> Option<Span> {
    let inner = object.of(payload);
    let mut found = None;
    let mut several = false;
    members(inner, |key, _, value| {
        if keys.contains(&key)
            && let Some(text) = within_quotes(inner, value)
        {
            several |= found.is_some();
            found = Some(Span { start: object.start + text.start, end: object.start + text.end });
        }
    })
    .ok()?;
    found.filter(|_| !several)
}

/// The place of the text that a Chat Completions chunk with a single choice adds: a string of its delta, or the
/// arguments of its only tool call.
fn chat_text(payload: &[u8], choices: Span) -> Option<Span> {
    let choice = only_element(payload, choices)?;
    let delta = member(payload, choice, b"delta")?;
    if let Some(calls) = member(payload, delta, b"tool_calls") {
        let function = member(payload, only_element(payload, calls)?, b"function")?;
        return only_text(payload, function, &[b"arguments"]);
    }
    only_text(payload, delta, &[b"content", b"refusal", b"reasoning", b"reasoning_content"])
}

/// The place of the only element of a list.
fn only_element(payload: &[u8], list: Span) -> Option<Span> {
    let mut found = None;
    let mut count = 0;
    elements(list.of(payload), |place| {
        count += 1;
        found = Some(Span { start: list.start + place.start as u32, end: list.start + place.end as u32 });
    })
    .ok()?;
    found.filter(|_| count == 1)
}

/// The place of a member of an object.
fn member(payload: &[u8], object: Span, name: &[u8]) -> Option<Span> {
    let mut found = None;
    members(object.of(payload), |key, _, value| {
        if key == name {
            found = Some(Span { start: object.start + value.start, end: object.start + value.end });
        }
    })
    .ok()?;
    found
}

#[cfg(test)]
mod tests {
    use super::{Coalescer, coalesce_frames};
    use crate::limits::Limits;

    fn merged(events: &[&str]) -> Vec<String> {
        let (mut coalescer, mut out) = (Coalescer::default(), Vec::new());
        let mut emit = |event: &[u8]| out.push(String::from_utf8(event.to_vec()).unwrap());
        for event in events {
            coalescer.push(event.as_bytes(), &mut emit);
        }
        coalescer.finish(&mut emit);
        out
    }

    fn text(number: u32, index: u32, delta: &str, more: &str) -> String {
        format!(
            r#"{{"type":"response.output_text.delta","sequence_number":{number},"item_id":"m","output_index":{index},"content_index":0,"delta":"{delta}"{more}}}"#
        )
    }

    #[test]
    fn neighbours_become_one_with_the_last_number() {
        let events = [
            text(4, 0, "a\\n", ""),
            text(5, 0, "", ""),
            text(6, 0, "\\ud83d", ""),
            text(7, 0, "\\ude00", ""),
        ];
        let events: Vec<_> = events.iter().map(String::as_str).collect();
        assert_eq!(merged(&events), [text(7, 0, "a\\n\\ud83d\\ude00", "")]);
        assert_eq!(merged(&events[..1]), [events[0]]);
    }

    #[test]
    fn padding_goes_and_log_probabilities_are_joined() {
        let padded =
            |number, delta, padding| text(number, 0, delta, &format!(r#","obfuscation":"{padding}""#));
        assert_eq!(merged(&[&padded(1, "a", "xyz"), &padded(2, "b", "")]), [text(2, 0, "ab", "")]);
        assert_eq!(merged(&[&padded(1, "a", "xyz")]), [padded(1, "a", "xyz")]);
        assert_eq!(merged(&[&text(1, 0, "a", ""), &padded(2, "b", "q")]), [text(2, 0, "ab", "")]);
        let listed = |number, delta, list| text(number, 0, delta, &format!(r#","logprobs":{list}"#));
        let lists =
            [("[]", "[]", "[]"), ("[1]", "[]", "[1]"), ("[]", "[ 2 ]", "[2]"), ("[1]", "[2,3]", "[1,2,3]")];
        for (first, second, expected) in lists {
            assert_eq!(
                merged(&[&listed(1, "a", first), &listed(2, "b", second)]),
                [listed(2, "ab", expected)]
            );
        }
    }

    #[test]
    fn all_others_stay_what_they_are() {
        let done = r#"{"type":"response.output_text.done","sequence_number":9,"delta":"x"}"#;
        let audio = r#"{"type":"response.audio.delta","sequence_number":9,"delta":"AA=="}"#;
        for (first, second) in [
            (text(1, 0, "a", ""), text(2, 1, "b", "")),
            (text(1, 0, "a", r#","x":1"#), text(2, 0, "b", r#","x":2"#)),
            (text(1, 0, "a", ""), text(2, 0, "b", r#","logprobs":[]"#)),
            (done.to_owned(), done.to_owned()),
            (audio.to_owned(), audio.to_owned()),
            ("[DONE]".to_owned(), "[DONE]".to_owned()),
            ("{\"a\":1}".to_owned(), "{\"a\":1}".to_owned()),
        ] {
            assert_eq!(merged(&[&first, &second]), [first.clone(), second.clone()]);
        }
    }

    #[test]
    fn chunks_merge_where_one_text_grows() {
        let chunk =
            |delta: &str| format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{delta}}}],"usage":null}}"#);
        let call = |text: &str| {
            chunk(&format!(r#"{{"tool_calls":[{{"index":1,"function":{{"arguments":"{text}"}}}}]}}"#))
        };
        assert_eq!(merged(&[&call("{\\\"a"), &call("\\\":1}")]), [call("{\\\"a\\\":1}")]);
        let say = |text: &str| chunk(&format!(r#"{{"content":"{text}"}}"#));
        assert_eq!(merged(&[&say("a"), &say("b"), &call("{"), &say("c")]), [say("ab"), call("{"), say("c")]);
        for odd in [r#"{"role":"assistant"}"#, r#"{"content":"a","refusal":"b"}"#, r#"{"content":null}"#] {
            assert_eq!(merged(&[&chunk(odd), &chunk(odd)]).len(), 2, "{odd}");
        }
        let two = r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#;
        assert_eq!(merged(&[two, two]).len(), 2);
    }

    #[test]
    fn frames_keep_what_is_not_merged() {
        let frame = |number: u32, delta: &str| {
            let payload = text(number, 0, delta, "");
            format!("event: response.output_text.delta\nid: {number}\ndata: {payload}\n\n")
        };
        let frames =
            [frame(1, "a"), frame(2, "b"), ": c\r\n\r\n".into(), frame(3, "c"), "data:  [DONE]\n\n".into()];
        let merged = coalesce_frames(frames.iter().map(String::as_bytes), &Limits::default()).unwrap();
        let merged: Vec<_> = merged.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect();
        assert_eq!(merged, [&frame(2, "ab"), &frames[2], &frames[3], &frames[4]]);
    }
}

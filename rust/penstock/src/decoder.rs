//! The decoder: bytes in any split in, frames out. The framing decides which bytes make one payload; what a
//! payload says is nobody's business here.

use std::ops::Range;

use crate::error::Error;
use crate::json::Cursor;
use crate::limits::Limits;
use crate::shape::Miss;
use crate::{ndjson, sse};

/// How payloads stand in the byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// WHATWG event stream (HTML standard, section 9.2).
    #[default]
    Sse,
    /// One JSON text a line, ended by LF or CR LF.
    Ndjson,
}

/// What becomes of an event that input ends in before its blank line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndOfInput {
    /// It is dropped, as the standard says.
    #[default]
    Spec,
    /// It is delivered, flagged, if its payload is a whole JSON object: some servers leave the last blank line out.
    Flush,
}

/// What becomes of bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Malformed {
    /// U+FFFD when they are decoded, as the standard says; payloads keep their bytes.
    #[default]
    Replace,
    /// An [`Error::Text`].
    Refuse,
}

/// How a [`Decoder`] reads.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// The framing.
    pub framing: Framing,
    /// What to do with an unfinished event.
    pub end_of_input: EndOfInput,
    /// What to do with bytes that are not UTF-8.
    pub malformed: Malformed,
    /// The payload that ends the stream, compared whole after trimming ASCII white space.
    pub sentinel: Option<Box<[u8]>>,
    /// Leaves out events with an empty payload, which some servers send to keep the connection alive.
    pub skip_empty: bool,
    /// The bounds.
    pub limits: Limits,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self {
            framing: Framing::Sse,
            end_of_input: EndOfInput::Spec,
            malformed: Malformed::Replace,
            sentinel: Some(Box::from(&b"[DONE]"[..])),
            skip_empty: false,
            limits: Limits::default(),
        }
    }
}

/// Bytes of a frame: still where they are in the chunk being fed, or carried over from earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A range of the chunk.
    Chunk(Range<usize>),
    /// Bytes that live until the sink returns.
    Carried(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// The bytes, given the chunk being fed.
    #[inline]
    #[must_use]
    pub fn bytes(&self, chunk: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Chunk(range) => chunk.get(range.clone()).unwrap_or_default(),
            Self::Carried(bytes) => bytes,
        }
    }
}

/// One event as the framing knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The payload.
    pub data: Piece<'a>,
    /// The `event` field, if the frame has one that is not empty.
    pub name: Option<Piece<'a>>,
    /// Whether the last event id may have changed since the frame before.
    pub id_changed: bool,
    /// The last event id (empty when none was set).
    pub id: &'a [u8],
    /// Delivered at the end of input although its blank line never came.
    pub flushed: bool,
}

/// Takes frames as they are found.
pub trait Sink {
    /// Takes one frame; `chunk` is the chunk being fed.
    fn frame(&mut self, chunk: &[u8], frame: Frame<'_>);

    /// Takes the event that starts at `at` of a text, if the sink recognises all of it at once; returns where it
    /// ends. The text is the chunk being fed or, if it is `carried`, one that lives until the sink returns: an event
    /// that a chunk ended in, and what came next. A sink may take none but events that would reach [`Sink::frame`]
    /// just the same: an `event` line or none, one `data` line that is a JSON object, a blank line, 2,048 bytes at
    /// most; and it may call none unfinished but what would be such an event if more came.
    #[inline]
    fn known(&mut self, text: &[u8], at: usize, carried: bool) -> Result<usize, Miss> {
        let _ = (text, at, carried);
        Err(Miss::Different)
    }
}

impl<F: FnMut(&[u8], Frame<'_>)> Sink for F {
    fn frame(&mut self, chunk: &[u8], frame: Frame<'_>) {
        self(chunk, frame);
    }
}

/// What a decoder has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes fed, those after the sentinel included.
    pub bytes: u64,
    /// Frames delivered.
    pub events: u64,
    /// Comment lines.
    pub comments: u64,
}

/// A push decoder for one stream: feed it chunks, then call [`Decoder::finish`]. After an error it stays failed
/// and repeats that error.
#[derive(Debug)]
pub struct Decoder {
    lines: Lines,
    failed: Option<Error>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one a stream, and the large one is the common one")]
enum Lines {
    Sse(sse::Lines),
    Ndjson(ndjson::Lines),
}

impl Decoder {
    /// A decoder at the start of its stream.
    #[must_use]
    pub fn new(options: DecoderOptions) -> Self {
        let lines = match options.framing {
            Framing::Sse => Lines::Sse(sse::Lines::new(options)),
            Framing::Ndjson => Lines::Ndjson(ndjson::Lines::new(options)),
        };
        Self { lines, failed: None }
    }

    /// Takes the next bytes and hands every frame they complete to `sink`.
    #[inline]
    pub fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
        self.guarded(|lines| match lines {
            Lines::Sse(lines) => lines.feed(chunk, sink),
            Lines::Ndjson(lines) => lines.feed(chunk, sink),
        })
    }

    /// Ends the input. What is unfinished is dropped or flushed, as the options say. May be called again.
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), Error> {
        self.guarded(|lines| match lines {
            Lines::Sse(lines) => lines.finish(sink),
            Lines::Ndjson(lines) => lines.finish(sink),
        })
    }

    #[inline]
    fn guarded(&mut self, step: impl FnOnce(&mut Lines) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        step(&mut self.lines).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The error that stopped this decoder.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    /// Whether the sentinel has been seen; everything after it is ignored.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.shared().done
    }

    /// What has been seen so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.shared().counts
    }

    /// Whether the decoder stands between two events with nothing carried over.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        match &self.lines {
            Lines::Sse(lines) => lines.is_idle(),
            Lines::Ndjson(lines) => lines.is_idle(),
        }
    }

    /// The `retry` field: milliseconds to wait before reconnecting.
    #[must_use]
    pub const fn retry(&self) -> Option<u64> {
        match &self.lines {
            Lines::Sse(lines) => lines.retry(),
            Lines::Ndjson(_) => None,
        }
    }

    /// The last event id as the standard defines it; empty when none was set.
    #[must_use]
    pub fn last_event_id(&self) -> &[u8] {
        match &self.lines {
            Lines::Sse(lines) => lines.last_event_id(),
            Lines::Ndjson(_) => &[],
        }
    }

    /// The input so far, if it starts like a JSON or HTML document and has not held a single event: most likely
    /// an error that the server sent in place of a stream.
    #[must_use]
    pub fn non_stream_body(&self) -> Option<&[u8]> {
        match &self.lines {
            Lines::Sse(lines) => lines.non_stream_body(),
            Lines::Ndjson(_) => None,
        }
    }

    const fn shared(&self) -> &Shared {
        match &self.lines {
            Lines::Sse(lines) => &lines.shared,
            Lines::Ndjson(lines) => &lines.shared,
        }
    }
}

/// What both framings keep.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: DecoderOptions,
    pub(crate) counts: Counts,
    pub(crate) done: bool,
}

impl Shared {
    pub(crate) fn new(options: DecoderOptions) -> Self {
        Self { options, counts: Counts::default(), done: false }
    }

    /// Delivers a payload unless it is the sentinel or empty and unwanted.
    #[inline]
    pub(crate) fn deliver(&mut self, chunk: &[u8], frame: Frame<'_>, sink: &mut impl Sink) {
        let payload = frame.data.bytes(chunk);
        if let Some(sentinel) = &self.options.sentinel
            && payload.len() < sentinel.len() + 64
            && payload.trim_ascii() == &**sentinel
        {
            self.done = true;
            return;
        }
        if self.options.skip_empty && payload.is_empty() {
            return;
        }
        self.counts.events += 1;
        sink.frame(chunk, frame);
    }

    /// Refuses bytes that are not UTF-8, if asked to; `start` is their place in the stream.
    #[inline]
    pub(crate) fn require_text(&self, bytes: &[u8], start: u64) -> Result<(), Error> {
        if self.options.malformed == Malformed::Refuse { require_utf8(bytes, start) } else { Ok(()) }
    }

    /// Whether an unfinished payload may be delivered at the end of input.
    pub(crate) fn may_flush(&self, payload: &[u8]) -> bool {
        self.options.end_of_input == EndOfInput::Flush
            && (is_object(payload) || self.options.sentinel.as_deref() == Some(payload.trim_ascii()))
    }
}

fn is_object(payload: &[u8]) -> bool {
    let mut cursor = Cursor::new(payload);
    payload.trim_ascii_start().first() == Some(&b'{')
        && cursor.skip_value(0, u64::MAX).is_ok()
        && cursor.end().is_ok()
}

/// Refuses bytes that are not UTF-8; `start` is their place in the stream.
fn require_utf8(bytes: &[u8], start: u64) -> Result<(), Error> {
    std::str::from_utf8(bytes).map(drop).map_err(|error| Error::Text {
        reason: crate::error::TextReason::InvalidUtf8,
        offset: start + error.valid_up_to() as u64,
    })
}

/// The byte order mark that a stream may start with, matched across chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// So many of its bytes have come.
    Matching(usize),
    /// Found or ruled out.
    Passed,
}

impl Mark {
    const BYTES: &'static [u8] = "\u{feff}".as_bytes();

    /// Passes what `chunk` holds of the mark: how many bytes of it to skip, and which withheld bytes turned out
    /// to be content that stands before it.
    pub(crate) fn pass(&mut self, chunk: &[u8]) -> (usize, &'static [u8]) {
        let Self::Matching(matched) = *self else { return (0, &[]) };
        let expected = Self::BYTES.get(matched..).unwrap_or_default();
        let common = chunk.iter().zip(expected).take_while(|(a, b)| a == b).count();
        if common == expected.len() {
            *self = Self::Passed;
            return (common, &[]);
        }
        if common == chunk.len() {
            *self = Self::Matching(matched + common);
            return (common, &[]);
        }
        *self = Self::Passed;
        (0, Self::BYTES.get(..matched).unwrap_or_default())
    }

    /// The bytes withheld when input ends.
    pub(crate) fn end(&mut self) -> &'static [u8] {
        let Self::Matching(matched) = std::mem::replace(self, Self::Passed) else { return &[] };
        Self::BYTES.get(..matched).unwrap_or_default()
    }
}

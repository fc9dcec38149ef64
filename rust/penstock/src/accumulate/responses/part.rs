//! One part of an item's `content` or `summary`.

use std::collections::BTreeMap;

use super::context::Context;
use super::oddity::Oddity;
use super::read::list as list_of;
use super::value::Value;
use crate::accumulate::text::Meter;
use crate::dialect::responses::{self as dialect, Channel};
use crate::error::Error;
use crate::json::{Edit, RawStr, merge, patch, push_comma, push_string};

/// A part as announced, and what has been streamed into it since.
#[derive(Debug)]
pub(super) struct Part {
    /// The object as it came, or as implied.
    raw: Vec<u8>,
    /// What its string is; `None` as long as nobody knows.
    channel: Option<Channel>,
    value: Value,
    annotations: BTreeMap<u64, Vec<u8>>,
    /// Elements of the list, separated by commas, as they came with the deltas.
    logprobs: Vec<u8>,
    /// The server has sent it whole.
    done: bool,
    /// It was announced again after text had come.
    repeated: bool,
}

/// The parts of one list by their index on the wire, which is a key and never an amount of memory.
pub(super) type Parts = BTreeMap<u64, Box<Part>>;

/// Levels around a part in the final response: response, output, item, content.
const DEPTH: u64 = 4;

impl Part {
    /// A part from its JSON text and its type's channel; the caller has charged it.
    pub(super) fn new(raw: &[u8], channel: Option<Channel>) -> Self {
        Self {
            raw: raw.to_vec(),
            channel,
            value: Value::default(),
            annotations: BTreeMap::new(),
            logprobs: Vec::new(),
            done: false,
            repeated: false,
        }
    }

    /// An announced part, checked and charged.
    pub(super) fn announced(
        (raw, view): (&[u8], &dialect::Part<'_>),
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<Self, Error> {
        cx.require_unique(view.repeated)?;
        cx.require_depth(raw, DEPTH)?;
        cx.bytes.take(raw.len(), at)?;
        Ok(Self::new(raw, Channel::of_part(view.kind)))
    }

    /// Bytes charged for it.
    pub(super) fn held(&self) -> usize {
        let annotations: usize = self.annotations.values().map(Vec::len).sum();
        self.raw.len() + self.value.text().len() + self.logprobs.len() + annotations
    }

    /// Entries charged for it.
    pub(super) fn entries(&self) -> usize {
        1 + self.annotations.len()
    }

    /// Whether strings of `channel` go here. A part of unknown type takes the first that comes.
    #[inline]
    fn takes(&mut self, channel: Channel) -> bool {
        *self.channel.get_or_insert(channel) == channel
    }

    /// Appends a delta and the log probabilities that came with it.
    #[inline]
    pub(super) fn append(
        &mut self,
        channel: Channel,
        piece: RawStr<'_>,
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.done {
            return cx.note(Oddity::AfterDone);
        }
        if !self.takes(channel) {
            return cx.note(Oddity::TypeMismatch);
        }
        self.value.append(piece, at, cx)
    }

    /// Appends the elements of a delta's `logprobs`.
    pub(super) fn append_logprobs(
        &mut self,
        list: &[u8],
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        let Some(inside) = list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]")) else {
            return Ok(());
        };
        let inside = inside.trim_ascii();
        if inside.is_empty() || self.done {
            return Ok(());
        }
        cx.require_depth(list, DEPTH + 1)?;
        let comma = usize::from(!self.logprobs.is_empty());
        cx.bytes.take(inside.len() + comma, at)?;
        if comma > 0 {
            self.logprobs.push(b',');
        }
        self.logprobs.extend_from_slice(inside);
        Ok(())
    }

    /// Takes the whole string; log probabilities that come with it replace those of the deltas, which are weaker.
    pub(super) fn settle(
        &mut self,
        channel: Channel,
        whole: Option<RawStr<'_>>,
        at: usize,
        logprobs: Option<&[u8]>,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.done {
            return cx.note(Oddity::AfterDone);
        }
        if !self.takes(channel) {
            return cx.note(Oddity::TypeMismatch);
        }
        self.value.settle(whole, at, cx)?;
        let Some(logprobs) = logprobs.filter(|list| !dialect::is_empty(Some(list))) else { return Ok(()) };
        let previous = std::mem::take(&mut self.logprobs);
        cx.bytes.give(previous.len());
        self.append_logprobs(logprobs, at, cx)
    }

    /// Puts an annotation in its place.
    pub(super) fn annotate(
        &mut self,
        place: u64,
        annotation: &[u8],
        at: usize,
        entries: &mut Meter,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.done {
            return cx.note(Oddity::AfterDone);
        }
        cx.require_depth(annotation, DEPTH + 2)?;
        if self.annotations.is_empty() {
            self.import_annotations(entries, cx)?;
        }
        let previous = self.annotations.get(&place).map(Vec::len);
        entries.take(usize::from(previous.is_none()), at)?;
        cx.bytes.replace(previous.unwrap_or_default(), annotation.len(), at)?;
        self.annotations.insert(place, annotation.to_vec());
        Ok(())
    }

    /// Reads the annotations of the announced part into the list, so that new ones come beside them.
    fn import_annotations(&mut self, count: &mut Meter, cx: &mut Context<'_>) -> Result<(), Error> {
        let found = list_of(dialect::Part::reread(&self.raw)?.annotations)?;
        count.take(found.len(), 0)?;
        cx.bytes.take(found.iter().map(|annotation| annotation.len()).sum(), 0)?;
        for (place, annotation) in found.into_iter().enumerate() {
            self.annotations.insert(place as u64, annotation.to_vec());
        }
        Ok(())
    }

    /// Takes a second announcement: members that are missing here are added, what was streamed stays. While
    /// nothing has been, the announcement counts.
    pub(super) fn announce_again(
        &mut self,
        (raw, view): (&[u8], &dialect::Part<'_>),
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.done {
            return cx.note(Oddity::AfterDone);
        }
        cx.require_unique(view.repeated)?;
        let channel = Channel::of_part(view.kind);
        if self.channel.is_some() && channel != self.channel {
            return cx.note(Oddity::TypeMismatch);
        }
        cx.note(Oddity::PartReannounced)?;
        cx.require_depth(raw, DEPTH)?;
        let mut merged = Vec::new();
        if !self.value.is_touched() {
            merged.extend_from_slice(raw);
        } else if self.repeated {
            // Merging costs the size of both; it is done once.
            return Ok(());
        } else {
            merge(&self.raw, raw, &mut merged)?;
            self.repeated = true;
        }
        cx.bytes.replace(self.raw.len(), merged.len(), at)?;
        self.raw = merged;
        self.channel = channel;
        Ok(())
    }

    /// Takes the finished part in place of this one. Streamed text that it lacks stays.
    pub(super) fn finish(
        &mut self,
        (raw, view): (&[u8], &dialect::Part<'_>),
        at: usize,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        cx.require_unique(view.repeated)?;
        cx.require_depth(raw, DEPTH)?;
        let keep = self.lacks(view);
        if keep {
            cx.note(Oddity::EmptyDone)?;
        }
        let value = if keep { self.value.text().len() } else { 0 };
        cx.bytes.replace(self.held(), raw.len() + value, at)?;
        let value = std::mem::take(&mut self.value);
        *self = Self::new(raw, Channel::of_part(view.kind));
        self.done = true;
        if keep {
            self.value = value;
        }
        Ok(())
    }

    /// Whether text was streamed here that the finished part `view` does not have, though it is of the same type.
    pub(super) fn lacks(&self, view: &dialect::Part<'_>) -> bool {
        !self.value.text().is_empty()
            && self.channel.is_some_and(|channel| {
                Channel::of_part(view.kind) == Some(channel) && dialect::is_empty(view.string(channel))
            })
    }

    /// The server has sent this part whole.
    pub(super) const fn close(&mut self) {
        self.done = true;
    }

    /// Whether the server has sent this part whole.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// The string of this part as far as it came, unless the server has said that it is whole.
    pub(super) fn open_string(&self) -> Option<(Channel, &[u8])> {
        self.channel.filter(|_| !self.value.is_ended()).map(|channel| (channel, self.value.text().as_bytes()))
    }

    /// Takes over what was streamed into `other`.
    pub(super) fn take_text_of(&mut self, other: &mut Self) {
        self.value = std::mem::take(&mut other.value);
    }

    /// Whether anything was streamed here.
    pub(super) fn has_text(&self) -> bool {
        !self.value.text().is_empty()
    }

    /// Appends the part as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let text = |out: &mut Vec<u8>| {
            push_string(self.value.text().as_bytes(), out);
            Ok(())
        };
        let annotations = |out: &mut Vec<u8>| {
            out.push(b'[');
            for annotation in self.annotations.values() {
                push_comma(out);
                out.extend_from_slice(annotation);
            }
            out.push(b']');
            Ok(())
        };
        let logprobs = |out: &mut Vec<u8>| {
            self.write_logprobs(out);
            Ok(())
        };
        let mut edits = Vec::with_capacity(3);
        if let (true, Some(channel)) = (self.value.is_touched(), self.channel) {
            edits.push(Edit::new(channel.field().as_str(), &text));
        }
        if !self.annotations.is_empty() {
            edits.push(Edit::new("annotations", &annotations));
        }
        if !self.logprobs.is_empty() {
            edits.push(Edit::new("logprobs", &logprobs));
        }
        if edits.is_empty() {
            out.extend_from_slice(&self.raw);
            return Ok(());
        }
        patch(&self.raw, &edits, out)
    }

    /// Appends the log probabilities that came, as a list.
    pub(super) fn write_logprobs(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        out.extend_from_slice(&self.logprobs);
        out.push(b']');
    }

    /// Appends the characters of an `output_text` part.
    pub(super) fn push_output_text(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let view = dialect::Part::reread(&self.raw)?;
        if Channel::of_part(view.kind) != Some(Channel::Text) {
            return Ok(());
        }
        if self.value.is_touched() {
            out.extend_from_slice(self.value.text().as_bytes());
        } else if let Some(text) = dialect::decoded(view.text) {
            out.extend_from_slice(&text);
        }
        Ok(())
    }
}

/// The parts of the list `list`, charged; those of an announced item that already had some.
pub(super) fn import(
    list: Option<&[u8]>,
    at: usize,
    entries: &mut Meter,
    bytes: &mut Meter,
) -> Result<Parts, Error> {
    let mut parts = BTreeMap::new();
    let found = list_of(list)?;
    // Lists of anything but objects stay what they are.
    if found.iter().any(|part| !part.starts_with(b"{")) {
        return Ok(parts);
    }
    entries.take(found.len(), at)?;
    bytes.take(found.iter().map(|part| part.len()).sum(), at)?;
    for (place, part) in found.into_iter().enumerate() {
        parts.insert(
            place as u64,
            Box::new(Part::new(part, Channel::of_part(dialect::Part::reread(part)?.kind))),
        );
    }
    Ok(parts)
}

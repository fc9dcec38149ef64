//! What streams into items: parts, text, arguments, annotations.

use super::checks::{ITEM_LEVELS, breach};
use super::complete::complete_logprobs;
use super::object::{accept, accept_object};
use super::string::{Piece, own_channel, string_events};
use super::{Emitter, PartKind};
use crate::dialect::responses::{Channel, Kind, Step, step};
use crate::error::Error;
use crate::event::EventType;
use crate::json::elements;
use crate::lifecycle::{Move, Phase};
use crate::rule::Rule;

impl Emitter {
    /// Opens a part of `item`, ending the one that is open, and returns its index in the content or summary.
    pub fn open_part(&mut self, item: usize, kind: PartKind) -> Result<usize, Error> {
        let [added, ..] = kind.events();
        let list = kind.list();
        let open = self.items.get(item).and_then(|entry| entry.part.as_ref());
        let after_open = u64::from(open.is_some_and(|part| part.kind.list() == list));
        let index = self.items.get(item).map_or(0, |entry| entry.parts(list)) + after_open;
        let channel = Some(kind.channel());
        let mv = Move { channel, ..Move::item(added, Step::PartAdded(list), item as u64, index) };
        self.check(&mv)?;
        self.charge(0, 1)?;
        self.close_part(item)?;
        self.life.apply(&mv);
        if let Some(entry) = self.items.get_mut(item) {
            entry.open_part(kind, &mut self.writer);
        }
        Ok(index as usize)
    }

    /// Ends the open part of `item`, if there is one.
    pub fn close_part(&mut self, item: usize) -> Result<(), Error> {
        let Some(entry) = self.items.get_mut(item) else {
            return Err(breach(Rule::ItemNotAdded, EventType::ContentPartDone));
        };
        if let Some((kind, part)) = entry.close_part(&mut self.writer) {
            let [.., whole, done] = kind.events();
            let channel = Some(kind.channel());
            let at = item as u64;
            self.life.apply(&Move::item(whole, Step::Whole(kind.channel()), at, part));
            self.life.apply(&Move { channel, ..Move::item(done, Step::PartDone(kind.list()), at, part) });
        }
        Ok(())
    }

    /// Adds text to a message: to its open text part, or to one that is opened for it. As with all pieces of
    /// text, `piece` is WTF-8 (other bytes become U+FFFD), and an empty one writes nothing.
    #[inline]
    pub fn text(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_part(item, PartKind::Text, piece.into(), b"")
    }

    /// As [`text`](Self::text), with the log probabilities of its tokens, a JSON list. Bytes and alternatives that a
    /// token lacks are empty; one without a probability is left out.
    pub fn text_with_logprobs(&mut self, item: usize, piece: &[u8], logprobs: &[u8]) -> Result<(), Error> {
        let logprobs = accept(logprobs, ITEM_LEVELS + 2)?;
        elements(&logprobs, |_| {})?;
        let logprobs = complete_logprobs(&logprobs, true);
        let inside = logprobs.get(1..logprobs.len() - 1).unwrap_or_default();
        self.push_part(item, PartKind::Text, piece.into(), inside.trim_ascii())
    }

    /// Adds to a message's refusal.
    #[inline]
    pub fn refusal(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_part(item, PartKind::Refusal, piece.into(), b"")
    }

    /// Adds raw reasoning to a reasoning item.
    #[inline]
    pub fn reasoning_text(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_part(item, PartKind::ReasoningText, piece.into(), b"")
    }

    /// Adds to the summary of a reasoning item. Parts of a summary are begun with [`open_part`](Self::open_part).
    #[inline]
    pub fn reasoning_summary(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_part(item, PartKind::SummaryText, piece.into(), b"")
    }

    /// Adds to the arguments of a function or MCP call.
    #[inline]
    pub fn arguments(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        let mcp = self.items.get(item).is_some_and(|item| item.kind == Kind::McpCall);
        let channel = if mcp { Channel::McpArguments } else { Channel::FunctionArguments };
        self.push_string(item, channel, piece.into())
    }

    /// Adds to the input of a custom tool call.
    #[inline]
    pub fn custom_input(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_string(item, Channel::CustomInput, piece.into())
    }

    /// Adds to the code of a code interpreter call.
    #[inline]
    pub fn code(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_string(item, Channel::Code, piece.into())
    }

    /// Adds to the diff of a patch.
    pub fn diff(&mut self, item: usize, piece: &[u8]) -> Result<(), Error> {
        self.push_string(item, Channel::Diff, piece.into())
    }

    /// Adds an annotation, a JSON object, to the open text part of a message.
    pub fn annotation(&mut self, item: usize, annotation: &[u8]) -> Result<(), Error> {
        let event = EventType::OutputTextAnnotationAdded;
        let annotation = accept_object(annotation, ITEM_LEVELS + 3)?;
        let part =
            self.items.get(item).and_then(|item| item.part.as_ref()).map_or(u64::MAX, |part| part.index);
        let mv = Move::item(event, Step::Annotation, item as u64, part);
        self.check(&mv)?;
        self.charge(annotation.len(), 1)?;
        self.life.apply(&mv);
        if let Some(part) = self.items.get_mut(item).and_then(|item| item.part.as_mut()) {
            part.annotate(&annotation, &mut self.writer);
        }
        Ok(())
    }

    /// Adds sound to the response: `AudioDelta` a piece of it, base64, `AudioTranscriptDelta` one of its transcript,
    /// and `AudioDone` and `AudioTranscriptDone`, for which `piece` is empty, end them.
    pub fn audio(&mut self, event: EventType, piece: &[u8]) -> Result<(), Error> {
        use EventType::{AudioDelta, AudioDone, AudioTranscriptDelta, AudioTranscriptDone};
        let has_delta = match event {
            AudioDelta | AudioTranscriptDelta => true,
            AudioDone | AudioTranscriptDone => false,
            _ => return Err(breach(Rule::WrongItem, event)),
        };
        if self.life.phase() != Phase::Running {
            return Err(breach(Rule::NotInProgress, event));
        }
        self.check(&Move::response(event, step(event)))?;
        let out = self.writer.begin(event);
        if has_delta {
            out.extend_from_slice(b",\"delta\":");
            crate::json::push_string(piece, out);
        }
        self.writer.end();
        Ok(())
    }

    /// Adds a piece to a part of this kind: to the open one, or to one that is opened for it.
    #[inline]
    pub(crate) fn push_part(
        &mut self,
        item: usize,
        kind: PartKind,
        piece: Piece<'_>,
        logprobs: &[u8],
    ) -> Result<(), Error> {
        let open = self.items.get(item).and_then(|item| item.part.as_ref()).filter(|part| part.kind == kind);
        let Some(part) = open.map(|part| part.index) else {
            return self.push_new_part(item, kind, piece, logprobs);
        };
        let [_, delta, ..] = kind.events();
        let mv = Move::item(delta, Step::Delta(kind.channel()), item as u64, part);
        self.check(&mv)?;
        if piece.text.is_empty() && logprobs.is_empty() {
            return Ok(());
        }
        self.bytes.take(piece.text.len() + logprobs.len(), 0)?;
        self.life.apply(&mv);
        if let Some(part) = self.items.get_mut(item).and_then(|item| item.part.as_mut()) {
            part.push(piece, logprobs, &mut self.writer);
        }
        Ok(())
    }

    /// Opens the part that a piece of text is for.
    #[cold]
    fn push_new_part(
        &mut self,
        item: usize,
        kind: PartKind,
        piece: Piece<'_>,
        logprobs: &[u8],
    ) -> Result<(), Error> {
        if piece.text.is_empty() && logprobs.is_empty() {
            let [added, ..] = kind.events();
            let place = self
                .items
                .get(item)
                .map_or(0, |item| item.parts(kind.list()) + u64::from(item.part.is_some()));
            let channel = Some(kind.channel());
            let added = Move::item(added, Step::PartAdded(kind.list()), item as u64, place);
            return match self.life.check(&Move { channel, ..added }) {
                // Where the part would stand is of no interest here.
                Ok(()) | Err(Rule::PartOrder) => Ok(()),
                Err(rule) => Err(breach(rule, added.event)),
            };
        }
        let size = piece.text.len() + logprobs.len();
        self.bytes.take(size, 0)?;
        let opened = self.open_part(item, kind);
        self.bytes.give(size);
        opened?;
        self.push_part(item, kind, piece, logprobs)
    }

    /// Adds a piece to the string that an item has of its own.
    #[inline]
    pub(crate) fn push_string(
        &mut self,
        item: usize,
        channel: Channel,
        piece: Piece<'_>,
    ) -> Result<(), Error> {
        let Some([delta, _]) = string_events(channel) else { return Ok(()) };
        let mv = Move::item(delta, Step::Delta(channel), item as u64, 0);
        self.check(&mv)?;
        let Some(entry) = self.items.get_mut(item) else { return Ok(()) };
        if own_channel(entry.kind) != Some(channel) {
            return Err(breach(Rule::WrongItem, delta));
        }
        if piece.text.is_empty() {
            return Ok(());
        }
        self.bytes.take(piece.text.len(), 0)?;
        self.life.apply(&mv);
        if let Some(string) = &mut entry.string {
            string.push(piece, b"", &mut self.writer);
        }
        Ok(())
    }
}

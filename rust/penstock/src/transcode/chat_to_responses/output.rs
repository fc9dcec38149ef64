//! The items of the response: which are open, and which end before another begins.

use std::collections::BTreeSet;

use crate::dialect::chat::{elements, is_blank};
use crate::emit::{Emitter, ItemStatus, NewItem, PartKind};
use crate::error::Error;
use crate::event::{EventType, string};
use crate::json::push_string;
use crate::transcode::citation::{characters, push_citation};
use crate::transcode::rules;
use crate::transcode::usage::member;

use super::accounts::{Accounts, clean};
use super::calls::Calls;
use super::reasoning::Reasoning;
use super::{ChatToResponsesOptions, Compat, Messages};

/// What output came last; it is what a cut cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Message,
    Reasoning,
    Calls,
}

/// The output of the response as it is written.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) emitter: Emitter,
    message: Option<usize>,
    /// Whether the open part of the message is text, where annotations can stand.
    text_open: bool,
    reasoning: Option<Reasoning>,
    pub(super) calls: Calls,
    last: Last,
    /// The list of annotations that came last, as it came.
    cited: Box<[u8]>,
    /// Annotations that came, each as it came.
    seen: BTreeSet<Box<[u8]>>,
    /// Citations that wait for text to stand at, JSON objects.
    waiting: Vec<Vec<u8>>,
    /// Characters of the text parts that have ended: places count from the beginning of all text in a completion,
    /// and from that of their part in a response.
    told: i64,
    audio: bool,
    transcript: bool,
    options: ChatToResponsesOptions,
}

impl Output {
    pub(super) fn new(emitter: Emitter, options: ChatToResponsesOptions) -> Self {
        Self {
            emitter,
            message: None,
            text_open: false,
            reasoning: None,
            calls: Calls::default(),
            last: Last::Nothing,
            cited: Box::default(),
            seen: BTreeSet::new(),
            waiting: Vec::new(),
            told: 0,
            audio: false,
            transcript: false,
            options,
        }
    }

    const fn is_for_agents(&self) -> bool {
        matches!(self.options.compat, Some(Compat::OpenAiAgents))
    }

    const fn has_one_message(&self) -> bool {
        self.is_for_agents() || matches!(self.options.messages, Messages::One)
    }

    const fn empty_arguments(&self) -> &'static [u8] {
        if self.options.empty_arguments_as_object { b"{}" } else { b"" }
    }

    /// Whether nothing that a user sees has come.
    pub(super) fn is_silent(&self) -> bool {
        self.message.is_none() && self.calls.is_empty()
    }

    /// The item that text is being added to.
    pub(super) fn open_message(&self) -> Option<usize> {
        self.message
    }

    /// The item that reasoning is being added to.
    pub(super) fn open_reasoning(&self) -> Option<usize> {
        self.reasoning.as_ref().filter(|reasoning| !reasoning.may_pause).map(|reasoning| reasoning.item)
    }

    /// Takes whether the chunk `has_more` than reasoning, which ends the part of the summary if it `told` none.
    pub(super) fn pause_reasoning(&mut self, has_more: bool, told: bool) -> Result<(), Error> {
        let Some(reasoning) = &mut self.reasoning else { return Ok(()) };
        reasoning.may_pause = has_more;
        if has_more && !told { reasoning.close_summary(&mut self.emitter) } else { Ok(()) }
    }

    /// Adds text, with the inside of a list of log probabilities.
    pub(super) fn text(
        &mut self,
        piece: &[u8],
        logprobs: &[u8],
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        if piece.is_empty() && logprobs.is_empty() {
            return Ok(());
        }
        let item = self.begin_message()?;
        accounts.added = true;
        self.text_open = true;
        if logprobs.is_empty() {
            self.emitter.text(item, piece)?;
        } else {
            self.emitter.text_with_logprobs(item, piece, &clean(logprobs))?;
        }
        self.annotate(accounts)
    }

    /// Adds to the refusal.
    pub(super) fn refusal(&mut self, piece: &[u8], accounts: &mut Accounts) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        let item = self.begin_message()?;
        accounts.added = true;
        self.end_text();
        self.emitter.refusal(item, piece)
    }

    /// Says that the answer was withheld, where nothing else was said. As openai-agents does it, reasoning ends behind
    /// that.
    pub(super) fn withhold(&mut self, words: &[u8]) -> Result<(), Error> {
        self.last = Last::Message;
        let item = self.emitter.open_item(NewItem::message())?;
        self.message = Some(item);
        self.emitter.refusal(item, words)
    }

    /// Adds reasoning text.
    pub(super) fn reason(
        &mut self,
        kind: PartKind,
        piece: &[u8],
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        self.begin_reasoning()?;
        match &mut self.reasoning {
            Some(reasoning) => reasoning.push(kind, piece, &mut self.emitter, accounts),
            None => Ok(()),
        }
    }

    /// Adds thinking blocks; see [`Reasoning::add_blocks`].
    pub(super) fn think(
        &mut self,
        list: &[u8],
        kind: PartKind,
        elsewhere: bool,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        self.begin_reasoning()?;
        match &mut self.reasoning {
            Some(reasoning) => reasoning.add_blocks(list, kind, elsewhere, &mut self.emitter, accounts),
            None => Ok(()),
        }
    }

    /// Keeps `reasoning_details`.
    pub(super) fn detail(&mut self, list: &[u8], accounts: &mut Accounts) -> Result<(), Error> {
        if elements(list).next().is_none() {
            return Ok(());
        }
        self.begin_reasoning()?;
        self.reasoning.as_mut().map_or(Ok(()), |reasoning| reasoning.add_details(list, accounts))
    }

    /// Adds tool calls: a list of fragments, or one legacy function call.
    pub(super) fn call(&mut self, value: &[u8], accounts: &mut Accounts) -> Result<(), Error> {
        match value.first() {
            Some(b'[') => self.calls.extend(value, &mut self.emitter, accounts)?,
            Some(b'{') => self.calls.add_legacy(value, &mut self.emitter, accounts)?,
            _ => return accounts.diagnostics.breach(rules::BAD_VALUE),
        }
        if self.calls.is_empty() {
            return Ok(());
        }
        self.last = Last::Calls;
        if self.calls.can_announce() {
            self.end_reasoning(ItemStatus::Completed)?;
            if !self.has_one_message() {
                self.end_message(ItemStatus::Completed)?;
            }
            self.calls.announce(&mut self.emitter)?;
        }
        Ok(())
    }

    /// Takes a list of annotations, or of citations, which are no more than an address. Each counts once.
    pub(super) fn cite(&mut self, list: &[u8], accounts: &mut Accounts) -> Result<(), Error> {
        // Most who send it with one chunk send it with all.
        if *list == *self.cited {
            return Ok(());
        }
        accounts.hold(list.len())?;
        self.cited = list.into();
        for element in elements(list) {
            if is_blank(element) || self.seen.contains(element) {
                continue;
            }
            accounts.hold(2 * element.len())?;
            self.seen.insert(element.into());
            match citation(&clean(element)) {
                Some(citation) => self.waiting.push(citation),
                None => accounts.diagnostics.note(rules::ANNOTATION_DROPPED),
            }
        }
        self.annotate(accounts)
    }

    /// Writes the annotations that wait, if there is text to stand at.
    fn annotate(&mut self, accounts: &mut Accounts) -> Result<(), Error> {
        if self.waiting.is_empty() || !self.text_open {
            return Ok(());
        }
        let Some(item) = self.message else { return Ok(()) };
        accounts.added = true;
        self.waiting.drain(..).try_for_each(|citation| {
            let mut annotation = br#"{"type":"url_citation""#.to_vec();
            push_citation(&citation, -self.told, &mut annotation);
            annotation.push(b'}');
            self.emitter.annotation(item, &annotation)
        })
    }

    /// Adds a piece of sound or of its transcript, JSON strings.
    pub(super) fn sound(
        &mut self,
        data: &[u8],
        transcript: &[u8],
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        for (event, piece, open) in [
            (EventType::AudioDelta, data, &mut self.audio),
            (EventType::AudioTranscriptDelta, transcript, &mut self.transcript),
        ] {
            if let Some(piece) = string(piece).filter(|piece| !piece.raw.is_empty()) {
                *open = true;
                accounts.added = true;
                self.emitter.audio(event, &piece.decoded())?;
            }
        }
        Ok(())
    }

    /// The message text goes to; opens it where there is none.
    fn begin_message(&mut self) -> Result<usize, Error> {
        self.last = Last::Message;
        self.end_reasoning(ItemStatus::Completed)?;
        if let Some(message) = self.message {
            return Ok(message);
        }
        if !self.has_one_message() {
            self.settle_calls()?;
        }
        let item = self.emitter.open_item(NewItem::message())?;
        self.message = Some(item);
        Ok(item)
    }

    fn begin_reasoning(&mut self) -> Result<(), Error> {
        self.last = Last::Reasoning;
        if self.reasoning.is_none() {
            if !self.has_one_message() {
                self.end_message(ItemStatus::Completed)?;
                self.settle_calls()?;
            }
            let item = self.emitter.open_item(NewItem::reasoning())?;
            self.reasoning = Some(Reasoning::new(item));
        }
        Ok(())
    }

    fn settle_calls(&mut self) -> Result<(), Error> {
        let empty = self.empty_arguments();
        self.calls.settle(empty, &mut self.emitter)
    }

    fn end_reasoning(&mut self, status: ItemStatus) -> Result<(), Error> {
        if self.is_for_agents() && status == ItemStatus::Completed {
            // The item stays open to the end, and raw reasoning with it; a part of the summary does not.
            let reasoning = self.reasoning.as_ref();
            return reasoning.map_or(Ok(()), |reasoning| reasoning.close_summary(&mut self.emitter));
        }
        self.reasoning.take().map_or(Ok(()), |reasoning| reasoning.close(status, &mut self.emitter))
    }

    /// The open part of the message ends, or the message does.
    fn end_text(&mut self) {
        if std::mem::take(&mut self.text_open)
            && let Some(text) = self.message.and_then(|item| self.emitter.part_string(item))
        {
            self.told = self.told.saturating_add(characters(text));
        }
    }

    fn end_message(&mut self, status: ItemStatus) -> Result<(), Error> {
        self.end_text();
        self.message.take().map_or(Ok(()), |item| self.emitter.close_item(item, status, b""))
    }

    /// The message ended: ends all items. If it was `cut` short, the output that came last is incomplete.
    pub(super) fn close(&mut self, cut: bool, accounts: &mut Accounts) -> Result<(), Error> {
        let status = |is_last| if cut && is_last { ItemStatus::Incomplete } else { ItemStatus::Completed };
        for _ in self.waiting.drain(..) {
            accounts.diagnostics.note(rules::ANNOTATION_DROPPED);
        }
        for (event, open) in
            [(EventType::AudioDone, self.audio), (EventType::AudioTranscriptDone, self.transcript)]
        {
            if open {
                self.emitter.audio(event, b"")?;
            }
        }
        if self.calls.has_waiting() {
            self.end_reasoning(ItemStatus::Completed)?;
            if !self.has_one_message() {
                self.end_message(ItemStatus::Completed)?;
            }
            self.calls.announce_rest(&mut self.emitter, accounts)?;
        }
        let message_status = status(self.last == Last::Message);
        if let Some(reasoning) = self.reasoning.take() {
            reasoning.close(status(self.last == Last::Reasoning), &mut self.emitter)?;
        }
        if self.is_for_agents() {
            // The part before the calls, the item behind them.
            if let Some(message) = self.message {
                self.emitter.close_part(message)?;
            }
        } else {
            self.end_message_last(message_status, false)?;
        }
        let is_last = self.last == Last::Calls;
        let empty = self.empty_arguments();
        self.calls.close(cut, is_last, empty, &mut self.emitter)?;
        self.end_message_last(message_status, true)
    }

    /// Ends the message now or, if it is to end incomplete, at the end.
    fn end_message_last(&mut self, status: ItemStatus, at_end: bool) -> Result<(), Error> {
        if at_end || status == ItemStatus::Completed { self.end_message(status) } else { Ok(()) }
    }
}

/// The citation that `element` stands for: an address, or an annotation of a completion.
fn citation(element: &[u8]) -> Option<Vec<u8>> {
    if let Some(url) = string(element) {
        let mut out = br#"{"url":"#.to_vec();
        push_string(&url.decoded(), &mut out);
        out.push(b'}');
        return Some(out);
    }
    if let Some(nested) = member(element, "url_citation").filter(|nested| nested.starts_with(b"{")) {
        return Some(nested.to_vec());
    }
    // Some servers write it as Responses does.
    string(member(element, "type")?).filter(|kind| kind.raw == b"url_citation")?;
    Some(element.to_vec())
}

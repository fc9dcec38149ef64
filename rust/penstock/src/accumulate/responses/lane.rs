//! One response at a time, from its first event to its end.

use std::sync::Arc;

use super::context::Context;
use super::items::Items;
use super::oddity::Oddity;
use super::outcome::{Ending, FinalResponse, write_error, write_response};
use super::side::Side;
use crate::accumulate::diagnostics::Diagnostics;
use crate::accumulate::text::Meter;
use crate::dialect::responses::{Kind, Response, ResponseTerminal, Step, decoded, is_empty};
use crate::error::Error;
use crate::event::Field;
use crate::limits::Limits;

/// Where a lane stands. Whatever ends a response, only `response.created` begins the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No event has come.
    Idle,
    /// A response is being built.
    Open,
    /// The last response has ended.
    Ended,
}

/// The responses of one `stream_id`, one after the other.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// The last response object that came, as JSON; empty if none did.
    pub(super) base: Vec<u8>,
    /// Its `id`, decoded.
    id: Vec<u8>,
    pub(super) items: Items,
    /// The error that an `error` event told of, as JSON; empty if none did.
    pub(super) error: Vec<u8>,
    pub(super) side: Side,
    pub(super) last: Option<Arc<FinalResponse>>,
    /// The input ended before the response did.
    pub(super) truncated: bool,
    pub(super) sequence_number: Option<u64>,
    /// How many responses have begun.
    pub(super) serial: u64,
}

impl Lane {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            phase: Phase::Idle,
            base: Vec::new(),
            id: Vec::new(),
            items: Items::new(limits),
            error: Vec::new(),
            side: Side::default(),
            last: None,
            truncated: false,
            sequence_number: None,
            serial: 0,
        }
    }

    /// Takes one event; gives the response that it ended.
    #[inline]
    pub(super) fn apply(
        &mut self,
        step: Step,
        cx: &mut Context<'_>,
    ) -> Result<Option<Arc<FinalResponse>>, Error> {
        self.truncated = false;
        if self.phase != Phase::Open && !self.admit(step, cx)? {
            return Ok(None);
        }
        if let Step::Delta(channel) = step {
            return self.items.append(channel, cx).map(|()| None);
        }
        self.apply_rare(step, cx)
    }

    /// Whether a response is being built.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether an event counts although no response is open.
    #[cold]
    fn admit(&mut self, step: Step, cx: &mut Context<'_>) -> Result<bool, Error> {
        match (self.phase, step) {
            (_, Step::Aside) => return Ok(false),
            (_, Step::Created) => {}
            (Phase::Ended, _) => {
                cx.note(Oddity::AfterTerminal)?;
                return Ok(false);
            }
            (Phase::Idle, Step::Error) => self.phase = Phase::Open,
            (Phase::Idle | Phase::Open, _) => {
                cx.note(Oddity::BeforeCreated)?;
                self.phase = Phase::Open;
            }
        }
        Ok(true)
    }

    fn apply_rare(&mut self, step: Step, cx: &mut Context<'_>) -> Result<Option<Arc<FinalResponse>>, Error> {
        match step {
            Step::Created => return self.create(cx),
            Step::Progress => self.progress(cx)?,
            Step::Terminal(terminal) => return self.end(terminal, cx).map(Some),
            Step::Error => self.set_error(cx)?,
            Step::PartialImage => {
                let index = self.items.route(Kind::ImageGenerationCall, cx)?;
                self.side.set_image(index.unwrap_or_default(), &mut self.items.entries, cx)?;
            }
            Step::AudioDelta => self.side.append_audio(cx)?,
            Step::TranscriptDelta => self.side.append_transcript(cx)?,
            Step::Aside => {}
            _ => self.items.apply(step, cx)?,
        }
        Ok(None)
    }

    /// `response.created`: everything begins anew.
    fn create(&mut self, cx: &mut Context<'_>) -> Result<Option<Arc<FinalResponse>>, Error> {
        let response = cx.object(Field::Response)?.unwrap_or_default();
        let view = Self::read_response(response, cx)?;
        if self.phase == Phase::Open && self.error.is_empty() && !self.is_blank() {
            cx.note(Oddity::Unterminated)?;
        }
        // An error that no `response.failed` followed ended the response before this one.
        let mut ended = None;
        if self.phase == Phase::Open && !self.error.is_empty() {
            ended = Some(self.fail(cx.event.at(Field::Response), cx.bytes)?);
        }
        self.clear(cx.bytes);
        self.phase = Phase::Open;
        self.set_base(response, &view, cx)?;
        self.items.seed(view.output, cx)?;
        Ok(ended)
    }

    /// Whether nothing has been said of the open response.
    fn is_blank(&self) -> bool {
        self.base.is_empty() && self.items.slots().is_empty()
    }

    /// `response.queued` and `response.in_progress`: the response object again.
    fn progress(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(response) = cx.object(Field::Response)? else { return Ok(()) };
        // Most servers repeat the object they have just sent.
        if *response == *self.base {
            return Ok(());
        }
        let view = Self::read_response(response, cx)?;
        self.require_identity(&view, cx)?;
        self.set_base(response, &view, cx)?;
        self.items.seed(view.output, cx)
    }

    fn read_response<'a>(response: &'a [u8], cx: &mut Context<'_>) -> Result<Response<'a>, Error> {
        if response.is_empty() {
            return Ok(Response::default());
        }
        let view = Response::reread(response)?;
        cx.require_unique(view.repeated)?;
        Ok(view)
    }

    /// Counts a response id other than the one known.
    fn require_identity(&self, view: &Response<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.is_other(decoded(view.id).as_deref()) { cx.note(Oddity::IdentityChanged) } else { Ok(()) }
    }

    /// Whether `id` is the id of another response than the one known.
    pub(super) fn is_other(&self, id: Option<&[u8]>) -> bool {
        id.is_some_and(|id| !self.id.is_empty() && *id != *self.id)
    }

    fn set_base(&mut self, response: &[u8], view: &Response<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        cx.bytes.replace(self.base.len(), response.len(), cx.event.at(Field::Response))?;
        self.base.clear();
        self.base.extend_from_slice(response);
        if let Some(id) = decoded(view.id) {
            self.id = id.into_owned();
        }
        Ok(())
    }

    /// `error`: kept, in whichever of its three shapes it comes; a terminal event decides what became of it.
    fn set_error(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut error = Vec::new();
        write_error(&cx.event, &mut error);
        cx.require_depth(&error, 1)?;
        cx.bytes.replace(self.error.len(), error.len(), cx.event.at(Field::Error))?;
        self.error = error;
        Ok(())
    }

    /// A terminal event: its response object counts, except that an output it leaves out is filled from the items.
    fn end(&mut self, terminal: ResponseTerminal, cx: &mut Context<'_>) -> Result<Arc<FinalResponse>, Error> {
        let response = cx.object(Field::Response)?.unwrap_or_default();
        let view = Self::read_response(response, cx)?;
        self.require_identity(&view, cx)?;
        let filled = is_empty(view.output) && !self.items.slots().is_empty();
        if filled {
            cx.note(Oddity::OutputFilled)?;
        }
        let mut json = Vec::with_capacity(response.len());
        if filled || is_empty(view.status) {
            let (object, error) =
                if response.is_empty() { (&*self.base, &*self.error) } else { (response, &[][..]) };
            let ending = Ending { terminal, status: is_empty(view.status), error };
            write_response(object, Some(ending), filled.then_some(self.items.slots()), &mut json)?;
        } else {
            json.extend_from_slice(response);
        }
        self.close(json, terminal, cx.event.at(Field::Response), cx.bytes)
    }

    /// The end of input. A response that has not ended is cut short, or has failed if an `error` event said so;
    /// in no case has it been completed.
    pub(super) fn finish(
        &mut self,
        bytes: &mut Meter,
        diagnostics: &mut Diagnostics,
    ) -> Result<Option<Arc<FinalResponse>>, Error> {
        if self.phase != Phase::Open || self.truncated {
            return Ok(None);
        }
        if self.error.is_empty() {
            self.truncated = true;
            diagnostics.note(Oddity::Truncated.name());
            return Ok(None);
        }
        self.fail(0, bytes).map(Some)
    }

    /// Ends the response as failed with the error that an `error` event told of.
    fn fail(&mut self, at: usize, bytes: &mut Meter) -> Result<Arc<FinalResponse>, Error> {
        let mut json = Vec::new();
        let ending = Ending { terminal: ResponseTerminal::Error, status: true, error: &self.error };
        write_response(&self.base, Some(ending), Some(self.items.slots()), &mut json)?;
        self.close(json, ResponseTerminal::Error, at, bytes)
    }

    /// Keeps the final response in place of what it was made of.
    fn close(
        &mut self,
        json: Vec<u8>,
        terminal: ResponseTerminal,
        at: usize,
        bytes: &mut Meter,
    ) -> Result<Arc<FinalResponse>, Error> {
        bytes.replace(self.base.len() + self.items.held(), json.len(), at)?;
        let indices = self.items.slots().keys().copied().collect();
        let last = Arc::new(FinalResponse::new(json, terminal, indices));
        self.base = Vec::new();
        self.items.clear();
        self.phase = Phase::Ended;
        self.last = Some(Arc::clone(&last));
        Ok(last)
    }

    /// Forgets everything, for the next response.
    fn clear(&mut self, bytes: &mut Meter) {
        let last = self.last.as_ref().map_or(0, |last| last.json().len());
        bytes.give(self.base.len() + self.items.held() + self.error.len() + self.side.held() + last);
        self.base.clear();
        self.id.clear();
        self.items.clear();
        self.error.clear();
        self.side = Side::default();
        self.last = None;
        self.serial += 1;
    }
}

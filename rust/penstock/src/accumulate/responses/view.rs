//! What users ask of a response, whether it still grows or has ended.

use std::borrow::Cow;

use super::lane::{Lane, Phase};
use super::outcome::{FinalResponse, write_response};
use super::read::FunctionCall;
use crate::accumulate::text::lossy;
use crate::dialect::responses::{Response, ResponseTerminal, decoded, is_empty};
use crate::error::Error;

/// The response of one lane as it stands. Reading costs its size; nothing is computed before it is asked.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    lane: &'a Lane,
}

/// The arguments of a call as far as they have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// Their text, WTF-8, without a half character at its end.
    pub text: Cow<'a, [u8]>,
    /// Whether nothing can follow.
    pub complete: bool,
    /// As long as this stays the same, text is only added at the end.
    pub revision: (u64, u64),
}

impl<'a> ResponseView<'a> {
    pub(super) const fn new(lane: &'a Lane) -> Self {
        Self { lane }
    }

    /// The response as it stands; `None` before its first event.
    pub fn snapshot(self) -> Result<Option<Cow<'a, [u8]>>, Error> {
        if let Some(last) = self.last() {
            return Ok(Some(Cow::Borrowed(last.json())));
        }
        if self.lane.phase == Phase::Idle {
            return Ok(None);
        }
        let mut json = Vec::with_capacity(self.lane.base.len());
        write_response(&self.lane.base, None, Some(self.lane.items.slots()), &mut json)?;
        Ok(Some(Cow::Owned(json)))
    }

    /// The response if it has ended.
    #[must_use]
    pub fn last(self) -> Option<&'a FinalResponse> {
        self.lane.last.as_deref()
    }

    /// The last response object that came, or the final one.
    fn object(self) -> Result<Response<'a>, Error> {
        let json = self.last().map_or(self.lane.base.as_slice(), FinalResponse::json);
        if json.is_empty() { Ok(Response::default()) } else { Response::reread(json) }
    }

    /// The text of all messages.
    pub fn output_text(self) -> Result<String, Error> {
        let mut text = Vec::new();
        match self.last() {
            Some(last) => last.push_output_text(&mut text)?,
            None => self.lane.items.slots().values().try_for_each(|slot| slot.push_output_text(&mut text))?,
        }
        Ok(lossy(text))
    }

    /// The calls that the client has to run.
    pub fn function_calls(self) -> Result<Vec<FunctionCall>, Error> {
        if let Some(last) = self.last() {
            return last.function_calls();
        }
        let runnable = !self.lane.truncated && self.lane.error.is_empty();
        let mut calls = Vec::new();
        for (&index, slot) in self.lane.items.slots() {
            calls.extend(slot.function_call(index, runnable)?);
        }
        Ok(calls)
    }

    /// The arguments of the call at `output_index`, or the input of a custom tool.
    pub fn arguments(self, output_index: u64) -> Result<Option<Arguments<'a>>, Error> {
        if let Some(last) = self.last() {
            let call = last.function_calls()?.into_iter().find(|call| call.output_index == output_index);
            return Ok(call.map(|call| Arguments {
                text: Cow::Owned(call.arguments.into_bytes()),
                complete: true,
                revision: (self.lane.serial, u64::MAX),
            }));
        }
        let Some(slot) = self.lane.items.slots().get(&output_index) else { return Ok(None) };
        Ok(slot.arguments()?.map(|arguments| Arguments {
            text: arguments.text,
            complete: arguments.whole,
            revision: (self.lane.serial, arguments.revision),
        }))
    }

    /// The `output_index` of the call with this `call_id`.
    pub fn find_call(self, call_id: &str) -> Result<Option<u64>, Error> {
        if let Some(last) = self.last() {
            let calls = last.function_calls()?;
            return Ok(calls.iter().find(|call| call.call_id == call_id).map(|call| call.output_index));
        }
        for (&index, slot) in self.lane.items.slots() {
            if slot.is_call(call_id.as_bytes())? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The usage object, as JSON; `None` while the server has not said.
    pub fn usage(self) -> Result<Option<&'a [u8]>, Error> {
        Ok(self.object()?.usage.filter(|usage| !is_empty(Some(usage))))
    }

    /// The response's status as the server said it last, or `failed` where an `error` event ended the response.
    pub fn status(self) -> Result<Option<String>, Error> {
        Ok(decoded(self.object()?.status).map(|status| lossy(status.into_owned())))
    }

    /// How the response ended; `None` as long as it has not.
    #[must_use]
    pub fn terminal(self) -> Option<ResponseTerminal> {
        self.last().map(FinalResponse::terminal)
    }

    /// The error object, as JSON: the response's own, else that of the `error` event.
    pub fn error(self) -> Result<Option<&'a [u8]>, Error> {
        let own = self.object()?.error.filter(|error| !is_empty(Some(error)));
        Ok(own.or_else(|| (!self.lane.error.is_empty()).then_some(self.lane.error.as_slice())))
    }

    /// Whether the input ended before the response did.
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.lane.truncated
    }

    /// The `sequence_number` of the last event that had one.
    #[must_use]
    pub const fn sequence_number(self) -> Option<u64> {
        self.lane.sequence_number
    }

    /// The sound of the response, decoded; `None` if it has none.
    #[must_use]
    pub fn audio(self) -> Option<&'a [u8]> {
        self.lane.side.audio()
    }

    /// What the sound says; `None` if no transcript came.
    #[must_use]
    pub fn transcript(self) -> Option<String> {
        self.lane.side.transcript().map(|text| lossy(text.as_bytes().to_vec()))
    }

    /// The event that brought the last preview of each image, by `output_index`.
    pub fn images(self) -> impl Iterator<Item = (u64, &'a [u8])> {
        self.lane.side.images()
    }
}

//! The response objects of a lane: how a response begins, and whether it ends as what was streamed.

use super::item::digest;
use super::lane::Lane;
use super::{Event, Report};
use crate::dialect::responses::{Response, ResponseTerminal, Step, decoded, is_empty};
use crate::error::Error;
use crate::event::{EventType, Field};
use crate::json::elements;
use crate::lifecycle::Phase;
use crate::rule::Rule;

impl Lane {
    /// Holds the response of an event that begins it, or says that it goes on, to what such a one may hold.
    pub(super) fn check_response(
        &mut self,
        said: Step,
        kind: EventType,
        event: &Event<'_>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Some(raw) =
            event.fields.value(event.payload, Field::Response).filter(|raw| raw.starts_with(b"{"))
        else {
            return Ok(());
        };
        let response = Response::read(raw)?;
        let status = decoded(response.status);
        let fits = match kind {
            EventType::Created => matches!(status.as_deref(), Some(b"in_progress" | b"queued")),
            EventType::Queued => status.as_deref() == Some(b"queued"),
            _ => status.as_deref() == Some(b"in_progress"),
        };
        if !fits {
            report.add(Rule::StatusMismatch, event);
        }
        if !is_empty(response.output) || !is_empty(response.usage) {
            report.add(Rule::EarlyResult, event);
        }
        self.check_response_id(said, &response, event, report);
        Ok(())
    }

    fn check_response_id(
        &mut self,
        said: Step,
        response: &Response<'_>,
        event: &Event<'_>,
        report: &mut Report,
    ) {
        let id = decoded(response.id).unwrap_or_default();
        if id.is_empty() {
            report.add(Rule::MissingItemId, event);
        } else if said == Step::Created || self.id.is_empty() {
            self.id = id.into_owned();
        } else if *id != *self.id {
            report.add(Rule::ResponseIdChanged, event);
        }
    }

    /// Holds the final response to how it ended and what was streamed.
    pub(super) fn check_terminal(
        &mut self,
        terminal: ResponseTerminal,
        lawful: bool,
        event: &Event<'_>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Some(raw) =
            event.fields.value(event.payload, Field::Response).filter(|raw| raw.starts_with(b"{"))
        else {
            return Ok(());
        };
        let response = Response::read(raw)?;
        let expected: &[u8] = match terminal {
            ResponseTerminal::Completed => b"completed",
            ResponseTerminal::Incomplete => b"incomplete",
            ResponseTerminal::Cancelled => b"cancelled",
            _ => b"failed",
        };
        if decoded(response.status).as_deref() != Some(expected) {
            report.add(Rule::StatusMismatch, event);
        }
        if self.life.phase() != Phase::Before {
            self.check_response_id(Step::Terminal(terminal), &response, event, report);
        }
        if is_empty(response.output) {
            if self.life.items() > 0 {
                report.add(Rule::OutputMissing, event);
            }
            return Ok(());
        }
        let mut found = Vec::new();
        let output = response.output.unwrap_or_default();
        if elements(output, |item| found.push(digest(output.get(item).unwrap_or_default()).ok())).is_err() {
            report.add(Rule::MissingField, event);
            return Ok(());
        }
        // Items that are not done, or were never added, have been told of.
        if self.items.iter().any(|(_, item)| item.digest.is_none()) {
            return Ok(());
        }
        // Where indices were left out, which has been told, the others are still places in the output.
        let skipped = found.len() > self.items.len();
        let same = skipped && self.items.last_index() == Some(found.len() as u64 - 1)
            || found.len() == self.items.len();
        let place = |order: usize, index: u64| if skipped { index as usize } else { order };
        let agree = self
            .items
            .iter()
            .enumerate()
            .all(|(order, (index, item))| found.get(place(order, index)) == Some(&item.digest));
        if lawful && !(same && agree) {
            report.add(Rule::OutputMismatch, event);
        }
        Ok(())
    }
}

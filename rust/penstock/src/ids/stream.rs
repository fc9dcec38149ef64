//! Ids rewritten within the bytes of an event stream, in any split.
//!
//! Lines pass as they come until an event has a data line; from there they wait for the blank line, since only the
//! whole payload tells where its ids stand. Line ends, comments, fields and the spelling of everything else stay.

use std::ops::Range;

use super::Rewriter;
use super::rewrite::Refusal;
use crate::error::exceeded;
use crate::limits::{Limit, Limits};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Rewrites an event stream as it passes.
#[derive(Debug)]
pub struct SseRewriter {
    rewriter: Rewriter,
    maximum: u64,
    /// What was fed and not yet passed on; begins with a line.
    held: Vec<u8>,
    /// What of it was looked at, all of it whole lines but for the last.
    scanned: usize,
    /// Where the line that `scanned` is in begins.
    line: usize,
    /// Where the event's data stands within `held`.
    data: Vec<Range<usize>>,
    /// The line before ended in CR, and an LF would belong to that end.
    after_cr: bool,
    /// Nothing came yet.
    at_start: bool,
    /// Bytes that were passed on.
    passed: u64,
    failure: Option<Refusal>,
}

impl SseRewriter {
    /// Rewrites with `rewriter`. Of the limits, `max_event_bytes` bounds what one event may hold back.
    #[must_use]
    pub const fn new(rewriter: Rewriter, limits: &Limits) -> Self {
        Self {
            rewriter,
            maximum: limits.max_event_bytes,
            held: Vec::new(),
            scanned: 0,
            line: 0,
            data: Vec::new(),
            after_cr: false,
            at_start: true,
            passed: 0,
            failure: None,
        }
    }

    /// What rewrites the messages.
    #[must_use]
    pub const fn rewriter(&self) -> &Rewriter {
        &self.rewriter
    }

    /// The same, for messages that come by themselves.
    pub const fn rewriter_mut(&mut self) -> &mut Rewriter {
        &mut self.rewriter
    }

    /// Takes the next bytes and appends to `out` what may pass: what came before a refusal, too. After that it stays
    /// refused.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.check()?;
        self.held.extend_from_slice(chunk);
        let mut passed = 0;
        while let Some(stop) = self.next_stop() {
            let line = self.line..stop;
            // An LF behind a CR ends no line of its own.
            if self.held.get(stop) == Some(&b'\n') && line.is_empty() && self.after_cr {
                self.after_cr = false;
            } else {
                self.after_cr = self.held.get(stop) == Some(&b'\r');
                let blank = line.is_empty();
                self.take_line(line);
                if blank && !self.data.is_empty() {
                    passed = self.pass_event(passed, out)?;
                }
            }
            self.scanned = stop + 1;
            self.line = self.scanned;
            if self.data.is_empty() {
                out.extend_from_slice(self.held.get(passed..self.line).unwrap_or_default());
                passed = self.line;
            }
        }
        self.forget(passed);
        if self.held.len() as u64 > self.maximum {
            let error = exceeded(Limit::EventBytes, self.maximum, self.passed + self.maximum);
            return self.fail(Refusal::Message(error));
        }
        Ok(())
    }

    /// Ends the input: appends the rest to `out`, rewritten as if the event that is unfinished were whole.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.check()?;
        let line = self.line..self.held.len();
        self.take_line(line);
        let passed = if self.data.is_empty() { 0 } else { self.pass_event(0, out)? };
        out.extend_from_slice(self.held.get(passed..).unwrap_or_default());
        self.line = self.held.len();
        self.scanned = self.line;
        let all = self.line;
        self.forget(all);
        Ok(())
    }

    /// The next end of a line that was not looked at.
    fn next_stop(&mut self) -> Option<usize> {
        let rest = self.held.get(self.scanned..).unwrap_or_default();
        let length = memchr::memchr2(b'\n', b'\r', rest);
        self.scanned += length.unwrap_or(rest.len());
        length.map(|_| self.scanned)
    }

    /// Notes where the data of a line stands.
    fn take_line(&mut self, line: Range<usize>) {
        let mut text = self.held.get(line.clone()).unwrap_or_default();
        if std::mem::take(&mut self.at_start) {
            text = text.strip_prefix(BOM).unwrap_or(text);
        }
        let Some(value) = text.strip_prefix(b"data") else { return };
        let value = match value {
            [] => value,
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            _ => return,
        };
        self.data.push(line.end - value.len()..line.end);
    }

    /// Appends the event up to the end of its data, from `passed` on, with its ids rewritten; returns how far it came.
    fn pass_event(&mut self, passed: usize, out: &mut Vec<u8>) -> Result<usize, Refusal> {
        let Self { rewriter, held, data, .. } = self;
        let whole = out.len();
        let mut copied = passed;
        let mut replace = |place: Range<usize>, by: &[u8]| {
            out.extend_from_slice(held.get(copied..place.start).unwrap_or_default());
            out.extend_from_slice(by);
            copied = place.end;
        };
        let done = if let [place] = &**data {
            let message = held.get(place.clone()).unwrap_or_default();
            rewriter
                .each(message, |id| replace(place.start + id.place.start..place.start + id.place.end, id.by))
        } else {
            let mut message = Vec::new();
            for (number, place) in data.iter().enumerate() {
                if number > 0 {
                    message.push(b'\n');
                }
                message.extend_from_slice(held.get(place.clone()).unwrap_or_default());
            }
            rewriter.each(&message, |id| {
                if let Some(start) = place_in(data, id.place.start) {
                    // A string has no line end in it, so it stands in one line.
                    replace(start..start + id.place.len(), id.by);
                }
            })
        };
        self.data.clear();
        match done {
            Ok(()) => Ok(copied),
            Err(refusal) => {
                // Nothing of this event passes, and all before it has.
                out.truncate(whole);
                self.fail(refusal)?;
                Ok(passed)
            }
        }
    }

    /// Forgets what has been passed on.
    fn forget(&mut self, passed: usize) {
        self.passed += passed as u64;
        if passed == self.held.len() {
            self.held.clear();
        } else {
            self.held.drain(..passed);
        }
        self.scanned -= passed;
        self.line -= passed;
        for place in &mut self.data {
            *place = place.start - passed..place.end - passed;
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.failure = Some(refusal.clone());
        Err(refusal)
    }
}

/// Where byte `at` of lines joined by LF stands.
fn place_in(lines: &[Range<usize>], at: usize) -> Option<usize> {
    let mut start = 0;
    for line in lines {
        if at < start + line.len() {
            return Some(line.start + at - start);
        }
        start += line.len() + 1;
    }
    None
}

//! Tells what is wrong with a Responses stream, event by event, by the rules of [`Rule`].
//!
//! It reads through the same [`Lifecycle`](crate::lifecycle::Lifecycle) that the emitter writes through. A breach is
//! told once: from there on the linter takes the stream for what it says, so that one defect is not many findings.

mod item;
mod lane;
mod response;

use std::collections::BTreeMap;
use std::fmt;

use crate::dialect::responses::decoded;
use crate::error::{Error, exceeded};
use crate::event::{EventType, Field, Fields};
use crate::limits::{Limit, Limits};
use crate::rule::Rule;
use crate::shape::Scanner;

use lane::Lane;

/// What one event did that a legal stream does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule it breaks.
    pub rule: Rule,
    /// The event's number in the stream, the first being 0; for a stream that ends too early, the last event's.
    pub event: u64,
    /// Its type, cut to 80 bytes; empty if it has none.
    pub event_type: Box<str>,
    /// The item it is about.
    pub output_index: Option<u64>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} event {} {}", self.rule.code(), self.event, self.event_type)?;
        if let Some(index) = self.output_index {
            write!(f, " (output_index {index})")?;
        }
        write!(f, ": {}", self.rule.sentence())
    }
}

/// How a [`Linter`] reads.
#[derive(Debug, Clone, Default)]
pub struct LintOptions {
    /// Also apply the rules that real providers break all the time; see [`Rule::is_strict`].
    pub strict: bool,
    /// Rules that are not applied.
    pub ignore: Vec<Rule>,
    /// The bounds: `max_message_bytes` of text over all lanes, `max_parts` lanes, and items and parts of a response.
    pub limits: Limits,
}

// One bit a rule.
const _: () = assert!(Rule::ALL.len() <= 64);

/// What to report, and what has been.
#[derive(Debug)]
struct Report {
    /// Bit `n` tells whether the rule with discriminant `n` is applied.
    applied: u64,
    found: Vec<Finding>,
    maximum: u64,
    dropped: u64,
    event: u64,
}

/// One event being read.
#[derive(Debug, Clone, Copy)]
struct Event<'a> {
    payload: &'a [u8],
    fields: &'a Fields,
    /// Its type, for findings.
    name: &'a [u8],
}

impl Report {
    #[cold]
    fn add(&mut self, rule: Rule, event: &Event<'_>) {
        let index = event.fields.index(event.payload, Field::OutputIndex);
        self.note(rule, event.name, index);
    }

    fn note(&mut self, rule: Rule, name: &[u8], output_index: Option<u64>) {
        if self.applied >> rule as u32 & 1 == 0 {
            return;
        }
        if self.found.len() as u64 >= self.maximum {
            self.dropped += 1;
            return;
        }
        let shown = name.get(..name.len().min(80)).unwrap_or_default();
        let event_type = String::from_utf8_lossy(shown).into_owned().into();
        self.found.push(Finding { rule, event: self.event, event_type, output_index });
    }
}

/// Reads the events of a stream, several lanes and several responses after one another included.
///
/// ```
/// use penstock::{LintOptions, Linter, Rule};
///
/// let mut linter = Linter::new(&LintOptions::default());
/// linter.feed(br#"{"type":"response.completed","sequence_number":0,"response":{"id":"r","status":"completed"}}"#, None)?;
/// assert_eq!(linter.finish()[0].rule, Rule::NotCreated);
/// # Ok::<(), penstock::Error>(())
/// ```
#[derive(Debug)]
pub struct Linter {
    scanner: Scanner,
    /// Of events without a `stream_id`.
    main: Lane,
    lanes: BTreeMap<Box<[u8]>, Lane>,
    report: Report,
    held: u64,
    limits: Limits,
    last: Box<[u8]>,
    failed: Option<Error>,
}

impl Linter {
    /// A linter before its first event.
    #[must_use]
    pub fn new(options: &LintOptions) -> Self {
        let applied = |rule: &&Rule| (options.strict || !rule.is_strict()) && !options.ignore.contains(rule);
        let report = Report {
            applied: Rule::ALL.iter().filter(applied).fold(0, |bits, rule| bits | 1 << *rule as u32),
            found: Vec::new(),
            maximum: options.limits.max_parts,
            dropped: 0,
            event: 0,
        };
        Self {
            scanner: Scanner::default(),
            main: Lane::default(),
            lanes: BTreeMap::new(),
            report,
            held: 0,
            limits: options.limits,
            last: Box::default(),
            failed: None,
        }
    }

    /// Takes the payload of one event; `name` is the frame's `event` field, if it has one. Only an
    /// [`Error::Limit`] is an error, and it stays: everything else is a finding.
    #[inline]
    pub fn feed(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take_event(payload, name);
        self.report.event += 1;
        result.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Ends the stream and takes the findings that are left.
    pub fn finish(&mut self) -> Vec<Finding> {
        let events = self.report.event;
        self.report.event = events.saturating_sub(1);
        if events == 0 {
            self.report.note(Rule::NoTerminal, b"", None);
        }
        for lane in std::iter::once(&mut self.main).chain(self.lanes.values_mut()) {
            lane.finish(&self.last, &mut self.report);
        }
        self.report.event = events;
        self.take()
    }

    /// Takes the findings so far.
    pub fn take(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.report.found)
    }

    /// Findings that were not kept because there were more than `max_parts` of them.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.report.dropped
    }

    /// Events read.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.report.event
    }

    #[inline]
    fn take_event(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        let Ok(fields) = self.scanner.scan(payload) else {
            self.report.note(Rule::Malformed, name.unwrap_or_default(), None);
            return Ok(());
        };
        let Some(kind) = fields.event_type() else {
            unknown(payload, name, fields, &mut self.report);
            return Ok(());
        };
        let event = Event { payload, fields, name: kind.as_str().as_bytes() };
        if name.is_some_and(|name| name != event.name) {
            self.report.add(Rule::NameMismatch, &event);
        }
        if *self.last != *event.name {
            self.last = event.name.into();
        }
        let lane = if fields.span(Field::StreamId).is_empty() {
            &mut self.main
        } else {
            lane_of(&mut self.lanes, &event, &self.limits)?
        };
        let before = lane.held();
        lane.take(kind, &event, &self.limits, &mut self.report)?;
        self.held = (self.held + lane.held()).saturating_sub(before);
        if self.held > self.limits.max_message_bytes {
            return Err(exceeded(Limit::MessageBytes, self.limits.max_message_bytes, 0));
        }
        Ok(())
    }
}

/// An event without a type, or with one that nobody knows.
#[cold]
fn unknown(payload: &[u8], name: Option<&[u8]>, fields: &Fields, report: &mut Report) {
    let Some(text) = fields.text(payload, Field::Type) else {
        return report.note(Rule::Untyped, name.unwrap_or_default(), None);
    };
    let word = text.decoded();
    let event = Event { payload, fields, name: &word };
    if name.is_some_and(|name| *name != *word) {
        report.add(Rule::NameMismatch, &event);
    }
    // Vendors put their name and a colon before their types (Open Responses).
    if !word.contains(&b':') {
        report.add(Rule::UnknownType, &event);
    }
}

/// The lane that an event with a `stream_id` belongs to.
fn lane_of<'a>(
    lanes: &'a mut BTreeMap<Box<[u8]>, Lane>,
    event: &Event<'_>,
    limits: &Limits,
) -> Result<&'a mut Lane, Error> {
    let name = decoded(event.fields.value(event.payload, Field::StreamId)).unwrap_or_default();
    if !lanes.contains_key(&*name) && lanes.len() as u64 >= limits.max_parts {
        return Err(exceeded(Limit::Parts, limits.max_parts, 0));
    }
    Ok(lanes.entry(name.as_ref().into()).or_default())
}

/// Whether an event of this type may stand outside of a response, without a number.
const fn is_aside(kind: EventType) -> bool {
    use EventType as E;
    matches!(
        kind,
        E::SteerAccepted
            | E::SteerPending
            | E::SteerFailed
            | E::InjectCreated
            | E::InjectFailed
            | E::RateLimits
    )
}

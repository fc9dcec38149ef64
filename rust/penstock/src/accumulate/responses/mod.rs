//! Events of the Responses API in, response objects out.
//!
//! Rules of this module: `output_index` is the key, since ids may be missing, fake or different in each event. What
//! the server sends whole replaces what was built of deltas, unless it holds nothing. A status is the server's:
//! `completed` is never invented, and a response without terminal event stays unfinished. Lenient accumulators
//! make the best of any sequence of events and count what was odd; strict ones refuse it and stay as they were.

mod closing;
mod context;
mod item;
mod items;
mod lane;
mod oddity;
mod outcome;
mod part;
mod read;
mod shell;
mod side;
mod slot;
mod value;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::accumulate::diagnostics::Diagnostics;
use crate::accumulate::text::Meter;
use crate::dialect::responses::{Response, Step, decoded, step};
use crate::error::Error;
use crate::event::{EventType, Field, Fields, field, members};
use crate::json::Cursor;
use crate::limits::{DEPTH_CEILING, Limit, Limits};
use crate::shape::{Miss, Scanner};

use context::{Context, Event};
use lane::Lane;
use oddity::Oddity;

pub use crate::dialect::responses::ResponseTerminal;
pub use closing::Owed;
pub use outcome::FinalResponse;
pub use read::FunctionCall;
pub use view::{Arguments, ResponseView};

/// How a [`ResponseAccumulator`] reads.
#[derive(Debug, Clone, Default)]
pub struct ResponseOptions {
    /// Refuse events that break the API's rules instead of counting them.
    pub strict: bool,
    /// The stream is resumed after the event of this `sequence_number`: events up to it, and later any that is
    /// not above the last one, have been applied before.
    pub resume_after: Option<u64>,
    /// The bounds. Bytes are counted over all lanes, parts and calls for each response.
    pub limits: Limits,
}

/// What an event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Its type, if it is one that penstock knows.
    pub event: Option<EventType>,
    /// Whether it brought a piece of text, arguments or the like.
    pub delta: bool,
    /// Whether it ended a response.
    pub terminal: bool,
}

/// What an event was that said nothing.
const IGNORED: Fed = Fed { event: None, delta: false, terminal: false };

/// Builds response objects from events, several after one another and in several lanes.
///
/// After an [`Error::Limit`] it stays failed and repeats that error; what was built until then can still be read.
/// Any other error leaves it as it was before the event.
#[derive(Debug)]
pub struct ResponseAccumulator {
    scanner: Scanner,
    state: State,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    /// `stream_id` → place in `lanes`; the lane of events without one has the empty name.
    names: BTreeMap<Box<[u8]>, usize>,
    /// The place of the lane without name.
    unnamed: Option<usize>,
    /// The responses that have ended, newest last; see [`ResponseAccumulator::responses`].
    finals: VecDeque<Arc<FinalResponse>>,
    finals_held: u64,
    bytes: Meter,
    diagnostics: Diagnostics,
    deltas: u64,
    /// Events up to a lane's last `sequence_number` are repetitions; a new lane starts from this number.
    resume: Option<u64>,
    resuming: bool,
    limits: Limits,
    failed: Option<Error>,
}

impl Default for ResponseAccumulator {
    fn default() -> Self {
        Self::new(&ResponseOptions::default())
    }
}

impl ResponseAccumulator {
    /// An accumulator before its first event.
    #[must_use]
    pub fn new(options: &ResponseOptions) -> Self {
        let mut limits = options.limits;
        limits.max_depth = limits.max_depth.min(DEPTH_CEILING);
        let state = State {
            lanes: Vec::new(),
            names: BTreeMap::new(),
            unnamed: None,
            finals: VecDeque::new(),
            finals_held: 0,
            bytes: Meter::new(Limit::MessageBytes, limits.max_message_bytes),
            diagnostics: Diagnostics::new(options.strict),
            deltas: 0,
            resume: options.resume_after,
            resuming: options.resume_after.is_some(),
            limits,
            failed: None,
        };
        Self { scanner: Scanner::default(), state }
    }

    /// Takes the payload of one event. `name` is the frame's `event` field, which counts where the payload has no
    /// `type`.
    #[inline]
    pub fn feed(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<Fed, Error> {
        if let Some(error) = &self.state.failed {
            return Err(error.clone());
        }
        self.scanner.set_name(name.unwrap_or_default());
        let fed = match self.scanner.scan(payload) {
            Ok(fields) => self.state.take(payload, name, fields),
            Err(error) => self.state.malformed(payload, error),
        };
        self.state.settle(fed)
    }

    /// Takes the event that starts at `at` of an event stream, if it is of the kind seen last and whole; gives its
    /// length and what it was. For the [`Sink`](crate::Sink) of a decoder.
    #[inline]
    pub fn feed_known(&mut self, stream: &[u8], at: usize) -> Result<(usize, Result<Fed, Error>), Miss> {
        if self.state.failed.is_some() {
            return Err(Miss::Different);
        }
        let (known, fields) = self.scanner.known_fields(stream, at)?;
        let (payload, name) = (known.data.moved(at).of(stream), known.name.moved(at).of(stream));
        let fed = self.state.take(payload, Some(name), fields);
        Ok((known.length, self.state.settle(fed)))
    }

    /// Ends the input. A response without terminal event is cut short, or failed if an `error` event said so. May
    /// be called again; feeding more, as after a reconnection, goes on where the input ended.
    pub fn finish(&mut self) -> Result<(), Error> {
        for place in 0..self.state.lanes.len() {
            let state = &mut self.state;
            let Some(lane) = state.lanes.get_mut(place) else { break };
            if let Some(ended) = lane.finish(&mut state.bytes, &mut state.diagnostics)? {
                state.keep(ended);
            }
        }
        Ok(())
    }

    /// From here on, events whose `sequence_number` is not above `after`, or above the last one of their lane, are
    /// repetitions: a resumed stream may begin before the place where the one before was cut.
    pub fn resume(&mut self, after: Option<u64>) {
        self.state.resuming = true;
        self.state.resume = after;
        if after.is_some() {
            self.state.lanes.iter_mut().for_each(|lane| lane.sequence_number = after);
        }
    }

    /// The responses that have ended and were not taken, oldest first. Together they are bounded by
    /// `max_message_bytes` and `max_parts`; the oldest go first.
    #[must_use]
    pub fn responses(&self) -> impl ExactSizeIterator<Item = &Arc<FinalResponse>> {
        self.state.finals.iter()
    }

    /// Takes the responses that have ended out of the list.
    pub fn take_responses(&mut self) -> Vec<Arc<FinalResponse>> {
        self.state.finals_held = 0;
        self.state.finals.drain(..).collect()
    }

    /// The response of events without `stream_id`; where all events have one, that of the first lane. `None`
    /// before the first event.
    #[must_use]
    pub fn response(&self) -> Option<ResponseView<'_>> {
        self.state.lanes.get(self.state.unnamed.unwrap_or_default()).map(ResponseView::new)
    }

    /// The response of a `stream_id`; the empty name is that of events without one.
    #[must_use]
    pub fn lane(&self, name: &[u8]) -> Option<ResponseView<'_>> {
        self.state.lanes.get(*self.state.names.get(name)?).map(ResponseView::new)
    }

    /// The `stream_id`s of all lanes; the empty one stands for none.
    pub fn lanes(&self) -> impl Iterator<Item = &[u8]> {
        self.state.names.keys().map(|name| &**name)
    }

    /// How often each oddity occurred, by name.
    pub fn diagnostics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.state.diagnostics.counts()
    }

    /// Events that brought a piece of text, arguments or the like.
    #[must_use]
    pub const fn deltas(&self) -> u64 {
        self.state.deltas
    }

    /// Bytes held for all lanes.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.state.bytes.held()
    }

    /// The error that stopped this accumulator.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.state.failed.as_ref()
    }
}

impl State {
    /// An error of a limit stays.
    #[inline]
    fn settle(&mut self, fed: Result<Fed, Error>) -> Result<Fed, Error> {
        fed.inspect_err(|error| {
            if matches!(error, Error::Limit { .. }) {
                self.failed = Some(error.clone());
            }
        })
    }

    #[inline]
    fn take(&mut self, payload: &[u8], name: Option<&[u8]>, fields: &Fields) -> Result<Fed, Error> {
        if self.limits.max_depth < DEPTH_CEILING {
            Cursor::new(payload).skip_value(0, self.limits.max_depth)?;
        }
        let Some(kind) = fields.event_type().or_else(|| named(payload, name, fields)) else {
            return self.unknown(payload, name, fields);
        };
        let event = Event { payload, fields, kind };
        if self.diagnostics.is_strict() {
            self.require_unique(&event)?;
        }
        let place = match (fields.span(Field::StreamId).is_empty(), self.unnamed) {
            (true, Some(place)) => place,
            _ => self.place(&event)?,
        };
        let Some(lane) = self.lanes.get_mut(place) else { return Ok(IGNORED) };
        let step = step(kind);
        let number = event.index(Field::SequenceNumber);
        if self.resuming && is_repeated(lane, number, step, &event) {
            self.diagnostics.note(Oddity::Repeated.name());
            return Ok(Fed { event: Some(kind), ..IGNORED });
        }
        let mut cx = Context {
            event,
            max_depth: self.limits.max_depth,
            bytes: &mut self.bytes,
            diagnostics: &mut self.diagnostics,
        };
        let ended = lane.apply(step, &mut cx)?;
        lane.sequence_number = number.or(lane.sequence_number);
        let delta = matches!(step, Step::Delta(_)) && lane.is_open();
        self.deltas += u64::from(delta);
        let terminal = ended.is_some();
        if let Some(ended) = ended {
            self.keep(ended);
        }
        Ok(Fed { event: Some(kind), delta, terminal })
    }

    /// A payload that is no object, or hostile.
    #[cold]
    fn malformed(&mut self, payload: &[u8], error: Error) -> Result<Fed, Error> {
        // The sentinel of other dialects, which gateways put behind a terminal event.
        if payload.trim_ascii() == b"[DONE]" {
            return Ok(IGNORED);
        }
        let strict = self.diagnostics.is_strict();
        self.diagnostics.note(Oddity::Malformed.name());
        if strict || matches!(error, Error::Limit { .. }) { Err(error) } else { Ok(IGNORED) }
    }

    /// An event without a type, or with one that nobody knows.
    #[cold]
    fn unknown(&mut self, payload: &[u8], name: Option<&[u8]>, fields: &Fields) -> Result<Fed, Error> {
        if fields.text(payload, Field::Type).is_none() && name.is_none_or(<[u8]>::is_empty) {
            return self.diagnostics.breach(Oddity::Untyped.name(), "").map(|()| IGNORED);
        }
        self.diagnostics.note(Oddity::UnknownType.name());
        Ok(IGNORED)
    }

    /// Refuses an event in which a field that is read stands twice.
    fn require_unique(&mut self, event: &Event<'_>) -> Result<(), Error> {
        let mut seen = 0_u64;
        let mut repeated = false;
        members(event.payload, |key, _, _| {
            if let Some(field) = field(key) {
                let bit = 1_u64 << field as u32;
                repeated |= seen & bit != 0;
                seen |= bit;
            }
        })?;
        if !repeated {
            return Ok(());
        }
        self.diagnostics.breach(Oddity::DuplicateField.name(), event.kind.as_str())
    }

    /// The lane an event belongs to, opened if it is new.
    fn place(&mut self, event: &Event<'_>) -> Result<usize, Error> {
        let name = decoded(event.value(Field::StreamId)).unwrap_or_default();
        if let Some(&place) = self.names.get(&*name) {
            return Ok(place);
        }
        let place = self.lanes.len();
        if place as u64 >= self.limits.max_parts {
            let (limit, maximum) = (Limit::Parts, self.limits.max_parts);
            let offset = event.at(Field::StreamId) as u64;
            return Err(Error::Limit { limit, maximum, value: place as u64 + 1, offset });
        }
        self.bytes.take(name.len(), event.at(Field::StreamId))?;
        let mut lane = Lane::new(&self.limits);
        lane.sequence_number = self.resume;
        if place == 0 {
            self.lanes.reserve_exact(1); // most streams have no other
        }
        self.lanes.push(lane);
        if name.is_empty() {
            self.unnamed = Some(place);
        }
        self.names.insert(name.as_ref().into(), place);
        Ok(place)
    }

    /// Keeps a final response; drops the oldest ones when together they are larger or more than one response
    /// may be.
    fn keep(&mut self, response: Arc<FinalResponse>) {
        self.finals_held += response.json().len() as u64;
        self.finals.push_back(response);
        let full = |this: &Self| {
            this.finals_held > this.limits.max_message_bytes
                || this.finals.len() as u64 > this.limits.max_parts
        };
        while self.finals.len() > 1 && full(self) {
            let Some(dropped) = self.finals.pop_front() else { break };
            self.finals_held -= dropped.json().len() as u64;
            self.diagnostics.note(Oddity::ResponsesDropped.name());
        }
    }
}

/// The type of an event that its frame names and its payload does not.
#[cold]
fn named(payload: &[u8], name: Option<&[u8]>, fields: &Fields) -> Option<EventType> {
    if fields.text(payload, Field::Type).is_some() { None } else { EventType::from_bytes(name?) }
}

/// Whether an event of a resumed stream has been applied before. A response with another id begins anew, its
/// numbers included.
#[cold]
fn is_repeated(lane: &Lane, number: Option<u64>, step: Step, event: &Event<'_>) -> bool {
    if number.is_none() || number > lane.sequence_number {
        return false;
    }
    let response = event.value(Field::Response).filter(|response| response.starts_with(b"{"));
    let id = response.and_then(|response| decoded(Response::reread(response).ok()?.id));
    step != Step::Created || !lane.is_other(id.as_deref())
}

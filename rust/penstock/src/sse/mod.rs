//! WHATWG event streams (HTML standard 9.2.5 and 9.2.6), push style.
//!
//! A line that lies within one chunk is read where it stands and its payload leaves as a range of the chunk;
//! only what a chunk ends in the middle of is carried over. Every byte is looked at once and copied at most
//! twice, so time is linear however the input is cut.

mod bounds;
mod line;
mod sniff;

use std::ops::Range;

use memchr::memchr2;

use crate::decoder::{DecoderOptions, EndOfInput, Frame, Malformed, Mark, Piece, Shared, Sink};
use crate::error::{Error, exceeded};
use crate::limits::Limit;
use crate::shape::{KNOWN_LONGEST, KNOWN_NAME_LONGEST, Miss};
use crate::simd::{Backend, Task, dispatch};
use crate::sse::line::{Ignored, Kind, Partial, classify, value_offset};
use crate::sse::sniff::Sniff;

/// Buffers larger than this are given back once their event is out.
const KEEP_CAPACITY: usize = 1 << 16;
/// The rest of an event that a chunk ended in is expected within so many bytes of the next.
const CUT_REACH: usize = 512;
/// Where a field of the current event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Chunk(Range<usize>),
    Buffer,
}

/// The decoder's state between two chunks.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) shared: Shared,
    mark: Mark,
    /// The last line ended in CR; an LF that follows belongs to it.
    swallow_lf: bool,
    /// Place of the current chunk's first byte in the stream.
    offset: u64,
    /// The beginning of an event that the sink may recognise once the rest is there.
    cut: Vec<u8>,
    partial: Partial,
    data: Option<Place>,
    data_buffer: Vec<u8>,
    /// Bytes of the buffer before the payload.
    data_head: usize,
    name: Option<Place>,
    name_buffer: Vec<u8>,
    id_buffer: Option<Vec<u8>>,
    last_event_id: Vec<u8>,
    id_changed: bool,
    retry: Option<u64>,
    /// A first data line of this length breaks no limit.
    plain: u64,
    /// An event line that is shorter than this together with `idle` breaks no limit.
    plain_name: u64,
    /// Bytes since the last event that were not payload.
    idle: u64,
    /// With as many of them or fewer, an event that the sink recognises breaks no limit; `None` if it might.
    plain_idle: Option<u64>,
    sniff: Sniff,
}

/// Reads the lines that start in a chunk.
struct Read<'a, S> {
    lines: &'a mut Lines,
    chunk: &'a [u8],
    at: usize,
    sink: &'a mut S,
}

impl<S: Sink> Task for Read<'_, S> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        self.lines.read_lines::<B>(self.chunk, self.at, self.sink)
    }
}

/// How many idle bytes may stand before an event that the sink recognises; `None` if it must not.
fn plain_idle(options: &DecoderOptions) -> Option<u64> {
    let limits = &options.limits;
    let wide = limits.max_line_bytes.min(limits.max_event_bytes) >= KNOWN_LONGEST as u64
        && limits.max_event_name_bytes >= KNOWN_NAME_LONGEST as u64;
    let sentinel = options.sentinel.as_deref().unwrap_or_default().trim_ascii();
    let mine = wide && options.malformed == Malformed::Replace && !sentinel.starts_with(b"{");
    limits.max_idle_bytes.checked_sub(KNOWN_LONGEST as u64).filter(|_| mine)
}

impl Lines {
    pub(crate) fn new(options: DecoderOptions) -> Self {
        Self {
            plain_idle: plain_idle(&options),
            plain_name: [Limit::LineBytes, Limit::IdleBytes, Limit::EventNameBytes]
                .iter()
                .fold(u64::MAX, |least, &limit| least.min(options.limits.get(limit))),
            plain: options.limits.max_line_bytes.min(options.limits.max_event_bytes),
            shared: Shared::new(options),
            mark: Mark::Matching(0),
            swallow_lf: false,
            offset: 0,
            cut: Vec::new(),
            partial: Partial::default(),
            data: None,
            data_buffer: Vec::new(),
            data_head: 0,
            name: None,
            name_buffer: Vec::new(),
            id_buffer: None,
            last_event_id: Vec::new(),
            id_changed: false,
            retry: None,
            idle: 0,
            sniff: Sniff::Undecided,
        }
    }

    pub(crate) const fn retry(&self) -> Option<u64> {
        self.retry
    }

    pub(crate) fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.cut.is_empty() && !self.partial.open && self.data.is_none() && self.name.is_none()
    }

    pub(crate) fn non_stream_body(&self) -> Option<&[u8]> {
        self.sniff.body()
    }

    #[inline]
    pub(crate) fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
        self.shared.counts.bytes += chunk.len() as u64;
        if self.shared.done {
            return Ok(());
        }
        let marking = matches!(self.mark, Mark::Matching(_));
        let start = self.read(chunk, sink)?;
        let withheld = marking && matches!(self.mark, Mark::Matching(_));
        if !withheld && !self.sniff.is_settled() {
            let events = self.shared.counts.events > 0 || self.shared.done;
            self.sniff.feed(chunk.get(start..).unwrap_or_default(), events);
        }
        self.offset += chunk.len() as u64;
        Ok(())
    }

    /// Reads a chunk; returns where its content starts behind a byte order mark.
    fn read(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<usize, Error> {
        let start = self.pass_mark(chunk)?;
        let at =
            if self.cut.is_empty() { self.resume(chunk, start, sink)? } else { self.rejoin(chunk, sink)? };
        dispatch(Read { lines: self, chunk, at, sink })?;
        self.settle(chunk);
        Ok(start)
    }

    /// Reads the lines that start in the chunk.
    #[inline(always)]
    fn read_lines<B: Backend>(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        while !self.shared.done
            && let Some(&first) = chunk.get(at)
        {
            if self.may_be_known() {
                match sink.known(chunk, at, false) {
                    Ok(end) => {
                        self.known();
                        at = end;
                        continue;
                    }
                    Err(Miss::Unfinished) if chunk.len() - at <= KNOWN_LONGEST => {
                        self.cut.extend_from_slice(chunk.get(at..).unwrap_or_default());
                        return Ok(());
                    }
                    Err(_) => {}
                }
            }
            // A blank line follows most data lines; it needs no search.
            let end = match first {
                b'\n' | b'\r' => Some(at),
                _ => B::line_end(chunk, at),
            };
            let Some(end) = end else {
                let rest = chunk.get(at..).unwrap_or_default();
                return self.carry(rest, self.offset + at as u64);
            };
            self.line(chunk, at..end, sink)?;
            at = self.pass_end(chunk, end);
        }
        Ok(())
    }

    /// An event was taken by the sink.
    #[inline(always)]
    fn known(&mut self) {
        self.idle = 0;
        self.shared.counts.events += 1;
    }

    /// Takes the event that the chunk before ended in, if this chunk completes it as expected; otherwise reads its
    /// beginning line by line after all. Returns where to go on.
    fn rejoin(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<usize, Error> {
        let mut cut = std::mem::take(&mut self.cut);
        let before = cut.len();
        cut.extend_from_slice(chunk.get(..chunk.len().min(CUT_REACH)).unwrap_or_default());
        let known = sink.known(&cut, 0, true).ok().and_then(|end| end.checked_sub(before));
        let result = if let Some(end) = known {
            self.known();
            Ok(end)
        } else {
            cut.truncate(before);
            self.read_cut(&cut, sink).and_then(|()| self.resume(chunk, 0, sink))
        };
        cut.clear();
        self.cut = cut;
        result
    }

    /// Reads the beginning of an event, which ended a chunk, line by line.
    fn read_cut(&mut self, cut: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
        let plain = self.plain_idle.take();
        let offset = self.offset;
        self.offset = offset.saturating_sub(cut.len() as u64);
        let read = dispatch(Read { lines: self, chunk: cut, at: 0, sink });
        self.settle(cut);
        self.offset = offset;
        self.plain_idle = plain;
        read
    }

    /// Whether an event may start here that the sink takes by itself: nothing is open, and nothing about such an
    /// event could concern anybody else.
    #[inline(always)]
    fn may_be_known(&self) -> bool {
        self.plain_idle.is_some_and(|plain| self.idle <= plain)
            && self.data.is_none()
            && self.name.is_none()
            && !self.id_changed
            && self.id_buffer.is_none()
    }

    /// Passes the byte order mark at the start of the stream; returns where to go on.
    #[inline]
    fn pass_mark(&mut self, chunk: &[u8]) -> Result<usize, Error> {
        let Mark::Matching(_) = self.mark else { return Ok(0) };
        let (skip, withheld) = self.mark.pass(chunk);
        if !withheld.is_empty() {
            self.sniff = Sniff::Stream;
            self.carry(withheld, 0)?;
        }
        Ok(skip)
    }

    /// Finishes what the chunk before left open: CR LF, a line. Returns where to go on from `at`.
    #[inline]
    fn resume(&mut self, chunk: &[u8], mut at: usize, sink: &mut impl Sink) -> Result<usize, Error> {
        if self.swallow_lf && at < chunk.len() {
            self.swallow_lf = false;
            at += usize::from(chunk.get(at) == Some(&b'\n'));
        }
        if !self.partial.open {
            return Ok(at);
        }
        let rest = chunk.get(at..).unwrap_or_default();
        let Some(length) = memchr2(b'\n', b'\r', rest) else {
            self.carry(rest, 0)?;
            return Ok(chunk.len());
        };
        self.carry(rest.get(..length).unwrap_or_default(), 0)?;
        self.carried_line(chunk, sink)?;
        Ok(self.pass_end(chunk, at + length))
    }

    /// The place after the line end at `at`; an LF that may follow a CR at the end of the chunk is noted.
    #[inline]
    fn pass_end(&mut self, chunk: &[u8], at: usize) -> usize {
        if chunk.get(at) == Some(&b'\n') {
            return at + 1;
        }
        match chunk.get(at + 1) {
            Some(b'\n') => at + 2,
            Some(_) => at + 1,
            None => {
                self.swallow_lf = true;
                at + 1
            }
        }
    }

    /// Adds to the line that is open at the end of the chunk; `start` is its place if it begins here.
    fn carry(&mut self, bytes: &[u8], start: u64) -> Result<(), Error> {
        let partial = &mut self.partial;
        if !partial.open {
            partial.open = true;
            partial.start = start;
        }
        partial.length += bytes.len() as u64;
        if partial.ignored.is_none() {
            partial.kept.extend_from_slice(bytes);
        }
        let kind = match partial.ignored {
            Some(Ignored { comment: true }) => Kind::Comment,
            Some(Ignored { comment: false }) => Kind::Unknown,
            None => classify(&partial.kept, false).0,
        };
        let value = value_offset(kind, &partial.kept);
        let (length, start) = (partial.length, partial.start);
        if kind == Kind::Comment || kind == Kind::Unknown {
            partial.ignored = Some(Ignored { comment: kind == Kind::Comment });
            partial.kept = Vec::new();
        }
        self.check(kind, value as u64, length, start, false)
    }

    /// Takes the carried line, complete now.
    fn carried_line(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
        let mut partial = std::mem::take(&mut self.partial);
        let (kind, value) = match partial.ignored {
            Some(Ignored { comment: true }) => (Kind::Comment, 0),
            Some(Ignored { comment: false }) => (Kind::Unknown, 0),
            None if partial.kept.is_empty() => return self.dispatch(chunk, partial.start, sink),
            None => classify(&partial.kept, true),
        };
        self.check(kind, value as u64, partial.length, partial.start, true)?;
        if kind == Kind::Data {
            self.shared
                .require_text(partial.kept.get(value..).unwrap_or_default(), partial.start + value as u64)?;
        }
        if kind == Kind::Data && self.data.is_none() {
            // The common case of a payload in pieces: its line becomes the buffer, without another copy.
            std::mem::swap(&mut self.data_buffer, &mut partial.kept);
            self.data_head = value;
            self.data = Some(Place::Buffer);
            self.reuse(partial.kept);
            return Ok(());
        }
        let bytes = partial.kept.get(value..).unwrap_or_default();
        match kind {
            Kind::Data => self.append_data(chunk, bytes),
            Kind::Event => {
                self.shared.require_text(bytes, partial.start + value as u64)?;
                self.name_buffer.clear();
                self.name_buffer.extend_from_slice(bytes);
                self.name = (!bytes.is_empty()).then_some(Place::Buffer);
            }
            _ => self.other(kind, bytes, partial.start + value as u64)?,
        }
        self.reuse(partial.kept);
        Ok(())
    }

    /// Keeps a spent buffer for the next line that a chunk ends in.
    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEEP_CAPACITY {
            buffer.clear();
            self.partial.kept = buffer;
        }
    }

    /// Takes the line at `range` of the chunk.
    #[inline]
    fn line(&mut self, chunk: &[u8], range: Range<usize>, sink: &mut impl Sink) -> Result<(), Error> {
        let line = chunk.get(range.clone()).unwrap_or_default();
        let start = self.offset + range.start as u64;
        if line.is_empty() {
            return self.dispatch(chunk, start, sink);
        }
        let (kind, value) = classify(line, true);
        let length = line.len() as u64;
        // Lines that most events are made of, far from every limit; the rule is in `check`.
        if kind == Kind::Data && self.data.is_none() && length <= self.plain {
        } else if kind == Kind::Event && self.idle + length < self.plain_name {
            self.idle += length + 1;
        } else {
            self.check(kind, value as u64, length, start, true)?;
        }
        let place = range.start + value..range.end;
        if let Kind::Data | Kind::Event = kind {
            self.shared.require_text(line.get(value..).unwrap_or_default(), start + value as u64)?;
        }
        match kind {
            Kind::Data if self.data.is_none() => {
                self.data = Some(Place::Chunk(place));
            }
            Kind::Data => self.append_data(chunk, line.get(value..).unwrap_or_default()),
            Kind::Event => self.name = (!place.is_empty()).then_some(Place::Chunk(place)),
            _ => self.other(kind, line.get(value..).unwrap_or_default(), start + value as u64)?,
        }
        Ok(())
    }

    /// Adds a further data line to the payload.
    fn append_data(&mut self, chunk: &[u8], value: &[u8]) {
        self.own_data(chunk);
        self.data_buffer.push(b'\n');
        self.data_buffer.extend_from_slice(value);
    }

    /// Moves the payload into the buffer.
    fn own_data(&mut self, chunk: &[u8]) {
        if let Some(Place::Chunk(range)) = &self.data {
            self.data_buffer.clear();
            self.data_buffer.extend_from_slice(chunk.get(range.clone()).unwrap_or_default());
            self.data_head = 0;
            self.data = Some(Place::Buffer);
        }
    }

    /// Moves what the unfinished event has in this chunk into buffers.
    #[inline]
    fn settle(&mut self, chunk: &[u8]) {
        self.own_data(chunk);
        if let Some(Place::Chunk(range)) = &self.name {
            self.name_buffer.clear();
            self.name_buffer.extend_from_slice(chunk.get(range.clone()).unwrap_or_default());
            self.name = Some(Place::Buffer);
        }
    }

    /// Takes the fields that belong to the stream rather than to one event.
    fn other(&mut self, kind: Kind, value: &[u8], start: u64) -> Result<(), Error> {
        match kind {
            Kind::Comment => self.shared.counts.comments += 1,
            Kind::Id if !value.contains(&0) => {
                self.shared.require_text(value, start)?;
                self.id_buffer = Some(value.to_vec());
            }
            Kind::Retry if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry = Some(
                    value
                        .iter()
                        .fold(0, |n: u64, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0'))),
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// A blank line at `start`: the event is complete (9.2.6, "dispatch the event").
    #[inline]
    fn dispatch(&mut self, chunk: &[u8], start: u64, sink: &mut impl Sink) -> Result<(), Error> {
        self.settle_id();
        if self.data.is_none() {
            self.name = None;
            self.idle += 1;
            let maximum = self.shared.options.limits.max_idle_bytes;
            if self.idle > maximum {
                return Err(exceeded(Limit::IdleBytes, maximum, start));
            }
            return Ok(());
        }
        self.deliver(chunk, false, sink);
        Ok(())
    }

    #[inline]
    fn settle_id(&mut self) {
        if let Some(id) = self.id_buffer.take() {
            self.id_changed |= id != self.last_event_id;
            self.last_event_id = id;
        }
    }

    #[inline]
    fn deliver(&mut self, chunk: &[u8], flushed: bool, sink: &mut impl Sink) {
        let Some(data) = self.data.take() else { return };
        let name = self.name.take();
        self.idle = 0;
        let carried = data == Place::Buffer;
        let events = self.shared.counts.events;
        let frame = Frame {
            data: match data {
                Place::Chunk(range) => Piece::Chunk(range),
                Place::Buffer => Piece::Carried(self.data_buffer.get(self.data_head..).unwrap_or_default()),
            },
            name: name.map(|name| match name {
                Place::Chunk(range) => Piece::Chunk(range),
                Place::Buffer => Piece::Carried(&self.name_buffer),
            }),
            id_changed: self.id_changed,
            id: &self.last_event_id,
            flushed,
        };
        self.shared.deliver(chunk, frame, sink);
        if self.shared.counts.events != events {
            self.id_changed = false;
        }
        if carried && self.data_buffer.capacity() > KEEP_CAPACITY {
            self.data_buffer = Vec::new();
        }
    }

    pub(crate) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), Error> {
        let withheld = self.mark.end();
        if !withheld.is_empty() {
            self.carry(withheld, 0)?;
        }
        let cut = std::mem::take(&mut self.cut);
        self.read_cut(&cut, sink)?;
        let partial = std::mem::take(&mut self.partial);
        if partial.open
            && self.shared.options.end_of_input == EndOfInput::Flush
            && let (Kind::Data, _) = classify(&partial.kept, false)
        {
            // The line has no end, but its payload may be whole all the same. Other fields may be cut short.
            self.partial = partial;
            self.carried_line(&[], sink)?;
        }
        if !self.shared.done
            && self.data.is_some()
            && self.shared.may_flush(self.data_buffer.get(self.data_head..).unwrap_or_default())
        {
            self.settle_id();
            self.deliver(&[], true, sink);
        }
        self.data = None;
        self.name = None;
        self.id_buffer = None;
        self.swallow_lf = false;
        Ok(())
    }
}

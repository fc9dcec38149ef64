//! Newline-delimited JSON: one payload a line, ended by LF or CR LF; blank lines are skipped.

use memchr::memchr;

use crate::decoder::{DecoderOptions, Frame, Mark, Piece, Shared, Sink};
use crate::error::{Error, exceeded};
use crate::limits::Limit;

/// The decoder's state between two chunks.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) shared: Shared,
    mark: Mark,
    /// Place of the current chunk's first byte in the stream.
    offset: u64,
    /// The line that the last chunk ended in.
    partial: Vec<u8>,
    /// Place of that line's first byte.
    start: u64,
    /// Bytes of blank lines since the last event.
    idle: u64,
}

impl Lines {
    pub(crate) fn new(options: DecoderOptions) -> Self {
        let shared = Shared::new(options);
        Self { shared, mark: Mark::Matching(0), offset: 0, partial: Vec::new(), start: 0, idle: 0 }
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.partial.is_empty()
    }

    pub(crate) fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), Error> {
        self.shared.counts.bytes += chunk.len() as u64;
        if self.shared.done {
            return Ok(());
        }
        let (mut at, withheld) = self.mark.pass(chunk);
        if !withheld.is_empty() {
            self.carry(withheld, 0)?;
        }
        while !self.shared.done
            && let Some(rest) = chunk.get(at..)
            && !rest.is_empty()
        {
            let Some(length) = memchr(b'\n', rest) else {
                self.carry(rest, self.offset + at as u64)?;
                break;
            };
            if self.partial.is_empty() {
                let start = self.offset + at as u64;
                self.line(chunk, Piece::Chunk(at..at + length), start, false, sink)?;
            } else {
                self.carry(rest.get(..length).unwrap_or_default(), 0)?;
                self.carried_line(chunk, false, sink)?;
            }
            at += length + 1;
        }
        self.offset += chunk.len() as u64;
        Ok(())
    }

    pub(crate) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), Error> {
        let withheld = self.mark.end();
        if !withheld.is_empty() {
            self.carry(withheld, 0)?;
        }
        let line = self.partial.trim_ascii();
        if !self.shared.done && self.shared.may_flush(line) {
            self.carried_line(&[], true, sink)?;
        }
        self.partial = Vec::new();
        Ok(())
    }

    /// Adds to the line that is open at the end of the chunk.
    fn carry(&mut self, bytes: &[u8], start: u64) -> Result<(), Error> {
        if self.partial.is_empty() {
            self.start = start;
        }
        self.partial.extend_from_slice(bytes);
        // A CR at the end may turn out to belong to the line's end.
        let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        self.check(line.len() as u64, self.start)
    }

    fn carried_line(&mut self, chunk: &[u8], flushed: bool, sink: &mut impl Sink) -> Result<(), Error> {
        let line = std::mem::take(&mut self.partial);
        self.line(chunk, Piece::Carried(&line), self.start, flushed, sink)
    }

    fn line(
        &mut self,
        chunk: &[u8],
        piece: Piece<'_>,
        start: u64,
        flushed: bool,
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        let data = match piece {
            Piece::Chunk(range) => {
                let line = chunk.get(range.clone()).unwrap_or_default();
                Piece::Chunk(range.start..range.end - usize::from(line.last() == Some(&b'\r')))
            }
            Piece::Carried(line) => Piece::Carried(line.strip_suffix(b"\r").unwrap_or(line)),
        };
        let (length, blank) = match &data {
            Piece::Chunk(range) => {
                (range.len(), chunk.get(range.clone()).is_none_or(|line| line.trim_ascii().is_empty()))
            }
            Piece::Carried(line) => (line.len(), line.trim_ascii().is_empty()),
        };
        self.check(length as u64, start)?;
        if blank {
            self.idle += length as u64 + 1;
            let maximum = self.shared.options.limits.max_idle_bytes;
            if self.idle > maximum {
                return Err(exceeded(
                    Limit::IdleBytes,
                    maximum,
                    start + length as u64 + 1 + maximum - self.idle,
                ));
            }
            return Ok(());
        }
        self.idle = 0;
        self.shared.require_text(data.bytes(chunk), start)?;
        self.shared.deliver(chunk, Frame { data, name: None, id_changed: false, id: &[], flushed }, sink);
        Ok(())
    }

    /// Holds a line of `length` bytes to the limits.
    fn check(&self, length: u64, start: u64) -> Result<(), Error> {
        let limits = &self.shared.options.limits;
        if length <= limits.max_line_bytes && length <= limits.max_event_bytes {
            return Ok(());
        }
        let limit =
            if limits.max_event_bytes < limits.max_line_bytes { Limit::EventBytes } else { Limit::LineBytes };
        Err(exceeded(limit, limits.get(limit), start + limits.get(limit)))
    }
}

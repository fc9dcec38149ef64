//! Lines held to the limits.

use crate::error::{Error, exceeded};
use crate::limits::Limit;
use crate::sse::line::Kind;
use crate::sse::{Lines, Place};

impl Lines {
    /// Holds a line of `length` bytes, so far or in all, to the limits. What it breaks first, by offset, is
    /// the error, so that the error does not depend on how the input was cut.
    #[inline]
    pub(super) fn check(
        &mut self,
        kind: Kind,
        value: u64,
        length: u64,
        start: u64,
        ended: bool,
    ) -> Result<(), Error> {
        let limits = &self.shared.options.limits;
        let mut full = false;
        let own = match kind {
            Kind::Data => {
                let held = match &self.data {
                    None => 0,
                    Some(Place::Chunk(range)) => range.len() as u64 + 1,
                    Some(Place::Buffer) => (self.data_buffer.len() - self.data_head) as u64 + 1,
                };
                // The LF that joins this line may itself be one byte too many; while the line is open and has
                // no value yet, the place of that value is not known.
                full = held > limits.max_event_bytes && (ended || length > value);
                (Limit::EventBytes, value.saturating_add(limits.max_event_bytes.saturating_sub(held)))
            }
            Kind::Event => (Limit::EventNameBytes, value.saturating_add(limits.max_event_name_bytes)),
            Kind::Id => (Limit::IdBytes, value.saturating_add(limits.max_id_bytes)),
            _ => (Limit::LineBytes, limits.max_line_bytes),
        };
        if kind == Kind::Undecided {
            // A few bytes that may become anything; they are held to the rest once that is known.
            return if length <= own.1 { Ok(()) } else { Err(exceeded(own.0, own.1, start + own.1)) };
        }
        let idle = limits.max_idle_bytes - self.idle.min(limits.max_idle_bytes);
        if kind == Kind::Data {
            if length <= own.1 && length <= limits.max_line_bytes && !full {
                return Ok(());
            }
        } else if length <= own.1 && length <= limits.max_line_bytes && length + u64::from(ended) <= idle {
            if ended {
                self.idle += length + 1;
            }
            return Ok(());
        }
        let mut allowed = [(Limit::LineBytes, limits.max_line_bytes), own, (Limit::IdleBytes, idle)];
        if kind == Kind::Data {
            allowed = [allowed[0], own, own];
        }
        let (limit, at) = allowed.into_iter().min_by_key(|(_, at)| *at).unwrap_or(own);
        Err(exceeded(limit, limits.get(limit), start + at))
    }
}

//! Writes the events of a response, numbered and framed.

use crate::event::EventType;

/// How an emitter frames its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wire {
    /// Event-stream text, each event with an `event` field equal to its `type`.
    #[default]
    Sse,
    /// One JSON text an event, as in a WebSocket text frame.
    Messages,
}

/// What an event takes that begins, opens or ends something; less, the output grows several times for one event.
const USUAL_BYTES: usize = 1024;

/// Of a prefix, all but the type, which may stand there twice.
const PREFIX_BYTES: usize = 48;

/// Appends what stands before the number of an event of type `event`.
fn push_prefix(wire: Wire, event: EventType, out: &mut Vec<u8>) {
    if wire == Wire::Sse {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_str().as_bytes());
        out.extend_from_slice(b"\ndata: ");
    }
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_str().as_bytes());
    out.extend_from_slice(b"\",\"sequence_number\":");
}

/// Letters and digits of padding.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/// Pads deltas so that their sizes do not tell the lengths of tokens.
#[derive(Debug, Clone, Copy)]
struct Padding {
    /// Frames of deltas have a multiple of this size.
    multiple: usize,
    state: u64,
}

impl Padding {
    /// Appends an `obfuscation` member that makes the frame from `from` on, with `tail` more bytes, the right size.
    fn push(&mut self, from: usize, tail: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"obfuscation\":\"");
        let size = out.len() - from + 1 + tail;
        for _ in 0..(self.multiple - size % self.multiple) % self.multiple {
            // xorshift64*, Marsaglia 2003 and Vigna 2016
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let place = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 58;
            out.push(ALPHABET.get(place as usize).copied().unwrap_or(b'0'));
        }
        out.push(b'"');
    }
}

/// A number that grows by one, as decimal digits: most steps change no more than the last.
#[derive(Debug)]
struct Counter {
    value: u64,
    digits: [u8; 20],
    /// Where the first digit stands.
    start: usize,
}

impl Counter {
    const ZERO: Self = Self { value: 0, digits: [b'0'; 20], start: 19 };

    fn digits(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }

    #[inline]
    fn step(&mut self) {
        self.value += 1;
        for (place, digit) in self.digits.iter_mut().enumerate().rev() {
            self.start = self.start.min(place);
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }
}

/// Appends numbered events to a buffer that its owner empties.
#[derive(Debug)]
pub(super) struct Writer {
    wire: Wire,
    escape_separators: bool,
    padding: Option<Padding>,
    /// What closes each event.
    tail: Vec<u8>,
    pub(super) out: Vec<u8>,
    /// How much was written when it was last cleared.
    cleared: usize,
    /// Where each message ends; unused for SSE.
    ends: Vec<usize>,
    /// Where the event being written starts.
    from: usize,
    /// The number of the next event.
    sequence: Counter,
}

impl Writer {
    /// `members` stand at the end of each event; each begins with a comma.
    pub(super) fn new(
        wire: Wire,
        escape_separators: bool,
        padding: Option<(usize, u64)>,
        members: &[u8],
    ) -> Self {
        let mut tail = members.to_vec();
        tail.extend_from_slice(match wire {
            Wire::Sse => b"}\n\n",
            Wire::Messages => b"}",
        });
        let padding = padding
            .filter(|&(multiple, _)| multiple > 1)
            .map(|(multiple, seed)| Padding { multiple, state: seed | 1 });
        Self {
            wire,
            escape_separators,
            padding,
            tail,
            out: Vec::new(),
            cleared: 0,
            ends: Vec::new(),
            from: 0,
            sequence: Counter::ZERO,
        }
    }

    /// What closes each event.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Whether the events of an event stream are left as they were written.
    pub(super) fn is_plain(&self) -> bool {
        self.wire == Wire::Sse && self.padding.is_none() && !self.escape_separators
    }

    /// Makes room for so many bytes and the events that follow.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes + 2 * USUAL_BYTES);
    }

    /// What stands before the number of an event of type `event`, with room for `more` bytes.
    pub(super) fn prefix(&self, event: EventType, more: usize) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(PREFIX_BYTES + 2 * event.as_str().len() + more);
        push_prefix(self.wire, event, &mut prefix);
        prefix
    }

    /// Begins an event of type `event`; its further members are to be appended, each after a comma.
    pub(super) fn begin(&mut self, event: EventType) -> &mut Vec<u8> {
        self.from = self.out.len();
        self.out.reserve(USUAL_BYTES);
        push_prefix(self.wire, event, &mut self.out);
        self.out.extend_from_slice(self.sequence.digits());
        self.sequence.step();
        &mut self.out
    }

    /// The digits of the next event's number.
    #[inline]
    pub(super) fn number(&self) -> &[u8] {
        self.sequence.digits()
    }

    /// Begins an event with what stands before its delta, its number included.
    #[inline]
    pub(super) fn begin_with(&mut self, head: &[u8]) -> &mut Vec<u8> {
        self.from = self.out.len();
        self.sequence.step();
        self.out.extend_from_slice(head);
        &mut self.out
    }

    /// Ends an event of a plain stream with `end`, its tail included.
    #[inline]
    pub(super) fn end_with(&mut self, end: &[u8]) {
        self.out.extend_from_slice(end);
    }

    /// Ends the event of a delta.
    #[inline]
    pub(super) fn end_delta(&mut self) {
        if let Some(padding) = &mut self.padding {
            // Escaping grows the event, so it comes before measuring.
            if self.escape_separators {
                escape_from(self.from, &mut self.out);
            }
            padding.push(self.from, self.tail.len(), &mut self.out);
        }
        self.end();
    }

    /// Ends the event.
    #[inline]
    pub(super) fn end(&mut self) {
        if self.escape_separators {
            escape_from(self.from, &mut self.out);
        }
        self.out.extend_from_slice(&self.tail);
        if self.wire != Wire::Sse {
            self.ends.push(self.out.len());
        }
    }

    /// Events written so far.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence.value
    }

    /// Each message written since the last call of [`clear`](Self::clear).
    pub(super) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.out.get(start..end).unwrap_or_default())
    }

    /// Forgets what was written. The room is kept that an event takes, or as much as was written twice in a row: a
    /// stream's first events take more than that, and most streams are silent for long after them.
    pub(super) fn clear(&mut self) {
        let usual = self.out.len().min(self.cleared).max(USUAL_BYTES);
        self.cleared = self.out.len();
        self.out.clear();
        if self.out.capacity() > 2 * usual {
            self.out.shrink_to(usual);
        }
        self.ends.clear();
    }

    /// Hands over what was written.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.ends.clear();
        std::mem::take(&mut self.out)
    }
}

/// Replaces U+0085, U+2028 and U+2029 from `from` on by their escapes; in JSON they stand in strings only.
fn escape_from(from: usize, out: &mut Vec<u8>) {
    let written = out.get(from..).unwrap_or_default();
    if memchr::memchr2(0xc2, 0xe2, written).is_none() {
        return;
    }
    let mut escaped = Vec::with_capacity(written.len() + 8);
    let mut rest = written;
    while let Some((&byte, tail)) = rest.split_first() {
        let (escape, length): (&[u8], _) = match rest {
            [0xc2, 0x85, ..] => (b"\\u0085", 2),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            _ => {
                escaped.push(byte);
                rest = tail;
                continue;
            }
        };
        escaped.extend_from_slice(escape);
        rest = rest.get(length..).unwrap_or_default();
    }
    out.truncate(from);
    out.extend_from_slice(&escaped);
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn a_counter_counts() {
        let mut counter = Counter::ZERO;
        for number in 0..10_100_u64 {
            assert_eq!((counter.value, counter.digits()), (number, number.to_string().as_bytes()));
            counter.step();
        }
    }
}

//! A document that came in place of an event stream: most likely the server's error.

/// How much of a body that is no event stream is kept to show.
const BODY_CAPACITY: usize = 1 << 20;

/// What the input has turned out to be so far.
#[derive(Debug)]
pub(super) enum Sniff {
    Undecided,
    /// It starts like a document and has held no event; this is its beginning.
    Body(Vec<u8>),
    Stream,
}

impl Sniff {
    /// Whether there is nothing left to find out.
    pub(super) const fn is_settled(&self) -> bool {
        matches!(self, Self::Stream)
    }

    pub(super) fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Body(body) => Some(body),
            _ => None,
        }
    }

    /// Looks at the next bytes; `events` tells whether any event has come.
    #[cold]
    pub(super) fn feed(&mut self, mut chunk: &[u8], events: bool) {
        if events {
            *self = Self::Stream;
            return;
        }
        if let Self::Undecided = self {
            chunk = chunk.trim_ascii_start();
            *self = match chunk.first() {
                None => return,
                Some(b'{' | b'[' | b'<') => Self::Body(Vec::new()),
                Some(_) => Self::Stream,
            };
        }
        if let Self::Body(body) = self {
            let room = BODY_CAPACITY - body.len().min(BODY_CAPACITY);
            body.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
        }
    }
}

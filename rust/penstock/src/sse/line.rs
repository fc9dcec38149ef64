//! One line: what it does, where its value starts, and what is kept of it when a chunk ends inside.

/// What a line does, by its field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Event,
    Id,
    Retry,
    Comment,
    Unknown,
    /// Too short yet to tell.
    Undecided,
}

/// A line that the last chunk ended in.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// What is kept of it: nothing once it is known that the line does not matter.
    pub(super) kept: Vec<u8>,
    /// Its length so far.
    pub(super) length: u64,
    /// The place of its first byte in the stream.
    pub(super) start: u64,
    pub(super) ignored: Option<Ignored>,
    pub(super) open: bool,
}

/// A line whose content does not matter, only its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ignored {
    pub(super) comment: bool,
}

/// The kind of a line and where its value starts; a line that is not `complete` may still be anything.
#[inline]
pub(super) fn classify(line: &[u8], complete: bool) -> (Kind, usize) {
    let kind = match line {
        [b'd', b'a', b't', b'a', b':', ..] => Kind::Data,
        [b'e', b'v', b'e', b'n', b't', b':', ..] => Kind::Event,
        [b':', ..] => Kind::Comment,
        [b'i', b'd', b':', ..] => Kind::Id,
        [b'r', b'e', b't', b'r', b'y', b':', ..] => Kind::Retry,
        _ if !complete => undecided(line),
        b"data" => Kind::Data,
        b"event" => Kind::Event,
        b"id" => Kind::Id,
        b"retry" => Kind::Retry,
        _ => Kind::Unknown,
    };
    (kind, value_offset(kind, line))
}

/// Whether an incomplete line without a field yet can still get one.
fn undecided(line: &[u8]) -> Kind {
    let open = [&b"data"[..], b"event", b"id", b"retry"].iter().any(|name| name.starts_with(line));
    if open { Kind::Undecided } else { Kind::Unknown }
}

/// Where the value of a line of this kind starts: after the colon and one space, at the end without a colon.
#[inline]
pub(super) fn value_offset(kind: Kind, line: &[u8]) -> usize {
    let name = match kind {
        Kind::Data => 4,
        Kind::Event | Kind::Retry => 5,
        Kind::Id => 2,
        Kind::Comment | Kind::Unknown | Kind::Undecided => return 0,
    };
    let value = name + 1 + usize::from(line.get(name + 1) == Some(&b' '));
    value.min(line.len())
}

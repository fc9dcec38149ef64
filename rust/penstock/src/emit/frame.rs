//! One frame of an event stream: what it is given can become text of an event, never an event of its own.

use crate::error::Error;
use crate::json::push_number;

/// One event for [`write_sse`]; fields that are `None` are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct SseFrame<'a> {
    /// A comment before the event, which readers ignore. Line ends in it begin further comment lines.
    pub comment: Option<&'a [u8]>,
    /// The `event` field; neither CR, LF nor NUL, and not empty.
    pub name: Option<&'a [u8]>,
    /// The `id` field; neither CR, LF nor NUL.
    pub id: Option<&'a [u8]>,
    /// The `retry` field, in milliseconds.
    pub retry: Option<u64>,
    /// The payload: one `data` line for each of its lines. A reader gets LF for each of its line ends.
    pub data: Option<&'a [u8]>,
}

/// Appends `frame` as WHATWG event-stream text: at most one event, and none if it has no data. Bytes are written
/// as they are; readers replace what is not UTF-8. A name or id that the format cannot carry is refused
/// ([`Error::Event`], rule `unsafe_name` or `unsafe_id`) and nothing is written.
pub fn write_sse(frame: &SseFrame<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    if let Some(name) = frame.name {
        require_one_line("unsafe_name", name)?;
        // A reader takes an empty name for none.
        if name.is_empty() {
            return Err(refusal("unsafe_name"));
        }
    }
    if let Some(id) = frame.id {
        require_one_line("unsafe_id", id)?;
    }
    if let Some(comment) = frame.comment {
        push_lines(b": ", comment, out);
    }
    for (field, value) in [(&b"event: "[..], frame.name), (b"id: ", frame.id)] {
        if let Some(value) = value {
            out.extend_from_slice(field);
            out.extend_from_slice(value);
            out.push(b'\n');
        }
    }
    if let Some(retry) = frame.retry {
        out.extend_from_slice(b"retry: ");
        push_number(retry, out);
        out.push(b'\n');
    }
    if let Some(data) = frame.data {
        push_lines(b"data: ", data, out);
    }
    out.push(b'\n');
    Ok(())
}

/// Appends each line of `text` behind `field`. CR, LF and CR LF end lines, as readers see it.
fn push_lines(field: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        out.extend_from_slice(field);
        let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
            out.extend_from_slice(rest);
            return out.push(b'\n');
        };
        let (line, tail) = rest.split_at(end);
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = tail.strip_prefix(b"\r\n").or_else(|| tail.get(1..)).unwrap_or_default();
    }
}

/// Refuses a name or id with a character that would end its line, or, as NUL in an id does, make readers drop it.
pub(super) fn require_one_line(rule: &'static str, value: &[u8]) -> Result<(), Error> {
    if memchr::memchr3(b'\r', b'\n', 0, value).is_some() { Err(refusal(rule)) } else { Ok(()) }
}

#[cold]
fn refusal(rule: &'static str) -> Error {
    Error::Event { rule, event: Box::default() }
}

//! A stream that passes through: bytes in, the same bytes out, frame by frame, and always a truthful end.
//!
//! Whole frames leave as they came. Half a frame waits for its rest, so that whatever is appended, a terminal event
//! above all, stands where an event may stand. What passes is accumulated, and a stream that is cut, times out or
//! fails is ended in its own dialect with what had come.

mod account;
mod frames;

use std::borrow::Cow;

use crate::accumulate::{ChatAccumulator, ResponseAccumulator};
use crate::decoder::{Decoder, DecoderOptions, EndOfInput, Frame};
use crate::emit::{SseFrame, write_sse};
use crate::error::{Error, exceeded};
use crate::event::{EventType, Field, Fields};
use crate::json::{Edit, entries, patch, push_key, push_string};
use crate::limits::{Limit, Limits};

use account::{Account, dialect_of};
use frames::FrameEnds;

/// The API whose events a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RelayDialect {
    /// Responses.
    Responses,
    /// Chat Completions.
    Chat,
    /// Messages; only its end is known.
    Messages,
    /// None: frames are told apart, and nothing is known of an end.
    Framing,
}

/// How a [`Relay`] works.
#[derive(Debug, Clone, Default)]
pub struct RelayOptions {
    /// The dialect; `None` to find it by the first event that tells.
    pub dialect: Option<RelayDialect>,
    /// Hold the event that ends the stream back until [`Relay::release`].
    pub hold: bool,
    /// The bounds.
    pub limits: Limits,
}

/// Where the event that ends the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// It is not held back, or has been released.
    Open,
    /// It is to be held back when it comes.
    Watching,
    /// It has come: its frame is the first so many bytes held.
    Closed(usize),
}

/// One stream on its way from a server to a client.
///
/// ```
/// use penstock::{Relay, RelayOptions};
///
/// let mut relay = Relay::new(&RelayOptions::default());
/// let chunk = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"cho";
/// assert_eq!(relay.feed(chunk)?.len(), chunk.len() - 11);
/// let end = relay.finish()?;
/// assert!(end.starts_with(b"data: {\"error\":{") && end.ends_with(b"data: [DONE]\n\n"));
/// # Ok::<(), penstock::Error>(())
/// ```
#[derive(Debug)]
pub struct Relay {
    ends: FrameEnds,
    /// The frame that is not whole; what is held back.
    held: Vec<u8>,
    decoder: Decoder,
    account: Account,
    gate: Gate,
    failed: Option<Error>,
    /// The input has ended; nothing is owed any more.
    over: bool,
    limits: Limits,
}

impl Relay {
    /// A relay at the start of its stream.
    #[must_use]
    pub fn new(options: &RelayOptions) -> Self {
        let &RelayOptions { dialect, hold, limits } = options;
        Self {
            ends: FrameEnds::default(),
            held: Vec::new(),
            decoder: Decoder::new(DecoderOptions { limits, ..DecoderOptions::default() }),
            account: Account::new(dialect, &limits),
            gate: if hold { Gate::Watching } else { Gate::Open },
            failed: None,
            over: false,
            limits,
        }
    }

    /// The dialect of a stream that begins with `bytes`; `None` if its whole events do not tell it.
    #[must_use]
    pub fn recognize(bytes: &[u8], limits: &Limits) -> Option<RelayDialect> {
        let mut decoder = Decoder::new(DecoderOptions { limits: *limits, ..DecoderOptions::default() });
        let (mut ends, mut rest, mut found) = (FrameEnds::default(), bytes, None);
        while found.is_none()
            && let Some(length) = ends.next(rest)
            && let Some((frame, behind)) = rest.split_at_checked(length)
        {
            rest = behind;
            let mut sink = |chunk: &[u8], frame: Frame<'_>| {
                let name = frame.name.as_ref().map(|name| name.bytes(chunk));
                found = found.or_else(|| dialect_of(frame.data.bytes(chunk), name));
            };
            decoder.feed(frame, &mut sink).ok()?;
        }
        found
    }

    /// Takes the next bytes and gives those that may be written now: a part of `chunk` where nothing was held.
    ///
    /// An error comes after the frames before it; from then on it is repeated, and nothing passes.
    pub fn feed<'a>(&mut self, chunk: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.is_held() {
            self.held.extend_from_slice(chunk);
            return self.checked(Cow::Borrowed(&[]));
        }
        // Nobody reads what stands behind the sentinel.
        if self.over || self.decoder.is_done() {
            let rest = usize::from(self.ends.take_lf(chunk));
            return Ok(Cow::Borrowed(chunk.get(..rest).unwrap_or_default()));
        }
        if self.held.is_empty() {
            let passed = self.pass(chunk);
            self.held.extend_from_slice(chunk.get(passed..).unwrap_or_default());
            self.checked(Cow::Borrowed(chunk.get(..passed).unwrap_or_default()))
        } else {
            self.held.extend_from_slice(chunk);
            let passed = self.pass_held();
            self.checked(Cow::Owned(passed))
        }
    }

    /// Ends the input. What a stream lacks that has not ended is written: it has failed. May be called again.
    pub fn finish(&mut self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        if self.is_held() || self.over {
            return Ok(out);
        }
        if self.failed.is_none() && self.is_whole_but_for_its_end() {
            // The end of its last line may be missing, too.
            while out.is_empty() && !self.held.is_empty() && !self.is_held() && self.failed.is_none() {
                self.held.push(b'\n');
                out = self.pass_held();
            }
            if self.is_held() {
                return Ok(out);
            }
        }
        if self.account.has_ended() {
            self.account.finish(self.decoder.is_done(), &mut out)?;
            self.end();
        } else {
            self.fail_into("server_error", "the upstream's stream ended before its response did", &mut out)?;
        }
        Ok(out)
    }

    /// Ends the stream as failed, whatever the reason, and gives the rest of it: nothing where it has ended. An end
    /// that is held back is replaced.
    pub fn fail(&mut self, code: &str, message: &str) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.fail_into(code, message, &mut out)?;
        Ok(out)
    }

    fn fail_into(&mut self, code: &str, message: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.over {
            return Ok(());
        }
        if let Gate::Closed(length) = self.gate {
            self.gate = Gate::Open;
            self.refuse(length, code, message, out)?;
        } else if !self.has_ended() {
            self.account.fail(code, message, out)?;
        }
        self.end();
        Ok(())
    }

    /// Appends a failure in place of the end that is held back, the first `length` bytes held.
    fn refuse(&mut self, length: usize, code: &str, message: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.dialect() != Some(RelayDialect::Responses) {
            return self.account.fail(code, message, out);
        }
        let frame = self.held.get(..length).unwrap_or_default();
        let mut decoder = Decoder::new(DecoderOptions { limits: self.limits, ..DecoderOptions::default() });
        let mut result = Ok(());
        decoder.feed(frame, &mut |chunk: &[u8], frame: Frame<'_>| {
            result = as_failed(frame.data.bytes(chunk), code, message, out);
        })?;
        result
    }

    /// Forgets half a frame; nothing follows.
    fn end(&mut self) {
        self.over = true;
        self.held = Vec::new();
        self.ends = FrameEnds::default();
    }

    /// Whether the event that ends the stream has come and waits for [`release`](Self::release).
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(self.gate, Gate::Closed(_))
    }

    /// Gives what is held back. `usage` is an empty text or a JSON object whose members are put into the event's
    /// usage, if it has one; nothing else of it changes.
    pub fn release(&mut self, usage: &[u8]) -> Result<Vec<u8>, Error> {
        let Gate::Closed(length) = self.gate else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        let frame = self.held.get(..length).unwrap_or_default();
        match self.edited(frame, usage)? {
            Some(edited) => out.extend_from_slice(&edited),
            None => out.extend_from_slice(frame),
        }
        self.held.drain(..length.min(self.held.len()));
        self.gate = Gate::Open;
        out.extend_from_slice(&self.pass_held());
        Ok(out)
    }

    /// Whether the stream has ended in its dialect's own way, by its server or by [`fail`](Self::fail).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.account.has_ended() || self.decoder.is_done()
    }

    /// Whether the last event of the stream has come, held back or not: nothing that belongs to it follows. A Chat
    /// Completions stream that [has ended](Self::has_ended) may still bring its usage and the sentinel.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.over || self.is_held() || self.decoder.is_done() || self.account.is_done()
    }

    /// The dialect, once it is known.
    #[must_use]
    pub const fn dialect(&self) -> Option<RelayDialect> {
        self.account.dialect()
    }

    /// Events that have come.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.decoder.counts().events
    }

    /// What has come of a Responses stream.
    #[must_use]
    pub fn responses(&self) -> Option<&ResponseAccumulator> {
        if let Account::Responses(responses) = &self.account { Some(responses) } else { None }
    }

    /// What has come of a Chat Completions stream.
    #[must_use]
    pub fn chat(&self) -> Option<&ChatAccumulator> {
        if let Account::Chat(chat) = &self.account { Some(chat) } else { None }
    }

    /// Passes the whole frames that are held.
    fn pass_held(&mut self) -> Vec<u8> {
        let mut held = std::mem::take(&mut self.held);
        let passed = self.pass(&held);
        let rest = held.split_off(passed.min(held.len()));
        self.held = rest;
        held
    }

    /// Takes note of the whole frames that `bytes` begin with; how many bytes may pass.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(length) = self.ends.next(bytes.get(passed..).unwrap_or_default()) {
            let frame = bytes.get(passed..passed + length).unwrap_or_default();
            match self.note(frame) {
                Ok(false) => passed += length,
                Ok(true) => {
                    self.gate = Gate::Closed(length);
                    self.ends = FrameEnds::default();
                    break;
                }
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
            if self.decoder.is_done() {
                break;
            }
        }
        passed
    }

    /// Takes note of one frame; whether it is to be held back.
    fn note(&mut self, frame: &[u8]) -> Result<bool, Error> {
        let (account, limits) = (&mut self.account, &self.limits);
        let mut last = Ok(false);
        self.decoder.feed(frame, &mut |chunk: &[u8], frame: Frame<'_>| {
            if let Ok(false) = last {
                let name = frame.name.as_ref().map(|name| name.bytes(chunk));
                last = account.take(frame.data.bytes(chunk), name, limits);
            }
        })?;
        if self.decoder.is_done() {
            self.account.done();
            last = last.map(|_| true);
        }
        last.map(|last| last && self.gate == Gate::Watching)
    }

    /// What passed, unless that was nothing and there is an error to tell.
    fn checked<'a>(&mut self, passed: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>, Error> {
        if self.decoder.is_done() && !self.is_held() {
            self.held.clear();
        }
        // Whole frames are held to their limits by the decoder; here it is about one that never ends.
        let maximum = self.limits.max_event_bytes.saturating_add(self.limits.max_idle_bytes);
        if self.failed.is_none() && self.held.len() as u64 > maximum {
            let offset = self.decoder.counts().bytes.saturating_add(maximum);
            self.failed = Some(exceeded(Limit::EventBytes, maximum, offset));
        }
        match &self.failed {
            Some(error) if passed.is_empty() => Err(error.clone()),
            _ => Ok(passed),
        }
    }

    /// Whether only the blank line is missing to what is held: some servers leave the last one out.
    fn is_whole_but_for_its_end(&self) -> bool {
        let options = DecoderOptions {
            end_of_input: EndOfInput::Flush,
            sentinel: None,
            limits: self.limits,
            ..DecoderOptions::default()
        };
        let mut probe = Decoder::new(options);
        let mut found = false;
        let mut sink = |_: &[u8], _: Frame<'_>| found = true;
        let fed = probe.feed(&self.held, &mut sink).and_then(|()| probe.finish(&mut sink));
        fed.is_ok() && found
    }

    /// `frame` with the members of `usage` in its usage; `None` where there is nothing to edit.
    fn edited(&self, frame: &[u8], usage: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if usage.is_empty() {
            return Ok(None);
        }
        let path: &[&str] = match self.dialect() {
            Some(RelayDialect::Responses) => &["response", "usage"],
            Some(RelayDialect::Chat) => &["usage"],
            _ => return Ok(None),
        };
        let mut result = Ok(None);
        let mut decoder = Decoder::new(DecoderOptions { limits: self.limits, ..DecoderOptions::default() });
        decoder.feed(frame, &mut |chunk: &[u8], found: Frame<'_>| {
            let mut payload = Vec::new();
            result = patch_at(found.data.bytes(chunk), path, usage, &mut payload).and_then(|edited| {
                let mut out = Vec::new();
                let name = found.name.as_ref().map(|name| name.bytes(chunk));
                let id = Some(found.id).filter(|_| found.id_changed);
                let frame = SseFrame { name, id, data: Some(&payload), ..SseFrame::default() };
                write_sse(&frame, &mut out).map(|()| edited.then_some(out))
            });
        })?;
        result
    }
}

/// Appends `object` with `members` put into the object at `path` in it; whether there is one.
fn patch_at(object: &[u8], path: &[&str], members: &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
    let Some((&key, rest)) = path.split_first() else {
        let mut pairs = Vec::new();
        entries(members, |key, value| {
            let key = String::from_utf8_lossy(key.raw).into_owned();
            pairs.push((key, members.get(value).unwrap_or_default()));
        })?;
        let values: Vec<_> = pairs
            .iter()
            .map(|(_, value)| {
                |out: &mut Vec<u8>| {
                    out.extend_from_slice(value);
                    Ok(())
                }
            })
            .collect();
        let edits: Vec<_> =
            pairs.iter().zip(&values).map(|((key, _), value)| Edit::new(key, value)).collect();
        return patch(object, &edits, out).map(|()| true);
    };
    let field = if key == "usage" { Field::Usage } else { Field::Response };
    let fields = Fields::scan(object)?;
    let Some(inner) = fields.value(object, field).filter(|inner| inner.starts_with(b"{")) else {
        return Ok(false);
    };
    let mut patched = Vec::new();
    if !patch_at(inner, rest, members, &mut patched)? {
        return Ok(false);
    }
    let value = |out: &mut Vec<u8>| {
        out.extend_from_slice(&patched);
        Ok(())
    };
    patch(object, &[Edit::new(key, &value)], out).map(|()| true)
}

/// Appends the terminal event `payload` of a response as one that says that the response has failed.
fn as_failed(payload: &[u8], code: &str, message: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    let name = EventType::Failed.as_str();
    let fields = Fields::scan(payload)?;
    let response = fields.value(payload, Field::Response).filter(|value| value.starts_with(b"{"));
    let kind = |out: &mut Vec<u8>| {
        push_string(name.as_bytes(), out);
        Ok(())
    };
    let status = |out: &mut Vec<u8>| {
        push_string(b"failed", out);
        Ok(())
    };
    let error = |out: &mut Vec<u8>| {
        out.push(b'{');
        push_key("code", out);
        push_string(code.as_bytes(), out);
        out.push(b',');
        push_key("message", out);
        push_string(message.as_bytes(), out);
        out.push(b'}');
        Ok(())
    };
    let response = |out: &mut Vec<u8>| {
        let edits = [Edit::new("status", &status), Edit::new("error", &error)];
        patch(response.unwrap_or(b"{}"), &edits, out)
    };
    let mut failed = Vec::new();
    patch(payload, &[Edit::new("type", &kind), Edit::new("response", &response)], &mut failed)?;
    write_sse(&SseFrame { name: Some(name.as_bytes()), data: Some(&failed), ..SseFrame::default() }, out)
}

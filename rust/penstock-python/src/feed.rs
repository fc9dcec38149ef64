//! What an accumulator may be fed: events, the bytes of a stream, or single payloads.

use penstock::json::Cursor;
use penstock::{Decoder, DecoderOptions, EndOfInput, Error, Frame, Framing, Limits, Miss, Sink};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::bytes_like::with_bytes;
use crate::errors::raise;
use crate::event::Event;
use crate::partial::with_utf8;

/// Takes the payloads of a stream one by one.
pub(crate) trait Accumulate {
    /// Takes one payload and the name of its `event` field.
    fn take(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error>;

    /// Takes the event that starts at `at` of a chunk, if it recognises all of it; gives where it ends.
    fn take_known(&mut self, chunk: &[u8], at: usize) -> Result<(usize, Result<(), Error>), Miss> {
        let _ = (chunk, at);
        Err(Miss::Different)
    }

    /// The sentinel came.
    fn done(&mut self) {}
}

/// Turns what callers have into payloads. Bytes of a stream pass through a decoder of its own.
pub(crate) struct Feed {
    decoder: Decoder,
}

impl Feed {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::framed(limits, Framing::Sse)
    }

    /// As `new`, for bytes in another framing.
    pub(crate) fn framed(limits: &Limits, framing: Framing) -> Self {
        let end_of_input = EndOfInput::Flush;
        let options = DecoderOptions { framing, end_of_input, limits: *limits, ..DecoderOptions::default() };
        Self { decoder: Decoder::new(options) }
    }

    /// Feeds one thing, or a list of them.
    pub(crate) fn feed(&mut self, data: &Bound<'_, PyAny>, target: &mut impl Accumulate) -> PyResult<()> {
        if let Ok(list) = data.cast::<PyList>() {
            return list.iter().try_for_each(|item| self.feed_one(&item, target));
        }
        if let Ok(tuple) = data.cast::<PyTuple>() {
            return tuple.iter().try_for_each(|item| self.feed_one(&item, target));
        }
        self.feed_one(data, target)
    }

    fn feed_one(&mut self, data: &Bound<'_, PyAny>, target: &mut impl Accumulate) -> PyResult<()> {
        let py = data.py();
        let taken = |result: Result<(), Error>| result.map_err(|error| raise(py, &error));
        if let Ok(event) = data.cast::<Event>() {
            let event = event.get();
            return taken(target.take(event.payload(py), event.name_bytes(py)));
        }
        if let Ok(text) = data.cast::<PyString>() {
            return with_utf8(text, |payload| taken(target.take(payload, None)));
        }
        if data.is_instance_of::<PyDict>() {
            // ASCII escapes carry surrogates that UTF-8 could not.
            let text = py.import("json")?.call_method1("dumps", (data,))?;
            return taken(target.take(text.cast::<PyString>()?.to_str()?.as_bytes(), None));
        }
        with_bytes(data, |chunk| taken(self.feed_bytes(chunk.as_bytes(), target))).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(py) && !is_buffer(data) {
                let name = data.get_type().name().map(|name| name.to_string()).unwrap_or_default();
                return PyTypeError::new_err(format!(
                    "an accumulator takes events, lists of them, bytes, str and dict, not {name}"
                ));
            }
            error
        })
    }

    /// Feeds bytes of the stream, or one payload: an event stream has no line that begins with a brace.
    fn feed_bytes(&mut self, chunk: &[u8], target: &mut impl Accumulate) -> Result<(), Error> {
        if self.decoder.is_idle() && is_object(chunk) {
            return target.take(chunk, None);
        }
        let mut failure = None;
        let result = self.decoder.feed(chunk, &mut Into { target, failure: &mut failure });
        self.conclude(result, failure, target)
    }

    /// Ends the input of bytes; an event that only lacks its blank line is delivered.
    pub(crate) fn finish(&mut self, target: &mut impl Accumulate) -> Result<(), Error> {
        let mut failure = None;
        let result = self.decoder.finish(&mut Into { target, failure: &mut failure });
        self.conclude(result, failure, target)
    }

    fn conclude(
        &mut self,
        result: Result<(), Error>,
        failure: Option<Error>,
        target: &mut impl Accumulate,
    ) -> Result<(), Error> {
        if let Some(failure) = failure {
            return Err(failure);
        }
        if self.decoder.is_done() {
            target.done();
        }
        result
    }
}

/// A sink that hands events to `target` until one is refused.
struct Into<'a, T> {
    target: &'a mut T,
    failure: &'a mut Option<Error>,
}

impl<T: Accumulate> Sink for Into<'_, T> {
    #[inline]
    fn frame(&mut self, chunk: &[u8], frame: Frame<'_>) {
        if self.failure.is_none() {
            let name = frame.name.as_ref().map(|name| name.bytes(chunk));
            *self.failure = self.target.take(frame.data.bytes(chunk), name).err();
        }
    }

    #[inline]
    fn known(&mut self, text: &[u8], at: usize, _: bool) -> Result<usize, Miss> {
        if self.failure.is_some() {
            return Err(Miss::Different);
        }
        let (end, result) = self.target.take_known(text, at)?;
        *self.failure = result.err();
        Ok(end)
    }
}

fn is_object(chunk: &[u8]) -> bool {
    let mut cursor = Cursor::new(chunk);
    chunk.trim_ascii_start().first() == Some(&b'{')
        && cursor.skip_value(0, u64::MAX).is_ok()
        && cursor.end().is_ok()
}

fn is_buffer(data: &Bound<'_, PyAny>) -> bool {
    pyo3::buffer::PyUntypedBuffer::get(data).is_ok()
}

//! What a decoder makes of frames: events, or rows of their fields.

use std::ops::Range;

use penstock::{Frame, Head, Known, Miss, Piece, Scanner, Sink, Span};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::bytes_like::join;
use crate::decoder::row::{Column, row};
use crate::event::{Context, Event, Parts, Reader, place};
use crate::strings;
use crate::template::Template;

/// Events of a larger chunk have bytes of their own, so that one that is kept does not keep them all.
const LARGE_CHUNK: usize = 1 << 16;

/// What the events made so far share.
pub(super) struct Contexts {
    /// For events without a shape.
    pub(super) plain: Py<Context>,
    /// For those of the shape seen last.
    pub(super) shaped: Py<Context>,
}

/// Turns frames into what the caller wants.
pub(super) struct Output<'a, 'py> {
    pub(super) chunk: &'a Bound<'py, PyBytes>,
    pub(super) columns: Option<&'a [Column]>,
    pub(super) id: &'a mut Option<Py<PyString>>,
    pub(super) scanner: &'a mut Scanner,
    pub(super) contexts: &'a mut Contexts,
    pub(super) made: &'a mut Vec<Py<PyAny>>,
    pub(super) failure: Option<PyErr>,
}

impl<'py> Output<'_, 'py> {
    #[inline(always)]
    fn event(&mut self, frame: &Frame<'_>) -> PyResult<Bound<'py, PyAny>> {
        let chunk = self.chunk.as_bytes();
        let (bytes, data, name) = match (&frame.data, &frame.name) {
            (Piece::Chunk(data), None) if chunk.len() <= LARGE_CHUNK => {
                (self.chunk.clone(), span(data), Span::default())
            }
            (Piece::Chunk(data), Some(Piece::Chunk(name))) if chunk.len() <= LARGE_CHUNK => {
                (self.chunk.clone(), span(data), span(name))
            }
            (data, name) => {
                let name = name.as_ref().map(|name| name.bytes(chunk)).unwrap_or_default();
                join(self.chunk.py(), data.bytes(chunk), name)?
            }
        };
        let whole = bytes.as_bytes();
        self.scanner.set_name(name.of(whole));
        let head = self.scanner.head(data.of(whole));
        self.make(Place { bytes, data, name }, &head, frame.flushed)
    }

    /// The event that was recognised at `at` of a text, which is the chunk unless it is `carried`.
    #[inline(always)]
    fn known_event(
        &mut self,
        text: &[u8],
        at: usize,
        carried: bool,
        known: &Known,
        head: &Head,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (data, name) = (known.data.moved(at), known.name.moved(at));
        if !carried && text.len() <= LARGE_CHUNK {
            return self.make(Place { bytes: self.chunk.clone(), data, name }, head, false);
        }
        let (bytes, data, name) = join(self.chunk.py(), data.of(text), name.of(text))?;
        self.make(Place { bytes, data, name }, head, false)
    }

    #[inline(always)]
    fn make(&mut self, place: Place<'py>, head: &Head, flushed: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = self.chunk.py();
        let Place { bytes, data, name } = place;
        let id = self.id.as_ref().map(|id| id.clone_ref(py));
        let parts = Parts { bytes: bytes.unbind(), data, name, id, flushed };
        Ok(place::make(py, Event::of(py, parts, head, self.context()?)?)?.into_any())
    }

    /// The context of the payload just scanned.
    #[inline]
    fn context(&mut self) -> PyResult<Py<Context>> {
        let py = self.chunk.py();
        let Some(shape) = self.scanner.shape() else { return Ok(self.contexts.plain.clone_ref(py)) };
        let known = self.contexts.shaped.get().template.as_ref();
        if !known.is_some_and(|template| template.is_of(shape)) {
            let template = Some(Template::new(shape.clone()));
            self.contexts.shaped = Context::new(py, self.contexts.plain.get().options, template)?;
        }
        Ok(self.contexts.shaped.clone_ref(py))
    }

    #[inline]
    fn row(&mut self, columns: &[Column], frame: &Frame<'_>) -> PyResult<Bound<'py, PyAny>> {
        let chunk = self.chunk.as_bytes();
        let payload = frame.data.bytes(chunk);
        let name = frame.name.as_ref().map(|name| name.bytes(chunk)).unwrap_or_default();
        self.scanner.set_name(name);
        let head = self.scanner.head(payload);
        let reader = Reader { py: self.chunk.py(), payload, name, head: &head };
        row(columns, &reader, self.id.as_ref(), frame.flushed)
    }

    /// A row of the event that was recognised at `at` of a text.
    #[inline]
    fn known_row(
        &self,
        columns: &[Column],
        text: &[u8],
        at: usize,
        known: &Known,
        head: &Head,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (payload, name) = (known.data.moved(at).of(text), known.name.moved(at).of(text));
        row(columns, &Reader { py: self.chunk.py(), payload, name, head }, self.id.as_ref(), false)
    }

    #[inline(always)]
    fn keep(&mut self, made: PyResult<Bound<'py, PyAny>>) {
        match made {
            Ok(made) => self.made.push(made.unbind()),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// Where an event's bytes are.
struct Place<'py> {
    bytes: Bound<'py, PyBytes>,
    data: Span,
    name: Span,
}

impl Sink for Output<'_, '_> {
    #[inline]
    fn frame(&mut self, _: &[u8], frame: Frame<'_>) {
        if self.failure.is_some() {
            return;
        }
        if frame.id_changed {
            let id = (!frame.id.is_empty()).then(|| strings::utf8(self.chunk.py(), frame.id).unbind());
            *self.id = id;
        }
        let made = match self.columns {
            None => self.event(&frame),
            Some(columns) => self.row(columns, &frame),
        };
        self.keep(made);
    }

    #[inline]
    fn known(&mut self, text: &[u8], at: usize, carried: bool) -> Result<usize, Miss> {
        if self.failure.is_some() {
            return Err(Miss::Different);
        }
        let (known, head) = self.scanner.known_head(text, at)?;
        let made = match self.columns {
            None => self.known_event(text, at, carried, &known, &head),
            Some(columns) => self.known_row(columns, text, at, &known, &head),
        };
        self.keep(made);
        Ok(at + known.length)
    }
}

/// Chunks are fed in pieces shorter than 4 GiB.
fn span(range: &Range<usize>) -> Span {
    Span { start: range.start as u32, end: range.end as u32 }
}

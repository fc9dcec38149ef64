//! Events that an emitter has written, in the form that a caller asked for.

use penstock::{Emitter, Head, Scanner, Span, Wire};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::event::{Context, Event, Parts};
use crate::given::unknown;
use crate::json::Options;
use crate::strings::utf8;

/// The form of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Sse,
    WebSocket,
    Events,
}

impl Format {
    /// The form that a word of the `format` option names.
    pub(crate) fn parse(word: &str) -> PyResult<Self> {
        match word {
            "sse" => Ok(Self::Sse),
            "websocket" => Ok(Self::WebSocket),
            "events" => Ok(Self::Events),
            other => Err(unknown("format", other, "\"sse\", \"websocket\" or \"events\"")),
        }
    }

    /// How the emitter is to frame its events.
    pub(crate) const fn wire(self) -> Wire {
        match self {
            Self::Sse => Wire::Sse,
            Self::WebSocket | Self::Events => Wire::Messages,
        }
    }
}

/// Reads an emitter's output.
pub(crate) struct Written {
    format: Format,
    scanner: Scanner,
    context: Py<Context>,
}

impl Written {
    pub(crate) fn new(py: Python<'_>, format: Format, limits: &penstock::Limits) -> PyResult<Self> {
        let context = Context::new(py, Options::new(limits, false), None)?;
        Ok(Self { format, scanner: Scanner::default(), context })
    }

    /// What was written and not cleared: bytes, a list of str or a list of `Event`.
    #[inline]
    pub(crate) fn read<'py>(&mut self, py: Python<'py>, emitter: &Emitter) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.format {
            Format::Sse => PyBytes::new(py, emitter.output()).into_any(),
            Format::WebSocket => {
                let texts = emitter.messages().map(|text| utf8(py, text)).collect::<Vec<_>>();
                PyList::new(py, texts)?.into_any()
            }
            Format::Events => {
                let events =
                    emitter.messages().map(|payload| event(py, payload, &mut self.scanner, &self.context));
                PyList::new(py, events.collect::<PyResult<Vec<_>>>()?)?.into_any()
            }
        })
    }
}

/// An event as a decoder would make it of the same stream.
pub(crate) fn event(
    py: Python<'_>,
    payload: &[u8],
    scanner: &mut Scanner,
    context: &Py<Context>,
) -> PyResult<Event> {
    let head: Head = scanner.head(payload);
    let quoted = head.type_span;
    let name = Span { start: quoted.start + 1, end: quoted.end.saturating_sub(1) };
    let data = Span { start: 0, end: payload.len() as u32 };
    let bytes = PyBytes::new(py, payload).unbind();
    Event::of(py, Parts { bytes, data, name, id: None, flushed: false }, &head, context.clone_ref(py))
}

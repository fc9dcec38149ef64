//! `Limits`: the core's limits as a frozen Python object.

use penstock::Limit;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::guard;

/// Bounds on what a stream may make penstock hold, in bytes and counts; None switches one off.
///
/// Whoever passes a limit gets `LimitExceeded`. `max_depth` is at most 128 and cannot be switched off.
#[pyclass(frozen, eq, hash, module = "penstock")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) core: Wrapped,
}

/// The core's limits, hashable for Python.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrapped(pub(crate) penstock::Limits);

impl std::hash::Hash for Wrapped {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for &limit in Limit::ALL {
            self.0.get(limit).hash(state);
        }
    }
}

impl Limits {
    /// The limits a caller passed, or the defaults.
    pub(crate) fn or_default(limits: Option<&Self>) -> penstock::Limits {
        limits.map_or_else(penstock::Limits::default, |limits| limits.core.0)
    }

    fn read(&self, limit: Limit) -> Option<u64> {
        Some(self.core.0.get(limit)).filter(|&value| value != u64::MAX)
    }
}

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(
        signature = (*, max_line_bytes=Some(16_777_216), max_event_bytes=Some(16_777_216),
            max_idle_bytes=Some(1_048_576), max_id_bytes=Some(1024), max_event_name_bytes=Some(256), max_depth=128,
            max_number_digits=Some(4300), max_message_bytes=Some(67_108_864), max_parts=Some(4096),
            max_tool_calls=Some(1024)),
        text_signature = "(*, max_line_bytes=16777216, max_event_bytes=16777216, max_idle_bytes=1048576, \
            max_id_bytes=1024, max_event_name_bytes=256, max_depth=128, max_number_digits=4300, \
            max_message_bytes=67108864, max_parts=4096, max_tool_calls=1024)"
    )]
    #[allow(clippy::too_many_arguments, reason = "one keyword a limit")]
    fn new(
        max_line_bytes: Option<u64>,
        max_event_bytes: Option<u64>,
        max_idle_bytes: Option<u64>,
        max_id_bytes: Option<u64>,
        max_event_name_bytes: Option<u64>,
        max_depth: u64,
        max_number_digits: Option<u64>,
        max_message_bytes: Option<u64>,
        max_parts: Option<u64>,
        max_tool_calls: Option<u64>,
    ) -> PyResult<Self> {
        if !(1..=128).contains(&max_depth) {
            return Err(PyValueError::new_err("max_depth must be from 1 to 128"));
        }
        let mut core = penstock::Limits::default();
        for (limit, value) in [
            (Limit::LineBytes, max_line_bytes),
            (Limit::EventBytes, max_event_bytes),
            (Limit::IdleBytes, max_idle_bytes),
            (Limit::IdBytes, max_id_bytes),
            (Limit::EventNameBytes, max_event_name_bytes),
            (Limit::Depth, Some(max_depth)),
            (Limit::NumberDigits, max_number_digits),
            (Limit::MessageBytes, max_message_bytes),
            (Limit::Parts, max_parts),
            (Limit::ToolCalls, max_tool_calls),
        ] {
            core.set(limit, value.unwrap_or(u64::MAX));
        }
        Ok(Self { core: Wrapped(core) })
    }

    /// Bytes of one line, its end not counted.
    #[getter]
    fn max_line_bytes(&self) -> Option<u64> {
        self.read(Limit::LineBytes)
    }

    /// Bytes of one event's payload, the LF between its data lines counted.
    #[getter]
    fn max_event_bytes(&self) -> Option<u64> {
        self.read(Limit::EventBytes)
    }

    /// Bytes of comments, unknown fields and blank lines between two events.
    #[getter]
    fn max_idle_bytes(&self) -> Option<u64> {
        self.read(Limit::IdleBytes)
    }

    /// Bytes of an `id` value.
    #[getter]
    fn max_id_bytes(&self) -> Option<u64> {
        self.read(Limit::IdBytes)
    }

    /// Bytes of an `event` value.
    #[getter]
    fn max_event_name_bytes(&self) -> Option<u64> {
        self.read(Limit::EventNameBytes)
    }

    /// Nesting levels of one JSON text.
    #[getter]
    fn max_depth(&self) -> u64 {
        self.core.0.max_depth
    }

    /// Digits of one integer turned into a number.
    #[getter]
    fn max_number_digits(&self) -> Option<u64> {
        self.read(Limit::NumberDigits)
    }

    /// Bytes accumulated for one response.
    #[getter]
    fn max_message_bytes(&self) -> Option<u64> {
        self.read(Limit::MessageBytes)
    }

    /// Output items, content parts, choices and list entries of one response.
    #[getter]
    fn max_parts(&self) -> Option<u64> {
        self.read(Limit::Parts)
    }

    /// Tool calls of one response.
    #[getter]
    fn max_tool_calls(&self) -> Option<u64> {
        self.read(Limit::ToolCalls)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let fields: Vec<String> = Limit::ALL
                .iter()
                .map(|&limit| match self.read(limit) {
                    Some(value) => format!("{}={value}", limit.name()),
                    None => format!("{}=None", limit.name()),
                })
                .collect();
            Ok(format!("Limits({})", fields.join(", ")))
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        guard(py, || {
            let fields = PyDict::new(py);
            for &limit in Limit::ALL {
                fields.set_item(limit.name(), slf.get().read(limit))?;
            }
            let partial = py.import("functools")?.getattr("partial")?;
            Ok((partial.call((slf.get_type(),), Some(&fields))?, PyTuple::empty(py)))
        })
    }
}

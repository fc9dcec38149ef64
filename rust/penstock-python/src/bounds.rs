//! `Bounds`: what a conversation store may keep, as a frozen Python object.

use penstock::Bound;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::guard;

/// What a conversation store keeps, in turns, items and bytes; None switches one bound off.
///
/// Over a bound, the turns used longest ago go, so a turn that is still in use stays. The bounds of one history hold
/// for what a load returns; a conversation that grows past them continues with the newer part.
#[pyclass(frozen, eq, module = "penstock.store")]
#[derive(PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) core: penstock::Bounds,
}

impl Bounds {
    /// The bounds a caller passed, or the defaults.
    pub(crate) fn or_default(bounds: Option<&Self>) -> penstock::Bounds {
        bounds.map_or_else(penstock::Bounds::default, |bounds| bounds.core)
    }

    fn read(&self, bound: Bound) -> Option<u64> {
        Some(self.core.get(bound)).filter(|&value| value != u64::MAX)
    }
}

#[pymethods]
impl Bounds {
    #[new]
    #[pyo3(
        signature = (*, max_turns=Some(100_000), max_bytes=Some(268_435_456), max_tenant_turns=Some(25_000),
            max_tenant_bytes=Some(67_108_864), max_history_items=Some(4096), max_history_bytes=Some(16_777_216),
            ttl=Some(2_592_000.0)),
        text_signature = "(*, max_turns=100000, max_bytes=268435456, max_tenant_turns=25000, \
            max_tenant_bytes=67108864, max_history_items=4096, max_history_bytes=16777216, ttl=2592000.0)"
    )]
    #[allow(clippy::too_many_arguments, reason = "one keyword a bound")]
    #[allow(clippy::cast_sign_loss, reason = "negative times are refused first")]
    fn new(
        max_turns: Option<u64>,
        max_bytes: Option<u64>,
        max_tenant_turns: Option<u64>,
        max_tenant_bytes: Option<u64>,
        max_history_items: Option<u64>,
        max_history_bytes: Option<u64>,
        ttl: Option<f64>,
    ) -> PyResult<Self> {
        if ttl.is_some_and(|ttl| !(ttl > 0.0 && ttl < 1e12)) {
            return Err(PyValueError::new_err("ttl must be a positive number of seconds"));
        }
        let mut core = penstock::Bounds::default();
        for (bound, value) in [
            (Bound::Turns, max_turns),
            (Bound::Bytes, max_bytes),
            (Bound::TenantTurns, max_tenant_turns),
            (Bound::TenantBytes, max_tenant_bytes),
            (Bound::HistoryItems, max_history_items),
            (Bound::HistoryBytes, max_history_bytes),
            (Bound::Ttl, ttl.map(|seconds| (seconds * 1e3).ceil() as u64)),
        ] {
            if value == Some(0) {
                return Err(PyValueError::new_err(format!("{} must be at least 1", bound.name())));
            }
            core.set(bound, value.unwrap_or(u64::MAX));
        }
        Ok(Self { core })
    }

    /// Turns of all tenants that can be loaded.
    #[getter]
    fn max_turns(&self) -> Option<u64> {
        self.read(Bound::Turns)
    }

    /// Bytes of all tenants.
    #[getter]
    fn max_bytes(&self) -> Option<u64> {
        self.read(Bound::Bytes)
    }

    /// Turns of one tenant.
    #[getter]
    fn max_tenant_turns(&self) -> Option<u64> {
        self.read(Bound::TenantTurns)
    }

    /// Bytes of one tenant; a larger turn is refused.
    #[getter]
    fn max_tenant_bytes(&self) -> Option<u64> {
        self.read(Bound::TenantBytes)
    }

    /// Items of one history.
    #[getter]
    fn max_history_items(&self) -> Option<u64> {
        self.read(Bound::HistoryItems)
    }

    /// Bytes of one history.
    #[getter]
    fn max_history_bytes(&self) -> Option<u64> {
        self.read(Bound::HistoryBytes)
    }

    /// Seconds that a turn stays after it was last written or read.
    #[getter]
    fn ttl(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "below 1e15")]
        self.read(Bound::Ttl).map(|milliseconds| milliseconds as f64 / 1e3)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let fields: Vec<String> = Bound::ALL
                .iter()
                .map(|&bound| match (bound, self.read(bound)) {
                    (Bound::Ttl, _) => self.ttl().map_or("ttl=None".to_owned(), |ttl| format!("ttl={ttl:?}")),
                    (_, Some(value)) => format!("{}={value}", bound.name()),
                    (_, None) => format!("{}=None", bound.name()),
                })
                .collect();
            Ok(format!("Bounds({})", fields.join(", ")))
        })
    }

    fn __reduce__<'py>(
        slf: &pyo3::Bound<'py, Self>,
    ) -> PyResult<(pyo3::Bound<'py, PyAny>, pyo3::Bound<'py, PyTuple>)> {
        let py = slf.py();
        guard(py, || {
            let fields = PyDict::new(py);
            for &bound in Bound::ALL {
                fields.set_item(bound.name(), slf.get().read(bound))?;
            }
            fields.set_item("ttl", slf.get().ttl())?;
            let partial = py.import("functools")?.getattr("partial")?;
            Ok((partial.call((slf.get_type(),), Some(&fields))?, PyTuple::empty(py)))
        })
    }
}

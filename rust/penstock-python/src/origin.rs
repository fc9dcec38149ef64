//! Where ids and times come from that a caller does not give: the system, or the caller's own generator.

use std::sync::{Arc, Mutex};

use penstock::IdSource;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What a caller's generator raised inside a call of the core, which has no word for it.
pub(crate) type Raised = Arc<Mutex<Option<PyErr>>>;

/// Refuses a generator that is none.
pub(crate) fn require_callable(name: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match given {
        Some(given) if !given.is_callable() => Err(PyTypeError::new_err(format!("{name} must be callable"))),
        _ => Ok(()),
    }
}

/// An id from the caller's generator, or a random one.
pub(crate) fn make_id(py: Python<'_>, ids: Option<&Py<PyAny>>, prefix: &str) -> PyResult<String> {
    if let Some(ids) = ids {
        return ids.call1(py, (prefix,))?.extract(py);
    }
    // As many hexadecimal digits as the API's own ids have.
    Ok(format!("{prefix}{}", token_hex(py, 24)?))
}

/// So many random bytes, in hexadecimal.
pub(crate) fn token_hex(py: Python<'_>, bytes: usize) -> PyResult<String> {
    static TOKEN_HEX: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || PyResult::Ok(py.import("secrets")?.getattr("token_hex")?.unbind());
    let token_hex = TOKEN_HEX.get_or_try_init(py, find)?;
    token_hex.call1(py, (bytes,))?.extract(py)
}

/// Ids for the core: from the caller's generator, or counted behind a random seed.
pub(crate) fn id_source(py: Python<'_>, ids: Option<Py<PyAny>>, raised: Raised) -> PyResult<IdSource> {
    let Some(ids) = ids else {
        return Ok(IdSource::counter(token_hex(py, 14)?));
    };
    Ok(IdSource::Injected(Box::new(move |prefix| {
        let made = Python::attach(|py| ids.call1(py, (prefix,))?.extract::<String>(py));
        // An empty id is refused, and the refusal told as this error.
        made.unwrap_or_else(|error| {
            if let Ok(mut kept) = raised.lock() {
                *kept = Some(error);
            }
            String::new()
        })
    })))
}

/// What the caller's generator raised, if it did.
pub(crate) fn take_raised(raised: &Raised) -> Option<PyErr> {
    raised.lock().ok().and_then(|mut kept| kept.take())
}

/// Seconds since 1970, checked; `None` for the time of the system.
#[allow(clippy::cast_sign_loss, reason = "negative times are refused first")]
pub(crate) fn seconds(py: Python<'_>, given: Option<f64>, message: &'static str) -> PyResult<u64> {
    static NOW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || PyResult::Ok(py.import("time")?.getattr("time")?.unbind());
    let seconds = match given {
        Some(seconds) => seconds,
        None => NOW.get_or_try_init(py, find)?.call0(py)?.extract(py)?,
    };
    if !(0.0..9.0e15).contains(&seconds) {
        return Err(PyValueError::new_err(message));
    }
    Ok(seconds as u64)
}

/// The padding of deltas to a multiple of `size` bytes, with a random seed.
pub(crate) fn padding(py: Python<'_>, size: Option<usize>) -> PyResult<Option<(usize, u64)>> {
    Ok(match size {
        None => None,
        Some(size @ 1..=65_536) => {
            Some((size, py.import("secrets")?.call_method1("randbits", (64,))?.extract()?))
        }
        Some(_) => return Err(PyValueError::new_err("pad_to must be from 1 to 65536")),
    })
}

//! Where ids and times come from that a caller does not give: the system, or the caller's own generator.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use penstock::IdSource;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyCFunction, PyDict};

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

/// So many random bytes of the system's, in hexadecimal.
pub(crate) fn token_hex(py: Python<'_>, bytes: usize) -> PyResult<String> {
    debug_assert!(bytes <= ASKED);
    let token = POOL.with_borrow_mut(|pool| pool.take(bytes));
    if let Some(token) = token {
        return Ok(token);
    }
    let asked = urandom(py)?;
    POOL.with_borrow_mut(|pool| {
        *pool = Pool { bytes: asked.as_bytes().to_vec() };
        Ok(pool.take(bytes).unwrap_or_default())
    })
}

/// Random bytes that the system is asked for at once, as each question costs as much as all that is done with its answer.
const ASKED: usize = 512;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: Vec::new() }) };
}

/// Random bytes that no token has been made of.
struct Pool {
    bytes: Vec<u8>,
}

impl Pool {
    fn take(&mut self, count: usize) -> Option<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let rest = self.bytes.len().checked_sub(count)?;
        let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'0'));
        Some(self.bytes.drain(rest..).flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }
}

fn urandom(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    static URANDOM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || {
        let os = py.import("os")?;
        if let Ok(register) = os.getattr("register_at_fork") {
            // Parent and child must not make the same tokens.
            let forget = PyCFunction::new_closure(py, None, None, |_, _| {
                POOL.with_borrow_mut(|pool| pool.bytes.clear());
            })?;
            let hooks = PyDict::new(py);
            hooks.set_item("after_in_child", forget)?;
            register.call((), Some(&hooks))?;
        }
        PyResult::Ok(os.getattr("urandom")?.unbind())
    };
    let bytes = URANDOM.get_or_try_init(py, find)?.bind(py).call1((ASKED,))?;
    Ok(bytes.cast_into::<PyBytes>()?)
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

//! From core errors and panics to the classes of `penstock.errors`.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use penstock::{Error, JsonReason, TextReason};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyDict, PyList};

/// Makes the next guarded call panic.
static PANIC: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Where this thread panicked last, until an `InternalError` tells it.
    static PANICKED_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Keeps panics off standard error: they are told as exceptions, with the place in the source but without the
/// message, which may quote input. The library has a standard library of its own, so no other is affected.
pub(crate) fn silence_panics() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let place = info.location().map(|place| {
            let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!("{file}:{}", place.line())
        });
        PANICKED_AT.set(place);
    }));
}

/// Makes the next call into the extension panic; the tests show with it that a panic becomes `InternalError`.
#[pyfunction]
pub(crate) fn _panic_next() {
    PANIC.store(true, Ordering::Relaxed);
}

/// Runs one entry point so that no panic reaches Python: it becomes `penstock.InternalError`.
#[inline]
pub(crate) fn guard<T>(py: Python<'_>, entry: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let entry = || {
        let result = entry();
        rehearse();
        result
    };
    catch_unwind(AssertUnwindSafe(entry)).unwrap_or_else(|_| Err(internal(py)))
}

/// Panics if a panic has been asked for.
#[inline]
fn rehearse() {
    if PANIC.load(Ordering::Relaxed) {
        panic_once();
    }
}

#[cold]
#[allow(clippy::panic, reason = "the rehearsal of a programming error")]
fn panic_once() {
    assert!(!PANIC.swap(false, Ordering::Relaxed), "rehearsed");
}

/// Takes the state of an object that serves one caller at a time. A panic while it is held spoils the object.
pub(crate) fn lock<'a, T>(py: Python<'_>, state: &'a Mutex<T>) -> PyResult<MutexGuard<'a, T>> {
    let state = state.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => concurrent(py),
        TryLockError::Poisoned(_) => internal(py),
    });
    rehearse();
    state
}

/// `ConcurrencyError`: two used one object at once.
#[cold]
pub(crate) fn concurrent(py: Python<'_>) -> PyErr {
    construct(py, "ConcurrencyError", "another thread or task is using this object", |_| Ok(()))
}

/// Takes the state of an object that many may use at once; they wait for each other. Whoever holds it must not call
/// into Python.
pub(crate) fn wait<'a, T>(py: Python<'_>, state: &'a Mutex<T>) -> PyResult<MutexGuard<'a, T>> {
    let state = state.lock_py_attached(py).map_err(|_| internal(py));
    rehearse();
    state
}

/// `InternalError`: a bug of penstock's own.
#[cold]
pub(crate) fn internal(py: Python<'_>) -> PyErr {
    let place = PANICKED_AT.take().map(|place| format!(" at {place}")).unwrap_or_default();
    let message = format!("a bug in penstock{place}; this object cannot be used any more");
    construct(py, "InternalError", &message, |_| Ok(()))
}

/// The Python exception for a core error.
#[cold]
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Limit { limit, maximum, value, offset } => {
            construct(py, "LimitExceeded", &message, |fields| {
                fields.set_item("limit", limit.name())?;
                fields.set_item("maximum", maximum)?;
                fields.set_item("value", value)?;
                fields.set_item("offset", offset)
            })
        }
        Error::Json { reason, offset } => decode_error(py, &message, json_reason(*reason), Some(*offset)),
        Error::Text { reason, offset } => {
            let reason = match reason {
                TextReason::LoneSurrogate => "lone_surrogate",
                _ => "utf8",
            };
            decode_error(py, &message, reason, Some(*offset))
        }
        Error::Event { rule, .. } => decode_error(py, &message, rule, None),
        Error::Bound { bound, maximum, value } => construct(py, "LimitExceeded", &message, |fields| {
            fields.set_item("limit", bound.name())?;
            fields.set_item("maximum", maximum)?;
            fields.set_item("value", value)
        }),
        Error::PreviousResponse => construct(py, "PreviousResponseNotFound", &message, |_| Ok(())),
        Error::TurnConflict => construct(py, "TurnConflict", &message, |_| Ok(())),
        _ => decode_error(py, &message, "other", None),
    }
}

const fn json_reason(reason: JsonReason) -> &'static str {
    match reason {
        JsonReason::UnexpectedEnd => "unexpected_end",
        JsonReason::UnexpectedByte => "unexpected_byte",
        JsonReason::ControlCharacter => "control_character",
        JsonReason::InvalidEscape => "invalid_escape",
        JsonReason::InvalidNumber => "invalid_number",
        JsonReason::TrailingData => "trailing_data",
        _ => "json",
    }
}

fn decode_error(py: Python<'_>, message: &str, reason: &str, offset: Option<u64>) -> PyErr {
    construct(py, "DecodeError", message, |fields| {
        fields.set_item("reason", reason)?;
        fields.set_item("offset", offset)
    })
}

/// The Python exception for what an emitter refuses.
#[cold]
pub(crate) fn raise_illegal(py: Python<'_>, error: &Error) -> PyErr {
    let Error::Event { rule, event } = error else { return raise(py, error) };
    construct(py, "IllegalEvent", &error.to_string(), |fields| {
        fields.set_item("rule", rule)?;
        fields.set_item("event", Some(&**event).filter(|event| !event.is_empty()))
    })
}

/// The Python exception for a core error, with the events that came before it.
#[cold]
pub(crate) fn raise_after(py: Python<'_>, error: &Error, events: &Bound<'_, PyList>) -> PyErr {
    with_events(py, raise(py, error), events)
}

/// An exception that tells what came before it.
#[cold]
pub(crate) fn with_events(py: Python<'_>, raised: PyErr, events: &Bound<'_, PyList>) -> PyErr {
    match raised.value(py).setattr(intern!(py, "events"), events) {
        Ok(()) => raised,
        Err(other) => other,
    }
}

/// Calls a class of `penstock.errors` with a message and keyword fields.
pub(crate) fn construct(
    py: Python<'_>,
    class: &str,
    message: &str,
    fill: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let made = (|| {
        let module = MODULE.get_or_try_init(py, || py.import("penstock.errors").map(Bound::unbind))?;
        let fields = PyDict::new(py);
        fill(&fields)?;
        module.bind(py).getattr(class)?.call((message,), Some(&fields))
    })();
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

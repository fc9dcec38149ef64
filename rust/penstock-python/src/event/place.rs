//! Making events in place, a third of the work of making them by way of pyo3.
//!
//! Streams make an event for every few bytes, and most live no longer than a turn of a loop. So an event is written
//! straight into memory that the interpreter just gave, and never announced to its garbage collector, which events
//! take no part in. This relies on how pyo3 lays objects out; whether it does so is looked at when the module is
//! imported, and if not, events are made its way.

#![allow(unsafe_code, reason = "an object is filled in place")]

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::type_object::PyTypeInfo;

use crate::event::Event;

/// Where in an object its value stands.
const OFFSET: usize = size_of::<ffi::PyObject>().next_multiple_of(align_of::<Event>());

/// Whether an object is a header, the value right behind it, and nothing else.
static AS_EXPECTED: AtomicBool = AtomicBool::new(false);

/// Looks at how an event is laid out.
pub(crate) fn init(event: &Bound<'_, Event>) {
    let start = event.as_ptr().cast::<u8>();
    let value = std::ptr::from_ref(event.get()).cast::<u8>();
    // SAFETY: the type of a live object is alive.
    let size = unsafe { (*event.get_type().as_type_ptr()).tp_basicsize };
    let expected = value == start.wrapping_add(OFFSET) && size == (OFFSET + size_of::<Event>()).cast_signed();
    AS_EXPECTED.store(expected, Ordering::Relaxed);
}

/// A new object with this value.
#[inline(always)]
pub(crate) fn make(py: Python<'_>, event: Event) -> PyResult<Bound<'_, Event>> {
    if !AS_EXPECTED.load(Ordering::Relaxed) {
        return Bound::new(py, event);
    }
    // SAFETY: the function gives a new object of the type, its header filled, or null with an exception set. The
    // value's place lies in it, as `init` has seen, and nothing but the value is uninitialised.
    unsafe {
        let raw: *mut ffi::PyObject = ffi::PyObject_GC_New(Event::type_object_raw(py));
        if raw.is_null() {
            return Err(PyErr::fetch(py));
        }
        raw.byte_add(OFFSET).cast::<Event>().write(event);
        Ok(Bound::from_owned_ptr(py, raw).cast_into_unchecked())
    }
}

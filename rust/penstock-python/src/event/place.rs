//! Making events in place, a third of the work of making them by way of pyo3, and freeing them as directly.
//!
//! Streams make an event for every few bytes, and most live no longer than a turn of a loop. So an event is written
//! straight into memory that the interpreter just gave, and never announced to its garbage collector, which events
//! take no part in; and what frees it need not ask whether this thread may run Python, since only such a thread
//! does. This relies on how pyo3 lays objects out; whether it does so is looked at when the module is imported, and
//! if not, events are made and freed its way.

#![allow(unsafe_code, reason = "an object is filled, and emptied, in place")]

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::type_object::PyTypeInfo;

use crate::event::Event;

/// Where in an object its value stands.
const OFFSET: usize = size_of::<ffi::PyObject>().next_multiple_of(align_of::<Event>());

/// Whether an object is a header, the value right behind it, and nothing else.
static AS_EXPECTED: AtomicBool = AtomicBool::new(false);

/// Looks at how an event is laid out; called before there are other threads that could know its type.
pub(crate) fn init(event: &Bound<'_, Event>) {
    let start = event.as_ptr().cast::<u8>();
    let value = std::ptr::from_ref(event.get()).cast::<u8>();
    let class = event.get_type().as_type_ptr();
    // SAFETY: the type of a live object is alive.
    let size = unsafe { (*class).tp_basicsize };
    let expected = value == start.wrapping_add(OFFSET) && size == (OFFSET + size_of::<Event>()).cast_signed();
    AS_EXPECTED.store(expected, Ordering::Relaxed);
    if expected {
        // SAFETY: the type is alive, is used by this thread alone as yet, and cannot be subclassed; `free` does for
        // objects laid out like this one what the type's own function does.
        unsafe { (*class).tp_dealloc = Some(free) };
    }
}

/// Frees an event: what a type's `tp_dealloc` is to do.
unsafe extern "C" fn free(event: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this once, from a thread that may run Python, for an event that nobody holds any
    // more. Events come from the collector's allocator, made here or by pyo3, and hold a reference to their type.
    unsafe {
        let class = ffi::Py_TYPE(event);
        ffi::PyObject_GC_UnTrack(event.cast());
        event.byte_add(OFFSET).cast::<Event>().read().release(Python::assume_attached());
        ffi::PyObject_GC_Del(event.cast());
        ffi::Py_DECREF(class.cast());
    }
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

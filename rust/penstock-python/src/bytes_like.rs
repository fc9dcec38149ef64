//! Bytes-like objects of callers, and bytes made of pieces of them.

#![allow(
    unsafe_code,
    reason = "buffers of foreign objects are borrowed for the length of a call; bytes are filled in place"
)]

use penstock::Span;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Copies a payload and the name behind it into bytes of their own.
pub(crate) fn join<'py>(
    py: Python<'py>,
    data: &[u8],
    name: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Span, Span)> {
    let (start, end) = (data.len(), data.len() + name.len());
    // SAFETY: bytes made from no start have room for their length, which nobody has seen yet and which the two
    // copies fill.
    let bytes = unsafe {
        let raw = ffi::PyBytes_FromStringAndSize(std::ptr::null(), end.cast_signed());
        let bytes = Bound::from_owned_ptr_or_err(py, raw)?;
        let room = ffi::PyBytes_AS_STRING(raw).cast_mut().cast::<u8>();
        std::ptr::copy_nonoverlapping(data.as_ptr(), room, start);
        std::ptr::copy_nonoverlapping(name.as_ptr(), room.add(start), name.len());
        bytes.cast_into_unchecked()
    };
    let span = |start: usize, end: usize| Span { start: start as u32, end: end as u32 };
    Ok((bytes, span(0, start), span(start, end)))
}

/// Calls `work` with the chunk as bytes: bytes as they are, any other buffer copied, so that nobody can change it
/// under an event.
pub(crate) fn with_bytes<'py, T>(
    chunk: &Bound<'py, PyAny>,
    work: impl FnOnce(&Bound<'py, PyBytes>) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(bytes) = chunk.cast_exact::<PyBytes>() {
        return work(bytes);
    }
    let py = chunk.py();
    let mut view = std::mem::MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: `PyObject_GetBuffer` fills the view or returns an error; a simple buffer is contiguous.
    let status = unsafe { ffi::PyObject_GetBuffer(chunk.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) };
    if status != 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: filled above. The slice is copied before the buffer is given back, with the GIL held throughout.
    let bytes = unsafe {
        let mut view = view.assume_init();
        let length = view.len.cast_unsigned();
        let held =
            if length == 0 { &[][..] } else { std::slice::from_raw_parts(view.buf.cast::<u8>(), length) };
        let bytes = PyBytes::new(py, held);
        ffi::PyBuffer_Release(&raw mut view);
        bytes
    };
    work(&bytes)
}

//! JSON text to Python objects, equal to `json.loads` on every valid text: integers exact, floats correctly
//! rounded, keys in order, the last of duplicates kept.
//!
//! Values wait on a stack until their container ends, so every dict and list is made once, in its final size.

#![allow(unsafe_code, reason = "containers are filled in place")]

use penstock::json::{Kind, RawStr, Stopped, Visitor, visit};
use penstock::{Error, Limit, Limits, TextReason};
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::errors::raise;
use crate::strings::{self, Words};

unsafe extern "C" {
    /// A dict with room for so many members; part of `CPython`'s exported, if private, interface up to 3.13.
    #[cfg(not(Py_3_14))]
    fn _PyDict_NewPresized(members: ffi::Py_ssize_t) -> *mut ffi::PyObject;
}

/// A new dict that will hold so many members.
#[inline]
unsafe fn new_dict(members: usize) -> *mut ffi::PyObject {
    // SAFETY: both return a new reference or null with an exception set; the caller holds the GIL.
    #[cfg(not(Py_3_14))]
    unsafe {
        // CPython's plain dict has room for five.
        if members > 5 { _PyDict_NewPresized(members.cast_signed()) } else { ffi::PyDict_New() }
    }
    // SAFETY: as above.
    #[cfg(Py_3_14)]
    unsafe {
        let _ = members;
        ffi::PyDict_New()
    }
}

/// How JSON becomes Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Refuse what would have to be replaced by U+FFFD.
    pub(crate) strict: bool,
    pub(crate) max_depth: u64,
    pub(crate) max_number_digits: u64,
}

impl Options {
    pub(crate) const fn new(limits: &Limits, strict: bool) -> Self {
        Self { strict, max_depth: limits.max_depth, max_number_digits: limits.max_number_digits }
    }

    /// For pickling.
    pub(crate) const fn as_tuple(self) -> (bool, u64, u64) {
        (self.strict, self.max_depth, self.max_number_digits)
    }

    /// The inverse of [`Options::as_tuple`].
    pub(crate) const fn from_tuple((strict, max_depth, max_number_digits): (bool, u64, u64)) -> Self {
        Self { strict, max_depth, max_number_digits }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new(&Limits::default(), false)
    }
}

/// The Python object of one JSON text.
pub(crate) fn to_python<'py>(py: Python<'py>, text: &[u8], options: Options) -> PyResult<Bound<'py, PyAny>> {
    let plain = strings::is_ascii(text) && !text.contains(&b'\\');
    let words = strings::words(py)?;
    let mut builder = Builder {
        py,
        words,
        options,
        plain,
        values: Values(Vec::with_capacity(USUAL_VALUES)),
        open: Vec::with_capacity(USUAL_DEPTH),
    };
    match visit(text, options.max_depth, &mut builder) {
        Ok(()) => builder.finish(),
        Err(Stopped::Text(error)) => Err(raise(py, &error)),
        Err(Stopped::Visitor(failure)) => Err(failure.into_err(py)),
    }
}

/// Room for the values that wait for their containers, and for the containers that are open.
const USUAL_VALUES: usize = 64;
const USUAL_DEPTH: usize = 8;

/// What can go wrong with a value: its text, or Python.
enum Failure {
    Text(Error),
    Python(PyErr),
}

impl Failure {
    #[cold]
    fn into_err(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Text(error) => raise(py, &error),
            Self::Python(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Text(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// The number of a short text; `None` for one that takes more care.
#[inline]
pub(crate) fn short_integer<'py>(
    py: Python<'py>,
    text: &[u8],
    options: Options,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match penstock::event::index(text) {
        Some(value) if text.len() as u64 <= options.max_number_digits => {
            Ok(Some(value.into_pyobject(py)?.into_any()))
        }
        _ => Ok(None),
    }
}

#[cold]
fn too_long(maximum: u64, start: usize) -> Failure {
    Error::Limit { limit: Limit::NumberDigits, maximum, value: maximum + 1, offset: start as u64 }.into()
}

/// Owned references that wait for their container.
struct Values(Vec<*mut ffi::PyObject>);

impl Drop for Values {
    fn drop(&mut self) {
        for &value in &self.0 {
            // SAFETY: each pointer is a reference this stack owns, and the builder holds the GIL.
            unsafe { ffi::Py_DECREF(value) };
        }
    }
}

struct Builder<'py> {
    py: Python<'py>,
    words: &'py Words,
    options: Options,
    /// Nothing in the text needs decoding: it is ASCII without escapes.
    plain: bool,
    values: Values,
    /// Where the values of each open container start.
    open: Vec<usize>,
}

impl<'py> Builder<'py> {
    fn finish(mut self) -> PyResult<Bound<'py, PyAny>> {
        // The visit ended well, so exactly one value is left.
        let Some(value) = self.values.0.pop() else { return Err(PyMemoryError::new_err(())) };
        // SAFETY: the reference was owned by the stack and is handed over.
        Ok(unsafe { Bound::from_owned_ptr(self.py, value) })
    }

    #[inline(always)]
    fn push(&mut self, value: Bound<'py, PyAny>) {
        self.values.0.push(value.into_ptr());
    }

    #[inline(always)]
    fn raw<'a>(&self, raw: &'a [u8]) -> RawStr<'a> {
        if self.plain { RawStr { raw, escaped: false, ascii: true } } else { RawStr::checked(raw) }
    }

    #[inline(always)]
    fn refuse_lossy(&self, text: RawStr<'_>, at: usize) -> Result<(), Failure> {
        if self.options.strict && strings::is_lossy(text) {
            let utf8 = std::str::from_utf8(text.raw).is_ok();
            let reason = if utf8 { TextReason::LoneSurrogate } else { TextReason::InvalidUtf8 };
            return Err(Error::Text { reason, offset: at as u64 }.into());
        }
        Ok(())
    }

    #[inline(always)]
    fn number(&self, raw: &[u8], at: usize) -> Result<Bound<'py, PyAny>, Failure> {
        match short_integer(self.py, raw, self.options)? {
            Some(number) => Ok(number),
            None => self.other_number(raw, at),
        }
    }

    /// A number with a sign, a fraction or an exponent, or a long one.
    #[inline(never)]
    fn other_number(&self, raw: &[u8], at: usize) -> Result<Bound<'py, PyAny>, Failure> {
        let text = std::str::from_utf8(raw).unwrap_or_default();
        if text.contains(['.', 'e', 'E']) {
            let value: f64 = text.parse().unwrap_or(f64::NAN);
            return Ok(value.into_pyobject(self.py).map_err(PyErr::from)?.into_any());
        }
        let digits = (raw.len() - usize::from(raw.first() == Some(&b'-'))) as u64;
        if digits > self.options.max_number_digits {
            return Err(too_long(self.options.max_number_digits, at));
        }
        if let Ok(value) = text.parse::<i64>() {
            // SAFETY: the result is a new reference or null with an exception set.
            let long = unsafe { ffi::PyLong_FromLongLong(value) };
            // SAFETY: as above.
            return Ok(unsafe { Bound::from_owned_ptr_or_err(self.py, long) }?);
        }
        let terminated = std::ffi::CString::new(raw).unwrap_or_default();
        // SAFETY: the text is terminated; the result is a new reference or null with an exception set.
        let long = unsafe { ffi::PyLong_FromString(terminated.as_ptr(), std::ptr::null_mut(), 10) };
        // SAFETY: as above.
        unsafe { Bound::from_owned_ptr_or_err(self.py, long) }.map_err(|_| {
            // The interpreter's own bound (`sys.set_int_max_str_digits`) is the only thing left to refuse it.
            let maximum =
                self.py.import("sys").and_then(|sys| sys.call_method0("get_int_max_str_digits")?.extract());
            too_long(maximum.unwrap_or(self.options.max_number_digits), at)
        })
    }

    #[inline(always)]
    fn list(&mut self, start: usize) -> PyResult<Bound<'py, PyAny>> {
        let length = self.values.0.len() - start;
        // SAFETY: the result is a new reference or null with an exception set.
        let list = unsafe { Bound::from_owned_ptr_or_err(self.py, ffi::PyList_New(length.cast_signed()))? };
        for (place, value) in self.values.0.drain(start..).enumerate() {
            // SAFETY: the list has `length` empty places, and the stack's reference moves into one.
            unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), place.cast_signed(), value) };
        }
        Ok(list)
    }

    #[inline(always)]
    fn dict(&mut self, start: usize) -> PyResult<Bound<'py, PyAny>> {
        let members = self.values.0.get(start..).unwrap_or_default();
        // SAFETY: the result is a new reference or null with an exception set.
        let dict = unsafe { Bound::from_owned_ptr_or_err(self.py, new_dict(members.len() / 2))? };
        for pair in members.as_chunks::<2>().0 {
            let [key, value] = *pair;
            // SAFETY: all three are live references; the dict takes references of its own.
            if unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key, value) } != 0 {
                return Err(PyErr::fetch(self.py));
            }
        }
        for value in self.values.0.drain(start..) {
            // SAFETY: the stack's reference is given up.
            unsafe { ffi::Py_DECREF(value) };
        }
        Ok(dict)
    }
}

impl Visitor for Builder<'_> {
    type Error = Failure;

    #[inline(always)]
    fn open(&mut self, _: bool) {
        self.open.push(self.values.0.len());
    }

    #[inline(always)]
    fn close(&mut self, object: bool) -> Result<(), Failure> {
        let start = self.open.pop().unwrap_or_default();
        let container = if object { self.dict(start)? } else { self.list(start)? };
        self.push(container);
        Ok(())
    }

    #[inline(always)]
    fn key(&mut self, raw: &[u8], at: usize) -> Result<(), Failure> {
        let key = if let Some(word) = self.words.find(raw) {
            word.bind(self.py).clone()
        } else {
            let text = self.raw(raw);
            self.refuse_lossy(text, at)?;
            strings::string(self.py, text)?
        };
        self.push(key.into_any());
        Ok(())
    }

    #[inline(always)]
    fn string(&mut self, raw: &[u8], at: usize) -> Result<(), Failure> {
        let text = self.raw(raw);
        self.refuse_lossy(text, at)?;
        let string = strings::string(self.py, text)?;
        self.push(string.into_any());
        Ok(())
    }

    #[inline(always)]
    fn scalar(&mut self, kind: Kind, raw: &[u8], at: usize) -> Result<(), Failure> {
        let value = match kind {
            Kind::Number => self.number(raw, at)?,
            Kind::True => PyBool::new(self.py, true).to_owned().into_any(),
            Kind::False => PyBool::new(self.py, false).to_owned().into_any(),
            _ => self.py.None().into_bound(self.py),
        };
        self.push(value);
        Ok(())
    }
}

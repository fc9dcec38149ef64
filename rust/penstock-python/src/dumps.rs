//! Python objects as the text that `json.dumps(…, sort_keys=True)` gives, written straight from the objects.
//!
//! The rules are those of `CPython`'s encoder: what counts as a string, number, list or dict is decided by class,
//! subclasses included, and read from the object itself rather than through its methods; of a dict's subclass the
//! `items()` are taken. Keys that are all plain strings are sorted here, others by Python as it would sort them.

#![allow(unsafe_code, reason = "characters are read in place")]

mod fault;
mod shape;

use penstock::json::{Out, write_float, write_latin1, write_utf16, write_utf32};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use fault::{Fault, Step, Written};
use shape::{Keys, Shape, Shapes, sorted};

/// How deep lists and dicts may nest, as everywhere in penstock.
const DEPTH: usize = 128;

/// Writes the text of `object`, of which `depth` levels stand open already.
pub(crate) fn dump<O: Out>(
    object: &Bound<'_, PyAny>,
    depth: usize,
    allow_nan: bool,
    out: &mut O,
) -> PyResult<()> {
    let mut writer = Writer { out, allow_nan, shapes: Shapes::default(), depth };
    writer.value(object).map_err(|fault| fault.raise(object.py()))
}

struct Writer<'a, 'py, O> {
    out: &'a mut O,
    allow_nan: bool,
    shapes: Shapes<'py>,
    /// How many containers stand open.
    depth: usize,
}

impl<'py, O: Out> Writer<'_, 'py, O> {
    #[inline(always)]
    fn value(&mut self, object: &Bound<'py, PyAny>) -> Written<'py> {
        match object.cast::<PyString>() {
            Ok(text) => Ok(write_string(text, self.out)?),
            Err(_) => self.other(object),
        }
    }

    /// Writes what is no string.
    fn other(&mut self, object: &Bound<'py, PyAny>) -> Written<'py> {
        if let Ok(dict) = object.cast::<PyDict>() {
            self.dict(dict)?;
        } else if let Ok(list) = object.cast::<PyList>() {
            self.list(list)?;
        } else if object.is_none() {
            self.out.write(b"null");
        } else if let Ok(truth) = object.cast::<PyBool>() {
            self.out.write(if truth.is_true() { b"true" } else { b"false" });
        } else if let Ok(number) = object.cast::<PyInt>() {
            self.int(number)?;
        } else if let Ok(number) = object.cast::<PyFloat>() {
            self.float(number.value())?;
        } else if let Ok(tuple) = object.cast::<PyTuple>() {
            self.tuple(tuple)?;
        } else {
            let class = object.get_type().name()?;
            return Err(Fault::new("type", format!("an object of type {class} is no JSON value")));
        }
        Ok(())
    }

    fn int(&mut self, number: &Bound<'py, PyInt>) -> Written<'py> {
        let mut overflow = 0;
        // SAFETY: the object is an int, so that no error can occur; the GIL is held.
        let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &raw mut overflow) };
        if overflow == 0 {
            self.out.write(Digits::of(small).as_bytes());
            return Ok(());
        }
        // Not the object's own method: an enum's member is its number.
        let text = number.py().get_type::<PyInt>().call_method1("__repr__", (number,)).map_err(|error| {
            if error.is_instance_of::<PyValueError>(number.py()) {
                return Fault::new("digits", "an integer has more digits than Python writes".to_owned());
            }
            error.into()
        })?;
        self.out.write(text.cast::<PyString>().map_err(PyErr::from)?.to_str()?.as_bytes());
        Ok(())
    }

    fn float(&mut self, value: f64) -> Written<'py> {
        if !self.allow_nan && !value.is_finite() {
            return Err(Fault::new("not_finite", "NaN and the infinities are no JSON numbers".to_owned()));
        }
        write_float(value, self.out);
        Ok(())
    }

    /// Writes a container with `inside`, unless too many stand open.
    #[inline]
    fn within(
        &mut self,
        container: &Bound<'py, PyAny>,
        inside: impl FnOnce(&mut Self) -> Written<'py>,
    ) -> Written<'py> {
        if self.depth >= DEPTH {
            return Err(Fault::deep(container));
        }
        self.depth += 1;
        let written = inside(self);
        self.depth -= 1;
        written.map_err(|fault| fault.inside(container))
    }

    fn list(&mut self, list: &Bound<'py, PyList>) -> Written<'py> {
        if !list.is_exact_instance_of::<PyList>() {
            return self.iterable(list.as_any());
        }
        self.within(list.as_any(), |writer| {
            writer.out.byte(b'[');
            let mut index = 0;
            // By index: what runs inside may change the list.
            while index < list.len() {
                let element = list.get_item(index)?;
                writer.element(&element, index)?;
                index += 1;
            }
            writer.out.byte(b']');
            Ok(())
        })
    }

    /// A subclass of list or tuple, which may iterate over something else than it holds.
    fn iterable(&mut self, list: &Bound<'py, PyAny>) -> Written<'py> {
        let elements = list.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        self.within(list, |writer| {
            writer.out.byte(b'[');
            for (index, element) in elements.iter().enumerate() {
                writer.element(element, index)?;
            }
            writer.out.byte(b']');
            Ok(())
        })
    }

    fn tuple(&mut self, tuple: &Bound<'py, PyTuple>) -> Written<'py> {
        if !tuple.is_exact_instance_of::<PyTuple>() {
            return self.iterable(tuple.as_any());
        }
        self.within(tuple.as_any(), |writer| {
            writer.out.byte(b'[');
            for (index, element) in tuple.iter_borrowed().enumerate() {
                writer.element(&element, index)?;
            }
            writer.out.byte(b']');
            Ok(())
        })
    }

    fn element(&mut self, element: &Bound<'py, PyAny>, index: usize) -> Written<'py> {
        if index > 0 {
            self.out.write(b", ");
        }
        self.value(element).map_err(|fault| fault.at(Step::Index(index)))
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> Written<'py> {
        if dict.is_empty() {
            self.out.write(b"{}");
            return Ok(());
        }
        self.within(dict.as_any(), |writer| {
            let first = writer.shapes.values();
            let plain = dict.is_exact_instance_of::<PyDict>();
            let keys = if plain { writer.shapes.gather(dict)? } else { Keys::Other };
            let written = match keys {
                Keys::Known(shape) => writer.members(&shape, first),
                Keys::New(keys) => writer.new_members(&keys, first),
                Keys::Other => writer.items(dict),
            };
            writer.shapes.truncate(first);
            written
        })
    }

    /// Writes the members of a dict whose values were gathered from `first` on.
    #[inline]
    fn members(&mut self, shape: &Shape<'py>, first: usize) -> Written<'py> {
        for member in &shape.members {
            let Some(value) = self.shapes.take(first + member.place) else { break };
            if let Some(text) = member.whole(&value) {
                self.out.write(text);
                continue;
            }
            self.out.write(member.before());
            self.value(&value).map_err(|fault| {
                let key = shape.keys.get(member.place).map(|key| key.clone().into_any());
                fault.at(key.map_or(Step::Index(member.place), Step::Key))
            })?;
        }
        self.out.byte(b'}');
        Ok(())
    }

    /// As [`Writer::members`], for a dict whose like was not met before.
    fn new_members(&mut self, keys: &[Bound<'py, PyString>], first: usize) -> Written<'py> {
        for (number, (place, key)) in sorted(keys).into_iter().enumerate() {
            self.out.write(if number == 0 { b"{" } else { b", " });
            write_string(key, self.out)?;
            self.out.write(b": ");
            let Some(value) = self.shapes.take(first + place) else { break };
            self.value(&value).map_err(|fault| fault.at(Step::Key(key.clone().into_any())))?;
        }
        self.out.byte(b'}');
        Ok(())
    }

    /// Writes a dict by way of its `items()`, which Python sorts.
    fn items(&mut self, dict: &Bound<'py, PyDict>) -> Written<'py> {
        let items = if dict.is_exact_instance_of::<PyDict>() {
            dict.items()
        } else {
            dict.call_method0("items")?
                .try_iter()?
                .collect::<PyResult<Vec<_>>>()
                .and_then(|items| PyList::new(dict.py(), items))?
        };
        items.sort().map_err(|error| {
            if error.is_instance_of::<PyTypeError>(dict.py()) {
                return Fault::new("key_order", "the keys of a dict cannot be sorted".to_owned());
            }
            error.into()
        })?;
        self.out.byte(b'{');
        for (index, item) in items.iter().enumerate() {
            let item = item.cast_into::<PyTuple>().ok().filter(|item| item.len() == 2);
            let Some(item) = item else {
                return Err(Fault::new("type", "items() gives something else than pairs".to_owned()));
            };
            let (key, value) = (item.get_item(0)?, item.get_item(1)?);
            if index > 0 {
                self.out.write(b", ");
            }
            self.key(&key)?;
            self.out.write(b": ");
            self.value(&value).map_err(|fault| fault.at(Step::Key(key)))?;
        }
        self.out.byte(b'}');
        Ok(())
    }

    /// Writes a key of any class that JSON text can hold.
    fn key(&mut self, key: &Bound<'py, PyAny>) -> Written<'py> {
        if let Ok(text) = key.cast::<PyString>() {
            write_string(text, self.out)?;
            return Ok(());
        }
        let scalar = key.is_none() || key.is_instance_of::<PyInt>() || key.is_instance_of::<PyFloat>();
        if !scalar {
            let class = key.get_type().name()?;
            return Err(Fault::new("key", format!("a key of type {class} is no JSON key")));
        }
        self.out.byte(b'"');
        self.value(key)?;
        self.out.byte(b'"');
        Ok(())
    }
}

/// Writes a string, whatever is in it.
fn write_string(text: &Bound<'_, PyString>, out: &mut impl Out) -> PyResult<()> {
    if let Some(ascii) = compact_ascii(text) {
        write_latin1(ascii, out);
        return Ok(());
    }
    // SAFETY: strings never change; the characters are read before anything else can run.
    match unsafe { text.data() }? {
        PyStringData::Ucs1(text) => write_latin1(text, out),
        PyStringData::Ucs2(text) => write_utf16(text, out),
        PyStringData::Ucs4(text) => write_utf32(text, out),
    }
    Ok(())
}

/// The characters of an ASCII string, as most are, without a call.
#[cfg(not(any(Py_3_14, Py_LIMITED_API)))]
#[inline(always)]
fn compact_ascii<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let raw = text.as_ptr();
    // SAFETY: the object is a string. The characters of a compact one stand behind its head, never change, and live as
    // long as it does.
    unsafe {
        (ffi::PyUnicode_IS_COMPACT_ASCII(raw) != 0).then(|| {
            let length = ffi::PyUnicode_GET_LENGTH(raw).cast_unsigned();
            std::slice::from_raw_parts(ffi::PyUnicode_DATA(raw).cast::<u8>(), length)
        })
    }
}

#[cfg(any(Py_3_14, Py_LIMITED_API))]
#[inline(always)]
fn compact_ascii<'a>(_text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    None
}

/// The decimal digits of a number.
struct Digits {
    digits: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(number: i64) -> Self {
        let mut this = Self { digits: [0; 20], start: 20 };
        let mut rest = number.unsigned_abs();
        for (place, slot) in this.digits.iter_mut().enumerate().rev() {
            *slot = b'0' + (rest % 10) as u8;
            this.start = place;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0
            && let Some(slot) = this.start.checked_sub(1).and_then(|place| this.digits.get_mut(place))
        {
            *slot = b'-';
            this.start -= 1;
        }
        this
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

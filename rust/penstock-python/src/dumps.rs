//! Python objects as the text that `json.dumps(…, sort_keys=True)` gives, written straight from the objects.
//!
//! The rules are those of `CPython`'s encoder: what counts as a string, number, list or dict is decided by class,
//! subclasses included, and read from the object itself rather than through its methods; of a dict's subclass the
//! `items()` are taken. Keys that are all plain strings are sorted here, others by Python as it would sort them.

#![allow(unsafe_code, reason = "characters are read in place")]

use std::cmp::Ordering;
use std::rc::Rc;

use penstock::json::{Out, write_float, write_latin1, write_utf16, write_utf32};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::errors::construct;

/// How deep lists and dicts may nest, as everywhere in penstock.
const DEPTH: usize = 128;

/// Writes the text of `object`, of which `depth` levels stand open already.
pub(crate) fn dump<O: Out>(
    object: &Bound<'_, PyAny>,
    depth: usize,
    allow_nan: bool,
    out: &mut O,
) -> PyResult<()> {
    let mut writer = Writer { out, allow_nan, values: Vec::new(), shapes: Vec::new(), depth };
    writer.value(object).map_err(|fault| fault.raise(object.py()))
}

/// Why an object has no text, and where it stands, the innermost step first.
struct Fault<'py> {
    what: What<'py>,
    path: Vec<Step<'py>>,
}

enum What<'py> {
    /// One of the reasons of `UnhashableItem`, with words for it.
    Reason(&'static str, String),
    /// What the object's own code raised.
    Raised(PyErr),
    /// Containers nest too deep; these are they, the innermost first.
    Deep(Vec<Bound<'py, PyAny>>),
}

enum Step<'py> {
    Index(usize),
    Key(Bound<'py, PyAny>),
}

impl From<PyErr> for Fault<'_> {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self { what: What::Raised(error), path: Vec::new() }
    }
}

impl<'py> Fault<'py> {
    #[cold]
    fn new(reason: &'static str, words: String) -> Self {
        Self { what: What::Reason(reason, words), path: Vec::new() }
    }

    #[cold]
    fn at(mut self, step: Step<'py>) -> Self {
        self.path.push(step);
        self
    }

    #[cold]
    fn raise(mut self, py: Python<'py>) -> PyErr {
        let (reason, words) = match self.what {
            What::Raised(error) => return error,
            What::Reason(reason, words) => (reason, words),
            What::Deep(mut open) => match first_return(&mut open) {
                Some(place) => {
                    self.path.drain(..self.path.len().saturating_sub(place));
                    ("cycle", "a container holds itself".to_owned())
                }
                None => ("depth", format!("containers nest deeper than {DEPTH} levels")),
            },
        };
        let path: String = self.path.iter().rev().map(Step::text).collect();
        construct(py, "UnhashableItem", &words, |fields| {
            fields.set_item("reason", reason)?;
            fields.set_item("path", path)
        })
    }
}

/// The place, counted from outside, of the first container that is one of those around it.
fn first_return(open: &mut [Bound<'_, PyAny>]) -> Option<usize> {
    open.reverse();
    open.iter().enumerate().position(|(place, inner)| open.iter().take(place).any(|outer| outer.is(inner)))
}

impl Step<'_> {
    fn text(&self) -> String {
        match self {
            Self::Index(index) => format!("[{index}]"),
            Self::Key(key) => {
                let name = key.cast::<PyString>().map(|name| name.to_string_lossy().into_owned());
                match name {
                    Ok(name) if is_name(&name) => format!(".{name}"),
                    _ => format!("[{}]", key.repr().map(|text| text.to_string()).unwrap_or_default()),
                }
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

type Written<'py> = Result<(), Fault<'py>>;

struct Writer<'a, 'py, O> {
    out: &'a mut O,
    allow_nan: bool,
    /// Values of the dicts that are being written, the innermost dict's last.
    values: Vec<Bound<'py, PyAny>>,
    /// Of the dicts that were written, those to know again.
    shapes: Vec<Rc<Shape<'py>>>,
    /// How many containers stand open.
    depth: usize,
}

/// The keys of a dict in its own order, and how they are written. Dicts of one list mostly have the same keys: not
/// only equal ones, but the same objects, which are kept alive here so that no other takes their place in memory.
struct Shape<'py> {
    keys: Vec<Bound<'py, PyString>>,
    /// The places of the keys in the order of the text, each with what stands before its value.
    order: Vec<(usize, Vec<u8>)>,
}

/// How many shapes are kept, which are looked at one after the other.
const SHAPES: usize = 8;

impl<'py, O: Out> Writer<'_, 'py, O> {
    fn value(&mut self, object: &Bound<'py, PyAny>) -> Written<'py> {
        if let Ok(text) = object.cast::<PyString>() {
            write_string(text, self.out)?;
        } else if let Ok(dict) = object.cast::<PyDict>() {
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
            return Err(Fault { what: What::Deep(vec![container.clone()]), path: Vec::new() });
        }
        self.depth += 1;
        let written = inside(self);
        self.depth -= 1;
        written.map_err(|mut fault| {
            if let What::Deep(open) = &mut fault.what {
                open.push(container.clone());
            }
            fault
        })
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
            let first = writer.values.len();
            let written = match writer.shape(dict)? {
                Some(shape) => writer.members(&shape, first),
                None => writer.items(dict),
            };
            writer.values.truncate(first);
            written
        })
    }

    /// Writes the members of a dict whose values were gathered from `first` on.
    fn members(&mut self, shape: &Shape<'py>, first: usize) -> Written<'py> {
        for (place, before) in &shape.order {
            self.out.write(before);
            let Some(value) = self.values.get(first + place).cloned() else { break };
            self.value(&value).map_err(|fault| {
                let key = shape.keys.get(*place).map(|key| key.clone().into_any());
                fault.at(key.map_or(Step::Index(*place), Step::Key))
            })?;
        }
        self.out.byte(b'}');
        Ok(())
    }

    /// Gathers the values of a dict and gives its shape; None if it is no plain dict, or not all keys are plain strings.
    fn shape(&mut self, dict: &Bound<'py, PyDict>) -> Result<Option<Rc<Shape<'py>>>, Fault<'py>> {
        if !dict.is_exact_instance_of::<PyDict>() {
            return Ok(None);
        }
        let first = self.values.len();
        let length = dict.len();
        let mut known: Option<usize> = None;
        let mut keys = Vec::new();
        for (place, (key, value)) in dict.iter().enumerate() {
            if place == 0 {
                known = self.shapes.iter().position(|shape| {
                    shape.keys.len() == length && shape.keys.first().is_some_and(|first| first.is(&key))
                });
            }
            self.values.push(value);
            if let Some(shape) = known.and_then(|known| self.shapes.get(known)) {
                if shape.keys.get(place).is_some_and(|known| known.is(&key)) {
                    continue;
                }
                // Another shape after all; what was passed over is the same.
                keys.extend(shape.keys.iter().take(place).cloned());
                known = None;
            }
            let Ok(key) = key.cast_into_exact::<PyString>() else { return Ok(None) };
            keys.push(key);
        }
        if let Some(shape) = known.and_then(|known| self.shapes.get(known)) {
            return Ok(Some(Rc::clone(shape)));
        }
        let shape = Rc::new(Shape::new(keys)?);
        if self.values.len() - first <= 32 {
            if self.shapes.len() == SHAPES {
                self.shapes.pop();
            }
            self.shapes.insert(0, Rc::clone(&shape));
        }
        Ok(Some(shape))
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

impl<'py> Shape<'py> {
    fn new(keys: Vec<Bound<'py, PyString>>) -> PyResult<Self> {
        let mut sorted: Vec<(usize, &Bound<'py, PyString>)> = keys.iter().enumerate().collect();
        sorted.sort_by(|(_, one), (_, other)| compare(one, other));
        let mut order = Vec::with_capacity(sorted.len());
        for (number, (place, key)) in sorted.into_iter().enumerate() {
            let mut before = if number == 0 { b"{".to_vec() } else { b", ".to_vec() };
            write_string(key, &mut before)?;
            before.extend_from_slice(b": ");
            order.push((place, before));
        }
        Ok(Self { keys, order })
    }
}

/// Writes a string, whatever is in it.
#[inline]
fn write_string(text: &Bound<'_, PyString>, out: &mut impl Out) -> PyResult<()> {
    // SAFETY: strings never change; the characters are read before anything else can run.
    match unsafe { text.data() }? {
        PyStringData::Ucs1(text) => write_latin1(text, out),
        PyStringData::Ucs2(text) => write_utf16(text, out),
        PyStringData::Ucs4(text) => write_utf32(text, out),
    }
    Ok(())
}

/// Compares two strings by their code points.
#[inline]
fn compare(one: &Bound<'_, PyString>, other: &Bound<'_, PyString>) -> Ordering {
    // SAFETY: as above.
    let (Ok(one), Ok(other)) = (unsafe { one.data() }, unsafe { other.data() }) else {
        return Ordering::Equal;
    };
    match (one, other) {
        (PyStringData::Ucs1(one), PyStringData::Ucs1(other)) => one.cmp(other),
        (one, other) => points(one).cmp(points(other)),
    }
}

/// The code points of a string. Units of two bytes are whole code points: the string has none above U+FFFF.
fn points(text: PyStringData<'_>) -> Box<dyn Iterator<Item = u32> + '_> {
    match text {
        PyStringData::Ucs1(text) => Box::new(text.iter().map(|&point| u32::from(point))),
        PyStringData::Ucs2(text) => Box::new(text.iter().map(|&point| u32::from(point))),
        PyStringData::Ucs4(text) => Box::new(text.iter().copied()),
    }
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

//! The keys of dicts, in the order of the text.
//!
//! Dicts of one list mostly have the same keys: not only equal ones, but the same objects. So how the keys of a dict
//! are written is kept when its like comes again, and a dict is known again by the addresses of its keys.

#![allow(unsafe_code, reason = "members are borrowed, characters are read in place")]

use std::cmp::Ordering;
use std::ptr;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyDict, PyString};

use super::write_string;

/// How many shapes are kept, and how many are waited for; they are looked at one after the other.
const SHAPES: usize = 8;

/// More keys make a dict that is not worth keeping the shape of.
const MOST_KEYS: usize = 32;

/// The keys of a dict in its own order, and how they are written. They are kept alive, so that no other objects take
/// their place in memory.
pub(super) struct Shape<'py> {
    pub(super) keys: Vec<Bound<'py, PyString>>,
    /// The places of the keys in the order of the text, each with what stands before its value.
    pub(super) order: Vec<(usize, Box<[u8]>)>,
}

/// The keys of a dict.
pub(super) enum Keys<'py> {
    /// Known from dicts before.
    Known(Rc<Shape<'py>>),
    /// Met for the first time; in the dict's own order.
    New(Vec<Bound<'py, PyString>>),
    /// Not all are plain strings.
    Other,
}

/// The shapes that were met, and the values of the dicts that are being written.
#[derive(Default)]
pub(super) struct Shapes<'py> {
    known: Vec<Rc<Shape<'py>>>,
    /// Address of the first key and number of keys, of dicts that were met once.
    met: Vec<(usize, usize)>,
    /// The innermost dict's values are the last; those that were written are gone.
    values: Vec<Option<Bound<'py, PyAny>>>,
}

impl<'py> Shapes<'py> {
    /// How many values are there.
    pub(super) const fn values(&self) -> usize {
        self.values.len()
    }

    /// Takes out a value.
    #[inline]
    pub(super) fn take(&mut self, place: usize) -> Option<Bound<'py, PyAny>> {
        self.values.get_mut(place)?.take()
    }

    /// Drops all values from `place` on.
    pub(super) fn truncate(&mut self, place: usize) {
        self.values.truncate(place);
    }

    /// Gathers the values of a plain dict and gives its keys.
    pub(super) fn gather(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<Keys<'py>> {
        let Self { known: shapes, values, .. } = self;
        let mut known: Option<&Rc<Shape<'py>>> = None;
        let mut keys = Vec::new();
        let mut place = 0;
        let plain = each_member(dict, |length, key, value| {
            values.push(Some(value.to_owned()));
            if place == 0 {
                known = shapes.iter().find(|shape| shape.keys.len() == length && shape.has(0, key));
            }
            if known.is_none_or(|shape| !shape.has(place, key)) {
                if let Some(shape) = known.take() {
                    // Another shape after all; what was passed over is the same.
                    keys.extend(shape.keys.iter().take(place).cloned());
                }
                let Ok(key) = key.cast_exact::<PyString>() else { return false };
                keys.push(key.to_owned());
            }
            place += 1;
            true
        });
        if !plain {
            return Ok(Keys::Other);
        }
        if let Some(shape) = known {
            return Ok(Keys::Known(Rc::clone(shape)));
        }
        if keys.len() <= MOST_KEYS && self.meets(&keys) {
            return self.learn(keys).map(Keys::Known);
        }
        Ok(Keys::New(keys))
    }

    /// Whether a dict like this one was met before; if not, it is now.
    fn meets(&mut self, keys: &[Bound<'py, PyString>]) -> bool {
        // An address that another key has by now makes something be learned for nothing, and no more.
        let like = (keys.first().map_or(0, |key| key.as_ptr().addr()), keys.len());
        let met = self.met.contains(&like);
        if !met {
            if self.met.len() == SHAPES {
                self.met.remove(0);
            }
            self.met.push(like);
        }
        met
    }

    #[inline(never)]
    fn learn(&mut self, keys: Vec<Bound<'py, PyString>>) -> PyResult<Rc<Shape<'py>>> {
        let shape = Rc::new(Shape::new(keys)?);
        if self.known.len() == SHAPES {
            self.known.pop();
        }
        self.known.insert(0, Rc::clone(&shape));
        Ok(shape)
    }
}

impl<'py> Shape<'py> {
    /// Whether the key at `place` is this very object.
    #[inline]
    fn has(&self, place: usize, key: Borrowed<'_, 'py, PyAny>) -> bool {
        self.keys.get(place).is_some_and(|known| known.is(key))
    }

    fn new(keys: Vec<Bound<'py, PyString>>) -> PyResult<Self> {
        let mut order = Vec::with_capacity(keys.len());
        for (number, (place, key)) in sorted(&keys).into_iter().enumerate() {
            let mut before = if number == 0 { b"{".to_vec() } else { b", ".to_vec() };
            write_string(key, &mut before)?;
            before.extend_from_slice(b": ");
            order.push((place, before.into()));
        }
        Ok(Self { keys, order })
    }
}

/// Keys in the order of the text, with their places in the dict.
pub(super) fn sorted<'k, 'py>(keys: &'k [Bound<'py, PyString>]) -> Vec<(usize, &'k Bound<'py, PyString>)> {
    let mut sorted: Vec<_> = keys.iter().enumerate().collect();
    sorted.sort_by(|(_, one), (_, other)| compare(one, other));
    sorted
}

/// Calls `each` with the number of a plain dict's members and with every one of them, until it says no. Says whether
/// there were any and it never did.
#[inline(always)]
fn each_member<'py>(
    dict: &Bound<'py, PyDict>,
    mut each: impl FnMut(usize, Borrowed<'_, 'py, PyAny>, Borrowed<'_, 'py, PyAny>) -> bool,
) -> bool {
    with_critical_section(dict, || {
        let length = dict.len();
        let (mut position, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
        // Counted, as the question for one more member costs as much as any.
        for _ in 0..length {
            // SAFETY: the dict is a dict and stays locked, and `each` runs no code of Python's. So its members stay
            // what and where they are while they are borrowed, which is until `each` returns.
            let more = unsafe {
                ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value) != 0
                    && each(length, Borrowed::from_ptr(dict.py(), key), Borrowed::from_ptr(dict.py(), value))
            };
            if !more {
                return false;
            }
        }
        length > 0
    })
}

/// Compares two strings by their code points.
#[inline]
fn compare(one: &Bound<'_, PyString>, other: &Bound<'_, PyString>) -> Ordering {
    // SAFETY: strings never change; the characters are read before anything else can run.
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

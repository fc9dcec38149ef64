//! The keys of dicts, in the order of the text.
//!
//! Dicts of one list mostly have the same keys: not only equal ones, but the same objects. So how the keys of a dict
//! are written is kept when its like comes again, and a dict is known again by the addresses of its keys. Values that
//! are words (`"type": "message"`) are mostly the same objects too, and kept with their keys.

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

/// A longer string is no word.
const WORD: usize = 32;

/// The keys of a dict in its own order, and how they are written. They are kept alive, so that no other objects take
/// their place in memory.
pub(super) struct Shape<'py> {
    pub(super) keys: Vec<Bound<'py, PyString>>,
    /// In the order of the text.
    pub(super) members: Vec<Member<'py>>,
}

/// A member of dicts of one shape.
pub(super) struct Member<'py> {
    /// Its place in the dict.
    pub(super) place: usize,
    /// What stands before the value, and the word.
    text: Box<[u8]>,
    /// Where the value begins.
    value: usize,
    /// Its value in the dict that the shape was learned from, if that is a word; kept alive as the keys are.
    word: Option<Bound<'py, PyAny>>,
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
    #[inline]
    pub(super) fn gather(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<Keys<'py>> {
        match self.recall(dict) {
            Some(shape) => Ok(Keys::Known(shape)),
            None => self.gather_new(dict),
        }
    }

    /// The shape of a dict whose first key and number of keys tell it from all others; its values are gathered then.
    #[inline]
    fn recall(&mut self, dict: &Bound<'py, PyDict>) -> Option<Rc<Shape<'py>>> {
        let Self { known: shapes, values, .. } = self;
        let first = values.len();
        let known = with_members(dict, |length, mut members| {
            let (key, value) = members.next()?;
            let shape = shapes.iter().find(|shape| shape.keys.len() == length && shape.starts_with(key))?;
            values.push(Some(value.to_owned()));
            for known in shape.keys.iter().skip(1) {
                let (key, value) = members.next()?;
                if !known.is(key) {
                    return None;
                }
                values.push(Some(value.to_owned()));
            }
            Some(Rc::clone(shape))
        });
        if known.is_none() {
            values.truncate(first);
        }
        known
    }

    #[inline(never)]
    fn gather_new(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<Keys<'py>> {
        let Self { known: shapes, values, .. } = self;
        let first = values.len();
        let mut keys = Vec::with_capacity(dict.len());
        let plain = with_members(dict, |_, members| {
            for (key, value) in members {
                let Ok(key) = key.cast_exact::<PyString>() else { return false };
                keys.push(key.to_owned());
                values.push(Some(value.to_owned()));
            }
            true
        });
        if !plain {
            return Ok(Keys::Other);
        }
        if let Some(place) = shapes.iter().position(|shape| shape.has(&keys)) {
            // Another one with the same first key stands before it.
            shapes.swap(0, place);
            return Ok(shapes.first().map(Rc::clone).map_or(Keys::New(keys), Keys::Known));
        }
        if keys.len() <= MOST_KEYS && self.meets(&keys) {
            return self.learn(keys, first).map(Keys::Known);
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

    /// Learns from the dict whose values were gathered from `first` on.
    #[inline(never)]
    fn learn(&mut self, keys: Vec<Bound<'py, PyString>>, first: usize) -> PyResult<Rc<Shape<'py>>> {
        let values = self.values.get(first..).unwrap_or_default();
        let shape = Rc::new(Shape::new(keys, values)?);
        if self.known.len() == SHAPES {
            self.known.pop();
        }
        self.known.insert(0, Rc::clone(&shape));
        Ok(shape)
    }
}

impl<'py> Shape<'py> {
    /// Whether the first key is this very object.
    #[inline]
    fn starts_with(&self, key: Borrowed<'_, 'py, PyAny>) -> bool {
        self.keys.first().is_some_and(|known| known.is(key))
    }

    /// Whether these are the very keys.
    fn has(&self, keys: &[Bound<'py, PyString>]) -> bool {
        self.keys.len() == keys.len() && self.keys.iter().zip(keys).all(|(known, key)| known.is(key))
    }

    fn new(keys: Vec<Bound<'py, PyString>>, values: &[Option<Bound<'py, PyAny>>]) -> PyResult<Self> {
        let mut members = Vec::with_capacity(keys.len());
        for (number, (place, key)) in sorted(&keys).into_iter().enumerate() {
            let mut text = if number == 0 { b"{".to_vec() } else { b", ".to_vec() };
            write_string(key, &mut text)?;
            text.extend_from_slice(b": ");
            let value = text.len();
            let word = values.get(place).and_then(Option::as_ref).filter(|value| is_word(value)).cloned();
            if let Some(Ok(word)) = word.as_ref().map(|word| word.cast::<PyString>()) {
                write_string(word, &mut text)?;
            }
            members.push(Member { place, text: text.into(), value, word });
        }
        Ok(Self { keys, members })
    }
}

impl<'py> Member<'py> {
    /// What stands before the value.
    #[inline]
    pub(super) fn before(&self) -> &[u8] {
        self.text.get(..self.value).unwrap_or_default()
    }

    /// The member's whole text, if `value` is what it mostly is.
    #[inline]
    pub(super) fn whole(&self, value: &Bound<'py, PyAny>) -> Option<&[u8]> {
        self.word.as_ref().is_some_and(|word| word.is(value)).then_some(&self.text)
    }
}

fn is_word(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyString>().is_ok_and(|text| text.len().is_ok_and(|length| length <= WORD))
}

/// Keys in the order of the text, with their places in the dict.
pub(super) fn sorted<'k, 'py>(keys: &'k [Bound<'py, PyString>]) -> Vec<(usize, &'k Bound<'py, PyString>)> {
    let mut sorted: Vec<_> = keys.iter().enumerate().collect();
    sorted.sort_by(|(_, one), (_, other)| compare(one, other));
    sorted
}

/// The members of a dict.
struct Members<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    /// How many are to come. Counted, as the question for one more member costs as much as any.
    left: usize,
    position: ffi::Py_ssize_t,
}

/// Hands `read` the number of a plain dict's members, and the members.
#[inline(always)]
fn with_members<'py, R>(dict: &Bound<'py, PyDict>, read: impl FnOnce(usize, Members<'_, 'py>) -> R) -> R {
    with_critical_section(dict, || read(dict.len(), Members { dict, left: dict.len(), position: 0 }))
}

impl<'a, 'py> Iterator for Members<'a, 'py> {
    type Item = (Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the dict is a dict and stays locked, and who reads its members runs no code of Python's meanwhile. So
        // they stay what and where they are while they are borrowed.
        unsafe {
            let dict = self.dict;
            (ffi::PyDict_Next(dict.as_ptr(), &raw mut self.position, &raw mut key, &raw mut value) != 0)
                .then(|| (Borrowed::from_ptr(dict.py(), key), Borrowed::from_ptr(dict.py(), value)))
        }
    }
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

//! `penstock.prefix`: digests of input items.

use std::sync::Mutex;

use penstock::prefix::{Chain, Digest, Hasher, Index, Seed, hash_json as core_hash_json};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::dumps::dump;
use crate::errors::{guard, lock, raise};
use crate::ids::with_text;
use crate::limits::Limits;

/// The SHA-256, in hexadecimal, of `json.dumps(items, sort_keys=True)`, as pipecat takes it of a conversation's items.
///
/// The text is hashed as it is written and never built. Strings, numbers, lists, tuples, dicts and their
/// subclasses are written as `json.dumps` writes them.
///
/// Args:
///     items: what is hashed; usually a list of dicts.
///     allow_nan: write NaN and the infinities as `json.dumps` does, although they are no JSON; otherwise refuse them.
///
/// Raises:
///     UnhashableItem: something in `items` has no JSON text; the error names its path and why.
#[pyfunction]
#[pyo3(signature = (items, /, *, allow_nan=true))]
pub(crate) fn hash_items(items: &Bound<'_, PyAny>, allow_nan: bool) -> PyResult<String> {
    guard(items.py(), || {
        let mut hasher = Hasher::new();
        dump(items, 0, allow_nan, &mut hasher)?;
        Ok(hex(&hasher.finish()))
    })
}

/// `hash_items(json.loads(data))`, without the objects.
///
/// Args:
///     data: one JSON text, as bytes-like or str.
///     limits: `max_depth` and `max_number_digits` apply.
///
/// Raises:
///     DecodeError: it is no JSON, its strings are not UTF-8, or a number is beyond a float's range.
///     LimitExceeded: it nests too deep, or an integer is too long.
#[pyfunction]
#[pyo3(signature = (data, /, *, limits=None))]
pub(crate) fn hash_json(data: &Bound<'_, PyAny>, limits: Option<&Limits>) -> PyResult<String> {
    let py = data.py();
    guard(py, || {
        let limits = Limits::or_default(limits);
        let digest =
            with_text(data, |text| core_hash_json(text, &limits).map_err(|error| raise(py, &error)))?;
        Ok(hex(&digest))
    })
}

/// A digest for every prefix of a list of items, each made from the one before it and one more item.
///
/// Adding an item costs the item alone, however many stand before it; a copy costs nothing, and copies that grow
/// apart share what they have in common. Two prefixes have the same digest exactly if salt, model, context and all
/// items have the same meaning: the order of keys, white space and escapes do not count, `1` and `1.0` are two
/// things, and of a key that JSON text has twice the last one counts. Items may come as objects or as JSON text.
///
/// The digest is SHA-256 over the one before and the item as `json.dumps(item, sort_keys=True)` writes it, with all
/// lengths told and a mark for what is hashed; so no other list of anything gives the same bytes.
///
/// Args:
///     items: the first items.
///     salt: the tenant, or a secret of his: chains of different salts have no digest in common. Must be given
///         wherever chains of several tenants meet. A str counts as its UTF-8.
///     model: the model, if chains for different models shall differ.
///     context: any JSON value that a continuation depends on besides the items, such as tools and instructions.
///
/// Raises:
///     UnhashableItem: an item has no JSON text, or holds NaN or an infinity.
#[pyclass(frozen, module = "penstock.prefix")]
pub(crate) struct PrefixChain {
    chain: Mutex<Chain>,
}

impl PrefixChain {
    fn of(chain: Chain) -> Self {
        Self { chain: Mutex::new(chain) }
    }

    fn ask<T>(&self, py: Python<'_>, question: impl FnOnce(&mut Chain) -> PyResult<T>) -> PyResult<T> {
        guard(py, || question(&mut *lock(py, &self.chain)?))
    }

    /// The chain as it is now.
    pub(crate) fn snapshot(&self, py: Python<'_>) -> PyResult<Chain> {
        Ok(lock(py, &self.chain)?.clone())
    }

    /// Changes a copy, which becomes the chain when all went well. The objects' own code may run meanwhile.
    fn change(&self, py: Python<'_>, grow: impl FnOnce(&mut Chain) -> PyResult<()>) -> PyResult<()> {
        guard(py, || {
            let before = self.snapshot(py)?;
            let mut longer = before.clone();
            grow(&mut longer)?;
            let mut chain = lock(py, &self.chain)?;
            if chain.len() != before.len() || chain.digest() != before.digest() {
                return Err(crate::errors::concurrent(py));
            }
            *chain = longer;
            Ok(())
        })
    }
}

#[pymethods]
impl PrefixChain {
    #[new]
    #[pyo3(signature = (items=None, *, salt=None, model=None, context=None))]
    fn new(
        py: Python<'_>,
        items: Option<&Bound<'_, PyAny>>,
        salt: Option<&Bound<'_, PyAny>>,
        model: Option<&str>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let mut text = Vec::new();
            if let Some(context) = context {
                dump(context, 0, false, &mut text)?;
            }
            let root = |salt: &[u8]| {
                let (model, context) = (model.map(str::as_bytes), context.map(|_| &*text));
                Ok(Chain::new(Seed { salt, model, context }))
            };
            let mut chain = match salt {
                Some(salt) => with_text(salt, root)?,
                None => root(b"")?,
            };
            if let Some(items) = items {
                extend(&mut chain, items)?;
            }
            Ok(Self::of(chain))
        })
    }

    /// Adds one item.
    #[pyo3(signature = (item, /))]
    fn append(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.change(item.py(), |chain| append(chain, item))
    }

    /// Adds the items of an iterable; if one of them is refused, none. The error's path begins with its place.
    #[pyo3(signature = (items, /))]
    fn extend(&self, items: &Bound<'_, PyAny>) -> PyResult<()> {
        self.change(items.py(), |chain| extend(chain, items))
    }

    /// Adds one item that is JSON text, bytes-like or str; the digest is that of `append(json.loads(data))`.
    ///
    /// Raises:
    ///     DecodeError: it is no JSON, its strings are not UTF-8, or a number is beyond a float's range.
    ///     LimitExceeded: it nests too deep, or an integer is too long.
    #[pyo3(signature = (data, /, *, limits=None))]
    fn append_json(&self, data: &Bound<'_, PyAny>, limits: Option<&Limits>) -> PyResult<()> {
        let (py, limits) = (data.py(), Limits::or_default(limits));
        self.change(py, |chain| {
            with_text(data, |text| chain.append_json(text, &limits).map_err(|error| raise(py, &error)))
        })
    }

    /// Adds the elements of a JSON array, as `append_json` does each; if one of them is refused, none.
    #[pyo3(signature = (data, /, *, limits=None))]
    fn extend_json(&self, data: &Bound<'_, PyAny>, limits: Option<&Limits>) -> PyResult<()> {
        let (py, limits) = (data.py(), Limits::or_default(limits));
        self.change(py, |chain| {
            with_text(data, |text| chain.extend_json(text, &limits).map_err(|error| raise(py, &error)))
        })
    }

    /// The digest of all items, 32 bytes; without any, that of salt, model and context.
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, |chain| Ok(PyBytes::new(py, chain.digest())))
    }

    /// The same in hexadecimal.
    #[getter]
    fn hexdigest(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |chain| Ok(hex(chain.digest())))
    }

    /// A chain that grows on its own from here; nothing is copied.
    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        self.ask(py, |chain| Ok(Self::of(chain.clone())))
    }

    /// The chain of the first `length` items, as `copy()`.
    ///
    /// Raises:
    ///     IndexError: it has fewer, or `length` is negative.
    #[pyo3(signature = (length, /))]
    fn prefix(&self, py: Python<'_>, length: isize) -> PyResult<Self> {
        self.ask(py, |chain| prefix(chain, length).map(Self::of))
    }

    /// Forgets all but the first `length` items.
    ///
    /// Raises:
    ///     IndexError: it has fewer, or `length` is negative.
    #[pyo3(signature = (length, /))]
    fn truncate(&self, py: Python<'_>, length: isize) -> PyResult<()> {
        self.ask(py, |chain| {
            *chain = prefix(chain, length)?;
            Ok(())
        })
    }

    /// How many items both chains begin with; 0 where salt, model or context differ.
    #[pyo3(signature = (other, /))]
    fn longest_match(&self, py: Python<'_>, other: &Self) -> PyResult<usize> {
        guard(py, || Ok(self.snapshot(py)?.longest_match(&other.snapshot(py)?)))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.ask(py, |chain| Ok(chain.len()))
    }

    /// The digest of the first `length` items; a negative one counts from the end, -1 being all.
    fn __getitem__<'py>(&self, py: Python<'py>, length: isize) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, |chain| {
            let length = if length < 0 { length + 1 + chain.len().cast_signed() } else { length };
            Ok(PyBytes::new(py, prefix(chain, length)?.digest()))
        })
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = other.py();
        guard(py, || {
            let Ok(other) = other.cast::<Self>() else { return Ok(false) };
            Ok(self.snapshot(py)?.digest() == other.get().snapshot(py)?.digest())
        })
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.copy(py)
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.copy(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |chain| Ok(format!("<PrefixChain len={}>", chain.len())))
            .or_else(|_| Ok("<PrefixChain in use or spoiled>".to_owned()))
    }
}

/// A bounded map from prefixes to what they lead to: a response's id, or the worker that has the prefix in its cache.
///
/// One look-up finds the longest prefix of a chain that is there. When it is full, the entry that was put or found
/// longest ago goes. Chains of different salts never meet in it.
///
/// Args:
///     capacity: how many entries it holds at most.
#[pyclass(frozen, generic, module = "penstock.prefix")]
pub(crate) struct PrefixIndex {
    index: Mutex<Index<Py<PyAny>>>,
}

impl PrefixIndex {
    fn ask<T>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&mut Index<Py<PyAny>>) -> PyResult<T>,
    ) -> PyResult<T> {
        guard(py, || question(&mut *lock(py, &self.index)?))
    }
}

#[pymethods]
impl PrefixIndex {
    #[new]
    #[pyo3(signature = (capacity=10_000))]
    fn new(py: Python<'_>, capacity: usize) -> PyResult<Self> {
        guard(py, || {
            if capacity == 0 {
                return Err(PyValueError::new_err("capacity must be at least 1"));
            }
            let seed: u64 = py.import("secrets")?.call_method1("randbits", (64,))?.extract()?;
            Ok(Self { index: Mutex::new(Index::new(capacity, seed)) })
        })
    }

    /// Notes what the first `length` items of a chain lead to; by default all. A value that is there is replaced.
    #[pyo3(signature = (chain, value, /, length=None))]
    fn put(
        &self,
        py: Python<'_>,
        chain: &PrefixChain,
        value: Py<PyAny>,
        length: Option<isize>,
    ) -> PyResult<()> {
        let digest = digest_of(py, chain, length)?;
        // What had to go is dropped when the lock is free: its own code may run.
        self.ask(py, |index| Ok(index.put(digest, value))).map(drop)
    }

    /// The longest prefix of a chain that leads somewhere, as its length and value; None if none does.
    #[pyo3(signature = (chain, /))]
    fn longest_match(&self, py: Python<'_>, chain: &PrefixChain) -> PyResult<Option<(usize, Py<PyAny>)>> {
        self.ask(py, |index| {
            let found = index.longest_match(&chain.snapshot(py)?);
            Ok(found.map(|(length, value)| (length, value.clone_ref(py))))
        })
    }

    /// What exactly the first `length` items lead to, by default all; None if that is not there.
    #[pyo3(signature = (chain, /, length=None))]
    fn get(&self, py: Python<'_>, chain: &PrefixChain, length: Option<isize>) -> PyResult<Option<Py<PyAny>>> {
        let digest = digest_of(py, chain, length)?;
        self.ask(py, |index| Ok(index.get(&digest).map(|value| value.clone_ref(py))))
    }

    /// Takes out what the first `length` items lead to, by default all; tells whether it was there.
    #[pyo3(signature = (chain, /, length=None))]
    fn remove(&self, py: Python<'_>, chain: &PrefixChain, length: Option<isize>) -> PyResult<bool> {
        let digest = digest_of(py, chain, length)?;
        self.ask(py, |index| Ok(index.remove(&digest))).map(|removed| removed.is_some())
    }

    /// Takes everything out.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, |index| Ok(index.clear())).map(drop)
    }

    /// How many entries it holds at most.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> PyResult<usize> {
        self.ask(py, |index| Ok(index.capacity()))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.ask(py, |index| Ok(index.len()))
    }

    /// A value may hold the index, and the two of them be garbage. One that is in use is none.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.index.try_lock().map_or(Ok(()), |index| index.values().try_for_each(|value| visit.call(value)))
    }

    fn __clear__(&self) {
        // The values go when the lock is free: their own code may run.
        let values = self.index.try_lock().map(|mut index| index.clear());
        drop(values);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |index| Ok(format!("<PrefixIndex len={} capacity={}>", index.len(), index.capacity())))
            .or_else(|_| Ok("<PrefixIndex in use or spoiled>".to_owned()))
    }
}

fn append(chain: &mut Chain, item: &Bound<'_, PyAny>) -> PyResult<()> {
    chain.append_with(|out| dump(item, 1, false, out))
}

fn extend(chain: &mut Chain, items: &Bound<'_, PyAny>) -> PyResult<()> {
    if items.is_instance_of::<PyString>() || items.is_instance_of::<pyo3::types::PyDict>() {
        return Err(PyTypeError::new_err("items must be a list or another iterable of items"));
    }
    for (place, item) in items.try_iter()?.enumerate() {
        let item = item?;
        append(chain, &item).map_err(|error| prepend(items.py(), error, place))?;
    }
    Ok(())
}

/// Puts the item's place before the path of an `UnhashableItem`.
#[cold]
fn prepend(py: Python<'_>, error: PyErr, place: usize) -> PyErr {
    let value = error.value(py);
    if let Ok(path) = value.getattr("path").and_then(|path| path.extract::<String>()) {
        let _ = value.setattr("path", format!("[{place}]{path}"));
    }
    error
}

fn prefix(chain: &Chain, length: isize) -> PyResult<Chain> {
    usize::try_from(length)
        .ok()
        .and_then(|length| chain.prefix(length))
        .ok_or_else(|| PyIndexError::new_err("the chain has fewer items"))
}

fn digest_of(py: Python<'_>, chain: &PrefixChain, length: Option<isize>) -> PyResult<Digest> {
    guard(py, || {
        let chain = chain.snapshot(py)?;
        match length {
            Some(length) => Ok(*prefix(&chain, length)?.digest()),
            None => Ok(*chain.digest()),
        }
    })
}

fn hex(digest: &Digest) -> String {
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

//! The object of a shape: made once, then copied and filled for each event that has the shape.
//!
//! Events of one shape differ in a few strings and numbers only. Copying a dict costs a fraction of making it key
//! by key, and a value that is the same as in the first event (an item's id, an index) needs no work at all.

use std::sync::Arc;

use penstock::json::{Cursor, Kind, RawStr};
use penstock::{Fillings, Hole, Shape};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use crate::json::{self, Options};
use crate::strings;

/// More containers than a streamed event has; objects with more are built from scratch.
const CONTAINERS: usize = 8;

/// A shape and the object that its first event became.
pub(crate) struct Template {
    shape: Arc<Shape>,
    prototype: PyOnceLock<Option<Prototype>>,
}

struct Prototype {
    /// The first event, to tell which values differ from its own.
    payload: Vec<u8>,
    fillings: Fillings,
    /// The object itself, then the containers in it, each before those inside it.
    containers: Vec<(Container, Place)>,
    holes: Vec<(Hole, Place)>,
}

enum Container {
    Dict(Py<PyDict>),
    List(Py<PyList>),
}

/// Where a value stands: in which container, under which key or at which place.
struct Place {
    container: usize,
    key: Option<Py<PyAny>>,
    element: usize,
}

/// A copy of a container.
enum Copy<'py> {
    Dict(Bound<'py, PyDict>),
    List(Bound<'py, PyList>),
}

impl<'py> Copy<'py> {
    #[inline]
    fn set(&self, place: &Place, value: Bound<'py, PyAny>) -> PyResult<()> {
        match (self, &place.key) {
            (Self::Dict(dict), Some(key)) => dict.set_item(key, value),
            (Self::List(list), _) => list.set_item(place.element, value),
            (Self::Dict(_), None) => Ok(()),
        }
    }

    fn as_any(&self) -> &Bound<'py, PyAny> {
        match self {
            Self::Dict(dict) => dict,
            Self::List(list) => list,
        }
    }
}

impl Container {
    #[inline]
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Copy<'py>> {
        Ok(match self {
            Self::Dict(dict) => Copy::Dict(dict.bind(py).copy()?),
            Self::List(list) => {
                let list = list.bind(py);
                Copy::List(list.get_slice(0, list.len()))
            }
        })
    }
}

impl Template {
    pub(crate) fn new(shape: Arc<Shape>) -> Self {
        Self { shape, prototype: PyOnceLock::new() }
    }

    /// Whether this is the template of `shape`.
    #[inline]
    pub(crate) fn is_of(&self, shape: &Arc<Shape>) -> bool {
        Arc::ptr_eq(&self.shape, shape)
    }

    /// The object of a payload that has the shape and whose `delta` is made already; `None` if it has to be built
    /// from scratch.
    pub(crate) fn build<'py>(
        &self,
        py: Python<'py>,
        payload: &[u8],
        delta: &Bound<'py, PyAny>,
        options: Options,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(fillings) = self.shape.fillings(payload) else { return Ok(None) };
        let prototype = self.prototype.get_or_try_init(py, || self.learn(py, payload, &fillings, options))?;
        let made = self.shape.text_hole().map(|hole| (hole, delta));
        prototype.as_ref().map_or(Ok(None), |prototype| prototype.fill(py, payload, &fillings, made, options))
    }

    #[cold]
    fn learn(
        &self,
        py: Python<'_>,
        payload: &[u8],
        fillings: &Fillings,
        options: Options,
    ) -> PyResult<Option<Prototype>> {
        let object = json::to_python(py, payload, options)?;
        let kinds: Vec<Hole> = self.shape.holes().collect();
        let starts: Vec<usize> = kinds
            .iter()
            .enumerate()
            .map(|(hole, &kind)| fillings.span(hole).start as usize - usize::from(kind == Hole::String))
            .collect();
        let Some((containers, places)) = locate(&object, payload, &starts) else { return Ok(None) };
        if places.len() != kinds.len() || containers.len() > CONTAINERS {
            return Ok(None);
        }
        let holes = kinds.into_iter().zip(places).collect();
        Ok(Some(Prototype { payload: payload.to_vec(), fillings: *fillings, containers, holes }))
    }
}

impl Prototype {
    fn fill<'py>(
        &self,
        py: Python<'py>,
        payload: &[u8],
        fillings: &Fillings,
        made: Option<(usize, &Bound<'py, PyAny>)>,
        options: Options,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut copies: [Option<Copy<'py>>; CONTAINERS] = [const { None }; CONTAINERS];
        for (number, (container, place)) in self.containers.iter().enumerate() {
            let copy = container.copy(py)?;
            if number > 0
                && let Some(Some(outer)) = copies.get(place.container)
            {
                outer.set(place, copy.as_any().clone())?;
            }
            if let Some(slot) = copies.get_mut(number) {
                *slot = Some(copy);
            }
        }
        for (hole, (kind, place)) in self.holes.iter().enumerate() {
            let text = fillings.span(hole).of(payload);
            if text == self.fillings.span(hole).of(&self.payload) {
                continue;
            }
            let value = match (kind, made) {
                (_, Some((made, delta))) if made == hole && (fillings.is_plain(hole) || !options.strict) => {
                    delta.clone()
                }
                (Hole::String, _) if fillings.is_plain(hole) => strings::ascii(py, text)?.into_any(),
                (Hole::String, _) => {
                    let text = RawStr::checked(text);
                    if options.strict && strings::is_lossy(text) {
                        return Ok(None);
                    }
                    strings::string(py, text)?.into_any()
                }
                _ => match json::short_integer(py, text, options)? {
                    Some(number) => number,
                    None => return Ok(None),
                },
            };
            if let Some(Some(container)) = copies.get(place.container) {
                container.set(place, value)?;
            }
        }
        Ok(copies.into_iter().next().flatten().map(|root| root.as_any().clone()))
    }
}

type Located = (Vec<(Container, Place)>, Vec<Place>);

/// Finds all containers of `object`, made of `payload`, and the places of the values that start at `starts`.
/// `None` if a key occurs twice, since then places do not tell values apart.
fn locate(object: &Bound<'_, PyAny>, payload: &[u8], starts: &[usize]) -> Option<Located> {
    /// A container that is open: its number, the key of the member being read, elements before this one.
    struct Open<'py> {
        number: usize,
        object: Bound<'py, PyAny>,
        key: Option<Bound<'py, PyAny>>,
        elements: usize,
    }

    let mut containers = Vec::new();
    let mut places = Vec::new();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut cursor = Cursor::new(payload);
    let key = |cursor: &mut Cursor<'_>| -> Option<Bound<'_, PyAny>> {
        let key = cursor.key().ok()?;
        strings::words(object.py()).ok()?.string(object.py(), key).ok().map(Bound::into_any)
    };
    loop {
        let kind = cursor.kind().ok()?;
        let start = cursor.position();
        let place = |open: &[Open<'_>]| {
            let outer = open.last();
            Place {
                container: outer.map_or(0, |outer| outer.number),
                key: outer.and_then(|outer| outer.key.clone()).map(Bound::unbind),
                element: outer.map_or(0, |outer| outer.elements),
            }
        };
        if starts.contains(&start) {
            places.push(place(&open));
        }
        match kind {
            Kind::Object | Kind::Array => {
                let inner = match open.last() {
                    None => object.clone(),
                    Some(Open { object, key: Some(key), .. }) => object.get_item(key).ok()?,
                    Some(Open { object, elements, .. }) => object.get_item(elements).ok()?,
                };
                let container = match (inner.cast::<PyDict>(), inner.cast::<PyList>()) {
                    (Ok(dict), _) => Container::Dict(dict.clone().unbind()),
                    (_, Ok(list)) => Container::List(list.clone().unbind()),
                    _ => return None,
                };
                let number = containers.len();
                containers.push((container, place(&open)));
                let filled = if kind == Kind::Object { cursor.open_object() } else { cursor.open_array() };
                if filled.ok()? {
                    let key = if kind == Kind::Object { Some(key(&mut cursor)?) } else { None };
                    open.push(Open { number, object: inner, key, elements: 0 });
                    continue;
                }
            }
            Kind::String => drop(cursor.string().ok()?),
            Kind::Number => drop(cursor.number().ok()?),
            _ => cursor.literal(kind).ok()?,
        }
        loop {
            let Some(container) = open.last_mut() else { return Some((containers, places)) };
            container.elements += 1;
            if cursor.more(if container.key.is_some() { b'}' } else { b']' }).ok()? {
                if container.key.is_some() {
                    container.key = Some(key(&mut cursor)?);
                }
                break;
            }
            if container.object.len().ok()? != container.elements {
                return None;
            }
            open.pop();
        }
    }
}

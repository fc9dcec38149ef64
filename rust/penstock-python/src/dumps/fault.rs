//! Why an object has no text, and where it stands.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::DEPTH;
use crate::errors::construct;

/// Why something could not be written; in a box, so that what goes well hands on a single word.
pub(super) struct Fault<'py>(Box<Failure<'py>>);

pub(super) type Written<'py> = Result<(), Fault<'py>>;

struct Failure<'py> {
    what: What<'py>,
    /// The way to it, the innermost step first.
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

/// A step from a container to what it holds.
pub(super) enum Step<'py> {
    Index(usize),
    Key(Bound<'py, PyAny>),
}

impl From<PyErr> for Fault<'_> {
    #[cold]
    fn from(error: PyErr) -> Self {
        Self::of(What::Raised(error))
    }
}

impl<'py> Fault<'py> {
    #[cold]
    pub(super) fn new(reason: &'static str, words: String) -> Self {
        Self::of(What::Reason(reason, words))
    }

    /// The container that is one too deep.
    #[cold]
    pub(super) fn deep(container: &Bound<'py, PyAny>) -> Self {
        Self::of(What::Deep(vec![container.clone()]))
    }

    fn of(what: What<'py>) -> Self {
        Self(Box::new(Failure { what, path: Vec::new() }))
    }

    /// The same fault, seen from the container around it.
    #[cold]
    pub(super) fn at(mut self, step: Step<'py>) -> Self {
        self.0.path.push(step);
        self
    }

    /// Tells which container stands around it; only what is too deep wants to know.
    #[cold]
    pub(super) fn inside(mut self, container: &Bound<'py, PyAny>) -> Self {
        if let What::Deep(open) = &mut self.0.what {
            open.push(container.clone());
        }
        self
    }

    #[cold]
    pub(super) fn raise(self, py: Python<'py>) -> PyErr {
        let Failure { what, mut path } = *self.0;
        let (reason, words) = match what {
            What::Raised(error) => return error,
            What::Reason(reason, words) => (reason, words),
            What::Deep(mut open) => match first_return(&mut open) {
                Some(place) => {
                    path.drain(..path.len().saturating_sub(place));
                    ("cycle", "a container holds itself".to_owned())
                }
                None => ("depth", format!("containers nest deeper than {DEPTH} levels")),
            },
        };
        let path: String = path.iter().rev().map(Step::text).collect();
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

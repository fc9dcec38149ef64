//! `_Linter`: the events of a stream in, what is wrong with them out; `penstock.lint` is its face.

use std::sync::Mutex;

use penstock::{Error, Finding, Framing, LintOptions, Rule};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::errors::{guard, lock, raise};
use crate::feed::{Accumulate, Feed};
use crate::limits::Limits;

/// Reads a Responses stream and tells which rules of its life it breaks.
///
/// Args:
///     framing: "sse" or "ndjson", of bytes that are fed.
///     strict: also apply the rules that real providers break all the time.
///     ignore: codes or names of rules that are not applied.
///     limits: the bounds.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct _Linter {
    state: Mutex<State>,
}

struct State {
    core: penstock::Linter,
    feed: Feed,
}

impl Accumulate for penstock::Linter {
    #[inline]
    fn take(&mut self, payload: &[u8], name: Option<&[u8]>) -> Result<(), Error> {
        self.feed(payload, name)
    }
}

/// Code, rule, number of the event, its type, `output_index`, sentence.
type Row = (&'static str, &'static str, u64, String, Option<u64>, &'static str);

fn row(finding: &Finding) -> Row {
    let Finding { rule, event, event_type, output_index } = finding;
    (rule.code(), rule.name(), *event, event_type.to_string(), *output_index, rule.sentence())
}

fn rule(word: &Bound<'_, PyString>) -> PyResult<Rule> {
    let word = word.to_cow()?;
    let known = Rule::ALL.iter().find(|rule| rule.code() == word || rule.name() == word);
    known.copied().ok_or_else(|| PyValueError::new_err(format!("no rule {word:?}")))
}

#[pymethods]
impl _Linter {
    #[new]
    #[pyo3(signature = (*, framing="sse", strict=false, ignore=Vec::new(), limits=None),
        text_signature = "(*, framing='sse', strict=False, ignore=(), limits=None)")]
    fn new(
        py: Python<'_>,
        framing: &str,
        strict: bool,
        ignore: Vec<Bound<'_, PyString>>,
        limits: Option<&Limits>,
    ) -> PyResult<Self> {
        guard(py, || {
            let limits = Limits::or_default(limits);
            let framing = match framing {
                "sse" => Framing::Sse,
                "ndjson" => Framing::Ndjson,
                other => {
                    return Err(PyValueError::new_err(format!(
                        "framing is \"sse\" or \"ndjson\", not {other:?}"
                    )));
                }
            };
            let ignore = ignore.into_iter().map(|word| rule(&word)).collect::<PyResult<_>>()?;
            let core = penstock::Linter::new(&LintOptions { strict, ignore, limits });
            Ok(Self { state: Mutex::new(State { core, feed: Feed::framed(&limits, framing) }) })
        })
    }

    /// Takes what comes next of the stream: events, bytes in any split, or single payloads.
    #[pyo3(signature = (data, /))]
    fn feed(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        guard(py, || {
            let State { core, feed } = &mut *lock(py, &self.state)?;
            feed.feed(data, core)
        })
    }

    /// Ends the stream and returns what was found: (code, rule, event, type, output_index, message) for each.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let State { core, feed } = &mut *lock(py, &self.state)?;
            feed.finish(core).map_err(|error| raise(py, &error))?;
            PyList::new(py, core.finish().iter().map(row))
        })
    }

    /// Events read.
    #[getter]
    fn events(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(lock(py, &self.state)?.core.events()))
    }

    /// Findings beyond those that were kept.
    #[getter]
    fn dropped(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(lock(py, &self.state)?.core.dropped()))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let shown = guard(py, || Ok(format!("<_Linter events={}>", lock(py, &self.state)?.core.events())));
        shown.unwrap_or_else(|_| "<_Linter in use or spoiled>".to_owned())
    }

    /// All rules: (code, name, whether only strict reading applies it, sentence).
    #[staticmethod]
    fn rules() -> Vec<(&'static str, &'static str, bool, &'static str)> {
        Rule::ALL.iter().map(|rule| (rule.code(), rule.name(), rule.is_strict(), rule.sentence())).collect()
    }
}

//! `_Conversations`: the store in memory, behind `penstock.store.MemoryStore`; and what all stores make of a turn.

use std::sync::Mutex;

use penstock::{Conversations, NewTurn};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bounds::Bounds;
use crate::errors::{guard, raise, wait};
use crate::items::{Items, items_json, object_json};

/// Conversations of many tenants. Times are milliseconds; threads may share it.
///
/// Args:
///     bounds: what it may keep.
#[pyclass(frozen, module = "penstock")]
pub(crate) struct _Conversations {
    state: Mutex<Conversations>,
}

/// Parent, response, input, output.
type Row<'py> = (Option<String>, Bound<'py, PyBytes>, Items, Items);

/// Turns a caller's arguments into a turn.
fn new_turn(
    response: &Bound<'_, PyAny>,
    input: &Bound<'_, PyAny>,
    output: Option<&Bound<'_, PyAny>>,
    parent: Option<&str>,
) -> PyResult<NewTurn> {
    let response_text = object_json(response)?;
    let input = items_json(input)?;
    let output = output.map(items_json).transpose()?;
    NewTurn::read(&response_text, &input, output.as_deref(), parent)
        .map_err(|error| raise(response.py(), &error))
}

#[pymethods]
impl _Conversations {
    #[new]
    #[pyo3(signature = (bounds=None))]
    fn new(py: Python<'_>, bounds: Option<&Bounds>) -> PyResult<Self> {
        guard(py, || Ok(Self { state: Mutex::new(Conversations::new(Bounds::or_default(bounds))) }))
    }

    /// Stores a turn; whether it is new. `before` are the items it continues if its parent is stored elsewhere.
    #[pyo3(signature = (tenant, response, input, output, parent, now, before=None))]
    #[allow(clippy::too_many_arguments, reason = "as Python has them")]
    fn append(
        &self,
        py: Python<'_>,
        tenant: &str,
        response: &Bound<'_, PyAny>,
        input: &Bound<'_, PyAny>,
        output: Option<&Bound<'_, PyAny>>,
        parent: Option<&str>,
        now: u64,
        before: Option<&Items>,
    ) -> PyResult<bool> {
        guard(py, || {
            let turn = new_turn(response, input, output, parent)?;
            let before = before.map(|items| items.core.clone());
            let appended = wait(py, &self.state)?.append(tenant, turn, before, now);
            appended.map_err(|error| raise(py, &error))
        })
    }

    /// The items up to and with the output of a turn.
    fn history(&self, py: Python<'_>, tenant: &str, id: &str, now: u64) -> PyResult<Items> {
        guard(py, || {
            let core = wait(py, &self.state)?.history(tenant, id, now);
            Ok(Items { core: core.map_err(|error| raise(py, &error))? })
        })
    }

    /// Whether there is such a turn; asking is no use of it.
    fn has(&self, py: Python<'_>, tenant: &str, id: &str, now: u64) -> PyResult<bool> {
        guard(py, || Ok(wait(py, &self.state)?.has(tenant, id, now)))
    }

    /// One turn: (parent, response, input, output); None if there is none.
    fn turn<'py>(&self, py: Python<'py>, tenant: &str, id: &str, now: u64) -> PyResult<Option<Row<'py>>> {
        guard(py, || {
            let turn = wait(py, &self.state)?.turn(tenant, id, now);
            Ok(turn.map(|turn| {
                let response = PyBytes::new(py, &turn.response);
                let parent = turn.parent.map(String::from);
                (parent, response, Items { core: turn.input }, Items { core: turn.output })
            }))
        })
    }

    /// Forgets a turn; whether there was one.
    fn delete(&self, py: Python<'_>, tenant: &str, id: &str, now: u64) -> PyResult<bool> {
        guard(py, || Ok(wait(py, &self.state)?.delete(tenant, id, now)))
    }

    /// Forgets what is too old; how many turns that were.
    fn expire(&self, py: Python<'_>, now: u64) -> PyResult<u64> {
        guard(py, || Ok(wait(py, &self.state)?.expire(now)))
    }

    /// Forgets everything.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        guard(py, || {
            let mut state = wait(py, &self.state)?;
            *state = state.emptied();
            Ok(())
        })
    }

    /// Turns that can be loaded.
    #[getter]
    fn turns(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(wait(py, &self.state)?.turns()))
    }

    /// Bytes that are kept.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(wait(py, &self.state)?.bytes()))
    }
}

/// Id, response, input, output, items, bytes of the items, cost of the items, cost of the name.
type Read<'py> = (String, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64, u64, u64, u64);

/// Checks a turn for a store that keeps it elsewhere: (id, response, input, output, items, size, link cost, name cost).
#[pyfunction]
#[pyo3(signature = (response, input, output, parent))]
pub(crate) fn _read_turn<'py>(
    py: Python<'py>,
    response: &Bound<'py, PyAny>,
    input: &Bound<'py, PyAny>,
    output: Option<&Bound<'py, PyAny>>,
    parent: Option<&str>,
) -> PyResult<Read<'py>> {
    guard(py, || {
        let turn = new_turn(response, input, output, parent)?;
        let array = |items: &penstock::Items| {
            let mut out = Vec::new();
            items.write_json(&mut out);
            PyBytes::new(py, &out)
        };
        let (link_cost, name_cost) = (turn.link_cost(), turn.name_cost());
        let (items, size) = (turn.input.len() + turn.output.len(), turn.input.bytes() + turn.output.bytes());
        let (input, output) = (array(&turn.input), array(&turn.output));
        let response = PyBytes::new(py, &turn.response);
        Ok((turn.id.into(), response, input, output, items, size, link_cost, name_cost))
    })
}

//! Rows of fields: what a decoder gives instead of events when it is asked for some fields alone.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::event::{Reader, name_string};

/// The fields asked for last; mostly the same tuple each time.
pub(super) struct Projection {
    fields: Py<PyAny>,
    pub(super) columns: Vec<Column>,
}

/// A field of a projection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Type,
    Name,
    Id,
    SequenceNumber,
    OutputIndex,
    ItemId,
    StreamId,
    Delta,
    Data,
    Flushed,
}

impl Column {
    const ALL: [(&'static str, Self); 10] = [
        ("type", Self::Type),
        ("name", Self::Name),
        ("id", Self::Id),
        ("sequence_number", Self::SequenceNumber),
        ("output_index", Self::OutputIndex),
        ("item_id", Self::ItemId),
        ("stream_id", Self::StreamId),
        ("delta", Self::Delta),
        ("data", Self::Data),
        ("flushed", Self::Flushed),
    ];
}

impl Projection {
    /// Whether these are the fields.
    pub(super) fn is_of(&self, fields: &Bound<'_, PyAny>) -> bool {
        self.fields.is(fields)
    }

    pub(super) fn parse(fields: &Bound<'_, PyAny>) -> PyResult<Self> {
        if fields.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("fields must be a sequence of names, not one str"));
        }
        // A tuple cannot change, so its columns can be kept as long as the same one comes.
        let names = PyTuple::new(fields.py(), fields.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        let mut columns = Vec::with_capacity(names.len());
        for name in &names {
            let name = name.cast::<PyString>()?.to_cow()?;
            let known = Column::ALL.iter().find(|(known, _)| *known == name);
            let Some((_, column)) = known else {
                let known: Vec<&str> = Column::ALL.iter().map(|(known, _)| *known).collect();
                return Err(PyValueError::new_err(format!(
                    "no field {name:?}; there are {}",
                    known.join(", ")
                )));
            };
            columns.push(*column);
        }
        let fields = if fields.is_exact_instance_of::<PyTuple>() { fields } else { names.as_any() };
        Ok(Self { fields: fields.clone().unbind(), columns })
    }
}

/// The row of one event: the values of the columns. `id` is the stream's last event id.
#[inline]
pub(super) fn row<'py>(
    columns: &[Column],
    reader: &Reader<'_, 'py>,
    id: Option<&Py<PyString>>,
    flushed: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = reader.py;
    let cell = |column: &Column| -> PyResult<Bound<'py, PyAny>> {
        Ok(match column {
            Column::Type => reader.event_type()?.into_any(),
            Column::Delta => or_none(py, reader.delta()?),
            Column::Name => or_none(py, (!reader.name.is_empty()).then(|| name_string(py, reader.name))),
            Column::Id => or_none(py, id.map(|id| id.bind(py).clone())),
            Column::ItemId => or_none(py, reader.item_id()?),
            Column::StreamId => or_none(py, reader.stream_id()?),
            Column::SequenceNumber => reader.sequence_number().into_pyobject(py)?,
            Column::OutputIndex => reader.output_index().into_pyobject(py)?,
            Column::Data => PyBytes::new(py, reader.payload).into_any(),
            Column::Flushed => flushed.into_pyobject(py)?.to_owned().into_any(),
        })
    };
    match columns {
        [one] => Ok(PyTuple::new(py, [cell(one)?])?.into_any()),
        [one, two] => Ok((cell(one)?, cell(two)?).into_pyobject(py)?.into_any()),
        many => {
            let cells = many.iter().map(cell).collect::<PyResult<Vec<_>>>()?;
            Ok(PyTuple::new(py, cells)?.into_any())
        }
    }
}

fn or_none<'py, T>(py: Python<'py>, value: Option<Bound<'py, T>>) -> Bound<'py, PyAny> {
    value.map_or_else(|| py.None().into_bound(py), Bound::into_any)
}

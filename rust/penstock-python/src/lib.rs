//! The Python face of the core: the module table, nothing else.
use pyo3::prelude::*;

/// Private extension module; import from `penstock`.
#[pymodule(gil_used = false)]
mod _penstock {}

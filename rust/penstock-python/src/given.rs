//! What callers give: JSON, and words that stand for something.

use penstock::json::{Edit, patch, push_string};
use penstock::{Error, ItemStatus, PartKind};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

/// JSON text from a caller: text as it is, anything else as `json.dumps` writes it.
pub(crate) fn json_of(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_cow()?.into_owned().into_bytes());
    }
    let keywords = PyDict::new(value.py());
    keywords.set_item("allow_nan", false)?;
    // ASCII escapes carry surrogates that UTF-8 could not.
    let text = value.py().import("json")?.call_method("dumps", (value,), Some(&keywords))?;
    Ok(text.cast::<PyString>()?.to_str()?.as_bytes().to_vec())
}

/// The same, and nothing for `None`.
pub(crate) fn json_or_empty(value: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u8>> {
    value.map_or(Ok(Vec::new()), json_of)
}

/// Says which of `words` a caller may use.
pub(crate) fn unknown(what: &str, given: &str, words: &str) -> PyErr {
    PyValueError::new_err(format!("{what} is {words}, not {given:?}"))
}

/// What a part holds, by its type.
pub(crate) fn part_kind(word: &str) -> PyResult<PartKind> {
    Ok(match word {
        "output_text" => PartKind::Text,
        "refusal" => PartKind::Refusal,
        "reasoning_text" => PartKind::ReasoningText,
        "summary_text" => PartKind::SummaryText,
        other => {
            let words = "\"output_text\", \"refusal\", \"reasoning_text\" or \"summary_text\"";
            return Err(unknown("type", other, words));
        }
    })
}

/// How an item ends.
pub(crate) fn item_status(word: &str) -> PyResult<ItemStatus> {
    Ok(match word {
        "completed" => ItemStatus::Completed,
        "incomplete" => ItemStatus::Incomplete,
        "failed" => ItemStatus::Failed,
        other => return Err(unknown("status", other, "\"completed\", \"incomplete\" or \"failed\"")),
    })
}

/// A JSON object, or nothing, with this type.
pub(crate) fn with_type(object: &[u8], word: &str) -> Result<Vec<u8>, Error> {
    let object = if object.is_empty() { b"{}" } else { object };
    let word = |out: &mut Vec<u8>| {
        push_string(word.as_bytes(), out);
        Ok(())
    };
    let mut typed = Vec::new();
    patch(object, &[Edit::new("type", &word)], &mut typed)?;
    Ok(typed)
}

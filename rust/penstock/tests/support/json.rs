//! JSON read through the core's cursor, and by `serde_json`, as the same kind of tree.

use penstock::json::{Cursor, Kind, RawStr, push_lossy};
use penstock::{Error, Limit};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// Levels of nesting the core follows.
const MAX_DEPTH: u64 = 128;

/// Whether the cursor takes `text` for one JSON text.
pub fn check(text: &[u8]) -> Result<(), Error> {
    let mut cursor = Cursor::new(text);
    cursor.skip_value(0, MAX_DEPTH)?;
    cursor.end()
}

/// Holds the cursor to the grammar that `serde_json` reads. One difference is allowed: the core refuses what is
/// nested over 128 levels. Neither looks at UTF-8 inside strings here, at the value of a number, or for the other
/// half of a surrogate. Returns whether `text` is JSON.
pub fn check_twice(text: &[u8]) -> bool {
    let checked = check(text);
    let known = serde_json::from_slice::<IgnoredAny>(text);
    match &checked {
        Err(Error::Limit { limit: Limit::Depth, maximum: MAX_DEPTH, .. }) => {
            assert!(text.iter().filter(|byte| b"[{".contains(byte)).count() > MAX_DEPTH as usize);
        }
        _ => assert_eq!(checked.is_ok(), known.is_ok(), "{checked:?} {known:?} {}", text.escape_ascii()),
    }
    checked.is_ok()
}

/// The tree that `serde_json` makes of a text; `None` where it refuses what the core allows on purpose: a lone
/// surrogate escape, and the 128th level. Bytes that are not UTF-8 are U+FFFD.
pub fn tree(text: &[u8]) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(text)).ok()
}

/// The tree of a text that [`check`] accepts, built with the cursor's own steps.
pub fn tree_by_cursor(text: &[u8]) -> Result<Value, Error> {
    let mut cursor = Cursor::new(text);
    let value = value(&mut cursor)?;
    cursor.end()?;
    Ok(value)
}

fn value(cursor: &mut Cursor<'_>) -> Result<Value, Error> {
    let kind = cursor.kind()?;
    match kind {
        Kind::Object => {
            let mut members = Map::new();
            let mut more = cursor.open_object()?;
            while more {
                let key = decoded(cursor.key()?);
                members.insert(key, value(cursor)?);
                more = cursor.more(b'}')?;
            }
            return Ok(Value::Object(members));
        }
        Kind::Array => {
            let mut elements = Vec::new();
            let mut more = cursor.open_array()?;
            while more {
                elements.push(value(cursor)?);
                more = cursor.more(b']')?;
            }
            return Ok(Value::Array(elements));
        }
        Kind::String => return Ok(Value::String(decoded(cursor.string()?))),
        Kind::Number => {
            let number = cursor.number()?;
            let number = serde_json::from_slice(number.raw).expect("a number of the same grammar");
            return Ok(Value::Number(number));
        }
        _ => cursor.literal(kind)?,
    }
    Ok(if kind == Kind::Null { Value::Null } else { Value::Bool(kind == Kind::True) })
}

/// The characters of a string; lone surrogates and invalid bytes as U+FFFD.
pub fn decoded(text: RawStr<'_>) -> String {
    let mut out = Vec::new();
    push_lossy(text, &mut out);
    String::from_utf8(out).expect("lossy text is UTF-8")
}

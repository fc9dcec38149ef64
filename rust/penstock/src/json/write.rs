//! JSON written anew where something changed, and copied byte for byte where nothing did.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::json::text::push_escaped;
use crate::json::walk::{entries, spells};

/// One change to an object: the member's key and what writes its new value.
#[derive(Clone, Copy)]
pub struct Edit<'a> {
    /// The key; must not need escaping.
    pub key: &'a str,
    /// Appends the value, one JSON text.
    pub value: &'a dyn Fn(&mut Vec<u8>) -> Result<(), Error>,
}

impl<'a> Edit<'a> {
    /// Gives member `key` the value that `value` writes.
    #[must_use]
    pub const fn new(key: &'a str, value: &'a dyn Fn(&mut Vec<u8>) -> Result<(), Error>) -> Self {
        Self { key, value }
    }
}

/// Appends `object` to `out` with `edits` made at its top level. A member that is there gets its new value in
/// place (of duplicates the last one, which is the one that counts), others follow at the end in the order of
/// `edits`. Everything else stays as it is: numbers, escapes, order, white space, unknown members.
pub fn patch(object: &[u8], edits: &[Edit<'_>], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut places = vec![None; edits.len()];
    let mut filled = false;
    entries(object, |key, value| {
        filled = true;
        for (edit, place) in edits.iter().zip(&mut places) {
            if spells(key, edit.key) {
                *place = Some(value.clone());
            }
        }
    })?;
    let mut present: Vec<_> =
        edits.iter().zip(&places).filter_map(|(edit, place)| Some((edit, place.clone()?))).collect();
    present.sort_by_key(|(_, place)| place.start);

    let mut copied = 0;
    for (edit, place) in present {
        out.extend_from_slice(object.get(copied..place.start).unwrap_or_default());
        (edit.value)(out)?;
        copied = place.end;
    }
    let close = object.iter().rposition(|&byte| byte == b'}').unwrap_or(object.len());
    out.extend_from_slice(object.get(copied..close).unwrap_or_default());
    for (edit, _) in edits.iter().zip(&places).filter(|(_, place)| place.is_none()) {
        if filled {
            out.push(b',');
        }
        filled = true;
        push_key(edit.key, out);
        (edit.value)(out)?;
    }
    out.extend_from_slice(object.get(close..).unwrap_or_default());
    Ok(())
}

/// Appends `object` to `out` with those members of `other` that it lacks at its end.
pub fn merge(object: &[u8], other: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut keys = BTreeSet::new();
    entries(object, |key, _| {
        keys.insert(key.decoded());
    })?;
    let close = object.iter().rposition(|&byte| byte == b'}').unwrap_or(object.len());
    out.extend_from_slice(object.get(..close).unwrap_or_default());
    let mut filled = !keys.is_empty();
    entries(other, |key, value| {
        if keys.contains(&key.decoded()) {
            return;
        }
        if filled {
            out.push(b',');
        }
        filled = true;
        out.push(b'"');
        out.extend_from_slice(key.raw);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(other.get(value).unwrap_or_default());
    })?;
    out.extend_from_slice(object.get(close..).unwrap_or_default());
    Ok(())
}

/// Appends WTF-8 `text` as a JSON string.
pub fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// Appends a number.
#[inline]
pub fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        start -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Appends a checked JSON value without the white space between its tokens.
pub(crate) fn push_compact(value: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in value {
        if in_string || !byte.is_ascii_whitespace() {
            out.push(byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
}

/// Appends `"key":`; the key must not need escaping.
pub fn push_key(key: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends the comma between two values of a container, unless its bracket is all that stands before.
pub fn push_comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'[' | b'{')) {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::{Edit, merge, patch, push_comma, push_key, push_number, push_string};

    #[test]
    fn patches_touch_nothing_else() {
        for (object, expected) in [
            ("{}", r#"{"a":1,"b":"\n"}"#),
            (r#"{"c":1e400}"#, r#"{"c":1e400,"a":1,"b":"\n"}"#),
            (r#" { "b" : [ ] , "x":"\u00e9" } "#, " { \"b\" : \"\\n\" , \"x\":\"\\u00e9\" ,\"a\":1} "),
            (r#"{"b":{"a":2},"a":null}"#, r#"{"b":"\n","a":1}"#),
            (r#"{"a":0,"\u0061":5,"b":6}"#, r#"{"a":0,"\u0061":1,"b":"\n"}"#),
        ] {
            let mut out = Vec::new();
            let edits = [
                Edit::new("a", &|out| {
                    out.push(b'1');
                    Ok(())
                }),
                Edit::new("b", &|out| {
                    push_string(b"\n", out);
                    Ok(())
                }),
            ];
            patch(object.as_bytes(), &edits, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{object}");
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for number in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn only_objects_can_be_patched() {
        for text in ["", "[]", "null", "{", "{} {}"] {
            assert!(patch(text.as_bytes(), &[], &mut Vec::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn merging_adds_what_is_missing() {
        for (object, other, expected) in [
            ("{}", "{}", "{}"),
            ("{}", r#"{"a":1,"b":[]}"#, r#"{"a":1,"b":[]}"#),
            (r#"{"a":1}"#, r#"{"\u0061":2,"b":3}"#, r#"{"a":1,"b":3}"#),
            (r#" { "\u0061" : 1 } "#, r#"{"a":2,"\u0062":3}"#, " { \"\\u0061\" : 1 ,\"\\u0062\":3} "),
        ] {
            let mut out = Vec::new();
            merge(object.as_bytes(), other.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{object} {other}");
        }
    }

    #[test]
    fn commas_stand_between_values() {
        let mut out = b"[".to_vec();
        for text in ["a", "b"] {
            push_comma(&mut out);
            push_string(text.as_bytes(), &mut out);
        }
        push_comma(&mut out);
        out.push(b'{');
        push_comma(&mut out);
        push_key("k", &mut out);
        assert_eq!(out, br#"["a","b",{"k":"#);
    }
}

//! Citations of addresses: flat in Responses, a level deeper in Chat Completions.

use std::borrow::Cow;

use super::usage::{member, push_others};
use crate::event::{index, string};
use crate::json::{push_comma, push_key};

/// What every citation has, whether that is a text, and what stands there if the source does not tell.
const MEMBERS: [(&str, bool, &[u8]); 4] = [
    ("url", true, b"\"\""),
    ("title", true, b"\"\""),
    ("start_index", false, b"0"),
    ("end_index", false, b"0"),
];

/// Appends the members of `citation` except its type, and those that it lacks. `start` is where the text that the
/// citation counts from stands in the one that readers count from, in characters; what stands before that stands at
/// its beginning.
pub(super) fn push_citation(citation: &[u8], start: i64, out: &mut Vec<u8>) {
    let made = MEMBERS.map(|(key, is_text, nothing)| {
        let value = member(citation, key);
        match (is_text, value.and_then(string), value.and_then(index)) {
            (true, Some(_), _) => None,
            (false, _, Some(_)) if start == 0 => None,
            (false, _, Some(place)) => {
                Some((key, Cow::Owned(place.saturating_add_signed(start).to_string().into())))
            }
            _ => Some((key, Cow::Borrowed(nothing))),
        }
    });
    let keys: Vec<&str> = made.iter().flatten().map(|(key, _)| *key).chain(["type"]).collect();
    push_others(citation, &keys, out);
    for (key, value) in made.iter().flatten() {
        push_comma(out);
        push_key(key, out);
        out.extend_from_slice(value);
    }
}

/// How many characters WTF-8 text has.
pub(super) fn characters(text: &[u8]) -> i64 {
    let count = text.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{characters, push_citation};

    #[test]
    fn what_is_missing_is_there() {
        for (citation, start, expected) in [
            ("{}", 0, r#"{"url":"","title":"","start_index":0,"end_index":0"#),
            (
                r#"{"type":"url_citation","title":"T","end_index":3,"x":1}"#,
                0,
                r#"{"title":"T","end_index":3,"x":1,"url":"","start_index":0"#,
            ),
            (
                r#"{"url":null,"title":5,"start_index":null,"end_index":3}"#,
                0,
                r#"{"end_index":3,"url":"","title":"","start_index":0"#,
            ),
            (
                r#"{"url":"u","title":"T","start_index":2,"end_index":null,"x":1}"#,
                5,
                r#"{"url":"u","title":"T","x":1,"start_index":7,"end_index":0"#,
            ),
            (
                r#"{"url":"u","title":"T","start_index":2,"end_index":7}"#,
                -5,
                r#"{"url":"u","title":"T","start_index":0,"end_index":2"#,
            ),
        ] {
            let mut out = b"{".to_vec();
            push_citation(citation.as_bytes(), start, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn characters_are_code_points() {
        assert_eq!(characters("aé\u{2028}😀".as_bytes()), 4);
        assert_eq!(characters(b"\xed\xa0\xbd"), 1);
    }
}

//! Citations of addresses: flat in Responses, a level deeper in Chat Completions.

use super::usage::{member, push_others};
use crate::event::index;
use crate::json::{push_comma, push_key, push_number};

/// What every citation has, and what stands there if the source does not tell.
const MEMBERS: [(&str, &[u8]); 4] =
    [("url", b"\"\""), ("title", b"\"\""), ("start_index", b"0"), ("end_index", b"0")];

/// Where in the text it stands.
const PLACES: [&str; 2] = ["start_index", "end_index"];

/// Appends the members of `citation` except its type, and those that it lacks.
pub(super) fn push_citation(citation: &[u8], out: &mut Vec<u8>) {
    push_citation_from(citation, 0, out);
}

/// As [`push_citation`]; `start` is where the text that the citation counts from stands in the one that readers count
/// from.
pub(super) fn push_citation_from(citation: &[u8], start: u64, out: &mut Vec<u8>) {
    let read = if start == 0 { &["type"][..] } else { &["type", "start_index", "end_index"] };
    push_others(citation, read, out);
    for (key, nothing) in MEMBERS {
        let value = member(citation, key);
        if value.is_none() || start > 0 && PLACES.contains(&key) {
            push_comma(out);
            push_key(key, out);
            match value.map(|value| (value, index(value))) {
                Some((_, Some(place))) => push_number(place.saturating_add(start), out),
                Some((value, None)) => out.extend_from_slice(value),
                None => out.extend_from_slice(nothing),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_citation_from;

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
                r#"{"url":"u","title":"T","start_index":2,"end_index":null,"x":1}"#,
                5,
                r#"{"url":"u","title":"T","x":1,"start_index":7,"end_index":null"#,
            ),
        ] {
            let mut out = b"{".to_vec();
            push_citation_from(citation.as_bytes(), start, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}

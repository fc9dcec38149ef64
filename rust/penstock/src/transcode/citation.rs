//! Citations of addresses: flat in Responses, a level deeper in Chat Completions.

use super::usage::{member, push_others};
use crate::json::{push_comma, push_key};

/// What every citation has, and what stands there if the source does not tell.
const MEMBERS: [(&str, &[u8]); 4] =
    [("url", b"\"\""), ("title", b"\"\""), ("start_index", b"0"), ("end_index", b"0")];

/// Appends the members of `citation` except its type, and those that it lacks.
pub(super) fn push_citation(citation: &[u8], out: &mut Vec<u8>) {
    push_others(citation, &["type"], out);
    for (key, nothing) in MEMBERS {
        if member(citation, key).is_none() {
            push_comma(out);
            push_key(key, out);
            out.extend_from_slice(nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_citation;

    #[test]
    fn what_is_missing_is_there() {
        for (citation, expected) in [
            ("{}", r#"{"url":"","title":"","start_index":0,"end_index":0"#),
            (
                r#"{"type":"url_citation","title":"T","end_index":3,"x":1}"#,
                r#"{"title":"T","end_index":3,"x":1,"url":"","start_index":0"#,
            ),
        ] {
            let mut out = b"{".to_vec();
            push_citation(citation.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}

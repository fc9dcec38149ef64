//! Objects that callers give short: clients' types have members that every usage, error and token must have.

use std::borrow::Cow;

use super::object::Members;
use crate::error::Error;
use crate::event::{index, string};
use crate::json::{elements, push_comma};

/// What is counted beside the tokens themselves.
const DETAILS: [(&str, &[&str]); 2] = [
    ("input_tokens_details", &["cached_tokens", "cache_write_tokens"]),
    ("output_tokens_details", &["reasoning_tokens"]),
];

/// `usage` with what it lacks: 0, and the sum for the total.
pub(super) fn complete_usage(usage: &[u8]) -> Result<Vec<u8>, Error> {
    let mut members = Members::read(usage)?;
    let mut sum = 0_u64;
    for key in ["input_tokens", "output_tokens"] {
        members.set_missing(key, b"0");
        sum = sum.saturating_add(members.get(key).and_then(index).unwrap_or_default());
    }
    members.set_missing("total_tokens", sum.to_string().into_bytes());
    for (key, required) in DETAILS {
        members.set_missing(key, b"{}");
        // What is no object is the caller's word and stays.
        let Some(given) = members.get(key).filter(|given| given.starts_with(b"{")) else { continue };
        let mut details = Members::read(given)?;
        for key in required {
            details.set_missing(key, b"0");
        }
        members.set(key, details.to_json());
    }
    Ok(members.to_json())
}

/// The `error` of a response with what it lacks.
pub(super) fn complete_error(error: &[u8]) -> Result<Vec<u8>, Error> {
    let mut members = Members::read(error)?;
    members.set_missing("code", b"\"server_error\"");
    members.set_missing("message", b"\"\"");
    Ok(members.to_json())
}

/// A list of log probabilities with what its entries lack, `bytes` only if each must have them, as in Responses. An
/// entry without a token or a probability says nothing and is left out.
pub(crate) fn complete_logprobs(list: &[u8], with_bytes: bool) -> Cow<'_, [u8]> {
    if each(list).all(|entry| is_whole(entry, with_bytes, true)) {
        return Cow::Borrowed(list);
    }
    let mut out = Vec::with_capacity(list.len() + 32);
    push_tokens(list, with_bytes, true, &mut out);
    Cow::Owned(out)
}

/// The elements of what is a list, or is to be one.
fn each(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut places = Vec::new();
    // What is no list has no elements.
    let _ = elements(list, |place| places.push(place));
    places.into_iter().map(|place| list.get(place).unwrap_or_default())
}

/// Whether a token lacks nothing; `outer` tells those that have alternatives from these.
fn is_whole(entry: &[u8], with_bytes: bool, outer: bool) -> bool {
    let Ok(members) = Members::read(entry) else { return false };
    let alternatives = members.get("top_logprobs").filter(|list| list.starts_with(b"["));
    says_something(&members)
        && (!with_bytes || members.get("bytes").is_some_and(are_bytes))
        && (!outer
            || alternatives.is_some_and(|list| each(list).all(|entry| is_whole(entry, with_bytes, false))))
}

/// Whether a value is a list of numbers.
fn are_bytes(value: &[u8]) -> bool {
    let inside = value.strip_prefix(b"[").and_then(|value| value.strip_suffix(b"]"));
    inside.is_some_and(|inside| {
        inside.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_whitespace() || *byte == b',')
    })
}

fn says_something(members: &Members) -> bool {
    let number = |value: &[u8]| value.first().is_some_and(|byte| *byte == b'-' || byte.is_ascii_digit());
    members.get("token").and_then(string).is_some() && members.get("logprob").is_some_and(number)
}

fn push_tokens(list: &[u8], with_bytes: bool, outer: bool, out: &mut Vec<u8>) {
    out.push(b'[');
    for mut members in each(list).filter_map(|entry| Members::read(entry).ok()).filter(says_something) {
        if with_bytes && !members.get("bytes").is_some_and(are_bytes) {
            members.set("bytes", b"[]");
        }
        if outer {
            let mut alternatives = Vec::new();
            push_tokens(
                members.get("top_logprobs").unwrap_or_default(),
                with_bytes,
                false,
                &mut alternatives,
            );
            members.set("top_logprobs", alternatives);
        }
        push_comma(out);
        members.write(out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{complete_error, complete_logprobs, complete_usage};

    #[test]
    fn tokens() {
        let whole = br#"[ {"token":"a","logprob":-1e0,"bytes":[97],"top_logprobs":[{"token":"b","logprob":0,"bytes":[]}]}]"#;
        for list in [&whole[..], b"[]"] {
            assert!(matches!(complete_logprobs(list, true), Cow::Borrowed(_)));
            assert!(matches!(complete_logprobs(list, false), Cow::Borrowed(_)));
        }
        let list = br#"[{"token":"a","logprob":-1,"bytes":null,"x":1},{"token":"b"},{"token":"f","logprob":0,"bytes":[{}]},null,{"token":"c","logprob":0,"bytes":[99],"top_logprobs":[{"token":"d","logprob":-2},{"token":"e","logprob":null}]}]"#;
        for (with_bytes, expected) in [
            (
                true,
                r#"[{"token":"a","logprob":-1,"bytes":[],"x":1,"top_logprobs":[]},{"token":"f","logprob":0,"bytes":[],"top_logprobs":[]},{"token":"c","logprob":0,"bytes":[99],"top_logprobs":[{"token":"d","logprob":-2,"bytes":[]}]}]"#,
            ),
            (
                false,
                r#"[{"token":"a","logprob":-1,"bytes":null,"x":1,"top_logprobs":[]},{"token":"f","logprob":0,"bytes":[{}],"top_logprobs":[]},{"token":"c","logprob":0,"bytes":[99],"top_logprobs":[{"token":"d","logprob":-2}]}]"#,
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&complete_logprobs(list, with_bytes)), expected);
        }
    }

    #[test]
    fn what_is_there_stays() {
        for (given, expected) in [
            (
                r#"{"input_tokens":3,"output_tokens":4,"cost":1e-5}"#,
                r#"{"input_tokens":3,"output_tokens":4,"cost":1e-5,"total_tokens":7,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens_details":{"reasoning_tokens":0}}"#,
            ),
            (
                r#"{"total_tokens":9,"input_tokens":null,"output_tokens":2,"input_tokens_details":{"x":1,"cached_tokens":5},"output_tokens_details":7}"#,
                r#"{"total_tokens":9,"input_tokens":0,"output_tokens":2,"input_tokens_details":{"x":1,"cached_tokens":5,"cache_write_tokens":0},"output_tokens_details":7}"#,
            ),
        ] {
            let made = complete_usage(given.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), expected);
        }
        for (given, expected) in [
            ("{}", r#"{"code":"server_error","message":""}"#),
            (r#"{"code":"mine","message":"m","x":1}"#, r#"{"code":"mine","message":"m","x":1}"#),
        ] {
            assert_eq!(complete_error(given.as_bytes()).unwrap(), expected.as_bytes());
        }
    }
}

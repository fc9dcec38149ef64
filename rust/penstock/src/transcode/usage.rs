//! Usage, between the words of the two dialects. Members that only one of them has are carried over as they are.

use crate::event::{index, members};
use crate::json::{RawStr, push_comma, push_string};

/// A member that both dialects have under different names: in Chat Completions, in Responses.
type Pair = (&'static str, &'static str);

const COUNTS: [Pair; 3] = [
    ("prompt_tokens", "input_tokens"),
    ("completion_tokens", "output_tokens"),
    ("total_tokens", "total_tokens"),
];

const DETAILS: [Pair; 2] = [
    ("prompt_tokens_details", "input_tokens_details"),
    ("completion_tokens_details", "output_tokens_details"),
];

/// Details that a Responses usage always has.
const REQUIRED: [&[&str]; 2] = [&["cached_tokens", "cache_write_tokens"], &["reasoning_tokens"]];

/// Other words for how many tokens were written to the cache.
const CACHE_WRITES: &str = "cache_creation_tokens";

/// The usage of a response, from that of a completion; both JSON objects.
pub(super) fn to_responses(usage: &[u8]) -> Vec<u8> {
    let (mut counts, mut details, mut others) = ([None; COUNTS.len()], [None; DETAILS.len()], Vec::new());
    for_each(usage, |name, value| {
        if let Some(place) = COUNTS.iter().position(|(chat, _)| chat.as_bytes() == name) {
            keep(&mut counts, place, is_number(value).then_some(value));
        } else if let Some(place) = DETAILS.iter().position(|(chat, _)| chat.as_bytes() == name) {
            keep(&mut details, place, value.starts_with(b"{").then_some(value));
        } else {
            push_other(name, value, &mut others);
        }
    });
    let mut out = Vec::with_capacity(2 * usage.len() + 200);
    out.push(b'{');
    for ((_, to), value) in COUNTS.into_iter().zip(counts) {
        match value {
            Some(value) => push_member(to, value, &mut out),
            None if to == "total_tokens" => {
                let [input, output, _] = counts.map(|count| count.and_then(whole).unwrap_or(0));
                push_member(to, input.saturating_add(output).to_string().as_bytes(), &mut out);
            }
            None => push_member(to, b"0", &mut out),
        }
    }
    for (((_, to), required), value) in DETAILS.into_iter().zip(REQUIRED).zip(details) {
        push_comma(&mut out);
        crate::json::push_key(to, &mut out);
        out.push(b'{');
        push_details(value.unwrap_or(b"{}"), required, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(&others);
    out.push(b'}');
    out
}

/// Appends details: those that are `required` first, 0 if they are missing, then the others.
fn push_details(details: &[u8], required: &[&'static str], out: &mut Vec<u8>) {
    let (mut found, mut written, mut others) = ([None; 2], None, Vec::new());
    for_each(details, |name, value| {
        let number = is_number(value).then_some(value);
        if name == CACHE_WRITES.as_bytes() {
            written = number;
        }
        match required.iter().position(|key| key.as_bytes() == name) {
            Some(place) => keep(&mut found, place, number),
            None => push_other(name, value, &mut others),
        }
    });
    for (key, value) in required.iter().zip(found) {
        let value = value.or_else(|| written.filter(|_| *key == "cache_write_tokens"));
        push_member(key, value.unwrap_or(b"0"), out);
    }
    out.extend_from_slice(&others);
}

/// The usage of a completion, from that of a response; both JSON objects.
pub(super) fn to_chat(usage: &[u8]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (to, from) in COUNTS {
        push_member(to, number(usage, from).unwrap_or(b"0"), &mut out);
    }
    for (to, from) in DETAILS {
        if let Some(details) = member(usage, from).filter(|value| value.starts_with(b"{")) {
            push_member(to, details, &mut out);
        }
    }
    let known: Vec<&str> = COUNTS.iter().chain(&DETAILS).map(|(_, responses)| *responses).collect();
    push_others(usage, &known, &mut out);
    out.push(b'}');
    out
}

/// Calls `visit` for each member of an object, its name decoded; what is no object has none.
fn for_each<'a>(object: &'a [u8], mut visit: impl FnMut(&[u8], &'a [u8])) {
    let _ = members(object, |name, _, span| visit(&RawStr::checked(name).decoded(), span.of(object)));
}

/// Keeps what the last member of a name says; `None` if that is of the wrong type.
fn keep<T: Copy>(kept: &mut [Option<T>], place: usize, value: Option<T>) {
    if let Some(kept) = kept.get_mut(place) {
        *kept = value;
    }
}

fn is_number(value: &[u8]) -> bool {
    whole(value).is_some()
}

/// The count that a JSON number is: an integer, however many zeros stand behind its point.
fn whole(value: &[u8]) -> Option<u64> {
    let point = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
    let (digits, rest) = value.split_at(point);
    if rest.iter().skip(1).all(|byte| *byte == b'0') { index(digits) } else { None }
}

/// Appends a member to others, a comma before it.
fn push_other(name: &[u8], value: &[u8], others: &mut Vec<u8>) {
    others.push(b',');
    push_string(name, others);
    others.push(b':');
    others.extend_from_slice(value);
}

/// The last member of `object` with this key.
pub(super) fn member<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut found = None;
    // An object that is none has no members.
    let _ = members(object, |name, _, span| {
        if *RawStr::checked(name).decoded() == *key.as_bytes() {
            found = Some(span.of(object));
        }
    });
    found
}

fn number<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    member(object, key).filter(|value| is_number(value))
}

fn push_member(key: &str, value: &[u8], out: &mut Vec<u8>) {
    push_comma(out);
    crate::json::push_key(key, out);
    out.extend_from_slice(value);
}

/// Appends the members of `object` that are not among `known`.
pub(super) fn push_others(object: &[u8], known: &[&str], out: &mut Vec<u8>) {
    let _ = members(object, |name, _, span| {
        let name = RawStr::checked(name).decoded();
        if known.iter().all(|key| *key.as_bytes() != *name) {
            push_comma(out);
            push_string(&name, out);
            out.push(b':');
            out.extend_from_slice(span.of(object));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{to_chat, to_responses};

    #[test]
    fn both_ways() {
        for (chat, responses) in [
            (
                r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#,
                r#"{"input_tokens":3,"output_tokens":4,"total_tokens":7,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens_details":{"reasoning_tokens":0}}"#,
            ),
            (
                r#"{"prompt_tokens":3,"completion_tokens":null,"cost":1e-5,"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":1,"cache_creation_tokens":9},"completion_tokens_details":null}"#,
                r#"{"input_tokens":3,"output_tokens":0,"total_tokens":3,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":9,"audio_tokens":1,"cache_creation_tokens":9},"output_tokens_details":{"reasoning_tokens":0},"cost":1e-5}"#,
            ),
            (
                r#"{"prompt_tokens":3.0,"completion_tokens":1.5,"total_tokens":"9","completion_tokens_details":{"reasoning_tokens":0.5}}"#,
                r#"{"input_tokens":3.0,"output_tokens":0,"total_tokens":3,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens_details":{"reasoning_tokens":0}}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(to_responses(chat.as_bytes())).unwrap(), responses);
        }
        let chat = to_chat(
            br#"{"input_tokens":3,"input_tokens_details":{"cached_tokens":2},"output_tokens":4,"total_tokens":7,"cost":1}"#,
        );
        assert_eq!(
            String::from_utf8(chat).unwrap(),
            r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2},"cost":1}"#
        );
    }
}

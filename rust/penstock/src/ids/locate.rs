//! Where ids stand in one message, found in one pass without building a tree.
//!
//! Looked at are, each as often as it occurs and however its key is spelled:
//!
//! | where | key | what |
//! |---|---|---|
//! | `response` of an event; a message that is a response | `id` | the id of a response |
//! | the same, the message itself, `steer` | `previous_response_id` | a mention of one |
//! | the message itself | `response_id` | a mention of one |
//! | the message itself | `item_id` | the id of an item |
//! | `item`; elements of `output` and `input` | `id`, `approval_request_id` | the id of an item |
//! | the same | `encrypted_content` | encrypted content |

use std::borrow::Cow;

use super::IdKind;
use crate::json::{Invalid, Kind, RawStr, Tokens};
use crate::simd::{Backend, Task, dispatch};

/// A string in a message that is an id, by the place of its inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: IdKind,
    /// A response that the message does not hold.
    pub(super) mention: bool,
}

/// Finds the ids of the JSON object `message`. Where it is none, what was found means nothing.
pub(super) fn locate(message: &[u8], found: &mut Vec<Found>) -> Result<(), Invalid> {
    found.clear();
    dispatch(Locate { message, found })
}

/// What the values inside a container mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Message,
    Response,
    Steer,
    /// An array of items.
    Items,
    Item,
}

/// A message that holds a response that holds a list that holds an item: nothing deeper is entered.
const DEPTH: usize = 4;

impl Place {
    /// What stands inside the object or array that is the value of `key` here; None if no ids do.
    #[inline(always)]
    fn inside(self, key: &[u8], object: bool) -> Option<Self> {
        match (self, key, object) {
            (Self::Message, b"response", true) => Some(Self::Response),
            (Self::Message, b"item", true) | (Self::Items, _, true) => Some(Self::Item),
            (Self::Message, b"steer", true) => Some(Self::Steer),
            (Self::Message | Self::Response, b"output" | b"input", false) => Some(Self::Items),
            _ => None,
        }
    }

    /// What the string that is the value of `key` here is, and whether it is a mention; None if it is no id.
    #[inline(always)]
    fn id(self, key: &[u8]) -> Option<(IdKind, bool)> {
        match (self, key) {
            (Self::Message | Self::Response, b"id") => Some((IdKind::Response, false)),
            (Self::Message | Self::Response | Self::Steer, b"previous_response_id")
            | (Self::Message, b"response_id") => Some((IdKind::Response, true)),
            (Self::Message, b"item_id") | (Self::Item, b"id" | b"approval_request_id") => {
                Some((IdKind::Item, false))
            }
            (Self::Item, b"encrypted_content") => Some((IdKind::Content, false)),
            _ => None,
        }
    }
}

struct Locate<'a> {
    message: &'a [u8],
    found: &'a mut Vec<Found>,
}

impl Task for Locate<'_> {
    type Output = Result<(), Invalid>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        let Self { message, found } = self;
        let escapes = memchr::memchr(b'\\', message).is_some();
        let mut tokens = Tokens::<B>::new(message);
        if tokens.pull().byte != b'{' {
            return Err(Invalid);
        }
        let mut token = tokens.pull();
        if token.byte == b'}' {
            return tokens.end();
        }
        let mut open = [Place::Message; DEPTH];
        let mut level = 0;
        // Only of a response is the id at its top one of a response.
        let (mut is_response, mut own) = (false, Vec::new());
        loop {
            let place = open.get(level).copied().ok_or(Invalid)?;
            let (mut key, mut value) = (Cow::Borrowed(&[][..]), token);
            if place != Place::Items {
                let start = token.at + 1;
                let colon = tokens.pull();
                if token.byte != b'"' || colon.byte != b':' {
                    return Err(Invalid);
                }
                let raw = message.get(start..tokens.end_before(colon.at) - 1).unwrap_or_default();
                key = if escapes { unescaped(raw) } else { Cow::Borrowed(raw) };
                value = tokens.pull();
            }
            match value.byte {
                b'"' => {
                    token = tokens.pull();
                    let (start, end) = (value.at + 1, tokens.end_before(token.at) - 1);
                    if let Some((kind, mention)) = place.id(&key) {
                        let id = Found { start, end, kind, mention };
                        if place == Place::Message && *key == *b"id" { own.push(id) } else { found.push(id) }
                    } else if place == Place::Message && *key == *b"object" {
                        is_response |= message.get(start..end) == Some(b"response");
                    }
                }
                bracket @ (b'{' | b'[') => {
                    let object = bracket == b'{';
                    if let Some(inside) = place.inside(&key, object) {
                        token = tokens.pull();
                        if token.byte != bracket + 2 {
                            level += 1;
                            if let Some(slot) = open.get_mut(level) {
                                *slot = inside;
                            }
                            continue;
                        }
                    } else {
                        tokens.skip_container(value, level as u64 + 2)?;
                    }
                    token = tokens.pull();
                }
                _ => {
                    let (_, _): (Kind, usize) = tokens.scalar(value)?;
                    token = tokens.pull();
                }
            }
            // A value ended; close what ends with it.
            loop {
                let close = if open.get(level) == Some(&Place::Items) { b']' } else { b'}' };
                if token.byte == b',' {
                    token = tokens.pull();
                    break;
                }
                if token.byte != close {
                    return Err(Invalid);
                }
                if level == 0 {
                    if is_response && !own.is_empty() {
                        found.append(&mut own);
                        found.sort_unstable_by_key(|id| id.start);
                    }
                    return tokens.end();
                }
                level -= 1;
                token = tokens.pull();
            }
        }
    }
}

#[inline(never)]
fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'\\') { RawStr::checked(raw).decoded() } else { Cow::Borrowed(raw) }
}

#[cfg(test)]
mod tests {
    use super::locate;

    fn ids(message: &str) -> Vec<&str> {
        let mut found = Vec::new();
        locate(message.as_bytes(), &mut found).unwrap();
        found.iter().map(|id| &message[id.start..id.end]).collect()
    }

    #[test]
    fn ids_are_found_where_they_count() {
        for (message, expected) in [
            ("{}", &[][..]),
            (r#"{"type":"x","response":{"id":"a","output":[]},"id":"no"}"#, &["a"]),
            (r#"{"response":{"previous_response_id":"p","id":"a","metadata":{"id":"no"}}}"#, &["p", "a"]),
            (r#"{"response":{"id":"a","id" : "b"},"response":{"\u0069d":"c"}}"#, &["a", "b", "c"]),
            (r#"{"id":"a","object":"response","output":[{"id":"i"}]}"#, &["a", "i"]),
            (r#"{"id":"a","object":"list"}"#, &[]),
            (
                r#"{"item_id":"i","item":{"id":"j","encrypted_content":"e","content":[{"id":"no"}]}}"#,
                &["i", "j", "e"],
            ),
            (
                r#"{"input":[{"id":"i"},"no",[{"id":"no"}],{"approval_request_id":"k"}],"input":"x"}"#,
                &["i", "k"],
            ),
            (r#"{"steer":{"id":"no","previous_response_id":"p"},"response_id":"r"}"#, &["p", "r"]),
            (r#"{"response":null,"response":[{"id":"no"}],"response":"no","item":[]}"#, &[]),
            (r#"{"response":{"id":null,"previous_response_id":7,"id":"a\"b"}}"#, &[r#"a\"b"#]),
            (r#" { "response" : { "output" : [ { } , {"id" : "i" } ] } } "#, &["i"]),
        ] {
            assert_eq!(ids(message), expected, "{message}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for message in [
            "",
            "[]",
            "null",
            "{",
            r#"{"a":1}x"#,
            r#"{"response":{"id":"a"}"#,
            r#"{"response":{"id":"a"}]"#,
            r#"{"input":[1}"#,
        ] {
            assert!(locate(message.as_bytes(), &mut Vec::new()).is_err(), "{message}");
        }
    }
}

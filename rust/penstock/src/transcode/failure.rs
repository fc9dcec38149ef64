//! Errors of an upstream, in the words of either dialect.

use std::borrow::Cow;

use crate::dialect::chat::elements;
use crate::event::{index, string};
use crate::json::{Cursor, push_compact, push_key, push_string};
use crate::limits::DEPTH_CEILING;
use crate::transcode::usage::member;

/// An upstream's error: what went wrong, for the client of the other dialect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    /// The error's code, WTF-8; never empty.
    code: Vec<u8>,
    /// What happened, WTF-8.
    message: Vec<u8>,
    /// The parameter at fault, one JSON value; empty for none.
    param: Vec<u8>,
    /// The error's type, WTF-8; empty for none.
    kind: Vec<u8>,
}

impl Failure {
    /// An error of this code.
    pub(crate) fn new(code: &str, message: &str) -> Self {
        Self { code: code.into(), message: message.into(), ..Self::default() }
    }

    /// The error that `value` tells of: an object with `code`, `message`, …, one that holds such an object as
    /// `error`, a list that begins with such an object, a string, or any text at all.
    pub(super) fn read(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        // Google's servers answer with lists.
        let first = elements(value).next().filter(|first| member(first, "error").is_some());
        let value = first.unwrap_or(value);
        let object =
            member(value, "error").filter(|inner| !matches!(*inner, b"null" | b"\"\"")).unwrap_or(value);
        let text = |key| member(object, key).and_then(string).map(|text| text.decoded().into_owned());
        let given = |key| text(key).filter(|text: &Vec<u8>| !text.is_empty());
        let code = match member(object, "code").and_then(index) {
            Some(429) => Some(b"rate_limit_exceeded".to_vec()),
            Some(_) => None,
            None => given("code"),
        };
        let message = given("message").unwrap_or_else(|| text_of(object));
        let param = member(object, "param").filter(|param| string(param).is_some());
        // An `error` event says so by its type, which is not that of the error.
        let kind = given("type").filter(|kind| kind != b"error").unwrap_or_default();
        Self {
            code: code
                .unwrap_or_else(|| if kind.is_empty() { b"server_error".to_vec() } else { kind.clone() }),
            message,
            param: param.map_or_else(Vec::new, <[u8]>::to_vec),
            kind,
        }
    }

    /// Whether both tell of the same error.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.code == other.code && self.message == other.message
    }

    /// The `error` of a response: an object with `code` and `message`.
    pub(crate) fn to_response_error(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        self.push_code_and_message(&mut out);
        out.push(b'}');
        out
    }

    /// The members of an `error` event.
    pub(crate) fn to_event_members(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        self.push_code_and_message(&mut out);
        out.extend_from_slice(b",\"param\":");
        out.extend_from_slice(&self.param());
        out.push(b'}');
        out
    }

    /// The payload that a Chat Completions server sends in place of a chunk.
    pub(super) fn to_chat_payload(&self) -> Vec<u8> {
        let mut out = b"{\"error\":{".to_vec();
        push_key("message", &mut out);
        push_string(&self.message, &mut out);
        out.extend_from_slice(b",\"type\":");
        push_string(if self.kind.is_empty() { b"server_error" } else { &self.kind }, &mut out);
        out.extend_from_slice(b",\"param\":");
        out.extend_from_slice(&self.param());
        out.extend_from_slice(b",\"code\":");
        push_string(&self.code, &mut out);
        out.extend_from_slice(b"}}");
        out
    }

    fn push_code_and_message(&self, out: &mut Vec<u8>) {
        push_key("code", out);
        push_string(&self.code, out);
        out.extend_from_slice(b",\"message\":");
        push_string(&self.message, out);
    }

    fn param(&self) -> Cow<'_, [u8]> {
        match string(&self.param) {
            None => Cow::Borrowed(b"null"),
            Some(param) => {
                let mut out = Vec::new();
                push_string(&param.decoded(), &mut out);
                Cow::Owned(out)
            }
        }
    }
}

/// What a value says that is no error object: the characters of a string, else its text.
fn text_of(value: &[u8]) -> Vec<u8> {
    if let Some(text) = string(value) {
        return text.decoded().into_owned();
    }
    let mut text = Vec::new();
    match Cursor::new(value).skip_value(0, DEPTH_CEILING) {
        Ok(_) => push_compact(value, &mut text),
        Err(_) => text.extend_from_slice(value),
    }
    String::from_utf8_lossy(&text).into_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn every_shape_of_error() {
        for (value, code, message) in [
            (r#"{"code":"a","message":"m"}"#, "a", "m"),
            (r#"{"error":{"code":429,"message":"m","type":"t"}}"#, "rate_limit_exceeded", "m"),
            (r#"{"error":{"code":502,"message":"m"}}"#, "server_error", "m"),
            (r#"{"type":"error","message":"m","code":null}"#, "server_error", "m"),
            (r#""gone""#, "server_error", "gone"),
            (r#"{ "detail" : "x y" }"#, "server_error", r#"{"detail":"x y"}"#),
            ("Bad Gateway", "server_error", "Bad Gateway"),
            (r#"[{"error":{"code":400,"message":"m","status":"s"}},{}]"#, "server_error", "m"),
            ("[1]", "server_error", "[1]"),
        ] {
            let failure = Failure::read(value.as_bytes());
            assert_eq!(String::from_utf8_lossy(&failure.message), message, "{value}");
            assert_eq!(String::from_utf8_lossy(&failure.code), code, "{value}");
        }
    }
}

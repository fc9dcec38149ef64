//! One turn of a conversation, on its way into a store and out of it.

use std::sync::Arc;

use crate::error::{Error, exceeded};
use crate::history::items::{Items, Link};
use crate::json::{RawStr, entries, spells};
use crate::limits::{Limit, Limits};

/// What keeping a turn costs beside its texts, in bytes: two map entries, a link and its place.
const TURN_COST: u64 = 512;

/// A turn that was checked and is ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTurn {
    /// The response's id, which is the turn's.
    pub id: Box<str>,
    /// The id of the response it continues.
    pub parent: Option<Box<str>>,
    /// The response object, as it came.
    pub response: Box<[u8]>,
    /// What the request added.
    pub input: Items,
    /// What the model answered.
    pub output: Items,
}

impl NewTurn {
    /// Reads a turn from JSON texts. `response` is an object with an `id`, `input` an array of items, a string (a
    /// user's message) or empty; `output` is an array or empty, or `None` for that of the response.
    pub fn read(
        response: &[u8],
        input: &[u8],
        output: Option<&[u8]>,
        parent: Option<&str>,
    ) -> Result<Self, Error> {
        let (mut id, mut own_output) = (None, None);
        entries(response, |key, value| {
            let value = response.get(value).unwrap_or_default();
            if spells(key, "id") {
                id = Some(value);
            } else if spells(key, "output") {
                own_output = Some(value);
            }
        })?;
        let output = match output.or(own_output.filter(|output| *output != b"null")) {
            Some(output) if !output.is_empty() => Items::read([output])?,
            _ => Items::default(),
        };
        let input = if input.is_empty() { Items::default() } else { Items::of_input(input)? };
        let id = read_id(id.unwrap_or_default())?;
        Ok(Self { id, parent: parent.map(Box::from), response: response.into(), input, output })
    }

    /// Bytes that the turn's items cost a store as long as anything builds on them.
    #[must_use]
    pub fn link_cost(&self) -> u64 {
        self.input.bytes() + self.output.bytes() + TURN_COST
    }

    /// Bytes that it costs as long as it is known by its id.
    #[must_use]
    pub fn name_cost(&self) -> u64 {
        (self.response.len() + self.id.len() + self.parent.as_ref().map_or(0, |parent| parent.len())) as u64
    }

    /// Moves the items to the end of the chain that `parent` is the tip of.
    pub(super) fn take_link(&mut self, parent: Option<Arc<Link>>) -> Link {
        let (input, output) = (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        Link::new(parent, input.into_chunk(), output.into_chunk())
    }
}

/// The id that a response's member holds, or why it cannot name a turn.
fn read_id(value: &[u8]) -> Result<Box<str>, Error> {
    let inside = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or_default();
    let decoded = RawStr::checked(inside).decoded();
    let maximum = Limits::default().max_id_bytes;
    if decoded.len() as u64 > maximum {
        return Err(exceeded(Limit::IdBytes, maximum, 0));
    }
    match std::str::from_utf8(&decoded) {
        Ok(id) if !id.is_empty() => Ok(id.into()),
        _ => Err(Error::Event { rule: "response_without_id", event: Box::default() }),
    }
}

/// A turn as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The id of the response it continued.
    pub parent: Option<Box<str>>,
    /// The response object, as it came.
    pub response: Arc<[u8]>,
    /// What the request had added.
    pub input: Items,
    /// What the model had answered.
    pub output: Items,
}

#[cfg(test)]
mod tests {
    use super::NewTurn;
    use crate::error::Error;

    fn json(items: &crate::history::Items) -> String {
        let mut out = Vec::new();
        items.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_response_says_what_is_not_said_otherwise() {
        let response = br#"{"id":"r","output":[{"a":1}], "id":"resp_\u0031","output":[ {"b": 2} , {} ]}"#;
        let turn = NewTurn::read(response, br#" "H\ni" "#, None, Some("p")).unwrap();
        assert_eq!((&*turn.id, turn.parent.as_deref()), ("resp_1", Some("p")));
        assert_eq!(json(&turn.input), r#"[{"type":"message","role":"user","content":"H\ni"}]"#);
        assert_eq!(json(&turn.output), r#"[{"b": 2},{}]"#);
        let turn = NewTurn::read(response, b"[]", Some(b"[{}]"), None).unwrap();
        assert_eq!((json(&turn.input), json(&turn.output)), ("[]".into(), "[{}]".into()));
        let turn = NewTurn::read(br#"{"id":"r","output":null}"#, b"", None, None).unwrap();
        assert!(turn.output.is_empty() && turn.input.is_empty());
    }

    #[test]
    fn what_is_no_turn_is_refused() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(1025));
        assert!(matches!(NewTurn::read(long.as_bytes(), b"", None, None), Err(Error::Limit { .. })));
        for response in ["{}", r#"{"id":1}"#, r#"{"id":""}"#, r#"{"id":null}"#, r#"{"id":"\ud800"}"#] {
            let read = NewTurn::read(response.as_bytes(), b"", None, None);
            assert!(matches!(read, Err(Error::Event { rule: "response_without_id", .. })), "{response}");
        }
        for (response, input, output) in [
            ("[]", "", None),
            (r#"{"id":"r""#, "", None),
            (r#"{"id":"r","output":{}}"#, "", None),
            (r#"{"id":"r","output":[1]}"#, "", None),
            (r#"{"id":"r"}"#, "1", None),
            (r#"{"id":"r"}"#, "null", None),
            (r#"{"id":"r"}"#, r#""x"y"#, None),
            (r#"{"id":"r"}"#, r#"["x"]"#, None),
            (r#"{"id":"r"}"#, "", Some(r#""x""#)),
            (r#"{"id":"r"}"#, "", Some("[[]]")),
        ] {
            let read = NewTurn::read(response.as_bytes(), input.as_bytes(), output.map(str::as_bytes), None);
            assert!(matches!(read, Err(Error::Json { .. })), "{response} {input} {output:?}");
        }
    }
}

//! The resumable reader against vectors, the cursor and a naive oracle.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use penstock::json::{Cursor, Kind, Number, PartialJson, PartialSink, PartialState};
use penstock::{Error, JsonReason, Limit, Limits};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Builds the value so far: what is closed stands in its parent, what is open on the stack.
#[derive(Default)]
struct Tree {
    root: Option<Value>,
    open: Vec<(Value, String)>,
}

impl Tree {
    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some((parent, key)) => attach(parent, key, value),
        }
    }

    /// The value so far, with the open string's text and every open container in its place.
    fn value(&self, reader: &PartialJson) -> Option<Value> {
        let mut inner = reader.open_string().map(Value::from);
        for (container, key) in self.open.iter().rev() {
            let mut container = container.clone();
            if let Some(inner) = inner {
                attach(&mut container, key, inner);
            }
            inner = Some(container);
        }
        inner.or_else(|| self.root.clone())
    }
}

fn attach(parent: &mut Value, key: &str, value: Value) {
    match parent {
        Value::Object(members) => drop(members.insert(key.to_owned(), value)),
        Value::Array(elements) => elements.push(value),
        _ => unreachable!(),
    }
}

impl PartialSink for Tree {
    fn open(&mut self, object: bool) {
        let container = if object { Value::Object(Map::new()) } else { Value::Array(Vec::new()) };
        self.open.push((container, String::new()));
    }
    fn close(&mut self) {
        let (container, _) = self.open.pop().unwrap();
        self.put(container);
    }
    fn key(&mut self, key: &str) {
        key.clone_into(&mut self.open.last_mut().unwrap().1);
    }
    fn string(&mut self, text: &str) {
        self.put(Value::from(text));
    }
    fn number(&mut self, number: Number<'_>) {
        self.put(serde_json::from_slice(number.raw).unwrap());
    }
    fn literal(&mut self, literal: Kind) {
        self.put(match literal {
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            _ => Value::Null,
        });
    }
}

/// Feeds `pieces` and reports the value, the state and the reader.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Option<Value>, PartialJson) {
    let mut reader = PartialJson::new(&Limits::default());
    let mut tree = Tree::default();
    for piece in pieces {
        let _ = reader.feed(piece, &mut tree);
    }
    (tree.value(&reader), reader)
}

/// Every way to cut `text` that the tests use: whole, byte by byte, at each place.
fn cuts(text: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut cuts = vec![vec![text], text.chunks(1).collect()];
    cuts.extend((0..=text.len()).map(|at| <[&[u8]; 2]>::from(text.split_at(at)).to_vec()));
    cuts
}

fn state_name(state: PartialState) -> &'static str {
    match state {
        PartialState::Empty => "empty",
        PartialState::Incomplete => "incomplete",
        PartialState::Complete => "complete",
        PartialState::Invalid => "invalid",
    }
}

fn reason(name: &str) -> JsonReason {
    match name {
        "trailing_data" => JsonReason::TrailingData,
        "unexpected_byte" => JsonReason::UnexpectedByte,
        "invalid_number" => JsonReason::InvalidNumber,
        "control_character" => JsonReason::ControlCharacter,
        "invalid_escape" => JsonReason::InvalidEscape,
        _ => unreachable!("{name}"),
    }
}

#[test]
fn vectors_in_every_cut() {
    let vectors = include_str!("../../../tests/vectors/partial/values.jsonl");
    for line in vectors.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap();
        for pieces in cuts(text.as_bytes()) {
            let (value, reader) = read(pieces);
            let (why, text) = (&row["name"], &row["text"]);
            assert_eq!(state_name(reader.state()), row["state"], "{why}: {text}");
            // Numbers keep their text here, so 15.0 and 1.5e+1 are compared as what they mean.
            let (value, expected) = (value.unwrap_or_default(), &row["value"]);
            assert!(same(&value, expected), "{why}: {text} gives {value}");
            if let Some(name) = row["reason"].as_str() {
                let expected = Error::Json { reason: reason(name), offset: row["offset"].as_u64().unwrap() };
                assert_eq!(reader.error(), Some(&expected), "{why}: {text}");
            }
        }
    }
}

fn same(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => value == expected,
    }
}

#[test]
fn raw_bytes_in_every_cut() {
    for (text, expected) in [
        (&b"\"\xed\xa0\xbd\xed\xb8\x80\""[..], "\u{1f600}"),
        (b"\"\xed\xa0\xbd\"", "\u{fffd}"),
        (b"\"\xed\xa0\xbdx\"", "\u{fffd}x"),
        (b"\"\xed\xa0\"", "\u{fffd}\u{fffd}"),
        (b"\"\xed\xa0x\"", "\u{fffd}\u{fffd}x"),
        (b"\"\xff\xfe\"", "\u{fffd}\u{fffd}"),
        (b"\"\xe2\x82\"", "\u{fffd}"),
        (b"\"\xe2\x82\\n\"", "\u{fffd}\n"),
        (b"\"\xf0\x9f\x98\x80\xf0\x9f\x98\"", "\u{1f600}\u{fffd}"),
        (b"\"\\ud83d\xe2\x82\xac\"", "\u{fffd}\u{20ac}"),
    ] {
        for pieces in cuts(text) {
            assert_eq!(read(pieces).0, Some(Value::from(expected)), "{text:?}");
        }
    }
}

#[test]
fn limits_are_typed_errors_and_stick() {
    let cases = [
        ("[".repeat(200), Limit::Depth, 128, 128),
        ("{\"a\":".repeat(200), Limit::Depth, 128, 640),
        (format!("[-{}", "1".repeat(5000)), Limit::NumberDigits, 4300, 4302),
        (format!("\"{}", "a".repeat(9999)), Limit::MessageBytes, 8000, 8000),
    ];
    for (text, limit, maximum, offset) in cases {
        for pieces in [vec![text.as_bytes()], text.as_bytes().chunks(1).collect()] {
            let limits = Limits { max_message_bytes: 8000, ..Limits::default() };
            let mut reader = PartialJson::new(&limits);
            let mut tree = Tree::default();
            let expected = Error::Limit { limit, maximum, value: maximum + 1, offset };
            let first = pieces.iter().find_map(|piece| reader.feed(piece, &mut tree).err());
            assert_eq!(first, Some(expected.clone()), "{limit:?}");
            assert_eq!(reader.feed(b"]", &mut tree), Err(expected));
            assert_eq!(reader.state(), PartialState::Invalid);
        }
    }
    let deep = "[".repeat(128) + &"]".repeat(128);
    assert_eq!(read([deep.as_bytes()]).1.state(), PartialState::Complete);
}

#[test]
fn the_end_of_input_makes_a_number_certain() {
    for (text, expected) in [("12", Some(json!(12))), ("1.", None), ("-", None), ("[1", None), ("", None)] {
        let mut reader = PartialJson::new(&Limits::default());
        let mut tree = Tree::default();
        reader.feed(text.as_bytes(), &mut tree).unwrap();
        reader.finish(&mut tree);
        reader.finish(&mut tree);
        assert_eq!(reader.state() == PartialState::Complete, expected.is_some(), "{text}");
        assert_eq!(tree.root, expected);
    }
}

#[test]
fn no_byte_is_read_again() {
    let text = format!(r#"{{"k":[{}],"s":"{}"}}"#, "12,".repeat(10_000) + "0", "\u{e9}\\n".repeat(20_000));
    for pieces in
        [vec![text.as_bytes()], text.as_bytes().chunks(1).collect(), text.as_bytes().chunks(7).collect()]
    {
        let (_, reader) = read(pieces);
        assert_eq!(reader.state(), PartialState::Complete);
        assert_eq!(reader.position(), text.len() as u64);
        assert!(reader.steps() <= 2 * text.len() as u64, "{} of {}", reader.steps(), text.len());
    }
}

/// What the text says if it ended here, by hand: shorten it until closing what is open makes it JSON.
fn naive(prefix: &str) -> Option<Value> {
    (0..=prefix.len()).rev().filter(|&end| prefix.is_char_boundary(end)).find_map(|end| {
        let head = &prefix[..end];
        let mut closers = Vec::new();
        let (mut in_string, mut escaped) = (false, false);
        for byte in head.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' if !in_string => closers.push('}'),
                b'[' if !in_string => closers.push(']'),
                b'}' | b']' if !in_string => drop(closers.pop()),
                _ => {}
            }
        }
        if !in_string && prefix[..end].ends_with(|last: char| last.is_ascii_digit()) {
            let more = prefix[end..].starts_with(|next: char| ",]} \n".contains(next));
            if !more {
                return None;
            }
        }
        let quote = if in_string { "\"" } else { "" };
        let closed = format!("{head}{quote}{}", closers.iter().rev().collect::<String>());
        serde_json::from_str(&closed).ok()
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "[a\"\\\\\u{e9}\u{1f600}\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[ab\"\u{20ac}]{0,3}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_prefix_equals_the_oracle(value in values(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap() + " ";
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            let prefix = &text[..end];
            let (found, _) = read(prefix.as_bytes().chunks(3));
            prop_assert_eq!(found, naive(prefix), "{}", prefix);
        }
        prop_assert_eq!(read([text.as_bytes()]).0, Some(value));
    }

    #[test]
    fn verdicts_equal_the_cursors(text in r#"[\[\]{}",:0-2aeutrlnsf.+\\ -]{0,14}"#, cut in 0..15usize) {
        let mut cursor = Cursor::new(text.as_bytes());
        let whole = cursor.skip_value(0, 128).map(drop).and_then(|()| cursor.end());
        let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
        let mut reader = PartialJson::new(&Limits::default());
        let mut tree = Tree::default();
        let _ = reader.feed(head, &mut tree).and_then(|()| reader.feed(tail, &mut tree));
        reader.finish(&mut tree);
        match whole {
            Err(Error::Json { reason: JsonReason::UnexpectedEnd, .. }) => {
                prop_assert!(matches!(reader.state(), PartialState::Empty | PartialState::Incomplete));
            }
            Err(error) => prop_assert_eq!(reader.error(), Some(&error)),
            Ok(()) => prop_assert_eq!(reader.state(), PartialState::Complete),
        }
    }
}

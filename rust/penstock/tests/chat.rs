//! The chat accumulator against `tests/vectors/chat`, which the Python tests read too, and against itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use penstock::dialect::chat::Chunk;
use penstock::json::Cursor;
use penstock::{ChatAccumulator, ChatTerminal, Error, JsonReason, Limit, Limits};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vectors() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/chat");
    let mut rows = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let name = format!("{}: {}", path.file_stem().unwrap().display(), row["name"].as_str().unwrap());
            rows.push((name, row));
        }
    }
    assert!(rows.len() > 90);
    rows
}

/// Payload and event name of a vector's chunk: a string is the payload itself.
fn event(chunk: &Value) -> (String, Option<String>) {
    match chunk {
        Value::String(payload) => (payload.clone(), None),
        named if named.get("event").is_some() => {
            (named["data"].to_string(), named["event"].as_str().map(str::to_owned))
        }
        object => (object.to_string(), None),
    }
}

fn accumulate(events: &[(String, Option<String>)]) -> ChatAccumulator {
    let mut accumulator = ChatAccumulator::new(&Limits::default(), false);
    for (payload, name) in events {
        accumulator.feed(payload.as_bytes(), name.as_deref().map(str::as_bytes)).unwrap();
    }
    accumulator
}

/// The snapshot; a surrogate half, which `serde_json` refuses, as U+FFFD.
fn snapshot(accumulator: &ChatAccumulator) -> Value {
    let Some(text) = accumulator.snapshot() else { return Value::Null };
    serde_json::from_str(&String::from_utf8(text).unwrap().replace("\\ud83d", "\\ufffd")).unwrap()
}

fn terminal_name(terminal: ChatTerminal) -> &'static str {
    match terminal {
        ChatTerminal::FinishReason => "finish_reason",
        ChatTerminal::Done => "[DONE]",
        ChatTerminal::Error => "error",
    }
}

/// Numbers that no double holds are compared as text elsewhere; here 1 and 1.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn vectors_hold() {
    for (name, row) in vectors() {
        let events: Vec<_> = row["chunks"].as_array().unwrap().iter().map(event).collect();
        let mut accumulator = accumulate(&events);
        accumulator.finish();
        let found = snapshot(&accumulator);
        for (pointer, expected) in row["expect"].as_object().unwrap() {
            let value = found.pointer(pointer);
            assert!(
                value.is_some_and(|value| same(value, expected)),
                "{name}: {pointer} is {value:?} in {found}"
            );
        }
        for pointer in row["missing"].as_array().into_iter().flatten() {
            assert_eq!(found.pointer(pointer.as_str().unwrap()), None, "{name}");
        }
        assert_eq!(json!(accumulator.terminal().map(terminal_name)), row["terminal"], "{name}");
        let diagnostics: BTreeMap<_, _> = accumulator.diagnostics().collect();
        assert_eq!(json!(diagnostics), row["diagnostics"], "{name}");
        let text = accumulator.snapshot().unwrap_or_default();
        for raw in row["raw"].as_array().into_iter().flatten() {
            let raw = raw.as_str().unwrap();
            assert!(String::from_utf8_lossy(&text).contains(raw), "{name}: no {raw}");
        }
        if let Some(expected) = row.get("calls") {
            let calls: Vec<_> = accumulator
                .calls()
                .map(|call| {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    json!({"id": text(call.id), "name": text(call.name), "arguments": text(call.arguments),
                        "complete": call.is_complete()})
                })
                .collect();
            assert_eq!(&json!(calls), expected, "{name}");
        }
        if let Some(expected) = row["output_text"].as_str() {
            assert_eq!(accumulator.output_text(), expected.as_bytes(), "{name}");
        }
        if let Some(expected) = row["tokens"].as_u64() {
            assert_eq!(accumulator.tokens(), expected, "{name}");
        }
        assert_eq!(accumulator.completed().len() as u64, row["completed"].as_u64().unwrap_or(0), "{name}");
    }
}

#[test]
fn strictness_refuses_what_is_counted_otherwise() {
    /// Facts, not breaches.
    const NOTES: [&str; 3] = ["truncated", "id_changed", "finish_reason_missing"];
    for (name, row) in vectors() {
        let events: Vec<_> = row["chunks"].as_array().unwrap().iter().map(event).collect();
        let mut accumulator = ChatAccumulator::new(&Limits::default(), true);
        let error = events.iter().find_map(|(payload, name)| {
            accumulator.feed(payload.as_bytes(), name.as_deref().map(str::as_bytes)).err()
        });
        let mut rules =
            row["diagnostics"].as_object().unwrap().keys().filter(|kind| !NOTES.contains(&kind.as_str()));
        match error {
            None => assert_eq!(rules.next(), None, "{name}"),
            Some(Error::Event { rule, .. }) => assert!(rules.any(|kind| kind == rule), "{name}: {rule}"),
            Some(Error::Json { .. }) => assert!(rules.any(|kind| kind == "malformed"), "{name}"),
            Some(error) => assert_eq!(error, Error::Json { reason: JsonReason::UnexpectedEnd, offset: 0 }),
        }
    }
}

#[test]
fn a_cut_between_chunks_is_never_whole() {
    for (name, row) in vectors() {
        let events: Vec<_> = row["chunks"].as_array().unwrap().iter().map(event).collect();
        for end in 0..events.len() {
            let accumulator = accumulate(&events[..end]);
            let found = snapshot(&accumulator);
            let choices = found["choices"].as_array().cloned().unwrap_or_default();
            let unfinished =
                choices.is_empty() || choices.iter().any(|choice| choice["finish_reason"].is_null());
            let sentinel = events[..end].iter().any(|(payload, _)| payload.trim() == "[DONE]");
            let error = found.get("error").is_some()
                || choices.iter().any(|choice| choice.get("error").is_some_and(|error| !error.is_null()));
            let whole = accumulator.terminal().is_some();
            assert_eq!(whole, sentinel || error || !unfinished, "{name} after {end}");
        }
    }
}

#[test]
fn limits_are_typed_errors_and_stick() {
    let text = |content: String| json!({"choices": [{"index": 0, "delta": {"content": content}}]});
    let call = |index: u64| json!({"index": index, "id": index.to_string(), "function": {"name": "f"}});
    let choice = |index: u64| json!({"index": index, "delta": {}});
    let citation = |number: u64| json!({"choices": [], "citations": [number]});
    let many = |count: u64, make: &dyn Fn(u64) -> Value| (0..count).map(make).collect::<Vec<_>>();
    let cases = [
        ("a long piece", vec![text("a".repeat(300))], Limit::MessageBytes, 200),
        ("many pieces", many(300, &|_| text("a".into())), Limit::MessageBytes, 200),
        ("escapes", many(300, &|_| text("\u{1}".into())), Limit::MessageBytes, 200),
        ("choices in a chunk", vec![json!({"choices": many(11, &choice)})], Limit::Parts, 10),
        ("choices over chunks", many(11, &|index| json!({"choices": [choice(index)]})), Limit::Parts, 10),
        ("unknown members", many(11, &|index| json!({format!("x{index}"): 1})), Limit::Parts, 10),
        ("citations", many(11, &citation), Limit::Parts, 10),
        (
            "tool calls",
            many(9, &|index| json!({"choices": [{"index": 0, "delta": {"tool_calls": [call(index)]}}]})),
            Limit::ToolCalls,
            5,
        ),
    ];
    for (name, chunks, limit, maximum) in cases {
        let limits = Limits { max_message_bytes: 200, max_parts: 10, max_tool_calls: 5, ..Limits::default() };
        let mut accumulator = ChatAccumulator::new(&limits, false);
        let error =
            chunks.iter().find_map(|chunk| accumulator.feed(chunk.to_string().as_bytes(), None).err());
        let Some(Error::Limit { limit: found, maximum: bound, value, .. }) = error else {
            unreachable!("{name}: {error:?}")
        };
        assert_eq!((found, bound, value > bound), (limit, maximum, true), "{name}");
        assert_eq!(accumulator.feed(b"{}", None).err(), error, "{name} sticks");
        assert_eq!(accumulator.failure(), error.as_ref());
        assert!(accumulator.snapshot().is_some() || name.ends_with("in a chunk"), "{name}");
    }
    let mut accumulator = ChatAccumulator::new(&Limits { max_event_bytes: 10, ..Limits::default() }, false);
    let error = accumulator.feed(b"{\"choices\":[]}", None).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: Limit::EventBytes, maximum: 10, .. }));
    let deep = format!("{{\"choices\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let error = ChatAccumulator::new(&Limits::default(), false).feed(deep.as_bytes(), None).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: Limit::Depth, .. }));
}

/// Deltas as servers send them, mostly the same shape again and again.
fn deltas() -> impl Strategy<Value = Value> {
    let text = "[a\u{e9}\"\\\\\n\u{1f600}]{0,4}";
    prop_oneof![
        8 => text.prop_map(|text| json!({"content": text})),
        4 => text.prop_map(|text| json!({"content": null, "reasoning_content": text})),
        2 => text.prop_map(|text| json!({"reasoning": text, "content": ""})),
        4 => (0..2_u64, text).prop_map(|(index, text)| {
            json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
        }),
        1 => (0..2_u64, text).prop_map(|(index, id)| {
            json!({"tool_calls": [{"index": index, "id": id, "function": {"name": "f", "arguments": ""}}]})
        }),
        1 => text.prop_map(|text| json!({"content": [{"type": "text", "text": text}]})),
        1 => text.prop_map(|text| json!({"content": text, "refusal": text, "x": text})),
        1 => Just(json!({})),
    ]
}

fn chunks() -> impl Strategy<Value = Vec<Value>> {
    let chunk = (deltas(), 0..8_u64, any::<bool>(), 0..12_u64).prop_map(|(delta, odd, padded, rare)| {
        let index = u64::from(odd == 0);
        let reason = if rare == 0 { json!("stop") } else { Value::Null };
        let mut chunk = json!({"id": "i", "choices": [
            {"index": index, "delta": delta, "logprobs": null, "finish_reason": reason}], "usage": null});
        if padded {
            chunk["obfuscation"] = json!("zz");
        }
        if rare == 1 {
            chunk["usage"] = json!({"total_tokens": odd});
        }
        if rare == 2 {
            chunk["choices"][0]["error"] = json!({"message": "m"});
        }
        chunk
    });
    // Runs of chunks that differ in little are what the fast path feeds on.
    prop::collection::vec((chunk, 1..4_usize), 0..12)
        .prop_map(|runs| runs.into_iter().flat_map(|(chunk, count)| vec![chunk; count]).collect())
}

proptest! {
    #[test]
    fn repeats_are_read_as_everything_else(chunks in chunks()) {
        let mut fast = ChatAccumulator::new(&Limits::default(), false);
        let mut slow = ChatAccumulator::new(&Limits::default(), false);
        for (number, chunk) in chunks.iter().enumerate() {
            let payload = chunk.to_string();
            fast.feed(payload.as_bytes(), None).unwrap();
            // No two chunks in a row have the same bytes around their piece.
            slow.feed(format!("{}{payload}", " ".repeat(number % 5)).as_bytes(), None).unwrap();
            prop_assert_eq!(fast.snapshot(), slow.snapshot());
        }
        prop_assert_eq!(fast.tokens(), slow.tokens());
        prop_assert_eq!(fast.terminal(), slow.terminal());
        prop_assert_eq!(fast.error(), slow.error());
        prop_assert_eq!(fast.diagnostics().collect::<Vec<_>>(), slow.diagnostics().collect::<Vec<_>>());
    }

    #[test]
    fn the_scanner_accepts_what_the_cursor_accepts(chunks in chunks(), at in 0..400_usize, byte in "[\\[\\]{}\",:0a\\\\ ]") {
        let mut scanned = Chunk::new(100);
        for chunk in chunks {
            let mut payload = chunk.to_string();
            let place = at % payload.len();
            if payload.is_char_boundary(place) && payload.is_char_boundary(place + 1) {
                payload.replace_range(place..=place, &byte);
            }
            let mut cursor = Cursor::new(payload.as_bytes());
            let valid = cursor.skip_value(0, 128).and_then(|_| cursor.end());
            if payload.starts_with('{') {
                prop_assert_eq!(scanned.scan(payload.as_bytes()), valid, "{}", payload);
            } else {
                prop_assert!(scanned.scan(payload.as_bytes()).is_err());
            }
        }
    }

    #[test]
    fn no_payload_is_too_odd(payload in r#"[\[\]{}",:0-2a\\ ]{0,40}"#, cut in 0..200_usize) {
        let mut accumulator = ChatAccumulator::new(&Limits::default(), false);
        let chunk = r#"{"id":"i","choices":[{"index":0,"delta":{"role":"assistant","content":"a","tool_calls":[{"index":0,"id":"k","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}]}"#;
        accumulator.feed(chunk.as_bytes(), None).unwrap();
        accumulator.feed(payload.as_bytes(), None).unwrap();
        accumulator.feed(&chunk.as_bytes()[..cut.min(chunk.len())], None).unwrap();
        let odd = chunk.get(..cut.min(chunk.len())).map(|head| format!("{head}{payload}")).unwrap();
        accumulator.feed(odd.as_bytes(), None).unwrap();
        prop_assert!(snapshot(&accumulator).is_object());
    }
}

#[test]
fn a_hundred_thousand_pieces_are_one_text() {
    let mut accumulator = ChatAccumulator::new(&Limits::default(), false);
    for number in 0..100_000 {
        let payload = format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{{"content":"{number},"}}}}]}}"#);
        accumulator.feed(payload.as_bytes(), None).unwrap();
    }
    let expected: String = (0..100_000).flat_map(|number: u32| [number.to_string(), ",".into()]).collect();
    assert_eq!(accumulator.output_text(), expected.as_bytes());
    assert_eq!(accumulator.tokens(), 100_000);
}

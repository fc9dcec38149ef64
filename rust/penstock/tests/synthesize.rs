//! Streams made of whole responses are legal, and what accumulates them has the response again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use penstock::{
    LintOptions, Linter, ResponseAccumulator, ResponseOptions, SliceUnit, SynthesizeOptions, Wire, synthesize,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn messages(slice: usize, unit: SliceUnit) -> SynthesizeOptions {
    let slice = NonZeroUsize::new(slice).unwrap();
    SynthesizeOptions { slice, unit, wire: Wire::Messages, ..SynthesizeOptions::default() }
}

/// The payloads, after lint and accumulator have seen them.
fn check(response: &Value, options: &SynthesizeOptions) -> Vec<Value> {
    let made = synthesize(response.to_string().as_bytes(), options).unwrap();
    let mut linter = Linter::new(&LintOptions { strict: true, ..LintOptions::default() });
    let mut accumulator = ResponseAccumulator::new(&ResponseOptions::default());
    for payload in made.events() {
        linter.feed(payload, None).unwrap();
        accumulator.feed(payload, None).unwrap();
    }
    assert_eq!(linter.finish(), []);
    let last = accumulator.responses().last().unwrap();
    assert_eq!(&serde_json::from_slice::<Value>(last.json()).unwrap(), response);
    made.events().map(|payload| serde_json::from_slice(payload).unwrap()).collect()
}

fn response(output: &[Value], status: &str) -> Value {
    json!({"id": "resp_1", "status": status, "output": output, "usage": {"total_tokens": 3}})
}

fn message(text: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

#[test]
fn text_comes_in_slices() {
    for (text, slice, unit, expected) in [
        ("Hello world", 5, SliceUnit::CodePoints, &["Hello", " worl", "d"][..]),
        ("a👋é", 1, SliceUnit::CodePoints, &["a", "👋", "é"]),
        ("", 1, SliceUnit::CodePoints, &[]),
        ("👩‍💻e\u{301}!", 1, SliceUnit::Graphemes, &["👩‍💻", "e\u{301}", "!"]),
        (" one  two\u{2003}three", 2, SliceUnit::Words, &[" one  two\u{2003}", "three"]),
        ("  ", 1, SliceUnit::Words, &["  "]),
    ] {
        let events = check(&response(&[message(text)], "completed"), &messages(slice, unit));
        let deltas: Vec<&str> = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, expected, "{text:?}");
    }
}

#[test]
fn events_of_a_stream_are_cut_where_they_end() {
    let whole = response(&[message("a\n\nb")], "incomplete").to_string();
    let made = synthesize(whole.as_bytes(), &SynthesizeOptions::default()).unwrap();
    assert_eq!(made.events().collect::<Vec<_>>().concat(), made.as_bytes());
    assert!(made.events().all(|event| event.starts_with(b"event: response.") && event.ends_with(b"}\n\n")));
    assert_eq!(made.events().count(), 9);
}

#[test]
fn refusals_say_why() {
    for (text, expected) in [
        (r#"{"id":"r","status":"queued"}"#, "response_not_ended"),
        (r#"{"status":"completed"}"#, "unsafe_id"),
        (r#"{"id":"r","output":[{"type":"function_call","status":"incomplete"}]}"#, "completed_incomplete"),
        (
            r#"{"id":"r","output":[{"type":"compaction","id":"x"},{"type":"message","id":"x"}]}"#,
            "duplicate_item_id",
        ),
    ] {
        match synthesize(text.as_bytes(), &SynthesizeOptions::default()) {
            Err(penstock::Error::Event { rule, .. }) => assert_eq!(rule, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

fn item() -> impl Strategy<Value = Value> {
    let part = (any::<bool>(), any::<String>()).prop_map(|(refused, text)| {
        if refused {
            json!({"type": "refusal", "refusal": text})
        } else {
            json!({"type": "output_text", "text": text, "annotations": [{"type": "file_citation"}]})
        }
    });
    let parts = prop::collection::vec(part, 0..3);
    prop_oneof![
        parts.prop_map(|parts| json!({"type": "message", "status": "completed", "content": parts})),
        prop::collection::vec(any::<String>(), 0..3).prop_map(|texts| {
            let parts: Vec<_> =
                texts.iter().map(|text| json!({"type": "summary_text", "text": text})).collect();
            json!({"type": "reasoning", "summary": parts})
        }),
        any::<String>().prop_map(|text| {
            json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": text})
        }),
        any::<String>().prop_map(|text| json!({"type": "code_interpreter_call", "code": text})),
        Just(json!({"type": "image_generation_call", "status": "completed", "result": "AA=="})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_response_comes_back(
        mut items in prop::collection::vec(item(), 0..4),
        slice in 1_usize..9,
        unit in prop::sample::select(vec![SliceUnit::CodePoints, SliceUnit::Graphemes, SliceUnit::Words]),
        status in prop::sample::select(vec!["completed", "incomplete", "failed", "cancelled"]),
    ) {
        for (place, item) in items.iter_mut().enumerate() {
            item["id"] = json!(format!("item_{place}"));
        }
        check(&response(&items, status), &messages(slice, unit));
    }

    #[test]
    fn nothing_panics(text in any::<Vec<u8>>()) {
        let _ = synthesize(&text, &SynthesizeOptions::default());
    }
}

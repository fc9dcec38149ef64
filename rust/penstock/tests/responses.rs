//! The response accumulator against `tests/vectors/responses`, which the Python tests read too, and against itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use penstock::json::Cursor;
use penstock::{
    Error, FinalResponse, FunctionCall, Limit, Limits, ResponseAccumulator, ResponseOptions,
    ResponseTerminal, ResponseView,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

type Event = (String, Option<String>);

fn vectors() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/responses");
    let mut rows = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let name = format!("{}: {}", path.file_stem().unwrap().display(), row["name"].as_str().unwrap());
            rows.push((name, row));
        }
    }
    assert!(rows.len() > 180);
    rows
}

/// Payload and event name of a vector's event: a string is the payload itself.
fn event(event: &Value) -> Event {
    match event {
        Value::String(payload) => (payload.clone(), None),
        named if named.get("event").is_some() => {
            (named["data"].to_string(), named["event"].as_str().map(str::to_owned))
        }
        object => (object.to_string(), None),
    }
}

fn events(row: &Value) -> Vec<Event> {
    row["events"].as_array().unwrap().iter().map(event).collect()
}

fn accumulator(row: &Value, strict: bool) -> ResponseAccumulator {
    let resume_after = row["resume_after"].as_u64();
    let mut accumulator =
        ResponseAccumulator::new(&ResponseOptions { strict, resume_after, ..ResponseOptions::default() });
    if row["resume_after"] == -1 {
        accumulator.resume(None);
    }
    accumulator
}

fn feed(accumulator: &mut ResponseAccumulator, (payload, name): &Event) -> Result<(), Error> {
    accumulator.feed(payload.as_bytes(), name.as_deref().map(str::as_bytes)).map(drop)
}

fn text(accumulator: &ResponseAccumulator) -> Option<String> {
    let snapshot = accumulator.response()?.snapshot().unwrap()?;
    Some(String::from_utf8(snapshot.into_owned()).unwrap())
}

/// The snapshot; a surrogate half, which `serde_json` refuses, as U+FFFD.
fn snapshot(accumulator: &ResponseAccumulator) -> Value {
    text(accumulator).map_or(Value::Null, |text| parse(&text))
}

fn require_json(text: &str) {
    let mut cursor = Cursor::new(text.as_bytes());
    cursor.skip_value(0, 128).unwrap();
    cursor.end().unwrap();
}

fn parse(text: &str) -> Value {
    require_json(text);
    let whole = text.replace("\\ud83d", "\\ufffd").replace("\\ude00", "\\ufffd");
    serde_json::from_str(&whole).unwrap()
}

fn call(call: &FunctionCall) -> Value {
    json!({
        "type": call.kind, "output_index": call.output_index, "item_id": call.item_id, "call_id": call.call_id,
        "name": call.name, "arguments": call.arguments, "complete": call.complete,
    })
}

fn diagnostics(accumulator: &ResponseAccumulator) -> Value {
    Value::Object(accumulator.diagnostics().map(|(kind, count)| (kind.to_owned(), json!(count))).collect())
}

fn status(response: &FinalResponse) -> Value {
    parse(std::str::from_utf8(response.json()).unwrap())["status"].clone()
}

/// Compares what a vector says of a view, field by field; `Null` where it says nothing.
fn compare_view(name: &str, row: &Value, view: ResponseView<'_>) {
    if let Some(text) = row.get("text") {
        assert_eq!(view.output_text().unwrap(), *text, "{name}");
    }
    assert_eq!(json!(view.terminal().map(ResponseTerminal::as_str)), row["terminal"], "{name}");
    if let Some(status) = row.get("status") {
        assert_eq!(json!(view.status().unwrap()), *status, "{name}");
    }
    let json_of = |value: Option<&[u8]>| value.map(|value| parse(std::str::from_utf8(value).unwrap()));
    if let Some(error) = row.get("error") {
        assert_eq!(json!(json_of(view.error().unwrap())), *error, "{name}");
    }
    if let Some(usage) = row.get("usage") {
        assert_eq!(json!(json_of(view.usage().unwrap())), *usage, "{name}");
    }
    if let Some(calls) = row.get("calls") {
        assert_eq!(
            json!(view.function_calls().unwrap().iter().map(call).collect::<Vec<_>>()),
            *calls,
            "{name}"
        );
    }
    if let Some(audio) = row.get("audio") {
        assert_eq!(json!(view.audio().map(String::from_utf8_lossy)), *audio, "{name}");
    }
    if let Some(transcript) = row.get("transcript") {
        assert_eq!(json!(view.transcript()), *transcript, "{name}");
    }
    for (index, image) in row["images"].as_object().unwrap_or(&Map::new()) {
        let (_, event) = view.images().find(|(at, _)| at.to_string() == *index).unwrap();
        let event = parse(std::str::from_utf8(event).unwrap());
        for (key, value) in image.as_object().unwrap() {
            assert_eq!(event[key], *value, "{name}");
        }
    }
}

#[test]
fn vectors_hold() {
    for (name, row) in vectors() {
        let mut accumulator = accumulator(&row, false);
        for event in events(&row) {
            feed(&mut accumulator, &event).unwrap();
        }
        if row["finish"] != false {
            accumulator.finish().unwrap();
            accumulator.finish().unwrap();
        }
        assert_eq!(diagnostics(&accumulator), row["diagnostics"], "{name}");
        let found = snapshot(&accumulator);
        let Some(view) = accumulator.response() else {
            assert_eq!(row["snapshot"], Value::Null, "{name}");
            continue;
        };
        for (pointer, expected) in row["expect"].as_object().unwrap_or(&Map::new()) {
            assert_eq!(found.pointer(pointer), Some(expected), "{name}: {pointer} in {found}");
        }
        for pointer in row["missing"].as_array().unwrap_or(&Vec::new()) {
            assert_eq!(found.pointer(pointer.as_str().unwrap()), None, "{name}: {pointer}");
        }
        for raw in row["raw"].as_array().unwrap_or(&Vec::new()) {
            let text = text(&accumulator).unwrap();
            assert!(text.contains(raw.as_str().unwrap()), "{name}: {text}");
        }
        compare_view(&name, &row, view);
        assert_eq!(view.is_truncated(), row["truncated"] == true, "{name}");
        let responses: Vec<Value> = accumulator.responses().map(|response| status(response)).collect();
        assert_eq!(json!(responses), *row.get("responses").unwrap_or(&json!([])), "{name}");
        for (lane, expected) in row["lanes"].as_object().unwrap_or(&Map::new()) {
            compare_view(&name, expected, accumulator.lane(lane.as_bytes()).unwrap());
        }
        if let Some(deltas) = row.get("deltas") {
            assert_eq!(json!(accumulator.deltas()), *deltas, "{name}");
        }
    }
}

#[test]
fn strict_accumulators_refuse_the_first_breach_and_stay_as_they_were() {
    for (name, row) in vectors() {
        let mut accumulator = accumulator(&row, true);
        let mut refusal = None;
        for event in events(&row) {
            let before = (text(&accumulator), accumulator.held());
            if let Err(error) = feed(&mut accumulator, &event) {
                assert_eq!((text(&accumulator), accumulator.held()), before, "{name}");
                refusal.get_or_insert(error);
            }
        }
        let rule = refusal.map(|error| match error {
            Error::Event { rule, event } => {
                assert!(rule == "untyped" || event.starts_with("response.") || *event == *"error", "{name}");
                rule.to_owned()
            }
            Error::Json { .. } => "json".to_owned(),
            other => panic!("{name}: {other}"),
        });
        assert_eq!(json!(rule), row["strict"], "{name}");
    }
}

#[test]
fn what_is_held_is_given_back() {
    for (name, row) in vectors() {
        let mut accumulator = accumulator(&row, false);
        let events = events(&row);
        for event in &events {
            feed(&mut accumulator, event).unwrap();
            let ended = accumulator.responses().len();
            if row.get("lanes").is_none() && ended > 0 && accumulator.response().unwrap().last().is_some() {
                let final_bytes = accumulator.response().unwrap().last().unwrap().json().len() as u64;
                let rest = accumulator.held() - final_bytes;
                assert!(rest < 400, "{name}: {rest} bytes beside the final response");
            }
        }
        if events.is_empty() || row.get("lanes").is_some() || row.get("resume_after").is_some() {
            continue;
        }
        let blank = r#"{"type":"response.created","response":{"id":"r"}}"#;
        feed(&mut accumulator, &(blank.to_owned(), None)).unwrap();
        assert_eq!(accumulator.held(), r#"{"id":"r"}"#.len() as u64, "{name}");
    }
}

const CREATED: &str = r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#;

fn limited(set: impl FnOnce(&mut Limits)) -> ResponseAccumulator {
    let mut limits = Limits::default();
    set(&mut limits);
    let mut accumulator = ResponseAccumulator::new(&ResponseOptions { limits, ..ResponseOptions::default() });
    accumulator.feed(CREATED.as_bytes(), None).unwrap();
    accumulator
}

/// Feeds events made from 0, 1, 2, … until one is refused; gives the number of those accepted.
fn until_refused(accumulator: &mut ResponseAccumulator, limit: Limit, make: impl Fn(u64) -> String) -> u64 {
    for number in 0..10_000 {
        let Err(error) = accumulator.feed(make(number).as_bytes(), None) else { continue };
        let Error::Limit { limit: found, maximum, value, .. } = error else { panic!("{error}") };
        assert_eq!(found, limit);
        assert!(value > maximum);
        // It stays failed, and what was built can be read.
        assert_eq!(accumulator.feed(CREATED.as_bytes(), None), Err(error.clone()));
        assert_eq!(accumulator.failure(), Some(&error));
        assert!(accumulator.response().unwrap().snapshot().unwrap().is_some());
        return number;
    }
    panic!("never refused");
}

#[test]
fn counts_are_limited_whatever_they_count() {
    let item = |number: u64, item: &str| {
        format!(r#"{{"type":"response.output_item.added","output_index":{number},"item":{item}}}"#)
    };
    let far = |number: u64| number * (u64::MAX / 2 / 10_000);
    let of = |kind: &'static str, index: &'static str, rest: &'static str| {
        move |number: u64| {
            format!(r#"{{"type":"response.{kind}","output_index":0,"{index}":{}{rest}}}"#, far(number))
        }
    };
    let parts = |limits: &mut Limits| limits.max_parts = 100;
    // An event that implies its item takes two places at first.
    for (accepted, make) in [
        (100, Box::new(|n| item(far(n), r#"{"type":"message"}"#)) as Box<dyn Fn(u64) -> String>),
        (100, Box::new(|n| item(far(n), "{}"))),
        (99, Box::new(of("output_text.delta", "content_index", r#","delta":"x""#))),
        (99, Box::new(of("reasoning_summary_text.delta", "summary_index", r#","delta":"x""#))),
        (
            98,
            Box::new(of(
                "output_text.annotation.added",
                "annotation_index",
                r#","annotation":{},"content_index":0"#,
            )),
        ),
        (99, Box::new(of("shell_call_command.delta", "command_index", r#","delta":"x""#))),
        (99, Box::new(of("shell_call_output_content.delta", "command_index", r#","delta":{}"#))),
        (100, Box::new(of("image_generation_call.partial_image", "unread", r#","partial_image_b64":"""#))),
        (99, Box::new(|n| format!(r#"{{"type":"response.created","stream_id":"{n}","response":{{}}}}"#))),
    ] {
        if make(0).contains("partial_image") {
            let make = |n| make(n).replace(r#""output_index":0"#, &format!(r#""output_index":{n}"#));
            assert_eq!(until_refused(&mut limited(parts), Limit::Parts, make), accepted);
            continue;
        }
        assert_eq!(until_refused(&mut limited(parts), Limit::Parts, &make), accepted, "{}", make(0));
    }
    for kind in ["function_call", "custom_tool_call", "mcp_call", "shell_call", "web_search_call"] {
        let mut accumulator = limited(|limits| limits.max_tool_calls = 10);
        let make = |n| item(n, &format!(r#"{{"type":"{kind}"}}"#));
        assert_eq!(until_refused(&mut accumulator, Limit::ToolCalls, make), 10, "{kind}");
    }
}

#[test]
fn bytes_are_limited_whatever_holds_them() {
    let filler = "x".repeat(100);
    for event in [
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"~"}"#,
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"","logprobs":["~"]}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"~"}"#,
        r#"{"type":"response.output_text.annotation.added","output_index":0,"content_index":0,"annotation_index":@,"annotation":{"a":"~"}}"#,
        r#"{"type":"response.output_item.added","output_index":@,"item":{"type":"x","a":"~"}}"#,
        r#"{"type":"response.output_item.done","output_index":@,"item":{"type":"x","a":"~"}}"#,
        r#"{"type":"response.content_part.done","output_index":0,"content_index":@,"part":{"type":"x","a":"~"}}"#,
        r#"{"type":"response.shell_call_output_content.delta","output_index":2,"command_index":0,"delta":{"stdout":"~"}}"#,
        r#"{"type":"response.image_generation_call.partial_image","output_index":@,"partial_image_b64":"~"}"#,
        r#"{"type":"response.audio.delta","delta":"~"}"#,
        r#"{"type":"response.audio.transcript.delta","delta":"~"}"#,
        r#"{"type":"response.created","stream_id":"~@","response":{"a":"~"}}"#,
    ] {
        let mut accumulator = limited(|limits| limits.max_message_bytes = 5_000);
        let make = |n: u64| event.replace('~', &filler).replace('@', &n.to_string());
        let accepted = until_refused(&mut accumulator, Limit::MessageBytes, make);
        assert!((15..70).contains(&accepted), "{accepted} {event}");
        assert!(accumulator.held() <= 5_000);
    }
    for event in [
        r#"{"type":"response.in_progress","response":{"id":"r","a":"~"}}"#,
        r#"{"type":"response.completed","response":{"id":"r","a":"~"}}"#,
        r#"{"type":"error","error":{"message":"~"}}"#,
    ] {
        let mut accumulator = limited(|limits| limits.max_message_bytes = 5_000);
        let whole = event.replace('~', &"x".repeat(4_000));
        accumulator.feed(whole.as_bytes(), None).unwrap();
        let mut accumulator = limited(|limits| limits.max_message_bytes = 5_000);
        let make = |_| event.replace('~', &"x".repeat(6_000));
        assert_eq!(until_refused(&mut accumulator, Limit::MessageBytes, make), 0);
    }
}

#[test]
fn ids_are_held_only_if_somebody_asks_for_them() {
    let make = |number: u64| {
        let id = "x".repeat(100);
        format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{{"id":"{id}{number}"}}}}"#)
    };
    let mut accumulator = limited(|limits| limits.max_message_bytes = 5_000);
    for number in 0..1_000 {
        accumulator.feed(make(number).as_bytes(), None).unwrap();
    }
    let asking = br#"{"type":"response.output_text.delta","item_id":"y","delta":"z"}"#;
    accumulator.feed(asking, None).unwrap();
    assert!((20..50).contains(&until_refused(&mut accumulator, Limit::MessageBytes, make)));
}

#[test]
fn what_is_replaced_is_given_back() {
    let filler = "x".repeat(1_000);
    for event in [
        r#"{"type":"response.in_progress","response":{"id":"r","a":"~"}}"#,
        r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"~"}"#,
        r#"{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"x","a":"~"}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"x","a":"~"}}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"x","a":"~"}}"#,
        r#"{"type":"response.image_generation_call.partial_image","output_index":0,"partial_image_b64":"~"}"#,
        r#"{"type":"response.shell_call_output_content.done","output_index":0,"command_index":0,"output":["~"]}"#,
        r#"{"type":"error","error":{"message":"~"}}"#,
        r#"{"type":"response.completed","response":{"a":"~","id":"@"}}"#,
    ] {
        let mut accumulator = limited(|limits| limits.max_message_bytes = 5_000);
        for number in 0..1_000 {
            if event.contains("completed") {
                accumulator.feed(CREATED.as_bytes(), None).unwrap();
            }
            let event = event.replace('~', &filler).replace('@', &number.to_string());
            accumulator.feed(event.as_bytes(), None).unwrap();
        }
        assert!(accumulator.held() < 3_500, "{} {event}", accumulator.held());
    }
}

#[test]
fn final_responses_are_kept_within_bounds() {
    let mut accumulator = limited(|limits| limits.max_message_bytes = 10_000);
    for number in 0..100 {
        accumulator.feed(CREATED.as_bytes(), None).unwrap();
        let response = format!(r#"{{"id":"r","number":{number},"filler":"{}"}}"#, "x".repeat(1_000));
        let event = format!(r#"{{"type":"response.completed","response":{response}}}"#);
        assert!(accumulator.feed(event.as_bytes(), None).unwrap().terminal);
    }
    let taken = accumulator.take_responses();
    assert_eq!(taken.len(), 9);
    assert!(taken.last().unwrap().json().starts_with(br#"{"id":"r","number":99,"#));
    assert_eq!(
        accumulator.diagnostics().find(|(kind, _)| *kind == "responses_dropped"),
        Some(("responses_dropped", 91))
    );
    assert_eq!(accumulator.responses().len(), 0);
    assert!(accumulator.response().unwrap().last().is_some());
}

#[test]
fn whatever_is_taken_in_can_be_written_and_read_back() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (event, outside) in [
        (r#"{"type":"response.output_item.added","output_index":0,"item":{"a":~}}"#, 3),
        (r#"{"type":"response.output_item.done","output_index":0,"item":{"a":~}}"#, 3),
        (r#"{"type":"response.content_part.added","output_index":0,"content_index":0,"part":{"a":~}}"#, 5),
        (r#"{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"a":~}}"#, 5),
        (
            r#"{"type":"response.output_text.annotation.added","output_index":0,"content_index":0,"annotation_index":0,"annotation":{"a":~}}"#,
            7,
        ),
        (
            r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"","logprobs":[~]}"#,
            6,
        ),
        (
            r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"","logprobs":[~]}"#,
            6,
        ),
        (
            r#"{"type":"response.shell_call_output_content.done","output_index":0,"command_index":0,"output":[~]}"#,
            4,
        ),
        (r#"{"type":"response.in_progress","response":{"a":~}}"#, 2),
        (r#"{"type":"response.completed","response":{"a":~}}"#, 2),
        (r#"{"type":"error","error":{"a":~}}"#, 2),
    ] {
        let most = 128 - outside;
        for levels in [most - 1, most, most + 1, 120, 128] {
            let mut accumulator = limited(|_| ());
            let fed = accumulator.feed(event.replace('~', &nested(levels)).as_bytes(), None);
            let accepted = fed.is_ok();
            assert_eq!(accepted, levels <= most, "{levels} {event}");
            if !accepted {
                assert!(matches!(
                    fed,
                    Err(Error::Limit { limit: Limit::Depth, maximum: 128, value: 129, .. })
                ));
            }
            accumulator.finish().unwrap();
            require_json(&text(&accumulator).unwrap());
        }
    }
    let mut shallow = limited(|limits| limits.max_depth = 4);
    let event = br#"{"type":"acme","a":[[[[0]]]]}"#;
    assert!(matches!(shallow.feed(event, None), Err(Error::Limit { limit: Limit::Depth, maximum: 4, .. })));
}

proptest! {
    /// Any events in any order: nothing panics, the snapshot is JSON, no status is invented.
    #[test]
    fn any_events_are_survived(
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u64), 0..40), strict: bool
    ) {
        let all: Vec<Event> = vectors().iter().flat_map(|(_, row)| events(row)).collect();
        let mut accumulator = ResponseAccumulator::new(&ResponseOptions { strict, ..ResponseOptions::default() });
        let mut terminal = false;
        for (pick, index) in picks {
            let (payload, name) = pick.get(&all).clone();
            let payload = payload.replace(r#""output_index":0"#, &format!(r#""output_index":{index}"#));
            feed(&mut accumulator, &(payload.clone(), name)).ok();
            terminal |= ["completed\"", "incomplete\"", "failed\"", "cancelled\"", "\"error\""]
                .iter()
                .any(|word| payload.contains(word));
            let found = snapshot(&accumulator);
            prop_assert!(terminal || found["status"] != "completed");
        }
        accumulator.finish().unwrap();
        snapshot(&accumulator);
        if let Some(view) = accumulator.response() {
            view.output_text().unwrap();
            view.function_calls().unwrap();
        }
    }
}

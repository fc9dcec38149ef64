//! What the emitter writes is legal, says what it was told, and is read back as it was meant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod program;
#[allow(dead_code, reason = "only the decoders are needed here")]
mod support;

use penstock::{
    Decoder, DecoderOptions, Emitter, EmitterOptions, Error, EventType, Frame, ItemKind, ItemStatus, Limits,
    NewItem, PartKind, ResponseAccumulator, ResponseOptions, SseFrame, Terminal, Wire, write_sse,
};
use program::program;
use proptest::prelude::*;
use serde_json::{Value, json};

fn emitter() -> Emitter {
    let mut emitter = Emitter::new(EmitterOptions::new("resp_1", 1, "m")).unwrap();
    emitter.start().unwrap();
    emitter
}

/// The events of a stream, decoded: name and payload.
fn events(stream: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    let mut sink = |chunk: &[u8], frame: Frame<'_>| {
        let name = frame.name.as_ref().map(|name| name.bytes(chunk)).unwrap_or_default();
        let payload = serde_json::from_slice(frame.data.bytes(chunk)).unwrap();
        events.push((String::from_utf8(name.to_vec()).unwrap(), payload));
    };
    let mut decoder = Decoder::new(DecoderOptions::default());
    decoder.feed(stream, &mut sink).unwrap();
    decoder.finish(&mut sink).unwrap();
    events
}

fn types(stream: &[u8]) -> Vec<String> {
    let short = |name: String| name.trim_start_matches("response.").to_owned();
    events(stream).into_iter().map(|(name, _)| short(name)).collect()
}

#[test]
fn every_kind_of_item_lives_its_life() {
    let mut e = emitter();
    let reasoning = e.open_item(NewItem::reasoning()).unwrap();
    e.reasoning_summary(reasoning, b"think").unwrap();
    e.open_part(reasoning, PartKind::SummaryText).unwrap();
    e.reasoning_summary(reasoning, b"more").unwrap();
    e.reasoning_text(reasoning, b"raw").unwrap();
    e.close_item(reasoning, ItemStatus::Completed, br#"{"encrypted_content":"x"}"#).unwrap();
    let message = e.open_item(NewItem::message().with_id("msg_a")).unwrap();
    e.text_with_logprobs(message, b"Hi", br#"[{"token":"Hi","logprob":-1}]"#).unwrap();
    e.annotation(message, br#"{"type":"url_citation"}"#).unwrap();
    e.refusal(message, b"no").unwrap();
    e.close_item(message, ItemStatus::Completed, b"").unwrap();
    let call = e.open_item(NewItem::function_call(Some("call_1"), "f")).unwrap();
    let other = e.open_item(NewItem::custom_tool_call(None, "g")).unwrap();
    e.arguments(call, b"{}").unwrap();
    e.custom_input(other, b"x").unwrap();
    e.close_item(call, ItemStatus::Completed, b"").unwrap();
    e.close_item(other, ItemStatus::Completed, b"").unwrap();
    let search = e.open_item(NewItem::new(ItemKind::WebSearchCall)).unwrap();
    e.status(search, EventType::WebSearchCallSearching, b"").unwrap();
    e.close_item(search, ItemStatus::Completed, br#"{"action":{"type":"search","query":"q"}}"#).unwrap();
    let code = e.open_item(NewItem::new(ItemKind::CodeInterpreterCall)).unwrap();
    e.code(code, b"1+1").unwrap();
    e.close_item(code, ItemStatus::Completed, b"{}").unwrap();
    e.item_whole(br#"{"id":"cmp_1","type":"compaction","encrypted_content":"c"}"#).unwrap();
    e.usage(br#"{"input_tokens":1}"#).unwrap();
    e.finish(Terminal::Completed).unwrap();
    let stream = e.take();
    assert_eq!(
        types(&stream).join(" "),
        "created in_progress \
         output_item.added reasoning_summary_part.added reasoning_summary_text.delta \
         reasoning_summary_text.done reasoning_summary_part.done reasoning_summary_part.added \
         reasoning_summary_text.delta reasoning_summary_text.done reasoning_summary_part.done \
         content_part.added reasoning_text.delta reasoning_text.done content_part.done output_item.done \
         output_item.added content_part.added output_text.delta output_text.annotation.added \
         output_text.done content_part.done content_part.added refusal.delta refusal.done \
         content_part.done output_item.done \
         output_item.added output_item.added function_call_arguments.delta custom_tool_call_input.delta \
         function_call_arguments.done output_item.done custom_tool_call_input.done output_item.done \
         output_item.added web_search_call.searching output_item.done \
         output_item.added code_interpreter_call_code.delta code_interpreter_call_code.done \
         output_item.done output_item.added output_item.done completed"
    );
    for (place, (name, payload)) in events(&stream).into_iter().enumerate() {
        assert_eq!(payload["sequence_number"], place);
        assert_eq!(payload["type"], name);
    }
    let response: Value = serde_json::from_slice(e.final_response().unwrap()).unwrap();
    let message = json!({
        "id": "msg_a", "type": "message", "status": "completed", "role": "assistant",
        "content": [
            {"type": "output_text", "annotations": [{"type": "url_citation"}],
             "logprobs": [{"token": "Hi", "logprob": -1, "bytes": [], "top_logprobs": []}], "text": "Hi"},
            {"type": "refusal", "refusal": "no"},
        ],
    });
    assert_eq!(response["output"][1], message);
    assert_eq!(response["output"][0]["summary"][1]["text"], "more");
    assert_eq!(response["output"][3]["input"], "x");
    assert_eq!(response["output"][3]["call_id"], "call_10003");
    assert_eq!((&response["status"], &response["usage"]["input_tokens"]), (&json!("completed"), &json!(1)));
}

#[test]
fn ends_are_truthful() {
    for (terminal, event, status) in [
        (Terminal::Incomplete { reason: "max_output_tokens" }, "incomplete", "incomplete"),
        (Terminal::Failed { error: br#"{"code":"server_error","message":"x"}"# }, "failed", "failed"),
        (Terminal::Cancelled, "cancelled", "cancelled"),
    ] {
        let mut e = emitter();
        let message = e.open_item(NewItem::message()).unwrap();
        e.text(message, b"cut").unwrap();
        e.finish(terminal).unwrap();
        let response: Value = serde_json::from_slice(e.final_response().unwrap()).unwrap();
        assert_eq!(response["status"], status);
        assert_eq!(response["output"][0]["status"], "incomplete");
        assert_eq!(types(&e.take()).last().unwrap(), event);
        assert!(e.finish(Terminal::Completed).is_err());
    }
}

#[test]
fn an_error_is_followed_by_failed() {
    let mut e = emitter();
    e.open_item(NewItem::message()).unwrap();
    e.error(br#"{"code":"server_error","message":"boom"}"#).unwrap();
    let refused = e.finish(Terminal::Incomplete { reason: "max_output_tokens" });
    assert_eq!(refused, Err(Error::Event { rule: "error_not_failed", event: "response.incomplete".into() }));
    e.finish(Terminal::Failed { error: br#"{"code":"server_error","message":"boom"}"# }).unwrap();
    assert_eq!(types(&e.take()).split_off(3), ["output_item.done", "error", "failed"]);
}

#[test]
fn illegal_calls_change_nothing() {
    type Call = fn(&mut Emitter) -> Result<(), Error>;
    let fresh = || Emitter::new(EmitterOptions::new("resp_1", 1, "m")).unwrap();
    let cases: &[(&str, Call)] = &[
        ("created_again", |e| e.start()),
        ("created_again", |e| e.queue()),
        ("item_not_added", |e| e.text(9, b"x")),
        ("item_not_added", |e| e.close_item(9, ItemStatus::Completed, b"")),
        ("item_not_added", |e| e.close_part(9)),
        ("item_not_added", |e| e.status(9, EventType::WebSearchCallSearching, b"")),
        ("after_item_done", |e| e.text(0, b"x")),
        ("after_item_done", |e| e.text(0, b"")),
        ("after_item_done", |e| e.close_item(0, ItemStatus::Completed, b"")),
        ("wrong_item", |e| e.arguments(1, b"x")),
        ("wrong_item", |e| e.arguments(1, b"")),
        ("wrong_item", |e| e.reasoning_summary(1, b"x")),
        ("wrong_part", |e| e.text(2, b"x")),
        ("wrong_item", |e| e.status(1, EventType::WebSearchCallSearching, b"")),
        ("wrong_item", |e| e.status(1, EventType::Completed, b"")),
        ("part_not_added", |e| e.annotation(1, b"{}")),
        ("item_prefilled", |e| {
            e.open_item(NewItem::function_call(None, "f").with_members(br#"{"arguments":"{}"}"#)).map(drop)
        }),
        ("item_prefilled", |e| {
            e.item_whole(br#"{"id":"m","type":"message","content":[{"type":"output_text"}]}"#).map(drop)
        }),
        ("string_not_done", |e| e.item_whole(br#"{"id":"f","type":"function_call"}"#).map(drop)),
        ("missing_field", |e| e.open_item(NewItem::new(ItemKind::Other)).map(drop)),
        ("missing_field", |e| e.item_whole(br#"{"id":"x"}"#).map(drop)),
        ("item_prefilled", |e| {
            let members = br#"{"type":"custom_tool_call","input":"x"}"#;
            e.open_item(NewItem { members, ..NewItem::new(ItemKind::Other) }).map(drop)
        }),
        ("duplicate_item_id", |e| e.open_item(NewItem::message().with_id("msg_a")).map(drop)),
        ("unsafe_id", |e| e.open_item(NewItem::message().with_id("")).map(drop)),
        ("unsafe_id", |e| e.open_item(NewItem::message().with_id("a\nb")).map(drop)),
        ("reserved_member", |e| e.members(br#"{"stat\u0075s":"completed"}"#)),
        ("reserved_member", |e| e.close_item(1, ItemStatus::Completed, br#"{"id":"x"}"#)),
        ("item_open", |e| e.finish(Terminal::Completed)),
    ];
    for (rule, call) in cases {
        let mut e = fresh();
        e.start().unwrap();
        e.open_item(NewItem::message().with_id("msg_a")).unwrap();
        e.close_item(0, ItemStatus::Completed, b"").unwrap();
        e.open_item(NewItem::message()).unwrap();
        e.open_item(NewItem::reasoning()).unwrap();
        let before = e.output().to_vec();
        match call(&mut e) {
            Err(Error::Event { rule: found, .. }) => assert_eq!(found, *rule),
            other => panic!("{rule}: {other:?}"),
        }
        assert_eq!(e.output(), before, "{rule}");
        e.text(1, b"goes on").unwrap();
        e.close_item(1, ItemStatus::Completed, b"").unwrap();
        e.close_item(2, ItemStatus::Completed, b"").unwrap();
        e.finish(Terminal::Completed).unwrap();
    }
    let mut e = fresh();
    for call in [|e: &mut Emitter| e.finish(Terminal::Completed), |e: &mut Emitter| e.error(b"{}")] {
        assert!(matches!(call(&mut e), Err(Error::Event { rule: "not_created", .. })));
    }
    assert!(e.open_item(NewItem::message()).is_err() && e.output().is_empty());
    let mut e = emitter();
    e.open_item(NewItem::message()).unwrap();
    e.close_item(0, ItemStatus::Incomplete, b"").unwrap();
    assert!(matches!(e.open_item(NewItem::message()), Err(Error::Event { rule: "after_incomplete", .. })));
    assert!(matches!(e.finish(Terminal::Completed), Err(Error::Event { rule: "completed_incomplete", .. })));
}

#[test]
fn json_from_outside_is_checked_and_kept_on_one_line() {
    let mut e = emitter();
    for broken in [&b"{"[..], b"[]", b"1", b"{\"a\":\"\xff\"}", b"{} {}"] {
        let before = e.output().len();
        assert!(e.usage(broken).is_err(), "{broken:?}");
        assert!(e.open_item(NewItem::message().with_members(broken)).is_err());
        assert_eq!(e.output().len(), before);
    }
    e.usage(b"{\r\n  \"input_tokens\":\n 1\r}\n").unwrap();
    e.finish(Terminal::Completed).unwrap();
    let stream = e.take();
    assert!(!stream.contains(&b'\r'));
    assert_eq!(events(&stream).last().unwrap().1["response"]["usage"]["input_tokens"], 1);
    let options = EmitterOptions { echo: b"{\"output\":[]}".to_vec(), ..EmitterOptions::new("r", 1, "m") };
    assert!(matches!(Emitter::new(options), Err(Error::Event { rule: "reserved_member", .. })));
    assert!(Emitter::new(EmitterOptions::new("a\r", 1, "m")).is_err());
}

#[test]
fn limits_hold_and_change_nothing() {
    let limits = Limits { max_message_bytes: 40, max_parts: 3, ..Limits::default() };
    let mut e = Emitter::new(EmitterOptions { limits, ..EmitterOptions::new("resp_1", 1, "m") }).unwrap();
    e.start().unwrap();
    let message = e.open_item(NewItem::message().with_id("m1")).unwrap();
    e.text(message, &[b'x'; 30]).unwrap();
    let before = e.output().len();
    assert!(matches!(e.text(message, &[b'x'; 30]), Err(Error::Limit { .. })));
    assert!(matches!(e.refusal(message, &[b'x'; 30]), Err(Error::Limit { .. })));
    assert_eq!(e.output().len(), before);
    e.close_item(message, ItemStatus::Completed, b"").unwrap();
    e.open_item(NewItem::message().with_id("m2")).unwrap();
    assert!(matches!(e.open_item(NewItem::message().with_id("m3")), Err(Error::Limit { .. })));
    e.close_item(1, ItemStatus::Completed, b"").unwrap();
    e.finish(Terminal::Completed).unwrap();
}

#[test]
fn lanes_padding_and_separators() {
    let options = EmitterOptions {
        wire: Wire::Messages,
        stream_id: Some("lane\"1".to_owned()),
        escape_separators: true,
        padding: Some((64, 7)),
        ..EmitterOptions::new("resp_1", 1, "m")
    };
    let mut e = Emitter::new(options).unwrap();
    e.start().unwrap();
    let message = e.open_item(NewItem::message()).unwrap();
    for length in 0..80 {
        e.text(message, "\u{2028}\u{85}é\u{2029}".repeat(length).as_bytes()).unwrap();
    }
    e.close_item(message, ItemStatus::Completed, b"").unwrap();
    e.finish(Terminal::Completed).unwrap();
    let mut text = String::new();
    for message in e.messages() {
        let payload: Value = serde_json::from_slice(message).unwrap();
        assert_eq!(payload["stream_id"], "lane\"1");
        let written = std::str::from_utf8(message).unwrap();
        assert!(!written.contains(['\u{2028}', '\u{2029}', '\u{85}']));
        if let Some(delta) = payload["delta"].as_str() {
            assert_eq!(message.len() % 64, 0);
            text.push_str(delta);
        }
    }
    let response: Value = serde_json::from_slice(e.final_response().unwrap()).unwrap();
    assert_eq!(response["output"][0]["content"][0]["text"], text);
}

#[test]
fn halves_of_a_pair_join() {
    let mut e = emitter();
    let message = e.open_item(NewItem::message()).unwrap();
    for piece in [&b"a\xed\xa0\xbd"[..], b"\xed\xb8\x80\xff", "é".as_bytes()] {
        e.text(message, piece).unwrap();
    }
    e.finish(Terminal::Cancelled).unwrap();
    let stream = e.take();
    assert!(String::from_utf8(stream).unwrap().contains("\"text\":\"a\u{1f600}\u{fffd}é\""));
}

#[test]
fn hostile_fields_forge_nothing() {
    let hostile: Vec<String> =
        ["\n", "\r", "\r\n", "\n\n", "\r\r", "\0", "\u{2028}", "\u{85}", "\u{feff}", ":"]
            .iter()
            .flat_map(|end| {
                ["", "x", "data: forged", "event: forged"]
                    .map(|text| format!("a{end}{text}{end}{end}data: y{end}"))
            })
            .chain(["\n", " ", "\r\ndata: x\r\n\r\n", " leading", "id: 1"].map(str::to_owned))
            .collect();
    let (mut read, mut refused) = (0, 0);
    for value in &hostile {
        let bytes = Some(value.as_bytes());
        let plain = SseFrame { data: Some(b"d"), ..SseFrame::default() };
        for (field, frame) in [
            ("name", SseFrame { name: bytes, ..plain }),
            ("id", SseFrame { id: bytes, ..plain }),
            ("data", SseFrame { data: bytes, ..plain }),
            ("comment", SseFrame { comment: bytes, ..plain }),
            ("comment", SseFrame { comment: bytes, name: bytes, id: None, retry: Some(5), data: bytes }),
        ] {
            let mut out = Vec::new();
            if write_sse(&frame, &mut out).is_err() {
                assert!(out.is_empty() && matches!(field, "name" | "id" | "comment"));
                refused += 1;
                continue;
            }
            read += 1;
            let lines = |text: &[u8]| {
                String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "\n").replace('\r', "\n")
            };
            let name = frame.name.map(lines).unwrap_or_default();
            let data = frame.data.map(lines).unwrap_or_default();
            let options = DecoderOptions { sentinel: None, ..DecoderOptions::default() };
            let found = support::feeding::decode(&options, [&out[..]]).as_text();
            assert_eq!(found, support::naive::decode(&out), "{}", out.escape_ascii());
            let id = frame.id.map(lines).unwrap_or_default();
            assert_eq!(found.events, [support::naive::Event { name, data, id }], "{}", out.escape_ascii());
        }
    }
    assert!(read > 80 && refused > 60, "{read} {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_built_of_the_events_is_the_final_response(program in program()) {
        let mut emitter = program.run(Wire::Sse);
        let stream = emitter.take();
        let last: Value = serde_json::from_slice(emitter.final_response().unwrap()).unwrap();
        let options = || ResponseOptions { strict: true, ..ResponseOptions::default() };
        let mut whole = ResponseAccumulator::new(&options());
        // Without the terminal's own output, everything comes from the items; without their done events, too,
        // from the deltas.
        let mut items = ResponseAccumulator::default();
        let mut deltas = ResponseAccumulator::new(&options());
        for (name, mut payload) in events(&stream) {
            whole.feed(payload.to_string().as_bytes(), None).unwrap();
            let ends = ["completed", "incomplete", "failed", "cancelled"];
            if ends.iter().any(|status| payload["response"]["status"] == *status) {
                payload["response"]["output"] = json!([]);
            } else if !name.ends_with("item.done") && !name.ends_with("part.done") {
                deltas.feed(payload.to_string().as_bytes(), None).unwrap();
            }
            items.feed(payload.to_string().as_bytes(), None).unwrap();
        }
        let read = |accumulator: &ResponseAccumulator| -> Value {
            serde_json::from_slice(&accumulator.response().unwrap().snapshot().unwrap().unwrap()).unwrap()
        };
        prop_assert_eq!(&read(&whole), &last);
        prop_assert_eq!(&read(&items), &last);
        let texts = |response: &Value| -> Vec<Value> {
            let items = response["output"].as_array().cloned().unwrap_or_default();
            items.iter().map(|item| json!([
                item["content"].as_array().map(|parts| {
                    parts.iter().map(|part| [part["text"].clone(), part["refusal"].clone()]).collect::<Vec<_>>()
                }),
                item["summary"], item["arguments"], item["input"],
            ])).collect()
        };
        prop_assert_eq!(texts(&read(&deltas)), texts(&last));
    }

    #[test]
    fn both_wires_say_the_same(program in program()) {
        let stream = program.run(Wire::Sse).take();
        let emitter = program.run(Wire::Messages);
        let messages: Vec<Value> =
            emitter.messages().map(|message| serde_json::from_slice(message).unwrap()).collect();
        let found: Vec<Value> = events(&stream).into_iter().map(|(_, payload)| payload).collect();
        prop_assert_eq!(found, messages);
    }
}

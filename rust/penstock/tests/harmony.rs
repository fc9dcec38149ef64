//! The Harmony parser as a Rust program uses it; `tests/test_harmony*.py` hold each rule.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use penstock::{
    EmitterOptions, Error, FinishReason, HarmonyOptions, HarmonyParser, Limits, LintOptions, Linter,
    ResponseAccumulator, ResponseOptions, SpecialToken, Wire, harmony_to_items,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parser() -> HarmonyParser {
    let response = EmitterOptions { wire: Wire::Messages, ..EmitterOptions::new("resp_1", 0, "m") };
    HarmonyParser::new(response, HarmonyOptions::default()).unwrap()
}

/// The final response, after lint and accumulator have seen the stream.
fn checked(parser: &HarmonyParser) -> Value {
    let mut linter = Linter::new(&LintOptions { strict: true, ..LintOptions::default() });
    let mut accumulator = ResponseAccumulator::new(&ResponseOptions::default());
    for payload in parser.emitter().messages() {
        linter.feed(payload, None).unwrap();
        accumulator.feed(payload, None).unwrap();
    }
    assert_eq!(linter.finish(), []);
    let last = accumulator.responses().last().unwrap();
    assert_eq!(parser.emitter().final_response(), Some(last.json()));
    serde_json::from_slice(last.json()).unwrap()
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, reason: Option<FinishReason>) -> Value {
    let mut parser = parser();
    for piece in pieces {
        parser.feed(piece).unwrap();
    }
    parser.finish(reason).unwrap();
    checked(&parser)
}

/// Text as models write it, and as they should not.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let special =
        prop::sample::select(SpecialToken::ALL).prop_map(|token| token.as_str().as_bytes().to_vec());
    let word = prop::sample::select(vec![
        "assistant",
        "user",
        "analysis",
        "commentary",
        "final",
        " to=functions.f",
        " to=python",
        "browser.open",
        " json",
        "Hi",
        "é😀",
        "<|",
        "|>",
        "<|en",
        "\n",
        "{}",
    ])
    .prop_map(|word| word.as_bytes().to_vec());
    let broken = prop::collection::vec(any::<u8>(), 1..3);
    prop::collection::vec(prop_oneof![4 => special, 4 => word, 1 => broken], 0..16)
        .prop_map(|pieces| pieces.concat())
}

fn reason() -> impl Strategy<Value = Option<FinishReason>> {
    use FinishReason::{Cancelled, ContentFilter, Error, Length, Stop, Timeout};
    prop::option::of(prop::sample::select(vec![Stop, Length, ContentFilter, Timeout, Cancelled, Error]))
}

proptest! {
    #[test]
    fn any_split_gives_the_same_response(text in text(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5), reason in reason()) {
        let whole = read([&*text], reason);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        prop_assert_eq!(&whole, &read(places.windows(2).map(|pair| &text[pair[0]..pair[1]]), reason));
        prop_assert_eq!(&whole, &read(text.chunks(1), reason));
        let completes = whole["status"] == "completed";
        prop_assert!(completes || reason != Some(FinishReason::Stop));
        prop_assert!(!completes || matches!(reason, None | Some(FinishReason::Stop)));
    }
}

#[test]
fn what_is_marked_as_text_is_text() {
    let mut parser = parser();
    for token in [SpecialToken::Channel, SpecialToken::Message] {
        parser.feed_special(token).unwrap();
        parser.feed_text(b"final<|end|>").unwrap();
    }
    parser.feed_text("é".as_bytes().split_at(1).0).unwrap();
    parser.feed_text("é".as_bytes().split_at(1).1).unwrap();
    parser.feed_special(SpecialToken::Return).unwrap();
    parser.finish(None).unwrap();
    let last = checked(&parser);
    assert_eq!(last["output"][0]["content"][0]["text"], "final<|end|>é");
    assert_eq!(parser.diagnostics(), [("channel_unknown", 1)]);
}

#[test]
fn an_error_is_repeated_and_ends_the_response_as_failed() {
    let mut response = EmitterOptions { wire: Wire::Messages, ..EmitterOptions::new("resp_1", 0, "m") };
    response.limits = Limits { max_message_bytes: 64, ..Limits::default() };
    let mut parser = HarmonyParser::new(response, HarmonyOptions::default()).unwrap();
    parser.feed(b"<|channel|>final<|message|>Hi").unwrap();
    let refused = parser.feed(&[b'a'; 100]).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }));
    assert_eq!(parser.feed(b""), Err(refused));
    assert!(!parser.is_finished());
    parser.finish(Some(FinishReason::Stop)).unwrap();
    assert!(parser.is_finished());
    assert_eq!(checked(&parser)["status"], "failed");
    parser.fail("late", "late").unwrap();
    parser.cancel().unwrap();
    parser.feed(b"").unwrap_err();
}

#[test]
fn whole_messages_become_the_items_that_their_text_becomes() {
    let text = b"<|channel|>analysis<|message|>a<|end|><|start|>assistant to=functions.f<|channel|>commentary<|message|>{}<|call|>";
    let messages = json!([
        {"role": "assistant", "channel": "analysis", "content": "a"},
        {"role": "user", "content": "b"},
        {"author": {"role": "assistant"}, "channel": "commentary", "recipient": "functions.f",
            "content": [{"type": "text", "text": "{}"}]},
    ])
    .to_string();
    let response = EmitterOptions::new("resp_1", 0, "");
    let items = harmony_to_items(messages.as_bytes(), response, HarmonyOptions::default(), false).unwrap();
    let items: Value = serde_json::from_slice(&items).unwrap();
    assert_eq!(items, read([&text[..]], None)["output"]);
}

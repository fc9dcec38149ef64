//! The transcoders as a Rust program uses them; `tests/test_transcode*.py` hold each rule.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use penstock::{
    ChatToResponsesOptions, Compat, Emitter, EmitterOptions, ItemStatus, Limits, NewItem,
    ResponsesToChatOptions, Terminal, Transcoder, Truncated, echoed,
};
use proptest::prelude::*;

fn to_responses(options: ChatToResponsesOptions) -> Transcoder {
    Transcoder::chat_to_responses(EmitterOptions::new("resp_1", 1, ""), options).unwrap()
}

fn options(compat: bool) -> ChatToResponsesOptions {
    ChatToResponsesOptions { compat: compat.then_some(Compat::OpenAiAgents), ..Default::default() }
}

/// What is written of these chunks; with `reshaped`, none has the bytes of the one before, so that each is read in
/// full.
fn written(chunks: &[String], compat: bool, reshaped: bool) -> (Vec<u8>, Vec<(&'static str, u64)>) {
    let mut transcoder = to_responses(options(compat));
    for (number, chunk) in chunks.iter().enumerate() {
        let space = if reshaped && number % 2 == 0 { " " } else { "" };
        transcoder.feed_event(format!("{space}{chunk}").as_bytes(), None).unwrap();
    }
    transcoder.finish().unwrap();
    (transcoder.take(), transcoder.diagnostics())
}

/// The same of the chunks as an event stream that comes in pieces of so many bytes.
fn streamed(chunks: &[String], compat: bool, size: usize) -> (Vec<u8>, Vec<(&'static str, u64)>) {
    let mut transcoder = to_responses(options(compat));
    let stream: Vec<_> = chunks.iter().flat_map(|chunk| ["data: ", chunk, "\n\n"]).collect();
    for piece in stream.concat().as_bytes().chunks(size) {
        transcoder.feed(piece).unwrap();
    }
    transcoder.finish().unwrap();
    (transcoder.take(), transcoder.diagnostics())
}

fn delta() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["", "a", "\\ud83d", "\\ude00", "\\n\\\"", "é😀", "\u{2028}"]);
    let index = prop::sample::select(vec!["0", "1"]);
    prop_oneof![
        piece.clone().prop_map(|piece| format!(r#""content":"{piece}""#)),
        piece.clone().prop_map(|piece| format!(r#""refusal":"{piece}""#)),
        piece.clone().prop_map(|piece| format!(r#""reasoning":"{piece}""#)),
        piece.clone().prop_map(|piece| format!(r#""reasoning_content":"{piece}""#)),
        piece.clone().prop_map(|piece| format!(r#""content":"","reasoning_content":"{piece}""#)),
        (index.clone(), piece.clone()).prop_map(|(index, piece)| {
            format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":"{piece}"}}}}]"#)
        }),
        (index, any::<bool>()).prop_map(|(index, custom)| {
            let kind = if custom { "custom" } else { "function" };
            format!(r#""tool_calls":[{{"index":{index},"id":"c{index}","type":"{kind}","{kind}":{{"name":"f"}}}}]"#)
        }),
    ]
}

fn chunk() -> impl Strategy<Value = String> {
    let choice = prop::sample::select(vec!["0", "0", "0", "1"]);
    let reason = prop::sample::select(vec!["null", "null", "null", "\"stop\""]);
    let error = prop::sample::select(vec!["", "", "", r#","error":null"#, r#","error":{"message":"m"}"#]);
    (delta(), choice, reason, error).prop_map(|(delta, choice, reason, error)| {
        format!(
            r#"{{"id":"x","choices":[{{"index":{choice},"delta":{{{delta}}},"finish_reason":{reason}{error}}}]}}"#
        )
    })
}

proptest! {
    /// A chunk that repeats the one before is read fast, and says the same.
    #[test]
    fn repeating_chunks_say_what_others_say(
        chunks in prop::collection::vec((chunk(), 1_usize..4), 0..12),
        compat in any::<bool>(),
    ) {
        let chunks: Vec<String> =
            chunks.into_iter().flat_map(|(chunk, times)| std::iter::repeat_n(chunk, times)).collect();
        let expected = written(&chunks, compat, true);
        prop_assert_eq!(&written(&chunks, compat, false), &expected);
        for size in [7, 60, 300, usize::MAX] {
            prop_assert_eq!(&streamed(&chunks, compat, size), &expected);
        }
    }
}

#[test]
fn a_failed_transcoder_still_ends_its_stream() {
    let limits = Limits { max_message_bytes: 25, ..Limits::default() };
    let response = EmitterOptions { limits, ..EmitterOptions::new("resp_1", 1, "") };
    let mut transcoder = Transcoder::chat_to_responses(response, ChatToResponsesOptions::default()).unwrap();
    let chunk = br#"{"choices":[{"index":0,"delta":{"content":"0123456789"}}]}"#;
    transcoder.feed_event(chunk, None).unwrap();
    let error = transcoder.feed_event(chunk, None).unwrap_err();
    assert_eq!(transcoder.failure(), Some(&error));
    assert_eq!(transcoder.feed_event(chunk, None), Err(error));
    transcoder.finish().unwrap();
    assert!(transcoder.is_finished());
    assert!(String::from_utf8(transcoder.take()).unwrap().contains("event: response.failed\n"));
}

#[test]
fn what_was_cut_is_incomplete_where_that_is_asked_for() {
    let options = ChatToResponsesOptions { truncated: Truncated::Incomplete, ..Default::default() };
    let mut transcoder = to_responses(options);
    transcoder.finish().unwrap();
    assert!(String::from_utf8(transcoder.take()).unwrap().contains(r#""reason":"stream_truncated""#));
}

#[test]
fn there_and_back() {
    let mut emitter = Emitter::new(EmitterOptions::new("resp_1", 1, "m")).unwrap();
    emitter.start().unwrap();
    let message = emitter.open_item(NewItem::message()).unwrap();
    emitter.text(message, b"Hi").unwrap();
    emitter.close_item(message, ItemStatus::Completed, b"").unwrap();
    emitter.finish(Terminal::Completed).unwrap();
    let mut to_chat = Transcoder::responses_to_chat(ResponsesToChatOptions::new("chatcmpl-1", 1));
    to_chat.feed(emitter.output()).unwrap();
    let mut back = to_responses(ChatToResponsesOptions::default());
    back.feed(to_chat.output()).unwrap();
    assert!(back.is_finished());
    let stream = String::from_utf8(back.take()).unwrap();
    assert!(stream.contains(r#""model":"m""#) && stream.contains(r#""text":"Hi""#));
    assert!(stream.contains("event: response.completed\n"));
}

#[test]
fn a_response_repeats_what_the_request_says() {
    let request =
        br#"{"model":"m","input":"x","tools":[{"type":"custom"}],"top_p":null,"store":false,"stream":true}"#;
    assert_eq!(echoed(request).unwrap(), br#"{"tools":[{"type":"custom"}],"store":false}"#);
    assert!(echoed(b"[]").is_err());
}

#[test]
fn an_empty_piece_of_reasoning_beside_an_empty_text_ends_the_part_for_openai_agents() {
    let chunk = |piece: &str| {
        format!(r#"{{"choices":[{{"delta":{{"content":"","reasoning_content":"{piece}"}}}}]}}"#)
    };
    for (compat, parts) in [(false, 1), (true, 2)] {
        let mut transcoder = to_responses(options(compat));
        for piece in ["a", "b", "", "c"] {
            transcoder.feed_event(chunk(piece).as_bytes(), None).unwrap();
        }
        let written = String::from_utf8(transcoder.take()).unwrap();
        assert_eq!(written.matches("event: response.reasoning_summary_part.added").count(), parts);
    }
}

#[test]
fn a_final_response_may_hold_nothing() {
    let terminals = [
        r#"{"type":"response.completed"}"#,
        r#"{"type":"response.completed","response":{"output":[]}}"#,
        r#"{"type":"response.output_text.delta","output_index":18446744073709551615,"delta":"a"}"#,
    ];
    for terminal in terminals {
        let mut transcoder = Transcoder::responses_to_chat(ResponsesToChatOptions::new("chatcmpl-1", 1));
        transcoder.feed_event(terminal.as_bytes(), None).unwrap();
        transcoder.feed_event(br#"{"type":"response.completed","response":{"output":[{}]}}"#, None).unwrap();
        transcoder.finish().unwrap();
        assert!(transcoder.take().ends_with(b"data: [DONE]\n\n"), "{terminal}");
    }
}

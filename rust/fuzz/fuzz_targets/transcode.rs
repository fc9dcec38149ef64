//! Any stream through the transcoders, whole and in two pieces: the same bytes, events that the strict accumulators
//! read without complaint, and one terminal at the end.
//!
//! The first byte chooses the direction and the options, the second where the stream is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{
    ChatAccumulator, ChatToResponsesOptions, Compat, DecoderOptions, EmitterOptions, Limits, Messages,
    ReasoningAs, ResponseAccumulator, ResponseOptions, ResponseView, ResponsesToChatOptions, Transcoder,
    Truncated,
};
use penstock_fuzz::{feeding, json};

fuzz_target!(|input: &[u8]| {
    let Some((&[options, cut], stream)) = input.split_first_chunk() else { return };
    let cut = stream.len() * usize::from(cut) / 256;
    let whole = run(options, &[stream]);
    let (first, second) = stream.split_at(cut);
    assert_eq!(run(options, &[first, second]), whole);
    let decoding = DecoderOptions { sentinel: None, ..Default::default() };
    let events = feeding::decode(&decoding, [&whole[..]]).events;
    assert!(!events.is_empty());
    if options & 1 == 0 { responses(&events) } else { chat(&events) }
});

/// What is written of a stream that arrives in these chunks.
fn run(options: u8, chunks: &[&[u8]]) -> Vec<u8> {
    let is = |bit: u8| options >> bit & 1 == 1;
    let mut transcoder = if is(0) {
        let to = ResponsesToChatOptions::new("chatcmpl-1", 1);
        Transcoder::responses_to_chat(ResponsesToChatOptions { include_usage: is(1), strict: is(2), ..to })
    } else {
        let to = ChatToResponsesOptions {
            reasoning: if is(1) { ReasoningAs::Raw } else { ReasoningAs::Summary },
            messages: if is(3) { Messages::One } else { Messages::Many },
            empty_arguments_as_object: is(4),
            truncated: if is(5) { Truncated::Incomplete } else { Truncated::Failed },
            compat: is(6).then_some(Compat::OpenAiAgents),
            strict: is(2),
        };
        Transcoder::chat_to_responses(EmitterOptions::new("resp_1", 1, ""), to).unwrap()
    };
    for chunk in chunks {
        if transcoder.feed(chunk).is_err() {
            break;
        }
    }
    // An error of the last event is told by the end of input as well; the stream ends all the same.
    let _ = transcoder.finish();
    assert!(transcoder.is_finished());
    transcoder.take()
}

fn responses(events: &[feeding::Event]) {
    let mut all = ResponseAccumulator::new(&ResponseOptions::default());
    let (last, others) = events.split_last().unwrap();
    for event in others {
        json::check(&event.data).unwrap();
        all.feed(&event.data, event.name.as_deref()).unwrap();
    }
    let ended = |all: &ResponseAccumulator| all.response().and_then(ResponseView::terminal).is_some();
    assert!(!ended(&all));
    all.feed(&last.data, last.name.as_deref()).unwrap();
    assert!(ended(&all));
    assert!(all.diagnostics().all(is_of_the_source), "{:?}", all.diagnostics().collect::<Vec<_>>());
}

/// Sound is carried over as it came.
fn is_of_the_source((rule, _): (&'static str, u64)) -> bool {
    rule == "bad_audio"
}

fn chat(events: &[feeding::Event]) {
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last.data, b"[DONE]");
    let mut accumulator = ChatAccumulator::new(&Limits::default(), false);
    for event in others {
        json::check(&event.data).unwrap();
        accumulator.feed(&event.data, None).unwrap();
    }
    assert!(accumulator.terminal().is_some());
    let told: Vec<_> = accumulator.diagnostics().filter(|told| !is_of_the_source(*told)).collect();
    assert!(told.is_empty(), "{told:?}");
}

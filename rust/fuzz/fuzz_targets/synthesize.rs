//! Any response as a stream: legal to the linter, and the same response to whoever accumulates it.
//!
//! The first byte chooses options, the second the size of slices. What follows is the response itself if the first
//! byte's highest bit is set, otherwise its items: a byte for the kind and a text up to the next 0xff each.

#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::fuzz_target;
use penstock::{
    DecoderOptions, LintOptions, Linter, ResponseAccumulator, ResponseOptions, SliceUnit, Synthesis,
    SynthesizeOptions, Wire, synthesize,
};
use penstock_fuzz::{feeding, json};
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, slice], rest)) = input.split_first_chunk() else { return };
    let units = [SliceUnit::CodePoints, SliceUnit::Graphemes, SliceUnit::Words];
    let options = SynthesizeOptions {
        slice: NonZeroUsize::MIN.saturating_add(slice.into()),
        unit: units[usize::from(choice & 3) % 3],
        wire: if choice & 4 == 4 { Wire::Sse } else { Wire::Messages },
        bare: choice & 8 == 8,
        ..SynthesizeOptions::default()
    };
    if choice & 128 == 128 {
        let Ok(made) = synthesize(rest, &options) else { return };
        for payload in payloads(&made, options.wire) {
            assert_eq!(json::check(&payload), Ok(()), "{}", payload.escape_ascii());
        }
        return;
    }
    let statuses = ["completed", "incomplete", "failed", "cancelled"];
    let items: Vec<Value> =
        rest.split(|&byte| byte == 0xff).enumerate().filter_map(|(place, text)| item(place, text)).collect();
    let whole = json!({"id": "resp_1", "status": statuses[usize::from(choice >> 4 & 3)], "output": items});
    let made = synthesize(whole.to_string().as_bytes(), &options).unwrap();
    if !options.bare {
        check(&made, &options, &whole);
    }
});

/// An item of the kind that the first byte names, with this text.
fn item(place: usize, text: &[u8]) -> Option<Value> {
    let (&kind, text) = text.split_first()?;
    let text = String::from_utf8_lossy(text);
    let id = format!("item_{place}");
    Some(match kind & 7 {
        0 => json!({"id": id, "type": "message", "content": [{"type": "output_text", "text": text}]}),
        1 => json!({"id": id, "type": "message", "content": [
            {"type": "output_text", "text": text, "annotations": [{"type": "file_citation"}]},
            {"type": "refusal", "refusal": text},
        ]}),
        2 => json!({"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}),
        3 => json!({"id": id, "type": "reasoning", "content": [{"type": "reasoning_text", "text": text}]}),
        // An empty call_id is none: the stream gets one.
        4 => {
            json!({"id": id, "type": "function_call", "call_id": format!("c{text}"), "name": "f", "arguments": text})
        }
        5 => json!({"id": id, "type": "custom_tool_call", "call_id": "c", "name": text, "input": text}),
        6 => json!({"id": id, "type": "code_interpreter_call", "code": text, "outputs": null}),
        _ if text.is_empty() => return None,
        _ => json!({"id": id, "type": text, "status": "completed"}),
    })
}

/// The payload of each event.
fn payloads(made: &Synthesis, wire: Wire) -> Vec<Vec<u8>> {
    let read = |event: &[u8]| match wire {
        Wire::Messages => event.to_vec(),
        Wire::Sse => {
            let [event] = &feeding::decode(&DecoderOptions::default(), [event]).events[..] else {
                panic!("no event, or several: {}", event.escape_ascii())
            };
            event.data.clone()
        }
    };
    made.events().map(read).collect()
}

fn check(made: &Synthesis, options: &SynthesizeOptions, whole: &Value) {
    let mut linter = Linter::new(&LintOptions { strict: true, ..LintOptions::default() });
    let mut accumulator = ResponseAccumulator::new(&ResponseOptions::default());
    for payload in payloads(made, options.wire) {
        assert_eq!(json::check(&payload), Ok(()), "{}", payload.escape_ascii());
        linter.feed(&payload, None).unwrap();
        accumulator.feed(&payload, None).unwrap();
    }
    let found: Vec<String> = linter.finish().iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:#?}\n{whole}");
    let last = accumulator.responses().last().unwrap();
    assert_eq!(&serde_json::from_slice::<Value>(last.json()).unwrap(), whole);
}

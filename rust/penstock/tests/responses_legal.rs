//! Streams that follow every rule, made at random: what is built of them is what they say.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use penstock::{Decoder, DecoderOptions, Frame, ResponseAccumulator, ResponseOptions};
use proptest::prelude::*;
use serde_json::{Value, json};

const CREATED: &str = r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#;

fn text(accumulator: &ResponseAccumulator) -> Option<String> {
    let snapshot = accumulator.response()?.snapshot().unwrap()?;
    Some(String::from_utf8(snapshot.into_owned()).unwrap())
}

/// What the model of a legal stream says, item by item.
#[derive(Debug, Clone)]
enum Item {
    /// The parts: whether it is a refusal, and its deltas.
    Message(Vec<(bool, Vec<String>)>),
    Reasoning(Vec<Vec<String>>),
    Call(Vec<String>),
}

#[derive(Debug, Clone)]
struct Program {
    items: Vec<Item>,
    /// Whether each item's events end with the whole strings, parts and item.
    finished: Vec<bool>,
    /// Which item goes on next.
    order: Vec<prop::sample::Index>,
    cuts: Vec<prop::sample::Index>,
}

fn delta() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,6}", "\\PC{0,4}", Just("\"\\\n\u{1}".to_owned()), Just("\u{1f600}".to_owned())]
}

fn item() -> impl Strategy<Value = Item> {
    let deltas = || prop::collection::vec(delta(), 0..5);
    prop_oneof![
        prop::collection::vec((any::<bool>(), deltas()), 0..4).prop_map(Item::Message),
        prop::collection::vec(deltas(), 0..3).prop_map(Item::Reasoning),
        deltas().prop_map(Item::Call),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    let indices = || prop::collection::vec(any::<prop::sample::Index>(), 0..60);
    (prop::collection::vec((item(), any::<bool>()), 0..6), indices(), indices()).prop_map(
        |(items, order, cuts)| {
            let (items, finished) = items.into_iter().unzip();
            Program { items, finished, order, cuts }
        },
    )
}

impl Item {
    /// The item as it stands after its deltas.
    fn built(&self, index: usize, status: &str) -> Value {
        let id = format!("i{index}");
        match self {
            Self::Message(parts) => {
                let part = |(refusal, deltas): &(bool, Vec<String>)| part(*refusal, &deltas.concat());
                let content: Vec<Value> = parts.iter().map(part).collect();
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Self::Reasoning(parts) => {
                let part = |deltas: &Vec<String>| json!({"type": "summary_text", "text": deltas.concat()});
                let summary: Vec<Value> = parts.iter().map(part).collect();
                json!({"id": id, "type": "reasoning", "summary": summary})
            }
            Self::Call(deltas) => json!({
                "id": id, "type": "function_call", "status": status, "call_id": "c", "name": "f",
                "arguments": deltas.concat(),
            }),
        }
    }

    fn empty(&self) -> Self {
        match self {
            Self::Message(_) => Self::Message(Vec::new()),
            Self::Reasoning(_) => Self::Reasoning(Vec::new()),
            Self::Call(_) => Self::Call(Vec::new()),
        }
    }

    fn events(&self, index: usize, finished: bool) -> Vec<Value> {
        let mut events = Vec::new();
        let mut say = |kind: &str, fields: Value| {
            let mut event = json!({"type": format!("response.{kind}"), "output_index": index});
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            events.push(event);
        };
        say("output_item.added", json!({"item": self.empty().built(index, "in_progress")}));
        match self {
            Self::Message(parts) => {
                for (at, (refusal, deltas)) in parts.iter().enumerate() {
                    let kind = if *refusal { "refusal" } else { "output_text" };
                    say("content_part.added", json!({"content_index": at, "part": part(*refusal, "")}));
                    for delta in deltas {
                        say(&format!("{kind}.delta"), json!({"content_index": at, "delta": delta}));
                    }
                    if finished {
                        let key = if *refusal { "refusal" } else { "text" };
                        let whole = deltas.concat();
                        say(&format!("{kind}.done"), json!({"content_index": at, key: whole}));
                        say(
                            "content_part.done",
                            json!({"content_index": at, "part": part(*refusal, &whole)}),
                        );
                    }
                }
            }
            Self::Reasoning(parts) => {
                for (at, deltas) in parts.iter().enumerate() {
                    let part = json!({"type": "summary_text", "text": ""});
                    say("reasoning_summary_part.added", json!({"summary_index": at, "part": part}));
                    for delta in deltas {
                        say("reasoning_summary_text.delta", json!({"summary_index": at, "delta": delta}));
                    }
                }
            }
            Self::Call(deltas) => {
                for delta in deltas {
                    say("function_call_arguments.delta", json!({"delta": delta}));
                }
                if finished {
                    say("function_call_arguments.done", json!({"arguments": deltas.concat()}));
                }
            }
        }
        if finished {
            say("output_item.done", json!({"item": self.built(index, "completed")}));
        }
        events
    }
}

fn part(refusal: bool, text: &str) -> Value {
    if refusal {
        json!({"type": "refusal", "refusal": text})
    } else {
        json!({"type": "output_text", "text": text, "annotations": []})
    }
}

impl Program {
    /// The events, those of the items interleaved.
    fn events(&self) -> Vec<Value> {
        let mut queues: Vec<_> = self
            .items
            .iter()
            .zip(&self.finished)
            .enumerate()
            .map(|(index, (item, finished))| item.events(index, *finished).into_iter())
            .collect();
        let mut events = vec![serde_json::from_str(CREATED).unwrap()];
        for next in &self.order {
            if !queues.is_empty() {
                let place = next.index(queues.len());
                events.extend(queues[place].next());
            }
        }
        events.extend(queues.into_iter().flatten());
        events
    }

    /// The bytes of the stream, in pieces.
    fn pieces<'a>(&self, stream: &'a [u8]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([stream.len()]) {
            pieces.push(&stream[from..cut]);
            from = cut;
        }
        pieces
    }
}

proptest! {
    #[test]
    fn legal_streams_build_what_they_say(program in program()) {
        let events = program.events();
        let mut accumulator =
            ResponseAccumulator::new(&ResponseOptions { strict: true, ..ResponseOptions::default() });
        let mut stream = Vec::new();
        for event in &events {
            let event = event.to_string();
            accumulator.feed(event.as_bytes(), None).unwrap();
            stream.extend_from_slice(format!("data: {event}\n\n").as_bytes());
        }
        let expected: Vec<Value> = program
            .items
            .iter()
            .zip(&program.finished)
            .enumerate()
            .map(|(at, (item, finished))| item.built(at, if *finished { "completed" } else { "in_progress" }))
            .collect();
        let found = serde_json::from_str::<Value>(&text(&accumulator).unwrap()).unwrap();
        let output = found.get("output").cloned().unwrap_or(json!([]));
        prop_assert_eq!(output, json!(expected));
        prop_assert_eq!(&found["status"], "in_progress");

        // Cut anywhere, the stream builds the same.
        let mut decoder = Decoder::new(DecoderOptions::default());
        let mut cut = ResponseAccumulator::default();
        for piece in program.pieces(&stream) {
            let mut sink = |chunk: &[u8], frame: Frame<'_>| {
                cut.feed(frame.data.bytes(chunk), None).unwrap();
            };
            decoder.feed(piece, &mut sink).unwrap();
        }
        prop_assert_eq!(text(&cut), text(&accumulator));
        prop_assert_eq!(cut.held(), accumulator.held());
    }
}

//! Any stream, any payload: what consumers ask of an event without a tree is what the tree says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::dialect::chat::{ChoiceField, Chunk, ChunkField, DeltaField};
use penstock::event::chat_text;
use penstock::{DecoderOptions, EventType, Field, Fields, Framing};
use penstock_fuzz::{feeding, json};
use serde_json::Value;

fuzz_target!(|stream: &[u8]| {
    for framing in [Framing::Sse, Framing::Ndjson] {
        let options = DecoderOptions { framing, ..Default::default() };
        for event in feeding::decode(&options, [stream]).events {
            look(&event.data);
        }
    }
    look(stream);
});

fn look(payload: &[u8]) {
    let fields = Fields::scan(payload);
    let mut chunk = Chunk::new(64);
    assert_eq!(chunk.scan(payload), fields.as_ref().map(drop).map_err(Clone::clone));
    let Ok(fields) = fields else { return };
    for &field in Field::ALL {
        let _ = fields.text(payload, field).map(json::decoded);
    }
    if let Some(tree) = json::tree(payload) {
        same_fields(payload, &fields, &tree);
        same_chunk(payload, &chunk, &tree);
    }
}

fn same_fields(payload: &[u8], fields: &Fields, tree: &Value) {
    for &field in Field::ALL {
        let value = tree.get(field.as_str());
        assert_eq!(fields.value(payload, field).map(parsed).as_ref(), value, "{field:?}");
        assert_eq!(
            fields.text(payload, field).map(json::decoded).as_deref(),
            value.and_then(Value::as_str),
            "{field:?}"
        );
        assert_eq!(fields.index(payload, field), value.and_then(index), "{field:?}");
    }
    let named = tree.get("type").and_then(Value::as_str);
    assert_eq!(fields.event_type(), named.and_then(|name| EventType::from_bytes(name.as_bytes())));
    let choices = fields.span(Field::Choices).of(payload);
    assert_eq!(chat_text(choices).map(json::decoded).as_deref(), first_content(&tree["choices"]));
}

/// A non-negative integer below 2^63, written without fraction or exponent; -0 is one.
fn index(value: &Value) -> Option<u64> {
    let number: i64 = value.as_number()?.as_str().parse().ok()?;
    number.try_into().ok()
}

/// The content of the last choice that says, or is by its place, number 0.
fn first_content(choices: &Value) -> Option<&str> {
    let mut numbered = choices.as_array()?.iter().enumerate().filter(|(place, choice)| {
        choice.is_object() && choice.get("index").map_or(Some(*place as u64), index) == Some(0)
    });
    numbered.next_back()?.1["delta"].get("content")?.as_str()
}

fn same_chunk(payload: &[u8], chunk: &Chunk, tree: &Value) {
    let value = |span: penstock::Span| (!span.is_empty()).then(|| parsed(span.of(payload)));
    for &field in ChunkField::ALL {
        assert_eq!(value(chunk.field(field)).as_ref(), tree.get(field.as_str()), "{field:?}");
    }
    if chunk.odd_choices || chunk.crowded {
        return;
    }
    let choices = tree.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    assert_eq!(chunk.choices.len(), choices.len());
    for (choice, tree) in chunk.choices.iter().zip(choices) {
        for &field in ChoiceField::ALL {
            assert_eq!(value(choice.field(field)).as_ref(), tree.get(field.as_str()), "{field:?}");
        }
        for &field in DeltaField::ALL {
            assert_eq!(value(choice.delta(field)).as_ref(), tree["delta"].get(field.as_str()), "{field:?}");
        }
    }
}

fn parsed(text: &[u8]) -> Value {
    json::tree(text).expect("part of a text that was read whole")
}

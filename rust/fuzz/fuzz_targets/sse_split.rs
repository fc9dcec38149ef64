//! Any bytes under any options and limits: events, state and error do not depend on how the input was cut, nor on
//! whether events are recognised by their shape.
//!
//! Input: one byte of options, one for the limits, one that says how many lengths of pieces follow, the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{DecoderOptions, EndOfInput, Framing, Limit, Limits, Malformed};
use penstock_fuzz::feeding::{decode, pieces, recognise};

fuzz_target!(|input: &[u8]| {
    let Some((&[options, limit, count], rest)) = input.split_first_chunk() else { return };
    let (lengths, stream) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let options = decoder_options(options, limit);
    let whole = decode(&options, [stream]);
    assert_eq!(decode(&options, stream.chunks(1)), whole, "byte by byte: {}", stream.escape_ascii());
    assert_eq!(decode(&options, pieces(stream, lengths)), whole, "{lengths:?}: {}", stream.escape_ascii());
    assert_eq!(recognise(&options, pieces(stream, lengths)), whole, "{lengths:?}: {}", stream.escape_ascii());
    assert_eq!(recognise(&options, [stream]), whole, "{}", stream.escape_ascii());
    for event in &whole.events {
        assert!(event.id.len() as u64 <= options.limits.max_id_bytes);
        assert!(event.data.len() as u64 <= options.limits.max_event_bytes);
    }
});

/// Three bits of `limit` choose which limit is low, the others how low.
fn decoder_options(bits: u8, limit: u8) -> DecoderOptions {
    let on = |bit: u8| bits >> bit & 1 == 1;
    let mut limits = Limits::default();
    let low = [Limit::LineBytes, Limit::EventBytes, Limit::IdleBytes, Limit::IdBytes, Limit::EventNameBytes];
    if let Some(&low) = low.get(usize::from(limit & 7)) {
        limits.set(low, u64::from(limit >> 3));
    }
    DecoderOptions {
        framing: if on(0) { Framing::Ndjson } else { Framing::Sse },
        end_of_input: if on(1) { EndOfInput::Flush } else { EndOfInput::Spec },
        malformed: if on(2) { Malformed::Refuse } else { Malformed::Replace },
        sentinel: on(3).then(|| b"[DONE]".as_slice().into()),
        skip_empty: on(4),
        limits,
    }
}

//! A relay passes what it is given, whatever the split, and ends what was cut so that the linter finds nothing; merged
//! deltas add up to what their stream says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "only the streams are needed here")]
mod program;

use penstock::{
    Coalescer, Decoder, DecoderOptions, Finding, Frame, LintOptions, Linter, Relay, RelayOptions,
    ResponseAccumulator, Wire,
};
use program::program;
use proptest::prelude::*;

/// The payloads of a stream with the names of their frames.
fn events(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut events = Vec::new();
    let mut sink = |chunk: &[u8], frame: Frame<'_>| {
        let name = frame.name.as_ref().map(|name| name.bytes(chunk)).unwrap_or_default();
        events.push((name.to_vec(), frame.data.bytes(chunk).to_vec()));
    };
    let mut decoder = Decoder::new(DecoderOptions::default());
    decoder.feed(stream, &mut sink).unwrap();
    decoder.finish(&mut sink).unwrap();
    events
}

fn lint(stream: &[u8]) -> Vec<Finding> {
    let mut linter = Linter::new(&LintOptions::default());
    for (name, payload) in events(stream) {
        linter.feed(&payload, Some(&name)).unwrap();
    }
    linter.finish()
}

fn is_end(payload: &[u8]) -> bool {
    let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
    let ends = ["completed", "incomplete", "failed", "cancelled"];
    payload["type"] == "error" || ends.iter().any(|end| payload["type"] == format!("response.{end}"))
}

fn pass(relay: &mut Relay, chunks: &[&[u8]]) -> Vec<u8> {
    let mut passed = Vec::new();
    for chunk in chunks {
        passed.extend_from_slice(&relay.feed(chunk).unwrap());
    }
    passed.extend_from_slice(&relay.finish().unwrap());
    passed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_split_passes_untouched(program in program(), size in 1_usize..200) {
        let stream = program.run(Wire::Sse).take();
        let chunks: Vec<_> = stream.chunks(size).collect();
        let mut relay = Relay::new(&RelayOptions::default());
        prop_assert!(!relay.is_done());
        prop_assert_eq!(pass(&mut relay, &chunks), &stream[..]);
        prop_assert!(relay.has_ended() && relay.is_done());
    }

    #[test]
    fn any_cut_has_one_lawful_end(program in program(), at in 0.0..1.0_f64) {
        let stream = program.run(Wire::Sse).take();
        #[allow(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the stream")]
        let cut = &stream[..(stream.len() as f64 * at) as usize];
        let mut relay = Relay::new(&RelayOptions::default());
        let passed = pass(&mut relay, &[cut]);
        prop_assert_eq!(lint(&passed), vec![]);
        let ends: Vec<_> = events(&passed).iter().map(|(_, payload)| is_end(payload)).collect();
        // An error event may stand before the failure it tells of.
        prop_assert!((1..=2).contains(&ends.iter().filter(|end| **end).count()));
        prop_assert_eq!(ends.last(), Some(&true));
    }

    #[test]
    fn merged_deltas_say_the_same(program in program()) {
        let stream = program.run(Wire::Sse).take();
        let (mut whole, mut merged) = (ResponseAccumulator::default(), ResponseAccumulator::default());
        let mut coalescer = Coalescer::default();
        let mut linter = Linter::new(&LintOptions::default());
        let mut emit = |payload: &[u8]| {
            merged.feed(payload, None).unwrap();
            linter.feed(payload, None).unwrap();
        };
        for (_, payload) in events(&stream) {
            whole.feed(&payload, None).unwrap();
            coalescer.push(&payload, &mut emit);
        }
        coalescer.finish(&mut emit);
        let read = |accumulator: &ResponseAccumulator| {
            accumulator.response().unwrap().snapshot().unwrap().unwrap().into_owned()
        };
        prop_assert_eq!(read(&merged), read(&whole));
        prop_assert_eq!(linter.finish(), vec![]);
    }
}

//! Any stream into the accumulators: no panic, no object that is not JSON, no more memory than was sent, no terminal
//! out of nothing, and the quick path for chunks that repeat says what the slow one says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{ChatAccumulator, DecoderOptions, Limits};
use penstock_fuzz::{feeding, json};

fuzz_target!(|stream: &[u8]| {
    let options = DecoderOptions { sentinel: None, ..Default::default() };
    let events = feeding::decode(&options, [stream]).events;
    chat(&events);
});

fn chat(events: &[feeding::Event]) {
    let limits = Limits::default();
    let mut lenient = ChatAccumulator::new(&limits, false);
    let mut spaced = ChatAccumulator::new(&limits, false);
    let mut strict = ChatAccumulator::new(&limits, true);
    for (number, event) in events.iter().enumerate() {
        if event.data == b"[DONE]" {
            lenient.done();
            spaced.done();
            strict.done();
            continue;
        }
        let name = event.name.as_deref();
        let payload = [if number % 2 == 0 { &b" "[..] } else { b"" }, &event.data].concat();
        assert_eq!(lenient.feed(&event.data, name).is_ok(), spaced.feed(&payload, name).is_ok());
        let _ = strict.feed(&event.data, name);
    }
    let before = lenient.terminal();
    lenient.finish();
    spaced.finish();
    strict.finish();
    assert_eq!(lenient.terminal(), before);
    assert_eq!(lenient.snapshot(), spaced.snapshot());
    assert_eq!(lenient.terminal(), spaced.terminal());
    assert!(lenient.diagnostics().eq(spaced.diagnostics()));
    if strict.failure().is_none() {
        assert_eq!(lenient.snapshot(), strict.snapshot());
    }
    let sent: usize = events.iter().map(|event| event.data.len()).sum();
    for snapshot in lenient.snapshot().iter().chain(lenient.completed()) {
        assert_eq!(json::check(snapshot), Ok(()), "{}", snapshot.escape_ascii());
        assert!(snapshot.len() <= 512 + 128 * sent, "{} bytes of {sent}", snapshot.len());
    }
    for value in lenient.usage().iter().chain(&lenient.error()) {
        assert_eq!(json::check(value), Ok(()), "{}", value.escape_ascii());
    }
    for call in lenient.calls() {
        assert!(call.arguments.starts_with(call.stable_arguments));
        assert!(
            !call.complete || call.custom || call.arguments.is_empty() || json::check(call.arguments).is_ok()
        );
    }
}

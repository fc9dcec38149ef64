//! Any stream into the accumulators: no panic, no object that is not JSON, no more memory than was sent, no terminal
//! out of nothing, and what is learned from one event changes nothing of the next.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{
    ChatAccumulator, DecoderOptions, Limits, ResponseAccumulator, ResponseOptions, ResponseTerminal,
    ResponseView,
};
use penstock_fuzz::{feeding, json};

fuzz_target!(|stream: &[u8]| {
    let options = DecoderOptions { sentinel: None, ..Default::default() };
    let events = feeding::decode(&options, [stream]).events;
    chat(&events);
    responses(&events);
});

/// The payload, its shape another one in every second event.
fn reshaped(number: usize, payload: &[u8]) -> Vec<u8> {
    [if number.is_multiple_of(2) { &b" "[..] } else { b"" }, payload].concat()
}

/// Holds an object to JSON, and its size to what was sent: nothing multiplies.
fn sound(json: &[u8], sent: usize) {
    assert_eq!(json::check(json), Ok(()), "{}", json.escape_ascii());
    assert!(json.len() <= 512 + 128 * sent, "{} bytes of {sent}", json.len());
}

fn total(events: &[feeding::Event]) -> usize {
    events.iter().map(|event| event.data.len()).sum()
}

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
        let reshaped = spaced.feed(&reshaped(number, &event.data), name);
        assert_eq!(lenient.feed(&event.data, name).is_ok(), reshaped.is_ok());
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
    for snapshot in lenient.snapshot().iter().chain(lenient.completed()) {
        sound(snapshot, total(events));
    }
    for value in lenient.usage().iter().chain(&lenient.error()) {
        assert_eq!(json::check(value), Ok(()), "{}", value.escape_ascii());
    }
    for call in lenient.calls() {
        assert!(call.arguments.starts_with(call.stable_arguments));
        assert!(
            !call.is_complete()
                || call.custom
                || call.arguments.is_empty()
                || json::check(call.arguments).is_ok()
        );
    }
}

fn responses(events: &[feeding::Event]) {
    let mut lenient = ResponseAccumulator::default();
    let mut spaced = ResponseAccumulator::default();
    let mut strict = ResponseAccumulator::new(&ResponseOptions { strict: true, ..Default::default() });
    let mut refused = false;
    for (number, event) in events.iter().enumerate() {
        let name = event.name.as_deref();
        let fed = lenient.feed(&event.data, name).ok();
        assert_eq!(fed, spaced.feed(&reshaped(number, &event.data), name).ok());
        refused |= strict.feed(&event.data, name).is_err();
        if lenient.response().is_some_and(|view| view.terminal() == Some(ResponseTerminal::Completed)) {
            assert!(events.iter().any(says_completed), "completed out of nothing");
        }
    }
    for accumulator in [&mut lenient, &mut spaced, &mut strict] {
        let _ = accumulator.finish();
    }
    assert!(lenient.diagnostics().eq(spaced.diagnostics()));
    let lanes: Vec<_> = lenient.lanes().collect();
    for lane in lanes {
        let told = lenient.lane(lane).map(|view| tell(view, total(events)));
        assert_eq!(told, spaced.lane(lane).map(|view| tell(view, total(events))));
        if !refused {
            assert_eq!(told, strict.lane(lane).map(|view| tell(view, total(events))));
        }
    }
    for last in lenient.responses() {
        sound(last.json(), total(events));
    }
}

/// Whether an event may be one that completes a response: its type, perhaps with escapes, or its name.
fn says_completed(event: &feeding::Event) -> bool {
    let holds = |bytes: &[u8]| bytes.windows(8).any(|part| part == b"complete") || bytes.contains(&b'\\');
    holds(&event.data) || event.name.as_deref().is_some_and(holds)
}

/// All that can be asked of a response, in words.
fn tell(view: ResponseView<'_>, sent: usize) -> String {
    let snapshot = view.snapshot();
    if let Ok(Some(snapshot)) = &snapshot {
        sound(snapshot, sent);
    }
    let calls = view.function_calls();
    for call in calls.iter().flatten() {
        let found =
            view.arguments(call.output_index).ok().flatten().map(|arguments| arguments.text.into_owned());
        assert!(found.is_some(), "a call without arguments: {call:?}");
    }
    // A preview is the event as it came, the space before it included.
    let images: Vec<_> =
        view.images().map(|(index, event)| (index, event.trim_ascii().escape_ascii().to_string())).collect();
    let snapshot = snapshot.map(|json| json.map(|json| String::from_utf8_lossy(&json).into_owned()));
    let texts = (snapshot, view.output_text(), view.transcript(), view.audio().map(<[u8]>::to_vec));
    let facts = (view.status(), view.terminal(), view.usage(), view.error(), view.is_truncated());
    format!("{texts:?} {facts:?} {calls:?} {images:?}")
}

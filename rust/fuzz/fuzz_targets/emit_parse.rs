//! Any calls of the emitter, with any text: what is refused changes nothing, what is written is read back as it was
//! meant, legal to the linter and the same to the accumulator. Then the frame writer with any fields.
//!
//! The first byte chooses options. Each call is a byte, the item in its upper bits, and a text up to the next 0xff.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{
    DecoderOptions, Emitter, EmitterOptions, Error, EventType, ItemKind, ItemStatus, LintOptions, Linter,
    NewItem, PartKind, ResponseAccumulator, ResponseOptions, Rule, SseFrame, Terminal, write_sse,
};
use penstock_fuzz::{feeding, json, naive};

fuzz_target!(|input: &[u8]| {
    let Some((&options, calls)) = input.split_first() else { return };
    emit(options, calls);
    frame(options, calls);
});

fn emit(options: u8, calls: &[u8]) {
    let mut emitter = Emitter::new(EmitterOptions {
        escape_separators: options & 1 == 1,
        padding: (options & 2 == 2).then_some((64, 1)),
        ..EmitterOptions::new("resp_1", 0, "m")
    })
    .unwrap();
    if options & 4 == 4 {
        emitter.queue().unwrap();
    }
    emitter.start().unwrap();
    for call in calls.split(|&byte| byte == 0xff) {
        let Some((&op, text)) = call.split_first() else { continue };
        let before = (emitter.output().len(), emitter.items(), emitter.sequence_number());
        if apply(&mut emitter, op & 15, usize::from(op >> 4), text).is_err() {
            assert_eq!((emitter.output().len(), emitter.items(), emitter.sequence_number()), before);
        }
    }
    if !emitter.is_finished() {
        let failed = br#"{"code":"server_error","message":"x"}"#;
        emitter.finish(Terminal::Failed { error: failed }).unwrap();
    }
    check(&mut emitter, options & 1 == 1);
}

fn apply(e: &mut Emitter, op: u8, item: usize, text: &[u8]) -> Result<(), Error> {
    match op {
        0 => e.open_item(NewItem::message()).map(drop),
        1 => e.open_item(NewItem::reasoning().with_members(text)).map(drop),
        2 => e.open_item(NewItem::function_call(None, &String::from_utf8_lossy(text))).map(drop),
        3 => e.open_item(NewItem { members: text, ..NewItem::new(ItemKind::Other) }).map(drop),
        4 => e.item_whole(text).map(drop),
        5 => e.text(item, text),
        6 => e.text_with_logprobs(item, b"x", text),
        7 => e.refusal(item, text),
        8 => e.reasoning_text(item, text),
        9 => e.reasoning_summary(item, text),
        10 => e.arguments(item, text),
        11 => e.annotation(item, text),
        12 => match EventType::from_bytes(text) {
            Some(event) => e.status(item, event, b""),
            None => e.open_part(item, PartKind::SummaryText).map(drop),
        },
        13 => e.close_item(item, ItemStatus::Completed, text),
        14 => e.members(text),
        _ if text.is_empty() => e.finish(Terminal::Completed),
        _ => e.error(text),
    }
}

/// Holds what was written to the decoder, the naive decoder, the linter and the accumulator.
fn check(emitter: &mut Emitter, escaped: bool) {
    let stream = emitter.take();
    let events = feeding::decode(&DecoderOptions::default(), [&stream[..]]).events;
    assert_eq!(events.len() as u64, emitter.sequence_number());
    assert_eq!(naive::decode(&stream).events.len(), events.len());
    let ignore = vec![Rule::ItemsOverlap];
    let mut linter = Linter::new(&LintOptions { strict: true, ignore, ..Default::default() });
    let mut accumulator = ResponseAccumulator::new(&ResponseOptions::default());
    for event in &events {
        assert_eq!(json::check(&event.data), Ok(()), "{}", event.data.escape_ascii());
        linter.feed(&event.data, event.name.as_deref()).unwrap();
        accumulator.feed(&event.data, None).unwrap();
    }
    let found: Vec<String> = linter.finish().iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:#?}\n{}", stream.escape_ascii());
    let built = accumulator.response().unwrap().snapshot().unwrap().unwrap().into_owned();
    let mut last = String::from_utf8(emitter.final_response().unwrap().to_vec()).unwrap();
    if escaped {
        for (character, escape) in [("\u{85}", "\\u0085"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")] {
            last = last.replace(character, escape);
        }
    }
    assert_eq!(String::from_utf8(built).unwrap(), last);
}

/// One frame of any fields is one event with these fields, or refused.
fn frame(options: u8, fields: &[u8]) {
    let mut parts = fields.split(|&byte| byte == 0xff);
    let mut next = |bit: u8| parts.next().filter(|_| options >> bit & 1 == 1);
    let frame = SseFrame { comment: next(0), name: next(1), id: next(2), data: next(3), retry: None };
    let mut out = Vec::new();
    if write_sse(&frame, &mut out).is_err() {
        return assert!(out.is_empty());
    }
    let options = DecoderOptions { sentinel: None, ..Default::default() };
    let found = feeding::decode(&options, [&out[..]]).as_text();
    assert_eq!(found.events, naive::decode(&out).events);
    let lines = |text: &[u8]| String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(found.events.len(), usize::from(frame.data.is_some()));
    for event in &found.events {
        assert_eq!(event.name, frame.name.map(lines).unwrap_or_default());
        assert_eq!(event.data, frame.data.map(lines).unwrap_or_default());
        assert_eq!(event.id, frame.id.map(lines).unwrap_or_default());
    }
}

//! Any text through the Harmony parser, whole and in two pieces: a legal stream with one terminal event, which says
//! the same wherever the text is cut.
//!
//! The first byte chooses the options and why the engine stopped, the second where the text is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{
    EmitterOptions, FinishReason, HarmonyOptions, HarmonyParser, LintOptions, Linter, ReasoningAs,
    ResponseAccumulator, ResponseOptions, SpecialToken, Truncated, Wire,
};

const REASONS: [Option<FinishReason>; 8] = [
    None,
    Some(FinishReason::Stop),
    Some(FinishReason::Length),
    Some(FinishReason::ContentFilter),
    Some(FinishReason::Timeout),
    Some(FinishReason::Cancelled),
    Some(FinishReason::Error),
    None,
];

fuzz_target!(|input: &[u8]| {
    let Some((&[options, cut], text)) = input.split_first_chunk() else { return };
    let cut = text.len() * usize::from(cut) / 256;
    let (first, second) = text.split_at(cut);
    let whole = run(options, |parser| parser.feed(text));
    let halves = run(options, |parser| parser.feed(first).and_then(|()| parser.feed(second)));
    assert_eq!(whole, halves);
    let bytes = run(options, |parser| text.chunks(1).try_for_each(|byte| parser.feed(byte)));
    assert_eq!(whole, bytes);
    // Special tokens that come as such, among text that is text.
    run(options, |parser| {
        text.chunks(7).try_for_each(|piece| match piece {
            [token, rest @ ..] if usize::from(*token) < SpecialToken::ALL.len() => {
                parser.feed_special(SpecialToken::ALL[usize::from(*token)])?;
                parser.feed_text(rest)
            }
            piece => parser.feed_text(piece),
        })
    });
});

/// The final response of what `feed` feeds, after lint and accumulator have seen the stream.
fn run(options: u8, feed: impl Fn(&mut HarmonyParser) -> Result<(), penstock::Error>) -> String {
    let is = |bit: u8| options >> bit & 1 == 1;
    let response = EmitterOptions { wire: Wire::Messages, ..EmitterOptions::new("resp_1", 0, "m") };
    let parsing = HarmonyOptions {
        reasoning: if is(3) { ReasoningAs::Summary } else { ReasoningAs::Raw },
        custom_tools: if is(4) { vec!["f".to_owned()] } else { Vec::new() },
        truncated: if is(5) { Truncated::Incomplete } else { Truncated::Failed },
        strict: is(6),
        ..HarmonyOptions::default()
    };
    let mut parser = HarmonyParser::new(response, parsing).unwrap();
    let refused = feed(&mut parser).is_err();
    let finished = parser.finish(REASONS[usize::from(options & 7)]);
    assert!(is(6) || !(refused || finished.is_err()));
    assert!(parser.is_finished());

    let mut linter = Linter::new(&LintOptions { strict: true, ..LintOptions::default() });
    let mut accumulator = ResponseAccumulator::new(&ResponseOptions::default());
    for payload in parser.emitter().messages() {
        linter.feed(payload, None).unwrap();
        accumulator.feed(payload, None).unwrap();
    }
    assert_eq!(linter.finish(), []);
    let last = accumulator.responses().last().unwrap();
    assert_eq!(parser.emitter().final_response(), Some(last.json()));
    String::from_utf8(last.json().to_vec()).unwrap()
}

//! Any bytes through the relay: what comes out is what went in, in whole frames, the same in any split, and bounded.
//!
//! The first byte chooses the dialect and whether the end is held back, the second where the stream is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{DecoderOptions, Error, Relay, RelayDialect, RelayOptions};
use penstock_fuzz::feeding;

/// What a stream that failed may add to its input: what had come is told again by the events that end it, each time
/// escaped at most sixfold.
const MOST_TOLD_AGAIN: usize = 6 * 6;

/// Of the events that say nothing but that it is over.
const ENVELOPE: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, cut], stream)) = input.split_first_chunk() else { return };
    let dialects =
        [RelayDialect::Responses, RelayDialect::Chat, RelayDialect::Messages, RelayDialect::Framing];
    let options = RelayOptions {
        dialect: dialects.get(usize::from(choice & 7)).copied(),
        hold: choice & 8 == 8,
        ..RelayOptions::default()
    };
    let (mut relay, passed) = through(&options, stream, stream.len().max(1));
    let (mut again, same) = through(&options, stream, usize::from(cut).max(1));
    assert_eq!(passed, same, "the split decides");
    let Ok(passed) = passed else { return };
    assert!(stream.starts_with(&passed), "other bytes than came");
    assert_whole(&passed);

    let words = ("gone", "it is \"gone\"\n");
    let held = relay.is_held();
    let rest = if choice & 16 == 16 { relay.fail(words.0, words.1) } else { relay.finish() };
    let rest_again = if choice & 16 == 16 { again.fail(words.0, words.1) } else { again.finish() };
    assert_eq!(rest, rest_again, "the split decides how it ends");
    let Ok(rest) = rest else { return };
    assert!(rest.len() <= MOST_TOLD_AGAIN * stream.len() + ENVELOPE, "{} bytes of an end", rest.len());
    if relay.is_held() {
        assert!(held || choice & 16 == 0);
        relay.release(b"{\"cost\":1}").unwrap();
        // What is held back puts the end of the input off.
        let _ = relay.finish();
    }
    assert_eq!(relay.finish(), Ok(Vec::new()), "it ends twice");
    assert_eq!(relay.fail(words.0, words.1), Ok(Vec::new()), "it ends twice");
});

/// A relay that was fed pieces of this size, and all that came out of it.
fn through(options: &RelayOptions, stream: &[u8], size: usize) -> (Relay, Result<Vec<u8>, Error>) {
    let (mut relay, mut out) = (Relay::new(options), Vec::new());
    for piece in stream.chunks(size) {
        match relay.feed(piece) {
            Ok(passed) => out.extend_from_slice(&passed),
            Err(error) => return (relay, Err(error)),
        }
    }
    (relay, Ok(out))
}

/// What is appended to whole frames is an event of its own.
fn assert_whole(frames: &[u8]) {
    let options = DecoderOptions { sentinel: None, ..DecoderOptions::default() };
    let before = feeding::decode(&options, [frames]);
    let after = feeding::decode(&options, [frames, b"data: {}\n\n"]);
    if before.error.is_none() {
        assert_eq!(after.events.len(), before.events.len() + 1, "{}", frames.escape_ascii());
        assert_eq!(after.events.last().map(|event| &event.data[..]), Some(&b"{}"[..]));
    }
}

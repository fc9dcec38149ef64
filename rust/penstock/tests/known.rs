//! A sink that takes the events it recognises gets what it would have got from frames: the same events, ids, counts
//! and errors, however the stream is cut and whatever stands between those events.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use penstock::{
    Decoder, DecoderOptions, EndOfInput, Error, EventType, Fields, Frame, Head, Limit, Limits, Malformed,
    Miss, Scanner, Sink, Span,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// An event as a sink sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    data: Vec<u8>,
    name: Vec<u8>,
    id: Vec<u8>,
    flushed: bool,
    head: Head,
    text: Option<Vec<u8>>,
}

/// Without what only a shape knows.
fn bare(head: Head) -> Head {
    Head { text: Span::default(), unread: false, plain: false, ..head }
}

fn text(head: Head, payload: &[u8]) -> Option<Vec<u8>> {
    head.text(payload).map(|text| text.raw.to_vec())
}

/// Takes frames, and with a scanner also what that recognises.
#[derive(Default)]
struct Collect {
    scanner: Option<Scanner>,
    id: Vec<u8>,
    seen: Vec<Seen>,
    known: usize,
    /// Of these, those that a chunk had ended in.
    rejoined: usize,
}

impl Sink for Collect {
    fn frame(&mut self, chunk: &[u8], frame: Frame<'_>) {
        if frame.id_changed {
            self.id = frame.id.to_vec();
        }
        let data = frame.data.bytes(chunk).to_vec();
        let name = frame.name.as_ref().map(|name| name.bytes(chunk).to_vec()).unwrap_or_default();
        let head = match &mut self.scanner {
            Some(scanner) => {
                scanner.set_name(&name);
                scanner.head(&data)
            }
            None => Fields::scan(&data).map(|fields| Head::of(&fields)).unwrap_or_default(),
        };
        let text = text(head, &data);
        let id = self.id.clone();
        self.seen.push(Seen { data, name, id, flushed: frame.flushed, head: bare(head), text });
    }

    fn known(&mut self, text: &[u8], at: usize, carried: bool) -> Result<usize, Miss> {
        let (known, head) = self.scanner.as_mut().ok_or(Miss::Different)?.known_head(text, at)?;
        self.rejoined += usize::from(carried);
        let data = known.data.moved(at).of(text).to_vec();
        let name = known.name.moved(at).of(text).to_vec();
        let text = self::text(head, &data);
        self.seen.push(Seen { data, name, id: self.id.clone(), flushed: false, head: bare(head), text });
        self.known += 1;
        Ok(at + known.length)
    }
}

/// Everything a stream gives: events, counts, the error, and how many events were recognised, also of those that a
/// chunk ended in.
fn decode(
    options: &DecoderOptions,
    stream: &[u8],
    cuts: &[usize],
    scanner: Option<Scanner>,
) -> (Vec<Seen>, u64, Option<Error>, [usize; 2]) {
    let mut decoder = Decoder::new(options.clone());
    let mut sink = Collect { scanner, ..Collect::default() };
    let mut rest = stream;
    let mut result = Ok(());
    for &cut in cuts {
        let (chunk, tail) = rest.split_at(cut.min(rest.len()));
        rest = tail;
        result = result.and_then(|()| decoder.feed(chunk, &mut sink));
    }
    result = result.and_then(|()| decoder.feed(rest, &mut sink)).and_then(|()| decoder.finish(&mut sink));
    (sink.seen, decoder.counts().events, result.err(), [sink.known, sink.rejoined])
}

/// A delta event; the numbers choose what varies.
fn delta(kind: u8, item: u8, number: u32, text: &str) -> Vec<u8> {
    let name = ["response.output_text.delta", "response.refusal.delta", "x.delta"][usize::from(kind) % 3];
    let line = if kind < 6 { format!("event: {name}\n") } else { String::new() };
    format!(
        "{line}data: {{\"type\":\"{name}\",\"sequence_number\":{number},\"item_id\":\"msg_{item}\",\
         \"output_index\":{item},\"delta\":\"{text}\",\"logprobs\":[]}}\n\n"
    )
    .into_bytes()
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    const ODD: &[&[u8]] = &[
        b": ping\n\n",
        b"id: 7\n\n",
        b"id: 8\n",
        b"event: other\n",
        b"data: [DONE]\n\n",
        b"data: {\"type\":\"error\",\"delta\":1}\n\n",
        b"data: {\"type\":\"response.output_text.delta\",\"delta\":\"no\n\n",
        b"retry: 5\r\n\r\n",
        b"\n",
        b"\r",
        b"data: x\n",
    ];
    let texts =
        select(vec!["", "a", "Hello", "\\n", "\u{e9}", "\\ud83d", "a longer piece of text, all plain"]);
    prop_oneof![
        6 => (0..9_u8, 0..2_u8, 0..2000_u32, texts).prop_map(|(kind, item, number, text)| {
            (1..4).flat_map(|more| delta(kind, item, number + more, text)).collect()
        }),
        1 => select(ODD).prop_map(<[u8]>::to_vec),
    ]
}

fn options() -> impl Strategy<Value = DecoderOptions> {
    const LOW: &[Limit] = &[Limit::LineBytes, Limit::EventBytes, Limit::IdleBytes, Limit::EventNameBytes];
    let low = prop::option::weighted(0.3, (select(LOW), select(vec![20_u64, 100, 200, 1000, 2047, 2100])));
    (low, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(low, flush, refuse)| {
        let mut limits = Limits::default();
        if let Some((limit, value)) = low {
            limits.set(limit, value);
        }
        DecoderOptions {
            end_of_input: if flush { EndOfInput::Flush } else { EndOfInput::Spec },
            malformed: if refuse { Malformed::Refuse } else { Malformed::Replace },
            limits,
            ..DecoderOptions::default()
        }
    })
}

proptest! {
    #[test]
    fn known_events_are_frames(
        pieces in vec(piece(), 1..12),
        cuts in vec(1..400_usize, 0..12),
        options in options(),
    ) {
        let stream = pieces.concat();
        let (seen, events, error, _) = decode(&options, &stream, &cuts, None);
        let (found, counted, failure, _) = decode(&options, &stream, &cuts, Some(Scanner::default()));
        prop_assert_eq!(found, seen);
        prop_assert_eq!(counted, events);
        prop_assert_eq!(failure, error);
    }
}

#[test]
fn most_events_of_a_plain_stream_are_recognised() {
    let stream: Vec<u8> = (0..100).flat_map(|number| delta(0, 1, number, "a piece")).collect();
    let (seen, events, error, [known, _]) =
        decode(&DecoderOptions::default(), &stream, &[], Some(Scanner::default()));
    assert_eq!((seen.len(), events, error), (100, 100, None));
    assert!(known >= 96, "{known}");
    assert!(seen.iter().all(|seen| seen.head.event_type == Some(EventType::OutputTextDelta)));
}

#[test]
fn a_sentinel_that_looks_like_an_event_ends_the_stream() {
    let frame = delta(0, 1, 5, "end");
    let payload = &frame[frame.iter().position(|&byte| byte == b'{').expect("it has one")..frame.len() - 2];
    let options = DecoderOptions { sentinel: Some(payload.into()), ..DecoderOptions::default() };
    let stream: Vec<u8> = (0..9).flat_map(|number| delta(0, 1, number, "end")).collect();
    let (seen, ..) = decode(&options, &stream, &[], Some(Scanner::default()));
    assert_eq!(seen.len(), 5);
}

#[test]
fn wherever_a_chunk_ends_the_event_is_the_same() {
    let two: Vec<u8> = (0..2).flat_map(|number| delta(0, 1, number, "a \\\"piece\\\" \u{e9}")).collect();
    let event = delta(0, 1, 12, "another \\u00e9");
    let after = delta(0, 1, 345, "");
    for cut in 1..event.len() {
        for next in [event.len() - cut, 1, 7, event.len() - cut + 3] {
            let stream = [&two[..], &event, &after].concat();
            let cuts = [two.len() + cut, next];
            let (seen, events, error, _) = decode(&DecoderOptions::default(), &stream, &cuts, None);
            let (found, counted, failure, [_, rejoined]) =
                decode(&DecoderOptions::default(), &stream, &cuts, Some(Scanner::default()));
            assert_eq!((found, counted, failure), (seen, events, error), "{cut} {next}");
            let whole = cut + next >= event.len();
            assert!(rejoined >= usize::from(whole), "{cut} {next}");
        }
    }
}

#[test]
fn what_was_cut_and_did_not_go_on_as_expected_is_read_all_the_same() {
    let two: Vec<u8> = (0..2).flat_map(|number| delta(0, 1, number, "a")).collect();
    let event = delta(0, 1, 2, "b");
    for cut in 1..event.len() {
        for rest in
            [&b"\n\n"[..], b"\r\n\r\ndata: x\n\n", b": x\n", b"\"}\n\n", b"", b"\n: comment\n\n", b"}\n\n"]
        {
            for end_of_input in [EndOfInput::Spec, EndOfInput::Flush] {
                let stream = [&two[..], &event[..cut], rest].concat();
                let options = DecoderOptions { end_of_input, ..DecoderOptions::default() };
                let (seen, events, error, _) = decode(&options, &stream, &[], None);
                let (found, counted, failure, _) =
                    decode(&options, &stream, &[two.len() + cut], Some(Scanner::default()));
                assert_eq!((found, counted, failure), (seen, events, error), "{cut} {rest:?}");
            }
        }
    }
}

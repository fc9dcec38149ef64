//! Properties on inputs nobody wrote down, against the naive decoder and `serde_json`. Inputs are made of the pieces
//! that decide something, so that most of them are close to right; the fuzz targets hold the same twins to any bytes.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use penstock::event::members;
use penstock::json::entries;
use penstock::{DecoderOptions, EndOfInput, Field, Fields, Framing, Limit, Limits, Malformed, Scanner};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::{feeding, json, naive};

/// Pieces of event streams; a stream is any of them in any order.
const STREAM_PIECES: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b":",
    b": ",
    b" ",
    b"data",
    b"data:",
    b"data: ",
    b"data:  two",
    b"event: name",
    b"event",
    b"event:",
    b"id: 7",
    b"id",
    b"id: \0",
    b"retry: 30",
    b"retry: 3x",
    b"Data: x",
    b"data_: x",
    b"x",
    b"{\"type\":\"t\"}",
    b"[DONE]",
    b"{",
    b"<p>",
    b"\xef\xbb\xbf",
    b"\xef\xbb",
    b"\xff",
    "\u{e9}\u{2028}\u{1f600}".as_bytes(),
    b"\0",
    b"\t",
    b"\x0b",
    b"\x85",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec(select(STREAM_PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

/// The decoder's limits, one of which may be low.
const LOW: &[Limit] =
    &[Limit::LineBytes, Limit::EventBytes, Limit::IdleBytes, Limit::IdBytes, Limit::EventNameBytes];

fn options() -> impl Strategy<Value = DecoderOptions> {
    let limits = prop::option::of((select(LOW), 0..40_u64)).prop_map(|low| {
        let mut limits = Limits::default();
        if let Some((limit, value)) = low {
            limits.set(limit, value);
        }
        limits
    });
    (any::<[bool; 5]>(), limits).prop_map(|([ndjson, flush, refuse, sentinel, skip_empty], limits)| {
        DecoderOptions {
            framing: if ndjson { Framing::Ndjson } else { Framing::Sse },
            end_of_input: if flush { EndOfInput::Flush } else { EndOfInput::Spec },
            malformed: if refuse { Malformed::Refuse } else { Malformed::Replace },
            sentinel: sentinel.then(|| b"[DONE]".as_slice().into()),
            skip_empty,
            limits,
        }
    })
}

/// JSON texts, about one in two damaged: a piece lost, doubled or put elsewhere.
fn text() -> impl Strategy<Value = Vec<u8>> {
    (value(), prop::option::of((any::<u16>(), any::<u16>(), select(JSON_PIECES)))).prop_map(
        |(text, damage)| {
            let Some((at, length, piece)) = damage else { return text };
            let at = usize::from(at) % (text.len() + 1);
            let end = text.len().min(at + usize::from(length) % 3);
            [&text[..at], piece, &text[end..]].concat()
        },
    )
}

const JSON_PIECES: &[&[u8]] = &[
    b"", b"\"", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"0", b"-", b".", b"e", b" ", b"\n", b"\0",
    b"\x7f", b"\xff", b"null", b"\\u", b"\"a\":",
];

const LEAVES: &[&[u8]] = &[
    b"null",
    b"true",
    b"false",
    b"0",
    b"-0",
    b"-1.5e+10",
    b"9223372036854775808",
    b"1E400",
    b"\"\"",
    b"\"text\"",
    b"\"\\\"\\\\\\n\\u00e9\"",
    b"\"\\ud83d\\ude00\"",
    "\"\u{2028}\u{1f600}\"".as_bytes(),
    b"\"response.output_text.delta\"",
    b"\"a long string, so that the next member starts in another block of sixty-four bytes\"",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = select(LEAVES).prop_map(<[u8]>::to_vec);
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..6), space()).prop_map(|(elements, space)| {
                let comma = [b",", space].concat();
                [b"[".as_slice(), space, &elements.join(comma.as_slice()), b"]"].concat()
            }),
            (vec((key(), inner), 0..6), space()).prop_map(|(members, space)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| [key, b":".as_slice(), space, value].concat())
                    .collect();
                let comma = [space, b","].concat();
                [b"{".as_slice(), &members.join(comma.as_slice()), space, b"}"].concat()
            }),
        ]
    })
}

fn key() -> impl Strategy<Value = &'static [u8]> {
    let keys: &[&[u8]] = &[
        b"\"type\"",
        b"\"ty\\u0070e\"",
        b"\"delta\"",
        b"\"output_index\"",
        b"\"choices\"",
        b"\"index\"",
        b"\"\"",
        b"\"any\"",
    ];
    select(keys)
}

fn space() -> impl Strategy<Value = &'static [u8]> {
    let spaces: &[&[u8]] = &[b"", b" ", b"\r\n\t "];
    select(spaces)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_says_what_the_naive_decoder_says(stream in stream()) {
        let options = DecoderOptions { sentinel: None, ..DecoderOptions::default() };
        let outcome = feeding::decode(&options, [stream.as_slice()]);
        prop_assert_eq!(&outcome.error, &None);
        prop_assert_eq!(outcome.as_text(), naive::decode(&stream));
    }

    #[test]
    fn no_cut_changes_anything(stream in stream(), options in options(), lengths in vec(0..9_u8, 1..9)) {
        let whole = feeding::decode(&options, [stream.as_slice()]);
        prop_assert_eq!(&feeding::decode(&options, stream.chunks(1)), &whole);
        prop_assert_eq!(&feeding::decode(&options, feeding::pieces(&stream, &lengths)), &whole);
        prop_assert_eq!(&feeding::recognise(&options, feeding::pieces(&stream, &lengths)), &whole);
        for at in 0..stream.len() {
            let (head, tail) = stream.split_at(at);
            prop_assert_eq!(&feeding::decode(&options, [head, tail]), &whole, "cut at {}", at);
        }
    }

    #[test]
    fn json_is_what_serde_json_takes_for_it(text in text()) {
        if json::check_twice(&text) {
            let read = json::tree_by_cursor(&text);
            prop_assert!(read.is_ok());
            if let Some(tree) = json::tree(&text) {
                prop_assert_eq!(read.ok(), Some(tree));
            }
        }
    }

    #[test]
    fn members_are_those_the_cursor_finds(text in text()) {
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        let scanned = members(&text, |key, _, span| found.push((key, span.of(&text))));
        let walked = entries(&text, |key, value| expected.push((key.raw, &text[value])));
        prop_assert_eq!(&scanned, &walked);
        if scanned.is_ok() {
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_last_member_of_a_name_counts(text in text()) {
        let tree = json::tree(&text);
        if let (Ok(fields), Some(tree)) = (Fields::scan(&text), tree) {
            for &field in Field::ALL {
                let value = fields.value(&text, field).and_then(json::tree);
                prop_assert_eq!(value.as_ref(), tree.get(field.as_str()));
            }
        }
    }

    #[test]
    fn what_came_before_changes_nothing(texts in vec(text(), 1..12), order in vec(any::<u8>(), 1..40)) {
        let mut scanner = Scanner::default();
        for text in order.iter().map(|&place| &texts[usize::from(place) % texts.len()]) {
            let expected = Fields::scan(text);
            match (scanner.scan(text), &expected) {
                (Ok(found), Ok(expected)) => {
                    prop_assert!(found.iter().eq(expected.iter()));
                    prop_assert_eq!(found.event_type(), expected.event_type());
                }
                (found, expected) => prop_assert_eq!(found.err(), expected.as_ref().err().cloned()),
            }
        }
    }
}

//! Sealed ids against forgers, and ids in streams cut anywhere.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use penstock::Limits;
use penstock::ids::{
    Codec, Direction, IdKind, LiteLlm, Rewriter, Scope, Sealed, Selection, SseRewriter, Translation,
};
use random::Random;

const UPSTREAM: &str = "resp_0ad69c3c5fcb01f60068eba78cacd08193bf9a57724aa55ab8";
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// So many in a release build, as the table of promises has it; a debug build takes too long for them.
const ATTEMPTS: usize = if cfg!(debug_assertions) { 30_000 } else { 1_000_000 };

fn codec() -> Sealed {
    Sealed::new([(&b"k1"[..], &b"0123456789abcdef0123456789abcdef"[..])]).unwrap()
}

#[test]
fn no_made_up_id_opens() {
    let codec = codec();
    let sealed = codec.seal(IdKind::Response, UPSTREAM, b"acme", Some("openai"), Some("gpt-5.2")).unwrap();
    let mut random = Random(3);
    let mut tried = 0;
    while tried < ATTEMPTS {
        let mut made = sealed.clone().into_bytes();
        // Half of them keep version and key, so that the tag alone stands against them.
        let from = if random.below(2) == 0 { 5 } else { 11 };
        match random.below(3) {
            0 => made[from..].fill_with(|| LETTERS[random.below(64)]),
            1 => {
                for _ in 0..=random.below(4) {
                    let place = from + random.below(made.len() - from);
                    made[place] = LETTERS[random.below(64)];
                }
            }
            _ => {
                made.truncate(from + random.below(made.len() - from));
                made.extend((0..random.below(90)).map(|_| LETTERS[random.below(64)]));
            }
        }
        let made = String::from_utf8(made).unwrap();
        if made != sealed {
            assert!(codec.open(IdKind::Response, &made, b"acme").is_err(), "{made}");
            tried += 1;
        }
    }
    assert!(codec.open(IdKind::Response, &sealed, b"acme").is_ok());
}

fn stream(direction: Direction, codec: Codec) -> SseRewriter {
    let scope = Scope { tenant: b"acme".to_vec(), provider: Some("openai".into()), model: Some("m".into()) };
    let selection = Selection { mentions: true, items: true, content: true };
    SseRewriter::new(Rewriter::new(Translation { codec, direction, scope }, selection), &Limits::default())
}

fn through(rewriter: &mut SseRewriter, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        rewriter.feed(piece, &mut out).unwrap();
    }
    rewriter.finish(&mut out).unwrap();
    out
}

#[test]
fn streams_come_back_as_they_were_from_any_two_pieces() {
    let text = format!(
        "\u{feff}event: x\r\ndata: {{\"response\":{{\"id\":\"{UPSTREAM}\",\"previous_response_id\":\"resp_1\"}}}}\r\n\r\n\
         : ping\n\ndata: {{\"item\":{{\"id\":\"rs_1\",\ndata: \"encrypted_content\":\"gAA=\"}}}}\n\n\
         data: {{\"item_id\":\"msg_1\",\"delta\":\"\u{e9}\\u00e9\"}}\r\rdata: [DONE]\n\n"
    );
    let text = text.as_bytes();
    for codec in [Codec::Sealed(Arc::new(codec())), Codec::LiteLlm(LiteLlm { strict: true })] {
        let whole = through(&mut stream(Direction::Encode, codec.clone()), &[text]);
        assert_ne!(whole, text);
        assert!(!String::from_utf8_lossy(&whole).contains(UPSTREAM));
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(through(&mut stream(Direction::Encode, codec.clone()), &[head, tail]), whole);
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(through(&mut stream(Direction::Decode, codec.clone()), &bytes), text);
    }
}

//! Any bytes as an event stream whose ids are rewritten: in any split the same comes out, it comes back from the way
//! back, and without an id in it nothing changes.
//!
//! Input: bits that choose what is rewritten, where the stream is cut, then the stream.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use penstock::Limits;
use penstock::ids::{
    Codec, Direction, LiteLlm, Refusal, Rewriter, Scope, Sealed, Selection, SseRewriter, Translation,
};

fuzz_target!(|input: &[u8]| {
    let [bits, cut, stream @ ..] = input else { return };
    let sealed = Sealed::new([(&b"k"[..], &b"a secret of some thirty-two bytes"[..])]).expect("keys");
    let codec = if bits & 1 == 0 {
        Codec::Sealed(Arc::new(sealed))
    } else {
        Codec::LiteLlm(LiteLlm { strict: true })
    };
    let selection = Selection { mentions: bits & 2 != 0, items: bits & 4 != 0, content: bits & 8 != 0 };
    let rewriter = |direction| {
        let scope = Scope { tenant: b"acme".to_vec(), provider: Some("p".into()), model: Some("m".into()) };
        let translation = Translation { codec: codec.clone(), direction, scope };
        SseRewriter::new(Rewriter::new(translation, selection), &Limits::default())
    };
    let through = |direction, bytes: &[u8], pieces: usize| -> Result<Vec<u8>, Refusal> {
        let (mut rewriter, mut out) = (rewriter(direction), Vec::new());
        for piece in bytes.chunks(pieces) {
            rewriter.feed(piece, &mut out)?;
        }
        rewriter.finish(&mut out)?;
        Ok(out)
    };

    let whole = through(Direction::Encode, stream, stream.len().max(1));
    let cut = through(Direction::Encode, stream, usize::from(*cut).max(1));
    assert_eq!(whole, cut);
    // Only an id that is too long to be sealed is refused on this way.
    let Ok(encoded) = whole else { return };
    if !stream.windows(2).any(|pair| pair == b"id" || pair == b"\\u") && !selection.content {
        assert_eq!(encoded, stream);
    }
    assert_eq!(through(Direction::Encode, &encoded, 7), Ok(encoded.clone()));
    // What is rewritten twice need not come back: an id of LiteLLM's may have been in it before.
    let _ = through(Direction::Decode, &encoded, 3);
});

//! Any text as an id: none opens that was not sealed, what is sealed opens to what it was sealed from, and LiteLLM's
//! ids come back from their own encoding.
//!
//! Input: bits that choose tenant, provider, model and kind, then an id.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::ids::{IdKind, LiteLlm, Sealed};

const SECRET: &[u8] = b"a secret of some thirty-two bytes";

fuzz_target!(|input: &[u8]| {
    let Some((&bits, id)) = input.split_first() else { return };
    let Ok(id) = std::str::from_utf8(id) else { return };
    let codec = Sealed::new([(&b"k"[..], SECRET)]).expect("keys");
    let kind = [IdKind::Response, IdKind::Item, IdKind::Content][usize::from(bits & 3) % 3];
    let tenant: &[u8] = if bits & 4 == 0 { b"" } else { b"acme" };
    let name = |bit: u8, name: &'static str| (bits & bit != 0).then_some(name);
    let (provider, model) = (name(8, "openai"), name(16, "00ff"));

    // Nobody makes an id that opens without the key; the corpus has none that was sealed with it.
    assert!(codec.open(kind, id, tenant).is_err());
    if let Ok(sealed) = codec.seal(kind, id, tenant, provider, model) {
        let origin = codec.open(kind, &sealed, tenant).expect("our own id");
        assert_eq!((origin.provider.as_deref(), origin.model.as_deref(), &*origin.id), (provider, model, id));
        assert!(codec.open(kind, &sealed, b"other").is_err());
        assert_eq!(codec.seal(kind, &sealed, tenant, None, None).as_ref(), Ok(&sealed));
        for cut in 0..sealed.len() {
            assert!(sealed.get(..cut).is_none_or(|cut| codec.open(kind, cut, tenant).is_err()));
        }
    }

    for strict in [false, true] {
        let codec = LiteLlm { strict };
        let encoded = codec.encode(id, provider, model).expect("no semicolon");
        assert_eq!(codec.encode(&encoded, None, None).as_ref(), Ok(&encoded));
        if strict && codec.decode(id).is_none() {
            let origin = codec.decode(&encoded).expect("our own id");
            assert_eq!(
                (origin.provider.as_deref(), origin.model.as_deref(), &*origin.id),
                (provider, model, id)
            );
        }
        let _ = (codec.decode_item(id), codec.decode_content(id), codec.decode_container(id));
    }
});

//! Any bytes as an event stream: the core says what the naive decoder says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::{DecoderOptions, Limits};
use penstock_fuzz::{feeding, naive};

fuzz_target!(|stream: &[u8]| {
    let limits = Limits { max_id_bytes: u64::MAX, max_event_name_bytes: u64::MAX, ..Default::default() };
    let options = DecoderOptions { sentinel: None, limits, ..Default::default() };
    let outcome = feeding::decode(&options, [stream]);
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.as_text(), naive::decode(stream));
});

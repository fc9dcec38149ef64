//! Any bytes as JSON in canonical form: it reads back as what `serde_json` reads from the input, it is its own
//! canonical form, and a chain does not care which of the two it is given.
//!
//! Input: one JSON text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::Limits;
use penstock::json::canonicalize;
use penstock::prefix::{Chain, Seed, hash_json};

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    let mut canonical = Vec::new();
    let written = canonicalize(input, &limits, &mut canonical);
    assert_eq!(written.is_ok(), hash_json(input, &limits).is_ok());
    if written.is_err() {
        return;
    }
    assert!(canonical.iter().all(|byte| (b' '..0x7f).contains(byte)), "not ASCII");
    let mut again = Vec::new();
    assert_eq!(canonicalize(&canonical, &limits, &mut again), Ok(()));
    assert_eq!(canonical, again);
    assert_eq!(hash_json(input, &limits), hash_json(&canonical, &limits));

    let array = [b"[", input, b" ]"].concat();
    let (mut one, mut two) = (Chain::new(Seed::default()), Chain::new(Seed::default()));
    let deep = one.append_json(input, &limits);
    assert_eq!(two.extend_json(&array, &limits).is_ok(), deep.is_ok());
    assert_eq!(one.digest(), two.digest());

    // Its numbers have no order of digits, its lone surrogates no `str`: there only the meaning of the rest is known.
    let read = serde_json::from_slice::<serde_json::Value>(input);
    if let (Ok(read), Ok(back)) = (read, serde_json::from_slice::<serde_json::Value>(&canonical)) {
        assert!(same(&read, &back), "{read} {back}");
    }
});

/// Whether two values mean the same; numbers by their value.
fn same(one: &serde_json::Value, two: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (one, two) {
        (Array(one), Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (Object(one), Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(key, one)| two.get(key).is_some_and(|two| same(one, two)))
        }
        (Number(one), Number(two)) => {
            let (one, two) = (one.to_string(), two.to_string());
            one == two || one.parse::<f64>().ok() == two.parse::<f64>().ok()
        }
        _ => one == two,
    }
}

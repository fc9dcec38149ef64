//! Any bytes as JSON: the cursor accepts what `serde_json` accepts and reads the same values; the block-wise
//! scanner finds the members that the cursor finds; a shape learned from one payload changes nothing of another.
//!
//! Input: payloads with NUL between them, which no JSON text contains.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::event::members;
use penstock::json::{Cursor, entries};
use penstock::{Fields, Scanner};
use penstock_fuzz::json;

fuzz_target!(|input: &[u8]| {
    let mut scanner = Scanner::default();
    for text in input.split(|&byte| byte == 0) {
        if json::check_twice(text) {
            same_tree(text);
        }
        same_members(text);
        // The second look teaches the scanner the shape, which the next payload is then tried on.
        for _ in 0..2 {
            same_fields(text, &mut scanner);
        }
    }
});

fn same_tree(text: &[u8]) {
    let read = json::tree_by_cursor(text).expect("checked before");
    // An object with this key is how `serde_json` passes numbers around.
    if let Some(tree) = json::tree(text).filter(|_| !text.windows(12).any(|part| part == b"$serde_json:")) {
        assert_eq!(read, tree, "{}", text.escape_ascii());
    }
}

fn same_members(text: &[u8]) {
    let mut found = Vec::new();
    let scanned = members(text, |key, kind, span| found.push((key, Ok(kind), span.of(text))));
    let mut expected = Vec::new();
    let walked = entries(text, |key, value| {
        let value = &text[value];
        expected.push((key.raw, Cursor::new(value).kind(), value));
    });
    assert_eq!(scanned, walked, "{}", text.escape_ascii());
    if scanned.is_ok() {
        assert_eq!(found, expected, "{}", text.escape_ascii());
    }
}

fn same_fields(text: &[u8], scanner: &mut Scanner) {
    let fields = Fields::scan(text);
    let fitted = scanner.scan(text);
    match (&fields, fitted) {
        (Ok(fields), Ok(fitted)) => {
            assert!(fields.iter().eq(fitted.iter()), "{}", text.escape_ascii());
            assert_eq!(fields.event_type(), fitted.event_type(), "{}", text.escape_ascii());
        }
        (fields, fitted) => assert_eq!(fields.as_ref().err(), fitted.err().as_ref()),
    }
}

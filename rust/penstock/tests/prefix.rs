//! Digests of items: what means the same hashes the same however it is spelled, and nothing else does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::fmt::Write;

use penstock::Limits;
use penstock::prefix::{Chain, Digest, Seed, hash_json};
use random::Random;

/// So many in a release build, as the table of promises has it; a debug build takes too long for them.
const NEAR_PAIRS: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const EQUAL_PAIRS: usize = if cfg!(debug_assertions) { 5_000 } else { 100_000 };

/// A JSON value whose spelling is open.
enum Value {
    Scalar(&'static [&'static str]),
    String(String),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// Each row is one value in several spellings.
const SCALARS: &[&[&str]] = &[
    &["null"],
    &["true"],
    &["false"],
    &["0", "-0"],
    &["1"],
    &["1.0", "1e0", "10E-1", "0.1e+1", "1.000"],
    &["-2.5e-7", "-0.00000025", "-25e-8"],
    &["123456789012345678901234567890"],
    &["1e16", "10000000000000000.0"],
    &["-0.0", "-0e5"],
];
const LETTERS: &[char] =
    &['a', 'b', '"', '\\', '/', '\n', '\u{7f}', '\u{e9}', '\u{20ac}', '\u{1f600}', ' ', ','];

fn text(random: &mut Random, longest: usize) -> String {
    (0..random.below(longest + 1)).map(|_| LETTERS[random.below(LETTERS.len())]).collect()
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 | 1 => Value::Scalar(SCALARS[random.below(SCALARS.len())]),
        2 | 3 => Value::String(text(random, 6)),
        4 | 5 => Value::Array((0..random.below(4)).map(|_| value(random, depth - 1)).collect()),
        _ => {
            Value::Object((0..random.below(5)).map(|_| (text(random, 3), value(random, depth - 1))).collect())
        }
    }
}

fn space(random: &mut Random, out: &mut String) {
    out.push_str(["", "", " ", "\n", "\t ", "\r\n"][random.below(6)]);
}

fn spell_text(text: &str, random: &mut Random, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        let mut units = [0; 2];
        match (letter, random.below(3)) {
            (_, 0) => {
                for unit in letter.encode_utf16(&mut units) {
                    let _ = if unit.is_multiple_of(2) {
                        write!(out, "\\u{unit:04x}")
                    } else {
                        write!(out, "\\u{unit:04X}")
                    };
                }
            }
            ('"' | '\\' | '/', _) => {
                out.push('\\');
                out.push(letter);
            }
            ('\n', _) => out.push_str("\\n"),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// Writes a value in one of its spellings.
fn spell(value: &Value, random: &mut Random, out: &mut String) {
    space(random, out);
    match value {
        Value::Scalar(spellings) => out.push_str(spellings[random.below(spellings.len())]),
        Value::String(text) => spell_text(text, random, out),
        Value::Array(elements) => {
            out.push('[');
            for (place, element) in elements.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                spell(element, random, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(key, value)| (key, Some(value))).collect();
            for place in (1..members.len()).rev() {
                members.swap(place, random.below(place + 1));
            }
            if let Some(&(key, _)) = members.last().filter(|_| random.below(3) == 0) {
                // One that does not count, as another of its name comes later.
                members.insert(0, (key, None));
            }
            out.push('{');
            for (place, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                space(random, out);
                spell_text(key, random, out);
                space(random, out);
                out.push(':');
                match value {
                    Some(value) => spell(value, random, out),
                    None => out.push_str("[\"no\"]"),
                }
            }
            out.push('}');
        }
    }
    space(random, out);
}

fn chain(salt: &str, model: Option<&str>, items: &[String]) -> Digest {
    let seed = Seed { salt: salt.as_bytes(), model: model.map(str::as_bytes), context: None };
    let mut chain = Chain::new(seed);
    for item in items {
        chain.append_json(item.as_bytes(), &Limits::default()).unwrap();
    }
    *chain.digest()
}

#[test]
fn what_means_the_same_hashes_the_same() {
    let mut random = Random(1);
    for _ in 0..EQUAL_PAIRS {
        let value = value(&mut random, 3);
        let (mut one, mut two) = (String::new(), String::new());
        spell(&value, &mut random, &mut one);
        spell(&value, &mut random, &mut two);
        let hash = |text: &str| hash_json(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(hash(&one), hash(&two), "{one} {two}");
        assert_eq!(chain("", None, std::slice::from_ref(&one)), chain("", None, std::slice::from_ref(&two)));
    }
}

/// The same letters cut into fields at other places: between keys and values, items, salt and model.
#[test]
fn what_differs_by_a_moved_border_hashes_differently() {
    let mut random = Random(2);
    let item = |key: &str, value: &str| format!("{{{key:?}:{value:?}}}");
    for _ in 0..NEAR_PAIRS {
        let letters: String =
            (0..6 + random.below(10)).map(|_| ['a', 'b', ',', ':', ' '][random.below(5)]).collect();
        let mut cuts = [0; 5].map(|_| random.below(letters.len() + 1));
        cuts.sort_unstable();
        let mut moved = cuts;
        let place = random.below(cuts.len());
        let ends = (
            if place == 0 { 0 } else { cuts[place - 1] },
            cuts.get(place + 1).copied().unwrap_or(letters.len()),
        );
        moved[place] = ends.0 + random.below(ends.1 - ends.0 + 1);
        if moved == cuts {
            continue;
        }
        let digest = |[a, b, c, d, e]: [usize; 5]| {
            let items = [item(&letters[b..c], &letters[c..d]), item(&letters[d..e], &letters[e..])];
            chain(&letters[..a], Some(&letters[a..b]), &items)
        };
        assert_ne!(digest(cuts), digest(moved), "{letters:?} {cuts:?} {moved:?}");
    }
}

#[test]
fn lists_that_look_alike_hash_differently() {
    let lists: &[&[&str]] = &[
        &[],
        &["[]"],
        &["[]", "[]"],
        &["[[],[]]"],
        &["1", "2"],
        &["[1,2]"],
        &["12"],
        &["\"1\"", "\"2\""],
        &["\"1, 2\""],
        &["null"],
        &["{}"],
        &["\"\""],
        &["true"],
        &["1.0"],
        &["1"],
        &["{\"a\":[]}"],
        &["{\"a\":{}}"],
        &["[\"a\",{}]"],
    ];
    let digests: std::collections::BTreeSet<_> = lists
        .iter()
        .map(|items| chain("", None, &items.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .collect();
    assert_eq!(digests.len(), lists.len());
}

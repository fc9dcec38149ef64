//! Any bytes as a JSON text in pieces: the resumable reader says the same however they are cut, looks at each byte
//! twice at most, and reads whole texts as the cursor does.
//!
//! Input: one byte that says how many lengths of pieces follow, the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::json::{Cursor, Kind, Number, PartialJson, PartialSink, PartialState};
use penstock::{Error, Limit, Limits};
use penstock_fuzz::{feeding::pieces, json};

fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else { return };
    let (lengths, text) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let whole = read([text]);
    assert_eq!(read(text.chunks(1)), whole, "byte by byte: {}", text.escape_ascii());
    assert_eq!(read(pieces(text, lengths)), whole, "{lengths:?}: {}", text.escape_ascii());
    let checked = json::check(text);
    // Only this reader bounds the digits of a number, which is a matter of its value.
    if matches!(whole.error, Some(Error::Limit { limit: Limit::NumberDigits, .. })) {
        return;
    }
    assert_eq!(whole.state == PartialState::Complete, checked.is_ok(), "{}", text.escape_ascii());
    // Its input is WTF-8, in which the bytes of a surrogate half are no error.
    if checked.is_ok() && std::str::from_utf8(text).is_ok() {
        let mut parts = Parts::default();
        assert_eq!(walk(&mut Cursor::new(text), &mut parts), Ok(()));
        assert_eq!(whole.parts, parts.0, "{}", text.escape_ascii());
    }
});

/// All that a reader told about one text.
#[derive(Debug, PartialEq)]
struct Told {
    parts: Vec<Part>,
    state: PartialState,
    open: Option<String>,
    error: Option<Error>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Open(bool),
    Close,
    Key(String),
    String(String),
    Number(Vec<u8>),
    Literal(Kind),
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut reader = PartialJson::new(&Limits::default());
    let mut parts = Parts::default();
    let mut length = 0;
    for piece in pieces {
        length += piece.len() as u64;
        if reader.feed(piece, &mut parts).is_err() {
            break;
        }
        assert_eq!(reader.position(), length);
    }
    let open = reader.open_string().map(str::to_owned);
    reader.finish(&mut parts);
    assert!(reader.steps() <= 2 * length, "{} steps for {length} bytes", reader.steps());
    Told { parts: parts.0, state: reader.state(), open, error: reader.error().cloned() }
}

/// Tells the parts of the value at the cursor.
fn walk(cursor: &mut Cursor<'_>, parts: &mut Parts) -> Result<(), Error> {
    let kind = cursor.kind()?;
    match kind {
        Kind::Object => {
            parts.open(true);
            let mut more = cursor.open_object()?;
            while more {
                parts.key(&json::decoded(cursor.key()?));
                walk(cursor, parts)?;
                more = cursor.more(b'}')?;
            }
            parts.close();
        }
        Kind::Array => {
            parts.open(false);
            let mut more = cursor.open_array()?;
            while more {
                walk(cursor, parts)?;
                more = cursor.more(b']')?;
            }
            parts.close();
        }
        Kind::String => parts.string(&json::decoded(cursor.string()?)),
        Kind::Number => parts.number(cursor.number()?),
        _ => {
            cursor.literal(kind)?;
            parts.literal(kind);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Parts(Vec<Part>);

impl PartialSink for Parts {
    fn open(&mut self, object: bool) {
        self.0.push(Part::Open(object));
    }

    fn close(&mut self) {
        self.0.push(Part::Close);
    }

    fn key(&mut self, key: &str) {
        self.0.push(Part::Key(key.to_owned()));
    }

    fn string(&mut self, text: &str) {
        self.0.push(Part::String(text.to_owned()));
    }

    fn number(&mut self, number: Number<'_>) {
        self.0.push(Part::Number(number.raw.to_vec()));
    }

    fn literal(&mut self, literal: Kind) {
        self.0.push(Part::Literal(literal));
    }
}

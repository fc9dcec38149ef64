//! One level of a container, member by member, from texts that were checked before or are checked here.

use std::ops::Range;

use crate::error::{Error, JsonReason};
use crate::json::{Cursor, Kind, RawStr};
use crate::limits::DEPTH_CEILING;

/// Walks the members of the object that is the whole of `object`: `visit` gets each key and where its value
/// stands, in the order of the text, duplicates included. Nested values are checked, not entered.
pub fn entries<'a>(object: &'a [u8], mut visit: impl FnMut(RawStr<'a>, Range<usize>)) -> Result<(), Error> {
    let mut cursor = Cursor::new(object);
    require(&mut cursor, Kind::Object)?;
    let mut more = cursor.open_object()?;
    while more {
        let key = cursor.key()?;
        let value = value(&mut cursor)?;
        visit(key, value);
        more = cursor.more(b'}')?;
    }
    cursor.end()
}

/// Walks the elements of the array that is the whole of `array`: `visit` gets where each stands.
pub fn elements(array: &[u8], mut visit: impl FnMut(Range<usize>)) -> Result<(), Error> {
    let mut cursor = Cursor::new(array);
    require(&mut cursor, Kind::Array)?;
    let mut more = cursor.open_array()?;
    while more {
        let value = value(&mut cursor)?;
        visit(value);
        more = cursor.more(b']')?;
    }
    cursor.end()
}

/// Whether `key` spells `name`, escapes decoded where there are any.
#[must_use]
pub fn spells(key: RawStr<'_>, name: &str) -> bool {
    if key.escaped { *key.decoded() == *name.as_bytes() } else { key.raw == name.as_bytes() }
}

fn require(cursor: &mut Cursor<'_>, kind: Kind) -> Result<(), Error> {
    if cursor.kind()? == kind {
        return Ok(());
    }
    Err(Error::json(JsonReason::UnexpectedByte, cursor.position()))
}

fn value(cursor: &mut Cursor<'_>) -> Result<Range<usize>, Error> {
    cursor.skip_space();
    let start = cursor.position();
    cursor.skip_value(1, DEPTH_CEILING)?;
    Ok(start..cursor.position())
}

#[cfg(test)]
mod tests {
    use super::{elements, entries, spells};

    #[test]
    fn walks_one_level() {
        let text = br#" { "a" : [1, {"b":2}] ,"a":"x", "\u0062":null } "#;
        let mut seen = Vec::new();
        entries(text, |key, value| seen.push((spells(key, "a"), spells(key, "b"), &text[value]))).unwrap();
        let expected: [(bool, bool, &[u8]); 3] =
            [(true, false, br#"[1, {"b":2}]"#), (true, false, br#""x""#), (false, true, b"null")];
        assert_eq!(seen, expected);

        let text = br#"[ 1 ,[2], "c" ]"#;
        let mut seen = Vec::new();
        elements(text, |value| seen.push(&text[value])).unwrap();
        let expected: [&[u8]; 3] = [b"1", b"[2]", br#""c""#];
        assert_eq!(seen, expected);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "null", "[]", "{", "{\"a\":1}x", "{\"a\":[}"] {
            assert!(entries(text.as_bytes(), |_, _| {}).is_err(), "{text}");
        }
        for text in ["", "null", "{}", "[", "[1]x", "[[}]"] {
            assert!(elements(text.as_bytes(), |_| {}).is_err(), "{text}");
        }
    }
}

//! What is nested in a delta: lists and objects that a scan has checked and not entered.

use super::{PieceField, word};
use crate::json::{Cursor, Kind};
use crate::limits::DEPTH_CEILING;

/// The elements of an array that a scan has checked; nothing if `value` is no array.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::new(value);
    let mut more = cursor.kind() == Ok(Kind::Array) && cursor.open_array() == Ok(true);
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let element = whole(&mut cursor)?;
        more = cursor.more(b']') == Ok(true);
        Some(element)
    })
}

/// The members of an object that a scan has checked, keys still escaped; nothing if `value` is no object.
pub fn members(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut cursor = Cursor::new(value);
    let mut more = cursor.kind() == Ok(Kind::Object) && cursor.open_object() == Ok(true);
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let key = cursor.key().ok()?;
        let member = whole(&mut cursor)?;
        more = cursor.more(b'}') == Ok(true);
        Some((key.raw, member))
    })
}

/// The members of one object nested in a delta, of each the last.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    object: &'a [u8],
    values: [&'a [u8]; PieceField::COUNT],
    unknown: bool,
    /// Whether a member that penstock knows occurs twice.
    pub duplicates: bool,
}

impl<'a> Pieces<'a> {
    /// Reads an object that a scan has checked; anything else has no members.
    #[must_use]
    pub fn read(object: &'a [u8]) -> Self {
        let mut pieces = Self { object, values: [&[]; PieceField::COUNT], unknown: false, duplicates: false };
        for (key, value) in members(object) {
            let field = word(key, PieceField::from_bytes);
            match field.and_then(|field| pieces.values.get_mut(field as usize)) {
                Some(slot) => {
                    pieces.duplicates |= !slot.is_empty();
                    *slot = value;
                }
                None => pieces.unknown = true,
            }
        }
        pieces
    }

    /// The value of a member; empty when there is none.
    #[inline]
    #[must_use]
    pub fn get(&self, field: PieceField) -> &'a [u8] {
        self.values.get(field as usize).copied().unwrap_or_default()
    }

    /// The members that are none of `read`, keys still escaped.
    pub fn others(&self, read: &[PieceField]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let is_read = |field: &PieceField| read.contains(field);
        let any = self.unknown
            || PieceField::ALL.iter().any(|field| !self.get(*field).is_empty() && !is_read(field));
        let object = if any { self.object } else { b"" };
        members(object)
            .filter(move |(key, _)| !word(key, PieceField::from_bytes).as_ref().is_some_and(is_read))
    }
}

/// Passes one value and gives its text.
fn whole<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    cursor.skip_space();
    let start = cursor.position();
    cursor.skip_value(0, DEPTH_CEILING).ok()?;
    Some(cursor.since(start))
}

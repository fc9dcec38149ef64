//! Spoken output: audio that arrives as pieces of base64, and its transcript.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::keep::{Extras, Raw};
use crate::accumulate::text::Text;
use crate::dialect::chat::{PieceField, members, word};
use crate::error::Error;
use crate::json::{RawStr, push_comma, push_key, push_string, push_wtf8};

/// The `audio` of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Audio {
    id: Raw,
    data: Base64,
    transcript: Option<Text>,
    /// `expires_at` among them.
    extras: Extras,
}

impl Audio {
    /// Adds the `audio` of a delta.
    pub(super) fn apply(&mut self, delta: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        for (key, value) in members(delta) {
            match word(key, PieceField::from_bytes) {
                Some(PieceField::Id) => self.id.set_first(value, ledger)?,
                Some(PieceField::Data) => {
                    if let Some(piece) = ledger.string(value)? {
                        self.data.push(piece, ledger)?;
                    }
                }
                Some(PieceField::Transcript) => {
                    if let Some(piece) = ledger.string(value)? {
                        ledger.append(self.transcript.get_or_insert_default(), piece)?;
                    }
                }
                _ => self.extras.set(key, value, ledger)?,
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if !self.id.is_empty() {
            push_key("id", out);
            out.extend_from_slice(self.id.as_bytes());
        }
        if self.data.present {
            push_comma(out);
            push_key("data", out);
            self.data.write(out);
        }
        if let Some(transcript) = &self.transcript {
            push_comma(out);
            push_key("transcript", out);
            push_string(transcript.as_bytes(), out);
        }
        self.extras.write(out);
        out.push(b'}');
    }
}

/// Bytes that arrive as pieces of base64. Joining the pieces as text would be wrong where they are padded one by
/// one; decoding them one by one, where a piece ends inside a group of four. So they are decoded as one stream in
/// which padding ends a group early. Both alphabets of RFC 4648 are read; the standard one is written.
#[derive(Debug, Clone, Default)]
struct Base64 {
    bytes: Vec<u8>,
    /// Bits of a group that is not whole, and how many.
    bits: u32,
    count: u32,
    present: bool,
}

impl Base64 {
    fn push(&mut self, piece: RawStr<'_>, ledger: &mut Ledger) -> Result<(), Error> {
        self.present = true;
        ledger.exchange(0, piece.raw.len() / 4 * 3 + 3)?;
        ledger.added |= !piece.raw.is_empty();
        let mut decoded = Vec::new();
        let text = if piece.escaped {
            push_wtf8(piece, &mut decoded);
            &decoded
        } else {
            piece.raw
        };
        let mut broken = false;
        for &letter in text {
            match sextet(letter) {
                Some(value) => self.push_sextet(value),
                None if letter == b'=' => self.count = 0,
                None => broken |= !letter.is_ascii_whitespace(),
            }
        }
        if broken { ledger.breach("invalid_base64") } else { Ok(()) }
    }

    fn push_sextet(&mut self, value: u8) {
        self.bits = self.bits << 6 | u32::from(value);
        self.count += 6;
        if self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.bits >> self.count) as u8);
        }
    }

    /// Appends the bytes as a JSON string.
    fn write(&self, out: &mut Vec<u8>) {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        out.reserve(self.bytes.len() / 3 * 4 + 6);
        out.push(b'"');
        for group in self.bytes.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
            let bits = bits << (8 * (3 - group.len()));
            for place in 0..4 {
                let letter = LETTERS.get((bits >> (18 - 6 * place)) as usize & 63).copied();
                out.push(if place <= group.len() { letter.unwrap_or(b'=') } else { b'=' });
            }
        }
        out.push(b'"');
    }
}

fn sextet(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

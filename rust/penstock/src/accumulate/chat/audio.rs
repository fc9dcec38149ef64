//! Spoken output: audio that arrives as pieces of base64, and its transcript.

use crate::accumulate::base64::Base64;
use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::keep::{Extras, Raw};
use crate::accumulate::chat::rules;
use crate::accumulate::text::Text;
use crate::dialect::chat::PieceField;
use crate::error::Error;
use crate::json::{RawStr, push_comma, push_key, push_string};

/// The `audio` of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Audio {
    id: Raw,
    data: Option<Base64>,
    transcript: Option<Text>,
    /// `expires_at` among them.
    extras: Extras,
}

impl Audio {
    /// Adds the `audio` of a delta.
    pub(super) fn apply(&mut self, delta: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let pieces = ledger.diagnostics.pieces(delta)?;
        self.id.set_first(pieces.get(PieceField::Id), ledger)?;
        if let Some(piece) = ledger.diagnostics.string(pieces.get(PieceField::Data))? {
            self.add_data(piece, ledger)?;
        }
        if let Some(piece) = ledger.diagnostics.string(pieces.get(PieceField::Transcript))? {
            ledger.append(self.transcript.get_or_insert_default(), piece)?;
        }
        let read = [PieceField::Id, PieceField::Data, PieceField::Transcript];
        pieces.others(&read).try_for_each(|(key, value)| self.extras.set(key, value, ledger))
    }

    fn add_data(&mut self, piece: RawStr<'_>, ledger: &mut Ledger) -> Result<(), Error> {
        let data = self.data.get_or_insert_default();
        let text = piece.decoded();
        if !Base64::accepts(&text) {
            return ledger.diagnostics.breach(rules::BAD_AUDIO);
        }
        let held = data.as_bytes().len();
        ledger.exchange(0, text.len().div_ceil(4) * 3)?;
        ledger.added |= !text.is_empty();
        data.push(&text);
        ledger.exchange(text.len().div_ceil(4) * 3, data.as_bytes().len() - held)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if !self.id.is_empty() {
            push_key("id", out);
            out.extend_from_slice(self.id.as_bytes());
        }
        if let Some(data) = &self.data {
            push_comma(out);
            push_key("data", out);
            out.push(b'"');
            data.encode(out);
            out.push(b'"');
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

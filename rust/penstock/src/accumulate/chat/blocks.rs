//! Lists of typed blocks that grow at their end: content parts, thinking blocks, reasoning details.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::keep::{Extras, Raw, is_blank, is_string};
use crate::accumulate::text::Text;
use crate::dialect::chat::{PieceField, elements, members, word};
use crate::error::Error;
use crate::event::string;
use crate::json::{RawStr, push_comma, push_key, push_string};

/// The block types whose text streams, and the member that holds it. Every other block is kept as it came.
const STREAMED: [(&str, PieceField); 4] = [
    PLAIN,
    ("thinking", PieceField::Thinking),
    ("reasoning.text", PieceField::Text),
    ("reasoning.summary", PieceField::Summary),
];

/// The block that plain text stands for.
const PLAIN: (&str, PieceField) = ("text", PieceField::Text);

/// Blocks in order of arrival. A piece joins the block before it if that is of the same type and index and not
/// signed yet: a signature closes a block.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Block {
    Streamed(Streamed),
    Whole(Raw),
}

#[derive(Debug, Clone)]
struct Streamed {
    name: &'static str,
    member: PieceField,
    text: Text,
    /// Mistral wraps thinking in a list of text parts.
    nested: bool,
    signature: Option<Text>,
    index: Raw,
    extras: Extras,
}

/// What one element of the list says.
#[derive(Default)]
struct Piece<'a> {
    streamed: Option<(&'static str, PieceField)>,
    text: &'a [u8],
    signature: Option<RawStr<'a>>,
    index: &'a [u8],
}

impl<'a> Piece<'a> {
    fn read(element: &'a [u8]) -> Self {
        let mut piece = Self::default();
        for (key, value) in members(element) {
            match word(key, PieceField::from_bytes) {
                Some(PieceField::Type) => {
                    piece.streamed = STREAMED.into_iter().find(|(name, _)| is_string(value, name));
                }
                Some(PieceField::Signature) if !is_blank(value) => piece.signature = string(value),
                Some(PieceField::Index) => piece.index = value,
                _ => {}
            }
        }
        let member = piece.streamed.map(|(_, member)| member);
        for (key, value) in members(element) {
            let field = word(key, PieceField::from_bytes);
            if field.is_some() && field == member {
                piece.text = value;
            }
        }
        piece
    }
}

impl Blocks {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Adds the elements of a delta's list.
    pub(super) fn extend(&mut self, list: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        elements(list).try_for_each(|element| self.add(element, ledger))
    }

    /// Adds text that came without a block around it.
    pub(super) fn add_text(&mut self, text: RawStr<'_>, ledger: &mut Ledger) -> Result<(), Error> {
        self.last(PLAIN, &Piece::default(), ledger, |block, ledger| ledger.append(&mut block.text, text))
    }

    /// Starts with text that had come without a block before the first block came.
    pub(super) fn seed(&mut self, text: Text, ledger: &mut Ledger) -> Result<(), Error> {
        self.last(PLAIN, &Piece::default(), ledger, |block, _| {
            block.text = text;
            Ok(())
        })
    }

    /// The text of all text parts.
    pub(super) fn text(&self) -> impl Iterator<Item = &Text> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Streamed(block) if block.name == "text" => Some(&block.text),
            _ => None,
        })
    }

    fn add(&mut self, element: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        if let Some(text) = string(element) {
            return self.add_text(text, ledger);
        }
        let piece = Piece::read(element);
        let Some(streamed) = piece.streamed else {
            if element == b"null" {
                return Ok(());
            }
            ledger.part()?;
            let mut whole = Raw::default();
            whole.set(element, ledger)?;
            self.blocks.push(Block::Whole(whole));
            return Ok(());
        };
        self.last(streamed, &piece, ledger, |block, ledger| block.apply(element, &piece, ledger))
    }

    /// Does `change` to the block that a piece belongs to: the last one, or a new one at the end.
    fn last(
        &mut self,
        (name, member): (&'static str, PieceField),
        piece: &Piece<'_>,
        ledger: &mut Ledger,
        change: impl FnOnce(&mut Streamed, &mut Ledger) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(Block::Streamed(last)) = self.blocks.last_mut()
            && last.name == name
            && last.signature.is_none()
            && (piece.index.is_empty() || last.index.is_empty() || last.index.as_bytes() == piece.index)
        {
            return change(last, ledger);
        }
        ledger.part()?;
        let mut block = Streamed {
            name,
            member,
            text: Text::default(),
            nested: false,
            signature: None,
            index: Raw::default(),
            extras: Extras::default(),
        };
        block.index.set(piece.index, ledger)?;
        let result = change(&mut block, ledger);
        self.blocks.push(Block::Streamed(block));
        result
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for block in &self.blocks {
            push_comma(out);
            match block {
                Block::Streamed(block) => block.write(out),
                Block::Whole(raw) => out.extend_from_slice(raw.as_bytes()),
            }
        }
        out.push(b']');
    }
}

impl Streamed {
    fn apply(&mut self, element: &[u8], piece: &Piece<'_>, ledger: &mut Ledger) -> Result<(), Error> {
        if piece.text.first() == Some(&b'[') {
            self.nested = true;
            for part in elements(piece.text) {
                let inner = Piece::read(part);
                if let Some(text) = string(inner.text).or_else(|| string(part)) {
                    ledger.append(&mut self.text, text)?;
                } else if part != b"null" {
                    ledger.breach("unexpected_type")?;
                }
            }
        } else if let Some(text) = ledger.string(piece.text)? {
            ledger.append(&mut self.text, text)?;
        }
        if let Some(signature) = piece.signature {
            ledger.append(self.signature.get_or_insert_default(), signature)?;
        }
        for (key, value) in members(element) {
            match word(key, PieceField::from_bytes) {
                Some(PieceField::Type | PieceField::Index | PieceField::Signature) => {}
                Some(field) if field == self.member => {}
                _ => self.extras.set(key, value, ledger)?,
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        push_key("type", out);
        push_string(self.name.as_bytes(), out);
        out.push(b',');
        push_key(self.member.as_str(), out);
        if self.nested {
            out.extend_from_slice(b"[{\"type\":\"text\",\"text\":");
            push_string(self.text.as_bytes(), out);
            out.extend_from_slice(b"}]");
        } else {
            push_string(self.text.as_bytes(), out);
        }
        if let Some(signature) = &self.signature {
            out.push(b',');
            push_key("signature", out);
            push_string(signature.as_bytes(), out);
        }
        if !self.index.is_empty() {
            out.push(b',');
            push_key("index", out);
            out.extend_from_slice(self.index.as_bytes());
        }
        self.extras.write(out);
        out.push(b'}');
    }
}

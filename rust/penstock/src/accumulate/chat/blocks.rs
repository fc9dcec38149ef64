//! Lists of typed blocks that grow at their end: content parts, thinking blocks, reasoning details.

use crate::accumulate::chat::Ledger;
use crate::accumulate::chat::keep::{Extras, Raw};
use crate::accumulate::chat::rules;
use crate::accumulate::text::Text;
use crate::dialect::chat::{PieceField, Pieces, elements, is_string};
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

/// Blocks in order of arrival. A piece joins the last block that is of its type and not signed yet, since a signature
/// closes a block: the very last one, or with an `index` the last one under that.
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

impl Block {
    /// The block, if pieces of type `name` may join it.
    fn open(&mut self, name: &str) -> Option<&mut Streamed> {
        match self {
            Self::Streamed(block) if block.name == name && block.signature.is_none() => Some(block),
            _ => None,
        }
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
        self.last(PLAIN, &[], ledger, |block, ledger| ledger.append(&mut block.text, text))
    }

    /// Starts with text that had come without a block before the first block came.
    pub(super) fn seed(&mut self, text: Text, ledger: &mut Ledger) -> Result<(), Error> {
        self.last(PLAIN, &[], ledger, |block, _| {
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
        let piece = ledger.diagnostics.pieces(element)?;
        let kind = piece.get(PieceField::Type);
        let Some(streamed) = STREAMED.into_iter().find(|(name, _)| is_string(kind, name)) else {
            if element == b"null" {
                return Ok(());
            }
            ledger.part()?;
            let mut whole = Raw::default();
            whole.set(element, ledger)?;
            self.blocks.push(Block::Whole(whole));
            return Ok(());
        };
        self.last(streamed, piece.get(PieceField::Index), ledger, |block, ledger| block.apply(&piece, ledger))
    }

    /// Does `change` to the block that a piece with this `index` belongs to, or to a new one at the end.
    fn last(
        &mut self,
        (name, member): (&'static str, PieceField),
        index: &[u8],
        ledger: &mut Ledger,
        change: impl FnOnce(&mut Streamed, &mut Ledger) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut blocks = self.blocks.iter_mut().rev();
        let last = blocks.next().and_then(|block| block.open(name));
        let joined = match last {
            Some(last) if index.is_empty() || last.index.is_empty() || last.index.as_bytes() == index => {
                Some(last)
            }
            _ if index.is_empty() => None,
            _ => blocks.filter_map(|block| block.open(name)).find(|block| block.index.as_bytes() == index),
        };
        if let Some(block) = joined {
            return change(block, ledger);
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
        block.index.set(index, ledger)?;
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
    fn apply(&mut self, piece: &Pieces<'_>, ledger: &mut Ledger) -> Result<(), Error> {
        let text = piece.get(self.member);
        if text.first() == Some(&b'[') {
            self.nested = true;
            elements(text).try_for_each(|part| self.add_nested(part, ledger))?;
        } else if let Some(text) = ledger.diagnostics.string(text)? {
            ledger.append(&mut self.text, text)?;
        }
        let signature = string(piece.get(PieceField::Signature));
        if let Some(signature) = signature.filter(|signature| !signature.raw.is_empty()) {
            ledger.append(self.signature.get_or_insert_default(), signature)?;
        }
        let read = [PieceField::Type, PieceField::Index, PieceField::Signature, self.member];
        piece.others(&read).try_for_each(|(key, value)| self.extras.set(key, value, ledger))
    }

    fn add_nested(&mut self, part: &[u8], ledger: &mut Ledger) -> Result<(), Error> {
        let text = string(part).or_else(|| string(Pieces::read(part).get(PieceField::Text)));
        match text {
            Some(text) => ledger.append(&mut self.text, text),
            None if part == b"null" => Ok(()),
            None => ledger.diagnostics.breach(rules::BAD_VALUE),
        }
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

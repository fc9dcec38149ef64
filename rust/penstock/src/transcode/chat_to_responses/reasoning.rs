//! Reasoning: text from whichever field it comes in, and the blocks that only their provider can read.
//!
//! Blocks are kept in order with their signatures. They leave as the item's `encrypted_content`, one compact JSON
//! list, which a client sends back as it is; a part of the summary is one block.

use crate::dialect::chat::{PieceField, Pieces, elements, is_string};
use crate::emit::{Emitter, ItemStatus, PartKind};
use crate::error::Error;
use crate::event::string;
use crate::json::{push_comma, push_key, push_string};

use super::accounts::{Accounts, clean};

/// A block of thinking.
#[derive(Debug)]
enum Block {
    /// One that streams; text and signature WTF-8.
    Thinking { text: Vec<u8>, signature: Vec<u8> },
    /// One that comes whole, as it came.
    Whole(Vec<u8>),
}

/// The reasoning item that is open.
#[derive(Debug)]
pub(super) struct Reasoning {
    pub(super) item: usize,
    /// The kind of the part that text was added to last.
    part: PartKind,
    /// The chunk before would end the part if its piece of reasoning were empty, so that none repeats it.
    pub(super) may_pause: bool,
    blocks: Vec<Block>,
    /// `reasoning_details`, which `OpenRouter` sends, the inside of a list.
    details: Vec<u8>,
}

impl Reasoning {
    pub(super) const fn new(item: usize) -> Self {
        Self { item, part: PartKind::SummaryText, may_pause: false, blocks: Vec::new(), details: Vec::new() }
    }

    /// Adds text to the part of this kind.
    pub(super) fn push(
        &mut self,
        kind: PartKind,
        piece: &[u8],
        emitter: &mut Emitter,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        accounts.added |= !piece.is_empty();
        self.part = kind;
        match kind {
            PartKind::ReasoningText => emitter.reasoning_text(self.item, piece),
            _ => emitter.reasoning_summary(self.item, piece),
        }
    }

    /// Adds a list of thinking blocks. Their text is written unless it stands in the chunk `elsewhere` as well.
    pub(super) fn add_blocks(
        &mut self,
        list: &[u8],
        kind: PartKind,
        elsewhere: bool,
        emitter: &mut Emitter,
        accounts: &mut Accounts,
    ) -> Result<(), Error> {
        for element in elements(list) {
            let piece = accounts.diagnostics.pieces(element)?;
            if !is_thinking(&piece) {
                accounts.hold(element.len())?;
                emitter.close_part(self.item)?;
                self.blocks.push(Block::Whole(clean(element).into_owned()));
                continue;
            }
            let added = string(piece.get(PieceField::Thinking)).map(crate::json::RawStr::decoded);
            let signed = string(piece.get(PieceField::Signature)).map(crate::json::RawStr::decoded);
            let (added, signed) = (added.unwrap_or_default(), signed.unwrap_or_default());
            accounts.hold(added.len() + signed.len())?;
            if !matches!(self.blocks.last(), Some(Block::Thinking { signature, .. }) if signature.is_empty())
            {
                emitter.close_part(self.item)?;
                self.blocks.push(Block::Thinking { text: Vec::new(), signature: Vec::new() });
            }
            if let Some(Block::Thinking { text, signature }) = self.blocks.last_mut() {
                text.extend_from_slice(&added);
                signature.extend_from_slice(&signed);
            }
            if !elsewhere {
                self.push(kind, &added, emitter, accounts)?;
            }
        }
        Ok(())
    }

    /// Keeps the elements of a `reasoning_details` list.
    pub(super) fn add_details(&mut self, list: &[u8], accounts: &mut Accounts) -> Result<(), Error> {
        for element in elements(list) {
            accounts.hold(element.len() + 1)?;
            if !self.details.is_empty() {
                self.details.push(b',');
            }
            self.details.extend_from_slice(&clean(element));
        }
        Ok(())
    }

    /// Ends the open part if it is one of the summary.
    pub(super) fn close_summary(&self, emitter: &mut Emitter) -> Result<(), Error> {
        if self.part == PartKind::SummaryText { emitter.close_part(self.item) } else { Ok(()) }
    }

    /// Ends the item.
    pub(super) fn close(&self, status: ItemStatus, emitter: &mut Emitter) -> Result<(), Error> {
        let mut members = vec![b'{'];
        if self.blocks.iter().any(Block::is_opaque) {
            let mut blocks = vec![b'['];
            self.blocks.iter().for_each(|block| block.write(&mut blocks));
            blocks.push(b']');
            push_key("encrypted_content", &mut members);
            push_string(&blocks, &mut members);
        }
        if !self.details.is_empty() {
            push_comma(&mut members);
            members.extend_from_slice(b"\"reasoning_details\":[");
            members.extend_from_slice(&self.details);
            members.push(b']');
        }
        members.push(b'}');
        emitter.close_item(self.item, status, &members)
    }
}

impl Block {
    /// Whether it holds something that the text does not say.
    const fn is_opaque(&self) -> bool {
        match self {
            Self::Thinking { signature, .. } => !signature.is_empty(),
            Self::Whole(_) => true,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        push_comma(out);
        match self {
            Self::Whole(block) => out.extend_from_slice(block),
            Self::Thinking { text, signature } => {
                out.extend_from_slice(b"{\"type\":\"thinking\",\"thinking\":");
                push_string(text, out);
                if !signature.is_empty() {
                    out.extend_from_slice(b",\"signature\":");
                    push_string(signature, out);
                }
                out.push(b'}');
            }
        }
    }
}

fn is_thinking(block: &Pieces<'_>) -> bool {
    let kind = block.get(PieceField::Type);
    kind.is_empty() || is_string(kind, "thinking")
}

/// Whether a list of thinking blocks holds text.
pub(super) fn holds_text(list: &[u8]) -> bool {
    elements(list).any(|block| {
        let text = string(Pieces::read(block).get(PieceField::Thinking));
        text.is_some_and(|text| !text.raw.is_empty())
    })
}

/// Whether a list of thinking blocks holds anything.
pub(super) fn holds_blocks(list: &[u8]) -> bool {
    elements(list).any(|block| {
        let piece = Pieces::read(block);
        let given = |field| string(piece.get(field)).is_some_and(|text| !text.raw.is_empty());
        !is_thinking(&piece) || given(PieceField::Thinking) || given(PieceField::Signature)
    })
}

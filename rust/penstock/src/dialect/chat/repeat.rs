//! Chunks that repeat the one before them save for the piece they add.
//!
//! Nearly every chunk of a stream says again what the last one said (id, model, role, nulls) and adds one piece
//! of text. So the bytes around that piece are kept, and a chunk that has the same bytes around a valid string is
//! valid JSON, changes nothing else and needs no scan. Whatever differs is scanned in full: this decides how
//! fast a chunk is read, never how.

use super::{ChoiceField, Chunk, ChunkField, DeltaField, PieceField, Pieces, elements, is_blank};
use crate::event::{Span, index};
use crate::json::RawStr;
use crate::shape::{DATA, KNOWN_LONGEST, Miss, SUFFIX, miss, miss_in_string, string_end};
use crate::simd::{Backend, Task, dispatch};

/// Longer chunks are rare, so nothing is learned from them.
const LONGEST: usize = 4096;

/// What the piece of a repeating chunk is appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepeatTarget {
    Content,
    Refusal,
    ReasoningContent,
    Reasoning,
    /// The arguments of the tool call that the last fragment belonged to.
    Arguments,
}

/// A piece that a chunk adds, and to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Added<'a> {
    /// What it is appended to.
    pub(crate) target: RepeatTarget,
    /// The index of the choice.
    pub(crate) choice: u64,
    /// The piece.
    pub(crate) piece: RawStr<'a>,
    /// The bytes from its beginning on, and some behind it.
    pub(crate) wide: Option<&'a [u8; 16]>,
}

/// The chunk before, around its piece.
#[derive(Debug, Default)]
pub(crate) struct Repeat {
    known: Option<(RepeatTarget, u64)>,
    /// Up to the piece, between piece and padding, and the rest, with what stands around the chunk in a stream.
    literals: [Vec<u8>; 3],
    /// Which of the two holes is the piece; the other is `obfuscation`, padding that differs in every chunk.
    piece: usize,
    holes: usize,
}

impl Repeat {
    /// Forgets the chunk before.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.known = None;
    }

    /// What `payload` adds, if it repeats the chunk before.
    #[inline(always)]
    pub(crate) fn fit<'a>(&self, payload: &'a [u8]) -> Option<Added<'a>> {
        let (added, length) = self.fit_in(payload, false).ok()?;
        (length == payload.len()).then_some(added)
    }

    /// What the event that starts at `at` of a stream adds, and where it ends, if it stands there whole and repeats
    /// the chunk before.
    #[inline(always)]
    pub(crate) fn fit_event<'a>(&self, stream: &'a [u8], at: usize) -> Result<(Added<'a>, usize), Miss> {
        let (added, length) = self.fit_in(stream.get(at..).unwrap_or_default(), true)?;
        if length <= KNOWN_LONGEST { Ok((added, at + length)) } else { Err(Miss::Different) }
    }

    #[inline(always)]
    fn fit_in<'a>(&self, text: &'a [u8], framed: bool) -> Result<(Added<'a>, usize), Miss> {
        let (target, choice) = self.known.ok_or(Miss::Different)?;
        let Fitted { start, end, length, escaped, ascii } = dispatch(Fit { repeat: self, text, framed })?;
        let raw = text.get(start as usize..end as usize).unwrap_or_default();
        let wide = text.get(start as usize..).and_then(|rest| rest.first_chunk());
        Ok((Added { target, choice, piece: RawStr { raw, escaped, ascii }, wide }, length as usize))
    }

    /// Remembers a chunk that has just been applied without a breach, if it adds one piece to one choice; says to
    /// what and to which.
    pub(crate) fn learn(&mut self, chunk: &Chunk, payload: &[u8]) -> Option<(RepeatTarget, u64)> {
        self.forget();
        if payload.len() > LONGEST {
            return None;
        }
        let (target, number, piece) = added_piece(chunk, payload)?;
        let padding = chunk.field(ChunkField::Obfuscation);
        let padding = (padding.of(payload).first() == Some(&b'"')).then_some(padding);
        let mut holes = [Some(piece), padding];
        if padding.is_some_and(|padding| padding.start < piece.start) {
            holes.reverse();
        }
        self.piece = usize::from(holes.first() != Some(&Some(piece)));
        self.holes = holes.iter().flatten().count();
        let mut from = 0;
        let mut before = DATA;
        let ends = holes.iter().flatten().map(|hole| (hole.start as usize + 1, hole.end as usize - 1));
        let ends = ends.chain([(payload.len(), payload.len())]);
        for (literal, (end, next)) in self.literals.iter_mut().zip(ends) {
            literal.clear();
            literal.extend_from_slice(std::mem::take(&mut before));
            literal.extend_from_slice(payload.get(from..end).unwrap_or_default());
            from = next;
        }
        if let Some(last) = self.literals.get_mut(self.holes) {
            last.extend_from_slice(SUFFIX);
        }
        self.known = Some((target, number));
        self.known
    }
}

/// A chunk that repeats the one before, with places from its beginning; small enough for two registers.
struct Fitted {
    /// The piece.
    start: u32,
    end: u32,
    /// Of the chunk, or its event.
    length: u32,
    escaped: bool,
    ascii: bool,
}

struct Fit<'r, 'a> {
    repeat: &'r Repeat,
    /// What begins with the chunk, or its event.
    text: &'a [u8],
    /// Whether what stands around a chunk in a stream is to be there too.
    framed: bool,
}

impl Task for Fit<'_, '_> {
    type Output = Result<Fitted, Miss>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        let Self { repeat, text, framed } = self;
        let (mut start, mut end, mut escaped, mut ascii) = (0, 0, false, false);
        let mut at = 0;
        for (place, literal) in repeat.literals.iter().enumerate().take(repeat.holes + 1) {
            let mut literal = &**literal;
            if place == 0 && !framed {
                literal = literal.get(DATA.len()..).unwrap_or_default();
            }
            if place == repeat.holes && !framed {
                literal = literal.get(..literal.len() - SUFFIX.len()).unwrap_or_default();
            }
            if !B::stands_at(text, at, literal) {
                return Err(miss(text, at, literal));
            }
            at += literal.len();
            if place < repeat.holes {
                let Some((stop, plain)) = string_end::<B>(text, at) else {
                    return Err(miss_in_string(text, at));
                };
                if place == repeat.piece {
                    (start, end, ascii) = (at, stop, plain);
                    escaped =
                        !plain && memchr::memchr(b'\\', text.get(at..stop).unwrap_or_default()).is_some();
                }
                at = stop;
            }
        }
        // The places before are no larger.
        let length = u32::try_from(at).map_err(|_| Miss::Different)?;
        Ok(Fitted { start: start as u32, end: end as u32, length, escaped, ascii })
    }
}

/// The one piece that a chunk adds, if applying the chunk again with another piece would do nothing but add that.
fn added_piece(chunk: &Chunk, payload: &[u8]) -> Option<(RepeatTarget, u64, Span)> {
    let [choice] = chunk.choices.as_slice() else { return None };
    let number = match choice.field(ChoiceField::Index).of(payload) {
        b"" | b"null" => 0,
        value => index(value)?,
    };
    let blank = |span: Span| is_blank(span.of(payload));
    let plain = !chunk.duplicates
        && !chunk.odd_choices
        && blank(chunk.field(ChunkField::Error))
        && [ChoiceField::FinishReason, ChoiceField::Logprobs, ChoiceField::Message, ChoiceField::Error]
            .into_iter()
            .all(|field| blank(choice.field(field)))
        && [
            DeltaField::ReasoningDetails,
            DeltaField::ThinkingBlocks,
            DeltaField::FunctionCall,
            DeltaField::Audio,
            DeltaField::Annotations,
            DeltaField::Images,
        ]
        .into_iter()
        .all(|field| blank(choice.delta(field)));
    let mut pieces = [
        (RepeatTarget::Content, DeltaField::Content),
        (RepeatTarget::Refusal, DeltaField::Refusal),
        (RepeatTarget::ReasoningContent, DeltaField::ReasoningContent),
        (RepeatTarget::Reasoning, DeltaField::Reasoning),
        (RepeatTarget::Arguments, DeltaField::ToolCalls),
    ]
    .into_iter()
    .filter(|(_, field)| !blank(choice.delta(*field)));
    let (target, field) = pieces.next()?;
    if !plain || pieces.next().is_some() {
        return None;
    }
    let mut piece = choice.delta(field);
    if target == RepeatTarget::Arguments {
        piece = added_arguments(piece.of(payload), payload)?;
    }
    (piece.of(payload).first() == Some(&b'"')).then_some((target, number, piece))
}

/// The arguments that a list of one fragment adds, if the fragment names its call by nothing but its index.
fn added_arguments(calls: &[u8], payload: &[u8]) -> Option<Span> {
    let mut fragments = elements(calls);
    let fragment = Pieces::read(fragments.next()?);
    let function = Pieces::read(fragment.get(PieceField::Function));
    let arguments = function.get(PieceField::Arguments);
    let known = [PieceField::Index, PieceField::Type, PieceField::Id, PieceField::Function];
    let plain = fragments.next().is_none()
        && !fragment.duplicates
        && !function.duplicates
        && is_blank(fragment.get(PieceField::Id))
        && is_blank(function.get(PieceField::Name))
        && fragment.others(&known).next().is_none()
        && function.others(&[PieceField::Name, PieceField::Arguments]).next().is_none();
    let start = arguments.as_ptr().addr().checked_sub(payload.as_ptr().addr())?;
    plain.then(|| Span::new(start, start + arguments.len()))
}

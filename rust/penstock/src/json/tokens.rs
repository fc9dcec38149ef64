//! The tokens of one JSON text, 64 bytes at a time.
//!
//! Each block is classified at once into bit masks; strings are told from the rest by the parity of the quotes
//! before each byte, so text is never looked at byte by byte. What remains is one bit for each place where
//! something starts: an operator outside strings, a string, a scalar. The walkers below pull those places one by
//! one and hold them to the grammar of RFC 8259.
//!
//! The walkers say only whether a text is valid; a refused text is read again by the [`Cursor`], which knows why
//! and where. Both must agree on every input, which the tests and the fuzzer check.

use std::marker::PhantomData;

use crate::json::skip::{Pass, Skip};
use crate::json::{Cursor, Kind};
use crate::simd::{BLOCK, Backend, Masks, Task};

/// A place where something starts, and the byte that stands there; zero at the end of the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) at: usize,
    pub(crate) byte: u8,
}

/// The text is not valid JSON, or deeper than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Pulls tokens from a text. What it does for each token is compiled into each of its users; what it does for a
/// block or a container is not, or the many users would push one another out of the processor's caches.
pub(crate) struct Tokens<'a, B> {
    blocks: Blocks<'a>,
    backend: PhantomData<B>,
}

/// A text that is classified block by block.
pub(super) struct Blocks<'a> {
    pub(super) text: &'a [u8],
    /// Starts in the current block not yet pulled.
    pub(super) starts: u64,
    /// What the current block's bytes are.
    pub(super) masks: Masks,
    /// Place of the current block; the text's first block is at 0.
    pub(super) block: usize,
    /// Place of the next block.
    next: usize,
    /// All ones when the current block ended inside a string.
    in_string: u64,
    /// One when the next block's first byte is escaped.
    escaped: u64,
    /// One when the current block's last byte belongs to a scalar.
    scalar: u64,
    invalid: bool,
}

/// Goes on to the next block.
struct Advance<'t, 'a>(&'t mut Blocks<'a>);

impl Task for Advance<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Backend>(self) {
        self.0.advance::<B>();
    }
}

impl<'a, B: Backend> Tokens<'a, B> {
    #[inline(always)]
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { blocks: Blocks::new(text), backend: PhantomData }
    }

    /// Pulls the next token.
    #[inline(always)]
    pub(crate) fn pull(&mut self) -> Token {
        self.blocks.pull::<B>()
    }

    /// Passes the rest of the container that opens at `open`, checking it; `depth` is its own level, 1 being
    /// the outermost. Returns the place of its closing bracket.
    #[inline(always)]
    pub(crate) fn skip_container(&mut self, open: Token, depth: u64) -> Result<usize, Invalid> {
        // The two commonest containers of a stream are empty ones.
        let first = self.pull();
        if first.byte == open.byte + 2 {
            return Ok(first.at);
        }
        B::apart(Skip { blocks: &mut self.blocks, open, first, depth })
    }

    /// Passes the rest of a container in a text that was checked before: only brackets outside strings are counted.
    /// Returns the place of its closing bracket.
    #[inline(always)]
    pub(crate) fn pass_container(&mut self) -> Result<usize, Invalid> {
        B::apart(Pass(&mut self.blocks))
    }

    /// Requires that nothing is left and all was well.
    #[inline(always)]
    pub(crate) fn end(mut self) -> Result<(), Invalid> {
        let last = self.pull();
        self.blocks.end(last)
    }

    /// The end of a value whose next token is at `next`: white space before that is not part of it.
    #[inline(always)]
    pub(crate) fn end_before(&self, next: usize) -> usize {
        self.blocks.end_before(next)
    }

    /// Checks the number or literal that starts at `token` and gives its kind and end.
    #[inline(always)]
    pub(crate) fn scalar(&self, token: Token) -> Result<(Kind, usize), Invalid> {
        self.blocks.scalar(token)
    }
}

impl<'a> Blocks<'a> {
    #[inline(always)]
    const fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            starts: 0,
            masks: Masks::NONE,
            block: 0,
            next: 0,
            in_string: 0,
            escaped: 0,
            scalar: 0,
            invalid: false,
        }
    }

    /// Pulls the next token.
    #[inline(always)]
    pub(super) fn pull<B: Backend>(&mut self) -> Token {
        while self.starts == 0 {
            if self.is_last() {
                return Token { at: self.text.len(), byte: 0 };
            }
            B::apart(Advance(self));
        }
        let at = self.block + self.starts.trailing_zeros() as usize;
        self.starts &= self.starts - 1;
        Token { at, byte: self.text.get(at).copied().unwrap_or_default() }
    }

    /// Gives back the token pulled last: blocks are read whole.
    #[inline(always)]
    pub(super) const fn unpull(&mut self, token: Token) {
        if token.at < self.text.len() {
            self.starts |= 1 << (token.at - self.block);
        }
    }

    /// Whether no block follows this one.
    #[inline(always)]
    pub(super) const fn is_last(&self) -> bool {
        self.next >= self.text.len()
    }

    /// Classifies the next block.
    #[inline(always)]
    pub(super) fn advance<B: Backend>(&mut self) {
        let rest = self.text.get(self.next..).unwrap_or_default();
        let masks = match rest.first_chunk::<BLOCK>() {
            Some(block) => B::masks(block),
            None => last_block::<B>(self.text, rest),
        };
        self.block = self.next;
        self.next += BLOCK;
        let escaped = if masks.backslash | self.escaped == 0 { 0 } else { self.escapes(masks.backslash) };
        let quote = masks.quote & !escaped;
        let in_string = B::prefix_xor(quote) ^ self.in_string;
        self.in_string = (in_string.cast_signed() >> 63).cast_unsigned();
        // White space other than blanks is rare between tokens, and control characters in strings are errors.
        let white =
            if masks.control == 0 { masks.space } else { self.white(masks.control, in_string) | masks.space };
        let operator = masks.open | masks.close | masks.colon | masks.comma;
        let scalar = !(operator | white | quote);
        let starts = scalar & !(scalar << 1 | self.scalar) | quote | operator;
        self.scalar = scalar >> 63;
        self.starts = starts & !(in_string ^ quote);
        self.masks = masks;
    }

    /// Marks the bytes that a backslash escapes and checks the escapes that stand in this block.
    #[inline(never)]
    fn escapes(&mut self, backslash: u64) -> u64 {
        let escaped = escaped_by(backslash, &mut self.escaped);
        let mut letters = escaped;
        while letters != 0 {
            let at = self.block + letters.trailing_zeros() as usize;
            letters &= letters - 1;
            self.invalid |= match self.text.get(at) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => false,
                Some(b'u') => !self
                    .text
                    .get(at + 1..at + 5)
                    .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
                _ => true,
            };
        }
        escaped
    }

    /// Sorts control characters into white space and errors.
    #[inline(never)]
    fn white(&mut self, control: u64, in_string: u64) -> u64 {
        self.invalid |= control & in_string != 0;
        let mut white = control;
        let mut rest = control & !in_string;
        while rest != 0 {
            let place = rest.trailing_zeros();
            rest &= rest - 1;
            if !matches!(self.text.get(self.block + place as usize), Some(b'\t' | b'\n' | b'\r')) {
                white &= !(1 << place);
            }
        }
        white
    }

    /// Requires that `last` is the end of the text and that all was well.
    #[inline(always)]
    const fn end(&self, last: Token) -> Result<(), Invalid> {
        if last.at < self.text.len() || self.in_string != 0 || self.escaped != 0 || self.invalid {
            return Err(Invalid);
        }
        Ok(())
    }

    /// The end of a value whose next token is at `next`: white space before that is not part of it.
    #[inline(always)]
    fn end_before(&self, next: usize) -> usize {
        end_before(self.text, next)
    }

    /// Checks the number or literal that starts at `token` and gives its kind and end.
    #[inline(always)]
    pub(super) fn scalar(&self, token: Token) -> Result<(Kind, usize), Invalid> {
        let rest = self.text.get(token.at..).unwrap_or_default();
        let (kind, length) = match token.byte {
            b'-' | b'0'..=b'9' => (Kind::Number, number(rest)?),
            b't' if rest.starts_with(b"true") => (Kind::True, 4),
            b'f' if rest.starts_with(b"false") => (Kind::False, 5),
            b'n' if rest.starts_with(b"null") => (Kind::Null, 4),
            _ => return Err(Invalid),
        };
        match rest.get(length) {
            None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') => Ok((kind, token.at + length)),
            Some(_) => Err(Invalid),
        }
    }
}

/// Where a text ends whose next token is at `next`: white space before that is not part of it.
#[inline(always)]
pub(crate) fn end_before(text: &[u8], next: usize) -> usize {
    let mut end = next;
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = end.checked_sub(1).and_then(|last| text.get(last)) {
        end -= 1;
    }
    end
}

/// The bytes of a block that a backslash escapes; `carried` is one when the block's first byte is escaped, and then when
/// the next one's is.
#[inline]
pub(super) fn escaped_by(backslash: u64, carried: &mut u64) -> u64 {
    let mut escaped = *carried;
    let mut rest = backslash & !escaped;
    *carried = 0;
    while rest != 0 {
        let next = (rest & rest.wrapping_neg()) << 1;
        *carried = u64::from(next == 0);
        escaped |= next;
        rest &= !(next | next.wrapping_sub(1));
    }
    escaped
}

/// The masks of the text's last bytes, as if blanks followed them.
#[inline(always)]
pub(super) fn last_block<B: Backend>(text: &[u8], rest: &[u8]) -> Masks {
    let Some(last) = text.last_chunk::<BLOCK>() else {
        let mut block = [b' '; BLOCK];
        if let Some(start) = block.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        return B::masks(&block);
    };
    // The text's last 64 bytes overlap the block before; shift that part out.
    let seen = BLOCK - rest.len();
    let masks = B::masks(last);
    Masks {
        quote: masks.quote >> seen,
        backslash: masks.backslash >> seen,
        open: masks.open >> seen,
        close: masks.close >> seen,
        colon: masks.colon >> seen,
        comma: masks.comma >> seen,
        space: !(!masks.space >> seen),
        control: masks.control >> seen,
    }
}

/// The length of the number that `text` starts with.
#[inline(always)]
fn number(text: &[u8]) -> Result<usize, Invalid> {
    // Indices and sequence numbers are a digit or a few.
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0
        && (digits == 1 || text.first() != Some(&b'0'))
        && !matches!(text.get(digits), Some(b'.' | b'e' | b'E'))
    {
        return Ok(digits);
    }
    uncommon_number(text)
}

#[inline(never)]
fn uncommon_number(text: &[u8]) -> Result<usize, Invalid> {
    let mut cursor = Cursor::new(text);
    cursor.number().map_err(|_| Invalid)?;
    Ok(cursor.position())
}

//! The tokens of one JSON text, 64 bytes at a time.
//!
//! Each block is classified at once into bit masks; strings are told from the rest by the parity of the quotes
//! before each byte, so text is never looked at byte by byte. What remains is one bit for each place where
//! something starts: an operator outside strings, a string, a scalar. The walkers below pull those places one by
//! one and hold them to the grammar of RFC 8259.
//!
//! The walkers say only whether a text is valid; a refused text is read again by the [`Cursor`], which knows why
//! and where. Both must agree on every input, which the tests and the fuzzer check.

use crate::json::{Cursor, Kind};
use crate::limits::DEPTH_CEILING;
use crate::simd::{BLOCK, Backend, Masks};

/// A place where something starts, and the byte that stands there; zero at the end of the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) at: usize,
    pub(crate) byte: u8,
}

/// The text is not valid JSON, or deeper than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Pulls tokens from a text.
pub(crate) struct Tokens<'a, B> {
    text: &'a [u8],
    /// Starts in the current block not yet pulled.
    starts: u64,
    /// What the current block's bytes are.
    masks: Masks,
    /// Place of the current block; the text's first block is at 0.
    block: usize,
    /// Place of the next block.
    next: usize,
    /// All ones when the current block ended inside a string.
    in_string: u64,
    /// One when the next block's first byte is escaped.
    escaped: u64,
    /// One when the current block's last byte belongs to a scalar.
    scalar: u64,
    invalid: bool,
    backend: std::marker::PhantomData<B>,
}

impl<'a, B: Backend> Tokens<'a, B> {
    #[inline(always)]
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            starts: 0,
            masks: Masks::default(),
            block: 0,
            next: 0,
            in_string: 0,
            escaped: 0,
            scalar: 0,
            invalid: false,
            backend: std::marker::PhantomData,
        }
    }

    /// Pulls the next token.
    #[inline(always)]
    pub(crate) fn pull(&mut self) -> Token {
        while self.starts == 0 {
            if self.next >= self.text.len() {
                return Token { at: self.text.len(), byte: 0 };
            }
            self.advance();
        }
        let at = self.block + self.starts.trailing_zeros() as usize;
        self.starts &= self.starts - 1;
        Token { at, byte: self.text.get(at).copied().unwrap_or_default() }
    }

    /// Classifies the next block.
    #[inline(always)]
    fn advance(&mut self) {
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
        let mut escaped = self.escaped;
        let mut rest = backslash & !escaped;
        self.escaped = 0;
        while rest != 0 {
            let place = rest.trailing_zeros();
            if place == 63 {
                self.escaped = 1;
                break;
            }
            let next = 2_u64 << place;
            escaped |= next;
            rest &= !(next | next - 1);
        }
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

    /// Requires that nothing is left and all was well.
    #[inline(always)]
    pub(crate) fn end(mut self) -> Result<(), Invalid> {
        let last = self.pull();
        if last.at < self.text.len() || self.in_string != 0 || self.escaped != 0 || self.invalid {
            return Err(Invalid);
        }
        Ok(())
    }

    /// The end of a value whose next token is at `next`: white space before that is not part of it.
    #[inline(always)]
    pub(crate) fn end_before(&self, next: usize) -> usize {
        let mut end = next;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = end.checked_sub(1).and_then(|last| self.text.get(last))
        {
            end -= 1;
        }
        end
    }

    /// Checks the number or literal that starts at `token` and gives its kind and end.
    #[inline(always)]
    pub(crate) fn scalar(&self, token: Token) -> Result<(Kind, usize), Invalid> {
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

    /// Passes the rest of the container that opens at `open`, checking it; `depth` is its own level, 1 being
    /// the outermost. Returns the place of its closing bracket.
    #[inline(always)]
    pub(crate) fn skip_container(&mut self, open: Token, depth: u64) -> Result<usize, Invalid> {
        // The two commonest containers of a stream are empty ones.
        let first = self.pull();
        let close = open.byte + 2;
        if first.byte == close {
            return Ok(first.at);
        }
        if B::COMPRESSES {
            // Give the token back: blocks are read whole.
            self.starts |= if first.at < self.text.len() { 1 << (first.at - self.block) } else { 0 };
            return self.skip_blocks(open, depth);
        }
        self.skip_filled(open, first, depth)
    }

    /// Passes the rest of a container in a text that was checked before: only brackets outside strings are counted,
    /// a block at a time. Returns the place of its closing bracket.
    #[inline(always)]
    pub(crate) fn pass_container(&mut self) -> Result<usize, Invalid> {
        let mut level = 1;
        loop {
            let (opens, closes) = (self.masks.open & self.starts, self.masks.close & self.starts);
            if closes.count_ones() < level {
                level = level + opens.count_ones() - closes.count_ones();
            } else {
                let mut brackets = opens | closes;
                while brackets != 0 {
                    let bit = brackets & brackets.wrapping_neg();
                    brackets ^= bit;
                    level = if opens & bit == 0 { level - 1 } else { level + 1 };
                    if level == 0 {
                        self.starts &= !(bit | bit - 1);
                        return Ok(self.block + bit.trailing_zeros() as usize);
                    }
                }
            }
            self.starts = 0;
            if self.next >= self.text.len() {
                return Err(Invalid);
            }
            self.advance();
        }
    }

    /// Passes the rest of a container, all tokens of a block at once.
    ///
    /// Which kinds of token may stand side by side is checked by moving the tokens' bits together and comparing
    /// them with the same bits shifted by one and two. What that cannot see — that each member of an object
    /// has a key and no element of an array does — follows from the number of colons and commas at each level,
    /// counted while the brackets are matched one by one.
    #[inline(always)]
    fn skip_blocks(&mut self, open: Token, depth: u64) -> Result<usize, Invalid> {
        let room = DEPTH_CEILING.checked_sub(depth).ok_or(Invalid)? as usize;
        let mut levels = Levels::new(open.byte == b'{', room);
        let mut before = Neighbours::after_open();
        loop {
            let starts = self.starts;
            if starts != 0 {
                let masks = &self.masks;
                let end = levels.match_brackets(self.text, self.block, starts, masks, before.open1)?;
                // Tokens behind the container's end belong to whoever asked.
                let own = end.map_or(starts, |end| starts & (u64::MAX >> (63 - end)));
                before = before.check::<B>(own, masks)?;
                let operators = masks.open | masks.close | masks.colon | masks.comma | masks.quote;
                let mut scalars = own & !operators;
                while scalars != 0 {
                    let at = self.block + scalars.trailing_zeros() as usize;
                    scalars &= scalars - 1;
                    self.scalar(Token { at, byte: self.text.get(at).copied().unwrap_or_default() })?;
                }
                self.starts = starts & !own;
                if let Some(end) = end {
                    return Ok(self.block + end as usize);
                }
            }
            if self.next >= self.text.len() {
                return Err(Invalid);
            }
            self.advance();
        }
    }

    /// Passes the rest of a container whose first token is `token`. Bit `n` of `objects` tells what stands open
    /// at level `n` from here.
    #[inline(always)]
    fn skip_filled(&mut self, open: Token, mut token: Token, depth: u64) -> Result<usize, Invalid> {
        let room = DEPTH_CEILING.saturating_sub(depth);
        let mut objects = u128::from(open.byte == b'{');
        let mut level: u64 = 0;
        if depth > DEPTH_CEILING {
            return Err(Invalid);
        }
        let mut object = open.byte == b'{';
        loop {
            // `token` starts a member or an element.
            if object {
                if token.byte != b'"' || self.pull().byte != b':' {
                    return Err(Invalid);
                }
                token = self.pull();
            }
            match token.byte {
                b'"' => {}
                b'{' | b'[' => {
                    if level >= room {
                        return Err(Invalid);
                    }
                    let inner = token.byte == b'{';
                    let close = token.byte + 2;
                    token = self.pull();
                    if token.byte != close {
                        level += 1;
                        objects = objects & !(1 << level) | u128::from(inner) << level;
                        object = inner;
                        continue;
                    }
                }
                _ => {
                    self.scalar(token)?;
                }
            }
            // A value ended; close what ends with it.
            loop {
                token = self.pull();
                if token.byte == b',' {
                    token = self.pull();
                    break;
                }
                if token.byte != if object { b'}' } else { b']' } {
                    return Err(Invalid);
                }
                if level == 0 {
                    return Ok(token.at);
                }
                level -= 1;
                object = objects >> level & 1 == 1;
            }
        }
    }
}

/// The containers that are open, and how many more colons than commas each object has so far.
struct Levels {
    room: usize,
    level: usize,
    /// Bit `n` tells whether the container at level `n` is an object.
    objects: u128,
    /// Of the current container.
    balance: i32,
    /// Of those around it.
    outer: [i32; DEPTH_CEILING as usize],
}

impl Levels {
    #[inline(always)]
    fn new(object: bool, room: usize) -> Self {
        Self { room, level: 0, objects: u128::from(object), balance: 0, outer: [0; DEPTH_CEILING as usize] }
    }

    #[inline(always)]
    const fn in_object(&self) -> bool {
        self.objects >> self.level & 1 == 1
    }

    /// Follows the brackets of one block; returns the bit that ends the outermost container, if it does.
    /// `opened` tells whether the token before this block's first is an opening bracket.
    #[inline(always)]
    fn match_brackets(
        &mut self,
        text: &[u8],
        block: usize,
        starts: u64,
        masks: &Masks,
        opened: u64,
    ) -> Result<Option<u32>, Invalid> {
        let mut brackets = starts & (masks.open | masks.close);
        let mut rest = starts;
        while brackets != 0 {
            let bit = brackets & brackets.wrapping_neg();
            let place = brackets.trailing_zeros();
            let behind = rest & (bit - 1);
            self.count(behind, masks)?;
            rest &= !(bit | (bit - 1));
            brackets &= brackets - 1;
            let byte = text.get(block + place as usize).copied().unwrap_or_default();
            if masks.open & bit != 0 {
                if self.level >= self.room {
                    return Err(Invalid);
                }
                *self.outer.get_mut(self.level).ok_or(Invalid)? = self.balance;
                self.level += 1;
                self.balance = 0;
                let object = u128::from(byte == b'{');
                self.objects = self.objects & !(1 << self.level) | object << self.level;
                continue;
            }
            if byte != if self.in_object() { b'}' } else { b']' } {
                return Err(Invalid);
            }
            if self.in_object() && self.balance != 1 {
                // Only an empty object has no member: its opening bracket is the token before.
                let tokens = starts & (bit - 1);
                let last_opens =
                    if tokens == 0 { opened == 1 } else { masks.open >> tokens.ilog2() & 1 == 1 };
                if self.balance != 0 || !last_opens {
                    return Err(Invalid);
                }
            }
            if self.level == 0 {
                return Ok(Some(place));
            }
            self.level -= 1;
            self.balance = self.outer.get(self.level).copied().ok_or(Invalid)?;
        }
        self.count(rest, masks)?;
        Ok(None)
    }

    /// Counts the colons and commas among some tokens of the current container.
    #[inline(always)]
    fn count(&mut self, tokens: u64, masks: &Masks) -> Result<(), Invalid> {
        let colons = (tokens & masks.colon).count_ones().cast_signed();
        if self.in_object() {
            self.balance += colons - (tokens & masks.comma).count_ones().cast_signed();
        } else if colons != 0 {
            return Err(Invalid);
        }
        Ok(())
    }
}

/// What the last two tokens before a block were; each is a bit or two, the nearer token higher.
#[derive(Clone, Copy)]
struct Neighbours {
    /// The last token opens a container.
    open1: u64,
    /// The last token is a string.
    string1: u64,
    /// The last token lets a value follow: an opening bracket, a colon or a comma.
    before_value1: u64,
    /// The last token ends a value: a string, a scalar or a closing bracket.
    value1: u64,
    /// The last two tokens let a key follow: an opening bracket or a comma.
    before_key2: u64,
}

impl Neighbours {
    const fn after_open() -> Self {
        Self { open1: 1, string1: 0, before_value1: 1, value1: 0, before_key2: 0b10 }
    }

    /// Checks that each token may stand behind the one before, and gives the neighbours of the next block.
    #[inline(always)]
    fn check<B: Backend>(self, tokens: u64, masks: &Masks) -> Result<Self, Invalid> {
        let count = tokens.count_ones();
        if count == 0 {
            return Ok(self);
        }
        let open = B::compress(masks.open, tokens);
        let close = B::compress(masks.close, tokens);
        let colon = B::compress(masks.colon, tokens);
        let comma = B::compress(masks.comma, tokens);
        let string = B::compress(masks.quote, tokens);
        let all = u64::MAX >> (64 - count);
        let value = all & !(open | close | colon | comma);
        let before_value = open | colon | comma;
        let ended = value | close;
        let before_key = open | comma;
        let wrong = (value | open) & !(before_value << 1 | self.before_value1)
            | colon & !(string << 1 | self.string1)
            | colon & !(before_key << 2 | self.before_key2)
            | comma & !(ended << 1 | self.value1)
            | close & !((ended | open) << 1 | self.value1 | self.open1);
        if wrong != 0 {
            return Err(Invalid);
        }
        let last = count - 1;
        let two_last =
            |bits: u64, before: u64| if count == 1 { before >> 1 | bits << 1 } else { bits >> (count - 2) };
        Ok(Self {
            open1: open >> last,
            string1: string >> last,
            before_value1: before_value >> last,
            value1: ended >> last,
            before_key2: two_last(before_key, self.before_key2),
        })
    }
}

/// The masks of the text's last bytes, as if blanks followed them.
#[inline(always)]
fn last_block<B: Backend>(text: &[u8], rest: &[u8]) -> Masks {
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
    let mut cursor = Cursor::new(text);
    cursor.number().map_err(|_| Invalid)?;
    Ok(cursor.position())
}

//! Passing a container without looking into it.

use crate::json::tokens::{Blocks, Invalid, Token};
use crate::limits::DEPTH_CEILING;
use crate::simd::{Backend, Masks, Task};

/// Passes the rest of the container that opens at `open` and is not empty, checking it; `first` is the token behind
/// that, `depth` the container's own level, 1 being the outermost. Gives the place of its closing bracket.
pub(super) struct Skip<'t, 'a> {
    pub(super) blocks: &'t mut Blocks<'a>,
    pub(super) open: Token,
    pub(super) first: Token,
    pub(super) depth: u64,
}

impl Task for Skip<'_, '_> {
    type Output = Result<usize, Invalid>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        let Self { blocks, open, first, depth } = self;
        if B::COMPRESSES {
            blocks.unpull(first);
            return blocks.skip_blocks::<B>(open, depth);
        }
        blocks.skip_filled::<B>(open, first, depth)
    }
}

/// Passes the rest of a container in a text that was checked before: only brackets outside strings are counted,
/// a block at a time. Gives the place of its closing bracket.
pub(super) struct Pass<'t, 'a>(pub(super) &'t mut Blocks<'a>);

impl Task for Pass<'_, '_> {
    type Output = Result<usize, Invalid>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        self.0.pass::<B>()
    }
}

impl Blocks<'_> {
    #[inline(always)]
    fn pass<B: Backend>(&mut self) -> Result<usize, Invalid> {
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
            if self.is_last() {
                return Err(Invalid);
            }
            self.advance::<B>();
        }
    }

    /// Passes the rest of a container, all tokens of a block at once.
    ///
    /// Which kinds of token may stand side by side is checked by moving the tokens' bits together and comparing
    /// them with the same bits shifted by one and two. What that cannot see — that each member of an object
    /// has a key and no element of an array does — follows from the number of colons and commas at each level,
    /// counted while the brackets are matched one by one.
    #[inline(always)]
    fn skip_blocks<B: Backend>(&mut self, open: Token, depth: u64) -> Result<usize, Invalid> {
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
            if self.is_last() {
                return Err(Invalid);
            }
            self.advance::<B>();
        }
    }

    /// Passes the rest of a container whose first token is `token`. Bit `n` of `objects` tells what stands open
    /// at level `n` from here.
    #[inline(always)]
    fn skip_filled<B: Backend>(
        &mut self,
        open: Token,
        mut token: Token,
        depth: u64,
    ) -> Result<usize, Invalid> {
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
                if token.byte != b'"' || self.pull::<B>().byte != b':' {
                    return Err(Invalid);
                }
                token = self.pull::<B>();
            }
            match token.byte {
                b'"' => {}
                b'{' | b'[' => {
                    if level >= room {
                        return Err(Invalid);
                    }
                    let inner = token.byte == b'{';
                    let close = token.byte + 2;
                    token = self.pull::<B>();
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
                token = self.pull::<B>();
                if token.byte == b',' {
                    token = self.pull::<B>();
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
    /// Of those around it, the outermost first; the rest of them are in `deep`.
    outer: [i32; USUAL_LEVELS],
    deep: Vec<i32>,
}

/// More levels than most containers have.
const USUAL_LEVELS: usize = 12;

impl Levels {
    #[inline(always)]
    fn new(object: bool, room: usize) -> Self {
        let outer = [0; USUAL_LEVELS];
        Self { room, level: 0, objects: u128::from(object), balance: 0, outer, deep: Vec::new() }
    }

    /// A container opens.
    #[inline(always)]
    fn enter(&mut self) {
        match self.outer.get_mut(self.level) {
            Some(outer) => *outer = self.balance,
            None => self.deep.push(self.balance),
        }
        self.level += 1;
        self.balance = 0;
    }

    /// The container closes; it is not the outermost.
    #[inline(always)]
    fn leave(&mut self) {
        self.level -= 1;
        let outer = self.outer.get(self.level).copied();
        self.balance = outer.or_else(|| self.deep.pop()).unwrap_or_default();
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
                self.enter();
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
            self.leave();
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

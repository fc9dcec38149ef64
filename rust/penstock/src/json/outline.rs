//! The brackets, colons and strings of a text, 64 bytes at a time, whatever the grammar says of them.

use std::marker::PhantomData;

use crate::json::tokens::{escaped_by, last_block};
use crate::simd::{BLOCK, Backend};

/// Goes through a text block by block.
pub(crate) struct Outline<'a, B> {
    text: &'a [u8],
    /// Place of the next block.
    next: usize,
    /// All ones when the last block ended inside a string.
    in_string: u64,
    /// One when the next block's first byte is escaped.
    escaped: u64,
    backend: PhantomData<B>,
}

/// One block; bit `i` is byte `at + i`.
pub(crate) struct OutlineBlock {
    pub(crate) at: usize,
    /// `{` and `[` outside strings.
    pub(crate) open: u64,
    /// `}` and `]` outside strings.
    pub(crate) close: u64,
    /// `:` outside strings.
    pub(crate) colon: u64,
    /// Where strings begin.
    pub(crate) quote: u64,
    /// Whether there is an escape in it.
    pub(crate) escapes: bool,
}

impl<'a, B: Backend> Outline<'a, B> {
    #[inline(always)]
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text, next: 0, in_string: 0, escaped: 0, backend: PhantomData }
    }

    /// The next block, if there is one.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<OutlineBlock> {
        let at = self.next;
        let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
        let masks = match rest.first_chunk::<BLOCK>() {
            Some(block) => B::masks(block),
            None => last_block::<B>(self.text, rest),
        };
        self.next = at + BLOCK;
        let escapes = masks.backslash | self.escaped != 0;
        let quote = if escapes { masks.quote & !self.escaped(masks.backslash) } else { masks.quote };
        let in_string = B::prefix_xor(quote) ^ self.in_string;
        self.in_string = (in_string.cast_signed() >> 63).cast_unsigned();
        let outside = !in_string;
        Some(OutlineBlock {
            at,
            open: masks.open & outside,
            close: masks.close & outside,
            colon: masks.colon & outside,
            quote: quote & in_string,
            escapes,
        })
    }

    /// The bytes that a backslash escapes.
    #[inline(never)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        escaped_by(backslash, &mut self.escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::{Outline, OutlineBlock};
    use crate::simd::{BLOCK, Backend, Task, dispatch};

    /// The places of what is found, one list a kind.
    #[derive(Debug, PartialEq, Default)]
    struct Places {
        open: Vec<usize>,
        close: Vec<usize>,
        colon: Vec<usize>,
        quote: Vec<usize>,
    }

    struct Read<'a>(&'a [u8]);

    impl Task for Read<'_> {
        type Output = Places;

        #[inline(always)]
        fn run<B: Backend>(self) -> Places {
            let mut places = Places::default();
            let mut outline = Outline::<B>::new(self.0);
            while let Some(OutlineBlock { at, open, close, colon, quote, .. }) = outline.next() {
                let bits =
                    |mask: u64| (0..BLOCK).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| at + bit);
                places.open.extend(bits(open));
                places.close.extend(bits(close));
                places.colon.extend(bits(colon));
                places.quote.extend(bits(quote));
            }
            places
        }
    }

    /// The rule itself, a byte at a time.
    fn naive(text: &[u8]) -> Places {
        let mut places = Places::default();
        let (mut in_string, mut escaped) = (false, false);
        for (at, &byte) in text.iter().enumerate() {
            let plain = !std::mem::replace(&mut escaped, false);
            match byte {
                b'\\' if plain => escaped = true,
                b'"' if plain => {
                    in_string = !in_string;
                    if in_string {
                        places.quote.push(at);
                    }
                }
                b'{' | b'[' if !in_string => places.open.push(at),
                b'}' | b']' if !in_string => places.close.push(at),
                b':' if !in_string => places.colon.push(at),
                _ => {}
            }
        }
        places
    }

    #[test]
    fn any_text_is_outlined_as_byte_by_byte() {
        const BYTES: &[u8; 16] = br#""\{}[]:a,1 "\\"x"#;
        let mut state = 7_u64;
        for length in (0..300).chain([1000, 4096]) {
            for _ in 0..20 {
                let text: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        BYTES[(state >> 60) as usize]
                    })
                    .collect();
                assert_eq!(dispatch(Read(&text)), naive(&text), "{}", String::from_utf8_lossy(&text));
            }
        }
        let escapes = [b'\\'; 200];
        assert_eq!(dispatch(Read(&escapes)), Places::default());
    }
}

//! The only `unsafe` of the core: wide instructions. Everything here has a safe twin that the tests hold it to.

#[cfg(target_arch = "x86_64")]
mod x86;

/// Bytes that are classified at once.
pub(crate) const BLOCK: usize = 64;

/// What the bytes of one block are; bit `i` is byte `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Masks {
    /// `"`
    pub(crate) quote: u64,
    /// `\`
    pub(crate) backslash: u64,
    /// `{ [`
    pub(crate) open: u64,
    /// `} ]`
    pub(crate) close: u64,
    /// `:`
    pub(crate) colon: u64,
    /// `,`
    pub(crate) comma: u64,
    /// Space.
    pub(crate) space: u64,
    /// Below 0x20.
    pub(crate) control: u64,
}

impl Masks {
    pub(crate) const NONE: Self =
        Self { quote: 0, backslash: 0, open: 0, close: 0, colon: 0, comma: 0, space: 0, control: 0 };
}

/// One instruction set.
pub(crate) trait Backend {
    /// Whether [`Backend::compress`] is one instruction rather than a loop.
    const COMPRESSES: bool = false;

    /// The bits of `bits` at the places set in `mask`, moved together at the low end.
    #[inline(always)]
    fn compress(bits: u64, mask: u64) -> u64 {
        let mut rest = mask;
        let mut packed = 0;
        let mut place = 0;
        while rest != 0 {
            packed |= (bits >> rest.trailing_zeros() & 1) << place;
            rest &= rest - 1;
            place += 1;
        }
        packed
    }

    /// Does a task in a function of its own, which all that ask for it share.
    fn apart<T: Task>(task: T) -> T::Output;

    /// Classifies a block.
    fn masks(block: &[u8; BLOCK]) -> Masks;

    /// Whether `literal` stands at `at`.
    #[inline(always)]
    fn stands_at(text: &[u8], at: usize, literal: &[u8]) -> bool {
        text.get(at..at + literal.len()) == Some(literal)
    }

    /// The first `"`, `\` or byte below 0x20 at or after `from`, or the length of the text; and whether all before
    /// it is ASCII.
    #[inline(always)]
    fn string_stop(text: &[u8], from: usize) -> (usize, bool) {
        string_stop(text, from)
    }

    /// The first LF or CR at or after `from`.
    #[inline(always)]
    fn line_end(text: &[u8], from: usize) -> Option<usize> {
        memchr::memchr2(b'\n', b'\r', text.get(from..)?).map(|length| from + length)
    }

    /// Bit `i` of the result is the parity of bits `0..=i`.
    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        let mut bits = bits;
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }
}

/// Work that is compiled once for each instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Task {
    type Output;

    fn run<B: Backend>(self) -> Self::Output;
}

/// Does `task` with the widest instructions this processor has.
#[inline]
pub(crate) fn dispatch<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        x86::dispatch(task)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        task.run::<Portable>()
    }
}

/// The safe twin of every backend, and the one for other processors.
#[cfg_attr(
    target_arch = "x86_64",
    allow(dead_code, reason = "x86-64 always has SSE2; tests compare with this")
)]
pub(crate) struct Portable;

impl Backend for Portable {
    #[inline(never)]
    fn apart<T: Task>(task: T) -> T::Output {
        task.run::<Self>()
    }

    #[inline(always)]
    fn masks(block: &[u8; BLOCK]) -> Masks {
        let mut masks = Masks::default();
        for (place, &byte) in block.iter().enumerate() {
            masks.quote |= u64::from(byte == b'"') << place;
            masks.backslash |= u64::from(byte == b'\\') << place;
            masks.open |= u64::from(matches!(byte, b'{' | b'[')) << place;
            masks.close |= u64::from(matches!(byte, b'}' | b']')) << place;
            masks.colon |= u64::from(byte == b':') << place;
            masks.comma |= u64::from(byte == b',') << place;
            masks.space |= u64::from(byte == b' ') << place;
            masks.control |= u64::from(byte < 0x20) << place;
        }
        masks
    }
}

/// Finds the first `"`, `\` or byte below 0x20 at or after `from`, and whether all before it is ASCII.
#[inline]
pub(crate) fn string_stop(bytes: &[u8], from: usize) -> (usize, bool) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { x86::string_stop(bytes, from) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        string_stop_portable(bytes, from)
    }
}

/// The safe twin of [`string_stop`], eight bytes at a time.
#[inline]
fn string_stop_portable(bytes: &[u8], from: usize) -> (usize, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    /// High bit of each zero byte; exact up to and including the first one.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }

    let mut at = from;
    let mut ascii = true;
    let rest = bytes.get(from..).unwrap_or_default();
    for word in rest.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        let quote = zeros(word ^ (ONES * u64::from(b'"')));
        let backslash = zeros(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let stops = quote | backslash | control;
        if stops != 0 {
            let low = stops & stops.wrapping_neg();
            ascii &= word & HIGHS & (low - 1) == 0;
            return (at + (stops.trailing_zeros() / 8) as usize, ascii);
        }
        ascii &= word & HIGHS == 0;
        at += 8;
    }
    for &byte in bytes.get(at..).unwrap_or_default() {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        ascii &= byte.is_ascii();
        at += 1;
    }
    (at, ascii)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Backend, Masks, Portable, Task, dispatch, string_stop, string_stop_portable};

    /// The rule itself, a byte at a time.
    fn naive(bytes: &[u8], from: usize) -> (usize, bool) {
        let tail = bytes.get(from..).unwrap_or_default();
        let length = tail.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(tail.len());
        (from.max(from + length), tail[..length].is_ascii())
    }

    #[test]
    fn every_stop_at_every_place_in_every_length() {
        for length in 0..40 {
            for place in 0..=length {
                for stop in [b'"', b'\\', 0, 0x1f, 0x20, 0x7f, 0x80, 0xff, b'!', b'#', b'[', b']'] {
                    for wide in [b'a', 0xc3] {
                        let mut bytes = vec![b'a'; length];
                        if let Some(first) = bytes.first_mut() {
                            *first = wide;
                        }
                        if let Some(byte) = bytes.get_mut(place) {
                            *byte = stop;
                        }
                        for from in [0, 1, 7, place].into_iter().filter(|&f| f <= length) {
                            let expected = naive(&bytes, from);
                            assert_eq!(string_stop(&bytes, from), expected, "{bytes:?} from {from}");
                            assert_eq!(string_stop_portable(&bytes, from), expected, "{bytes:?} from {from}");
                        }
                    }
                }
            }
        }
    }

    struct Find<'a>(&'a [u8], usize, &'a [u8]);

    impl Task for Find<'_> {
        type Output = ((usize, bool), bool, Option<usize>);

        #[inline(always)]
        fn run<B: Backend>(self) -> Self::Output {
            let line_end = B::line_end(self.0, self.1);
            (B::string_stop(self.0, self.1), B::stands_at(self.0, self.1, self.2), line_end)
        }
    }

    #[test]
    fn literals_and_stops_are_found_alike() {
        let text: Vec<u8> = (0..300_u32)
            .map(|place| {
                if place % 97 == 96 {
                    b'"'
                } else if place % 83 == 82 {
                    b'\n'
                } else if place % 71 == 70 {
                    0xc3
                } else {
                    b'a' + (place % 26) as u8
                }
            })
            .collect();
        for from in 0..=text.len() {
            for length in [0, 1, 7, 63, 64, 65, 130] {
                let literal = text.get(from..from + length).unwrap_or(b"no");
                let mut wrong = literal.to_vec();
                if let Some(last) = wrong.last_mut() {
                    *last ^= 1;
                }
                for literal in [literal, &wrong] {
                    assert_eq!(
                        dispatch(Find(&text, from, literal)),
                        Find(&text, from, literal).run::<Portable>()
                    );
                }
            }
        }
    }

    struct Classify<'a>(&'a [u8; BLOCK]);

    impl Task for Classify<'_> {
        type Output = (Masks, u64, u64);

        #[inline(always)]
        fn run<B: Backend>(self) -> Self::Output {
            let masks = B::masks(self.0);
            let mixed = masks.quote | masks.colon | masks.control;
            (masks, B::prefix_xor(mixed), B::compress(mixed, 0x9249_2492_4924_9249 ^ masks.open))
        }
    }

    #[test]
    fn every_byte_at_every_place_is_classified_alike() {
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                block[(place * 7 + 3) % BLOCK] = byte;
                let expected = Classify(&block).run::<Portable>();
                assert_eq!(dispatch(Classify(&block)), expected);
                #[cfg(target_arch = "x86_64")]
                assert_eq!(Classify(&block).run::<super::x86::Sse2>(), expected);
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq") {
                    assert_eq!(Classify(&block).run::<super::x86::Avx2>(), expected);
                }
            }
        }
    }
}

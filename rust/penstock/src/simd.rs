//! The only `unsafe` of the core: wide loads. Each function has a safe twin that the tests hold it to.

/// Where a JSON string stops being plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Position of the first `"`, `\` or control character, or the length of the input.
    pub(crate) at: usize,
    /// Whether every byte before it is ASCII.
    pub(crate) ascii: bool,
}

/// Finds the first `"`, `\` or byte below 0x20 at or after `from`.
#[inline]
pub(crate) fn string_stop(bytes: &[u8], from: usize) -> Stop {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    {
        // SAFETY: this arm is compiled only where SSE2 is enabled for the whole build.
        unsafe { sse2::string_stop(bytes, from) }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    {
        string_stop_safe(bytes, from)
    }
}

/// The safe twin of [`string_stop`], eight bytes at a time.
#[cfg_attr(all(target_arch = "x86_64", target_feature = "sse2"), allow(dead_code))]
pub(crate) fn string_stop_safe(bytes: &[u8], from: usize) -> Stop {
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
            return Stop { at: at + (stops.trailing_zeros() / 8) as usize, ascii };
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
    Stop { at, ascii }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    use super::Stop;

    const LANES: usize = 16;

    /// Bit `i` of the first mask: byte `i` stops a string; of the second: byte `i` is not ASCII.
    #[inline]
    #[target_feature(enable = "sse2")]
    #[allow(clippy::cast_ptr_alignment, reason = "`loadu` takes any address")]
    fn masks(bytes: &[u8], at: usize) -> (u32, u32) {
        debug_assert!(at + LANES <= bytes.len());
        // SAFETY: both callers have checked `at + LANES <= bytes.len()`, and the load needs no alignment.
        let block = unsafe { _mm_loadu_si128(bytes.as_ptr().add(at).cast::<__m128i>()) };
        let quote = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'"'.cast_signed()));
        let backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\\'.cast_signed()));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
        let stops = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        (_mm_movemask_epi8(stops).cast_unsigned(), _mm_movemask_epi8(block).cast_unsigned())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) fn string_stop(bytes: &[u8], from: usize) -> Stop {
        let mut at = from;
        let mut high = 0;
        while at + LANES <= bytes.len() {
            let (stops, wide) = masks(bytes, at);
            if stops != 0 {
                let first = stops.trailing_zeros();
                high |= wide & ((1 << first) - 1);
                return Stop { at: at + first as usize, ascii: high == 0 };
            }
            high |= wide;
            at += LANES;
        }
        if bytes.len() < LANES || at >= bytes.len() {
            let tail = super::string_stop_safe(bytes, at);
            return Stop { at: tail.at, ascii: tail.ascii && high == 0 };
        }
        // The last block overlaps what was already seen; shift that part out.
        let last = bytes.len() - LANES;
        let (stops, wide) = masks(bytes, last);
        let seen = at - last;
        let stops = stops >> seen;
        let wide = wide >> seen;
        if stops == 0 {
            return Stop { at: bytes.len(), ascii: high | wide == 0 };
        }
        let first = stops.trailing_zeros();
        high |= wide & ((1 << first) - 1);
        Stop { at: at + first as usize, ascii: high == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Stop, string_stop, string_stop_safe};

    /// The rule itself, a byte at a time.
    fn naive(bytes: &[u8], from: usize) -> Stop {
        let tail = bytes.get(from..).unwrap_or_default();
        let length = tail.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(tail.len());
        Stop { at: from.max(from + length), ascii: tail.get(..length).unwrap_or_default().is_ascii() }
    }

    #[test]
    fn every_stop_at_every_place_in_every_length() {
        for length in 0..70 {
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
                            assert_eq!(string_stop_safe(&bytes, from), expected, "{bytes:?} from {from}");
                        }
                    }
                }
            }
        }
    }
}

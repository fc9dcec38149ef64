//! Wide instructions of x86-64: what every processor has, and what newer ones add.

#[allow(clippy::wildcard_imports, reason = "intrinsics are named after their instructions")]
use std::arch::x86_64::*;

use crate::simd::{BLOCK, Backend, Masks, Task};

#[inline]
pub(super) fn dispatch<T: Task>(task: T) -> T::Output {
    if is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi2")
    {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { run_avx512(task) };
    }
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi2")
    {
        // SAFETY: as above.
        return unsafe { run_avx2(task) };
    }
    task.run::<Sse2>()
}

#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,bmi1,bmi2,popcnt,lzcnt")]
fn run_avx512<T: Task>(task: T) -> T::Output {
    task.run::<Avx512>()
}

#[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,popcnt,lzcnt")]
fn run_avx2<T: Task>(task: T) -> T::Output {
    task.run::<Avx2>()
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,bmi1,bmi2,popcnt,lzcnt")]
fn apart_avx512<T: Task>(task: T) -> T::Output {
    task.run::<Avx512>()
}

#[inline(never)]
#[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,popcnt,lzcnt")]
fn apart_avx2<T: Task>(task: T) -> T::Output {
    task.run::<Avx2>()
}

/// Used through [`dispatch`] only, which checks for its instructions.
pub(super) struct Avx512;
/// Used through [`dispatch`] only, which checks for its instructions.
pub(super) struct Avx2;
/// Part of x86-64 itself.
pub(super) struct Sse2;

impl Backend for Avx512 {
    const COMPRESSES: bool = true;

    #[inline(always)]
    fn apart<T: Task>(task: T) -> T::Output {
        // SAFETY: `dispatch` chose this backend for its processor.
        unsafe { apart_avx512(task) }
    }

    #[inline(always)]
    fn compress(bits: u64, mask: u64) -> u64 {
        // SAFETY: `dispatch` chose this backend for its processor.
        unsafe { compress_bmi2(bits, mask) }
    }

    #[inline(always)]
    fn masks(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: `dispatch` chose this backend for its processor.
        unsafe { masks_avx512(block) }
    }

    #[inline(always)]
    fn stands_at(text: &[u8], at: usize, literal: &[u8]) -> bool {
        // SAFETY: as above.
        unsafe { stands_at_avx512(text, at, literal) }
    }

    #[inline(always)]
    fn string_stop(text: &[u8], from: usize) -> (usize, bool) {
        // SAFETY: as above.
        unsafe { string_stop_avx512(text, from) }
    }

    #[inline(always)]
    fn line_end(text: &[u8], from: usize) -> Option<usize> {
        // SAFETY: as above.
        unsafe { line_end_avx512(text, from) }
    }

    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        // SAFETY: as above.
        unsafe { prefix_xor_clmul(bits) }
    }
}

impl Backend for Avx2 {
    const COMPRESSES: bool = true;

    #[inline(always)]
    fn apart<T: Task>(task: T) -> T::Output {
        // SAFETY: `dispatch` chose this backend for its processor.
        unsafe { apart_avx2(task) }
    }

    #[inline(always)]
    fn compress(bits: u64, mask: u64) -> u64 {
        // SAFETY: `dispatch` chose this backend for its processor.
        unsafe { compress_bmi2(bits, mask) }
    }

    #[inline(always)]
    fn masks(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: `dispatch` chose this backend for its processor.
        unsafe { masks_avx2(block) }
    }

    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        // SAFETY: as above.
        unsafe { prefix_xor_clmul(bits) }
    }
}

impl Backend for Sse2 {
    #[inline(never)]
    fn apart<T: Task>(task: T) -> T::Output {
        task.run::<Self>()
    }

    #[inline(always)]
    fn masks(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { masks_sse2(block) }
    }
}

#[inline]
#[target_feature(enable = "bmi2")]
fn compress_bmi2(bits: u64, mask: u64) -> u64 {
    _pext_u64(bits, mask)
}

/// Multiplying by all ones without carries adds up the bits below each place, modulo two.
#[inline]
#[target_feature(enable = "pclmulqdq")]
fn prefix_xor_clmul(bits: u64) -> u64 {
    let ones = _mm_set1_epi8(-1);
    let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits.cast_signed()), ones);
    _mm_cvtsi128_si64(product).cast_unsigned()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn masks_avx512(block: &[u8; BLOCK]) -> Masks {
    // SAFETY: the block is 64 bytes long, and the load needs no alignment.
    let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    let equal = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte.cast_signed()));
    // `{` and `[`, `}` and `]` differ in this bit alone.
    let folded = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
    let bracket = |byte: u8| _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8(byte.cast_signed()));
    Masks {
        quote: equal(b'"'),
        backslash: equal(b'\\'),
        open: bracket(b'{'),
        close: bracket(b'}'),
        colon: equal(b':'),
        comma: equal(b','),
        space: equal(b' '),
        control: _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20)),
    }
}

/// So many low bits; 64 or more are all of them.
#[inline]
#[target_feature(enable = "bmi2")]
fn low_bits(count: usize) -> u64 {
    _bzhi_u64(u64::MAX, count.min(BLOCK) as u32)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn stands_at_avx512(text: &[u8], at: usize, literal: &[u8]) -> bool {
    let Some(window) = text.get(at..at + literal.len()) else { return false };
    let mut place = 0;
    while place < literal.len() {
        let lanes = low_bits(literal.len() - place);
        // SAFETY: the masked-out lanes are not read, and the others lie within both slices, which are of one
        // length.
        let (mine, theirs) = unsafe {
            (
                _mm512_maskz_loadu_epi8(lanes, literal.as_ptr().add(place).cast()),
                _mm512_maskz_loadu_epi8(lanes, window.as_ptr().add(place).cast()),
            )
        };
        if _mm512_cmpneq_epi8_mask(mine, theirs) != 0 {
            return false;
        }
        place += BLOCK;
    }
    true
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn line_end_avx512(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < text.len() {
        let lanes = low_bits(text.len() - at);
        // SAFETY: the masked-out lanes are not read, and the others lie within the text.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(lanes, text.as_ptr().add(at).cast()) };
        let ends = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\n'.cast_signed()))
            | _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\r'.cast_signed()));
        if ends != 0 {
            return Some(at + ends.trailing_zeros() as usize);
        }
        at += BLOCK;
    }
    None
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn string_stop_avx512(text: &[u8], from: usize) -> (usize, bool) {
    let mut at = from;
    let mut wide = 0;
    while at < text.len() {
        let lanes = low_bits(text.len() - at);
        // SAFETY: the masked-out lanes are not read, and the others lie within the text.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(lanes, text.as_ptr().add(at).cast()) };
        let stops = _mm512_mask_cmpeq_epi8_mask(lanes, bytes, _mm512_set1_epi8(b'"'.cast_signed()))
            | _mm512_mask_cmpeq_epi8_mask(lanes, bytes, _mm512_set1_epi8(b'\\'.cast_signed()))
            | _mm512_mask_cmplt_epu8_mask(lanes, bytes, _mm512_set1_epi8(0x20));
        let high = _mm512_movepi8_mask(bytes);
        if stops != 0 {
            // The bits below the lowest stop.
            wide |= high & (stops - 1) & !stops;
            return (at + stops.trailing_zeros() as usize, wide == 0);
        }
        wide |= high;
        at += BLOCK;
    }
    (text.len().max(from), wide == 0)
}

#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::cast_ptr_alignment, reason = "`loadu` takes any address")]
fn masks_avx2(block: &[u8; BLOCK]) -> Masks {
    let start = block.as_ptr().cast::<__m256i>();
    // SAFETY: the block is 64 bytes long, and the loads need no alignment.
    let halves = unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] };
    let equal = |half: __m256i, byte: u8| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte.cast_signed()));
    let bits = |low: __m256i, high: __m256i| {
        u64::from(_mm256_movemask_epi8(low).cast_unsigned())
            | u64::from(_mm256_movemask_epi8(high).cast_unsigned()) << 32
    };
    let fold = |half: __m256i| _mm256_or_si256(half, _mm256_set1_epi8(0x20));
    let control = |half: __m256i| _mm256_cmpeq_epi8(_mm256_min_epu8(half, _mm256_set1_epi8(0x1f)), half);
    let [low, high] = halves;
    Masks {
        quote: bits(equal(low, b'"'), equal(high, b'"')),
        backslash: bits(equal(low, b'\\'), equal(high, b'\\')),
        open: bits(equal(fold(low), b'{'), equal(fold(high), b'{')),
        close: bits(equal(fold(low), b'}'), equal(fold(high), b'}')),
        colon: bits(equal(low, b':'), equal(high, b':')),
        comma: bits(equal(low, b','), equal(high, b',')),
        space: bits(equal(low, b' '), equal(high, b' ')),
        control: bits(control(low), control(high)),
    }
}

#[inline]
#[target_feature(enable = "sse2")]
#[allow(clippy::cast_ptr_alignment, reason = "`loadu` takes any address")]
fn masks_sse2(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks::default();
    for quarter in 0..BLOCK / 16 {
        // SAFETY: the quarter lies within the 64 bytes of the block, and the load needs no alignment.
        let bytes = unsafe { _mm_loadu_si128(block.as_ptr().cast::<__m128i>().add(quarter)) };
        let equal = |bytes: __m128i, byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
        let bits = |matches: __m128i| u64::from(_mm_movemask_epi8(matches).cast_unsigned()) << (quarter * 16);
        let folded = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
        masks.quote |= bits(equal(bytes, b'"'));
        masks.backslash |= bits(equal(bytes, b'\\'));
        masks.open |= bits(equal(folded, b'{'));
        masks.close |= bits(equal(folded, b'}'));
        masks.colon |= bits(equal(bytes, b':'));
        masks.comma |= bits(equal(bytes, b','));
        masks.space |= bits(equal(bytes, b' '));
        masks.control |= bits(_mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes));
    }
    masks
}

/// Bit `i` of the first mask: byte `at + i` stops a string; of the second: it is not ASCII.
#[inline]
#[target_feature(enable = "sse2")]
#[allow(clippy::cast_ptr_alignment, reason = "`loadu` takes any address")]
fn stops(bytes: &[u8], at: usize) -> Option<(u32, u32)> {
    let lane = bytes.get(at..)?.first_chunk::<16>()?;
    // SAFETY: the lane is 16 bytes long, and the load needs no alignment.
    let lane = unsafe { _mm_loadu_si128(lane.as_ptr().cast::<__m128i>()) };
    let quote = _mm_cmpeq_epi8(lane, _mm_set1_epi8(b'"'.cast_signed()));
    let backslash = _mm_cmpeq_epi8(lane, _mm_set1_epi8(b'\\'.cast_signed()));
    let control = _mm_cmpeq_epi8(_mm_min_epu8(lane, _mm_set1_epi8(0x1f)), lane);
    let stops = _mm_or_si128(_mm_or_si128(quote, backslash), control);
    Some((_mm_movemask_epi8(stops).cast_unsigned(), _mm_movemask_epi8(lane).cast_unsigned()))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn string_stop(bytes: &[u8], from: usize) -> (usize, bool) {
    let mut at = from;
    let mut wide = 0;
    while let Some((stops, high)) = stops(bytes, at) {
        if stops != 0 {
            let first = stops.trailing_zeros();
            wide |= high & ((1 << first) - 1);
            return (at + first as usize, wide == 0);
        }
        wide |= high;
        at += 16;
    }
    // The last lane overlaps what was already seen; shift that part out.
    let seen = at + 16 - bytes.len();
    if seen < 16
        && let Some((stops, high)) = at.checked_sub(seen).and_then(|at| stops(bytes, at))
    {
        let (stops, high) = (stops >> seen, high >> seen);
        let first = if stops == 0 { 16 - seen as u32 } else { stops.trailing_zeros() };
        wide |= high & ((1 << first) - 1);
        return (at + first as usize, wide == 0);
    }
    let (end, ascii) = crate::simd::string_stop_portable(bytes, at);
    (end, ascii && wide == 0)
}

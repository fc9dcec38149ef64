//! Base64 (RFC 4648): written in one way, read in three — as Python reads it, forgivingly, and not forgivingly at all.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// No letter of the alphabet.
const NONE: u8 = 0xff;
const STANDARD_VALUES: [u8; 256] = values(STANDARD);
const URL_VALUES: [u8; 256] = values(URL);

#[allow(clippy::indexing_slicing, reason = "evaluated when compiled")]
const fn values(letters: &[u8; 64]) -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        table[letters[value] as usize] = value as u8;
        value += 1;
    }
    table
}

#[inline]
fn value(table: &[u8; 256], letter: u8) -> Option<u32> {
    table.get(usize::from(letter)).copied().filter(|&value| value != NONE).map(u32::from)
}

/// Appends `bytes` in the standard alphabet, padded.
pub(super) fn push_standard(bytes: &[u8], out: &mut Vec<u8>) {
    push(STANDARD, bytes, out);
    out.extend(std::iter::repeat_n(b'=', (3 - bytes.len() % 3) % 3));
}

/// Appends `bytes` in the alphabet for addresses, without padding.
pub(super) fn push_url(bytes: &[u8], out: &mut Vec<u8>) {
    push(URL, bytes, out);
}

fn push(letters: &[u8; 64], bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    let letter =
        |bits: u32, shift: u32| letters.get((bits >> shift) as usize & 63).copied().unwrap_or_default();
    let mut groups = bytes.chunks_exact(3);
    for group in &mut groups {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        out.extend_from_slice(&[letter(bits, 18), letter(bits, 12), letter(bits, 6), letter(bits, 0)]);
    }
    match *groups.remainder() {
        [one] => {
            let bits = u32::from(one) << 16;
            out.extend_from_slice(&[letter(bits, 18), letter(bits, 12)]);
        }
        [one, two] => {
            let bits = u32::from(one) << 16 | u32::from(two) << 8;
            out.extend_from_slice(&[letter(bits, 18), letter(bits, 12), letter(bits, 6)]);
        }
        _ => {}
    }
}

/// Reads what [`push_url`] wrote; None for anything it would not have written.
pub(super) fn read_url(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut groups = text.chunks_exact(4);
    for group in &mut groups {
        let bits = group.iter().try_fold(0, |bits, &letter| Some(bits << 6 | value(&URL_VALUES, letter)?))?;
        out.extend_from_slice(bits.to_be_bytes().get(1..)?);
    }
    match *groups.remainder() {
        [] => {}
        [one, two] => {
            let bits = value(&URL_VALUES, one)? << 6 | value(&URL_VALUES, two)?;
            // Bits that say nothing must say zero, or two texts would be one id.
            if bits & 0xf != 0 {
                return None;
            }
            out.push((bits >> 4) as u8);
        }
        [one, two, three] => {
            let bits =
                value(&URL_VALUES, one)? << 12 | value(&URL_VALUES, two)? << 6 | value(&URL_VALUES, three)?;
            if bits & 0x3 != 0 {
                return None;
            }
            out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]);
        }
        _ => return None,
    }
    Some(out)
}

/// Reads as Python's `b64decode` does without `validate`: what is not of the standard alphabet is passed over, and
/// whatever follows padding that ends a group. None where that raises.
pub(super) fn read_as_python(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut letters, mut pads) = (0, 0, 0);
    for &letter in text {
        if letter == b'=' {
            pads += 1;
            if letters >= 2 && letters + pads >= 4 {
                return Some(out);
            }
        } else if let Some(value) = value(&STANDARD_VALUES, letter) {
            pads = 0;
            bits = bits << 6 | value;
            letters = (letters + 1) % 4;
            match letters {
                2 => out.push((bits >> 4) as u8),
                3 => out.push((bits >> 2) as u8),
                0 => out.push(bits as u8),
                _ => {}
            }
        }
    }
    (letters == 0).then_some(out)
}

/// Reads either alphabet, with padding or without, and nothing else.
pub(super) fn read_either(text: &[u8]) -> Option<Vec<u8>> {
    let padded = text.len() - text.iter().rev().take_while(|&&letter| letter == b'=').count();
    let letters = text.get(..padded)?;
    if text.len() > padded && (!text.len().is_multiple_of(4) || text.len() - padded > 2) {
        return None;
    }
    let url: Vec<u8> = letters
        .iter()
        .map(|&letter| match letter {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        })
        .collect();
    read_url(&url)
}

#[cfg(test)]
mod tests {
    use super::{push_standard, push_url, read_as_python, read_either, read_url};

    #[test]
    fn what_is_written_is_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..bytes.len() {
            let (mut standard, mut url) = (Vec::new(), Vec::new());
            push_standard(&bytes[..length], &mut standard);
            push_url(&bytes[..length], &mut url);
            let expected = Some(bytes[..length].to_vec());
            assert_eq!(read_url(&url), expected);
            assert_eq!(read_as_python(&standard), expected);
            assert_eq!(read_either(&standard), expected);
            assert_eq!(read_either(&url), expected);
        }
    }

    #[test]
    fn python_passes_over_what_it_does_not_know() {
        for (text, expected) in [
            ("YTtiO2M=", Some("a;b;c")),
            ("YTtiO2M==", Some("a;b;c")),
            ("YTti=O2M=", Some("a;b;c")),
            ("YT-ti_O2M=", Some("a;b;c")),
            ("YTtiO2M=!!", Some("a;b;c")),
            ("YTti\nO2M=", Some("a;b;c")),
            ("YTtiO2M", None),
            ("YTtiO2N", None),
            ("Y", None),
            ("", Some("")),
            ("====", Some("")),
            ("YQ=x=", Some("a\u{c}")),
            ("YQ==YQ", Some("a")),
        ] {
            assert_eq!(read_as_python(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn one_text_for_each_id() {
        for text in ["A", "AB", "AAB", "AA==", "A A", "AA+/", "AAAAA", "\u{e9}A"] {
            assert_eq!(read_url(text.as_bytes()), None, "{text}");
        }
        for text in ["AA=", "AAA==", "AAAA=", "A===", "A=A=", "=", "A A"] {
            assert_eq!(read_either(text.as_bytes()), None, "{text}");
        }
    }
}

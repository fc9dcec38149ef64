//! Bytes that arrive as pieces of base64 (RFC 4648, sections 4 and 5).

/// The bytes of all pieces. Joining the pieces as text would be wrong where each is padded, decoding each alone
/// where one ends inside a group of four; so they are one stream in which padding ends a group early.
#[derive(Debug, Clone, Default)]
pub(crate) struct Base64 {
    bytes: Vec<u8>,
    /// Bits of a group that is not whole, and how many.
    bits: u32,
    count: u32,
}

impl Base64 {
    /// Whether `piece` is base64, in either alphabet.
    pub(crate) fn accepts(piece: &[u8]) -> bool {
        piece.iter().all(|&letter| letter == b'=' || letter.is_ascii_whitespace() || sextet(letter).is_some())
    }

    /// Decodes a piece; letters that are not base64 are passed over.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.reserve(piece.len() / 4 * 3 + 3);
        for &letter in piece {
            match sextet(letter) {
                Some(value) => {
                    self.bits = self.bits << 6 | value;
                    self.count += 6;
                    if self.count >= 8 {
                        self.count -= 8;
                        self.bytes.push((self.bits >> self.count) as u8);
                    }
                }
                None if letter == b'=' => self.count = 0,
                None => {}
            }
        }
    }

    /// The bytes so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the bytes as one piece of base64, padded, in the standard alphabet.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        out.reserve(self.bytes.len().div_ceil(3) * 4);
        for group in self.bytes.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
            let bits = bits << (8 * (3 - group.len()));
            out.extend(
                (0..=group.len()).filter_map(|place| LETTERS.get((bits >> (18 - 6 * place)) as usize & 63)),
            );
            out.extend(std::iter::repeat_n(b'=', 3 - group.len()));
        }
    }
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::Base64;

    #[test]
    fn pieces_decode_as_one_stream() {
        for (pieces, expected) in [
            (&["aGVsbG8="][..], "hello"),
            (&["aGU=", "bGxv"], "hello"),
            (&["aA==", "ZQ==", "bGxv"], "hello"),
            (&["a", "GVs", "bG", "8"], "hello"),
            (&["aGVs\r\n", "bG8=", "", "=="], "hello"),
            (&["-_-_", "+/+/"], "\u{fb}\u{ff}\u{bf}\u{fb}\u{ff}\u{bf}"),
            (&[], ""),
        ] {
            let mut data = Base64::default();
            for piece in pieces {
                assert!(Base64::accepts(piece.as_bytes()));
                data.push(piece.as_bytes());
            }
            let decoded: String = data.as_bytes().iter().map(|&byte| char::from(byte)).collect();
            assert_eq!(decoded, expected, "{pieces:?}");
            let mut again = Base64::default();
            let mut text = Vec::new();
            data.encode(&mut text);
            again.push(&text);
            assert_eq!((text.len() % 4, again.as_bytes()), (0, data.as_bytes()));
        }
        assert!(!Base64::accepts(b"a!"));
    }
}

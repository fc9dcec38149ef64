//! Text in any split → special tokens and text: nothing is handed on of which it is not certain what it is.

use super::special::{Beginning, SpecialToken, beginning};
use crate::error::Error;

/// What the model wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Special(SpecialToken),
    /// Text that does not end inside a character; empty never.
    Text(&'a [u8]),
}

/// Holds back the end of what came when it may be the beginning of a special token, or of a character.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    /// Fewer bytes than the longest special token has.
    held: Vec<u8>,
}

impl Lexer {
    /// Takes text in which special tokens are spelled out.
    #[inline]
    pub(super) fn spelled(
        &mut self,
        text: &[u8],
        mut each: impl FnMut(Token<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let joined = self.join(text);
        let mut rest = joined.as_deref().unwrap_or(text);
        loop {
            let mut found = Beginning::Other;
            let mark = memchr::memchr_iter(b'<', rest).find(|&at| {
                found = beginning(rest.get(at..).unwrap_or_default());
                found != Beginning::Other
            });
            let Some(mark) = mark else { return self.whole_characters(rest, each) };
            let (text, marked) = rest.split_at(mark);
            if !text.is_empty() {
                each(Token::Text(text))?;
            }
            let Beginning::Token(token) = found else {
                self.held.extend_from_slice(marked);
                return Ok(());
            };
            each(Token::Special(token))?;
            rest = marked.get(token.as_str().len()..).unwrap_or_default();
        }
    }

    /// Takes text in which there are no special tokens, whatever it looks like.
    #[inline]
    pub(super) fn plain(
        &mut self,
        text: &[u8],
        each: impl FnMut(Token<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let joined = self.join(text);
        self.whole_characters(joined.as_deref().unwrap_or(text), each)
    }

    /// Takes a special token.
    pub(super) fn special(
        &mut self,
        token: SpecialToken,
        mut each: impl FnMut(Token<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.flush(&mut each)?;
        each(Token::Special(token))
    }

    /// Hands on what is held, for nothing follows that could make it whole.
    pub(super) fn flush(
        &mut self,
        mut each: impl FnMut(Token<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() { Ok(()) } else { each(Token::Text(&held)) }
    }

    /// What is held with `text` behind it; `None` if nothing is held.
    #[inline]
    fn join(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        if self.held.is_empty() {
            return None;
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(text);
        Some(joined)
    }

    /// Hands on `text` up to a character that it ends in, and holds that back.
    #[inline]
    fn whole_characters(
        &mut self,
        text: &[u8],
        mut each: impl FnMut(Token<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (whole, part) = text.split_at(whole_characters(text));
        self.held.extend_from_slice(part);
        if whole.is_empty() { Ok(()) } else { each(Token::Text(whole)) }
    }
}

/// How much of `text` there is before a character of UTF-8 that it ends in.
#[inline]
fn whole_characters(text: &[u8]) -> usize {
    for (behind, byte) in text.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if behind + 1 < length { text.len() - behind - 1 } else { text.len() };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Lexer, Token};

    /// What a lexer says of pieces, text joined; special tokens as ⟨name⟩.
    fn said(pieces: &[&[u8]]) -> String {
        let mut lexer = Lexer::default();
        let mut said = Vec::new();
        let mut each = |token: Token<'_>| {
            match token {
                Token::Text(text) => said.extend_from_slice(text),
                Token::Special(token) => said.extend_from_slice(format!("⟨{token:?}⟩").as_bytes()),
            }
            Ok(())
        };
        for piece in pieces {
            lexer.spelled(piece, &mut each).unwrap();
        }
        lexer.flush(&mut each).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }

    #[test]
    fn tokens_are_told_from_text_at_every_split() {
        for (text, expected) in [
            ("<|channel|>final<|message|>a<b", "⟨Channel⟩final⟨Message⟩a<b"),
            ("<|end|><|start|>", "⟨End⟩⟨Start⟩"),
            ("<<|end|>|<|>", "<⟨End⟩|<|>"),
            ("<|<|return|>", "<|⟨Return⟩"),
            ("<|ended|><|en", "<|ended|><|en"),
            ("größer 😀<|call|>😀", "größer 😀⟨Call⟩😀"),
        ] {
            let bytes = text.as_bytes();
            assert_eq!(said(&[bytes]), expected);
            assert_eq!(said(&bytes.chunks(1).collect::<Vec<_>>()), expected);
            for cut in 0..bytes.len() {
                assert_eq!(said(&[&bytes[..cut], &bytes[cut..]]), expected);
            }
        }
    }

    #[test]
    fn a_character_is_handed_on_whole() {
        let mut texts = Vec::new();
        let mut lexer = Lexer::default();
        for byte in "é€😀\u{7f}".as_bytes().chunks(1) {
            let mut each = |token: Token<'_>| {
                let Token::Text(text) = token else { panic!("{token:?}") };
                texts.push(String::from_utf8(text.to_vec()).unwrap());
                Ok(())
            };
            lexer.plain(byte, &mut each).unwrap();
        }
        assert_eq!(texts, ["é", "€", "😀", "\u{7f}"]);
        assert_eq!(said(&[b"\xe2\x82", b"<|end|>\xf0\x9f"]), "\u{fffd}⟨End⟩\u{fffd}");
        assert_eq!(said(&[b"\xe2", b"A"]), "\u{fffd}A");
    }

    #[test]
    fn plain_text_is_text() {
        let mut lexer = Lexer::default();
        let mut said = Vec::new();
        let mut each = |token: Token<'_>| {
            let Token::Text(text) = token else { panic!("{token:?}") };
            said.extend_from_slice(text);
            Ok(())
        };
        lexer.plain(b"<|end|", &mut each).unwrap();
        lexer.plain(b"><|return|>", &mut each).unwrap();
        assert_eq!(said, b"<|end|><|return|>");
    }
}

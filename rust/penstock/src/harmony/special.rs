//! The special tokens of the Harmony format: how they are spelled, and their numbers in `o200k_harmony`.

macro_rules! special_tokens {
    ($($(#[$doc:meta])* $name:ident = $text:literal $id:literal,)*) => {
        /// A special token of the Harmony format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SpecialToken {
            $($(#[$doc])* $name,)*
        }

        impl SpecialToken {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How the token is spelled.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The token's number in the vocabulary of gpt-oss, `o200k_harmony`.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id,)* }
            }
        }
    };
}

special_tokens! {
    /// A text begins; says nothing here.
    StartOfText = "<|startoftext|>" 199_998,
    /// The text ends.
    EndOfText = "<|endoftext|>" 199_999,
    /// The model's turn ends.
    Return = "<|return|>" 200_002,
    /// The kind of content follows, which the sampling was held to.
    Constrain = "<|constrain|>" 200_003,
    /// The channel follows.
    Channel = "<|channel|>" 200_005,
    /// A message begins, with its header.
    Start = "<|start|>" 200_006,
    /// A message ends.
    End = "<|end|>" 200_007,
    /// The content follows.
    Message = "<|message|>" 200_008,
    /// A message ends that calls a tool, and the model's turn with it.
    Call = "<|call|>" 200_012,
}

impl SpecialToken {
    /// The token that is spelled like this.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|token| token.as_str().as_bytes() == text)
    }

    /// Whether the model is done with its turn when it has written this.
    #[must_use]
    pub const fn ends_turn(self) -> bool {
        matches!(self, Self::Return | Self::Call | Self::EndOfText)
    }
}

/// What begins a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// A special token.
    Token(SpecialToken),
    /// Something that may become one when more of it is there.
    Part,
    /// No special token.
    Other,
}

/// Tells what `text` begins with.
pub(super) fn beginning(text: &[u8]) -> Beginning {
    for &token in SpecialToken::ALL {
        let spelled = token.as_str().as_bytes();
        if text.starts_with(spelled) {
            return Beginning::Token(token);
        }
        if spelled.starts_with(text) {
            return Beginning::Part;
        }
    }
    Beginning::Other
}

#[cfg(test)]
mod tests {
    use super::{Beginning, SpecialToken, beginning};

    #[test]
    fn no_token_begins_another() {
        for &token in SpecialToken::ALL {
            let text = token.as_str().as_bytes();
            assert_eq!(SpecialToken::from_text(text), Some(token));
            assert_eq!(beginning(text), Beginning::Token(token));
            for end in 1..text.len() {
                assert_eq!(beginning(&text[..end]), Beginning::Part);
            }
        }
        assert_eq!(beginning(b"<|ender|>"), Beginning::Other);
        assert_eq!(SpecialToken::from_text(b"<|end|> "), None);
    }
}

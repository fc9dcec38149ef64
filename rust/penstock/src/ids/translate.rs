//! One way of one codec, with what it needs to know besides an id.

use std::fmt;
use std::sync::Arc;

use super::{IdKind, LiteLlm, Origin, Sealed};

/// An id that is not one of ours, or not this tenant's; or one that cannot be made. What exactly is wrong is for no
/// stranger to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id was not issued here, or not to this tenant")
    }
}

impl std::error::Error for Invalid {}

/// How ids are written.
#[derive(Debug, Clone)]
pub enum Codec {
    /// As LiteLLM writes them.
    LiteLlm(LiteLlm),
    /// Sealed.
    Sealed(Arc<Sealed>),
}

/// Which way ids go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the upstream to the client: its ids become ours.
    Encode,
    /// From the client to the upstream: ours become its own.
    Decode,
}

/// Which ids of a message are rewritten; those of the responses it holds always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Mentions of other responses: `previous_response_id`, `response_id`.
    pub mentions: bool,
    /// Ids of items, wherever they are mentioned.
    pub items: bool,
    /// `encrypted_content` of items.
    pub content: bool,
}

/// What ids say or are bound to.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The tenant; LiteLLM's ids know none.
    pub tenant: Vec<u8>,
    /// The provider, in ids that are encoded.
    pub provider: Option<String>,
    /// The model, in ids that are encoded.
    pub model: Option<String>,
}

/// Translates ids one way.
#[derive(Debug, Clone)]
pub struct Translation {
    /// How ids are written.
    pub codec: Codec,
    /// Which way they go.
    pub direction: Direction,
    /// What they say or are bound to.
    pub scope: Scope,
}

impl Translation {
    /// The other side's id, and where it came from if that was read from it; None if the id stays as it is. LiteLLM's
    /// codec leaves alone what was not encoded and, without a model, items; sealed ids must open.
    pub fn translate(&self, kind: IdKind, id: &str) -> Result<Option<(String, Option<Origin>)>, Invalid> {
        let Scope { tenant, provider, model } = &self.scope;
        let (provider, model) = (provider.as_deref(), model.as_deref());
        match (&self.codec, self.direction) {
            (Codec::Sealed(codec), Direction::Encode) => {
                Ok(Some((codec.seal(kind, id, tenant, provider, model)?, None)))
            }
            (Codec::Sealed(codec), Direction::Decode) => {
                let origin = codec.open(kind, id, tenant)?;
                Ok(Some((origin.id.clone(), Some(origin))))
            }
            (Codec::LiteLlm(codec), Direction::Encode) => {
                let encoded = match (kind, model) {
                    (IdKind::Response, _) => codec.encode(id, provider, model),
                    (IdKind::Item, Some(model)) => codec.encode_item(id, model),
                    (IdKind::Content, Some(model)) => codec.encode_content(id, model),
                    _ => return Ok(None),
                };
                Ok(Some((encoded.map_err(|_| Invalid)?, None)))
            }
            (Codec::LiteLlm(codec), Direction::Decode) => {
                let origin = match kind {
                    IdKind::Response => codec.decode(id),
                    IdKind::Item => codec.decode_item(id),
                    IdKind::Content => codec.decode_content(id),
                };
                Ok(origin.map(|origin| (origin.id.clone(), Some(origin))))
            }
        }
    }

    /// Whether ids that are not ours, and messages that cannot be read, must not pass.
    #[must_use]
    pub fn refuses(&self) -> bool {
        matches!((&self.codec, self.direction), (Codec::Sealed(_), Direction::Decode))
    }
}

//! Response ids that a gateway hands out in place of its upstream's, and their way back.
//!
//! [`LiteLlm`] writes ids as LiteLLM does, which name provider and model and protect nothing; [`Sealed`] authenticates
//! them for one tenant. A [`Rewriter`] puts either in the place of the ids within messages, an [`SseRewriter`] within
//! the bytes of an event stream; all other bytes stay as they are.

mod base64;
mod litellm;
mod locate;
mod rewrite;
mod sealed;
mod stream;
mod translate;

pub use litellm::{LiteLlm, Unencodable};
pub use rewrite::{Refusal, Rewriter};
pub use sealed::{KeyError, Sealed};
pub use stream::SseRewriter;
pub use translate::{Codec, Direction, Invalid, Scope, Selection, Translation};

/// What an id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdKind {
    /// A response.
    Response,
    /// An item of its input or output.
    Item,
    /// No id but the `encrypted_content` of an item, which only its own upstream can read.
    Content,
}

/// An upstream's id and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The provider; None where it was not known.
    pub provider: Option<String>,
    /// The model, or what a router calls the deployment; None where it was not known.
    pub model: Option<String>,
    /// The upstream's own id.
    pub id: String,
}

//! JSON (RFC 8259) without a tree: a cursor that checks as it goes, and what is built on it.
//!
//! Numbers stay text and strings stay escaped until somebody asks, so whatever nobody edits leaves as it came.
//! Bytes that are not UTF-8 are allowed inside strings: the event-stream format replaces them with U+FFFD
//! when they are decoded, and an ASCII byte never belongs to a broken sequence.

mod ascii;
mod canonical;
mod cursor;
mod outline;
mod partial;
mod partial_text;
mod skip;
mod text;
mod tokens;
mod visit;
mod walk;
mod write;

pub use ascii::{Out, write_float, write_latin1, write_utf16, write_utf32, write_wtf8};
pub use canonical::{CanonicalElement, canonical_elements, canonicalize};
pub use cursor::{Cursor, Kind, Number, RawStr};
pub(crate) use outline::{Outline, OutlineBlock};
pub use partial::{PartialJson, PartialSink, PartialState};
pub(crate) use text::append_wtf8;
pub(crate) use text::push_usual;
pub use text::{Surrogates, push_escaped, push_lossy, push_wtf8};
pub(crate) use tokens::{Invalid, Token, Tokens, end_before};
pub use visit::{Stopped, Visitor, visit};
pub use walk::{elements, entries, spells};
pub(crate) use write::push_compact;
pub use write::{Edit, merge, patch, push_comma, push_key, push_number, push_string};

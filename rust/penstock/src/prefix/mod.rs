//! Digests of input items: of a whole list as pipecat has it, and of every prefix of a growing one.
//!
//! Both hash the canonical text of `json/canonical.rs`, so equal meaning gives equal digests, whether it came as
//! bytes or as objects of a host language.

mod chain;
mod hasher;
mod index;

pub use chain::{Chain, Seed};
pub use hasher::{Digest, Hasher, hash_json};
pub use index::Index;

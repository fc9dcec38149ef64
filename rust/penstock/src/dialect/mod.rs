//! The vocabulary of each API: which words its events use and where their values stand. Parse only.

pub mod chat;
pub(crate) mod responses;

//! Deltas in, final objects out: what a stream has said so far, kept as text builders and untouched JSON spans.
//! An object is written only when somebody asks for it.

mod chat;
mod diagnostics;
#[allow(dead_code, reason = "the accumulators follow")]
mod sparse;
#[allow(dead_code, reason = "the accumulators follow")]
mod text;

pub use chat::{ChatAccumulator, ChatCall, ChatTerminal};

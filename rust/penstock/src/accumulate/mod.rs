//! Deltas in, final objects out: what a stream has said so far, kept as text builders and untouched JSON spans.
//! An object is written only when somebody asks for it.

mod base64;
mod chat;
mod diagnostics;
mod responses;
mod sparse;
mod text;

pub(crate) use chat::ChunkDiagnostics;
pub(crate) use diagnostics::Diagnostics;
pub(crate) use sparse::Sparse;
pub(crate) use text::Meter;

pub use chat::{ChatAccumulator, ChatCall, ChatTerminal};
pub use responses::{
    Arguments, Fed, FinalResponse, FunctionCall, Owed, ResponseAccumulator, ResponseOptions,
    ResponseTerminal, ResponseView,
};

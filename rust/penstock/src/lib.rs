//! Sans-IO core of penstock: bytes of LLM streams in, events and final objects out, fully deterministic —
//! no sockets, threads, clocks, randomness or Python.
//!
//! Data flows one way: a [`Decoder`] frames bytes into payloads, [`event`] reads what consumers ask of a
//! payload without building a tree, the accumulators fold payloads into the final object. Every buffer has a
//! bound in [`Limits`]; every refusal is an [`Error`] that says what, where and how much.

mod accumulate;
mod coalesce;
mod decoder;
pub mod dialect;
mod emit;
mod error;
pub mod event;
mod harmony;
mod history;
pub mod ids;
pub mod json;
mod lifecycle;
mod limits;
mod lint;
mod ndjson;
pub mod prefix;
mod relay;
mod rule;
mod shape;
mod simd;
mod sse;
mod synthesize;
mod transcode;
mod vocabulary;

pub use accumulate::{
    Arguments, ChatAccumulator, ChatCall, ChatTerminal, Fed, FinalResponse, FunctionCall, Owed,
    ResponseAccumulator, ResponseOptions, ResponseTerminal, ResponseView,
};
pub use coalesce::{Coalescer, coalesce_frames};
pub use decoder::{Decoder, DecoderOptions, EndOfInput, Frame, Framing, Malformed, Piece, Sink};
pub use dialect::responses::Kind as ItemKind;
pub use emit::{
    Emitter, EmitterOptions, IdSource, ItemStatus, NewItem, PartKind, SseFrame, Terminal, Wire, write_sse,
};
pub use error::{Error, JsonReason, TextReason};
pub use event::{EventType, Field, Fields, Head, Span};
pub use harmony::{FinishReason, HarmonyOptions, HarmonyParser, SpecialToken, harmony_to_items};
pub use history::{Conversations, Items, NewTurn, Turn};
pub use limits::{Bound, Bounds, Limit, Limits};
pub use lint::{Finding, LintOptions, Linter};
pub use relay::{Relay, RelayDialect, RelayOptions};
pub use rule::Rule;
pub use shape::{Fillings, Hole, Known, Miss, Scanner, Shape};
pub use synthesize::{SliceUnit, Synthesis, SynthesizeOptions, synthesize};
pub use transcode::{
    ChatToResponsesOptions, Compat, Messages, ReasoningAs, ResponsesToChatOptions, Transcoder, Truncated,
    echoed,
};
pub use vocabulary::Folded;

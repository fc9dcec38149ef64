//! Why an engine stopped, and how the response ends for it.

/// Why an engine stopped generating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model came to its end: `stop`, `tool_calls`, …
    Stop,
    /// It had no more tokens: `length`, `max_tokens`, …
    Length,
    /// A filter stopped it: `content_filter`.
    ContentFilter,
    /// It took too long: `timeout`.
    Timeout,
    /// Nobody wanted the rest: `cancelled`, `abort`.
    Cancelled,
    /// The engine failed: `error`.
    Error,
}

impl FinishReason {
    /// The words of `TensorRT-LLM`, vLLM, `SGLang` and Chat Completions; `None` for any other.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "stop" | "tool_calls" | "function_call" | "end_turn" | "eos" => Self::Stop,
            "length" | "max_tokens" | "max_output_tokens" => Self::Length,
            "content_filter" => Self::ContentFilter,
            "timeout" => Self::Timeout,
            "cancelled" | "canceled" | "abort" => Self::Cancelled,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

/// How a response ends.
pub(super) enum Ending {
    Completed,
    Incomplete(&'static str),
    Failed(&'static str),
    Cancelled,
}

impl Ending {
    /// What `reason` asks for.
    pub(super) const fn of(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop => Self::Completed,
            FinishReason::Length => Self::Incomplete("max_output_tokens"),
            FinishReason::ContentFilter => Self::Incomplete("content_filter"),
            FinishReason::Timeout => Self::Failed("the engine took too long"),
            FinishReason::Cancelled => Self::Cancelled,
            FinishReason::Error => Self::Failed("the engine failed"),
        }
    }
}

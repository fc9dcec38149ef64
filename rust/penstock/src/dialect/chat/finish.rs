//! Finish reasons: what the words of servers say of the message they end.

use crate::event::string;

/// What a finish reason says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It is whole.
    Whole,
    /// There were no more tokens for it.
    Length,
    /// A filter withheld it, or the rest of it.
    Filtered,
    /// Generating it failed, or was given up.
    Failed,
    /// Nobody knows; it counts as whole.
    Unknown,
}

/// The words of Chat Completions and of servers that pass on those of others: Anthropic (`end_turn`), vLLM and
/// `SGLang` (`abort`), Mistral (`model_length`), `DeepSeek` (`insufficient_system_resource`), Google (`SAFETY`),
/// Bedrock (`guardrail_intervened`), Zhipu (`sensitive`), `TensorRT-LLM` (`timeout`).
const WORDS: [(&str, Finish); 40] = [
    ("stop", Finish::Whole),
    ("tool_calls", Finish::Whole),
    ("tool_call", Finish::Whole),
    ("tool_use", Finish::Whole),
    ("function_call", Finish::Whole),
    ("end_turn", Finish::Whole),
    ("stop_sequence", Finish::Whole),
    ("eos", Finish::Whole),
    ("eos_token", Finish::Whole),
    ("complete", Finish::Whole),
    ("length", Finish::Length),
    ("max_tokens", Finish::Length),
    ("max_output_tokens", Finish::Length),
    ("model_length", Finish::Length),
    ("model_context_window_exceeded", Finish::Length),
    ("content_filter", Finish::Filtered),
    ("content_filtered", Finish::Filtered),
    ("guardrail_intervened", Finish::Filtered),
    ("refusal", Finish::Filtered),
    ("sensitive", Finish::Filtered),
    ("safety", Finish::Filtered),
    ("recitation", Finish::Filtered),
    ("blocklist", Finish::Filtered),
    ("prohibited_content", Finish::Filtered),
    ("spii", Finish::Filtered),
    ("image_safety", Finish::Filtered),
    ("image_prohibited_content", Finish::Filtered),
    ("image_recitation", Finish::Filtered),
    ("error", Finish::Failed),
    ("abort", Finish::Failed),
    ("aborted", Finish::Failed),
    ("cancelled", Finish::Failed),
    ("canceled", Finish::Failed),
    ("timeout", Finish::Failed),
    ("network_error", Finish::Failed),
    ("insufficient_system_resource", Finish::Failed),
    ("function_call_filter", Finish::Failed),
    ("malformed_function_call", Finish::Failed),
    ("unexpected_tool_call", Finish::Failed),
    ("malformed_response", Finish::Failed),
];

impl Finish {
    /// What `word` says, in whatever case. Google puts its own word behind a colon: `content_filter: SAFETY`.
    pub(crate) fn of(word: &[u8]) -> Self {
        let word = word.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        let known = WORDS.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(word));
        known.map_or(Self::Unknown, |(_, finish)| *finish)
    }

    /// What the value of a `finish_reason` says; `None` while there is none.
    pub(crate) fn of_value(value: &[u8]) -> Option<Self> {
        string(value).filter(|word| !word.raw.is_empty()).map(|word| Self::of(&word.decoded()))
    }
}

#[cfg(test)]
mod tests {
    use super::Finish;

    #[test]
    fn words() {
        for (value, expected) in [
            (r#""stop""#, Some(Finish::Whole)),
            (r#""STOP""#, Some(Finish::Whole)),
            (r#""st\u006fp""#, Some(Finish::Whole)),
            (r#""MAX_TOKENS""#, Some(Finish::Length)),
            (r#""model_length""#, Some(Finish::Length)),
            (r#""content_filter: PROHIBITED_CONTENT""#, Some(Finish::Filtered)),
            (r#""function_call_filter: MALFORMED_FUNCTION_CALL""#, Some(Finish::Failed)),
            (r#""abort""#, Some(Finish::Failed)),
            (r#""Error""#, Some(Finish::Failed)),
            (r#""stopped""#, Some(Finish::Unknown)),
            (r#"":stop""#, Some(Finish::Unknown)),
            (r#""""#, None),
            ("null", None),
            ("", None),
            ("5", None),
        ] {
            assert_eq!(Finish::of_value(value.as_bytes()), expected, "{value}");
        }
    }
}

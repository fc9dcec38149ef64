//! What a stream may do that a transcoder counts, under the names that diagnostics count it by.

/// A payload that is not one JSON object; ignored.
pub(super) const MALFORMED: &str = "malformed";
/// A member that is read stands twice in one object; the last one counts.
pub(super) const DUPLICATE_FIELD: &str = "duplicate_field";
/// A member has a value of the wrong kind; ignored.
pub(super) const BAD_VALUE: &str = "bad_value";
/// An index that is not an integer from 0 to 2^63 - 1.
pub(super) const BAD_INDEX: &str = "bad_index";
/// A choice other than 0: a response has one output; ignored.
pub(super) const OTHER_CHOICE: &str = "other_choice";
/// A piece of a choice that has its finish reason; kept.
pub(super) const LATE_DELTA: &str = "late_delta";
/// Another finish reason than before; the last one counts.
pub(super) const FINISH_REASON_CHANGED: &str = "finish_reason_changed";
/// A finish reason that nobody knows; it counts as `stop`.
pub(super) const FINISH_REASON_UNKNOWN: &str = "finish_reason_unknown";
/// Another tool call under the index of one that has begun; both are kept.
pub(super) const TOOL_INDEX_REUSED: &str = "tool_index_reused";
/// Another id for a tool call that has one; the first one counts.
pub(super) const TOOL_ID_CHANGED: &str = "tool_id_changed";
/// Another name, or more of it, for a tool call that has been announced; what was announced counts.
pub(super) const TOOL_NAME_CHANGED: &str = "tool_name_changed";
/// A tool call without a name.
pub(super) const TOOL_NAME_MISSING: &str = "tool_name_missing";
/// Arguments as a JSON value in place of its text; written as text.
pub(super) const ARGUMENTS_NOT_TEXT: &str = "arguments_not_text";
/// Arguments of a tool call whose item is done; lost.
pub(super) const LATE_ARGUMENTS: &str = "late_arguments";
/// An event behind the end of the stream; ignored.
pub(super) const AFTER_TERMINAL: &str = "after_terminal";
/// A `done` event says other than its deltas did; what was streamed stays.
pub(super) const DELTA_MISMATCH: &str = "delta_mismatch";

/// No breach: `[DONE]` came before a finish reason.
pub(super) const FINISH_REASON_MISSING: &str = "finish_reason_missing";
/// No breach: the input ended before the message did.
pub(super) const TRUNCATED: &str = "truncated";
/// No breach: content of a kind that the other dialect does not have; left out.
pub(super) const CONTENT_DROPPED: &str = "content_dropped";
/// No breach: an annotation without text to stand at, or of a kind that the other dialect does not have; left out.
pub(super) const ANNOTATION_DROPPED: &str = "annotation_dropped";
/// No breach: log probabilities of a refusal, which the other dialect does not have; left out.
pub(super) const LOGPROBS_DROPPED: &str = "logprobs_dropped";
/// No breach: reasoning that only its provider can read, in a form that the other dialect does not have; left out.
pub(super) const REASONING_DROPPED: &str = "reasoning_dropped";

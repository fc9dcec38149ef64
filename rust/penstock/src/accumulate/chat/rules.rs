//! What a stream of chunks may do that it should not, under the names that diagnostics count it by.

/// A payload that is not one JSON object; ignored.
pub(super) const MALFORMED: &str = "malformed";
/// A member that is read stands twice in one object; the last one counts.
pub(super) const DUPLICATE_FIELD: &str = "duplicate_field";
/// A member has a value of the wrong kind; ignored.
pub(super) const BAD_VALUE: &str = "bad_value";
/// An index that is not an integer from 0 to 2^63 - 1; its choice is ignored, its tool call goes by id and name.
pub(super) const BAD_INDEX: &str = "bad_index";
/// Audio that is not base64; ignored.
pub(super) const BAD_AUDIO: &str = "bad_audio";
/// A piece of a choice that has its finish reason; kept.
pub(super) const LATE_DELTA: &str = "late_delta";
/// Another finish reason than before; the last one counts.
pub(super) const FINISH_REASON_CHANGED: &str = "finish_reason_changed";
/// Another tool call under the index of one that has begun; both are kept.
pub(super) const TOOL_INDEX_REUSED: &str = "tool_index_reused";
/// Another id for a tool call that has one; the first one counts.
pub(super) const TOOL_ID_CHANGED: &str = "tool_id_changed";
/// Another name for a tool call whose arguments have begun; the first one counts.
pub(super) const TOOL_NAME_CHANGED: &str = "tool_name_changed";
/// Arguments as a JSON value in place of its text; written as text.
pub(super) const ARGUMENTS_NOT_TEXT: &str = "arguments_not_text";
/// A chunk behind `[DONE]`; ignored.
pub(super) const AFTER_TERMINAL: &str = "after_terminal";

/// No breach: another id than before; the first one counts. Servers exist that change it with every chunk.
pub(super) const ID_CHANGED: &str = "id_changed";
/// No breach: `[DONE]` came before the finish reason of every choice.
pub(super) const FINISH_REASON_MISSING: &str = "finish_reason_missing";
/// No breach: the input ended before the completion did.
pub(super) const TRUNCATED: &str = "truncated";

//! What a model may write that is not as its format wants it, under the names that diagnostics count it by.

/// The header of a message with words that mean nothing; they are ignored.
pub(super) const MALFORMED_HEADER: &str = "malformed_header";
/// A header that ends without `<|message|>`; what it holds beyond a header is content.
pub(super) const HEADER_CUT: &str = "header_cut";
/// Text where a header must stand; it is taken for the answer.
pub(super) const HEADER_MISSING: &str = "header_missing";
/// A message without a channel; it is taken for the answer.
pub(super) const CHANNEL_MISSING: &str = "channel_missing";
/// A channel that nobody knows; it is taken for the answer.
pub(super) const CHANNEL_UNKNOWN: &str = "channel_unknown";
/// A recipient that is no function and no tool of the format; it is taken for a function's name.
pub(super) const RECIPIENT_UNKNOWN: &str = "recipient_unknown";
/// A message that begins while another one has not ended, which ends then.
pub(super) const MESSAGE_NOT_ENDED: &str = "message_not_ended";
/// A special token where it has no meaning, or one that has none anywhere; ignored.
pub(super) const STRAY_TOKEN: &str = "stray_token";
/// Arguments of the browser that are no JSON object; the whole is taken for the query, address or pattern.
pub(super) const ARGUMENTS_NOT_JSON: &str = "arguments_not_json";

/// No breach: a message whose author is not the assistant; left out.
pub(super) const AUTHOR_FOREIGN: &str = "author_foreign";
/// No breach: the input ended before the model's turn did.
pub(super) const TRUNCATED: &str = "truncated";

//! What a caller tells an emitter.

use std::fmt;

use super::object::Members;
use super::writer::Wire;
use crate::dialect::responses::Kind;
use crate::error::Error;
use crate::event::EventType;
use crate::limits::Limits;

/// Where ids come from that the caller does not give. The core has no randomness: a server injects its own.
pub enum IdSource {
    /// Prefix, then the seed, then a counter: ids that are unique if the seed is, and the same in each run.
    Counter {
        /// What tells the ids of this response from others, such as the random part of the response's id.
        seed: String,
        /// The next number.
        next: u64,
    },
    /// Called with a prefix (`msg_`, `rs_`, `fc_`, …), returns the id, prefix included.
    Injected(Box<dyn FnMut(&str) -> String + Send>),
}

impl IdSource {
    /// Ids counted from 0.
    #[must_use]
    pub fn counter(seed: impl Into<String>) -> Self {
        Self::Counter { seed: seed.into(), next: 0 }
    }

    /// The next id.
    pub(super) fn next(&mut self, prefix: &str) -> String {
        match self {
            Self::Counter { seed, next } => {
                let id = format!("{prefix}{seed}{next:04x}");
                *next += 1;
                id
            }
            Self::Injected(make) => make(prefix),
        }
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter { seed, next } => write!(f, "Counter({seed:?}, {next})"),
            Self::Injected(_) => f.write_str("Injected"),
        }
    }
}

/// How an [`Emitter`](super::Emitter) begins.
#[derive(Debug)]
pub struct EmitterOptions {
    /// The response's id.
    pub id: String,
    /// When it was created, in seconds since 1970.
    pub created_at: u64,
    /// The model's name.
    pub model: String,
    /// Members of the response object that repeat the request (instructions, tools, metadata, …): a JSON object,
    /// or empty. `id`, `object`, `created_at`, `status`, `output`, `usage`, `error` and `incomplete_details` are refused.
    pub echo: Vec<u8>,
    /// Where ids of items and calls come from.
    pub ids: IdSource,
    /// How events are framed.
    pub wire: Wire,
    /// The lane of a WebSocket connection; written into every event.
    pub stream_id: Option<String>,
    /// Write U+0085, U+2028 and U+2029 as escapes, for readers that take them for line ends.
    pub escape_separators: bool,
    /// Pads each delta's frame with an `obfuscation` member to a multiple of the first number of bytes; the second
    /// seeds the padding. Compressing the stream afterwards undoes what this hides.
    pub padding: Option<(usize, u64)>,
    /// The bounds: `max_message_bytes` of text and JSON, `max_parts` items, parts and annotations together.
    pub limits: Limits,
}

impl EmitterOptions {
    /// The usual options. Ids are made of the response's own id and a counter.
    #[must_use]
    pub fn new(id: impl Into<String>, created_at: u64, model: impl Into<String>) -> Self {
        let id = id.into();
        let seed = id.strip_prefix("resp_").unwrap_or(&id).to_owned();
        Self {
            id,
            created_at,
            model: model.into(),
            echo: Vec::new(),
            ids: IdSource::counter(seed),
            wire: Wire::Sse,
            stream_id: None,
            escape_separators: false,
            padding: None,
            limits: Limits::default(),
        }
    }
}

/// An item to open.
#[derive(Debug, Clone, Copy)]
pub struct NewItem<'a> {
    /// What it is. For `Other`, `members` must hold the `type`.
    pub kind: Kind,
    /// Its id; `None` for the next of the emitter's source.
    pub id: Option<&'a str>,
    /// The `call_id`; `None` for one from the emitter's source where the kind has one.
    pub call_id: Option<&'a str>,
    /// The name of the tool.
    pub name: Option<&'a str>,
    /// Further members (`phase`, `server_label`, `container_id`, …): a JSON object, or empty.
    pub members: &'a [u8],
}

impl<'a> NewItem<'a> {
    /// An item of this kind.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, id: None, call_id: None, name: None, members: b"" }
    }

    /// A message.
    #[must_use]
    pub const fn message() -> Self {
        Self::new(Kind::Message)
    }

    /// A reasoning item.
    #[must_use]
    pub const fn reasoning() -> Self {
        Self::new(Kind::Reasoning)
    }

    /// A call of function `name`.
    #[must_use]
    pub const fn function_call(call_id: Option<&'a str>, name: &'a str) -> Self {
        Self { call_id, name: Some(name), ..Self::new(Kind::FunctionCall) }
    }

    /// A call of the custom tool `name`.
    #[must_use]
    pub const fn custom_tool_call(call_id: Option<&'a str>, name: &'a str) -> Self {
        Self { call_id, name: Some(name), ..Self::new(Kind::CustomToolCall) }
    }

    /// With this id.
    #[must_use]
    pub const fn with_id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// With these further members, a JSON object.
    #[must_use]
    pub const fn with_members(mut self, members: &'a [u8]) -> Self {
        self.members = members;
        self
    }
}

/// How an item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemStatus {
    /// It is whole.
    Completed,
    /// It was cut short; the response cannot complete any more.
    Incomplete,
    /// The tool failed.
    Failed,
}

impl ItemStatus {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// How a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal<'a> {
    /// The model came to its end.
    Completed,
    /// It was stopped.
    Incomplete {
        /// Why: `max_output_tokens`, `content_filter`, …
        reason: &'a str,
    },
    /// Something failed.
    Failed {
        /// The response's error, a JSON object with `code` and `message`.
        error: &'a [u8],
    },
    /// The client wanted no more of it.
    Cancelled,
}

impl Terminal<'_> {
    pub(super) const fn event(self) -> EventType {
        match self {
            Self::Completed => EventType::Completed,
            Self::Incomplete { .. } => EventType::Incomplete,
            Self::Failed { .. } => EventType::Failed,
            Self::Cancelled => EventType::Cancelled,
        }
    }

    pub(super) const fn status(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete { .. } => "incomplete",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Members of the response object that only the emitter writes.
pub(super) const RESERVED: &[&str] =
    &["id", "object", "created_at", "status", "output", "usage", "error", "incomplete_details"];

/// Members that the API sends whether or not the request names them, and what stands there if it does not.
const USUAL_MEMBERS: [(&str, &str); 10] = [
    ("output", "[]"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("temperature", "null"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("usage", "null"),
    ("metadata", "{}"),
];

/// Those and the response's own; in less than a KiB, which allocators hand out at once.
const FIRST_MEMBERS: usize = 20;

/// The response object as it begins: what the API always sends, with the caller's members in place.
pub(super) fn response_members(options: &EmitterOptions, echo: &[u8]) -> Result<Members, Error> {
    let mut members = Members::with_capacity(FIRST_MEMBERS);
    members.add_string("id", options.id.as_bytes());
    members.add("object", b"\"response\"");
    members.add("created_at", options.created_at.to_string().into_bytes());
    members.add("status", b"\"in_progress\"");
    for key in ["error", "incomplete_details", "instructions", "max_output_tokens"] {
        members.add(key, b"null");
    }
    members.add_string("model", options.model.as_bytes());
    for (key, value) in USUAL_MEMBERS {
        members.add(key, value.as_bytes());
    }
    members.merge(echo)?;
    Ok(members)
}

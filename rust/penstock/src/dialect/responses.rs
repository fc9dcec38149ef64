//! The Responses API: what each event says about a response, and the members of its objects that matter.

use std::borrow::Cow;

use crate::error::Error;
use crate::event::{EventType, Field, members, string};
use crate::json::{RawStr, push_key, push_string};

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A response begins.
    Created,
    /// The response object again, its life going on.
    Progress,
    /// The response object for the last time.
    Terminal(ResponseTerminal),
    /// Something failed; `response.failed` may follow.
    Error,
    /// An output item begins.
    ItemAdded,
    /// An output item for the last time.
    ItemDone,
    /// A part of an item begins.
    PartAdded(List),
    /// A part of an item for the last time.
    PartDone(List),
    /// More of a string.
    Delta(Channel),
    /// The whole of a string.
    Whole(Channel),
    /// An annotation of a text.
    Annotation,
    /// The status of an item of this kind.
    Status(Kind, Status),
    /// A shell command begins, with what is known of it.
    CommandAdded,
    /// More output of a shell command.
    OutputDelta,
    /// The whole output of a shell command.
    OutputWhole,
    /// A preview of an image.
    PartialImage,
    /// More of the response's audio.
    AudioDelta,
    /// More of what the audio says.
    TranscriptDelta,
    /// Nothing that belongs into the response object.
    Aside,
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseTerminal {
    /// `response.completed`
    Completed,
    /// `response.incomplete`
    Incomplete,
    /// `response.failed`
    Failed,
    /// `response.cancelled`
    Cancelled,
    /// An `error` event that no terminal event followed.
    Error,
}

impl ResponseTerminal {
    /// The type of the event that ended the response.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => EventType::Completed.as_str(),
            Self::Incomplete => EventType::Incomplete.as_str(),
            Self::Failed => EventType::Failed.as_str(),
            Self::Cancelled => EventType::Cancelled.as_str(),
            Self::Error => EventType::Error.as_str(),
        }
    }
}

/// The lists of parts an item can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// `content`
    Content,
    /// `summary`
    Summary,
}

impl List {
    /// The event's field that says which part.
    pub(crate) const fn index(self) -> Field {
        match self {
            Self::Content => Field::ContentIndex,
            Self::Summary => Field::SummaryIndex,
        }
    }
}

/// The strings that come in deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Text,
    Refusal,
    ReasoningText,
    SummaryText,
    FunctionArguments,
    CustomInput,
    McpArguments,
    Code,
    Diff,
    Command,
}

impl Channel {
    /// The list of parts this string stands in; `None` for a string of the item itself.
    #[inline]
    pub(crate) const fn list(self) -> Option<List> {
        match self {
            Self::Text | Self::Refusal | Self::ReasoningText => Some(List::Content),
            Self::SummaryText => Some(List::Summary),
            _ => None,
        }
    }

    /// The field of a `done` event that holds the whole string; the same word as the member of the item or part.
    pub(crate) const fn field(self) -> Field {
        match self {
            Self::Text | Self::ReasoningText | Self::SummaryText => Field::Text,
            Self::Refusal => Field::Refusal,
            Self::FunctionArguments | Self::McpArguments => Field::Arguments,
            Self::CustomInput => Field::Input,
            Self::Code => Field::Code,
            Self::Diff => Field::Diff,
            Self::Command => Field::Command,
        }
    }

    /// The kind of item an event of this channel implies.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Text | Self::Refusal => Kind::Message,
            Self::ReasoningText | Self::SummaryText => Kind::Reasoning,
            Self::FunctionArguments => Kind::FunctionCall,
            Self::CustomInput => Kind::CustomToolCall,
            Self::McpArguments => Kind::McpCall,
            Self::Code => Kind::CodeInterpreterCall,
            Self::Diff => Kind::ApplyPatchCall,
            Self::Command => Kind::ShellCall,
        }
    }

    /// Whether an item of kind `kind` can have this string. Kinds that nobody knows can have any.
    #[inline]
    pub(crate) const fn fits(self, kind: Kind) -> bool {
        match kind {
            Kind::Other => true,
            Kind::Message => matches!(self, Self::Text | Self::Refusal | Self::ReasoningText),
            Kind::Reasoning => matches!(self, Self::ReasoningText | Self::SummaryText | Self::Text),
            Kind::FunctionCall | Kind::McpCall => {
                matches!(self, Self::FunctionArguments | Self::McpArguments)
            }
            _ => kind as u8 == self.kind() as u8,
        }
    }

    /// The part that a delta of this channel implies where none was announced.
    pub(crate) const fn part(self) -> &'static [u8] {
        match self {
            Self::Refusal => br#"{"type":"refusal","refusal":""}"#,
            Self::ReasoningText => br#"{"type":"reasoning_text","text":""}"#,
            Self::SummaryText => br#"{"type":"summary_text","text":""}"#,
            _ => br#"{"type":"output_text","text":"","annotations":[]}"#,
        }
    }

    /// The channel of a part's string, by the part's type.
    pub(crate) fn of_part(kind: Option<&[u8]>) -> Option<Self> {
        match &*decoded(kind)? {
            b"output_text" => Some(Self::Text),
            b"refusal" => Some(Self::Refusal),
            b"reasoning_text" => Some(Self::ReasoningText),
            b"summary_text" => Some(Self::SummaryText),
            _ => None,
        }
    }
}

macro_rules! kinds {
    ($($kind:ident = $word:literal { $($members:literal)? },)*) => {
        /// The kinds of output items that events stream into.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind,)*
            /// Any other; kept as it came.
            Other,
        }

        impl Kind {
            /// The kind that an item's `type` names.
            pub(crate) fn of_item(kind: Option<&[u8]>) -> Self {
                match decoded(kind).as_deref().and_then(|word| std::str::from_utf8(word).ok()) {
                    $(Some($word) => Self::$kind,)*
                    _ => Self::Other,
                }
            }

            /// The `type` and the members that an item of this kind cannot be without.
            const fn skeleton(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$kind => ($word, concat!("", $($members)?)),)*
                    Self::Other => ("unknown", ""),
                }
            }
        }
    };
}

kinds! {
    Message = "message" { r#","status":"in_progress","role":"assistant","content":[]"# },
    Reasoning = "reasoning" { r#","summary":[]"# },
    FunctionCall = "function_call" { r#","status":"in_progress","arguments":"","call_id":"","name":"""# },
    CustomToolCall = "custom_tool_call" { r#","status":"in_progress","call_id":"","input":"","name":"""# },
    McpCall = "mcp_call" { r#","status":"in_progress","arguments":"","name":"","server_label":"""# },
    CodeInterpreterCall = "code_interpreter_call" {
        r#","status":"in_progress","code":"","container_id":"","outputs":null"#
    },
    FileSearchCall = "file_search_call" { r#","status":"in_progress","queries":[],"results":null"# },
    WebSearchCall = "web_search_call" { r#","status":"in_progress""# },
    ImageGenerationCall = "image_generation_call" { r#","status":"in_progress","result":null"# },
    LocalShellCall = "local_shell_call" {},
    ShellCall = "shell_call" { r#","status":"in_progress","call_id":"","action":{"commands":[]}"# },
    ShellCallOutput = "shell_call_output" { r#","status":"in_progress","call_id":"","output":[]"# },
    ApplyPatchCall = "apply_patch_call" { r#","status":"in_progress","call_id":"","operation":{"diff":""}"# },
    ToolSearchCall = "tool_search_call" {},
    ComputerCall = "computer_call" {},
}

impl Kind {
    /// Whether items of this kind count as tool calls.
    pub(crate) const fn is_call(self) -> bool {
        !matches!(self, Self::Message | Self::Reasoning | Self::ShellCallOutput | Self::Other)
    }

    /// Whether items of this kind can hold parts in `list`.
    pub(crate) const fn holds(self, list: List) -> bool {
        match list {
            List::Content => matches!(self, Self::Message | Self::Reasoning | Self::Other),
            List::Summary => matches!(self, Self::Reasoning | Self::Other),
        }
    }

    /// An item of this kind, for events about an item that was never announced. `id` is decoded.
    pub(crate) fn implied(self, id: Option<&[u8]>) -> Vec<u8> {
        let (word, members) = self.skeleton();
        let mut item = vec![b'{'];
        if let Some(id) = id {
            push_key("id", &mut item);
            push_string(id, &mut item);
            item.push(b',');
        }
        push_key("type", &mut item);
        push_string(word.as_bytes(), &mut item);
        item.extend_from_slice(members.as_bytes());
        item.push(b'}');
        item
    }
}

/// The states of an item that events announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    InProgress,
    Searching,
    Interpreting,
    Generating,
    Completed,
    Failed,
    Incomplete,
}

impl Status {
    /// The word on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Searching => "searching",
            Self::Interpreting => "interpreting",
            Self::Generating => "generating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
        }
    }

    /// How far along the item's life this is.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::InProgress => 1,
            Self::Searching | Self::Interpreting | Self::Generating => 2,
            Self::Completed | Self::Failed | Self::Incomplete => 3,
        }
    }

    /// The rank of an item's `status` value; 0 when it has none, or one that nobody knows.
    pub(crate) fn rank_of(status: Option<&[u8]>) -> u8 {
        const ALL: [Status; 7] = [
            Status::InProgress,
            Status::Searching,
            Status::Interpreting,
            Status::Generating,
            Status::Completed,
            Status::Failed,
            Status::Incomplete,
        ];
        let word = decoded(status).unwrap_or_default();
        ALL.iter().find(|status| status.as_str().as_bytes() == &*word).map_or(0, |status| status.rank())
    }
}

/// What `event` says.
#[inline]
pub(crate) const fn step(event: EventType) -> Step {
    use EventType as E;
    match event {
        E::Created => Step::Created,
        E::Queued | E::InProgress => Step::Progress,
        E::Completed => Step::Terminal(ResponseTerminal::Completed),
        E::Incomplete => Step::Terminal(ResponseTerminal::Incomplete),
        E::Failed => Step::Terminal(ResponseTerminal::Failed),
        E::Cancelled => Step::Terminal(ResponseTerminal::Cancelled),
        E::Error => Step::Error,
        E::OutputItemAdded => Step::ItemAdded,
        E::OutputItemDone => Step::ItemDone,
        E::ContentPartAdded => Step::PartAdded(List::Content),
        E::ContentPartDone => Step::PartDone(List::Content),
        E::ReasoningSummaryPartAdded => Step::PartAdded(List::Summary),
        E::ReasoningSummaryPartDone => Step::PartDone(List::Summary),
        E::OutputTextDelta => Step::Delta(Channel::Text),
        E::OutputTextDone => Step::Whole(Channel::Text),
        E::OutputTextAnnotationAdded => Step::Annotation,
        E::RefusalDelta => Step::Delta(Channel::Refusal),
        E::RefusalDone => Step::Whole(Channel::Refusal),
        E::ReasoningTextDelta => Step::Delta(Channel::ReasoningText),
        E::ReasoningTextDone => Step::Whole(Channel::ReasoningText),
        E::ReasoningSummaryTextDelta => Step::Delta(Channel::SummaryText),
        E::ReasoningSummaryTextDone => Step::Whole(Channel::SummaryText),
        E::FunctionCallArgumentsDelta => Step::Delta(Channel::FunctionArguments),
        E::FunctionCallArgumentsDone => Step::Whole(Channel::FunctionArguments),
        E::CustomToolCallInputDelta => Step::Delta(Channel::CustomInput),
        E::CustomToolCallInputDone => Step::Whole(Channel::CustomInput),
        E::McpCallArgumentsDelta => Step::Delta(Channel::McpArguments),
        E::McpCallArgumentsDone => Step::Whole(Channel::McpArguments),
        E::CodeInterpreterCallCodeDelta => Step::Delta(Channel::Code),
        E::CodeInterpreterCallCodeDone => Step::Whole(Channel::Code),
        E::ApplyPatchCallOperationDiffDelta => Step::Delta(Channel::Diff),
        E::ApplyPatchCallOperationDiffDone => Step::Whole(Channel::Diff),
        E::ShellCallCommandAdded => Step::CommandAdded,
        E::ShellCallCommandDelta => Step::Delta(Channel::Command),
        E::ShellCallCommandDone => Step::Whole(Channel::Command),
        E::ShellCallOutputContentDelta => Step::OutputDelta,
        E::ShellCallOutputContentDone => Step::OutputWhole,
        E::McpCallInProgress => Step::Status(Kind::McpCall, Status::InProgress),
        E::McpCallCompleted => Step::Status(Kind::McpCall, Status::Completed),
        E::McpCallFailed => Step::Status(Kind::McpCall, Status::Failed),
        E::CodeInterpreterCallInProgress => Step::Status(Kind::CodeInterpreterCall, Status::InProgress),
        E::CodeInterpreterCallInterpreting => Step::Status(Kind::CodeInterpreterCall, Status::Interpreting),
        E::CodeInterpreterCallCompleted => Step::Status(Kind::CodeInterpreterCall, Status::Completed),
        E::FileSearchCallInProgress => Step::Status(Kind::FileSearchCall, Status::InProgress),
        E::FileSearchCallSearching => Step::Status(Kind::FileSearchCall, Status::Searching),
        E::FileSearchCallCompleted => Step::Status(Kind::FileSearchCall, Status::Completed),
        E::WebSearchCallInProgress => Step::Status(Kind::WebSearchCall, Status::InProgress),
        E::WebSearchCallSearching => Step::Status(Kind::WebSearchCall, Status::Searching),
        E::WebSearchCallCompleted => Step::Status(Kind::WebSearchCall, Status::Completed),
        E::ImageGenerationCallInProgress => Step::Status(Kind::ImageGenerationCall, Status::InProgress),
        E::ImageGenerationCallGenerating => Step::Status(Kind::ImageGenerationCall, Status::Generating),
        E::ImageGenerationCallCompleted => Step::Status(Kind::ImageGenerationCall, Status::Completed),
        E::ImageGenerationCallPartialImage => Step::PartialImage,
        E::AudioDelta => Step::AudioDelta,
        E::AudioTranscriptDelta => Step::TranscriptDelta,
        // Their items have no `status`, or they are no part of a response at all.
        E::McpListToolsInProgress
        | E::McpListToolsCompleted
        | E::McpListToolsFailed
        | E::CompactionCompacting
        | E::AudioDone
        | E::AudioTranscriptDone
        | E::SteerAccepted
        | E::SteerPending
        | E::SteerFailed
        | E::InjectCreated
        | E::InjectFailed
        | E::RateLimits => Step::Aside,
    }
}

macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct $name<'a> {
            $(#[doc = concat!("`", stringify!($field), "`")] pub(crate) $field: Option<&'a [u8]>,)*
            /// Whether one of them stands there twice.
            pub(crate) repeated: bool,
        }

        impl<'a> $name<'a> {
            /// Finds the members of `object`; of duplicates the last one counts.
            pub(crate) fn read(object: &'a [u8]) -> Result<Self, Error> {
                let mut view = Self::default();
                members(object, |key, _, value| {
                    let value = value.of(object);
                    if key.contains(&b'\\') {
                        view.take(&RawStr::checked(key).decoded(), value);
                    } else {
                        view.take(key, value);
                    }
                })?;
                Ok(view)
            }

            #[inline]
            fn take(&mut self, key: &[u8], value: &'a [u8]) {
                match key {
                    $($key => {
                        self.repeated |= self.$field.is_some();
                        self.$field = Some(value);
                    })*
                    _ => {}
                }
            }
        }
    };
}

view! {
    /// The members of a response object that matter, each as JSON text.
    Response { id = b"id", status = b"status", output = b"output", error = b"error", usage = b"usage", }
}

view! {
    /// The members of an output item that matter.
    Item {
        kind = b"type",
        id = b"id",
        status = b"status",
        call_id = b"call_id",
        name = b"name",
        content = b"content",
        summary = b"summary",
        arguments = b"arguments",
        input = b"input",
        code = b"code",
        action = b"action",
        operation = b"operation",
        output = b"output",
    }
}

view! {
    /// The members of a content or summary part that matter.
    Part { kind = b"type", text = b"text", refusal = b"refusal", annotations = b"annotations", }
}

view! {
    /// The members of a shell or patch action that matter.
    Action { commands = b"commands", diff = b"diff", }
}

view! {
    /// What a shell command wrote.
    Written { stdout = b"stdout", stderr = b"stderr", }
}

impl<'a> Item<'a> {
    /// The string that `channel` streams into, of a channel that is the item's own.
    pub(crate) fn string(&self, channel: Channel) -> Option<&'a [u8]> {
        match channel {
            Channel::FunctionArguments | Channel::McpArguments => self.arguments,
            Channel::CustomInput => self.input,
            Channel::Code => self.code,
            Channel::Diff => Action::read(self.operation?).ok()?.diff,
            _ => None,
        }
    }
}

impl<'a> Part<'a> {
    /// The string that `channel` streams into.
    pub(crate) const fn string(&self, channel: Channel) -> Option<&'a [u8]> {
        match channel {
            Channel::Refusal => self.refusal,
            _ => self.text,
        }
    }
}

/// The characters of a JSON string, WTF-8; `None` for any other value.
pub(crate) fn decoded(value: Option<&[u8]>) -> Option<Cow<'_, [u8]>> {
    Some(string(value?)?.decoded())
}

/// Whether a value holds nothing: missing, `null`, or an empty string, list or object.
pub(crate) fn is_empty(value: Option<&[u8]>) -> bool {
    match value {
        None | Some(b"null" | b"\"\"") => true,
        Some([b'[', inside @ .., b']'] | [b'{', inside @ .., b'}']) => inside.trim_ascii().is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Item, Kind, Status, Step, is_empty, step};
    use crate::event::EventType;
    use crate::json::Cursor;

    #[test]
    fn every_delta_has_its_whole() {
        let steps: Vec<Step> = EventType::ALL.iter().map(|&event| step(event)).collect();
        for step in &steps {
            if let Step::Delta(channel) = step {
                assert!(steps.contains(&Step::Whole(*channel)), "{channel:?}");
                assert!(channel.fits(channel.kind()));
                assert!(channel.fits(Kind::Other));
            }
        }
    }

    #[test]
    fn implied_items_are_items_of_their_kind() {
        for channel in [Channel::Text, Channel::SummaryText, Channel::Code, Channel::Diff, Channel::Command] {
            for id in [None, Some(&b"it\"em"[..])] {
                let item = channel.kind().implied(id);
                Cursor::new(&item).skip_value(0, 8).unwrap();
                assert_eq!(Kind::of_item(Item::read(&item).unwrap().kind), channel.kind());
            }
        }
    }

    #[test]
    fn emptiness_and_ranks() {
        for (value, expected) in
            [("null", true), ("\"\"", true), ("[ ]", true), ("{}", true), ("[0]", false), ("0", false)]
        {
            assert_eq!(is_empty(Some(value.as_bytes())), expected, "{value}");
        }
        assert!(is_empty(None));
        assert_eq!(Status::rank_of(Some(b"\"searching\"")), 2);
        assert_eq!(Status::rank_of(Some(br#""\u0063ompleted""#)), 3);
        assert_eq!(Status::rank_of(Some(b"\"paused\"")), 0);
        assert_eq!(Status::rank_of(None), 0);
    }
}

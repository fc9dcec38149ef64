//! The Responses API: what each event says about a response, and the members of its objects that matter.

mod kind;
mod object;

use crate::event::EventType;

pub use kind::Kind;
pub(crate) use kind::{Channel, List};
pub(crate) use object::{Action, Item, Part, Response, Written, decoded, is_empty};

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

#[cfg(test)]
mod tests {
    use super::{Kind, Status, Step, step};
    use crate::event::EventType;

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
    fn ranks() {
        assert_eq!(Status::rank_of(Some(b"\"searching\"")), 2);
        assert_eq!(Status::rank_of(Some(br#""\u0063ompleted""#)), 3);
        assert_eq!(Status::rank_of(Some(b"\"paused\"")), 0);
        assert_eq!(Status::rank_of(None), 0);
    }
}

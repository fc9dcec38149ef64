//! Words of the wire as enums: one hash and one comparison from bytes to variant, tables built at compile time.

/// Slots of a word table; at least twice the words, so that probes stay short.
pub(crate) const SLOTS: usize = 256;

/// A word folded into two numbers that tell words of one length up to sixteen bytes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folded {
    first: u64,
    last: u64,
}

impl Folded {
    /// Folds a word: its first and last eight bytes, or four, or all there are.
    #[inline]
    #[must_use]
    pub const fn new(word: &[u8]) -> Self {
        if let (Some(first), Some(last)) = (word.first_chunk::<8>(), word.last_chunk::<8>()) {
            return Self { first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last) };
        }
        if let (Some(first), Some(last)) = (word.first_chunk::<4>(), word.last_chunk::<4>()) {
            return Self { first: u32::from_le_bytes(*first) as u64, last: u32::from_le_bytes(*last) as u64 };
        }
        let (first, last) = match word {
            [] => (0, 0),
            [one] => (*one as u64, 0),
            [one, two] => (*one as u64, *two as u64),
            [one, two, three, ..] => (*one as u64, (*two as u64) << 8 | *three as u64),
        };
        Self { first, last }
    }

    /// A slot number below 2^`bits`. Event types start alike, so their ends and lengths count most.
    #[inline]
    #[must_use]
    pub const fn slot(self, length: usize, bits: u32) -> usize {
        let mixed =
            (self.first ^ self.last.rotate_left(29) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - bits)) as usize
    }
}

/// One slot: a word's number, or none.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    folded: Folded,
    length: u32,
    number: u32,
}

const FREE: Slot = Slot { folded: Folded { first: 0, last: 0 }, length: u32::MAX, number: 0 };

/// Places each word in the first free slot from its hash on.
#[allow(clippy::indexing_slicing, reason = "runs at compile time, where a wrong index is a build error")]
pub(crate) const fn table(words: &[&str]) -> [Slot; SLOTS] {
    assert!(words.len() * 2 <= SLOTS);
    let mut slots = [FREE; SLOTS];
    let mut number = 0;
    while number < words.len() {
        let word = words[number].as_bytes();
        let folded = Folded::new(word);
        let mut slot = folded.slot(word.len(), SLOTS.ilog2());
        while slots[slot].length != FREE.length {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = Slot { folded, length: word.len() as u32, number: number as u32 };
        number += 1;
    }
    slots
}

/// The number of `word` in `words`, through `slots` made of the same words.
#[inline]
pub(crate) fn find(slots: &[Slot; SLOTS], words: &[&str], word: &[u8]) -> Option<usize> {
    let folded = Folded::new(word);
    let mut at = folded.slot(word.len(), SLOTS.ilog2());
    loop {
        let slot = slots.get(at)?;
        if slot.folded == folded && slot.length as usize == word.len() {
            let number = slot.number as usize;
            // Up to sixteen bytes the folded word is the word.
            if word.len() <= 16 || words.get(number).is_some_and(|known| known.as_bytes() == word) {
                return Some(number);
            }
        }
        if slot.length == FREE.length {
            return None;
        }
        at = (at + 1) % SLOTS;
    }
}

/// Declares an enum of words with its lookup.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// All words in declaration order; a variant's discriminant is its place here.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            const WORDS: &'static [&'static str] = &[$($text,)*];

            /// The word as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The variant of exactly this word.
            #[inline]
            #[must_use]
            pub fn from_bytes(word: &[u8]) -> Option<Self> {
                use $crate::vocabulary::{SLOTS, Slot, find, table};
                static TABLE: [Slot; SLOTS] = table($name::WORDS);
                Self::ALL.get(find(&TABLE, Self::WORDS, word)?).copied()
            }
        }
    };
}

pub(crate) use vocabulary;

vocabulary! {
    /// The event types of the Responses API: the 53 of openai 2.54, the later and beta ones, and those seen on the wire.
    EventType {
        Created = "response.created",
        Queued = "response.queued",
        InProgress = "response.in_progress",
        Completed = "response.completed",
        Incomplete = "response.incomplete",
        Failed = "response.failed",
        Cancelled = "response.cancelled",
        Error = "error",
        OutputItemAdded = "response.output_item.added",
        OutputItemDone = "response.output_item.done",
        ContentPartAdded = "response.content_part.added",
        ContentPartDone = "response.content_part.done",
        OutputTextDelta = "response.output_text.delta",
        OutputTextDone = "response.output_text.done",
        OutputTextAnnotationAdded = "response.output_text.annotation.added",
        RefusalDelta = "response.refusal.delta",
        RefusalDone = "response.refusal.done",
        ReasoningTextDelta = "response.reasoning_text.delta",
        ReasoningTextDone = "response.reasoning_text.done",
        ReasoningSummaryPartAdded = "response.reasoning_summary_part.added",
        ReasoningSummaryPartDone = "response.reasoning_summary_part.done",
        ReasoningSummaryTextDelta = "response.reasoning_summary_text.delta",
        ReasoningSummaryTextDone = "response.reasoning_summary_text.done",
        FunctionCallArgumentsDelta = "response.function_call_arguments.delta",
        FunctionCallArgumentsDone = "response.function_call_arguments.done",
        CustomToolCallInputDelta = "response.custom_tool_call_input.delta",
        CustomToolCallInputDone = "response.custom_tool_call_input.done",
        McpCallArgumentsDelta = "response.mcp_call_arguments.delta",
        McpCallArgumentsDone = "response.mcp_call_arguments.done",
        McpCallInProgress = "response.mcp_call.in_progress",
        McpCallCompleted = "response.mcp_call.completed",
        McpCallFailed = "response.mcp_call.failed",
        McpListToolsInProgress = "response.mcp_list_tools.in_progress",
        McpListToolsCompleted = "response.mcp_list_tools.completed",
        McpListToolsFailed = "response.mcp_list_tools.failed",
        CodeInterpreterCallCodeDelta = "response.code_interpreter_call_code.delta",
        CodeInterpreterCallCodeDone = "response.code_interpreter_call_code.done",
        CodeInterpreterCallInProgress = "response.code_interpreter_call.in_progress",
        CodeInterpreterCallInterpreting = "response.code_interpreter_call.interpreting",
        CodeInterpreterCallCompleted = "response.code_interpreter_call.completed",
        FileSearchCallInProgress = "response.file_search_call.in_progress",
        FileSearchCallSearching = "response.file_search_call.searching",
        FileSearchCallCompleted = "response.file_search_call.completed",
        WebSearchCallInProgress = "response.web_search_call.in_progress",
        WebSearchCallSearching = "response.web_search_call.searching",
        WebSearchCallCompleted = "response.web_search_call.completed",
        ImageGenerationCallInProgress = "response.image_generation_call.in_progress",
        ImageGenerationCallGenerating = "response.image_generation_call.generating",
        ImageGenerationCallPartialImage = "response.image_generation_call.partial_image",
        ImageGenerationCallCompleted = "response.image_generation_call.completed",
        AudioDelta = "response.audio.delta",
        AudioDone = "response.audio.done",
        AudioTranscriptDelta = "response.audio.transcript.delta",
        AudioTranscriptDone = "response.audio.transcript.done",
        ShellCallCommandAdded = "response.shell_call_command.added",
        ShellCallCommandDelta = "response.shell_call_command.delta",
        ShellCallCommandDone = "response.shell_call_command.done",
        ShellCallOutputContentDelta = "response.shell_call_output_content.delta",
        ShellCallOutputContentDone = "response.shell_call_output_content.done",
        CompactionCompacting = "response.compaction.compacting",
        SteerAccepted = "response.steer.accepted",
        SteerPending = "response.steer.pending",
        SteerFailed = "response.steer.failed",
        ApplyPatchCallOperationDiffDelta = "response.apply_patch_call_operation_diff.delta",
        ApplyPatchCallOperationDiffDone = "response.apply_patch_call_operation_diff.done",
        InjectCreated = "response.inject.created",
        InjectFailed = "response.inject.failed",
        RateLimits = "codex.rate_limits",
    }
}

vocabulary! {
    /// The top-level fields that penstock reads from an event of any dialect.
    Field {
        Type = "type",
        SequenceNumber = "sequence_number",
        OutputIndex = "output_index",
        ItemId = "item_id",
        ContentIndex = "content_index",
        SummaryIndex = "summary_index",
        Delta = "delta",
        StreamId = "stream_id",
        AnnotationIndex = "annotation_index",
        CommandIndex = "command_index",
        Text = "text",
        Refusal = "refusal",
        Arguments = "arguments",
        Input = "input",
        Code = "code",
        Diff = "diff",
        Command = "command",
        Output = "output",
        Name = "name",
        Item = "item",
        Part = "part",
        Annotation = "annotation",
        Logprobs = "logprobs",
        Response = "response",
        Error = "error",
        Message = "message",
        Param = "param",
        Status = "status",
        StatusCode = "status_code",
        Headers = "headers",
        PartialImage = "partial_image_b64",
        PartialImageIndex = "partial_image_index",
        Steer = "steer",
        Agent = "agent",
        Id = "id",
        Object = "object",
        Created = "created",
        Model = "model",
        Choices = "choices",
        Usage = "usage",
        ServiceTier = "service_tier",
        SystemFingerprint = "system_fingerprint",
        Citations = "citations",
        Index = "index",
        ContentBlock = "content_block",
        Content = "content",
    }
}

impl EventType {
    /// Whether such events come in numbers, each adding a piece to something.
    #[must_use]
    pub fn is_delta(self) -> bool {
        self.as_str().as_bytes().ends_with(b".delta")
    }
}

#[cfg(test)]
mod tests {
    use super::{EventType, Field};

    #[test]
    fn every_word_finds_itself_and_nothing_else() {
        for &word in EventType::ALL {
            assert_eq!(EventType::from_bytes(word.as_str().as_bytes()), Some(word));
            assert_eq!(EventType::from_bytes(&word.as_str().as_bytes()[1..]), None);
            assert_eq!(EventType::from_bytes(format!("{}x", word.as_str()).as_bytes()), None);
        }
        for &word in Field::ALL {
            assert_eq!(Field::from_bytes(word.as_str().as_bytes()), Some(word));
        }
        for stranger in
            ["", "t", "typ", "types", "response.", "response.output_text.delts", "\u{0}\u{0}\u{0}"]
        {
            assert_eq!(EventType::from_bytes(stranger.as_bytes()), None);
            assert_eq!(Field::from_bytes(stranger.as_bytes()), None);
        }
    }

    #[test]
    fn discriminants_are_places() {
        for (place, &word) in EventType::ALL.iter().enumerate() {
            assert_eq!(word as usize, place);
        }
        for (place, &word) in Field::ALL.iter().enumerate() {
            assert_eq!(word as usize, place);
        }
    }
}

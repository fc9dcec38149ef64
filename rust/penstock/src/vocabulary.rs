//! Words of the wire as enums: one hash and one comparison from bytes to variant, tables built at compile time.

/// Slots of a word table; at least twice the words, so that probes stay short.
const SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;

/// Spreads a word by its length and the eight bytes at its end and behind `response.`, where event types differ.
#[inline]
const fn hash(word: &[u8]) -> usize {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let length = word.len();
    let (first, last) = if length >= 8 {
        let middle = if length >= 17 { 9 } else { 0 };
        (load(word, middle), load(word, length - 8))
    } else {
        let mut packed = 0;
        let mut rest = word;
        while let [byte, tail @ ..] = rest {
            packed = packed << 8 | *byte as u64;
            rest = tail;
        }
        (packed, 0)
    };
    let mixed = (first ^ last.rotate_left(29) ^ length as u64).wrapping_mul(K);
    (mixed >> 56) as usize
}

/// Eight bytes from `at`, zero when they are not there.
#[inline]
const fn load(word: &[u8], at: usize) -> u64 {
    let (_, tail) = word.split_at(at);
    match tail.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Places each word's number in the first free slot from its hash on.
#[allow(clippy::indexing_slicing, reason = "runs at compile time, where a wrong index is a build error")]
const fn table(words: &[&str]) -> [u8; SLOTS] {
    assert!(words.len() * 2 <= SLOTS && words.len() < EMPTY as usize);
    let mut slots = [EMPTY; SLOTS];
    let mut number = 0;
    while number < words.len() {
        let mut slot = hash(words[number].as_bytes());
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = number as u8;
        number += 1;
    }
    slots
}

/// The number of `word` in `words`, through `slots` made of the same words.
#[inline]
fn find(slots: &[u8; SLOTS], words: &[&str], word: &[u8]) -> Option<usize> {
    let mut slot = hash(word);
    loop {
        let number = usize::from(*slots.get(slot)?);
        // An empty slot names no word, which ends the search.
        if words.get(number)?.as_bytes() == word {
            return Some(number);
        }
        slot = (slot + 1) % SLOTS;
    }
}

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
            const SLOTS: [u8; SLOTS] = table(Self::WORDS);

            /// The word as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The variant of exactly this word.
            #[inline]
            #[must_use]
            pub fn from_bytes(word: &[u8]) -> Option<Self> {
                static SLOTS_OF: [u8; SLOTS] = $name::SLOTS;
                Self::ALL.get(find(&SLOTS_OF, Self::WORDS, word)?).copied()
            }
        }
    };
}

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

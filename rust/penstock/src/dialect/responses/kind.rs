//! Kinds of items, the strings that stream into them, and what an event about an unknown one implies.

use crate::dialect::responses::object::decoded;
use crate::event::{EventType, Field};
use crate::json::{push_key, push_string};

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

    /// The event that brings the whole string.
    pub(crate) const fn whole(self) -> Option<EventType> {
        Some(match self {
            Self::Text => EventType::OutputTextDone,
            Self::Refusal => EventType::RefusalDone,
            Self::ReasoningText => EventType::ReasoningTextDone,
            Self::SummaryText => EventType::ReasoningSummaryTextDone,
            Self::FunctionArguments => EventType::FunctionCallArgumentsDone,
            Self::CustomInput => EventType::CustomToolCallInputDone,
            Self::McpArguments => EventType::McpCallArgumentsDone,
            Self::Code => EventType::CodeInterpreterCallCodeDone,
            Self::Diff => EventType::ApplyPatchCallOperationDiffDone,
            Self::Command => return None,
        })
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
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $(#[doc = concat!("`", $word, "`")] $kind,)*
            /// Any other; kept as it came.
            Other,
        }

        impl Kind {
            /// The kind that the word names.
            #[must_use]
            pub fn from_type(word: &str) -> Self {
                match word {
                    $($word => Self::$kind,)*
                    _ => Self::Other,
                }
            }

            /// The kind that an item's `type` names.
            pub(crate) fn of_item(kind: Option<&[u8]>) -> Self {
                let word = decoded(kind);
                let word = word.as_deref().and_then(|word| std::str::from_utf8(word).ok());
                word.map_or(Self::Other, Self::from_type)
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
    /// What the ids of items of this kind begin with.
    #[must_use]
    pub const fn id_prefix(self) -> &'static str {
        match self {
            Self::Message => "msg_",
            Self::Reasoning => "rs_",
            Self::FunctionCall => "fc_",
            Self::CustomToolCall => "ctc_",
            Self::McpCall => "mcp_",
            Self::CodeInterpreterCall => "ci_",
            Self::FileSearchCall => "fs_",
            Self::WebSearchCall => "ws_",
            Self::ImageGenerationCall => "ig_",
            Self::LocalShellCall | Self::ShellCall => "sh_",
            Self::ShellCallOutput => "sho_",
            Self::ApplyPatchCall => "apc_",
            Self::ToolSearchCall => "tsc_",
            Self::ComputerCall => "cu_",
            Self::Other => "item_",
        }
    }

    /// The status of an item of this kind that was cut short, as far as the API has a word for that.
    pub(crate) const fn cut_status(self) -> &'static str {
        if matches!(self, Self::ImageGenerationCall | Self::WebSearchCall) { "failed" } else { "incomplete" }
    }

    /// Whether an item of this kind is to the end the call that it was added as. Searches for tools have been seen
    /// to change their `call_id`.
    pub(crate) const fn keeps_call(self) -> bool {
        self.is_call() && !matches!(self, Self::ToolSearchCall)
    }

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

    /// The members of an item of this kind that has just begun, its id aside: keys, and values as JSON. None of
    /// them holds a comma or a colon.
    pub(crate) fn implied_members(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let members = self.skeleton().1.split(',').filter_map(|member| member.split_once(':'));
        members.map(|(key, value)| (key.trim_matches('"'), value))
    }

    /// The word that is its type.
    pub(crate) const fn word(self) -> &'static str {
        self.skeleton().0
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

#[cfg(test)]
mod tests {
    use super::{Channel, Kind};
    use crate::dialect::responses::Item;
    use crate::json::Cursor;

    #[test]
    fn implied_members_are_those_of_implied_items() {
        for channel in [Channel::Text, Channel::SummaryText, Channel::FunctionArguments, Channel::Code] {
            let kind = channel.kind();
            let members: Vec<String> =
                kind.implied_members().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let item = format!("{{\"type\":\"{}\",{}}}", kind.word(), members.join(","));
            assert_eq!(item.as_bytes(), kind.implied(None));
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
}

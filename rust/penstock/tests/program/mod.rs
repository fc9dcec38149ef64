//! Random programs for the emitter: legal calls in any order, illegal ones in between.

use penstock::{Emitter, EmitterOptions, EventType, ItemKind, ItemStatus, NewItem, PartKind, Terminal, Wire};
use proptest::prelude::*;

/// One call; the index chooses among the items that were opened.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Open(u8),
    Whole,
    Part(prop::sample::Index, u8),
    Push(prop::sample::Index, u8, Vec<u8>),
    Logprobs(prop::sample::Index, String),
    Annotate(prop::sample::Index),
    Status(prop::sample::Index, bool),
    ClosePart(prop::sample::Index),
    Close(prop::sample::Index),
    Usage,
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    calls: Vec<Call>,
    /// How it ends: 0 completed, 1 incomplete, 2 failed, 3 cancelled, 4 an error event before it failed.
    end: u8,
    queued: bool,
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z ]{0,8}".prop_map(String::into_bytes),
        2 => "\\PC{0,4}".prop_map(String::into_bytes),
        1 => Just(b"\"\\\n\r\x01\xe2\x80\xa8".to_vec()),
        1 => Just(b"\n\ndata: {\"type\":\"response.completed\"}\n\n".to_vec()),
        1 => Just("\u{1f600}".as_bytes().to_vec()),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let item = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0..9_u8).prop_map(Call::Open),
        1 => Just(Call::Whole),
        2 => (item(), 0..4_u8).prop_map(|(item, kind)| Call::Part(item, kind)),
        12 => (item(), 0..7_u8, piece()).prop_map(|(item, kind, piece)| Call::Push(item, kind, piece)),
        1 => (item(), "\\PC{0,4}").prop_map(|(item, text)| Call::Logprobs(item, text)),
        1 => item().prop_map(Call::Annotate),
        1 => (item(), any::<bool>()).prop_map(|(item, done)| Call::Status(item, done)),
        1 => item().prop_map(Call::ClosePart),
        3 => item().prop_map(Call::Close),
        1 => Just(Call::Usage),
    ]
}

pub(crate) fn program() -> impl Strategy<Value = Program> {
    (prop::collection::vec(call(), 0..60), 0..5_u8, any::<bool>()).prop_map(|(calls, end, queued)| Program {
        calls,
        end,
        queued,
    })
}

impl Program {
    /// The emitter when all is said.
    pub(crate) fn run(&self, wire: Wire) -> Emitter {
        let mut emitter =
            Emitter::new(EmitterOptions { wire, ..EmitterOptions::new("resp_x", 5, "model") }).unwrap();
        if self.queued {
            emitter.queue().unwrap();
        }
        emitter.start().unwrap();
        for call in &self.calls {
            let before = emitter.output().len();
            // What is illegal is refused, and changes nothing.
            if apply(&mut emitter, call).is_err() {
                assert_eq!(emitter.output().len(), before, "{call:?}");
            }
        }
        let error = br#"{"code":"server_error","message":"broken"}"#;
        match self.end {
            0 => {
                for item in 0..emitter.items() {
                    let _ = emitter.close_item(item, ItemStatus::Completed, b"");
                }
                emitter.finish(Terminal::Completed).unwrap();
            }
            1 => emitter.finish(Terminal::Incomplete { reason: "max_output_tokens" }).unwrap(),
            3 => emitter.finish(Terminal::Cancelled).unwrap(),
            end => {
                if end == 4 {
                    emitter.error(error).unwrap();
                }
                emitter.finish(Terminal::Failed { error }).unwrap();
            }
        }
        emitter
    }
}

fn apply(emitter: &mut Emitter, call: &Call) -> Result<(), penstock::Error> {
    let items = emitter.items();
    let at = |item: &prop::sample::Index| item.index(items.max(1));
    match call {
        Call::Open(kind) => {
            let new = match kind {
                0 | 1 => NewItem::message(),
                2 => NewItem::reasoning(),
                3 => NewItem::function_call(None, "f"),
                4 => NewItem::custom_tool_call(Some("call_own"), "g"),
                5 => NewItem::new(ItemKind::WebSearchCall),
                6 => NewItem::new(ItemKind::CodeInterpreterCall),
                7 => NewItem { members: br#"{"server_label":"s"}"#, ..NewItem::new(ItemKind::McpCall) },
                _ => NewItem { members: br#"{"type":"mcp_list_tools"}"#, ..NewItem::new(ItemKind::Other) },
            };
            emitter.open_item(new).map(drop)
        }
        Call::Whole => emitter
            .item_whole(
                format!(r#"{{"id":"w_{items}","type":"image_generation_call","status":"completed"}}"#)
                    .as_bytes(),
            )
            .map(drop),
        Call::Part(item, kind) => {
            let kinds = [PartKind::Text, PartKind::Refusal, PartKind::ReasoningText, PartKind::SummaryText];
            emitter.open_part(at(item), kinds[*kind as usize]).map(drop)
        }
        Call::Push(item, kind, piece) => match kind {
            0 => emitter.text(at(item), piece),
            1 => emitter.refusal(at(item), piece),
            2 => emitter.reasoning_text(at(item), piece),
            3 => emitter.reasoning_summary(at(item), piece),
            4 => emitter.arguments(at(item), piece),
            5 => emitter.custom_input(at(item), piece),
            _ => emitter.code(at(item), piece),
        },
        Call::Logprobs(item, text) => {
            let logprobs = serde_json::json!([{"token": text, "logprob": -0.5, "top_logprobs": []}]);
            emitter.text_with_logprobs(at(item), text.as_bytes(), logprobs.to_string().as_bytes())
        }
        Call::Annotate(item) => {
            emitter.annotation(at(item), br#"{"type":"file_path","file_id":"f","index":0}"#)
        }
        Call::Status(item, done) => {
            let event =
                if *done { EventType::WebSearchCallCompleted } else { EventType::WebSearchCallSearching };
            emitter.status(at(item), event, b"")
        }
        Call::ClosePart(item) => emitter.close_part(at(item)),
        Call::Close(item) => emitter.close_item(at(item), ItemStatus::Completed, b""),
        Call::Usage => emitter.usage(br#"{"input_tokens":1,"output_tokens":2,"total_tokens":3}"#),
    }
}

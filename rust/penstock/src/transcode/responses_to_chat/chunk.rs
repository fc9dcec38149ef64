//! How a chunk is written.

use crate::emit::{SseFrame, complete_logprobs, write_sse};
use crate::json::{push_key, push_number, push_string};
use crate::transcode::responses_to_chat::ResponsesToChatOptions;
use crate::transcode::usage::member;

/// Writes the chunks of one completion.
#[derive(Debug)]
pub(super) struct Chunks {
    id: String,
    created: u64,
    model: Vec<u8>,
    include_usage: bool,
    /// The chunk up to its choices.
    head: Vec<u8>,
    begun: bool,
    payload: Vec<u8>,
}

impl Chunks {
    pub(super) fn new(options: ResponsesToChatOptions) -> Self {
        Self {
            id: options.id,
            created: options.created,
            model: options.model.into_bytes(),
            include_usage: options.include_usage,
            head: Vec::new(),
            begun: false,
            payload: Vec::new(),
        }
    }

    /// Takes from the response object what every chunk repeats.
    pub(super) fn learn(&mut self, response: &[u8]) {
        if self.model.is_empty()
            && let Some(model) = member(response, "model").and_then(crate::event::string)
        {
            self.model = model.decoded().into_owned();
            self.head.clear();
        }
    }

    /// Writes the first chunk, which names the role.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            self.delta(br#"{"role":"assistant","content":""}"#, None, out);
        }
    }

    /// Writes a chunk that adds text to `field`, with a list of log probabilities.
    pub(super) fn text(&mut self, field: &str, piece: &[u8], logprobs: Option<&[u8]>, out: &mut Vec<u8>) {
        let mut delta = vec![b'{'];
        push_key(field, &mut delta);
        push_string(piece, &mut delta);
        delta.push(b'}');
        self.delta(&delta, logprobs, out);
    }

    /// Writes a chunk whose delta has `value`, one JSON value, as `field`.
    pub(super) fn raw(&mut self, field: &str, value: &[u8], out: &mut Vec<u8>) {
        let mut delta = vec![b'{'];
        push_key(field, &mut delta);
        delta.extend_from_slice(value);
        delta.push(b'}');
        self.delta(&delta, None, out);
    }

    /// Writes a chunk with a piece of sound or of its transcript.
    pub(super) fn audio(&mut self, member: &str, piece: &[u8], out: &mut Vec<u8>) {
        let mut audio = vec![b'{'];
        push_key(member, &mut audio);
        push_string(piece, &mut audio);
        audio.push(b'}');
        self.raw("audio", &audio, out);
    }

    /// Writes a chunk with this delta.
    pub(super) fn delta(&mut self, delta: &[u8], logprobs: Option<&[u8]>, out: &mut Vec<u8>) {
        self.begin(out);
        self.start_payload();
        self.payload.extend_from_slice(b"[{\"index\":0,\"delta\":");
        self.payload.extend_from_slice(delta);
        self.payload.extend_from_slice(b",\"logprobs\":");
        match logprobs {
            Some(list) => {
                self.payload.extend_from_slice(b"{\"content\":");
                self.payload.extend_from_slice(&complete_logprobs(list, false));
                self.payload.extend_from_slice(b",\"refusal\":null}");
            }
            None => self.payload.extend_from_slice(b"null"),
        }
        self.payload.extend_from_slice(b",\"finish_reason\":null}]");
        self.end_payload(b"null", out);
    }

    /// Writes the chunk that ends the choice.
    pub(super) fn finish(&mut self, reason: &str, out: &mut Vec<u8>) {
        self.begin(out);
        self.start_payload();
        self.payload.extend_from_slice(b"[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":");
        push_string(reason.as_bytes(), &mut self.payload);
        self.payload.extend_from_slice(b"}]");
        self.end_payload(b"null", out);
    }

    /// Writes the usage chunk, if the client asked for it.
    pub(super) fn usage(&mut self, usage: &[u8], out: &mut Vec<u8>) {
        if self.include_usage {
            self.start_payload();
            self.payload.extend_from_slice(b"[]");
            self.end_payload(usage, out);
        }
    }

    /// Writes `[DONE]`.
    #[allow(clippy::unused_self, reason = "it ends what the others write")]
    pub(super) fn done(&self, out: &mut Vec<u8>) {
        push_payload(b"[DONE]", out);
    }

    fn start_payload(&mut self) {
        if self.head.is_empty() {
            self.head.extend_from_slice(b"{\"id\":");
            push_string(self.id.as_bytes(), &mut self.head);
            self.head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
            push_number(self.created, &mut self.head);
            self.head.extend_from_slice(b",\"model\":");
            push_string(&self.model, &mut self.head);
            self.head.extend_from_slice(b",\"choices\":");
        }
        self.payload.clear();
        self.payload.extend_from_slice(&self.head);
    }

    fn end_payload(&mut self, usage: &[u8], out: &mut Vec<u8>) {
        if self.include_usage {
            self.payload.extend_from_slice(b",\"usage\":");
            self.payload.extend_from_slice(usage);
        }
        self.payload.push(b'}');
        push_payload(&self.payload, out);
    }
}

/// Appends one event; Chat Completions events have no name.
pub(super) fn push_payload(payload: &[u8], out: &mut Vec<u8>) {
    // Without name and id there is nothing to refuse.
    let _ = write_sse(&SseFrame { data: Some(payload), ..SseFrame::default() }, out);
}

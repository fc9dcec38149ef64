//! Streams: payloads, and the bytes they are sent in.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use criterion::Throughput;
use serde_json::Value;

/// What one TCP segment carries.
const READ_BYTES: usize = 1400;
const GENERATED_DELTAS: usize = 4000;

/// The streams of one source.
pub(crate) struct Input {
    /// Where they come from.
    pub(crate) source: &'static str,
    /// The payloads of each stream.
    pub(crate) streams: Vec<Vec<Vec<u8>>>,
}

impl Input {
    /// Responses streams.
    pub(crate) fn responses() -> Vec<Self> {
        let before = [
            r#"{"type":"response.created","response":{"id":"resp_1","object":"response","output":[]}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message","content":[]}}"#,
            r#"{"type":"response.content_part.added","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}"#,
        ];
        let delta = |(number, word): (usize, &str)| {
            let head = format!(r#"{{"type":"response.output_text.delta","sequence_number":{number}"#);
            let place = format!(r#""item_id":"msg_{:048x}","output_index":0,"content_index":0"#, 1);
            format!(r#"{head},{place},"delta":"{word}","logprobs":[],"obfuscation":"aQ3xZ0kL"}}"#)
        };
        let after =
            [r#"{"type":"response.completed","response":{"id":"resp_1","object":"response","output":[]}}"#];
        let deltas = words().take(GENERATED_DELTAS).enumerate().map(delta);
        Self::all(
            "responses",
            before.map(str::to_owned).into_iter().chain(deltas).chain(after.map(str::to_owned)),
        )
    }

    /// Chat Completions streams.
    pub(crate) fn chat() -> Vec<Self> {
        let chunk = |delta: &str, reason: &str| {
            let head = r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m""#;
            format!(r#"{{{head},"choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":{reason}}}]}}"#)
        };
        let before = chunk(r#""role":"assistant","content":"""#, "null");
        let deltas =
            words().take(GENERATED_DELTAS).map(|word| chunk(&format!(r#""content":"{word}""#), "null"));
        Self::all("chat", [before].into_iter().chain(deltas).chain([chunk("", r#""stop""#)]))
    }

    fn all(dialect: &str, generated: impl Iterator<Item = String>) -> Vec<Self> {
        let generated = vec![generated.map(String::into_bytes).collect()];
        let mut inputs = vec![Self { source: "generated", streams: generated }];
        let recorded = recordings(dialect);
        if !recorded.is_empty() {
            inputs.push(Self { source: "recordings", streams: recorded });
        }
        inputs
    }

    /// Each stream as it is sent, in reads.
    pub(crate) fn reads(&self) -> Vec<Vec<Vec<u8>>> {
        let wires = self.streams.iter().map(|stream| wire(stream));
        wires.map(|wire| wire.chunks(READ_BYTES).map(<[u8]>::to_vec).collect()).collect()
    }

    /// What figures count.
    pub(crate) fn events(&self) -> Throughput {
        Throughput::Elements(self.streams.iter().map(|stream| stream.len() as u64).sum())
    }
}

/// Words as answers have them, some with escapes or more than one byte a character.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    const WORDS: [&str; 16] = [
        " the",
        " water",
        " runs",
        " down",
        " a",
        " pipe",
        " and",
        ",",
        ".",
        " pressure",
        " in",
        r"\n\n",
        r#" \"gate\""#,
        " Grüße",
        " 水",
        " turbine",
    ];
    let mut state = 1_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 60) as usize]
    })
}

/// The recorded streams of a dialect; none where there is no such folder.
fn recordings(dialect: &str) -> Vec<Vec<Vec<u8>>> {
    let folder = std::env::var_os("PENSTOCK_RECORDINGS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings"),
        PathBuf::from,
    );
    let Ok(files) = std::fs::read_dir(folder.join(dialect)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let payloads = |text: Vec<u8>| {
        text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    };
    paths.into_iter().map(|path| payloads(std::fs::read(path).unwrap())).collect()
}

fn wire(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = String::new();
    for payload in payloads {
        let payload = str::from_utf8(payload).unwrap();
        if let Some(name) = serde_json::from_str::<Value>(payload).unwrap()["type"].as_str() {
            writeln!(wire, "event: {name}").unwrap();
        }
        write!(wire, "data: {payload}\n\n").unwrap();
    }
    wire.into_bytes()
}

//! Text of gpt-oss, token by token, to event-stream bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use penstock::{EmitterOptions, FinishReason, HarmonyOptions, HarmonyParser};

/// An answer as the model generates it: thought, a call, the answer; a token a piece.
fn tokens() -> Vec<&'static str> {
    const WORDS: [&str; 8] = ["The", " answer", " is", " \"forty", "-two\"", ".\n", " größer", " als"];
    const CALL: [&str; 8] = ["{\"", "city", "\":\"", "Tok", "yo", "\",\"", "n\":1", "}"];
    let words = |count| WORDS.into_iter().cycle().take(count);
    let mut tokens = vec!["<|channel|>", "analysis", "<|message|>"];
    tokens.extend(words(400));
    tokens.extend([
        "<|end|>",
        "<|start|>",
        "assistant",
        "<|channel|>",
        "comment",
        "ary",
        " to",
        "=functions",
    ]);
    tokens.extend([".get", "_weather", " ", "<|constrain|>", "json", "<|message|>"]);
    tokens.extend(CALL.into_iter().cycle().take(80));
    tokens.extend(["<|call|>", "<|start|>", "assistant", "<|channel|>", "final", "<|message|>"]);
    tokens.extend(words(500));
    tokens.push("<|return|>");
    tokens
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let tokens = tokens();
    let mut group = criterion.benchmark_group("harmony");
    group.throughput(Throughput::Elements(tokens.len() as u64));
    group.bench_function("text-to-sse", |bencher| {
        bencher.iter(|| {
            let response = EmitterOptions::new("resp_bench", 0, "model");
            let mut parser = HarmonyParser::new(response, HarmonyOptions::default()).unwrap();
            for token in &tokens {
                parser.feed(token.as_bytes()).unwrap();
                black_box(parser.emitter().output());
                parser.clear();
            }
            parser.finish(Some(FinishReason::Stop)).unwrap();
            black_box(parser.take())
        });
    });
    group.finish();
}

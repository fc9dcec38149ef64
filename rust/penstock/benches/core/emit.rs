//! Writing deltas, and reading a stream for what is wrong with it.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use penstock::{Emitter, EmitterOptions, LintOptions, Linter, NewItem, Wire};

use crate::input::Input;

/// Deltas as tokens are: short, some of them not ASCII.
const TOKENS: [&str; 8] = ["The", " answer", " is", " \"forty", "-two\"", ".\n", " größer", " als"];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("emit");
    group.throughput(Throughput::Elements(TOKENS.len() as u64));
    for (name, wire) in [("text-delta-sse", Wire::Sse), ("text-delta-message", Wire::Messages)] {
        let options = EmitterOptions { wire, ..EmitterOptions::new("resp_bench", 0, "model") };
        let mut options = options;
        options.limits.max_message_bytes = u64::MAX;
        let mut emitter = Emitter::new(options).unwrap();
        emitter.start().unwrap();
        let message = emitter.open_item(NewItem::message()).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for token in TOKENS {
                    emitter.text(message, token.as_bytes()).unwrap();
                }
                black_box(emitter.output());
                emitter.clear();
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("lint");
    for input in Input::responses() {
        group.throughput(input.events());
        group.bench_function(input.source, |bencher| {
            bencher.iter(|| {
                for stream in &input.streams {
                    let mut linter = Linter::new(&LintOptions::default());
                    for payload in stream {
                        linter.feed(payload, None).unwrap();
                    }
                    black_box(linter.finish());
                }
            });
        });
    }
    group.finish();
}

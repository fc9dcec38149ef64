//! Arguments of a tool call, read as they come: a few characters a time, or all at once.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use penstock::Limits;
use penstock::json::{Kind, Number, PartialJson, PartialSink, PartialState};

use crate::input::words;

/// Takes everything and keeps nothing.
struct Nothing;

impl PartialSink for Nothing {
    fn open(&mut self, object: bool) {
        black_box(object);
    }

    fn close(&mut self) {}

    fn key(&mut self, key: &str) {
        black_box(key);
    }

    fn string(&mut self, text: &str) {
        black_box(text);
    }

    fn number(&mut self, number: Number<'_>) {
        black_box(number);
    }

    fn literal(&mut self, literal: Kind) {
        black_box(literal);
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let text = arguments();
    let mut group = criterion.benchmark_group("partial JSON");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for size in [4, 64, text.len()] {
        group.bench_function(format!("pieces of {size} bytes"), |bencher| {
            bencher.iter(|| {
                let mut reader = PartialJson::new(&Limits::default());
                for piece in text.chunks(size) {
                    reader.feed(piece, &mut Nothing).unwrap();
                }
                assert_eq!(reader.state(), PartialState::Complete);
            });
        });
    }
    group.finish();
}

/// Some 64 KiB of what models call tools with: paths, text, numbers.
fn arguments() -> Vec<u8> {
    let mut words = words();
    let edits: Vec<String> = (0..200)
        .map(|line| {
            let text: String = words.by_ref().take(50).collect();
            format!(r#"{{"path":"src/gate.rs","line":{line},"whole":false,"ratio":1.5,"text":"{text}"}}"#)
        })
        .collect();
    format!(r#"{{"edits":[{}]}}"#, edits.join(",")).into_bytes()
}

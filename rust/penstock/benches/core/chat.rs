//! Chunks to the final `ChatCompletion`.

use std::hint::black_box;

use criterion::Criterion;
use penstock::{ChatAccumulator, Limits};

use crate::input::Input;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chat");
    for input in Input::chat() {
        group.throughput(input.events());
        group.bench_function(input.source, |bencher| {
            bencher.iter(|| {
                for stream in &input.streams {
                    let mut accumulator = ChatAccumulator::new(&Limits::default(), false);
                    for payload in stream {
                        accumulator.feed(payload, None).unwrap();
                    }
                    accumulator.done();
                    black_box(accumulator.snapshot());
                }
            });
        });
    }
    group.finish();
}

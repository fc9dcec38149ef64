//! Payloads to the final Response.

use std::hint::black_box;

use criterion::Criterion;
use penstock::ResponseAccumulator;

use crate::input::Input;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accumulate");
    for input in Input::responses() {
        group.throughput(input.events());
        group.bench_function(input.source, |bencher| {
            bencher.iter(|| {
                for stream in &input.streams {
                    let mut accumulator = ResponseAccumulator::default();
                    for payload in stream {
                        accumulator.feed(payload, None).unwrap();
                    }
                    accumulator.finish().unwrap();
                    black_box(accumulator.response().unwrap().snapshot().unwrap());
                }
            });
        });
    }
    group.finish();
}

//! Payloads to the fields that consumers ask for: each payload for itself, and by the shape of those before it.

use std::hint::black_box;

use criterion::Criterion;
use penstock::{Fields, Scanner};

use crate::input::Input;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for input in Input::responses() {
        group.throughput(input.events());
        group.bench_function(format!("{}/in full", input.source), |bencher| {
            bencher.iter(|| {
                for payload in input.streams.iter().flatten() {
                    black_box(Fields::scan(payload).unwrap());
                }
            });
        });
        group.bench_function(format!("{}/by shape", input.source), |bencher| {
            bencher.iter(|| {
                for stream in &input.streams {
                    let mut scanner = Scanner::default();
                    for payload in stream {
                        black_box(scanner.scan(payload).unwrap());
                    }
                }
            });
        });
    }
    group.finish();
}

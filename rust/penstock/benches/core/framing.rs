//! Bytes to frames.

use std::hint::black_box;

use criterion::Criterion;
use penstock::{Decoder, DecoderOptions, Frame};

use crate::input::Input;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    for input in Input::responses() {
        let reads = input.reads();
        group.throughput(input.events());
        group.bench_function(input.source, |bencher| {
            bencher.iter(|| {
                for stream in &reads {
                    let mut decoder = Decoder::new(DecoderOptions::default());
                    for read in stream {
                        decoder
                            .feed(read, &mut |chunk: &[u8], frame: Frame<'_>| {
                                black_box(frame.data.bytes(chunk));
                            })
                            .unwrap();
                    }
                }
            });
        });
    }
    group.finish();
}

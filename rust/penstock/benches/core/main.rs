//! What the core costs without Python: `cargo bench -p penstock`, or `-- framing` for one group.
//!
//! The input is what `benches/` measures the whole package on: the recorded streams where there are some, in reads
//! of 1,400 bytes, and generated ones everywhere.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run fails by panicking"
)]

mod accumulate;
mod chat;
mod emit;
mod framing;
mod harmony;
mod input;
mod partial;
mod scan;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    framing::bench(&mut criterion);
    scan::bench(&mut criterion);
    accumulate::bench(&mut criterion);
    chat::bench(&mut criterion);
    emit::bench(&mut criterion);
    harmony::bench(&mut criterion);
    partial::bench(&mut criterion);
    criterion.final_summary();
}

//! Long streams cost what they hold: allocations and bytes are counted, not timed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use penstock::ResponseAccumulator;

/// Counts what a thread allocates.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

fn count(size: usize) {
    CALLS.set(CALLS.get() + 1);
    BYTES.set(BYTES.get() + size as u64);
}

// SAFETY: every call is handed on to the system's allocator unchanged; the counters hold plain integers and are
// initialised at compile time, so that counting never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are this call's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes that `work` asks for.
fn measure(work: impl FnOnce()) -> (u64, u64) {
    let before = (CALLS.get(), BYTES.get());
    work();
    (CALLS.get() - before.0, BYTES.get() - before.1)
}

const DELTAS: [&str; 4] = [
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"01234567","logprobs":[]}"#,
    r#"{"type":"response.reasoning_summary_text.delta","output_index":1,"summary_index":0,"delta":"01234567"}"#,
    r#"{"type":"response.function_call_arguments.delta","output_index":2,"delta":"01234567"}"#,
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"0123\n4567é"}"#,
];

fn fed(delta: &str, count: usize) -> (ResponseAccumulator, (u64, u64)) {
    let mut accumulator = ResponseAccumulator::default();
    // What the first events of a stream need is theirs: its items, and the shape of its events.
    for delta in DELTAS.iter().chain(&[delta, delta]) {
        accumulator.feed(delta.as_bytes(), None).unwrap();
    }
    let cost = measure(|| {
        for _ in 0..count {
            accumulator.feed(delta.as_bytes(), None).unwrap();
        }
    });
    (accumulator, cost)
}

#[test]
fn deltas_allocate_for_their_text_only() {
    for delta in DELTAS {
        let (half, (half_calls, half_bytes)) = fed(delta, 50_000);
        let (whole, (calls, bytes)) = fed(delta, 100_000);
        // The text's buffer doubles; nothing else is allocated.
        assert!(
            calls <= half_calls + 2 && calls <= 24,
            "{calls} allocations, {half_calls} for half: {delta}"
        );
        assert!(bytes <= 2 * half_bytes + 1024, "{bytes} bytes, {half_bytes} for half: {delta}");
        assert!(bytes <= 4 * whole.held(), "{bytes} bytes for {}", whole.held());
        assert!(whole.held() <= 2 * half.held());
    }
}

#[test]
fn a_snapshot_costs_its_size() {
    let (accumulator, _) = fed(DELTAS[0], 100_000);
    let view = accumulator.response().unwrap();
    let (calls, bytes) = measure(|| drop(view.snapshot().unwrap()));
    assert!(calls <= 64, "{calls}");
    assert!(bytes <= 4 * accumulator.held(), "{bytes}");
}

#[test]
fn small_events_about_a_large_item_cost_their_own_size() {
    let large = "x".repeat(1 << 20);
    let filled = |item: &str| item.replace('~', &large);
    let item = filled(
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","x":"~"}}"#,
    );
    let message =
        filled(r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"~"}"#);
    for event in [
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"f"}}"#,
        r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"","name":"f"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":""}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message","content":[]}}"#,
        r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[]}}"#,
        r#"{"type":"response.content_part.added","output_index":1,"content_index":0,"part":{"type":"output_text"}}"#,
        r#"{"type":"response.content_part.done","output_index":1,"content_index":0,"part":{"type":"output_text"}}"#,
        r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":null}"#,
        r#"{"type":"response.in_progress","response":{"id":"r","output":[]}}"#,
        r#"{"type":"error","message":"m"}"#,
    ] {
        let mut accumulator = ResponseAccumulator::default();
        accumulator.feed(item.as_bytes(), None).unwrap();
        accumulator.feed(message.as_bytes(), None).unwrap();
        let (_, bytes) = measure(|| {
            for _ in 0..200 {
                accumulator.feed(event.as_bytes(), None).unwrap();
            }
        });
        assert!(bytes < 32 << 20, "{bytes} bytes: {event}");
    }
}

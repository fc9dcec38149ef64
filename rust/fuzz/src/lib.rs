//! What the targets share with each other and with the property tests.

#[path = "../../penstock/tests/support/mod.rs"]
mod support;

pub use support::{feeding, json, naive};

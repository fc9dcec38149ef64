//! What the property tests and the fuzz targets share: slow, obvious twins of the fast paths, and ways to feed.

#![allow(unreachable_pub, reason = "the fuzz crate, which is a library, exports it")]

pub mod feeding;
pub mod json;
pub mod naive;

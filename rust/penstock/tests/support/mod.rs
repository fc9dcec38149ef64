//! What the property tests and the fuzz targets share: slow, obvious twins of the fast paths, and ways to feed.

pub mod feeding;
pub mod json;
pub mod naive;

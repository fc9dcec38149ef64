//! The Python face of the core: the module table, nothing else.

#![allow(clippy::doc_markdown, reason = "doc comments of classes and methods are Python docstrings")]

mod bounds;
mod bytes_like;
mod chat_accumulator;
mod coalesce;
mod conversations;
mod decoder;
mod dumps;
mod emitter;
mod errors;
mod event;
mod feed;
mod frame;
mod given;
mod harmony;
mod id_rewriter;
mod ids;
mod items;
mod json;
mod limits;
mod lint;
mod origin;
mod partial;
mod prefix;
mod relay;
mod response_accumulator;
mod strings;
mod synthesize;
mod template;
mod transcoder;
mod write_events;
mod written;

use pyo3::prelude::*;

/// Private extension module; import from `penstock`.
#[pymodule(gil_used = false)]
mod _penstock {
    #[pymodule_export]
    use crate::bounds::Bounds;
    #[pymodule_export]
    use crate::chat_accumulator::ChatAccumulator;
    #[pymodule_export]
    use crate::coalesce::_coalesce;
    #[pymodule_export]
    use crate::conversations::{_Conversations, _read_turn};
    #[pymodule_export]
    use crate::decoder::Decoder;
    #[pymodule_export]
    use crate::emitter::ResponseEmitter;
    #[pymodule_export]
    use crate::errors::_panic_next;
    #[pymodule_export]
    use crate::event::Event;
    #[pymodule_export]
    use crate::frame::write_sse;
    #[pymodule_export]
    use crate::harmony::{_harmony_to_items, HarmonyParser};
    #[pymodule_export]
    use crate::id_rewriter::IdRewriter;
    #[pymodule_export]
    use crate::ids::LiteLLMCodec;
    #[pymodule_export]
    use crate::ids::SealedCodec;
    #[pymodule_export]
    use crate::items::Items;
    #[pymodule_export]
    use crate::limits::Limits;
    #[pymodule_export]
    use crate::lint::_Linter;
    #[pymodule_export]
    use crate::partial::PartialJSON;
    #[pymodule_export]
    use crate::prefix::PrefixChain;
    #[pymodule_export]
    use crate::prefix::PrefixIndex;
    #[pymodule_export]
    use crate::prefix::hash_items;
    #[pymodule_export]
    use crate::prefix::hash_json;
    #[pymodule_export]
    use crate::relay::Relay;
    #[pymodule_export]
    use crate::response_accumulator::ResponseAccumulator;
    #[pymodule_export]
    use crate::synthesize::synthesize;
    #[pymodule_export]
    use crate::transcoder::Transcoder;
    #[pymodule_export]
    use crate::write_events::write_events;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::errors::silence_panics();
        crate::strings::init(py)?;
        crate::event::place::init(py.get_type::<Event>().call1((b"{}",))?.cast()?);
        // Lets `match` take an event apart by its keys.
        py.import("collections.abc")?
            .getattr("Mapping")?
            .call_method1("register", (py.get_type::<Event>(),))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

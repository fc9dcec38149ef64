//! `penstock.ids`: the codecs of response ids.

use std::sync::Arc;

use penstock::ids::{Codec, IdKind, LiteLlm, Origin, Sealed};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyMapping, PyString};

use crate::bytes_like::with_bytes;
use crate::errors::{construct, guard};
use crate::given::unknown;

/// Provider, model and the upstream's id.
pub(crate) type Parts = (Option<String>, Option<String>, String);

/// The same, where the id may be the one that came.
type Decoded = (Option<String>, Option<String>, Py<PyString>);

/// `InvalidResponseId`, which says no more than that.
#[cold]
pub(crate) fn invalid(py: Python<'_>) -> PyErr {
    construct(py, "InvalidResponseId", "the id was not issued here, or not to this tenant", |_| Ok(()))
}

pub(crate) fn parts(origin: Origin) -> Parts {
    (origin.provider, origin.model, origin.id)
}

/// A codec of either class.
pub(crate) fn codec_of(codec: &Bound<'_, PyAny>) -> PyResult<Codec> {
    if let Ok(codec) = codec.cast::<LiteLLMCodec>() {
        return Ok(Codec::LiteLlm(codec.get().core));
    }
    if let Ok(codec) = codec.cast::<SealedCodec>() {
        return Ok(Codec::Sealed(Arc::clone(&codec.get().core)));
    }
    Err(PyTypeError::new_err("codec must be a LiteLLMCodec or a SealedCodec"))
}

/// Response ids as LiteLLM writes them: provider, model and the upstream's id in base64.
///
/// They protect nothing: everyone can read them and make them. An id that reads as encoded already is not encoded
/// again; an id that does not is decoded to itself.
///
/// Args:
///     mode: "compat" reads ids exactly as LiteLLM does, faults included: `;` cuts a model or an id short, None comes
///         back as "None", and any base64 with two `;` in it is an id. "strict" reads only what LiteLLM writes, that
///         whole, and refuses a `;` in a provider or model. Both write the same.
#[pyclass(frozen, module = "penstock.ids")]
pub(crate) struct LiteLLMCodec {
    core: LiteLlm,
}

impl LiteLLMCodec {
    fn encoded(
        &self,
        py: Python<'_>,
        encode: impl FnOnce(LiteLlm) -> Result<String, penstock::ids::Unencodable>,
    ) -> PyResult<String> {
        guard(py, || encode(self.core).map_err(|error| PyValueError::new_err(error.to_string())))
    }

    /// What `decode` makes of an id; the id itself if that is nothing.
    fn decoded(
        &self,
        id: &Bound<'_, PyString>,
        decode: impl FnOnce(LiteLlm, &str) -> Option<Origin>,
    ) -> PyResult<Decoded> {
        let py = id.py();
        guard(py, || {
            // What is not UTF-8 was not encoded.
            let origin = id.to_str().ok().and_then(|text| decode(self.core, text));
            Ok(match origin {
                Some(origin) => (origin.provider, origin.model, PyString::new(py, &origin.id).unbind()),
                None => (None, None, id.clone().unbind()),
            })
        })
    }
}

#[pymethods]
impl LiteLLMCodec {
    #[new]
    #[pyo3(signature = (mode="compat"))]
    fn new(py: Python<'_>, mode: &str) -> PyResult<Self> {
        guard(py, || match mode {
            "compat" => Ok(Self { core: LiteLlm { strict: false } }),
            "strict" => Ok(Self { core: LiteLlm { strict: true } }),
            other => Err(unknown("mode", other, "\"compat\" or \"strict\"")),
        })
    }

    /// "compat" or "strict".
    #[getter]
    fn mode(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(py, || Ok(if self.core.strict { "strict" } else { "compat" }))
    }

    /// The id of a response, for clients.
    ///
    /// Raises:
    ///     ValueError: in mode "strict", a provider or model with a `;`.
    #[pyo3(signature = (id, /, *, provider=None, model=None))]
    fn encode(
        &self,
        py: Python<'_>,
        id: &str,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> PyResult<String> {
        self.encoded(py, |core| core.encode(id, provider, model))
    }

    /// Provider, model and upstream id of a response's id; None, None and the id itself if it is not encoded.
    #[pyo3(signature = (id, /))]
    fn decode(&self, id: &Bound<'_, PyString>) -> PyResult<Decoded> {
        self.decoded(id, LiteLlm::decode)
    }

    /// Whether a response's id is encoded, as far as that can be told.
    #[pyo3(signature = (id, /))]
    fn is_encoded(&self, id: &Bound<'_, PyString>) -> PyResult<bool> {
        guard(id.py(), || Ok(id.to_str().is_ok_and(|id| self.core.decode(id).is_some())))
    }

    /// The id of an item with encrypted content, which must go back to the same model.
    #[pyo3(signature = (id, /, *, model))]
    fn encode_item(&self, py: Python<'_>, id: &str, model: &str) -> PyResult<String> {
        self.encoded(py, |core| core.encode_item(id, model))
    }

    /// Model and upstream id of an item's id; None and the id itself if it is not encoded.
    #[pyo3(signature = (id, /))]
    fn decode_item(&self, id: &Bound<'_, PyString>) -> PyResult<(Option<String>, Py<PyString>)> {
        self.decoded(id, LiteLlm::decode_item).map(|(_, model, id)| (model, id))
    }

    /// Encrypted content, marked with the model that can read it.
    #[pyo3(signature = (content, /, *, model))]
    fn encode_content(&self, py: Python<'_>, content: &str, model: &str) -> PyResult<String> {
        self.encoded(py, |core| core.encode_content(content, model))
    }

    /// Model and encrypted content; None and the content as it is if it is not marked.
    #[pyo3(signature = (content, /))]
    fn decode_content(&self, content: &Bound<'_, PyString>) -> PyResult<(Option<String>, Py<PyString>)> {
        self.decoded(content, LiteLlm::decode_content).map(|(_, model, id)| (model, id))
    }

    /// The id of a container.
    #[pyo3(signature = (id, /, *, provider=None, model=None))]
    fn encode_container(
        &self,
        py: Python<'_>,
        id: &str,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> PyResult<String> {
        self.encoded(py, |core| core.encode_container(id, provider, model))
    }

    /// Provider, model and upstream id of a container's id; None, None and the id itself if it is not encoded.
    #[pyo3(signature = (id, /))]
    fn decode_container(&self, id: &Bound<'_, PyString>) -> PyResult<Decoded> {
        self.decoded(id, LiteLlm::decode_container)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("LiteLLMCodec({:?})", self.mode(py)?))
    }
}

/// Response ids that only who holds a key can make, each good for one tenant.
///
/// An id carries provider, model and upstream id for all to see, under an HMAC-SHA256 of 128 bits over them, the key's
/// id and the tenant. The tenant is not in it: whoever opens an id says for whom. One input gives one id, and it is short:
/// 87 characters for one of OpenAI's.
///
/// Args:
///     keys: secrets by their ids, at least one; the first seals, all of them open, so a new key goes to the front and
///         an old one leaves when its ids may die. Ids are public and short (1 to 16 bytes); secrets have at least
///         16 bytes, better 32 random ones.
///
/// Raises:
///     ValueError: there is no key, or one is too short.
#[pyclass(frozen, module = "penstock.ids")]
pub(crate) struct SealedCodec {
    core: Arc<Sealed>,
}

#[pymethods]
impl SealedCodec {
    #[new]
    #[pyo3(signature = (keys))]
    fn new(py: Python<'_>, keys: &Bound<'_, PyMapping>) -> PyResult<Self> {
        guard(py, || {
            let mut own: Vec<(String, Vec<u8>)> = Vec::new();
            for pair in keys.items()? {
                let (id, secret) = pair.extract::<(String, Bound<'_, PyAny>)>()?;
                own.push((id, with_text(&secret, |secret| Ok(secret.to_vec()))?));
            }
            let pairs = own.iter().map(|(id, secret)| (id.as_bytes(), secret.as_slice()));
            let core = Sealed::new(pairs).map_err(|error| PyValueError::new_err(error.to_string()))?;
            Ok(Self { core: Arc::new(core) })
        })
    }

    /// Seals an upstream's id for a tenant. An id that this tenant can open is sealed already and comes back as it is.
    ///
    /// Args:
    ///     id: the upstream's id, at most 1024 bytes; for `kind="content"` the encrypted content, of any length.
    ///     tenant: whose it is, as str or bytes.
    ///     provider, model: what `open` shall tell, at most 255 bytes each.
    ///     kind: "response", "item" or "content"; one kind does not open as another.
    ///
    /// Raises:
    ///     ValueError: something is too long.
    #[pyo3(signature = (id, /, *, tenant, provider=None, model=None, kind="response"))]
    fn seal(
        &self,
        py: Python<'_>,
        id: &str,
        tenant: &Bound<'_, PyAny>,
        provider: Option<&str>,
        model: Option<&str>,
        kind: &str,
    ) -> PyResult<String> {
        guard(py, || {
            let kind = kind_of(kind)?;
            with_text(tenant, |tenant| {
                self.core
                    .seal(kind, id, tenant, provider, model)
                    .map_err(|_| PyValueError::new_err("an id, provider or model is too long to be sealed"))
            })
        })
    }

    /// Opens a sealed id for a tenant: provider, model and the upstream's id.
    ///
    /// Raises:
    ///     InvalidResponseId: it was not sealed here, or for somebody else, or was damaged; which, it does not say.
    #[pyo3(signature = (id, /, *, tenant, kind="response"))]
    fn open(&self, id: &Bound<'_, PyString>, tenant: &Bound<'_, PyAny>, kind: &str) -> PyResult<Parts> {
        let py = id.py();
        guard(py, || {
            let kind = kind_of(kind)?;
            let id = id.to_str().map_err(|_| invalid(py))?;
            with_text(tenant, |tenant| self.core.open(kind, id, tenant).map(parts).map_err(|_| invalid(py)))
        })
    }

    /// Shows no key, nor a key's id.
    #[allow(clippy::unused_self, reason = "Python calls it on an object")]
    fn __repr__(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(py, || Ok("<SealedCodec>"))
    }
}

fn kind_of(kind: &str) -> PyResult<IdKind> {
    match kind {
        "response" => Ok(IdKind::Response),
        "item" => Ok(IdKind::Item),
        "content" => Ok(IdKind::Content),
        other => Err(unknown("kind", other, "\"response\", \"item\" or \"content\"")),
    }
}

/// Calls `work` with bytes, or with a string as UTF-8.
pub(crate) fn with_text<T>(data: &Bound<'_, PyAny>, work: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
    if let Ok(text) = data.cast::<PyString>() {
        return work(text.to_str()?.as_bytes());
    }
    with_bytes(data, |bytes| work(bytes.as_bytes()))
}

//! Ids as LiteLLM writes them: provider, model and the upstream's id in base64, for anyone to read and to make.

use std::fmt;

use super::Origin;
use super::base64::{push_standard, read_as_python, read_either};

/// LiteLLM's ids. What is written is the same in both ways of reading, and an id that reads as written already is left
/// as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiteLlm {
    /// Reads only what LiteLLM writes, and that whole: an id may hold `;`, a provider or model that was not known is
    /// None. Otherwise ids are read exactly as LiteLLM reads them, faults included.
    pub strict: bool,
}

/// A provider or model with a `;` in it, which would be read back as something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unencodable;

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a provider or model with a semicolon cannot be read back from an id")
    }
}

impl std::error::Error for Unencodable {}

const RESPONSE: &str = "resp_";
const ITEM: &str = "encitem_";
const CONTENT: &str = "litellm_enc:";
const CONTAINER: &str = "cntr_";

impl LiteLlm {
    /// A response's id.
    pub fn encode(
        self,
        id: &str,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<String, Unencodable> {
        if self.decode(id).is_some() {
            return Ok(id.to_owned());
        }
        self.check([provider, model])?;
        let (provider, model) = (provider.unwrap_or("None"), model.unwrap_or("None"));
        let text = format!("litellm:custom_llm_provider:{provider};model_id:{model};response_id:{id}");
        Ok(wrap(RESPONSE, &text))
    }

    /// Where a response's id came from; None if it is not encoded.
    #[must_use]
    pub fn decode(self, id: &str) -> Option<Origin> {
        if self.strict {
            let text = read_text(read_either, id.strip_prefix(RESPONSE)?)?;
            let rest = text.strip_prefix("litellm:custom_llm_provider:")?;
            let (provider, rest) = rest.split_once(';')?;
            let (model, id) = rest.strip_prefix("model_id:")?.split_once(';')?;
            let id = id.strip_prefix("response_id:")?.to_owned();
            return Some(Origin { provider: known(provider), model: known(model), id });
        }
        let text = read_text(read_as_python, &id.replace(RESPONSE, ""))?;
        let mut parts = text.split(';');
        let (provider, model, id) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Origin {
            provider: Some(provider.replace("litellm:custom_llm_provider:", "")),
            model: Some(model.replace("model_id:", "")),
            id: id.replace("response_id:", ""),
        })
    }

    /// The id of an item with encrypted content.
    pub fn encode_item(self, id: &str, model: &str) -> Result<String, Unencodable> {
        if self.decode_item(id).is_some() {
            return Ok(id.to_owned());
        }
        self.check([Some(model), None])?;
        Ok(wrap(ITEM, &format!("litellm:model_id:{model};item_id:{id}")))
    }

    /// Where an item's id came from; None if it is not encoded. Padding that was lost on the way is no fault.
    #[must_use]
    pub fn decode_item(self, id: &str) -> Option<Origin> {
        let text = self.read_padded(id.strip_prefix(ITEM)?)?;
        let (model, id) = text.split_once(';')?;
        let (model, id) = if self.strict {
            (model.strip_prefix("litellm:model_id:")?.to_owned(), id.strip_prefix("item_id:")?.to_owned())
        } else {
            (model.replace("litellm:model_id:", ""), id.replace("item_id:", ""))
        };
        Some(Origin { provider: None, model: Some(model), id })
    }

    /// Encrypted content, marked with the model that can read it.
    pub fn encode_content(self, content: &str, model: &str) -> Result<String, Unencodable> {
        if self.decode_content(content).is_some() {
            return Ok(content.to_owned());
        }
        self.check([Some(model), None])?;
        let mut text = wrap(CONTENT, &format!("model_id:{model}"));
        text.push(';');
        text.push_str(content);
        Ok(text)
    }

    /// Encrypted content as it was, as the origin's `id`, and its model; None if it is not marked.
    #[must_use]
    pub fn decode_content(self, content: &str) -> Option<Origin> {
        let (mark, content) = content.split_once(';')?;
        let mark = mark.strip_prefix(CONTENT)?;
        let model = if self.strict {
            self.read_padded(mark)?.strip_prefix("model_id:")?.to_owned()
        } else {
            self.read_padded(&mark.replace(CONTENT, ""))?.replace("model_id:", "")
        };
        Some(Origin { provider: None, model: Some(model), id: content.to_owned() })
    }

    /// A container's id. A provider or model that is not known is left empty.
    pub fn encode_container(
        self,
        id: &str,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<String, Unencodable> {
        if self.decode_container(id).is_some() {
            return Ok(id.to_owned());
        }
        self.check([provider, model])?;
        let (provider, model) = (provider.unwrap_or_default(), model.unwrap_or_default());
        Ok(wrap(
            CONTAINER,
            &format!("litellm:custom_llm_provider:{provider};model_id:{model};container_id:{id}"),
        ))
    }

    /// Where a container's id came from; None if it is not encoded.
    #[must_use]
    pub fn decode_container(self, id: &str) -> Option<Origin> {
        let inside = id.strip_prefix(CONTAINER)?;
        let text = if self.strict {
            read_text(read_either, inside)?
        } else {
            read_text(read_as_python, &inside.replace(CONTAINER, ""))?
        };
        let rest = text.strip_prefix("litellm:custom_llm_provider:")?;
        let (provider, rest) = rest.split_once(';')?;
        let (model, id) = rest.strip_prefix("model_id:")?.split_once(';')?;
        let id = id.strip_prefix("container_id:")?;
        // LiteLLM's pattern ends at the end of a line, which may be the last.
        let id = if self.strict { id } else { id.strip_suffix('\n').unwrap_or(id) };
        if id.is_empty() || !self.strict && id.contains('\n') {
            return None;
        }
        let named = |name| known(name).filter(|name| !name.is_empty());
        Some(Origin { provider: named(provider), model: named(model), id: id.to_owned() })
    }

    fn check(self, names: [Option<&str>; 2]) -> Result<(), Unencodable> {
        let split = names.into_iter().flatten().any(|name| name.contains(';'));
        if self.strict && split { Err(Unencodable) } else { Ok(()) }
    }

    /// Reads base64 whose padding may be missing.
    fn read_padded(self, text: &str) -> Option<String> {
        if self.strict {
            return read_text(read_either, text);
        }
        let missing = (4 - text.len() % 4) % 4;
        read_text(read_as_python, &format!("{text}{}", "===".get(..missing)?))
    }
}

fn wrap(prefix: &str, text: &str) -> String {
    let mut id = prefix.as_bytes().to_vec();
    push_standard(text.as_bytes(), &mut id);
    // Base64 is ASCII.
    String::from_utf8(id).unwrap_or_default()
}

fn read_text(read: fn(&[u8]) -> Option<Vec<u8>>, text: &str) -> Option<String> {
    String::from_utf8(read(text.as_bytes())?).ok()
}

/// A name that was known: `str(None)` stands for one that was not.
fn known(name: &str) -> Option<String> {
    (name != "None").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{LiteLlm, Origin, Unencodable};

    const COMPAT: LiteLlm = LiteLlm { strict: false };
    const STRICT: LiteLlm = LiteLlm { strict: true };

    #[allow(clippy::unnecessary_wraps, reason = "it is compared with what may be none")]
    fn origin(provider: &str, model: &str, id: &str) -> Option<Origin> {
        Some(Origin { provider: Some(provider.into()), model: Some(model.into()), id: id.into() })
    }

    #[test]
    fn ids_are_litellm_s() {
        for (provider, model, id, expected) in [
            (
                Some("openai"),
                Some("model-1"),
                "resp_abc123",
                "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDptb2RlbC0xO3Jlc3BvbnNlX2lkOnJlc3BfYWJjMTIz",
            ),
            (
                None,
                None,
                "resp_abc",
                "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOk5vbmU7bW9kZWxfaWQ6Tm9uZTtyZXNwb25zZV9pZDpyZXNwX2FiYw==",
            ),
            (
                Some(""),
                Some(""),
                "chatcmpl-123",
                "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOjttb2RlbF9pZDo7cmVzcG9uc2VfaWQ6Y2hhdGNtcGwtMTIz",
            ),
        ] {
            for codec in [COMPAT, STRICT] {
                let encoded = codec.encode(id, provider, model).unwrap();
                assert_eq!(encoded, expected);
                assert_eq!(codec.encode(&encoded, Some("x"), Some("y")).as_deref(), Ok(expected));
            }
            let expected_compat = origin(provider.unwrap_or("None"), model.unwrap_or("None"), id);
            assert_eq!(COMPAT.decode(expected), expected_compat);
            let decoded = STRICT.decode(expected).unwrap();
            assert_eq!(
                (decoded.provider.as_deref(), decoded.model.as_deref(), &*decoded.id),
                (provider, model, id)
            );
        }
    }

    #[test]
    fn compat_reads_as_litellm_reads() {
        let semicolon = COMPAT.encode("resp_x", Some("azure"), Some("gpt;4")).unwrap();
        assert_eq!(COMPAT.decode(&semicolon), origin("azure", "gpt", "4"));
        let semicolon = COMPAT.encode("resp_a;b", Some("openai"), Some("m")).unwrap();
        assert_eq!(COMPAT.decode(&semicolon), origin("openai", "m", "resp_a"));
        assert_eq!(STRICT.decode(&semicolon), origin("openai", "m", "resp_a;b"));
        for id in ["resp_YTtiO2M=", "YTtiO2M=", "resp_resp_YTtiO2M=", "resp_YTtiO2M=!!"] {
            assert_eq!(COMPAT.decode(id), origin("a", "b", "c"), "{id}");
            assert_eq!(STRICT.decode(id), None, "{id}");
        }
        for id in
            ["resp_YTtiO2M", "resp_0ad69c3c5fcb01f60068eba7", "chatcmpl-1", "resp_", "", "resp_warmup_00ff"]
        {
            assert_eq!(COMPAT.decode(id), None, "{id}");
            assert_eq!(STRICT.decode(id), None, "{id}");
        }
    }

    #[test]
    fn strict_refuses_what_cannot_come_back() {
        assert_eq!(STRICT.encode("resp_x", Some("a;b"), None), Err(Unencodable));
        assert_eq!(STRICT.encode_item("rs_1", "a;b"), Err(Unencodable));
        assert_eq!(STRICT.encode_container("cntr_1", None, Some(";")), Err(Unencodable));
        let padded = STRICT.encode("resp_abc", Some("p"), Some("m")).unwrap();
        assert_eq!(STRICT.decode(padded.trim_end_matches('=')), origin("p", "m", "resp_abc"));
    }

    #[test]
    fn other_ids() {
        for codec in [COMPAT, STRICT] {
            let content = codec.encode_content("gAAAA==", "dep-1").unwrap();
            assert_eq!(content, "litellm_enc:bW9kZWxfaWQ6ZGVwLTE=;gAAAA==");
            assert_eq!(codec.encode_content(&content, "dep-1").as_deref(), Ok(&*content));
            for wrapped in [&*content, "litellm_enc:bW9kZWxfaWQ6ZGVwLTE;gAAAA=="] {
                let found = codec.decode_content(wrapped).unwrap();
                assert_eq!((found.model.as_deref(), &*found.id), (Some("dep-1"), "gAAAA=="));
            }
            let item = codec.encode_item("rs_1", "dep-1").unwrap();
            assert_eq!(item, "encitem_bGl0ZWxsbTptb2RlbF9pZDpkZXAtMTtpdGVtX2lkOnJzXzE=");
            assert_eq!(codec.encode_item(&item, "dep-1").as_deref(), Ok(&*item));
            assert_eq!(codec.decode_item(item.trim_end_matches('=')).unwrap().id, "rs_1");
            let container = codec.encode_container("cntr_1", Some("openai"), None).unwrap();
            assert_eq!(
                container,
                "cntr_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDo7Y29udGFpbmVyX2lkOmNudHJfMQ=="
            );
            let found = codec.decode_container(&container).unwrap();
            assert_eq!(
                (found.provider.as_deref(), found.model, &*found.id),
                (Some("openai"), None, "cntr_1")
            );
            let odd = codec.encode_container("a;b", None, Some("m")).unwrap();
            assert_eq!(codec.decode_container(&odd).unwrap().id, "a;b");
            assert_eq!(codec.decode_container("cntr_1"), None);
            assert_eq!(codec.decode_item("rs_1"), None);
            assert_eq!(codec.decode_content("gAAAA=="), None);
        }
    }
}

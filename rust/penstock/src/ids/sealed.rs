//! Ids that only who holds a key can make, each for one tenant.
//!
//! ```text
//! id   = prefix, base64url( version, length of key id, key id, tag, body )
//! body = flags, [length of provider, provider], [length of model, model], the upstream's id
//! tag  = the first 16 bytes of HMAC-SHA256(key; DOMAIN, version, kind of id, then each with its length in 8
//!        bytes: key id, prefix, tenant, body)
//! ```
//!
//! The tenant is no part of the id: whoever opens it says for whom, and the tag holds for no other. Nothing is hidden
//! but the tenant; who must not see provider, model and upstream id needs more than this. One input gives one id, and
//! one id has one text, so ids can be compared and looked up.
//!
//! To be short, the prefix that upstream and sealed id share is not repeated, and lower-case hexadecimal digits, which
//! most upstream ids are made of, take half a byte each; flags tell both.

mod body;

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::base64::{push_url, read_url};
use super::{IdKind, Origin};
use crate::ids::translate::Invalid;
use body::{Body, LONGEST_ID, read_body};

const DOMAIN: &[u8] = b"penstock.ids";
const VERSION: u8 = 1;
/// Bytes of a tag: 128 bits, of which nobody guesses any.
const TAG: usize = 16;
/// Fewer bytes make no key.
const SHORTEST_KEY: usize = 16;
const LONGEST_KEY_ID: usize = 16;

/// Seals and opens ids. The first key seals, all of them open.
#[derive(Clone)]
pub struct Sealed {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Box<[u8]>,
    mac: Hmac<Sha256>,
}

/// Why keys are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// There is none.
    None,
    /// One has fewer than 16 bytes.
    Short,
    /// A key's id is empty, longer than 16 bytes or given twice.
    Id,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "sealing needs at least one key",
            Self::Short => "a key needs at least 16 bytes",
            Self::Id => "a key's id has 1 to 16 bytes, and no other key has it",
        })
    }
}

impl std::error::Error for KeyError {}

/// Shows no key.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("keys", &self.keys.len()).finish()
    }
}

impl Sealed {
    /// Takes keys by their ids. Ids stand in every sealed id for all to see; short ones make it shorter.
    pub fn new<'a>(keys: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, KeyError> {
        let mut own: Vec<Key> = Vec::new();
        for (id, secret) in keys {
            if id.is_empty() || id.len() > LONGEST_KEY_ID || own.iter().any(|key| *key.id == *id) {
                return Err(KeyError::Id);
            }
            if secret.len() < SHORTEST_KEY {
                return Err(KeyError::Short);
            }
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Short)?;
            mac.update(DOMAIN);
            own.push(Key { id: id.into(), mac });
        }
        if own.is_empty() { Err(KeyError::None) } else { Ok(Self { keys: own }) }
    }

    /// Seals an upstream's id for a tenant. An id that this tenant can open is sealed already and comes back as it is.
    /// Refused are ids of more than 1024 bytes and providers and models of more than 255.
    pub fn seal(
        &self,
        kind: IdKind,
        id: &str,
        tenant: &[u8],
        provider: Option<&str>,
        model: Option<&str>,
    ) -> Result<String, Invalid> {
        if self.open(kind, id, tenant).is_ok() {
            return Ok(id.to_owned());
        }
        let key = self.keys.first().ok_or(Invalid)?;
        let (prefix, rest, stripped) = split_prefix(kind, id);
        let mut body = Body::new(stripped);
        body.names(provider, model)?;
        let content = kind == IdKind::Content;
        if !content {
            body.id(rest)?;
        }
        let outside = if content { id.as_bytes() } else { &[] };
        let tag = key.tag(kind, prefix, tenant, &body.bytes, outside).finalize().into_bytes();

        let mut packed = Vec::with_capacity(2 + key.id.len() + TAG + body.bytes.len());
        packed.extend_from_slice(&[VERSION, key.id.len() as u8]);
        packed.extend_from_slice(&key.id);
        packed.extend_from_slice(tag.get(..TAG).unwrap_or_default());
        packed.extend_from_slice(&body.bytes);
        let mut text = Vec::with_capacity(prefix.len() + packed.len() * 4 / 3 + 2 + outside.len());
        text.extend_from_slice(prefix);
        push_url(&packed, &mut text);
        if content {
            text.push(b'.');
            text.extend_from_slice(outside);
        }
        String::from_utf8(text).map_err(|_| Invalid)
    }

    /// Opens a sealed id for a tenant. Whatever is wrong with it, the answer is the same.
    pub fn open(&self, kind: IdKind, sealed: &str, tenant: &[u8]) -> Result<Origin, Invalid> {
        let (prefix, text) = sealed_prefix(kind, sealed).ok_or(Invalid)?;
        let (text, outside) = match kind {
            IdKind::Content => text.split_once('.').ok_or(Invalid)?,
            _ => (text, ""),
        };
        // Version 1 begins with this letter; most ids that were never sealed do not.
        if !text.starts_with('A') || text.len() > 4 * LONGEST_ID {
            return Err(Invalid);
        }
        let packed = read_url(text.as_bytes()).ok_or(Invalid)?;
        let [VERSION, length, rest @ ..] = &*packed else { return Err(Invalid) };
        let (id, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Invalid)?;
        let (tag, body) = rest.split_first_chunk::<TAG>().ok_or(Invalid)?;
        let key = self.keys.iter().find(|key| *key.id == *id).ok_or(Invalid)?;
        // Compares in constant time.
        key.tag(kind, prefix, tenant, body, outside.as_bytes())
            .verify_truncated_left(tag)
            .map_err(|_| Invalid)?;
        read_body(kind, prefix, body, outside).ok_or(Invalid)
    }
}

impl Key {
    fn tag(&self, kind: IdKind, prefix: &[u8], tenant: &[u8], body: &[u8], outside: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        let kind = match kind {
            IdKind::Response => 0,
            IdKind::Item => 1,
            IdKind::Content => 2,
        };
        mac.update(&[VERSION, kind]);
        for field in [&*self.id, prefix, tenant, body, outside] {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}

/// The prefix of the sealed id, what of the upstream's id it does not say, and whether it says any of it.
fn split_prefix(kind: IdKind, id: &str) -> (&[u8], &str, bool) {
    match (kind, own_prefix(id)) {
        (IdKind::Content, _) => (b"enc_", id, false),
        (IdKind::Response, Some(("resp_", rest))) => (b"resp_", rest, true),
        (IdKind::Response, _) => (b"resp_", id, false),
        (IdKind::Item, Some((prefix, rest))) => (prefix.as_bytes(), rest, true),
        (IdKind::Item, None) => (b"item_", id, false),
    }
}

/// The prefix of a sealed id, and what follows it.
fn sealed_prefix(kind: IdKind, sealed: &str) -> Option<(&[u8], &str)> {
    let (prefix, rest) = match kind {
        IdKind::Response => ("resp_", sealed.strip_prefix("resp_")?),
        IdKind::Content => ("enc_", sealed.strip_prefix("enc_")?),
        IdKind::Item => own_prefix(sealed)?,
    };
    Some((prefix.as_bytes(), rest))
}

/// A prefix of up to eight lower-case letters and an underscore.
fn own_prefix(id: &str) -> Option<(&str, &str)> {
    let length = id.bytes().take_while(u8::is_ascii_lowercase).count();
    ((1..=8).contains(&length) && id.as_bytes().get(length) == Some(&b'_')).then(|| id.split_at(length + 1))
}

#[cfg(test)]
mod tests {
    use super::{KeyError, Sealed};
    use crate::ids::translate::Invalid;
    use crate::ids::{IdKind, Origin};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const UPSTREAM: &str = "resp_0ad69c3c5fcb01f60068eba78cacd08193bf9a57724aa55ab8";

    fn codec() -> Sealed {
        Sealed::new([(&b"k1"[..], SECRET)]).unwrap()
    }

    fn sealed() -> String {
        codec().seal(IdKind::Response, UPSTREAM, b"tenant", Some("openai"), Some("gpt-5.2")).unwrap()
    }

    #[test]
    fn ids_come_back_as_they_were() {
        let long = "x".repeat(1024);
        let names = [None, Some(""), Some("openai"), Some("a;b"), Some("deadbeef"), Some("\u{e9}")];
        for id in [
            UPSTREAM,
            "",
            "resp_",
            "resp_abc",
            "resp_DEAD",
            "chatcmpl-1",
            "msg_00ff",
            "\u{e9};",
            "resp_resp_a",
            &*long,
        ] {
            for kind in [IdKind::Response, IdKind::Item, IdKind::Content] {
                for provider in names {
                    for model in names {
                        let sealed = codec().seal(kind, id, b"t", provider, model).unwrap();
                        let expected = Origin {
                            provider: provider.map(Into::into),
                            model: model.map(Into::into),
                            id: id.into(),
                        };
                        assert_eq!(codec().open(kind, &sealed, b"t"), Ok(expected));
                        assert_eq!(
                            codec().seal(kind, &sealed, b"t", Some("other"), None).as_deref(),
                            Ok(&*sealed)
                        );
                        assert_eq!(codec().open(kind, &sealed, b"u"), Err(Invalid));
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_is_short_and_keeps_its_prefix() {
        assert_eq!(sealed().len(), 87);
        assert!(sealed().starts_with("resp_A"));
        let item = codec().seal(IdKind::Item, "msg_0123", b"t", None, None).unwrap();
        assert!(item.starts_with("msg_A") && item.len() < 64);
        assert_eq!(sealed(), sealed());
    }

    #[test]
    fn every_flip_and_every_cut_is_refused() {
        let sealed = sealed();
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut bytes = sealed.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                if let Ok(text) = String::from_utf8(bytes) {
                    assert_eq!(
                        codec().open(IdKind::Response, &text, b"tenant"),
                        Err(Invalid),
                        "{place} {bit}"
                    );
                }
            }
            assert_eq!(codec().open(IdKind::Response, &sealed[..place], b"tenant"), Err(Invalid));
            assert_eq!(codec().open(IdKind::Response, &sealed[place + 1..], b"tenant"), Err(Invalid));
        }
        for tail in ["A", "=", "==", "\n", " "] {
            assert_eq!(codec().open(IdKind::Response, &format!("{sealed}{tail}"), b"tenant"), Err(Invalid));
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let seal = |tenant: &[u8], provider, model, id| {
            codec().seal(IdKind::Response, id, tenant, provider, model).unwrap()
        };
        let sealed = [
            seal(b"t", Some("ab"), Some("c"), "x"),
            seal(b"t", Some("a"), Some("bc"), "x"),
            seal(b"t", Some("abc"), None, "x"),
            seal(b"t", None, Some("abc"), "x"),
            seal(b"t", Some("abc"), Some(""), "x"),
            seal(b"t", Some("ab"), None, "cx"),
            seal(b"ta", Some("b"), Some("c"), "x"),
            seal(b"", Some("tab"), Some("c"), "x"),
        ];
        for (place, one) in sealed.iter().enumerate() {
            assert!(sealed.iter().skip(place + 1).all(|other| one != other));
        }
        let item = codec().seal(IdKind::Item, "resp_1", b"t", None, None).unwrap();
        assert!(codec().open(IdKind::Item, &item, b"t").is_ok());
        assert_eq!(codec().open(IdKind::Response, &item, b"t"), Err(Invalid));
    }

    #[test]
    fn keys_rotate() {
        let new: &[u8] = b"fedcba9876543210fedcba9876543210";
        let both = Sealed::new([(&b"k2"[..], new), (b"k1", SECRET)]).unwrap();
        let only = Sealed::new([(&b"k2"[..], new)]).unwrap();
        let renamed = Sealed::new([(&b"k1"[..], new)]).unwrap();
        assert_eq!(both.open(IdKind::Response, &sealed(), b"tenant").unwrap().id, UPSTREAM);
        assert_eq!(both.seal(IdKind::Response, &sealed(), b"tenant", None, None), Ok(sealed()));
        assert_eq!(only.open(IdKind::Response, &sealed(), b"tenant"), Err(Invalid));
        assert_eq!(renamed.open(IdKind::Response, &sealed(), b"tenant"), Err(Invalid));
        let fresh = both.seal(IdKind::Response, UPSTREAM, b"tenant", None, None).unwrap();
        assert!(only.open(IdKind::Response, &fresh, b"tenant").is_ok());
    }

    #[test]
    fn keys_are_needed_and_never_shown() {
        let none: [(&[u8], &[u8]); 0] = [];
        assert_eq!(Sealed::new(none).unwrap_err(), KeyError::None);
        assert_eq!(Sealed::new([(&b"k"[..], &SECRET[..15])]).unwrap_err(), KeyError::Short);
        for id in [&b""[..], b"12345678901234567"] {
            assert_eq!(Sealed::new([(id, SECRET)]).unwrap_err(), KeyError::Id);
        }
        assert_eq!(Sealed::new([(&b"k"[..], SECRET), (b"k", SECRET)]).unwrap_err(), KeyError::Id);
        assert_eq!(format!("{:?}", codec()), "Sealed { keys: 1 }");
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let seal = |id: &str, name: &str| codec().seal(IdKind::Response, id, b"", Some(name), None);
        assert_eq!(seal(&"x".repeat(1025), ""), Err(Invalid));
        assert_eq!(seal("x", &"x".repeat(256)), Err(Invalid));
        assert!(seal("x", &"x".repeat(255)).is_ok());
    }
}

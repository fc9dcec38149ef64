//! What a sealed id says: flags, provider and model, the upstream's id. `sealed` draws its layout.

use super::{IdKind, Origin};
use crate::ids::translate::Invalid;

/// Bytes of an upstream's id, as of an event's; encrypted content may be longer.
pub(super) const LONGEST_ID: usize = 1024;
const LONGEST_NAME: usize = 255;

const STRIPPED: u8 = 1;
const ID_IN_HEX: u8 = 1 << 1;
const PROVIDER: u8 = 1 << 2;
const MODEL: u8 = 1 << 3;
const MODEL_IN_HEX: u8 = 1 << 4;

/// The part of an id that says where it came from.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
}

impl Body {
    pub(super) fn new(stripped: bool) -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.push(if stripped { STRIPPED } else { 0 });
        Self { bytes }
    }

    fn flag(&mut self, flag: u8) {
        if let Some(flags) = self.bytes.first_mut() {
            *flags |= flag;
        }
    }

    pub(super) fn names(&mut self, provider: Option<&str>, model: Option<&str>) -> Result<(), Invalid> {
        if let Some(provider) = provider {
            self.flag(PROVIDER);
            self.name(provider.as_bytes())?;
        }
        if let Some(model) = model {
            self.flag(MODEL);
            match pack_hex(model) {
                Some(packed) => {
                    self.flag(MODEL_IN_HEX);
                    self.name(&packed)?;
                }
                None => self.name(model.as_bytes())?,
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &[u8]) -> Result<(), Invalid> {
        if name.len() > LONGEST_NAME {
            return Err(Invalid);
        }
        self.bytes.push(name.len() as u8);
        self.bytes.extend_from_slice(name);
        Ok(())
    }

    pub(super) fn id(&mut self, id: &str) -> Result<(), Invalid> {
        if id.len() > LONGEST_ID {
            return Err(Invalid);
        }
        match pack_hex(id) {
            Some(packed) => {
                self.flag(ID_IN_HEX);
                self.bytes.extend_from_slice(&packed);
            }
            None => self.bytes.extend_from_slice(id.as_bytes()),
        }
        Ok(())
    }
}

/// Reads a body that is authentic.
pub(super) fn read_body(kind: IdKind, prefix: &[u8], body: &[u8], outside: &str) -> Option<Origin> {
    let (&flags, mut rest) = body.split_first()?;
    let mut name = |flag: u8, hex: u8| -> Option<Option<String>> {
        if flags & flag == 0 {
            return Some(None);
        }
        let (&length, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(length))?;
        rest = after;
        let name = if flags & hex == 0 { name.to_vec() } else { unpack_hex(name) };
        Some(Some(String::from_utf8(name).ok()?))
    };
    let provider = name(PROVIDER, 0)?;
    let model = name(MODEL, MODEL_IN_HEX)?;
    if kind == IdKind::Content {
        return Some(Origin { provider, model, id: outside.to_owned() });
    }
    let mut id = if flags & STRIPPED == 0 { Vec::new() } else { prefix.to_vec() };
    if flags & ID_IN_HEX == 0 {
        id.extend_from_slice(rest);
    } else {
        id.append(&mut unpack_hex(rest));
    }
    Some(Origin { provider, model, id: String::from_utf8(id).ok()? })
}

/// Lower-case hexadecimal digits as bytes; None for anything else, nothing and an odd number of them.
fn pack_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks_exact(2);
    if text.is_empty() || !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| pair.iter().try_fold(0, |byte, &letter| Some(byte << 4 | digit(letter)?))).collect()
}

fn unpack_hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

//! The objects of the API: where the members that matter stand in them, and what their values say.

use std::borrow::Cow;

use crate::dialect::responses::kind::Channel;
use crate::error::Error;
use crate::event::{checked_members, members, string};
use crate::json::RawStr;

macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct $name<'a> {
            $(#[doc = concat!("`", stringify!($field), "`")] pub(crate) $field: Option<&'a [u8]>,)*
            /// Whether one of them stands there twice.
            pub(crate) repeated: bool,
        }

        impl<'a> $name<'a> {
            /// Finds the members of `object`; of duplicates the last one counts.
            pub(crate) fn read(object: &'a [u8]) -> Result<Self, Error> {
                let mut view = Self::default();
                members(object, |key, _, value| view.find(key, value.of(object)))?;
                Ok(view)
            }

            /// As `read`, of an object that was checked before: what is nested in it is not looked at again.
            #[allow(dead_code, reason = "not every object is read a second time")]
            pub(crate) fn reread(object: &'a [u8]) -> Result<Self, Error> {
                let mut view = Self::default();
                checked_members(object, |key, _, value| view.find(key, value.of(object)))?;
                Ok(view)
            }

            #[inline]
            fn find(&mut self, key: &[u8], value: &'a [u8]) {
                if key.contains(&b'\\') {
                    self.take(&RawStr::checked(key).decoded(), value);
                } else {
                    self.take(key, value);
                }
            }

            #[inline]
            fn take(&mut self, key: &[u8], value: &'a [u8]) {
                match key {
                    $($key => {
                        self.repeated |= self.$field.is_some();
                        self.$field = Some(value);
                    })*
                    _ => {}
                }
            }
        }
    };
}

view! {
    /// The members of a response object that matter, each as JSON text.
    Response { id = b"id", status = b"status", output = b"output", error = b"error", usage = b"usage", }
}

view! {
    /// The members of an output item that matter.
    Item {
        kind = b"type",
        id = b"id",
        status = b"status",
        call_id = b"call_id",
        name = b"name",
        content = b"content",
        summary = b"summary",
        arguments = b"arguments",
        input = b"input",
        code = b"code",
        action = b"action",
        operation = b"operation",
        output = b"output",
    }
}

view! {
    /// The members of a content or summary part that matter.
    Part { kind = b"type", text = b"text", refusal = b"refusal", annotations = b"annotations", }
}

view! {
    /// The members of a shell or patch action that matter.
    Action { commands = b"commands", diff = b"diff", }
}

view! {
    /// What a shell command wrote.
    Written { stdout = b"stdout", stderr = b"stderr", }
}

impl<'a> Item<'a> {
    /// The string that `channel` streams into, of a channel that is the item's own.
    pub(crate) fn string(&self, channel: Channel) -> Option<&'a [u8]> {
        match channel {
            Channel::FunctionArguments | Channel::McpArguments => self.arguments,
            Channel::CustomInput => self.input,
            Channel::Code => self.code,
            Channel::Diff => Action::read(self.operation?).ok()?.diff,
            _ => None,
        }
    }
}

impl<'a> Part<'a> {
    /// The string that `channel` streams into.
    pub(crate) const fn string(&self, channel: Channel) -> Option<&'a [u8]> {
        match channel {
            Channel::Refusal => self.refusal,
            _ => self.text,
        }
    }
}

/// The characters of a JSON string, WTF-8; `None` for any other value.
pub(crate) fn decoded(value: Option<&[u8]>) -> Option<Cow<'_, [u8]>> {
    Some(string(value?)?.decoded())
}

/// Whether a value holds nothing: missing, `null`, or an empty string, list or object.
pub(crate) fn is_empty(value: Option<&[u8]>) -> bool {
    match value {
        None | Some(b"null" | b"\"\"") => true,
        Some([b'[', inside @ .., b']'] | [b'{', inside @ .., b'}']) => inside.trim_ascii().is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, is_empty};

    #[test]
    fn members_are_found_however_they_are_spelled() {
        let text = br#"{"id":1,"ty\u0070e":"x","content":[],"id":2,"other":{"status":3}}"#;
        let item = Item::read(text).unwrap();
        assert_eq!(
            (item.kind, item.id, item.content),
            (Some(&b"\"x\""[..]), Some(&b"2"[..]), Some(&b"[]"[..]))
        );
        assert!(item.repeated && item.status.is_none());
        assert!(!Item::read(br#"{"id":1}"#).unwrap().repeated);
        assert!(Item::read(b"[]").is_err());
    }

    #[test]
    fn emptiness() {
        for (value, expected) in
            [("null", true), ("\"\"", true), ("[ ]", true), ("{}", true), ("[0]", false), ("0", false)]
        {
            assert_eq!(is_empty(Some(value.as_bytes())), expected, "{value}");
        }
        assert!(is_empty(None));
    }
}

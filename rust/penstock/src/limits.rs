//! Every limit of penstock with its default and its reason; no other file holds one.

/// One mebibyte.
const MIB: u64 = 1 << 20;

/// Deepest nesting any part of penstock follows; scanners keep one bit a level in a `u128`.
pub(crate) const DEPTH_CEILING: u64 = 128;

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident / $variant:ident = $default:expr;)*) => {
        /// Bounds on what a stream may make penstock hold, in bytes and counts. `u64::MAX` switches one off.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Names one field of [`Limits`], so that an error can say which was exceeded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Limit {
            $($(#[$doc])* $variant,)*
        }

        impl Limit {
            /// All limits in the order of [`Limits`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The field's name, as users spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)* }
            }
        }

        impl Limits {
            /// The value of one limit.
            #[must_use]
            pub const fn get(&self, limit: Limit) -> u64 {
                match limit { $(Limit::$variant => self.$field,)* }
            }

            /// Replaces the value of one limit.
            pub const fn set(&mut self, limit: Limit, value: u64) {
                match limit { $(Limit::$variant => self.$field = value,)* }
            }
        }
    };
}

limits! {
    /// Bytes of one line, its end not counted. Image events and `response.completed` outgrow 1 MiB.
    max_line_bytes / LineBytes = 16 * MIB;
    /// Bytes of one event's payload, the LF between its data lines counted.
    max_event_bytes / EventBytes = 16 * MIB;
    /// Bytes of comments, unknown fields and blank lines between two events: an hour of 20-byte keep-alives
    /// every second is 72 KB.
    max_idle_bytes / IdleBytes = MIB;
    /// Bytes of an `id` value; ids are echoed in headers and logs.
    max_id_bytes / IdBytes = 1024;
    /// Bytes of an `event` value; names are echoed in headers and logs.
    max_event_name_bytes / EventNameBytes = 256;
    /// Nesting levels of one JSON text, at most 128 (`serde_json` 128, `jiter` 200).
    max_depth / Depth = DEPTH_CEILING;
    /// Digits of one integer turned into a number; `CPython`'s own bound.
    max_number_digits / NumberDigits = 4300;
    /// Bytes accumulated for one response.
    max_message_bytes / MessageBytes = 64 * MIB;
    /// Output items, content parts, choices and list entries of one response.
    max_parts / Parts = 4096;
    /// Tool calls of one response.
    max_tool_calls / ToolCalls = 1024;
}

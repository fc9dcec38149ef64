//! Every limit of penstock with its default and its reason; no other file holds one.

/// One mebibyte.
const MIB: u64 = 1 << 20;

/// Deepest nesting any part of penstock follows; scanners keep one bit a level in a `u128`.
pub(crate) const DEPTH_CEILING: u64 = 128;

macro_rules! limits {
    (
        $(#[$all_doc:meta])* $All:ident; $(#[$one_doc:meta])* $One:ident;
        $($(#[$doc:meta])* $field:ident / $variant:ident = $default:expr;)*
    ) => {
        $(#[$all_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $All {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Default for $All {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        $(#[$one_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $One {
            $($(#[$doc])* $variant,)*
        }

        impl $One {
            /// All of them, in the order of the struct.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The field's name, as users spell it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)* }
            }
        }

        impl $All {
            /// The value of one limit.
            #[must_use]
            pub const fn get(&self, limit: $One) -> u64 {
                match limit { $($One::$variant => self.$field,)* }
            }

            /// Replaces the value of one limit.
            pub const fn set(&mut self, limit: $One, value: u64) {
                match limit { $($One::$variant => self.$field = value,)* }
            }
        }
    };
}

limits! {
    /// Bounds on what a stream may make penstock hold, in bytes and counts. `u64::MAX` switches one off.
    Limits;
    /// Names one field of [`Limits`], so that an error can say which was exceeded.
    Limit;

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

limits! {
    /// Bounds on what a conversation store keeps. `u64::MAX` switches one off.
    Bounds;
    /// Names one field of [`Bounds`].
    Bound;

    /// Turns of all tenants; with 2 KB each they come near `max_bytes`.
    max_turns / Turns = 100_000;
    /// Bytes of all tenants, each turn's own cost counted.
    max_bytes / Bytes = 256 * MIB;
    /// Turns of one tenant: a quarter, so that none can push out all others.
    max_tenant_turns / TenantTurns = 25_000;
    /// Bytes of one tenant, for the same reason; a turn beyond it is refused.
    max_tenant_bytes / TenantBytes = 64 * MIB;
    /// Items of one history; as many as one response may have parts.
    max_history_items / HistoryItems = 4096;
    /// Bytes of one history: what one event may have, since it is sent in one.
    max_history_bytes / HistoryBytes = 16 * MIB;
    /// Milliseconds a turn stays after it was last written or read: 30 days, as `OpenAI` keeps responses.
    ttl / Ttl = 30 * 24 * 3600 * 1000;
}

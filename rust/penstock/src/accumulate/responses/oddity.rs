//! What can be odd about a Responses stream, by name.

macro_rules! oddities {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $fault:literal;)*) => {
        /// One kind of oddity. Each is counted under its name; a strict accumulator refuses those that are faults.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            #[repr(u8)]
        pub(super) enum Oddity {
            $($(#[$doc])* $kind,)*
        }

        impl Oddity {
            /// The name that users count it by, and that a refusal carries.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Whether the server broke a rule; the others are worth knowing, but nobody's fault.
            pub(super) const fn is_fault(self) -> bool {
                match self { $(Self::$kind => $fault,)* }
            }
        }
    };
}

oddities! {
    /// A payload that is not one JSON object; ignored.
    Malformed = "malformed", true;
    /// An object without a `type`; ignored.
    Untyped = "untyped", true;
    /// A `type` that nobody knows; ignored, as the API's rules demand.
    UnknownType = "unknown_type", false;
    /// A member that is read stands twice in one object; the last one counts.
    DuplicateField = "duplicate_field", true;
    /// A member has a value of the wrong kind; ignored.
    BadValue = "bad_value", true;
    /// An index that is not an integer from 0 to 2^63 - 1; read as missing.
    BadIndex = "bad_index", true;
    /// No index; the event went to the item with its `item_id`, or the latest that fits, or part 0.
    MissingIndex = "missing_index", true;
    /// No item the event could belong to; ignored.
    Unroutable = "unroutable", true;
    /// An event before `response.created`; the response was begun without.
    BeforeCreated = "before_created", true;
    /// `response.created` while a response was open; that one was dropped.
    Unterminated = "unterminated", true;
    /// An event after the response's end; ignored.
    AfterTerminal = "after_terminal", true;
    /// The response's id changed on the way; the newest counts.
    IdentityChanged = "identity_changed", true;
    /// An event about an item that was never announced; the item was implied.
    MissingItem = "missing_item", true;
    /// An event about a part that was never announced; the part was implied.
    MissingPart = "missing_part", true;
    /// An open item announced again; merged.
    ItemReannounced = "item_reannounced", true;
    /// An item announced where another one stood; replaced.
    ItemReplaced = "item_replaced", true;
    /// A part announced where one stood; merged.
    PartReannounced = "part_reannounced", true;
    /// An event that does not fit the kind of its item or part; ignored.
    TypeMismatch = "type_mismatch", true;
    /// A whole string that differs from its deltas; the whole counts.
    DeltaMismatch = "delta_mismatch", true;
    /// A finished item or part without the content that was streamed into it; the streamed content was kept.
    EmptyDone = "empty_done", true;
    /// An event about an item, part or string that was finished; ignored.
    AfterDone = "after_done", true;
    /// A status that would take a finished item back; ignored.
    StatusBackwards = "status_backwards", true;
    /// Audio that is not base64; ignored.
    BadAudio = "bad_audio", true;
    /// The last response object left `output` out; filled from the items.
    OutputFilled = "output_filled", false;
    /// An event that had been applied before the stream was resumed; ignored.
    Repeated = "repeated", false;
    /// The input ended before the response did.
    Truncated = "truncated", false;
    /// Final responses that nobody took in time, dropped for newer ones.
    ResponsesDropped = "responses_dropped", false;
}

//! What a legal Responses stream keeps to: each rule with its code, its name and its sentence, nowhere else.
//!
//! Codes never change their meaning: 100 to 199 the response's life, 200 its items, 300 their parts and
//! strings, 400 the fields of single events, 500 what the parts of a stream say about one another.

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $code:literal $name:literal $scope:ident $sentence:literal;)*) => {
        /// A rule of the life of a Responses stream.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = concat!("`", $name, "`")] $(#[$doc])* $rule,)*
        }

        impl Rule {
            /// All rules in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// The code, such as `PS101`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$rule => $code,)* }
            }

            /// The name, such as `not_created`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// What an event that breaks the rule did, as a sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$rule => $sentence,)* }
            }

            /// Whether real providers break it so often that only strict readers ask for it.
            #[must_use]
            pub const fn is_strict(self) -> bool {
                match self { $(Self::$rule => rules!(@ $scope),)* }
            }
        }
    };
    (@ always) => { false };
    (@ strict) => { true };
}

rules! {
    NotCreated = "PS101" "not_created" always "The response does not begin with response.created.";
    CreatedAgain = "PS102" "created_again" always "response.created comes while a response is open.";
    NotInProgress = "PS103" "not_in_progress" always "Output begins before response.in_progress.";
    AfterTerminal = "PS104" "after_terminal" always "An event follows the terminal event.";
    NoTerminal = "PS105" "no_terminal" always "The stream ends without a terminal event.";
    ErrorNotFailed = "PS106" "error_not_failed" always "An error event is not followed by response.failed.";
    LifecycleOrder = "PS107" "lifecycle_order" always "queued and in_progress come once, in this order, before any output.";
    StatusMismatch = "PS108" "status_mismatch" always "The response's status is not the one its event stands for.";
    ResponseIdChanged = "PS109" "response_id_changed" always "The response's id is not the one it was created with.";
    ItemOpen = "PS110" "item_open" always "The response ends while an item is open.";
    CompletedIncomplete = "PS111" "completed_incomplete" always "The response completes although one of its items is incomplete.";
    EarlyResult = "PS112" "early_result" always "A response that has just begun already holds output or usage.";

    ItemNotAdded = "PS201" "item_not_added" always "The event is about an item that was never added.";
    IndexReused = "PS202" "index_reused" always "The output_index belongs to another item.";
    IndexOrder = "PS203" "index_order" always "The output_index is below that of an item before it.";
    AfterItemDone = "PS204" "after_item_done" always "The event is about an item that is done.";
    AfterIncomplete = "PS205" "after_incomplete" always "An item follows one that ended incomplete.";
    ItemTypeChanged = "PS206" "item_type_changed" always "The item is done with another type than it was added with.";
    ItemPrefilled = "PS207" "item_prefilled" always "The item is added with content that events stream as well.";
    WrongItem = "PS208" "wrong_item" always "Items of this type have no such event.";
    StatusBackwards = "PS209" "status_backwards" always "The item's status goes backwards.";
    ItemsOverlap = "PS210" "items_overlap" strict "A message or reasoning item is open beside another item.";
    DuplicateItemId = "PS211" "duplicate_item_id" always "Two items have the same id.";
    IndexSkipped = "PS212" "index_skipped" strict "Output indices before this one were left out.";
    CallChanged = "PS213" "call_changed" always "The call's call_id or name is not the one it was added with.";

    PartNotAdded = "PS301" "part_not_added" always "The event is about a part that was never added.";
    PartReused = "PS302" "part_reused" always "The index belongs to another part.";
    PartOrder = "PS303" "part_order" always "The part's index is not the number of parts before it.";
    AfterPartDone = "PS304" "after_part_done" always "The event is about a part that is done.";
    WrongPart = "PS305" "wrong_part" always "Parts of this type have no such event.";
    PartOpen = "PS306" "part_open" always "The item is done while a part of it is open.";
    StringNotDone = "PS307" "string_not_done" always "The item or part is done without the done event of its string.";
    AfterStringDone = "PS308" "after_string_done" always "The event follows the done event of its string.";
    PartPrefilled = "PS309" "part_prefilled" always "The part is added with text that events stream as well.";
    AnnotationOrder = "PS310" "annotation_order" always "The annotation_index is not the number of annotations before it.";
    InputNotDone = "PS311" "input_not_done" strict "A custom tool call is done without the done event of its input.";

    MissingSequence = "PS401" "missing_sequence" always "The event has no sequence_number.";
    SequenceGap = "PS402" "sequence_gap" always "The sequence_number is not above the last, or not 0 at the start.";
    MissingIndex = "PS403" "missing_index" always "The event does not say which item or part it is about.";
    MissingItemId = "PS404" "missing_item_id" always "The event or item has no id, or an empty one.";
    ItemIdChanged = "PS405" "item_id_changed" always "The id is not the one the item was added with.";
    MissingField = "PS406" "missing_field" always "The event lacks the field it is about, or it is of another type.";
    NameMismatch = "PS407" "name_mismatch" always "The frame's event field is not the payload's type.";
    UnknownType = "PS408" "unknown_type" strict "The event's type is not one of the API, nor a vendor's.";
    Malformed = "PS409" "malformed" always "The payload is not a JSON object.";
    Untyped = "PS410" "untyped" always "The payload has no type.";
    EmptyDelta = "PS411" "empty_delta" strict "A delta adds nothing.";
    Unnumbered = "PS412" "unnumbered" strict "No event has a sequence_number.";
    SequenceSkipped = "PS413" "sequence_skipped" strict "Sequence numbers before this one were left out.";

    TextMismatch = "PS501" "text_mismatch" always "A done event's string is not what its deltas say.";
    PartMismatch = "PS502" "part_mismatch" always "A finished part is not what was streamed.";
    ItemMismatch = "PS503" "item_mismatch" always "A finished item is not what was streamed.";
    OutputMismatch = "PS504" "output_mismatch" always "The final output is not the items that were streamed.";
    OutputMissing = "PS505" "output_missing" always "The final response has no output although items were streamed.";
    DeltasCut = "PS506" "deltas_cut" strict "The deltas are only the beginning of the done event's string.";
    AnnotationsLost = "PS507" "annotations_lost" strict "A finished part has other annotations than were added to it.";
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn codes_and_names_are_unique_and_ordered() {
        assert!(Rule::ALL.is_sorted_by(|a, b| a.code() < b.code()));
        let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
        assert!(Rule::ALL.iter().all(|rule| rule.sentence().ends_with('.')));
    }
}

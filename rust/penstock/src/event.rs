//! What every consumer asks of an event, read from its payload in one pass without building a tree.
//!
//! One rule for all modules: the payload must be one whole JSON object (anything else has no fields), and where
//! a key occurs twice, however it is spelled, the last one counts — as it does for `json.loads`.

use crate::error::{Error, JsonReason};
use crate::json::{Cursor, Invalid, Kind, RawStr, Tokens};
use crate::limits::DEPTH_CEILING;
use crate::simd::{Backend, Task, dispatch};
pub use crate::vocabulary::{EventType, Field};

/// A piece of a payload, in bytes from its start. Payloads are shorter than 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// No value.
    pub(crate) const NONE: Self = Self { start: 0, end: 0 };

    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Whether nothing is there; no JSON value is empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The same piece of a text in which the payload starts at `at`.
    #[inline]
    #[must_use]
    pub const fn moved(self, at: usize) -> Self {
        Self { start: self.start + at as u32, end: self.end + at as u32 }
    }

    /// The piece itself.
    #[inline]
    #[must_use]
    pub fn of(self, payload: &[u8]) -> &[u8] {
        payload.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Walks the members of the object that is the whole of `payload`, each value checked; `visit` gets the key,
/// still escaped, and kind and place of the value. Nested values are not entered. Members may have been visited
/// when an error comes.
#[inline]
pub fn members<'a>(payload: &'a [u8], visit: impl FnMut(&'a [u8], Kind, Span)) -> Result<(), Error> {
    dispatch(Members::<_, true> { payload, visit }).map_err(|Invalid| explain(payload))
}

/// As [`members`], of an object that was checked before, alone or as part of something larger: what is nested is
/// passed without another look, several times as fast.
#[inline]
pub(crate) fn checked_members<'a>(
    object: &'a [u8],
    visit: impl FnMut(&'a [u8], Kind, Span),
) -> Result<(), Error> {
    dispatch(Members::<_, false> { payload: object, visit }).map_err(|Invalid| explain(object))
}

/// Walks the members of an object; `CHECK` tells whether nested values are held to the grammar.
struct Members<'a, V, const CHECK: bool> {
    payload: &'a [u8],
    visit: V,
}

impl<'a, V: FnMut(&'a [u8], Kind, Span), const CHECK: bool> Task for Members<'a, V, CHECK> {
    type Output = Result<(), Invalid>;

    #[inline(always)]
    fn run<B: Backend>(mut self) -> Self::Output {
        let mut tokens = Tokens::<B>::new(self.payload);
        if tokens.pull().byte != b'{' {
            return Err(Invalid);
        }
        let mut token = tokens.pull();
        if token.byte == b'}' {
            return tokens.end();
        }
        loop {
            let key = token.at + 1;
            let colon = tokens.pull();
            if token.byte != b'"' || colon.byte != b':' {
                return Err(Invalid);
            }
            let key = self.payload.get(key..tokens.end_before(colon.at) - 1).unwrap_or_default();
            let value = tokens.pull();
            let (kind, end);
            match value.byte {
                b'"' => {
                    token = tokens.pull();
                    (kind, end) = (Kind::String, tokens.end_before(token.at));
                }
                open @ (b'{' | b'[') => {
                    let close =
                        if CHECK { tokens.skip_container(value, 2)? } else { tokens.pass_container()? };
                    end = close + 1;
                    kind = if open == b'{' { Kind::Object } else { Kind::Array };
                    token = tokens.pull();
                }
                _ => {
                    (kind, end) = tokens.scalar(value)?;
                    token = tokens.pull();
                }
            }
            (self.visit)(key, kind, Span::new(value.at, end));
            match token.byte {
                b',' => token = tokens.pull(),
                b'}' => return tokens.end(),
                _ => return Err(Invalid),
            }
        }
    }
}

/// Why `payload` is not one JSON object.
#[cold]
pub(crate) fn explain(payload: &[u8]) -> Error {
    let mut cursor = Cursor::new(payload);
    let read = match cursor.kind() {
        Ok(Kind::Object) => cursor.skip_value(0, DEPTH_CEILING).and_then(|_| cursor.end()),
        Ok(_) => Err(Error::json(JsonReason::UnexpectedByte, cursor.position())),
        Err(error) => Err(error),
    };
    // The cursor refuses whatever the tokens refuse; were it not so, refusing would still be right.
    read.err().unwrap_or(Error::json(JsonReason::UnexpectedByte, 0))
}

/// The field a key names, escapes decoded where there are any.
#[inline]
#[must_use]
pub fn field(key: &[u8]) -> Option<Field> {
    Field::from_bytes(key).or_else(|| if key.contains(&b'\\') { escaped_field(key) } else { None })
}

#[cold]
fn escaped_field(key: &[u8]) -> Option<Field> {
    let mut decoded = Vec::new();
    crate::json::push_wtf8(RawStr::checked(key), &mut decoded);
    Field::from_bytes(&decoded)
}

/// Where each known field of one payload stands, and what kind of event it is.
#[derive(Debug, Clone)]
pub struct Fields {
    /// Bit `n` tells whether the field with discriminant `n` is there; spans of other fields mean nothing.
    present: u64,
    spans: [Span; Field::COUNT],
    event_type: Option<EventType>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { present: 0, spans: [Span::default(); Field::COUNT], event_type: None }
    }
}

impl Fields {
    /// Reads the fields of `payload`, which must be one JSON object.
    pub fn scan(payload: &[u8]) -> Result<Self, Error> {
        let mut fields = Self::default();
        fields.rescan(payload)?;
        Ok(fields)
    }

    /// Replaces all fields by those of `payload`; there are none after an error.
    pub(crate) fn rescan(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.present = 0;
        let scanned = members(payload, |key, _, span| {
            if let Some(field) = field(key) {
                self.set(field, span);
            }
        });
        if scanned.is_err() {
            self.present = 0;
        }
        self.event_type = self.text(payload, Field::Type).and_then(event_type);
        scanned
    }

    #[inline]
    fn set(&mut self, field: Field, span: Span) {
        if let Some(slot) = self.spans.get_mut(field as usize) {
            *slot = span;
            self.present |= 1 << field as u32;
        }
    }

    /// Replaces all fields.
    #[inline]
    pub(crate) fn refill(
        &mut self,
        event_type: Option<EventType>,
        fields: impl Iterator<Item = (Field, Span)>,
    ) {
        self.present = 0;
        self.event_type = event_type;
        for (field, span) in fields {
            self.set(field, span);
        }
    }

    /// The fields that are there.
    pub fn iter(&self) -> impl Iterator<Item = (Field, Span)> {
        Field::ALL.iter().map(|&field| (field, self.span(field))).filter(|(_, span)| !span.is_empty())
    }

    /// How many fields are there.
    pub(crate) const fn count(&self) -> u32 {
        self.present.count_ones()
    }

    /// Where the value of `field` stands; empty when the payload has none.
    #[inline]
    #[must_use]
    pub fn span(&self, field: Field) -> Span {
        match self.spans.get(field as usize) {
            Some(&span) if self.present >> field as u32 & 1 == 1 => span,
            _ => Span::default(),
        }
    }

    /// The JSON text of `field`'s value, or `None` when the payload has none.
    #[inline]
    #[must_use]
    pub fn value<'a>(&self, payload: &'a [u8], field: Field) -> Option<&'a [u8]> {
        let span = self.span(field);
        if span.is_empty() { None } else { Some(span.of(payload)) }
    }

    /// The event's type when the payload has one that penstock knows.
    #[inline]
    #[must_use]
    pub const fn event_type(&self) -> Option<EventType> {
        self.event_type
    }

    /// A string field, still escaped; `None` when missing or not a string.
    #[inline]
    #[must_use]
    pub fn text<'a>(&self, payload: &'a [u8], field: Field) -> Option<RawStr<'a>> {
        string(self.span(field).of(payload))
    }

    /// A non-negative integer field; `None` when missing or anything else.
    #[inline]
    #[must_use]
    pub fn index(&self, payload: &[u8], field: Field) -> Option<u64> {
        index(self.span(field).of(payload))
    }
}

/// The few fields that nearly every consumer of events asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The type, if it is one that penstock knows.
    pub event_type: Option<EventType>,
    /// Where `type` stands. In a payload that is no JSON object, nothing stands anywhere.
    pub type_span: Span,
    /// Where `sequence_number` stands.
    pub sequence_number: Span,
    /// Where `output_index` stands.
    pub output_index: Span,
    /// Where `delta` stands, or of a Chat Completions chunk, which has neither `type` nor `delta`, the content of the
    /// choice with index 0, if somebody looked.
    pub text: Span,
    /// Whether nobody has looked yet for the content of a payload that may be such a chunk.
    pub unread: bool,
    /// Whether the text is known to be a string of ASCII without escapes.
    pub plain: bool,
}

impl Head {
    /// The head of a payload whose fields are known.
    #[must_use]
    pub fn of(fields: &Fields) -> Self {
        Self {
            event_type: fields.event_type(),
            type_span: fields.span(Field::Type),
            sequence_number: fields.span(Field::SequenceNumber),
            output_index: fields.span(Field::OutputIndex),
            text: fields.span(Field::Delta),
            unread: may_be_chat(fields),
            plain: false,
        }
    }

    /// The text that the event adds: its `delta` if that is a string, or the content of a Chat Completions chunk.
    #[inline]
    #[must_use]
    pub fn text<'a>(&self, payload: &'a [u8]) -> Option<RawStr<'a>> {
        if self.unread { unread_text(payload) } else { string(self.text.of(payload)) }
    }
}

/// Whether a payload with these fields may be a Chat Completions chunk.
pub(crate) fn may_be_chat(fields: &Fields) -> bool {
    let has = |field| !fields.span(field).is_empty();
    has(Field::Choices) && !has(Field::Type) && !has(Field::Delta)
}

fn unread_text(payload: &[u8]) -> Option<RawStr<'_>> {
    chat_text(Fields::scan(payload).ok()?.span(Field::Choices).of(payload))
}

/// The event type that a string names.
fn event_type(text: RawStr<'_>) -> Option<EventType> {
    if text.escaped {
        let mut decoded = Vec::new();
        crate::json::push_wtf8(text, &mut decoded);
        return EventType::from_bytes(&decoded);
    }
    EventType::from_bytes(text.raw)
}

/// The string that a checked JSON value is, or `None`.
#[inline]
#[must_use]
pub fn string(value: &[u8]) -> Option<RawStr<'_>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(RawStr::checked(inside))
}

/// The non-negative integer below 2^63 that a checked JSON value is, or `None`.
#[inline]
#[must_use]
pub fn index(value: &[u8]) -> Option<u64> {
    if value == b"-0" {
        return Some(0);
    }
    if value.is_empty() || value.len() > 18 {
        let number: i64 = std::str::from_utf8(value.get(..19)?).ok()?.parse().ok()?;
        return u64::try_from(number).ok().filter(|_| value.len() == 19);
    }
    let mut number = 0;
    for &byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// The text that a Chat Completions chunk adds: `delta.content` of the choice whose `index` is 0, given the
/// chunk's `choices` value. A missing `index` reads as the place in the list.
#[must_use]
pub fn chat_text(choices: &[u8]) -> Option<RawStr<'_>> {
    string(chat_text_span(choices, |_| {})?.of(choices))
}

/// Where that text stands in `choices`, if it is a string; `indexed` is told where each choice's `index` stands.
pub(crate) fn chat_text_span(choices: &[u8], mut indexed: impl FnMut(Span)) -> Option<Span> {
    let mut found = None;
    let mut cursor = Cursor::new(choices);
    if cursor.kind().ok()? != Kind::Array {
        return None;
    }
    let mut more = cursor.open_array().ok()?;
    let mut place = 0;
    while more {
        cursor.skip_space();
        let start = cursor.position();
        cursor.skip_value(2, DEPTH_CEILING).ok()?;
        let choice = cursor.since(start);
        if let Some(Choice { number, content }) = Choice::read(choice) {
            indexed(number.moved(start));
            let is_first = if number.is_empty() { place == 0 } else { index(number.of(choice)) == Some(0) };
            if is_first {
                found = Some(content.moved(start));
            }
        }
        place += 1;
        more = cursor.more(b']').ok()?;
    }
    found
}

/// Where `index` and `delta.content` of a choice stand in it.
#[derive(Default)]
struct Choice {
    number: Span,
    content: Span,
}

impl Choice {
    fn read(choice: &[u8]) -> Option<Self> {
        let mut read = Self::default();
        let mut delta = Span::default();
        members(choice, |key, _, span| match field(key) {
            Some(Field::Index) => read.number = span,
            Some(Field::Delta) => delta = span,
            _ => {}
        })
        .ok()?;
        if delta.of(choice).first() == Some(&b'{') {
            members(delta.of(choice), |key, _, span| {
                if field(key) == Some(Field::Content) {
                    read.content = span.moved(delta.start as usize);
                }
            })
            .ok()?;
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::{EventType, Field, Fields, chat_text, checked_members, index, members};

    #[test]
    fn last_duplicate_counts_however_spelled() {
        let payload = br#"{"type":"error","delta":"a","ty\u0070e":"response.created","delta":5}"#;
        let fields = Fields::scan(payload).unwrap();
        assert_eq!(fields.event_type(), Some(EventType::Created));
        assert_eq!(fields.text(payload, Field::Delta), None);
        assert_eq!(fields.value(payload, Field::Delta), Some(&b"5"[..]));
        assert_eq!(fields.value(payload, Field::Item), None);
    }

    #[test]
    fn checked_members_are_the_members() {
        let long = "x".repeat(70);
        for object in [
            r"{}".to_owned(),
            r#" { "a" : [ ] , "b":{"c":[1,{"d":"]}\"}"}]},"e":"{", "f" : null } "#.to_owned(),
            format!(r#"{{"a":[[["{long}"],{{"b":"{long}]"}}]],"c":{{"{long}":[{{}},[]]}},"d":1.5e3}}"#),
            format!(r#"{{"a":{}1{},"b":true}}"#, "[".repeat(100), "]".repeat(100)),
        ] {
            let (mut all, mut checked) = (Vec::new(), Vec::new());
            members(object.as_bytes(), |key, kind, span| all.push((key, kind, span))).unwrap();
            checked_members(object.as_bytes(), |key, kind, span| checked.push((key, kind, span))).unwrap();
            assert_eq!(checked, all, "{object}");
        }
        for cut in ["", "{", r#"{"a":["#, r#"{"a":[[]"#, r#"{"a":1"#, "[]"] {
            assert!(checked_members(cut.as_bytes(), |_, _, _| {}).is_err(), "{cut}");
        }
    }

    #[test]
    fn only_whole_objects_have_fields() {
        for payload in
            ["", "[]", "null", "[DONE]", "{\"type\":\"error\"", "{\"type\":\"error\"} x", "{\"a\":[}"]
        {
            assert!(Fields::scan(payload.as_bytes()).is_err(), "{payload}");
        }
    }

    #[test]
    fn indices_are_plain_integers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4294967296", Some(1 << 32)),
            ("9223372036854775807", Some(i64::MAX.cast_unsigned())),
            ("-0", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("\"0\"", None),
            ("", None),
            ("null", None),
            ("9223372036854775808", None),
            ("-922337203685477580", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(index(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn chat_text_is_that_of_choice_zero() {
        for (choices, expected) in [
            (r#"[{"index":0,"delta":{"content":"hi"}}]"#, Some("hi")),
            (r#"[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"}}]"#, Some("yes")),
            (r#"[{"delta":{"content":"place"}}]"#, Some("place")),
            (r#"[{"index":0,"delta":{"content":null}}]"#, None),
            (r#"[{"index":0,"delta":null}]"#, None),
            (r#"[{"index":0,"delta":{"content":"a","cont\u0065nt":"b"}}]"#, Some("b")),
            ("[]", None),
            ("null", None),
        ] {
            let text = chat_text(choices.as_bytes()).map(|text| std::str::from_utf8(text.raw).unwrap());
            assert_eq!(text, expected, "{choices}");
        }
    }
}

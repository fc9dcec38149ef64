//! Where ids stand in one message, found in one pass without building a tree.
//!
//! Looked at are, each as often as it occurs and however its key is spelled:
//!
//! | where | key | what |
//! |---|---|---|
//! | `response` of an event; a message that is a response | `id` | the id of a response |
//! | the same, the message itself, `steer` | `previous_response_id` | a mention of one |
//! | the message itself | `response_id` | a mention of one |
//! | the message itself | `item_id` | the id of an item |
//! | `item`; elements of `output` and `input` | `id`, `approval_request_id` | the id of an item |
//! | the same | `encrypted_content` | encrypted content |

use std::borrow::Cow;
use std::ops::Range;

use super::IdKind;
use crate::json::{Cursor, Invalid, Outline, OutlineBlock, RawStr, Tokens, end_before};
use crate::simd::{Backend, Task, dispatch, string_stop};

/// A string in a message that is an id, by the place of its inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: IdKind,
    /// A response that the message does not hold.
    pub(super) mention: bool,
}

/// Finds the ids of the JSON object `message`. Of what is none, those are found that its strings and brackets tell of, or
/// it is refused: only [`is_object`] knows.
pub(super) fn locate(message: &[u8], found: &mut Vec<Found>) -> Result<(), Invalid> {
    found.clear();
    dispatch(Locate { message, found })
}

/// Whether `message` is a JSON object.
pub(super) fn is_object(message: &[u8]) -> bool {
    dispatch(Check(message))
}

struct Check<'a>(&'a [u8]);

impl Task for Check<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<B: Backend>(self) -> bool {
        let mut tokens = Tokens::<B>::new(self.0);
        let open = tokens.pull();
        open.byte == b'{' && tokens.skip_container(open, 1).is_ok() && tokens.end().is_ok()
    }
}

/// What the values inside a container mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Around the message.
    Text,
    Message,
    Response,
    Steer,
    /// An array of items.
    Items,
    Item,
}

/// A text that is a message that holds a response that holds a list that holds an item: nothing deeper is entered.
const DEPTH: usize = 5;

impl Place {
    /// What stands inside the object or array that is the value of `key` here; None if no ids do.
    #[inline(always)]
    fn inside(self, key: &[u8], object: bool) -> Option<Self> {
        match (self, key, object) {
            (Self::Text, _, true) => Some(Self::Message),
            (Self::Items, _, true) | (Self::Message, b"item", true) => Some(Self::Item),
            (Self::Message, b"response", true) => Some(Self::Response),
            (Self::Message, b"steer", true) => Some(Self::Steer),
            (Self::Message | Self::Response, b"output" | b"input", false) => Some(Self::Items),
            _ => None,
        }
    }

    /// What the string that is the value of `key` here is, and whether it is a mention; None if it is no id.
    #[inline(always)]
    fn id(self, key: &[u8]) -> Option<(IdKind, bool)> {
        match (self, key) {
            (Self::Message | Self::Response, b"id") => Some((IdKind::Response, false)),
            (Self::Message | Self::Response | Self::Steer, b"previous_response_id")
            | (Self::Message, b"response_id") => Some((IdKind::Response, true)),
            (Self::Message, b"item_id") | (Self::Item, b"id" | b"approval_request_id") => {
                Some((IdKind::Item, false))
            }
            (Self::Item, b"encrypted_content") => Some((IdKind::Content, false)),
            _ => None,
        }
    }
}

struct Locate<'a> {
    message: &'a [u8],
    found: &'a mut Vec<Found>,
}

impl Task for Locate<'_> {
    type Output = Result<(), Invalid>;

    /// Follows brackets and colons alone: of JSON they say all there is to know.
    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        let Self { message, found } = self;
        if message.trim_ascii_start().first() != Some(&b'{') {
            return Err(Invalid);
        }
        let mut outline = Outline::<B>::new(message);
        let mut walk = Walk::new(message, found);
        while let Some(block) = outline.next() {
            walk.escapes |= block.escapes;
            let mut marks = walk.marks(&block);
            while marks != 0 {
                let bit = marks & marks.wrapping_neg();
                marks ^= bit;
                let before = Before { block: &block, bit };
                if block.colon & bit != 0 {
                    walk.colon(&before);
                } else if block.open & bit != 0 {
                    walk.open(&before);
                } else if walk.close() {
                    walk.finish();
                    let rest = message.get(before.at() + 1..).unwrap_or_default();
                    return if rest.iter().all(|&byte| is_blank(byte)) { Ok(()) } else { Err(Invalid) };
                }
            }
            walk.quote = block.quote.checked_ilog2().map_or(walk.quote, |last| block.at + last as usize);
        }
        Err(Invalid)
    }
}

/// A mark in a block, and what is before it.
struct Before<'a> {
    block: &'a OutlineBlock,
    bit: u64,
}

impl Before<'_> {
    /// Where the mark stands.
    #[inline(always)]
    const fn at(&self) -> usize {
        self.block.at + self.bit.trailing_zeros() as usize
    }

    /// Where the last string of the block begins before it.
    #[inline(always)]
    fn quote(&self) -> Option<usize> {
        let last = (self.block.quote & (self.bit - 1)).checked_ilog2()?;
        Some(self.block.at + last as usize)
    }
}

/// The way through a message.
struct Walk<'a> {
    message: &'a [u8],
    found: &'a mut Vec<Found>,
    /// The ids at the top, which are those of a response only if the message is one.
    own: Vec<Found>,
    is_response: bool,
    /// Whether there was an escape, so that a key may be spelled with some.
    escapes: bool,
    /// What is open, the text first; `level` is the place of the innermost.
    places: [Place; DEPTH],
    level: usize,
    /// How many containers are open inside that one which no ids are in.
    outside: u32,
    /// Where the last string of the blocks before begins.
    quote: usize,
}

impl<'a> Walk<'a> {
    #[inline(always)]
    fn new(message: &'a [u8], found: &'a mut Vec<Found>) -> Self {
        Self {
            message,
            found,
            own: Vec::new(),
            is_response: false,
            escapes: false,
            places: [Place::Text; DEPTH],
            level: 0,
            outside: 0,
            quote: 0,
        }
    }

    #[inline(always)]
    fn place(&self) -> Place {
        self.places.get(self.level).copied().unwrap_or(Place::Item)
    }

    /// What of a block to go by; nothing, if it does not end the container that no ids are in.
    #[inline(always)]
    const fn marks(&mut self, block: &OutlineBlock) -> u64 {
        let closes = block.close.count_ones();
        if closes < self.outside {
            self.outside = self.outside + block.open.count_ones() - closes;
            return 0;
        }
        block.open | block.close | block.colon
    }

    #[inline(always)]
    fn colon(&mut self, before: &Before<'_>) {
        if self.outside == 0 && (self.escapes || may_name_an_id(self.message, before.at())) {
            self.member(before);
        }
    }

    /// Takes a member whose value may be an id, or say what the message is.
    #[inline(always)]
    fn member(&mut self, before: &Before<'_>) {
        let at = before.at();
        let (place, key) = (self.place(), self.key(at, before));
        let top = place == Place::Message;
        if let Some((kind, mention)) = place.id(&key) {
            let Some(Range { start, end }) = string_at(self.message, at + 1) else { return };
            let id = Found { start, end, kind, mention };
            if top && *key == *b"id" { self.own.push(id) } else { self.found.push(id) }
        } else if top && *key == *b"object" {
            let value = string_at(self.message, at + 1).and_then(|value| self.message.get(value));
            self.is_response |= value == Some(b"response");
        }
    }

    /// The key in front of the colon at `colon`, which is the last string before a mark.
    #[inline(always)]
    fn key(&self, colon: usize, before: &Before<'_>) -> Cow<'a, [u8]> {
        let start = before.quote().unwrap_or(self.quote) + 1;
        let end = end_before(self.message, colon).saturating_sub(1);
        let raw = self.message.get(start..end).unwrap_or_default();
        if self.escapes { unescaped(raw) } else { Cow::Borrowed(raw) }
    }

    /// A container opens.
    #[inline(always)]
    fn open(&mut self, before: &Before<'_>) {
        if self.outside == 0
            && let Some(inside) = self.inside(before)
            && let Some(slot) = self.places.get_mut(self.level + 1)
        {
            *slot = inside;
            self.level += 1;
        } else {
            self.outside += 1;
        }
    }

    /// What the container that opens is, if ids are in it.
    #[inline(always)]
    fn inside(&self, before: &Before<'_>) -> Option<Place> {
        let at = before.at();
        let object = self.message.get(at) == Some(&b'{');
        match self.place() {
            place @ (Place::Text | Place::Items) => place.inside(b"", object),
            place @ (Place::Message | Place::Response)
                if self.escapes || may_name_a_container(self.message, at) =>
            {
                let colon = end_before(self.message, at).checked_sub(1)?;
                place.inside(&self.key(colon, before), object)
            }
            _ => None,
        }
    }

    /// A container closes; says whether it is the message.
    #[inline(always)]
    const fn close(&mut self) -> bool {
        if self.outside > 0 {
            self.outside -= 1;
            return false;
        }
        self.level = self.level.saturating_sub(1);
        self.level == 0
    }

    #[inline(always)]
    fn finish(mut self) {
        if self.is_response && !self.own.is_empty() {
            self.found.append(&mut self.own);
            self.found.sort_unstable_by_key(|id| id.start);
        }
    }
}

/// Whether a key without escapes that ends in front of `at` may be one of [`Place::id`], or `object`.
#[inline(always)]
fn may_name_an_id(message: &[u8], at: usize) -> bool {
    const ID: u32 = word(*b"id\"");
    const CONTENT: u32 = word(*b"nt\"");
    const OBJECT: u32 = word(*b"ct\"");
    let ending = ending(message, at);
    matches!(ending, ID | CONTENT | OBJECT) || ends_blank(ending)
}

/// Whether a key without escapes that ends in front of the colon before `at` may be one of [`Place::inside`].
#[inline(always)]
fn may_name_a_container(message: &[u8], at: usize) -> bool {
    const RESPONSE: u32 = word(*b"se\"");
    const ITEM: u32 = word(*b"em\"");
    const STEER: u32 = word(*b"er\"");
    const PUT: u32 = word(*b"ut\"");
    let ending = ending(message, at.saturating_sub(1));
    matches!(ending, RESPONSE | ITEM | STEER | PUT) || ends_blank(ending) || ending >> 24 == u32::from(b':')
}

/// The last three bytes before a place, as [`word`] has them.
#[inline(always)]
fn ending(message: &[u8], at: usize) -> u32 {
    let last = message.get(..at).and_then(|before| before.last_chunk()).copied().unwrap_or_default();
    u32::from_le_bytes(last) & !0xff
}

const fn word([a, b, c]: [u8; 3]) -> u32 {
    u32::from_le_bytes([0, a, b, c])
}

#[inline(always)]
const fn ends_blank(ending: u32) -> bool {
    ending >> 24 <= b' ' as u32
}

#[inline(always)]
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The inside of the string that is the next token at or after `from`, if it is one.
#[inline(always)]
fn string_at(message: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = message.get(from..)?;
    let blanks = rest.iter().take_while(|&&byte| is_blank(byte)).count();
    let start = from + blanks + 1;
    if message.get(start - 1) != Some(&b'"') {
        return None;
    }
    let (end, _) = string_stop(message, start);
    if message.get(end) == Some(&b'"') {
        return Some(start..end);
    }
    valid_string(message, start)
}

/// The same for a string with an escape, or what is none: a line end within it would belong to the stream.
#[inline(never)]
fn valid_string(message: &[u8], start: usize) -> Option<Range<usize>> {
    let mut cursor = Cursor::new(message.get(start - 1..)?);
    cursor.string().ok()?;
    Some(start..start + cursor.position() - 2)
}

#[inline(never)]
fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'\\') { RawStr::checked(raw).decoded() } else { Cow::Borrowed(raw) }
}

#[cfg(test)]
mod tests {
    use super::{is_object, locate};

    fn ids(message: &str) -> Vec<&str> {
        let mut found = Vec::new();
        locate(message.as_bytes(), &mut found).unwrap();
        found.iter().map(|id| &message[id.start..id.end]).collect()
    }

    #[test]
    fn ids_are_found_where_they_count() {
        for (message, expected) in [
            ("{}", &[][..]),
            (r#"{"type":"x","response":{"id":"a","output":[]},"id":"no"}"#, &["a"]),
            (r#"{"response":{"previous_response_id":"p","id":"a","metadata":{"id":"no"}}}"#, &["p", "a"]),
            (r#"{"response":{"id":"a","id" : "b"},"response":{"\u0069d":"c"}}"#, &["a", "b", "c"]),
            (r#"{"id":"a","object":"response","output":[{"id":"i"}]}"#, &["a", "i"]),
            (r#"{"id":"a","object":"list"}"#, &[]),
            (
                r#"{"item_id":"i","item":{"id":"j","encrypted_content":"e","content":[{"id":"no"}]}}"#,
                &["i", "j", "e"],
            ),
            (
                r#"{"input":[{"id":"i"},"no",[{"id":"no"}],{"approval_request_id":"k"}],"input":"x"}"#,
                &["i", "k"],
            ),
            (r#"{"steer":{"id":"no","previous_response_id":"p"},"response_id":"r"}"#, &["p", "r"]),
            (r#"{"response":null,"response":[{"id":"no"}],"response":"no","item":[]}"#, &[]),
            (r#"{"response":{"id":null,"previous_response_id":7,"id":"a\"b"}}"#, &[r#"a\"b"#]),
            (r#" { "response" : { "output" : [ { } , {"id" : "i" } ] } } "#, &["i"]),
            ("{\"response\":{\"id\":\"a\nb\",\"id\":\"\\x\",\"id\":\"c\"}}", &["c"]),
        ] {
            assert_eq!(ids(message), expected, "{message}");
        }
    }

    #[test]
    fn what_stands_behind_deep_containers_is_found() {
        for depth in [1, 40, 64, 100, 300] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let message =
                format!(r#"{{"x":{open}{{"id":"no"}}{close},"response":{{"x":{open}{close},"id":"a"}}}}"#);
            assert_eq!(ids(&message), ["a"], "{depth}");
        }
    }

    #[test]
    fn what_is_no_object_is_told() {
        for (message, has_its_outline) in [
            ("", false),
            ("[]", false),
            ("null", false),
            ("{", false),
            (r#"{"a":1}x"#, false),
            (r#"{"response":{"id":"a"}"#, false),
            (r#"{"response":{"id":"a}}"#, false),
            (r#"{"response":{"id":"a"}]"#, true),
            (r#"{"input":[1}}"#, true),
            (r#"{"a" "b"}"#, true),
        ] {
            assert!(!is_object(message.as_bytes()), "{message}");
            assert_eq!(locate(message.as_bytes(), &mut Vec::new()).is_ok(), has_its_outline, "{message}");
        }
        assert!(is_object(br#" {"a":[{}]} "#));
    }
}

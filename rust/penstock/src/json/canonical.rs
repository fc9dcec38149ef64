//! The canonical form of a JSON text: one spelling for each meaning, for hashing.
//!
//! It is what Python's `json.dumps(json.loads(text), sort_keys=True)` gives: members in the order of their keys'
//! code points, of duplicates the last; `", "` and `": "` between things; strings in ASCII with the shortest
//! escapes; integers in full, `-0` as `0`; floats, which are the numbers with a fraction or an exponent, as the
//! shortest digits that read back as the same IEEE 754 double. So `1.50` and `15e-1` are one, `1` and `1.0` are two.
//!
//! What has no such form is refused: bytes in strings that are not UTF-8, and numbers beyond a double's range.

use std::borrow::Cow;

use crate::error::{Error, JsonReason, TextReason};
use crate::json::ascii::{Out, plain_prefix, write_float, write_wtf8};
use crate::json::{Kind, RawStr, Stopped, Visitor, visit};
use crate::limits::{Limit, Limits};

/// Writes the canonical form of the JSON `text`. Of the limits, `max_depth` and `max_number_digits` apply. After
/// an error what was written means nothing.
pub fn canonicalize(text: &[u8], limits: &Limits, out: &mut impl Out) -> Result<(), Error> {
    let tape = Tape::read(text, limits)?;
    let whole = tape.nodes.len();
    tape.write(0..whole, out)
}

/// Calls `each` with what writes the canonical form of an element, for every element of the array `text`.
pub fn canonical_elements<E: From<Error>>(
    text: &[u8],
    limits: &Limits,
    mut each: impl FnMut(CanonicalElement<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let tape = Tape::read(text, limits)?;
    let Some(Node::Open { object: false, end }) = tape.nodes.first() else {
        return Err(
            Error::json(JsonReason::UnexpectedByte, text.len() - text.trim_ascii_start().len()).into()
        );
    };
    let mut at = 1;
    while at < *end {
        let after = tape.after(at);
        each(CanonicalElement { tape: &tape, place: at..after })?;
        at = after;
    }
    Ok(())
}

/// One element of an array, checked and ready to be written.
pub struct CanonicalElement<'a> {
    tape: &'a Tape<'a>,
    place: std::ops::Range<usize>,
}

impl CanonicalElement<'_> {
    /// Writes the element's canonical form.
    pub fn write(&self, out: &mut impl Out) -> Result<(), Error> {
        self.tape.write(self.place.clone(), out)
    }
}

/// The values of a text in its order, so that members can be written in another.
struct Tape<'a> {
    text: &'a [u8],
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
enum Node {
    /// `end` is the place of the node behind the container.
    Open {
        object: bool,
        end: usize,
    },
    /// A key; its value is the next node.
    Key(Span),
    String(Span),
    Scalar(Kind, Span),
}

/// Bytes of the text.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
}

impl<'a> Tape<'a> {
    fn read(text: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let mut reader = Reader { nodes: Vec::with_capacity(text.len() / 16 + 4), open: Vec::new(), limits };
        match visit(text, limits.max_depth, &mut reader) {
            Ok(()) => Ok(Self { text, nodes: reader.nodes }),
            Err(Stopped::Text(error) | Stopped::Visitor(error)) => Err(error),
        }
    }

    fn bytes(&self, span: Span) -> &'a [u8] {
        self.text.get(span.start..span.start + span.length).unwrap_or_default()
    }

    /// The place of the node behind the value at `at`.
    fn after(&self, at: usize) -> usize {
        match self.nodes.get(at) {
            Some(Node::Open { end, .. }) => *end,
            _ => at + 1,
        }
    }

    /// Writes the value that the nodes at `place` are.
    fn write(&self, place: std::ops::Range<usize>, out: &mut impl Out) -> Result<(), Error> {
        let mut members = Vec::new();
        let mut levels: Vec<Level> = Vec::new();
        let mut at = place.start;
        loop {
            match self.nodes.get(at).copied() {
                Some(Node::Open { object: true, end }) => {
                    out.byte(b'{');
                    let first = members.len();
                    self.sort_members(at + 1, end, &mut members)?;
                    levels.push(Level::Object { first, next: first });
                }
                Some(Node::Open { object: false, end }) => {
                    out.byte(b'[');
                    levels.push(Level::Array { start: at + 1, next: at + 1, end });
                }
                Some(Node::Key(span) | Node::String(span)) => self.write_string(span, out)?,
                Some(Node::Scalar(kind, span)) => self.write_scalar(kind, span, out)?,
                None => return Ok(()),
            }
            // The next value of the innermost container that has one.
            loop {
                let Some(level) = levels.last_mut() else { return Ok(()) };
                match level {
                    Level::Array { start, next, end } if *next < *end => {
                        if next != start {
                            out.write(b", ");
                        }
                        at = *next;
                        *next = self.after(at);
                        break;
                    }
                    Level::Array { .. } => out.byte(b']'),
                    Level::Object { first, next } => {
                        if let Some(member) = members.get(*next) {
                            if next != first {
                                out.write(b", ");
                            }
                            *next += 1;
                            write_wtf8(&member.key, out);
                            out.write(b": ");
                            at = member.value;
                            break;
                        }
                        members.truncate(*first);
                        out.byte(b'}');
                    }
                }
                levels.pop();
            }
        }
    }

    /// Appends the members that stand from `at` to `end`, sorted by key, of duplicates the last.
    fn sort_members(&self, mut at: usize, end: usize, members: &mut Vec<Member<'a>>) -> Result<(), Error> {
        let first = members.len();
        let mut sorted = true;
        while at < end {
            let Some(&Node::Key(span)) = self.nodes.get(at) else { break };
            let key = self.decoded(span)?;
            sorted &= members.get(first..).and_then(<[_]>::last).is_none_or(|last| last.key < key);
            members.push(Member { key, value: at + 1 });
            at = self.after(at + 1);
        }
        if !sorted {
            let mut own = members.split_off(first);
            // Stable, so that the last of duplicates stands last among its like.
            own.sort_by(|one, other| one.key.cmp(&other.key));
            own.reverse();
            own.dedup_by(|later, earlier| later.key == earlier.key);
            own.reverse();
            members.append(&mut own);
        }
        Ok(())
    }

    /// A string's characters as WTF-8; what is not UTF-8 is refused.
    fn decoded(&self, span: Span) -> Result<Cow<'a, [u8]>, Error> {
        let raw = RawStr::checked(self.bytes(span));
        if !raw.ascii
            && let Err(error) = std::str::from_utf8(raw.raw)
        {
            let offset = (span.start + error.valid_up_to()) as u64;
            return Err(Error::Text { reason: TextReason::InvalidUtf8, offset });
        }
        Ok(if raw.escaped { raw.decoded() } else { Cow::Borrowed(raw.raw) })
    }

    fn write_string(&self, span: Span, out: &mut impl Out) -> Result<(), Error> {
        let raw = self.bytes(span);
        if is_canonical(raw) {
            out.byte(b'"');
            out.write(raw);
            out.byte(b'"');
        } else {
            write_wtf8(&self.decoded(span)?, out);
        }
        Ok(())
    }

    fn write_scalar(&self, kind: Kind, span: Span, out: &mut impl Out) -> Result<(), Error> {
        let raw = self.bytes(span);
        if kind != Kind::Number {
            out.write(raw);
        } else if !raw.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            out.write(if raw == b"-0" { b"0" } else { raw });
        } else {
            let value = std::str::from_utf8(raw).ok().and_then(|text| text.parse::<f64>().ok());
            let value = value.filter(|value| value.is_finite());
            write_float(value.ok_or(Error::json(JsonReason::InvalidNumber, span.start))?, out);
        }
        Ok(())
    }
}

/// Whether the inside of a string is spelled canonically already: ASCII, and no escapes but the short ones.
fn is_canonical(raw: &[u8]) -> bool {
    let mut rest = raw;
    loop {
        let plain = plain_prefix(rest);
        match rest.get(plain..).unwrap_or_default() {
            [] => return true,
            [b'\\', b'"' | b'\\' | b'n' | b'r' | b't' | b'b' | b'f', after @ ..] => rest = after,
            _ => return false,
        }
    }
}

struct Member<'a> {
    key: Cow<'a, [u8]>,
    /// The place of its value's node.
    value: usize,
}

/// A container that is being written, and what comes next in it.
enum Level {
    Array { start: usize, next: usize, end: usize },
    Object { first: usize, next: usize },
}

/// Fills a tape.
struct Reader<'a> {
    nodes: Vec<Node>,
    /// The places of the containers that are open.
    open: Vec<usize>,
    limits: &'a Limits,
}

impl Visitor for Reader<'_> {
    type Error = Error;

    #[inline]
    fn open(&mut self, object: bool) {
        self.open.push(self.nodes.len());
        self.nodes.push(Node::Open { object, end: 0 });
    }

    #[inline]
    fn close(&mut self, _object: bool) -> Result<(), Error> {
        let behind = self.nodes.len();
        if let Some(Node::Open { end, .. }) = self.open.pop().and_then(|at| self.nodes.get_mut(at)) {
            *end = behind;
        }
        Ok(())
    }

    #[inline]
    fn key(&mut self, raw: &[u8], at: usize) -> Result<(), Error> {
        self.nodes.push(Node::Key(Span { start: at + 1, length: raw.len() }));
        Ok(())
    }

    #[inline]
    fn string(&mut self, raw: &[u8], at: usize) -> Result<(), Error> {
        self.nodes.push(Node::String(Span { start: at + 1, length: raw.len() }));
        Ok(())
    }

    #[inline]
    fn scalar(&mut self, kind: Kind, raw: &[u8], at: usize) -> Result<(), Error> {
        let maximum = self.limits.max_number_digits;
        if raw.len() as u64 > maximum && kind == Kind::Number {
            let digits = raw.iter().filter(|byte| byte.is_ascii_digit()).count() as u64;
            let whole = raw.iter().all(|byte| matches!(byte, b'-' | b'0'..=b'9'));
            if whole && digits > maximum {
                return Err(Error::Limit {
                    limit: Limit::NumberDigits,
                    maximum,
                    value: digits,
                    offset: at as u64,
                });
            }
        }
        self.nodes.push(Node::Scalar(kind, Span { start: at, length: raw.len() }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical_elements, canonicalize};
    use crate::error::{Error, JsonReason, TextReason};
    use crate::limits::{Limit, Limits};

    fn canonical(text: &[u8]) -> Result<String, Error> {
        let mut out = Vec::new();
        canonicalize(text, &Limits::default(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_spelling_for_each_meaning() {
        for (text, expected) in [
            ("null", "null"),
            (" [ ] ", "[]"),
            ("{ }", "{}"),
            ("[true,false,null]", "[true, false, null]"),
            (r#"{"b":1,"a":{"d":[],"c":{}}}"#, r#"{"a": {"c": {}, "d": []}, "b": 1}"#),
            (r#"{"a":1,"b":2,"a":[3]}"#, r#"{"a": [3], "b": 2}"#),
            (r#"{"a":1,"\u0061":2}"#, r#"{"a": 2}"#),
            (r#"{"b":1,"a":1,"b":2,"a":2,"b":3}"#, r#"{"a": 2, "b": 3}"#),
            (
                "{\"\u{10000}\":2,\"\u{e000}\":1,\"a\":4,\"Z\":3}",
                r#"{"Z": 3, "a": 4, "\ue000": 1, "\ud800\udc00": 2}"#,
            ),
            ("[-0,0,-0.0,1.50,15e-1,1E400]", "!"),
            ("[-0,0,-0.0,1.50,15e-1,100000000000000000000]", "[0, 0, -0.0, 1.5, 1.5, 100000000000000000000]"),
            (r#"["\/\u002f\u00e9\uD83D\uDE00\ud83d\n\""]"#, r#"["//\u00e9\ud83d\ude00\ud83d\n\""]"#),
            ("\"h\u{e9}\u{7f}\"", r#""h\u00e9\u007f""#),
        ] {
            if expected == "!" {
                assert!(canonical(text.as_bytes()).is_err());
            } else {
                assert_eq!(canonical(text.as_bytes()).unwrap(), expected, "{text}");
            }
        }
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        for (text, expected) in [
            (&b"[1e400]"[..], Error::json(JsonReason::InvalidNumber, 1)),
            (b"[NaN]", Error::json(JsonReason::UnexpectedByte, 1)),
            (b"[\"a\xff\"]", Error::Text { reason: TextReason::InvalidUtf8, offset: 3 }),
            (b"{\"\xff\":1}", Error::Text { reason: TextReason::InvalidUtf8, offset: 2 }),
            (b"[1,]", Error::json(JsonReason::UnexpectedByte, 3)),
        ] {
            assert_eq!(canonical(text), Err(expected));
        }
        let long = "9".repeat(4301);
        let expected = Error::Limit { limit: Limit::NumberDigits, maximum: 4300, value: 4301, offset: 0 };
        assert_eq!(canonical(long.as_bytes()), Err(expected));
        assert_eq!(canonical(&long.as_bytes()[1..]).as_deref(), Ok(&long[1..]));
        assert!(canonical("[".repeat(129).as_bytes()).is_err());
    }

    #[test]
    fn elements_are_written_one_by_one() {
        let mut found = Vec::new();
        canonical_elements(br#" [1,{"b":[2],"a":"x"},[] ] "#, &Limits::default(), |element| {
            let mut out = Vec::new();
            element.write(&mut out)?;
            found.push(String::from_utf8(out).unwrap());
            Ok::<_, Error>(())
        })
        .unwrap();
        assert_eq!(found, ["1", r#"{"a": "x", "b": [2]}"#, "[]"]);
        for text in ["{}", " 1", "[1", ""] {
            let refused = canonical_elements(text.as_bytes(), &Limits::default(), |_| Ok::<_, Error>(()));
            assert!(refused.is_err(), "{text}");
        }
    }
}

//! A whole JSON text, told value by value to whoever builds something from it.

use crate::error::Error;
use crate::json::{Cursor, Invalid, Kind, Token, Tokens};
use crate::limits::{DEPTH_CEILING, Limit};
use crate::simd::{Backend, Task, dispatch};

/// Takes the values of a JSON text in order. Strings and keys come without their quotes and still escaped.
pub trait Visitor {
    /// What stops the visit.
    type Error;

    /// A container opens.
    fn open(&mut self, object: bool);

    /// The container opened last closes.
    fn close(&mut self, object: bool) -> Result<(), Self::Error>;

    /// The key of the member whose value comes next; `at` is the place of its opening quote.
    fn key(&mut self, raw: &[u8], at: usize) -> Result<(), Self::Error>;

    /// A string; `at` is the place of its opening quote.
    fn string(&mut self, raw: &[u8], at: usize) -> Result<(), Self::Error>;

    /// A number or literal; `at` is the place of its first byte.
    fn scalar(&mut self, kind: Kind, raw: &[u8], at: usize) -> Result<(), Self::Error>;
}

/// Why a visit ended early.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The text is not JSON, or deeper than allowed. Values may have been visited before.
    Text(Error),
    /// The visitor stopped it.
    Visitor(E),
}

/// Tells `visitor` the values of `text`, which may nest `maximum` levels deep, at most 128.
#[inline]
pub fn visit<V: Visitor>(text: &[u8], maximum: u64, visitor: &mut V) -> Result<(), Stopped<V::Error>> {
    match dispatch(Visit { text, maximum: maximum.min(DEPTH_CEILING), visitor }) {
        Ok(()) => Ok(()),
        Err(Ended::Visitor(error)) => Err(Stopped::Visitor(error)),
        Err(Ended::Invalid) => Err(Stopped::Text(explain(text, maximum))),
    }
}

/// Why `text` is not one JSON text.
#[cold]
fn explain(text: &[u8], maximum: u64) -> Error {
    let mut cursor = Cursor::new(text);
    let read = cursor.skip_value(0, maximum).and_then(|_| cursor.end());
    // The cursor refuses whatever the tokens refuse; were it not so, refusing would still be right.
    read.err().unwrap_or(Error::Limit { limit: Limit::Depth, maximum, value: maximum + 1, offset: 0 })
}

enum Ended<E> {
    Invalid,
    Visitor(E),
}

impl<E> From<Invalid> for Ended<E> {
    fn from(Invalid: Invalid) -> Self {
        Self::Invalid
    }
}

struct Visit<'a, V> {
    text: &'a [u8],
    maximum: u64,
    visitor: &'a mut V,
}

impl<V: Visitor> Task for Visit<'_, V> {
    type Output = Result<(), Ended<V::Error>>;

    #[inline(always)]
    fn run<B: Backend>(self) -> Self::Output {
        let Self { text, maximum, visitor } = self;
        let mut tokens = Tokens::<B>::new(text);
        let mut token = tokens.pull();
        // Bit `n` tells whether the container at level `n`, counted from zero, is an object.
        let mut objects: u128 = 0;
        let mut level: u64 = 0;
        loop {
            match token.byte {
                b'"' => {
                    let next = tokens.pull();
                    let inside = token.at + 1..tokens.end_before(next.at) - 1;
                    visitor.string(text.get(inside).unwrap_or_default(), token.at).map_err(Ended::Visitor)?;
                    token = next;
                }
                open @ (b'{' | b'[') => {
                    if level >= maximum {
                        return Err(Ended::Invalid);
                    }
                    let object = open == b'{';
                    visitor.open(object);
                    token = tokens.pull();
                    if token.byte == open + 2 {
                        visitor.close(object).map_err(Ended::Visitor)?;
                        token = tokens.pull();
                    } else {
                        objects = objects & !(1 << level) | u128::from(object) << level;
                        level += 1;
                        if object {
                            token = key(text, &mut tokens, token, visitor)?;
                        }
                        continue;
                    }
                }
                _ => {
                    let (kind, end) = tokens.scalar(token)?;
                    let raw = text.get(token.at..end).unwrap_or_default();
                    visitor.scalar(kind, raw, token.at).map_err(Ended::Visitor)?;
                    token = tokens.pull();
                }
            }
            // A value ended; close what ends with it.
            loop {
                if level == 0 {
                    return if token.at == text.len() { Ok(tokens.end()?) } else { Err(Ended::Invalid) };
                }
                let object = objects >> (level - 1) & 1 == 1;
                if token.byte == b',' {
                    token = tokens.pull();
                    if object {
                        token = key(text, &mut tokens, token, visitor)?;
                    }
                    break;
                }
                if token.byte != if object { b'}' } else { b']' } {
                    return Err(Ended::Invalid);
                }
                visitor.close(object).map_err(Ended::Visitor)?;
                level -= 1;
                token = tokens.pull();
            }
        }
    }
}

/// Takes the key that `token` starts, and its colon; gives the token its value starts with.
#[inline(always)]
fn key<B: Backend, V: Visitor>(
    text: &[u8],
    tokens: &mut Tokens<'_, B>,
    token: Token,
    visitor: &mut V,
) -> Result<Token, Ended<V::Error>> {
    let colon = tokens.pull();
    if token.byte != b'"' || colon.byte != b':' {
        return Err(Ended::Invalid);
    }
    let inside = token.at + 1..tokens.end_before(colon.at) - 1;
    visitor.key(text.get(inside).unwrap_or_default(), token.at).map_err(Ended::Visitor)?;
    Ok(tokens.pull())
}

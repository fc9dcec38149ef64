//! The items of a conversation: each turn keeps its own as text and points at the turn before.
//!
//! A history is the newest link of such a chain. Taking one costs nothing, histories share what they have in
//! common, and nobody can change what another sees. Text is put together when it is asked for.

use std::sync::Arc;

use crate::error::{Error, JsonReason};
use crate::history::trim::kept;
use crate::json::{Cursor, Kind, elements};
use crate::limits::Bounds;

/// Items that came together: their JSON texts with a comma between each two, nothing around them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    text: Box<[u8]>,
    /// Where each item ends.
    ends: Box<[u32]>,
}

impl Chunk {
    /// The elements of `array`, a JSON array of objects.
    pub(super) fn read(array: &[u8]) -> Result<Self, Error> {
        let mut places = Vec::new();
        elements(array, |place| places.push(place))?;
        for place in &places {
            if array.get(place.start) != Some(&b'{') {
                return Err(Error::json(JsonReason::UnexpectedByte, place.start));
            }
        }
        Ok(places.iter().map(|place| array.get(place.clone()).unwrap_or_default()).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the items, without what separates them.
    pub(super) fn bytes(&self) -> u64 {
        (self.text.len() - self.len().saturating_sub(1)) as u64
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let item = self.text.get(start..end as usize).unwrap_or_default();
            start = end as usize + 1;
            item
        })
    }
}

impl<'a> FromIterator<&'a [u8]> for Chunk {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(items: I) -> Self {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        for item in items {
            if !ends.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(item);
            ends.push(text.len() as u32);
        }
        Self { text: text.into(), ends: ends.into() }
    }
}

/// One turn's new items, and what stands before them.
#[derive(Debug)]
pub(super) struct Link {
    parent: Option<Arc<Self>>,
    input: Chunk,
    output: Chunk,
    /// Items, bytes and links from the first to this one.
    items: u64,
    bytes: u64,
    links: u64,
}

impl Link {
    pub(super) fn new(parent: Option<Arc<Self>>, input: Chunk, output: Chunk) -> Self {
        let (items, bytes, links) =
            parent.as_ref().map_or((0, 0, 0), |link| (link.items, link.bytes, link.links));
        Self {
            items: items + (input.len() + output.len()) as u64,
            bytes: bytes + input.bytes() + output.bytes(),
            links: links + 1,
            parent,
            input,
            output,
        }
    }

    pub(super) fn input(&self) -> &Chunk {
        &self.input
    }

    pub(super) fn output(&self) -> &Chunk {
        &self.output
    }
}

impl Drop for Link {
    /// A chain is dropped link by link; the recursion that the compiler would write is as deep as a chain is long.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.parent.take();
        }
    }
}

/// Items of a conversation in their order, as JSON text. Cloning costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Items {
    tip: Option<Arc<Link>>,
}

impl Items {
    /// The items of JSON arrays of objects, one array after the other.
    pub fn read<'a>(arrays: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let mut items = Self::default();
        for array in arrays {
            let chunk = Chunk::read(array)?;
            items = Self::of(Link::new(items.tip, chunk, Chunk::default()));
        }
        Ok(items)
    }

    /// The items of an API request's `input`: a JSON array of objects, or a string, which is a user's message.
    pub fn of_input(input: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(input);
        if cursor.kind()? != Kind::String {
            return Self::read([input]);
        }
        let start = cursor.position();
        cursor.skip_value(0, 1)?;
        let text = cursor.since(start);
        cursor.end()?;
        let message = [br#"{"type":"message","role":"user","content":"#, text, b"}"].concat();
        let chunk = std::iter::once(&*message).collect();
        Ok(Self::of(Link::new(None, chunk, Chunk::default())))
    }

    pub(super) fn of(link: Link) -> Self {
        Self { tip: Some(Arc::new(link)) }
    }

    pub(super) fn up_to(link: Arc<Link>) -> Self {
        Self { tip: Some(link) }
    }

    pub(super) fn of_chunk(chunk: &Chunk) -> Self {
        Self::of(Link::new(None, chunk.clone(), Chunk::default()))
    }

    pub(super) fn into_tip(self) -> Option<Arc<Link>> {
        self.tip
    }

    /// All of them in one piece, copied only if they are not.
    pub(super) fn into_chunk(self) -> Chunk {
        match self.tip.map(Arc::try_unwrap) {
            None => Chunk::default(),
            Some(Ok(mut link)) if link.parent.is_none() && link.output.len() == 0 => {
                std::mem::take(&mut link.input)
            }
            Some(Ok(link)) => Self::of(link).iter().collect(),
            Some(Err(tip)) => Self { tip: Some(tip) }.iter().collect(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.tip.as_ref().map_or(0, |link| link.items)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of their texts, without what separates them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tip.as_ref().map_or(0, |link| link.bytes)
    }

    /// Links of the chain they stand in; what a walk over it costs.
    pub(super) fn links(&self) -> u64 {
        self.tip.as_ref().map_or(0, |link| link.links)
    }

    /// The text of each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks().into_iter().flat_map(Chunk::iter)
    }

    /// The text of one, counted from zero.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<&[u8]> {
        let mut link = self.tip.as_deref().filter(|link| index < link.items)?;
        while let Some(parent) = link.parent.as_deref().filter(|parent| index < parent.items) {
            link = parent;
        }
        let before = link.parent.as_ref().map_or(0, |parent| parent.items);
        link.input.iter().chain(link.output.iter()).nth((index - before) as usize)
    }

    /// Appends them as one JSON array.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve((self.bytes() + self.len() + 2) as usize);
        out.push(b'[');
        let mut filled = false;
        for chunk in self.chunks().into_iter().filter(|chunk| chunk.len() > 0) {
            if filled {
                out.push(b',');
            }
            filled = true;
            out.extend_from_slice(&chunk.text);
        }
        out.push(b']');
    }

    /// At most so many of them and so many bytes: the newest, and before them every system and developer message,
    /// which stay whatever the bounds. The cut never parts a call from its output, nor reasoning from what it led
    /// to. The last `keep` items stay in any case.
    #[must_use]
    pub fn trim(&self, max_items: u64, max_bytes: u64, keep: u64) -> Self {
        if self.len() <= max_items && self.bytes() <= max_bytes {
            return self.clone();
        }
        let items: Vec<&[u8]> = self.iter().collect();
        let kept: Chunk = kept(&items, max_items, max_bytes, keep as usize).into_iter().collect();
        Self::of_chunk(&kept)
    }

    /// What stays of them before a turn with which they would be too many: with its items they are at most three
    /// quarters of what `bounds` allow a history, so that it is not shortened again at each turn.
    #[must_use]
    pub fn before(&self, input: &Self, output: &Self, bounds: &Bounds) -> Self {
        let Bounds { max_history_items, max_history_bytes, .. } = *bounds;
        let link = Link::new(self.tip.clone(), input.clone().into_chunk(), output.clone().into_chunk());
        let new = input.len() + output.len();
        let most = |bound: u64| bound - bound / 4;
        let left = Self::of(link).trim(most(max_history_items), most(max_history_bytes), new);
        Self::of_chunk(&left.iter().take(left.len().saturating_sub(new) as usize).collect())
    }

    /// The chunks of all links, oldest first.
    fn chunks(&self) -> Vec<&Chunk> {
        let mut chunks = Vec::with_capacity(self.links() as usize * 2);
        let mut next = self.tip.as_deref();
        while let Some(link) = next {
            chunks.extend([&link.output, &link.input]);
            next = link.parent.as_deref();
        }
        chunks.reverse();
        chunks
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.bytes() == other.bytes() && self.iter().eq(other.iter())
    }
}

impl Eq for Items {}

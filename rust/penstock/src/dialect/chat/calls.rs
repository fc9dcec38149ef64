//! Which tool call a fragment belongs to.
//!
//! Servers disagree on how a fragment names its call: by `index` (most), by `id` alone (Mistral), by nothing but
//! its place after the last one. The rules, for fragments that carry
//!
//! | | same call | new call |
//! |---|---|---|
//! | a known `index` | no id, the call's id, or another id without a name | another id with a name; another name once arguments came |
//! | a new `index` | | always |
//! | no `index` | the id of a call; the last call's name; neither id nor name | another id; another name; a name again in one chunk |
//!
//! A fragment without `index` whose call has neither id nor name yet gives it both.

use super::{PieceField, Pieces, is_blank};
use crate::event::{index, string};
use crate::json::RawStr;

/// What has to be known of a call to tell whether a fragment is part of it. Texts are WTF-8, empty while unknown.
pub(crate) trait KnownCall {
    /// The `index` the server gave it.
    fn index(&self) -> Option<u64>;
    /// Its id.
    fn id(&self) -> &[u8];
    /// The name of its function or tool.
    fn name(&self) -> &[u8];
    /// Whether arguments or input have come.
    fn has_arguments(&self) -> bool;
    /// The number of the chunk that named it last.
    fn named_in(&self) -> u64;
}

/// How a fragment names its call.
#[derive(Debug, Default)]
pub(crate) struct CallAddress<'a> {
    pub(crate) index: Option<u64>,
    /// Whether there is an index that is none.
    pub(crate) bad_index: bool,
    pub(crate) id: Option<RawStr<'a>>,
    pub(crate) name: Option<RawStr<'a>>,
}

impl<'a> CallAddress<'a> {
    /// The address that `fragment`, an element of `tool_calls`, gives.
    pub(crate) fn read(fragment: &Pieces<'a>) -> Self {
        let given = |value| string(value).filter(|text| !text.raw.is_empty());
        let name = |member| given(Pieces::read(fragment.get(member)).get(PieceField::Name));
        let place = fragment.get(PieceField::Index);
        let index = index(place);
        Self {
            index,
            bad_index: index.is_none() && !is_blank(place),
            id: given(fragment.get(PieceField::Id)),
            name: name(PieceField::Function).or_else(|| name(PieceField::Custom)),
        }
    }

    /// The place in `calls` of the call that a fragment of chunk `chunk` belongs to; `last` is the place of the
    /// call that the fragment before belonged to.
    pub(crate) fn find(&self, calls: &[impl KnownCall], last: usize, chunk: u64) -> Option<usize> {
        if self.index.is_some() {
            let place = place_of_index(calls, last, self.index)?;
            let call = calls.get(place)?;
            let other_id = self.id.is_some_and(|id| !call.id().is_empty() && !equal(id, call.id()));
            let other_name = self.name.is_some_and(|name| {
                call.has_arguments() && !call.name().is_empty() && !equal(name, call.name())
            });
            let other = other_name || other_id && self.name.is_some();
            return (!other).then_some(place);
        }
        if let Some(id) = self.id
            && let Some(place) = calls.iter().rposition(|call| equal(id, call.id()))
        {
            return Some(place);
        }
        let call = calls.get(last)?;
        let anonymous = call.id().is_empty() && call.name().is_empty();
        let same = match (self.id, self.name) {
            (None, None) => true,
            (None, Some(name)) => equal(name, call.name()) && call.named_in() != chunk,
            (Some(_), _) => false,
        };
        (same || anonymous).then_some(last)
    }
}

/// The place of the call that came last under an index.
fn place_of_index(calls: &[impl KnownCall], last: usize, index: Option<u64>) -> Option<usize> {
    if calls.get(last)?.index() == index {
        return Some(last);
    }
    calls.iter().rposition(|call| call.index() == index)
}

fn equal(text: RawStr<'_>, known: &[u8]) -> bool {
    *text.decoded() == *known
}

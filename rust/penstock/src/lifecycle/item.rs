//! The life of one output item: its parts, its strings, its status.

use super::Move;
use crate::accumulate::Sparse;
use crate::dialect::responses::{Channel, Kind, List, Status, Step};
use crate::rule::Rule;

/// One output item.
#[derive(Debug, Clone)]
pub(crate) struct ItemLife {
    kind: Kind,
    /// It was added; otherwise an event about it is all that is known.
    added: bool,
    done: bool,
    /// How far its status has come; see [`Status::rank`].
    rank: u8,
    /// Of the string that is the item's own.
    string: Stage,
    content: Sparse<PartLife>,
    summary: Sparse<PartLife>,
}

/// One part of an item.
#[derive(Debug, Clone, Copy, Default)]
struct PartLife {
    channel: Option<Channel>,
    stage: Stage,
    annotations: u64,
}

/// How far a string has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    /// Nothing came.
    #[default]
    Untouched,
    /// Deltas came.
    Growing,
    /// The whole came.
    Whole,
    /// What holds it is done.
    Done,
}

impl ItemLife {
    pub(super) fn new(kind: Kind, added: bool) -> Self {
        Self {
            kind,
            added,
            done: false,
            rank: 0,
            string: Stage::Untouched,
            content: Sparse::default(),
            summary: Sparse::default(),
        }
    }

    /// The type it was added with.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it was added and is not done.
    pub(super) const fn is_open(&self) -> bool {
        self.added && !self.done
    }

    /// How many annotations one of its content's parts has.
    pub(super) fn annotations(&mut self, part: u64) -> u64 {
        self.content.get_mut(part).map_or(0, |part| part.annotations)
    }

    /// Whether its `done` event has come.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    fn parts(&mut self, list: List) -> &mut Sparse<PartLife> {
        match list {
            List::Content => &mut self.content,
            List::Summary => &mut self.summary,
        }
    }

    /// The first rule that `mv`, an event about this item, breaks.
    #[inline]
    pub(super) fn check(&mut self, mv: &Move) -> Result<(), Rule> {
        if self.done {
            return Err(Rule::AfterItemDone);
        }
        match mv.step {
            Step::Delta(channel) | Step::Whole(channel) => self.check_string(channel, mv.part),
            Step::PartAdded(list) => self.check_part_added(list, mv),
            Step::PartDone(list) => self.check_part_done(list, mv),
            Step::Annotation => match self.parts(List::Content).get_mut(mv.part) {
                None => Err(Rule::PartNotAdded),
                Some(part) if part.channel.is_some_and(|channel| channel != Channel::Text) => {
                    Err(Rule::WrongPart)
                }
                Some(part) if part.stage == Stage::Done => Err(Rule::AfterPartDone),
                Some(_) => Ok(()),
            },
            Step::ItemDone => self.check_done(mv),
            Step::Status(kind, status) => self.check_status(kind, status),
            Step::CommandAdded if self.kind != Kind::ShellCall => Err(Rule::WrongItem),
            Step::PartialImage if self.kind != Kind::ImageGenerationCall => Err(Rule::WrongItem),
            _ => Ok(()),
        }
    }

    #[inline]
    fn check_string(&mut self, channel: Channel, place: u64) -> Result<(), Rule> {
        if !channel.fits(self.kind) {
            return Err(Rule::WrongItem);
        }
        let stage = match channel.list() {
            // Commands have an index of their own, below that of the item.
            None if channel == Channel::Command => return Ok(()),
            None => self.string,
            Some(list) => match self.parts(list).get_mut(place) {
                None => return Err(Rule::PartNotAdded),
                Some(part) if part.channel.is_some_and(|of_part| of_part != channel) => {
                    return Err(Rule::WrongPart);
                }
                Some(part) => part.stage,
            },
        };
        match stage {
            Stage::Untouched | Stage::Growing => Ok(()),
            Stage::Whole => Err(Rule::AfterStringDone),
            Stage::Done => Err(Rule::AfterPartDone),
        }
    }

    fn check_part_added(&mut self, list: List, mv: &Move) -> Result<(), Rule> {
        if !self.kind.holds(list) || mv.channel.is_some_and(|channel| channel.list() != Some(list)) {
            return Err(Rule::WrongItem);
        }
        if self.kind == Kind::Reasoning && matches!(mv.channel, Some(Channel::Text | Channel::Refusal)) {
            return Err(Rule::WrongPart);
        }
        let parts = self.parts(list);
        if parts.get_mut(mv.part).is_some() {
            return Err(Rule::PartReused);
        }
        if parts.len() as u64 == mv.part { Ok(()) } else { Err(Rule::PartOrder) }
    }

    fn check_part_done(&mut self, list: List, mv: &Move) -> Result<(), Rule> {
        match self.parts(list).get_mut(mv.part) {
            None => Err(Rule::PartNotAdded),
            Some(part) if part.stage == Stage::Done => Err(Rule::AfterPartDone),
            Some(part) if part.channel != mv.channel => Err(Rule::WrongPart),
            Some(part) if part.channel.is_some() && part.stage != Stage::Whole => Err(Rule::StringNotDone),
            Some(_) => Ok(()),
        }
    }

    fn check_done(&self, mv: &Move) -> Result<(), Rule> {
        if mv.kind != self.kind {
            return Err(Rule::ItemTypeChanged);
        }
        let open = |parts: &Sparse<PartLife>| parts.iter().any(|(_, part)| part.stage != Stage::Done);
        if open(&self.content) || open(&self.summary) {
            return Err(Rule::PartOpen);
        }
        let owed = matches!(self.kind, Kind::FunctionCall | Kind::CustomToolCall);
        let done = self.string == Stage::Whole || self.string == Stage::Untouched && !owed;
        match self.kind {
            _ if done => Ok(()),
            Kind::CustomToolCall => Err(Rule::InputNotDone),
            _ => Err(Rule::StringNotDone),
        }
    }

    const fn check_status(&self, kind: Kind, status: Status) -> Result<(), Rule> {
        if self.kind as u8 != kind as u8 && !matches!(self.kind, Kind::Other) {
            return Err(Rule::WrongItem);
        }
        if status.rank() < self.rank { Err(Rule::StatusBackwards) } else { Ok(()) }
    }

    /// Does what `mv` says, lawful or not.
    #[inline]
    pub(super) fn apply(&mut self, mv: &Move) {
        match mv.step {
            Step::Delta(channel) => self.advance(channel, mv.part, Stage::Growing),
            Step::Whole(channel) => self.advance(channel, mv.part, Stage::Whole),
            Step::PartAdded(list) => {
                let life = PartLife { channel: mv.channel, ..PartLife::default() };
                self.parts(list).insert(mv.part, life);
            }
            Step::PartDone(list) => {
                let life = PartLife { channel: mv.channel, stage: Stage::Done, annotations: 0 };
                self.parts(list).insert(mv.part, life);
            }
            Step::Annotation => {
                if let Some(part) = self.content.get_mut(mv.part) {
                    part.annotations += 1;
                }
            }
            Step::ItemDone => {
                self.kind = mv.kind;
                self.done = true;
            }
            Step::Status(_, status) => self.rank = self.rank.max(status.rank()),
            _ => {}
        }
    }

    #[inline]
    fn advance(&mut self, channel: Channel, place: u64, to: Stage) {
        let Some(list) = channel.list() else {
            self.string = self.string.max(to);
            return;
        };
        if let Some(part) = self.parts(list).get_mut(place) {
            part.stage = part.stage.max(to);
        } else {
            let life = PartLife { channel: Some(channel), stage: to, annotations: 0 };
            self.parts(list).insert(place, life);
        }
    }
}

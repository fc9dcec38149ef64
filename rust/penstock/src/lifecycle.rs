//! The legal life of a Responses stream, the one place that knows it: the emitter writes through it, the linter
//! reads through it.
//!
//! ```text
//! response   before ─created→ created ─queued→ queued ─in_progress→ running ─┬─────────→ ended ─created→ …
//!                                └──────────in_progress──────────────↗       └─error→ erred ─failed─↗
//! item       added ─ parts, strings, statuses ─ done          output_index 0, 1, 2 … in the order of `added`
//! part       added ─ delta* ─ whole ─ done                    content_index and summary_index likewise
//! string     delta* ─ whole                                   arguments, input, code, diff: of the item itself
//! ```
//!
//! Further: nothing is added after an item that ended incomplete, and a response with one cannot complete (Open
//! Responses); an `error` event is followed by `response.failed`; every item is done before the response ends.

mod item;

use crate::accumulate::Sparse;
use crate::dialect::responses::{Channel, Kind, ResponseTerminal, Step};
use crate::event::EventType;
use crate::rule::Rule;

use item::ItemLife;

/// What an event does, as far as its lawfulness goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    /// The event's type.
    pub(crate) event: EventType,
    /// What it says.
    pub(crate) step: Step,
    /// The `output_index`, of events about an item.
    pub(crate) item: u64,
    /// The `content_index` or `summary_index`, of events about a part.
    pub(crate) part: u64,
    /// The type of the item that is added or done.
    pub(crate) kind: Kind,
    /// The string of the part that is added or done; `None` for a part of unknown type.
    pub(crate) channel: Option<Channel>,
    /// The status of the item that is done: whether it is `incomplete`.
    pub(crate) incomplete: bool,
}

impl Move {
    /// The move of an event about no item.
    pub(crate) const fn response(event: EventType, step: Step) -> Self {
        Self { event, step, item: 0, part: 0, kind: Kind::Other, channel: None, incomplete: false }
    }

    /// The move of an event about an item or part.
    #[inline]
    pub(crate) const fn item(event: EventType, step: Step, item: u64, part: u64) -> Self {
        Self { event, step, item, part, kind: Kind::Other, channel: None, incomplete: false }
    }
}

/// Where a response stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Nothing has come.
    #[default]
    Before,
    /// `response.created` has come.
    Created,
    /// It waits for its turn.
    Queued,
    /// Its output streams.
    Running,
    /// An `error` event has come; only `response.failed` may follow.
    Erred,
    /// A terminal event has come.
    Ended,
}

/// The life of one response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle {
    phase: Phase,
    items: Sparse<ItemLife>,
    /// The highest index at which an item was added.
    last: Option<u64>,
    open: usize,
    incomplete: bool,
    /// The string that the last move added to, with item and part: adding to it again is lawful and changes nothing.
    growing: Option<(Channel, u64, u64)>,
}

impl Lifecycle {
    /// Where the response stands.
    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Items that are not done.
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// Items added so far.
    pub(crate) fn items(&self) -> usize {
        self.items.len()
    }

    /// The item at `index`.
    pub(crate) fn item(&mut self, index: u64) -> Option<&mut ItemLife> {
        self.items.get_mut(index)
    }

    /// How many annotations the part at `part` of the item at `item` has.
    pub(crate) fn annotations(&mut self, item: u64, part: u64) -> u64 {
        self.items.get_mut(item).map_or(0, |item| item.annotations(part))
    }

    /// Does what `mv` says if it is lawful, otherwise nothing.
    #[inline]
    pub(crate) fn step(&mut self, mv: &Move) -> Result<(), Rule> {
        self.check(mv)?;
        self.apply(mv);
        Ok(())
    }

    /// The first rule that `mv` breaks.
    #[inline]
    pub(crate) fn check(&mut self, mv: &Move) -> Result<(), Rule> {
        if self.grows_on(mv) { Ok(()) } else { self.check_anew(mv) }
    }

    fn check_anew(&mut self, mv: &Move) -> Result<(), Rule> {
        if self.phase != Phase::Running || !is_about_item(mv.step) {
            self.check_phase(mv)?;
        }
        match mv.step {
            Step::ItemAdded => self.check_added(mv),
            Step::Terminal(terminal) => self.check_terminal(terminal),
            step if is_about_item(step) => match self.items.get_mut(mv.item) {
                Some(item) => item.check(mv),
                None => Err(Rule::ItemNotAdded),
            },
            _ => Ok(()),
        }
    }

    #[inline]
    fn grows_on(&self, mv: &Move) -> bool {
        matches!(mv.step, Step::Delta(channel) if self.growing == Some((channel, mv.item, mv.part)))
    }

    fn check_phase(&self, mv: &Move) -> Result<(), Rule> {
        match (self.phase, mv.step) {
            // A request that is refused ends with an error before a response begins.
            (_, Step::Aside)
            | (Phase::Before | Phase::Ended, Step::Created)
            | (Phase::Before | Phase::Created | Phase::Queued, Step::Error)
            | (Phase::Created, Step::Progress)
            | (Phase::Erred, Step::Terminal(ResponseTerminal::Failed)) => Ok(()),
            (Phase::Before, _) => Err(Rule::NotCreated),
            (Phase::Ended, _) => Err(Rule::AfterTerminal),
            (Phase::Erred, _) => Err(Rule::ErrorNotFailed),
            (_, Step::Created) => Err(Rule::CreatedAgain),
            (Phase::Queued, Step::Progress) if mv.event == EventType::InProgress => Ok(()),
            (_, Step::Progress) => Err(Rule::LifecycleOrder),
            (Phase::Created | Phase::Queued, Step::Terminal(ResponseTerminal::Completed)) => {
                Err(Rule::NotInProgress)
            }
            (_, Step::Terminal(_)) | (Phase::Running, _) => Ok(()),
            (Phase::Created | Phase::Queued, _) => Err(Rule::NotInProgress),
        }
    }

    fn check_added(&mut self, mv: &Move) -> Result<(), Rule> {
        if self.items.get_mut(mv.item).is_some() {
            return Err(Rule::IndexReused);
        }
        if self.incomplete {
            return Err(Rule::AfterIncomplete);
        }
        match self.last {
            None if mv.item == 0 => Ok(()),
            Some(last) if last + 1 == mv.item => Ok(()),
            Some(last) if mv.item <= last => Err(Rule::IndexOrder),
            _ => Err(Rule::IndexSkipped),
        }
    }

    fn check_terminal(&self, terminal: ResponseTerminal) -> Result<(), Rule> {
        if self.open > 0 {
            return Err(Rule::ItemOpen);
        }
        let broken = terminal == ResponseTerminal::Completed && self.incomplete;
        if broken { Err(Rule::CompletedIncomplete) } else { Ok(()) }
    }

    /// Does what `mv` says, lawful or not; an item or part that was never added is added.
    #[inline]
    pub(crate) fn apply(&mut self, mv: &Move) {
        if !self.grows_on(mv) {
            self.growing = None;
            self.apply_anew(mv);
        }
    }

    fn apply_anew(&mut self, mv: &Move) {
        match mv.step {
            Step::Aside => {}
            Step::Created => *self = Self { phase: Phase::Created, ..Self::default() },
            Step::Progress if matches!(self.phase, Phase::Running | Phase::Erred) => {}
            Step::Progress if mv.event == EventType::Queued => self.phase = Phase::Queued,
            Step::Progress => self.phase = Phase::Running,
            // An error before `response.created` is all there is.
            Step::Error if self.phase == Phase::Before => self.phase = Phase::Ended,
            Step::Error => self.phase = Phase::Erred,
            Step::Terminal(_) => self.phase = Phase::Ended,
            _ => self.apply_to_item(mv),
        }
    }

    #[inline]
    fn apply_to_item(&mut self, mv: &Move) {
        if self.phase != Phase::Running && self.phase != Phase::Ended {
            self.phase = Phase::Running;
        }
        if !is_about_item(mv.step) && mv.step != Step::ItemAdded {
            return;
        }
        if mv.step == Step::ItemAdded || self.items.get_mut(mv.item).is_none() {
            let kind = match mv.step {
                Step::Delta(channel) | Step::Whole(channel) => channel.kind(),
                Step::Status(kind, _) => kind,
                _ => mv.kind,
            };
            let added = mv.step == Step::ItemAdded;
            let before = self.items.insert(mv.item, ItemLife::new(kind, added));
            let was_open = before.is_some_and(|item| item.is_open());
            self.open += usize::from(added && !was_open);
            if added {
                self.last = self.last.max(Some(mv.item));
            }
        }
        let Some(item) = self.items.get_mut(mv.item) else { return };
        if mv.step == Step::ItemDone && !item.is_done() {
            self.open = self.open.saturating_sub(usize::from(item.is_open()));
            self.incomplete |= mv.incomplete;
        }
        item.apply(mv);
        if let Step::Delta(channel) = mv.step
            && self.phase == Phase::Running
            && item.check(mv).is_ok()
        {
            self.growing = Some((channel, mv.item, mv.part));
        }
    }
}

/// Whether an event of this step needs an item that was added before.
#[inline]
pub(crate) const fn is_about_item(step: Step) -> bool {
    matches!(
        step,
        Step::ItemDone
            | Step::PartAdded(_)
            | Step::PartDone(_)
            | Step::Delta(_)
            | Step::Whole(_)
            | Step::Annotation
            | Step::Status(..)
            | Step::CommandAdded
            | Step::OutputDelta
            | Step::OutputWhole
            | Step::PartialImage
    )
}

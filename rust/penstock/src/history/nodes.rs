//! The places of turns, and who still needs them.

use std::sync::Arc;

use super::Named;
use super::items::Link;

/// Where a turn stands; valid as long as something holds it.
pub(super) type Slot = usize;

/// A turn, or what is left of one that others build on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) tenant: Arc<str>,
    pub(super) link: Arc<Link>,
    /// The turn whose items come before.
    pub(super) parent: Option<Slot>,
    /// Its own name, while it has one, and the turns that build on it.
    pub(super) holds: u32,
    /// Bytes that its items cost.
    pub(super) cost: u64,
    pub(super) named: Option<Named>,
}

/// All of them; places that became free are used again.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    places: Vec<Option<Node>>,
    free: Vec<Slot>,
}

impl Nodes {
    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.places.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        self.places.get_mut(slot)?.as_mut()
    }

    pub(super) fn insert(&mut self, node: Node) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.places.get_mut(slot)
        {
            *place = Some(node);
            return slot;
        }
        self.places.push(Some(node));
        self.places.len() - 1
    }

    /// Gives up one hold on a turn, and with the last one also its hold on the turn before. Returns the bytes that
    /// became free.
    pub(super) fn release(&mut self, slot: Slot) -> u64 {
        let (mut next, mut freed) = (Some(slot), 0);
        while let Some(slot) = next.take() {
            let Some(place) = self.places.get_mut(slot) else { break };
            let Some(node) = place.as_mut() else { break };
            node.holds = node.holds.saturating_sub(1);
            if node.holds == 0 {
                freed += node.cost;
                next = node.parent;
                *place = None;
                self.free.push(slot);
            }
        }
        freed
    }
}

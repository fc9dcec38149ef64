//! Conversations in memory: turns by tenant and response id, each continuing another or none.
//!
//! A turn never changes, so branches are independent and a retried append is recognised. What ends a turn (age,
//! the bounds, a caller) takes its id and its response away; its items stay while turns that build on it do, and
//! count as long as they stay.

mod items;
mod nodes;
mod trim;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::limits::{Bound, Bounds};
pub use items::Items;
use items::Link;
use nodes::{Node, Nodes, Slot};
pub use turn::{NewTurn, Turn};

/// Turns that are removed for age with each append; more than one, so that the expired never pile up.
const EXPIRED_AT_ONCE: usize = 16;

/// Conversations of many tenants, bounded by [`Bounds`]. Times are milliseconds of any clock that does not go back.
#[derive(Debug, Default)]
pub struct Conversations {
    bounds: Bounds,
    tenants: BTreeMap<Arc<str>, Tenant>,
    nodes: Nodes,
    /// The turns of all tenants in the order of their last use.
    used: BTreeMap<u64, Slot>,
    uses: u64,
    bytes: u64,
}

/// One tenant's share. Nothing leads from here to another's.
#[derive(Debug, Default)]
struct Tenant {
    turns: BTreeMap<Box<str>, Slot>,
    used: BTreeMap<u64, Slot>,
    bytes: u64,
}

/// A turn that is known by its id.
#[derive(Debug)]
struct Named {
    id: Box<str>,
    parent: Option<Box<str>>,
    response: Arc<[u8]>,
    cost: u64,
    /// Its place in the orders of use, and when that was.
    use_number: u64,
    used_at: u64,
}

impl Conversations {
    /// None yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// An empty one with the same bounds.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.bounds)
    }

    /// Turns that are known by their ids.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.used.len() as u64
    }

    /// Bytes of all turns, and of those that only others keep.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stores a turn, and tells whether it is new. The same turn again changes nothing; another of the same id is
    /// [`Error::TurnConflict`], an unknown parent [`Error::PreviousResponse`], a turn that is larger than all that
    /// a tenant may have [`Error::Bound`]. `before` are the items it continues where its parent is not looked up
    /// here.
    pub fn append(
        &mut self,
        tenant: &str,
        turn: NewTurn,
        before: Option<Items>,
        now: u64,
    ) -> Result<bool, Error> {
        for _ in 0..EXPIRED_AT_ONCE {
            if !self.expire_one(now) {
                break;
            }
        }
        if let Some(slot) = self.find(tenant, &turn.id, now) {
            return if self.holds(slot, &turn) { Ok(false) } else { Err(Error::TurnConflict) };
        }
        let parent = match &turn.parent {
            Some(parent) if before.is_none() => {
                Some(self.find(tenant, parent, now).ok_or(Error::PreviousResponse)?)
            }
            _ => None,
        };
        let needed = turn.link_cost() + turn.name_cost();
        for (bound, maximum) in
            [(Bound::TenantBytes, self.bounds.max_tenant_bytes), (Bound::Bytes, self.bounds.max_bytes)]
        {
            if needed > maximum {
                return Err(Error::Bound { bound, maximum, value: needed });
            }
        }
        let before = match parent {
            Some(slot) => self.link(slot).map(Items::up_to).unwrap_or_default(),
            None => before.unwrap_or_default(),
        };
        self.insert(tenant, turn, parent, before, now);
        self.evict(tenant);
        Ok(true)
    }

    /// The items up to and with the output of a turn; [`Error::PreviousResponse`] if there is no such turn.
    pub fn history(&mut self, tenant: &str, id: &str, now: u64) -> Result<Items, Error> {
        let slot = self.find(tenant, id, now).ok_or(Error::PreviousResponse)?;
        let items = self.link(slot).map(Items::up_to).unwrap_or_default();
        Ok(items.trim(self.bounds.max_history_items, self.bounds.max_history_bytes, 0))
    }

    /// Whether there is such a turn; asking is no use of it.
    #[must_use]
    pub fn has(&self, tenant: &str, id: &str, now: u64) -> bool {
        let slot = self.tenants.get(tenant).and_then(|share| share.turns.get(id));
        let named = slot.and_then(|slot| self.nodes.get(*slot)?.named.as_ref());
        named.is_some_and(|named| !is_over(named.used_at, self.bounds.ttl, now))
    }

    /// One turn.
    pub fn turn(&mut self, tenant: &str, id: &str, now: u64) -> Option<Turn> {
        let slot = self.find(tenant, id, now)?;
        let node = self.nodes.get(slot)?;
        let named = node.named.as_ref()?;
        Some(Turn {
            parent: named.parent.clone(),
            response: Arc::clone(&named.response),
            input: Items::of_chunk(node.link.input()),
            output: Items::of_chunk(node.link.output()),
        })
    }

    /// Forgets a turn, and tells whether there was one. Turns that continue it keep their history.
    pub fn delete(&mut self, tenant: &str, id: &str, now: u64) -> bool {
        let found = self.find(tenant, id, now);
        found.is_some_and(|slot| self.forget(slot))
    }

    /// Forgets the turns that were not used for too long, and tells how many those were.
    pub fn expire(&mut self, now: u64) -> u64 {
        let mut count = 0;
        while self.expire_one(now) {
            count += 1;
        }
        count
    }

    /// A turn that is not too old, used now.
    fn find(&mut self, tenant: &str, id: &str, now: u64) -> Option<Slot> {
        let share = self.tenants.get_mut(tenant)?;
        let slot = *share.turns.get(id)?;
        let named = self.nodes.get_mut(slot)?.named.as_mut()?;
        if is_over(named.used_at, self.bounds.ttl, now) {
            self.forget(slot);
            return None;
        }
        for order in [&mut share.used, &mut self.used] {
            order.remove(&named.use_number);
            order.insert(self.uses, slot);
        }
        named.use_number = self.uses;
        named.used_at = now;
        self.uses += 1;
        Some(slot)
    }

    /// Whether a stored turn is this one.
    fn holds(&self, slot: Slot, turn: &NewTurn) -> bool {
        self.nodes.get(slot).is_some_and(|node| {
            node.named.as_ref().is_some_and(|named| {
                named.parent == turn.parent
                    && *named.response == *turn.response
                    && Items::of_chunk(node.link.input()) == turn.input
                    && Items::of_chunk(node.link.output()) == turn.output
            })
        })
    }

    fn link(&self, slot: Slot) -> Option<Arc<Link>> {
        self.nodes.get(slot).map(|node| Arc::clone(&node.link))
    }

    /// Puts a turn at the end of `before`, which is the history of `parent` if that is stored here. A history that
    /// would outgrow the bounds begins anew with the newer part of it, so that it is not copied again at each turn.
    fn insert(&mut self, tenant: &str, mut turn: NewTurn, parent: Option<Slot>, before: Items, now: u64) {
        let Bounds { max_history_items, max_history_bytes, .. } = self.bounds;
        let (link_cost, name_cost) = (turn.link_cost(), turn.name_cost());
        let items = before.len() + turn.input.len() + turn.output.len();
        let bytes = before.bytes() + turn.input.bytes() + turn.output.bytes();
        let longest = items.max(before.links() + 1);
        let (before, parent) =
            if before.links() == 0 || longest <= max_history_items && bytes <= max_history_bytes {
                (before, parent)
            } else {
                (before.before(&turn.input, &turn.output, &self.bounds), None)
            };
        // What is no other turn's is this one's to pay for.
        let cost = if parent.is_none() { link_cost + before.bytes() } else { link_cost };
        let link = Arc::new(turn.take_link(before.into_tip()));

        let NewTurn { id, parent: parent_id, response, .. } = turn;
        let (use_number, response) = (self.uses, Arc::from(response));
        self.uses += 1;
        let named =
            Named { id: id.clone(), parent: parent_id, response, cost: name_cost, use_number, used_at: now };
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            parent.holds += 1;
        }
        let (name, share) = match self.tenants.get_key_value(tenant) {
            Some((name, _)) => (Arc::clone(name), None),
            None => (Arc::from(tenant), Some(Tenant::default())),
        };
        let slot = self.nodes.insert(Node {
            tenant: Arc::clone(&name),
            link,
            parent,
            holds: 1,
            cost,
            named: Some(named),
        });
        if let Some(share) = share {
            self.tenants.insert(Arc::clone(&name), share);
        }
        if let Some(share) = self.tenants.get_mut(&name) {
            share.turns.insert(id, slot);
            share.used.insert(use_number, slot);
            share.bytes += cost + name_cost;
        }
        self.used.insert(use_number, slot);
        self.bytes += cost + name_cost;
    }

    /// Forgets the turns used longest ago until the bounds hold, but never the one that was just stored.
    fn evict(&mut self, tenant: &str) {
        let bounds = self.bounds;
        while let Some(share) = self.tenants.get(tenant) {
            let turns = share.used.len() as u64;
            if turns < 2 || turns <= bounds.max_tenant_turns && share.bytes <= bounds.max_tenant_bytes {
                break;
            }
            let Some((_, &oldest)) = share.used.first_key_value() else { break };
            self.forget(oldest);
        }
        while self.turns() > 1 && (self.turns() > bounds.max_turns || self.bytes > bounds.max_bytes) {
            let Some((_, &oldest)) = self.used.first_key_value() else { break };
            self.forget(oldest);
        }
    }

    /// Forgets the turn used longest ago if that was too long ago.
    fn expire_one(&mut self, now: u64) -> bool {
        let Some((_, &oldest)) = self.used.first_key_value() else { return false };
        let named = self.nodes.get(oldest).and_then(|node| node.named.as_ref());
        let over = named.is_some_and(|named| is_over(named.used_at, self.bounds.ttl, now));
        over && self.forget(oldest)
    }

    /// Takes a turn's name away, and its items if nothing builds on them.
    fn forget(&mut self, slot: Slot) -> bool {
        let Some(node) = self.nodes.get_mut(slot) else { return false };
        let Some(named) = node.named.take() else { return false };
        let tenant = Arc::clone(&node.tenant);
        self.used.remove(&named.use_number);
        let freed = named.cost + self.nodes.release(slot);
        self.bytes = self.bytes.saturating_sub(freed);
        if let Some(share) = self.tenants.get_mut(&tenant) {
            share.turns.remove(&named.id);
            share.used.remove(&named.use_number);
            share.bytes = share.bytes.saturating_sub(freed);
            // Without a turn nothing can keep items, so there are no bytes either.
            if share.turns.is_empty() {
                self.tenants.remove(&tenant);
            }
        }
        true
    }
}

const fn is_over(used_at: u64, ttl: u64, now: u64) -> bool {
    used_at.saturating_add(ttl) <= now
}

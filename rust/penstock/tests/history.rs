//! The store in memory against a naive one that copies whole histories, on random programs.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use penstock::{Bounds, Conversations, Error, Items, NewTurn};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a turn costs a store, as the core counts it.
fn cost(turn: &NewTurn) -> u64 {
    turn.link_cost() + turn.name_cost()
}

/// The naive store: one row a turn, the whole history in each; the row used last stands last.
#[derive(Default)]
struct Naive {
    rows: Vec<Row>,
}

struct Row {
    tenant: &'static str,
    id: String,
    history: Vec<String>,
    used_at: u64,
}

impl Naive {
    fn find(&mut self, tenant: &str, id: &str, ttl: u64, now: u64) -> Option<&Row> {
        let at = self.rows.iter().position(|row| row.tenant == tenant && row.id == id)?;
        let mut row = self.rows.remove(at);
        if row.used_at + ttl <= now {
            return None;
        }
        row.used_at = now;
        self.rows.push(row);
        self.rows.last()
    }

    fn evict(&mut self, tenant: &str, bounds: &Bounds) {
        let mine = |row: &Row| row.tenant == tenant;
        while self.rows.iter().filter(|row| mine(row)).count() as u64 > bounds.max_tenant_turns {
            let oldest = self.rows.iter().position(mine).expect("there are some");
            self.rows.remove(oldest);
        }
        while self.rows.len() as u64 > bounds.max_turns {
            self.rows.remove(0);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { tenant: usize, id: u8, parent: Option<u8>, items: u8 },
    History { tenant: usize, id: u8 },
    Delete { tenant: usize, id: u8 },
    Expire,
    Wait(u64),
}

const TENANTS: [&str; 2] = ["a", "b"];

fn step() -> impl Strategy<Value = Step> {
    let (tenant, id) = (0..2_usize, 0..12_u8);
    prop_oneof![
        6 => (tenant.clone(), id.clone(), proptest::option::of(id.clone()), 0..3_u8)
            .prop_map(|(tenant, id, parent, items)| Step::Append { tenant, id, parent, items }),
        3 => (tenant.clone(), id.clone()).prop_map(|(tenant, id)| Step::History { tenant, id }),
        1 => (tenant, id).prop_map(|(tenant, id)| Step::Delete { tenant, id }),
        1 => Just(Step::Expire),
        1 => (1..40_u64).prop_map(Step::Wait),
    ]
}

fn turn(id: u8, parent: Option<u8>, items: u8) -> NewTurn {
    let response = format!(r#"{{"id":"r{id}"}}"#);
    let input: Vec<String> = (0..items).map(|n| format!(r#"{{"n":"{id}.{n}"}}"#)).collect();
    let parent = parent.map(|parent| format!("r{parent}"));
    let input = format!("[{}]", input.join(","));
    NewTurn::read(response.as_bytes(), input.as_bytes(), None, parent.as_deref()).expect("a turn")
}

fn texts(items: &Items) -> Vec<String> {
    items.iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn equals_the_naive_store(
        steps in vec(step(), 1..60),
        max_turns in 2..10_u64,
        max_tenant_turns in 2..8_u64,
        ttl in 20..60_u64,
    ) {
        let bounds = Bounds { max_turns, max_tenant_turns, ttl, ..Bounds::default() };
        let (mut store, mut naive) = (Conversations::new(bounds), Naive::default());
        let mut now = 0;
        for step in steps {
            match step {
                Step::Append { tenant, id, parent, items } => {
                    let tenant = TENANTS[tenant];
                    let new = turn(id, parent, items);
                    naive.rows.retain(|row| row.used_at + ttl > now);
                    let own: Vec<String> = texts(&new.input);
                    let name = format!("r{id}");
                    let expected = if let Some(row) = naive.find(tenant, &name, ttl, now) {
                        let same = row.history.ends_with(&own);
                        // Ids are random, so the same id mostly comes with another parent or other items.
                        if same { None } else { Some(Err(Error::TurnConflict)) }
                    } else {
                        let before = match parent {
                            None => Some(Vec::new()),
                            Some(parent) => naive
                                .find(tenant, &format!("r{parent}"), ttl, now)
                                .map(|row| row.history.clone()),
                        };
                        Some(before.map_or(Err(Error::PreviousResponse), |mut history| {
                            history.extend(own);
                            naive.rows.push(Row { tenant, id: name, history, used_at: now });
                            naive.evict(tenant, &bounds);
                            Ok(true)
                        }))
                    };
                    let appended = store.append(tenant, new, None, now);
                    match expected {
                        Some(expected) => prop_assert_eq!(appended, expected),
                        None => prop_assert!(matches!(appended, Ok(false) | Err(Error::TurnConflict))),
                    }
                }
                Step::History { tenant, id } => {
                    let (tenant, name) = (TENANTS[tenant], format!("r{id}"));
                    let expected = naive.find(tenant, &name, ttl, now).map(|row| row.history.clone());
                    let found = store.history(tenant, &name, now);
                    prop_assert_eq!(found.ok().map(|items| texts(&items)), expected);
                }
                Step::Delete { tenant, id } => {
                    let (tenant, name) = (TENANTS[tenant], format!("r{id}"));
                    let expected = naive.find(tenant, &name, ttl, now).is_some();
                    naive.rows.retain(|row| row.tenant != tenant || row.id != name);
                    prop_assert_eq!(store.delete(tenant, &name, now), expected);
                }
                Step::Expire => {
                    let before = naive.rows.len();
                    naive.rows.retain(|row| row.used_at + ttl > now);
                    prop_assert_eq!(store.expire(now), (before - naive.rows.len()) as u64);
                }
                Step::Wait(time) => now += time,
            }
            prop_assert_eq!(store.turns(), naive.rows.len() as u64);
        }
        // Whatever happened, nothing is left when all turns are gone.
        store.expire(now + ttl);
        prop_assert_eq!((store.turns(), store.bytes()), (0, 0));
    }

    #[test]
    fn trimming_keeps_a_suffix_within_bounds(kinds in vec(0..5_u8, 0..40), max_items in 0..20_u64) {
        let items: Vec<String> = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| match kind {
                0 => format!(r#"{{"role":"system","at":{at}}}"#),
                1 => format!(r#"{{"type":"function_call","call_id":"{}","at":{at}}}"#, at % 3),
                2 => format!(r#"{{"type":"function_call_output","call_id":"{}","at":{at}}}"#, at % 3),
                3 => format!(r#"{{"type":"reasoning","at":{at}}}"#),
                _ => format!(r#"{{"role":"user","at":{at}}}"#),
            })
            .collect();
        let array = format!("[{}]", items.join(","));
        let whole = Items::read([array.as_bytes()]).expect("items");
        let kept = texts(&whole.trim(max_items, u64::MAX, 0));
        let instructions = items.iter().filter(|item| item.contains("system")).count();
        prop_assert!(kept.len() <= instructions.max(max_items as usize));
        let first = kept.iter().find(|item| !item.contains("system"));
        let start = first.map_or(items.len(), |first| items.iter().position(|item| item == first).expect("kept"));
        let expected: Vec<&String> = items
            .iter()
            .enumerate()
            .filter(|(at, item)| *at >= start || item.contains("system"))
            .map(|(_, item)| item)
            .collect();
        prop_assert_eq!(kept.iter().collect::<Vec<_>>(), expected);
        for (at, kind) in kinds.iter().enumerate().skip(start).filter(|(_, kind)| **kind == 2) {
            let call = (0..at).rev().find(|other| kinds[*other] == 1 && other % 3 == at % 3);
            prop_assert!(call.is_none_or(|call| call >= start), "an output without its call, {kind}");
        }
    }
}

#[test]
fn a_conversation_without_end_stays_within_its_bounds() {
    let bounds = Bounds { max_history_items: 10, ..Bounds::default() };
    let mut store = Conversations::new(bounds);
    let mut parent: Option<String> = None;
    let mut largest = 0;
    for number in 0..1_000 {
        let response = format!(r#"{{"id":"r{number}","output":[{{"role":"assistant","n":{number}}}]}}"#);
        let input = if number == 0 {
            r#"[{"role":"system"},{"role":"user"}]"#.to_owned()
        } else {
            format!(r#"[{{"role":"user","n":{number}}}]"#)
        };
        let turn = NewTurn::read(response.as_bytes(), input.as_bytes(), None, parent.as_deref());
        assert_eq!(store.append("t", turn.expect("a turn"), None, 0), Ok(true));
        let history = store.history("t", &format!("r{number}"), 0).expect("a history");
        largest = largest.max(history.len());
        assert_eq!(history.get(0), Some(&br#"{"role":"system"}"#[..]));
        assert!(
            history
                .get(history.len() - 2)
                .is_some_and(|item| input.as_bytes().ends_with(&[item, b"]"].concat()))
        );
        parent = Some(format!("r{number}"));
    }
    assert!((5..=10).contains(&largest), "{largest}");
    // All is freed with the names, however the chains were cut.
    assert_eq!(store.turns(), 1_000);
    for number in 0..1_000 {
        assert!(store.delete("t", &format!("r{number}"), 0));
    }
    assert_eq!((store.turns(), store.bytes()), (0, 0));
}

#[test]
fn turns_without_items_make_no_endless_chain() {
    let bounds = Bounds { max_history_items: 10, max_tenant_turns: 2, ..Bounds::default() };
    let mut store = Conversations::new(bounds);
    for number in 0..1_000_u32 {
        let response = format!(r#"{{"id":"r{number}"}}"#);
        let parent = number.checked_sub(1).map(|number| format!("r{number}"));
        let turn = NewTurn::read(response.as_bytes(), b"", None, parent.as_deref()).expect("a turn");
        let most = 12 * cost(&turn);
        assert_eq!(store.append("t", turn, None, 0), Ok(true));
        assert!(store.bytes() <= most, "{} of {most}", store.bytes());
    }
}

#[test]
fn a_very_long_chain_is_dropped() {
    let bounds = Bounds { max_history_items: u64::MAX, max_history_bytes: u64::MAX, ..Bounds::default() };
    let bounds = Bounds { max_turns: 2, max_bytes: u64::MAX, max_tenant_bytes: u64::MAX, ..bounds };
    let mut store = Conversations::new(bounds);
    let mut parent: Option<u32> = None;
    for number in 0..200_000 {
        let response = format!(r#"{{"id":"r{number}"}}"#);
        let previous = parent.map(|parent| format!("r{parent}"));
        let turn = NewTurn::read(response.as_bytes(), b"[{}]", None, previous.as_deref());
        assert_eq!(store.append("t", turn.expect("a turn"), None, 0), Ok(true));
        parent = Some(number);
    }
    let history = store.history("t", "r199999", 0).expect("the last");
    assert_eq!((store.turns(), history.len()), (2, 200_000));
    drop(store);
    drop(history);
}

#[test]
fn bytes_are_bounded_and_what_is_too_large_alone_is_refused() {
    let bounds = Bounds { max_tenant_bytes: 4_000, ..Bounds::default() };
    let mut store = Conversations::new(bounds);
    let text = |id: &str, bytes: usize| {
        let input = format!(r#"[{{"text":"{}"}}]"#, "x".repeat(bytes));
        NewTurn::read(format!(r#"{{"id":"{id}"}}"#).as_bytes(), input.as_bytes(), None, None).expect("a turn")
    };
    let refused = store.append("t", text("big", 4_000), None, 0);
    assert!(
        matches!(refused, Err(Error::Bound { maximum: 4_000, value, .. }) if value == cost(&text("big", 4_000)))
    );
    for number in 0..20 {
        let id = format!("r{number}");
        assert_eq!(store.append("t", text(&id, 500), None, 0), Ok(true));
        assert!(store.bytes() <= 4_000);
    }
    assert_eq!(store.turns(), 4_000 / cost(&text("r19", 500)));
    assert_eq!(store.append("other", text("r0", 500), None, 0), Ok(true));
    assert!(store.bytes() > 4_000);
}

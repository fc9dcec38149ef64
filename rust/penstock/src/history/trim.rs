//! Where a history may be cut.
//!
//! APIs refuse an output whose call is missing, a call whose reasoning is missing, and forget their instructions
//! with the messages that hold them. So the cut moves to the next place where it parts nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::event::members;
use crate::json::RawStr;

/// What a cut has to know of an item.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    /// A system or developer message; stays.
    Instruction,
    /// What the model thought; what it said or called next in the same run hangs on it.
    Reasoning,
    /// Anything else that the model produced, with the id of the call if it is one.
    Produced(Option<Cow<'a, [u8]>>),
    /// The output of the call with this id.
    OutputOf(Cow<'a, [u8]>),
    /// A `tool` message of the chat format: belongs to the message before it that called.
    ToolMessage,
    /// What a user or an application said.
    Said,
}

/// The items that stay: the last ones, as many as the bounds allow without parting what belongs together but at
/// least `keep`, and the instructions among the others.
pub(super) fn kept<'a>(items: &[&'a [u8]], max_items: u64, max_bytes: u64, keep: usize) -> Vec<&'a [u8]> {
    let parts: Vec<Part<'_>> = items.iter().map(|item| part(item)).collect();
    let start = cut(items, &parts, max_items, max_bytes, keep);
    let stays = |at: usize, part: &Part<'_>| at >= start || *part == Part::Instruction;
    let parted = items.iter().zip(&parts).enumerate();
    parted.filter(|(at, (_, part))| stays(*at, part)).map(|(_, (item, _))| *item).collect()
}

/// The first item that is not cut off.
fn cut(items: &[&[u8]], parts: &[Part<'_>], max_items: u64, max_bytes: u64, keep: usize) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for (item, _) in items.iter().zip(parts).filter(|(_, part)| **part == Part::Instruction) {
        count += 1;
        bytes += item.len() as u64;
    }
    let needs = needs(parts);
    let mut needed = items.len();
    let mut best = (keep == 0).then_some(items.len());
    for (at, ((item, part), needs)) in items.iter().zip(parts).zip(&needs).enumerate().rev() {
        if *part != Part::Instruction {
            count += 1;
            bytes += item.len() as u64;
        }
        needed = needed.min(*needs);
        let within = count <= max_items && bytes <= max_bytes;
        if !within && best.is_some() {
            break;
        }
        if needed >= at && items.len() - at >= keep {
            best = Some(at);
        }
    }
    best.unwrap_or(0)
}

/// For each item the first one that has to stay with it.
fn needs(parts: &[Part<'_>]) -> Vec<usize> {
    let mut calls: BTreeMap<&[u8], usize> = BTreeMap::new();
    let (mut run, mut produced) = (None, None);
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            match part {
                Part::Reasoning => {
                    run = run.or(Some(at));
                    return run.unwrap_or(at);
                }
                Part::Produced(call) => {
                    if let Some(id) = call {
                        calls.insert(id, at);
                    }
                    produced = Some(at);
                    return run.unwrap_or(at);
                }
                _ => run = None,
            }
            match part {
                Part::OutputOf(id) => calls.get(&**id).copied().unwrap_or(at),
                Part::ToolMessage => produced.unwrap_or(at),
                _ => at,
            }
        })
        .collect()
}

fn part(item: &[u8]) -> Part<'_> {
    let mut kind: Cow<'_, [u8]> = Cow::default();
    let mut role: Cow<'_, [u8]> = Cow::default();
    let (mut id, mut call_id, mut approval) = (None, None, None);
    let read = members(item, |key, _, span| {
        let value = || {
            let text = span.of(item);
            let inside = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
            inside.map(|inside| RawStr::checked(inside).decoded())
        };
        match &*RawStr::checked(key).decoded() {
            b"type" => kind = value().unwrap_or_default(),
            b"role" => role = value().unwrap_or_default(),
            b"id" => id = value(),
            b"call_id" => call_id = value(),
            b"approval_request_id" => approval = value(),
            _ => {}
        }
    });
    if read.is_err() {
        return Part::Said;
    }
    match (&*kind, &*role) {
        (b"message" | b"", b"system" | b"developer") => Part::Instruction,
        (b"message" | b"", b"assistant") => Part::Produced(None),
        (b"message" | b"", b"tool") => Part::ToolMessage,
        (b"message" | b"" | b"item_reference", _) => Part::Said,
        (b"reasoning", _) => Part::Reasoning,
        (b"mcp_approval_response", _) => approval.map_or(Part::Said, Part::OutputOf),
        (b"mcp_approval_request", _) => Part::Produced(id),
        // The output of a local shell call names the call by its own `id`.
        (kind, _) if kind.ends_with(b"_output") => call_id.or(id).map_or(Part::Said, Part::OutputOf),
        _ => Part::Produced(call_id.or(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::kept;

    fn item(word: &str) -> String {
        let (kind, id) = word.split_at(1);
        match kind {
            "u" => format!(r#"{{"role":"user","content":"{id}"}}"#),
            "s" => format!(r#"{{"type":"message","role":"system","content":"{id}"}}"#),
            "d" => format!(r#"{{"role":"devel\u006fper","content":"{id}"}}"#),
            "a" => format!(r#"{{"type":"message","role":"assistant","content":"{id}"}}"#),
            "t" => format!(r#"{{"role":"tool","content":"{id}"}}"#),
            "r" => format!(r#"{{"type":"reasoning","id":"{id}"}}"#),
            "c" => format!(r#"{{"type":"function_call","id":"fc","call_id":"{id}"}}"#),
            "o" => format!(r#"{{"type":"function_call_output","call_id":"{id}"}}"#),
            "l" => format!(r#"{{"type":"local_shell_call","id":"{id}"}}"#),
            "m" => format!(r#"{{"type":"local_shell_call_output","id":"{id}"}}"#),
            "q" => format!(r#"{{"type":"mcp_approval_request","id":"{id}"}}"#),
            "p" => format!(r#"{{"type":"mcp_approval_response","approval_request_id":"{id}"}}"#),
            _ => panic!("{word}"),
        }
    }

    fn trimmed(history: &str, max_items: u64, keep: usize) -> String {
        let words: Vec<&str> = history.split_whitespace().collect();
        let texts: Vec<String> = words.iter().map(|word| item(word)).collect();
        let items: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        let left: Vec<&[u8]> = kept(&items, max_items, u64::MAX, keep);
        let mut at = 0;
        let mut shown = Vec::new();
        for text in left {
            while items[at] != text {
                at += 1;
            }
            shown.push(words[at]);
            at += 1;
        }
        shown.join(" ")
    }

    #[test]
    fn nothing_is_parted() {
        for (history, max_items, keep, expected) in [
            ("u1 a1 u2 a2", 4, 0, "u1 a1 u2 a2"),
            ("u1 a1 u2 a2", 3, 0, "a1 u2 a2"),
            ("u1 a1 u2 a2", 0, 0, ""),
            ("s u1 a1 u2 a2", 3, 0, "s u2 a2"),
            ("u1 d a1 u2", 2, 0, "d u2"),
            ("s d u1", 1, 0, "s d"),
            ("u1 c1 o1 a1", 3, 0, "c1 o1 a1"),
            ("u1 c1 o1 a1", 2, 0, "a1"),
            ("u1 c1 o1", 1, 0, ""),
            ("c1 c2 o1 o2 a1", 4, 0, "a1"),
            ("c1 c2 o1 o2 a1", 5, 0, "c1 c2 o1 o2 a1"),
            ("c1 o1 c1 o1 a1", 3, 0, "c1 o1 a1"),
            ("o9 a1", 2, 0, "o9 a1"),
            ("u0 o9 a1", 2, 0, "o9 a1"),
            ("r1 c1 o1 a1", 3, 0, "a1"),
            ("r1 r2 a1 u1", 3, 0, "u1"),
            ("u0 r1 r2 a1 u1", 4, 0, "r1 r2 a1 u1"),
            ("r1 c1 s c2 o1 o2", 5, 0, "s"),
            ("l1 m1 u1", 2, 0, "u1"),
            ("q1 p1 u1", 2, 0, "u1"),
            ("u1 a1 t1 t2 u2", 3, 0, "u2"),
            ("u1 a1 t1 t2 u2", 4, 0, "a1 t1 t2 u2"),
            ("u1 c1 u2 o1", 1, 1, "c1 u2 o1"),
            ("u1 a1 u2 a2", 1, 3, "a1 u2 a2"),
            ("u1 a1 u2 a2", 3, 1, "a1 u2 a2"),
        ] {
            assert_eq!(trimmed(history, max_items, keep), expected, "{history} {max_items} {keep}");
        }
    }

    #[test]
    fn bytes_bound_too_and_other_texts_are_just_items() {
        let items: Vec<&[u8]> = vec![b"[]", b"{\"type\":1}", b"{}"];
        assert_eq!(kept(&items, 9, 2, 0).len(), 1);
        assert_eq!(kept(&items, 9, 1, 0).len(), 0);
        assert_eq!(kept(&items, 9, 14, 0).len(), 3);
    }
}

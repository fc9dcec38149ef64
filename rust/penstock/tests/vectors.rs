//! The core against `tests/vectors`, which the Python tests read too; their README describes the fields.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use penstock::event::Fields;
use penstock::json::{Cursor, push_lossy};
use penstock::{
    Decoder, DecoderOptions, EndOfInput, Error, Field, Frame, Framing, Limit, Malformed, TextReason,
};
use serde_json::Value;

/// What a decoder said about a whole stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    retry: Option<u64>,
    last_event_id: String,
    comments: u64,
    done: bool,
    non_sse_body: Option<String>,
}

/// One event; the type is left open where the vector does so.
#[derive(Debug, PartialEq)]
struct Event {
    data: String,
    name: Option<String>,
    id: String,
    kind: Option<String>,
    flushed: bool,
}

#[test]
fn event_streams_however_they_are_cut() {
    every_cut("sse", Framing::Sse);
}

#[test]
fn ndjson_however_it_is_cut() {
    every_cut("ndjson", Framing::Ndjson);
}

#[test]
fn invalid_utf8_is_refused_on_request() {
    for row in rows("sse").iter().filter(|row| row["invalid"] == true) {
        let options = DecoderOptions { malformed: Malformed::Refuse, ..options(row, Framing::Sse) };
        let stream = input(row);
        let mut errors = cuts(&stream).map(|chunks| decode(options.clone(), &chunks, row).unwrap_err());
        let first = errors.next().unwrap();
        assert!(matches!(first, Error::Text { reason: TextReason::InvalidUtf8, .. }), "{row}");
        assert!(errors.all(|error| error == first), "{row}");
    }
}

#[test]
fn limits_at_their_value_and_above() {
    let mut failures = Vec::new();
    for row in rows("limits") {
        let framing = if row["framing"] == "ndjson" { Framing::Ndjson } else { Framing::Sse };
        let limit = *Limit::ALL.iter().find(|limit| row["limit"] == limit.name()).unwrap();
        let maximum = row["maximum"].as_u64().unwrap();
        let mut limited = options(&row, framing);
        limited.limits.set(limit, maximum);
        let within = row["within"].as_str().unwrap().as_bytes();
        let unlimited = decode(options(&row, framing), &[within], &row);
        if cuts(within).any(|chunks| decode(limited.clone(), &chunks, &row) != unlimited) {
            failures.push(format!("{} within", row["name"]));
        }
        let offset = row["offset"].as_u64().unwrap();
        let error = Error::Limit { limit, maximum, value: maximum + 1, offset };
        let above = row["above"].as_str().unwrap().as_bytes();
        if cuts(above).any(|chunks| decode(limited.clone(), &chunks, &row).as_ref() != Err(&error)) {
            failures.push(format!("{} above", row["name"]));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn json_texts() {
    for row in rows("json") {
        let name = row["name"].as_str().unwrap();
        let text = input(&row);
        let accepted = row["accept"].as_bool().unwrap_or(name.starts_with("y_"));
        match (row["limit"].as_str(), check(&text)) {
            // A number is text until somebody asks for its value.
            (Some("max_number_digits"), checked) => assert_eq!(checked, Ok(()), "{name}"),
            (
                Some("max_depth"),
                Err(Error::Limit { limit: Limit::Depth, maximum: 128, value: 129, offset }),
            ) => {
                let depth = text[..offset as usize].iter().filter(|byte| b"[{".contains(byte)).count();
                assert_eq!(depth, 128, "{name}");
            }
            (limit, checked) => {
                assert_eq!(limit, None, "{name}: {checked:?}");
                assert_eq!(checked.is_ok(), accepted, "{name}: {checked:?}");
            }
        }
        if row["prefixes"] == "refused" {
            for end in 0..text.len() {
                assert!(check(&text[..end]).is_err(), "{name} cut at {end}");
            }
        }
    }
}

#[test]
fn members_are_found_in_whole_objects_only_wherever_they_stand() {
    for row in rows("json") {
        let text = input(&row);
        same_decision(&text);
        if row["prefixes"] == "refused" {
            every_byte_replaced(&text, same_decision);
            for padding in (1..64).step_by(9) {
                let wrapped = [b"{\"delta\":[", " ".repeat(padding).as_bytes(), &text, b"]}"].concat();
                every_byte_replaced(&wrapped, same_decision);
            }
        }
        if text.len() > 1_000 {
            continue;
        }
        // Scanners read in blocks: each text passes over a block's edge at each of its bytes.
        for padding in 0..=64 {
            let padding = " ".repeat(padding);
            let wrapped =
                [b"{\"delta\":".as_slice(), padding.as_bytes(), &text, b",\"type\":\"x\"}"].concat();
            same_decision(&wrapped);
            if let Ok(fields) = Fields::scan(&wrapped) {
                assert_eq!(fields.value(&wrapped, Field::Type), Some(b"\"x\"".as_slice()), "{row}");
                assert_eq!(fields.value(&wrapped, Field::Delta), Some(text.trim_ascii()), "{row}");
            }
        }
    }
}

/// Holds the scan for members to the cursor, which reads byte by byte.
fn same_decision(text: &[u8]) {
    let object = text.trim_ascii_start().first() == Some(&b'{');
    assert_eq!(Fields::scan(text).is_ok(), object && check(text).is_ok(), "{}", text.escape_ascii());
}

fn every_byte_replaced(text: &[u8], hold: impl Fn(&[u8])) {
    for at in 0..text.len() {
        for &byte in b"\"\\{}[],:0-.eut \n\0\x1f\xff" {
            let mut mutated = text.to_vec();
            mutated[at] = byte;
            hold(&mutated);
            mutated.truncate(at + 1);
            hold(&mutated);
            mutated.splice(at.., text[at..].iter().copied());
            mutated.insert(at, byte);
            hold(&mutated);
            mutated.drain(at..=at + 1);
            hold(&mutated);
        }
    }
}

fn check(text: &[u8]) -> Result<(), Error> {
    let mut cursor = Cursor::new(text);
    cursor.skip_value(0, 128)?;
    cursor.end()
}

fn every_cut(folder: &str, framing: Framing) {
    let mut failures = Vec::new();
    for row in rows(folder) {
        let expected = Ok(expected(&row));
        let stream = input(&row);
        let wrong = cuts(&stream).find(|chunks| decode(options(&row, framing), chunks, &row) != expected);
        failures.extend(wrong.map(|chunks| {
            let chunks = chunks.iter().map(|chunk| chunk.escape_ascii().to_string()).collect::<Vec<_>>();
            format!("{} as {chunks:?}", row["name"])
        }));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Whole, byte by byte, and at every two-way split.
fn cuts(stream: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let two = (0..=stream.len()).map(|at| vec![&stream[..at], &stream[at..]]);
    [vec![stream], stream.chunks(1).collect()].into_iter().chain(two)
}

fn decode(options: DecoderOptions, chunks: &[&[u8]], row: &Value) -> Result<Outcome, Error> {
    let mut decoder = Decoder::new(options);
    let mut events = Vec::new();
    let mut sink = |chunk: &[u8], frame: Frame<'_>| {
        let open =
            row["events"].get(events.len()).is_some_and(|event| event.get("type") == Some(&Value::Null));
        events.push(event(chunk, &frame, open));
    };
    for chunk in chunks {
        decoder.feed(chunk, &mut sink)?;
    }
    decoder.finish(&mut sink)?;
    Ok(Outcome {
        events,
        retry: decoder.retry(),
        last_event_id: lossy(decoder.last_event_id()),
        comments: decoder.counts().comments,
        done: decoder.is_done(),
        non_sse_body: decoder.non_stream_body().map(lossy),
    })
}

fn event(chunk: &[u8], frame: &Frame<'_>, open: bool) -> Event {
    let data = frame.data.bytes(chunk);
    let name = frame.name.as_ref().map(|name| lossy(name.bytes(chunk)));
    let own = Fields::scan(data).ok().and_then(|fields| {
        let mut text = Vec::new();
        push_lossy(fields.text(data, Field::Type)?, &mut text);
        Some(lossy(&text))
    });
    let kind = (!open).then(|| own.or(name.clone()).unwrap_or("message".into()));
    Event { data: lossy(data), name, id: lossy(frame.id), kind, flushed: frame.flushed }
}

fn expected(row: &Value) -> Outcome {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let events = row["events"].as_array().unwrap().iter().map(|event| {
        let name = text(&event["name"]);
        Event {
            data: text(&event["data"]).unwrap(),
            kind: match event.get("type") {
                Some(kind) => text(kind),
                None => Some(name.clone().unwrap_or("message".into())),
            },
            name,
            id: text(&event["id"]).unwrap_or_default(),
            flushed: event["flushed"] == true,
        }
    });
    Outcome {
        events: events.collect(),
        retry: row["retry"].as_u64(),
        last_event_id: text(&row["last_event_id"]).unwrap_or_default(),
        comments: row["comments"].as_u64().unwrap_or(0),
        done: row["done"] == true,
        non_sse_body: text(&row["non_sse_body"]),
    }
}

fn options(row: &Value, framing: Framing) -> DecoderOptions {
    let options = &row["options"];
    let mut read =
        DecoderOptions { framing, skip_empty: options["skip_empty"] == true, ..Default::default() };
    if options["eof"] == "flush" {
        read.end_of_input = EndOfInput::Flush;
    }
    if let Some(sentinel) = options.get("sentinel") {
        read.sentinel = sentinel.as_str().map(|text| text.as_bytes().into());
    }
    read
}

fn input(row: &Value) -> Vec<u8> {
    if let Some(bytes) = row["bytes"].as_str() {
        return bytes.chars().map(|byte| u8::try_from(u32::from(byte)).unwrap()).collect();
    }
    if let Some(text) = row["text"].as_str() {
        return text.into();
    }
    let parts = row["parts"].as_array().unwrap().iter();
    parts
        .flat_map(|part| part[0].as_str().unwrap().repeat(part[1].as_u64().unwrap() as usize).into_bytes())
        .collect()
}

fn rows(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(folder);
    let mut rows = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        rows.extend(text.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()));
    }
    assert!(rows.len() > 20);
    rows
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

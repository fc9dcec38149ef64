//! Feeds one stream in any cut and reports all that must not depend on the cut.

use penstock::{Decoder, DecoderOptions, Error, Frame, Miss, Scanner, Sink};

use super::naive;

/// One frame, its bytes copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub data: Vec<u8>,
    pub name: Option<Vec<u8>>,
    pub id: Vec<u8>,
    pub flushed: bool,
}

/// What a decoder said about a whole stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub events: Vec<Event>,
    pub retry: Option<u64>,
    pub last_event_id: Vec<u8>,
    pub comments: u64,
    pub done: bool,
    /// Of streams that did not fail: how much of a body is kept at an error is nobody's promise.
    pub body: Option<Vec<u8>>,
    pub error: Option<Error>,
}

impl Outcome {
    /// The same as the naive decoder says it.
    pub fn as_text(&self) -> naive::Stream {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let event = |event: &Event| naive::Event {
            name: lossy(event.name.as_deref().unwrap_or_default()),
            data: lossy(&event.data),
            id: lossy(&event.id),
        };
        naive::Stream {
            events: self.events.iter().map(event).collect(),
            retry: self.retry,
            last_event_id: lossy(&self.last_event_id),
            comments: self.comments,
        }
    }
}

/// Keeps what a decoder hands it; with a scanner, it takes the events that the scanner recognises as well.
#[derive(Default)]
struct Collect {
    scanner: Option<Scanner>,
    events: Vec<Event>,
    id: Vec<u8>,
}

impl Sink for Collect {
    fn frame(&mut self, chunk: &[u8], frame: Frame<'_>) {
        let data = frame.data.bytes(chunk);
        let name = frame.name.as_ref().map(|name| name.bytes(chunk));
        if let Some(scanner) = &mut self.scanner {
            scanner.set_name(name.unwrap_or_default());
            scanner.head(data);
        }
        self.id = frame.id.to_vec();
        let (data, name) = (data.to_vec(), name.map(<[u8]>::to_vec));
        self.events.push(Event { data, name, id: self.id.clone(), flushed: frame.flushed });
    }

    fn known(&mut self, text: &[u8], at: usize, _: bool) -> Result<usize, Miss> {
        let (known, _) = self.scanner.as_mut().ok_or(Miss::Different)?.known_head(text, at)?;
        let name = known.name.moved(at).of(text);
        self.events.push(Event {
            data: known.data.moved(at).of(text).to_vec(),
            name: (!name.is_empty()).then(|| name.to_vec()),
            id: self.id.clone(),
            flushed: false,
        });
        Ok(at + known.length)
    }
}

/// Decodes a stream that arrives in these chunks.
pub fn decode<'a>(options: &DecoderOptions, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    decode_into(Collect::default(), options, chunks)
}

/// The same with a sink that recognises events by the shape of those before them.
pub fn recognise<'a>(options: &DecoderOptions, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    decode_into(Collect { scanner: Some(Scanner::default()), ..Collect::default() }, options, chunks)
}

fn decode_into<'a>(
    mut sink: Collect,
    options: &DecoderOptions,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut decoder = Decoder::new(options.clone());
    let fed = chunks.into_iter().try_for_each(|chunk| decoder.feed(chunk, &mut sink));
    let error = fed.and_then(|()| decoder.finish(&mut sink)).err();
    Outcome {
        events: sink.events,
        retry: decoder.retry(),
        last_event_id: decoder.last_event_id().to_vec(),
        comments: decoder.counts().comments,
        done: decoder.is_done(),
        body: if error.is_some() { None } else { decoder.non_stream_body().map(<[u8]>::to_vec) },
        error,
    }
}

/// Cuts `stream` into pieces of these lengths, over and over; zeros make empty pieces.
pub fn pieces<'a>(stream: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    let lengths = if lengths.iter().any(|&length| length > 0) { lengths } else { &[u8::MAX] };
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(usize::from(length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

//! The event-stream decoder of the HTML standard, 9.2.5 and 9.2.6, one rule a line. It shares nothing with the core.

/// One event as the standard dispatches it; an empty name means `message`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
    pub id: String,
}

/// What a whole stream says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stream {
    pub events: Vec<Event>,
    pub retry: Option<u64>,
    pub last_event_id: String,
    pub comments: u64,
}

/// Decodes a whole stream; what is pending at its end is dropped.
pub fn decode(stream: &[u8]) -> Stream {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut said, mut event) = (Stream::default(), Event::default());
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop(); // what follows the last line end is no line
    for line in lines {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let id = std::mem::take(&mut event.id);
                said.last_event_id.clone_from(&id);
                let full = Event { id: id.clone(), ..std::mem::take(&mut event) };
                event.id = id;
                if let Some(data) = full.data.strip_suffix('\n') {
                    said.events.push(Event { data: data.to_owned(), ..full });
                }
            }
            "" => said.comments += 1,
            "event" => value.clone_into(&mut event.name),
            "data" => event.data.extend([value, "\n"]),
            "id" if !value.contains('\0') => value.clone_into(&mut event.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                said.retry = Some(value.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }
    said
}

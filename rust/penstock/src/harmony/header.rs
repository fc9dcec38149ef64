//! Headers of messages: `assistant to=functions.f<|channel|>commentary <|constrain|>json`.
//!
//! A recipient may stand in the role's part or in the channel's. Models leave things out and put words where none
//! belong, so nothing here fails: what cannot be understood is told to the caller, who decides.

/// Which part of a header is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Role,
    Channel,
    Constrain,
}

/// A header as far as it came.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Whether `<|start|>` came; without it, a prompt that ends in `<|start|>assistant` said who speaks.
    started: bool,
    part: Part,
    role: Vec<u8>,
    channel: Vec<u8>,
    constrain: Vec<u8>,
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Assistant,
    /// A tool, the user, the system.
    Other,
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) author: Author,
    pub(super) channel: Option<&'a [u8]>,
    pub(super) recipient: Option<&'a [u8]>,
    /// Words that are none of a header's.
    pub(super) has_stray_words: bool,
    /// What follows the channel, or, where there is none, the role: content, if the header turns out to be none.
    pub(super) rest: &'a [u8],
}

impl Header {
    /// A header after `<|start|>`.
    pub(super) fn started() -> Self {
        Self { started: true, ..Self::default() }
    }

    /// Whether nothing of it came, not even `<|start|>`.
    pub(super) const fn is_absent(&self) -> bool {
        !self.started && self.is_plain() && self.role.is_empty()
    }

    /// Whether no special token has made it a header.
    const fn is_plain(&self) -> bool {
        matches!(self.part, Part::Role)
    }

    /// `<|channel|>` came. Of several channels the last one counts; the others' words count as the role's.
    pub(super) fn begin_channel(&mut self) {
        self.part = Part::Channel;
        if !self.channel.is_empty() {
            self.role.push(b' ');
            self.role.append(&mut self.channel);
        }
    }

    /// `<|constrain|>` came.
    pub(super) const fn begin_constrain(&mut self) {
        self.part = Part::Constrain;
    }

    /// Adds text, of which a header that has not begun holds no white space in front.
    pub(super) fn push(&mut self, text: &[u8]) {
        let text = if self.is_absent() { text.trim_ascii_start() } else { text };
        match self.part {
            Part::Role => self.role.extend_from_slice(text),
            Part::Channel => self.channel.extend_from_slice(text),
            Part::Constrain => self.constrain.extend_from_slice(text),
        }
    }

    /// Takes what came out as text if it cannot become a header: neither `<|start|>` nor `<|channel|>` announced
    /// one, and the text does not begin as one.
    pub(super) fn take_if_text(&mut self) -> Option<Vec<u8>> {
        let may_begin_header = self.started || !self.is_plain() || may_begin_header(&self.role);
        (!may_begin_header).then(|| std::mem::take(&mut self.role))
    }

    /// What it says.
    pub(super) fn read(&self) -> Said<'_> {
        let mut reading = Reading::default();
        let mut author = Author::Assistant;
        let mut rest = &*self.role;
        let (first, after) = first_word(&self.role);
        if first == b"assistant" || (self.started && !first.is_empty() && !first.starts_with(b"to=")) {
            rest = after;
            reading.words(after, Place::Role);
            // A tool speaks to the assistant; no other author names who is spoken to.
            let is_other = matches!(first, b"system" | b"developer" | b"user" | b"tool") || is_tool(first);
            if is_other || (first != b"assistant" && reading.recipient == Some(b"assistant")) {
                author = Author::Other;
            } else if first != b"assistant" && !first.starts_with(b"assistant:") {
                reading.has_stray_words = true;
            }
        } else {
            reading.words(&self.role, Place::Role);
        }
        if self.part != Part::Role {
            let (channel, after) = first_word(&self.channel);
            if channel.starts_with(b"to=") {
                reading.words(&self.channel, Place::Channel);
                rest = &self.channel;
            } else {
                reading.channel = Some(channel).filter(|channel| !channel.is_empty());
                reading.words(after, Place::Channel);
                rest = after;
            }
        }
        reading.words(&self.constrain, Place::Channel);
        let Reading { channel, recipient, has_stray_words, .. } = reading;
        let recipient = recipient.filter(|name| names_tool(name));
        Said { author, channel, recipient, has_stray_words, rest: rest.trim_ascii() }
    }
}

/// Where a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Role,
    /// Behind the channel, where the kind of content may stand as well.
    Channel,
}

#[derive(Default)]
struct Reading<'a> {
    channel: Option<&'a [u8]>,
    recipient: Option<&'a [u8]>,
    has_content_type: bool,
    has_stray_words: bool,
}

impl<'a> Reading<'a> {
    fn words(&mut self, text: &'a [u8], place: Place) {
        for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            if let Some(recipient) = word.strip_prefix(b"to=") {
                self.recipient = Some(recipient);
            } else if self.recipient.is_none() && is_tool(word) {
                self.recipient = Some(word);
            } else if place == Place::Channel && !self.has_content_type {
                self.has_content_type = true;
            } else {
                self.has_stray_words = true;
            }
        }
    }
}

/// Whether a recipient is a tool: neither the model itself, nor everybody.
pub(super) fn names_tool(recipient: &[u8]) -> bool {
    !matches!(recipient, b"" | b"assistant" | b"all" | b"user")
}

/// Whether a word names a tool of the format.
fn is_tool(word: &[u8]) -> bool {
    word == b"python" || word.starts_with(b"functions.") || word.starts_with(b"browser.")
}

/// The first word of a text, and what follows it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    text.split_at(end)
}

/// Whether a text without a special token before it may be the beginning of a header: of its role, or of a
/// recipient, behind the role or by itself.
fn may_begin_header(text: &[u8]) -> bool {
    const ROLE: &[u8] = b"assistant";
    const TO: &[u8] = b"to=";
    let begins = |word: &[u8], text: &[u8]| word.starts_with(text) || text.starts_with(word);
    match text.strip_prefix(ROLE) {
        // One space, so that no run of them is looked through again and again.
        Some(after) => after.is_empty() || after.strip_prefix(b" ").is_some_and(|next| begins(TO, next)),
        None => ROLE.starts_with(text) || begins(TO, text),
    }
}

#[cfg(test)]
mod tests {
    use super::{Author, Header, Said};

    /// A header of its spelling, special tokens as `|`: channel, then constrain; `!` for `<|start|>`.
    fn header(spelled: &str) -> Header {
        let mut header = if spelled.starts_with('!') { Header::started() } else { Header::default() };
        for (place, part) in spelled.trim_start_matches('!').split('|').enumerate() {
            match place {
                0 => {}
                1 => header.begin_channel(),
                _ => header.begin_constrain(),
            }
            header.push(part.as_bytes());
        }
        header
    }

    #[test]
    fn every_shape_of_header() {
        use Author::{Assistant, Other};
        for (spelled, author, channel, recipient, stray) in [
            ("|analysis", Assistant, "analysis", "", false),
            ("assistant|final", Assistant, "final", "", false),
            ("!assistant|final |json", Assistant, "final", "", false),
            ("!assistant|commentary to=functions.f |json", Assistant, "commentary", "functions.f", false),
            ("!assistant to=functions.f|commentary|json", Assistant, "commentary", "functions.f", false),
            (" to=functions.f|commentary json", Assistant, "commentary", "functions.f", false),
            ("|analysis to=browser.search code", Assistant, "analysis", "browser.search", false),
            ("|analysis python code", Assistant, "analysis", "python", false),
            ("|commentary functions.f", Assistant, "commentary", "functions.f", false),
            ("|to=python", Assistant, "", "python", false),
            ("!functions.f to=assistant|commentary", Other, "commentary", "", false),
            ("!user", Other, "", "", false),
            ("!tool|analysis", Other, "analysis", "", false),
            ("!weather to=assistant|commentary", Other, "commentary", "", false),
            ("!asistant|final", Assistant, "final", "", true),
            ("!assistant:planner|final", Assistant, "final", "", false),
            ("!|final", Assistant, "final", "", false),
            ("!", Assistant, "", "", false),
            ("|", Assistant, "", "", false),
            ("!assistant hello there|final more than one", Assistant, "final", "", true),
            ("|commentary to=all", Assistant, "commentary", "", false),
        ] {
            let header = header(spelled);
            let Said { author: who, channel: place, recipient: to, has_stray_words, .. } = header.read();
            assert_eq!(who, author, "{spelled}");
            assert_eq!(place.unwrap_or_default(), channel.as_bytes(), "{spelled}");
            assert_eq!(to.unwrap_or_default(), recipient.as_bytes(), "{spelled}");
            assert_eq!(has_stray_words, stray, "{spelled}");
        }
    }

    #[test]
    fn text_is_no_header() {
        for (text, is_text) in [
            ("", false),
            ("assist", false),
            ("assistant", false),
            ("assistant ", false),
            ("assistant t", false),
            ("assistant to=functions.f", false),
            ("t", false),
            ("to=functions.f", false),
            ("  to=", false),
            ("assistants", true),
            ("assistant is", true),
            ("today", true),
            ("Hello", true),
        ] {
            assert_eq!(header(text).take_if_text().is_some(), is_text, "{text}");
            assert!(header(&format!("!{text}")).take_if_text().is_none());
            assert!(header(&format!("{text}|")).take_if_text().is_none());
        }
    }

    #[test]
    fn what_remains_of_a_header_that_is_none() {
        for (spelled, rest) in [
            ("!assistant|final Hello there", "Hello there"),
            ("!assistant Hello", "Hello"),
            ("to=", "to="),
            ("assistant", ""),
            ("!", ""),
        ] {
            assert_eq!(header(spelled).read().rest, rest.as_bytes(), "{spelled}");
        }
    }
}

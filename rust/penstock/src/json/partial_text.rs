//! The characters of a string that arrives in pieces, and what of its end cannot be told yet.

/// Collects characters from WTF-8 bytes and UTF-16 units; a character split over two pieces joins.
#[derive(Debug, Default)]
pub(super) struct PartialText {
    characters: String,
    /// Bytes of a sequence that is not whole yet, and how many.
    tail: [u8; 3],
    tail_length: usize,
    /// A high surrogate whose other half may follow.
    high: Option<u16>,
}

impl PartialText {
    pub(super) fn clear(&mut self) {
        self.characters.clear();
        self.tail_length = 0;
        self.high = None;
    }

    /// The characters that are certain.
    pub(super) fn as_str(&self) -> &str {
        &self.characters
    }

    /// Adds bytes as they stand between escapes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.tail_length > 0 {
            let Some((&byte, behind)) = rest.split_first() else { return };
            let [first, second, third] = self.tail;
            let mut joined = [first, second, third, 0];
            if let Some(place) = joined.get_mut(self.tail_length) {
                *place = byte;
            }
            let length = self.tail_length + 1;
            self.tail_length = 0;
            self.decode(joined.get(..length).unwrap_or_default());
            rest = behind;
        }
        self.decode(rest);
    }

    /// Adds one UTF-16 unit, as an escape gives it.
    pub(super) fn unit(&mut self, unit: u16) {
        self.settle_tail();
        let high = self.high.take();
        if let (Some(high), 0xdc00..=0xdfff) = (high, unit) {
            self.characters.extend(char::decode_utf16([high, unit]).flatten());
            return;
        }
        self.high = high;
        self.settle_high();
        match char::from_u32(u32::from(unit)) {
            Some(character) => self.characters.push(character),
            None if unit < 0xdc00 => self.high = Some(unit),
            None => self.characters.push(char::REPLACEMENT_CHARACTER),
        }
    }

    /// Ends the string: what still waited for its other half becomes U+FFFD.
    pub(super) fn settle(&mut self) {
        self.settle_tail();
        self.settle_high();
    }

    fn settle_tail(&mut self) {
        let length = std::mem::take(&mut self.tail_length);
        if length > 0 {
            self.settle_high();
            let tail = self.tail.get(..length).unwrap_or_default();
            self.characters.push_str(&String::from_utf8_lossy(tail));
        }
    }

    fn settle_high(&mut self) {
        if self.high.take().is_some() {
            self.characters.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Adds bytes that no tail precedes; a sequence they end inside becomes the tail.
    fn decode(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(whole) => whole,
                Err(error) => {
                    let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                    std::str::from_utf8(valid).unwrap_or_default()
                }
            };
            if !valid.is_empty() {
                self.settle_high();
                self.characters.push_str(valid);
            }
            rest = self.decode_broken(rest.get(valid.len()..).unwrap_or_default());
        }
    }

    /// Takes the sequence at the start of `bytes` that is not UTF-8 and returns what follows it.
    fn decode_broken<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if let [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, rest @ ..] = bytes {
            self.unit(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f));
            return rest;
        }
        let broken = std::str::from_utf8(bytes).err().and_then(|error| error.error_len());
        match (bytes, broken) {
            ([], _) => &[],
            // A surrogate's three bytes are no UTF-8, but WTF-8.
            ([0xed, 0xa0..=0xbf], _) | (_, None) => {
                self.tail_length = bytes.len().min(self.tail.len());
                for (place, &byte) in self.tail.iter_mut().zip(bytes) {
                    *place = byte;
                }
                &[]
            }
            (_, Some(length)) => {
                self.settle_high();
                self.characters.push(char::REPLACEMENT_CHARACTER);
                bytes.get(length..).unwrap_or_default()
            }
        }
    }
}

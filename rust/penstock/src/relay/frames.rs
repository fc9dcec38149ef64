//! Where the frames of an event stream end, without reading what they say.

use memchr::memchr2;

/// Looks for the blank line that ends a frame. What it has looked at is not looked at again, so that a frame in
/// many pieces costs its length.
#[derive(Debug)]
pub(super) struct FrameEnds {
    /// Bytes of the current frame that have been looked at.
    seen: usize,
    /// They end where a line begins.
    at_line: bool,
    /// They end in CR; an LF that follows belongs to it.
    swallow_lf: bool,
}

impl Default for FrameEnds {
    fn default() -> Self {
        Self { seen: 0, at_line: true, swallow_lf: false }
    }
}

impl FrameEnds {
    /// Whether `bytes` begin with what is left of the frame before: the LF of the CR LF that has ended it.
    pub(super) fn take_lf(&mut self, bytes: &[u8]) -> bool {
        bytes.first() == Some(&b'\n') && std::mem::take(&mut self.swallow_lf)
    }

    /// The length of the frame that `bytes` begin with, blank line included; `None` while it is not whole. Each call
    /// gets the bytes of the last one and more, unless that found the end: then those behind it.
    #[inline]
    pub(super) fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let rest = bytes.get(self.seen..).unwrap_or_default();
            let first = *rest.first()?;
            if self.swallow_lf {
                self.swallow_lf = false;
                if first == b'\n' {
                    if self.seen == 0 {
                        // What is left of the frame before, which a CR has ended.
                        return Some(1);
                    }
                    self.seen += 1;
                    continue;
                }
            }
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.seen = bytes.len();
                self.at_line = false;
                return None;
            };
            let blank = self.at_line && length == 0;
            self.at_line = true;
            self.swallow_lf = rest.get(length) == Some(&b'\r');
            self.seen += length + 1;
            if blank {
                // The LF of a CR LF goes with its CR if it is there.
                if self.swallow_lf && bytes.get(self.seen) == Some(&b'\n') {
                    self.swallow_lf = false;
                    self.seen += 1;
                }
                return Some(std::mem::take(&mut self.seen));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FrameEnds;

    fn split(stream: &[u8], cuts: &[usize]) -> Vec<String> {
        let (mut ends, mut held, mut frames) = (FrameEnds::default(), Vec::new(), Vec::new());
        let mut from = 0;
        for &to in cuts.iter().chain([&stream.len()]) {
            held.extend_from_slice(&stream[from..to]);
            from = to;
            while let Some(length) = ends.next(&held) {
                frames.push(String::from_utf8(held.drain(..length).collect()).unwrap());
            }
        }
        frames
    }

    #[test]
    fn blank_lines_end_frames_however_lines_end() {
        for (stream, expected) in [
            ("data: a\n\ndata: b\n\n", vec!["data: a\n\n", "data: b\n\n"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["data: a\r\n\r\n", "data: b\r\n\r\n"]),
            ("data: a\r\rdata: b\r\r", vec!["data: a\r\r", "data: b\r\r"]),
            ("event: x\ndata: a\n\n: c\n\nda", vec!["event: x\ndata: a\n\n", ": c\n\n"]),
            ("data: a\n\r\ndata: b\r\n\n", vec!["data: a\n\r\n", "data: b\r\n\n"]),
            ("\ndata: a\n\n", vec!["\n", "data: a\n\n"]),
            ("data: a\r\n", vec![]),
        ] {
            assert_eq!(split(stream.as_bytes(), &[]), expected, "{stream:?}");
        }
    }

    #[test]
    fn any_split_gives_the_same_bytes_in_the_same_frames() {
        for stream in ["data: a\r\n\r\ndata: b\n\n:c\r\rdata: d\r\n\n", "data: a\n\n\n\ndata: b\r\r\n\n"] {
            let whole = split(stream.as_bytes(), &[]);
            let contents = |frames: &[String]| -> Vec<String> {
                frames.iter().map(|frame| frame.trim().to_owned()).filter(|frame| !frame.is_empty()).collect()
            };
            for cut in 0..stream.len() {
                let frames = split(stream.as_bytes(), &[cut]);
                assert_eq!(contents(&frames), contents(&whole), "{stream:?} at {cut}");
                assert_eq!(frames.concat().trim_end(), whole.concat().trim_end());
            }
            let bytewise: Vec<_> = (1..stream.len()).collect();
            assert_eq!(contents(&split(stream.as_bytes(), &bytewise)), contents(&whole));
        }
    }
}

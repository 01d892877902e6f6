//! The answer of a Git host without its long texts, while it is read. Pure.
//!
//! A list of pull requests holds what their authors wrote: on GitLab up to a megabyte of each, and anybody with a fork can
//! write it. towline reads none of that, so a list is never too long because of it.

/// The longest text that is kept, in bytes, and the longest one that begins as a comment of towline, where an escape counts
/// as one byte.
const SHORT: usize = 1024;
const LONGEST: usize = 62_000;

/// How a comment of towline begins. Some hosts escape the first letter.
const OURS: [&[u8]; 3] = [
    b"<!-- towline/",
    b"\\u003c!-- towline/",
    b"\\u003C!-- towline/",
];

/// Keeps JSON, with an empty text in the place of each long one.
#[derive(Debug, Default)]
pub struct Lean {
    keeps_comments: bool,
    kept: Vec<u8>,
    state: ScanState,
    /// Where the text that is being read begins in `kept`, and how long it is.
    began: usize,
    length: usize,
    is_left_out: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum ScanState {
    #[default]
    Outside,
    Text,
    /// After a backslash.
    Escape,
    /// Before so many digits of an escape.
    Digits(u8),
}

impl Lean {
    /// One that has read nothing. With `keeps_comments`, it keeps the long texts that begin as comments of towline.
    pub fn new(keeps_comments: bool) -> Self {
        Self {
            keeps_comments,
            ..Self::default()
        }
    }

    /// Reads the next piece of an answer.
    pub fn take(&mut self, piece: &[u8]) {
        for &byte in piece {
            self.state = match (self.state, byte) {
                (ScanState::Outside, b'"') => {
                    self.kept.push(byte);
                    (self.began, self.length, self.is_left_out) = (self.kept.len(), 0, false);
                    ScanState::Text
                }
                (ScanState::Outside, _) | (ScanState::Text, b'"') => {
                    self.kept.push(byte);
                    ScanState::Outside
                }
                (ScanState::Text, b'\\') => self.add(byte, 1, ScanState::Escape),
                (ScanState::Text, _) => self.add(byte, 1, ScanState::Text),
                (ScanState::Escape, b'u') => self.add(byte, 0, ScanState::Digits(4)),
                (ScanState::Escape, _) | (ScanState::Digits(..=1), _) => {
                    self.add(byte, 0, ScanState::Text)
                }
                (ScanState::Digits(left), _) => self.add(byte, 0, ScanState::Digits(left - 1)),
            };
        }
    }

    /// Adds a byte of a text.
    fn add(&mut self, byte: u8, length: usize, next: ScanState) -> ScanState {
        if self.is_left_out {
            return next;
        }
        self.kept.push(byte);
        self.length += length;
        if self.length > SHORT {
            let text = &self.kept[self.began..];
            let is_ours = self.keeps_comments && OURS.iter().any(|ours| text.starts_with(ours));
            if !is_ours || self.length > LONGEST {
                self.kept.truncate(self.began);
                self.is_left_out = true;
            }
        }
        next
    }

    /// How much is kept, in bytes.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What is kept, in at most so many bytes.
    pub fn finish(mut self, longest: usize) -> String {
        self.kept.truncate(longest);
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lean(text: &str, pieces: usize) -> String {
        let mut lean = Lean::new(true);
        for piece in text.as_bytes().chunks(pieces) {
            lean.take(piece);
        }
        lean.finish(usize::MAX)
    }

    #[test]
    fn long_texts_are_empty_and_all_else_stays() {
        let comment = format!(
            "<!-- towline/a --> \"{}\" \\ \n",
            "ä\u{1f600}\t".repeat(6_000)
        );
        let of = |long: &str| json!([{"number": 7, "body": long, "l\"\\": ["a\"b", "\\", ""]}, {"body": comment, "x": long}]);
        for long in [
            "x".repeat(SHORT + 1),
            "\"\\".repeat(SHORT),
            "\\".repeat(SHORT + 1),
            "\u{1}".repeat(5_000),
            format!(" {comment}"),
            comment.repeat(2),
        ] {
            for pieces in [1, 7, 100_000] {
                let read: Value =
                    serde_json::from_str(&lean(&of(&long).to_string(), pieces)).unwrap();
                assert_eq!(read, of(""), "{pieces}");
            }
        }
        let escaped = of("").to_string().replace('<', "\\u003c");
        assert_eq!(
            serde_json::from_str::<Value>(&lean(&escaped, 9)).unwrap(),
            of("")
        );
        let short = json!({"a": "\u{1}".repeat(SHORT)}).to_string();
        assert_eq!(lean(&short, 3), short);
        for odd in ["", "\"", "{\"a", "\"\\", "\"\\u00", "<html a=\"b"] {
            assert_eq!(lean(odd, 2), odd);
        }
        let mut lean = Lean::new(false);
        lean.take(of("").to_string().as_bytes());
        let read: Value = serde_json::from_str(&lean.finish(usize::MAX)).unwrap();
        assert_eq!(read[1]["body"], "");
        assert_eq!(Lean::new(true).finish(9), "");
    }
}

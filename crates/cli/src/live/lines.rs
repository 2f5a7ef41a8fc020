//! A log as lines.

use serde_json::{Value, json};
use tidegate_core::time::Timestamp;

use crate::terminal::{Marks, Piece};

/// A line that is longer comes in parts: a log of one endless line needs no more memory than this.
const LONGEST: usize = 64 * 1024;

/// A line of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    /// When it began, as the machine's clock said.
    pub(crate) at: Option<Timestamp>,
    /// The text without its line break; what is not UTF-8 is replaced.
    pub(crate) text: String,
    /// It goes on in the next one.
    pub(crate) partial: bool,
}

impl Line {
    /// The line as an event, in the shape of [`super::Event::Output`].
    pub(crate) fn event(&self, job: &str, attempt: u32) -> Value {
        let mut event = json!({
            "event": "output",
            "at": self.at.map(|at| at.to_string()),
            "job": job,
            "attempt": attempt,
            "text": self.text,
        });
        if self.partial {
            event["partial"] = true.into();
        }
        event
    }
}

/// Parts a log into lines. The log may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    marks: Marks,
    begun: Begun,
}

#[derive(Debug, Default)]
struct Begun {
    at: Option<u64>,
    bytes: Vec<u8>,
}

impl Begun {
    fn take(&mut self, bytes: &[u8], out: &mut impl FnMut(Line)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LONGEST - self.bytes.len();
            match rest.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.bytes.extend_from_slice(&rest[..end]);
                    rest = &rest[end + 1..];
                    self.end(false, out);
                }
                None if rest.len() >= room => {
                    self.bytes.extend_from_slice(&rest[..room]);
                    rest = &rest[room..];
                    self.end(true, out);
                }
                None => {
                    self.bytes.extend_from_slice(rest);
                    return;
                }
            }
        }
    }

    fn end(&mut self, partial: bool, out: &mut impl FnMut(Line)) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if partial {
            // A character that the cut went through goes to the next part.
            let whole = bytes.utf8_chunks().last().filter(|chunk| {
                let tail = chunk.invalid();
                !tail.is_empty()
                    && bytes.ends_with(tail)
                    && std::str::from_utf8(tail).is_err_and(|e| e.error_len().is_none())
            });
            if let Some(length) = whole.map(|chunk| chunk.invalid().len()) {
                self.bytes = bytes.split_off(bytes.len() - length);
            }
        } else if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        out(Line { at: self.at.map(Timestamp), text: String::from_utf8_lossy(&bytes).into_owned(), partial });
    }
}

impl Lines {
    /// Goes on with the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], mut out: impl FnMut(Line)) {
        let Self { marks, begun } = self;
        marks.push(bytes, |piece| match piece {
            Piece::Time(at) => begun.at = Some(at),
            Piece::Bytes(bytes) => begun.take(bytes, &mut out),
        });
    }

    /// The log is over.
    pub(crate) fn finish(&mut self, mut out: impl FnMut(Line)) {
        let Self { marks, begun } = self;
        marks.finish(|piece| {
            if let Piece::Bytes(bytes) = piece {
                begun.take(bytes, &mut out);
            }
        });
        if !begun.bytes.is_empty() {
            begun.end(false, &mut out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Line> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.push(chunk, |line| found.push(line));
        }
        lines.finish(|line| found.push(line));
        found
    }

    #[test]
    fn lines_have_their_times() {
        let found = lines(&[b"\x1b_bk;t=1\x07one\r\n\x1b_bk;t=2\x07tw", b"o\n\x1b_bk;t=3\x07\n\x1b_bk;t=4\x07thr\xc3"]);
        let plain: Vec<_> = found.iter().map(|l| (l.at.map(|t| t.0), l.text.as_str(), l.partial)).collect();
        assert_eq!(
            plain,
            [(Some(1), "one", false), (Some(2), "two", false), (Some(3), "", false), (Some(4), "thr\u{fffd}", false)]
        );
    }

    #[test]
    fn an_endless_line_comes_in_parts() {
        let mut text = "x".repeat(LONGEST - 1);
        text.push('ä');
        text.push_str(&"y".repeat(LONGEST * 2));
        let found = lines(&[text.as_bytes()]);
        assert!(found.iter().all(|line| line.text.len() <= LONGEST));
        assert_eq!(found.iter().map(|line| line.text.as_str()).collect::<String>(), text);
        assert_eq!(found.iter().filter(|line| !line.partial).count(), 1);
        let whole = "x".repeat(LONGEST);
        assert_eq!(lines(&[whole.as_bytes(), b"\n"]).len(), 2);
    }
}

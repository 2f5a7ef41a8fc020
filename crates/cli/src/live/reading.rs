//! A log as people read it: groups stand out, and what began when is said.
//!
//! Lines that begin with `--- `, `+++ ` and `~~~ ` head groups (`spec/agent.md`, groups), and `^^^ +++` says that the group
//! before it matters. On a terminal nothing is folded away: a heading is set off, with its time, and the lines below
//! it follow. A log may be cut anywhere; of an unfinished line only what may yet be a heading is held back.

use owo_colors::Style;
use tidegate_core::time::Timestamp;

use crate::show::paint;
use crate::terminal::{Marks, Neutral, Piece};

/// How headings begin.
const HEADS: [&str; 3] = ["--- ", "+++ ", "~~~ "];
/// Opens the group before it.
const OPENS: &str = "^^^ +++";

/// Makes a log readable.
#[derive(Debug)]
pub(crate) struct Reading {
    marks: Marks,
    line: Written,
}

#[derive(Debug)]
struct Written {
    neutral: Neutral,
    coloured: bool,
    /// Before each line, not only before headings.
    times: bool,
    at: Option<u64>,
    /// What of the line is not printed yet.
    held: Vec<u8>,
    /// Some of the line is printed.
    begun: bool,
}

impl Reading {
    /// `times`: before each line.
    pub(crate) fn new(coloured: bool, times: bool) -> Self {
        let neutral = Neutral::new(coloured);
        let line = Written { neutral, coloured, times, at: None, held: Vec::new(), begun: false };
        Self { marks: Marks::default(), line }
    }

    /// Goes on with the next bytes; appends what is to be printed.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut String) {
        let Self { marks, line } = self;
        marks.push(bytes, |piece| line.take(piece, out));
        line.flush(out);
    }

    /// The log is over.
    pub(crate) fn finish(&mut self, out: &mut String) {
        let Self { marks, line } = self;
        marks.finish(|piece| line.take(piece, out));
        if !line.held.is_empty() {
            line.end(out);
        }
        line.neutral.finish(out);
    }
}

impl Written {
    fn take(&mut self, piece: Piece<'_>, out: &mut String) {
        let mut rest = match piece {
            Piece::Time(at) => {
                self.at = Some(at);
                return;
            }
            Piece::Bytes(bytes) => bytes,
        };
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.held.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
            self.end(out);
        }
        self.held.extend_from_slice(rest);
    }

    /// Prints what there is of a line that is not over, unless it may yet be a heading.
    fn flush(&mut self, out: &mut String) {
        let may_be = |head: &&str| head.as_bytes().starts_with(&self.held) || self.held.starts_with(head.as_bytes());
        if self.held.is_empty() || (!self.begun && HEADS.iter().chain([&OPENS]).any(may_be)) {
            return;
        }
        self.begin(out);
        let held = std::mem::take(&mut self.held);
        self.neutral.push(&held, out);
    }

    fn begin(&mut self, out: &mut String) {
        if self.times && !self.begun {
            out.push_str(&self.time());
        }
        self.begun = true;
    }

    fn end(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        if self.begun {
            self.neutral.push(&held, out);
            self.begun = false;
            return;
        }
        let text = String::from_utf8_lossy(&held);
        let text = text.trim_end_matches(['\r', '\n']);
        if text == OPENS {
            return;
        }
        let Some(heading) = HEADS.iter().find_map(|head| text.strip_prefix(head)) else {
            self.begin(out);
            self.neutral.push(&held, out);
            self.begun = false;
            return;
        };
        let mut plain = String::new();
        let mut neutral = Neutral::new(false);
        neutral.push(heading.as_bytes(), &mut plain);
        neutral.finish(&mut plain);
        let style = match &text[..3] {
            "~~~" => Style::new().dimmed(),
            "+++" => Style::new().bold().yellow(),
            _ => Style::new().bold(),
        };
        let (sign, time) = (&text[..3], self.time());
        let line = format!("{time}{sign} {plain}");
        out.push_str(&if self.coloured { paint(&line, style) } else { line });
        out.push('\n');
    }

    /// When the line began, to the millisecond, UTC as all times.
    fn time(&self) -> String {
        let Some(at) = self.at else { return String::new() };
        let text = Timestamp(at).to_string();
        let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time);
        format!("{} ", time.trim_end_matches('Z'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]], coloured: bool, times: bool) -> String {
        let (mut reading, mut out) = (Reading::new(coloured, times), String::new());
        for piece in pieces {
            reading.push(piece, &mut out);
        }
        reading.finish(&mut out);
        out
    }

    const LOG: &[u8] = b"\x1b_bk;t=1767225600000\x07~~~ Preparing\n\x1b_bk;t=1767225601500\x07one\r\n\
        \x1b_bk;t=1767225602000\x07+++ :rocket: \x1b[31mTests\x1b[0m\n\x1b_bk;t=1767225602001\x07\x1b[31mred\x1b[0m\n\
        \x1b_bk;t=1767225602002\x07^^^ +++\n\x1b_bk;t=1767225602003\x07--- no end";

    #[test]
    fn headings_stand_out_with_their_times() {
        insta::assert_snapshot!(read(&[LOG], false, false), @r"
        00:00:00.000 ~~~ Preparing
        one
        00:00:02.000 +++ :rocket: Tests
        red
        00:00:02.003 --- no end
        ");
        insta::assert_snapshot!(read(&[LOG], false, true), @r"
        00:00:00.000 ~~~ Preparing
        00:00:01.500 one
        00:00:02.000 +++ :rocket: Tests
        00:00:02.001 red
        00:00:02.003 --- no end
        ");
        let coloured = read(&[LOG], true, false);
        assert!(
            coloured.contains("\x1b[31mred\x1b[0m") && coloured.contains("\x1b[2m00:00:00.000 ~~~ Preparing"),
            "{coloured:?}"
        );
    }

    #[test]
    fn a_line_that_is_not_over_is_shown_unless_it_may_be_a_heading() {
        let (mut reading, mut out) = (Reading::new(false, false), String::new());
        reading.push(b"50 %", &mut out);
        assert_eq!(out, "50 %");
        reading.push(b"\r100 %\n-", &mut out);
        assert_eq!(out, "50 %\r100 %\n");
        reading.push(b"x", &mut out);
        assert_eq!(out, "50 %\r100 %\n-x");
    }

    proptest! {
        #[test]
        fn where_the_log_is_cut_makes_no_difference(cut in 0usize..250, times: bool) {
            let cut = cut.min(LOG.len());
            prop_assert_eq!(read(&[&LOG[..cut], &LOG[cut..]], false, times), read(&[LOG], false, times));
        }
    }
}

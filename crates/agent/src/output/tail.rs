//! The last lines of output as plain text, for results and notifications.

use std::collections::VecDeque;

/// What [`Tail::text`] gives at most, in bytes.
const TEXT: usize = 2_000;
/// How much raw output is kept for it: colours and progress bars take room.
const RAW: usize = 16 * 1024;

/// Keeps the end of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<u8>);

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(RAW)..];
        let over = (self.0.len() + bytes.len()).saturating_sub(RAW);
        self.0.drain(..over);
        self.0.extend(bytes);
    }

    /// The end as clean text: no control characters but newline and tab, at most 2,000 bytes, whole lines if possible.
    pub(crate) fn text(&self) -> String {
        let raw: Vec<u8> = self.0.iter().copied().collect();
        clean(&String::from_utf8_lossy(&raw))
    }
}

fn clean(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    for line in raw.split('\n') {
        let line = line.trim_end_matches('\r');
        // What a terminal would show at the end of a line that was written over and over.
        let line = line.rsplit('\r').next().unwrap_or(line);
        strip_escapes(line, &mut text);
        text.push('\n');
    }
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(TEXT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let mut end = &text[start..];
    if start > 0
        && let Some((_, whole_lines)) = end.split_once('\n')
    {
        end = whole_lines;
    }
    end.trim_start_matches('\n').to_owned()
}

/// Removes escape sequences and control characters.
fn strip_escapes(line: &str, out: &mut String) {
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    // A control sequence ends with a letter or one of @[\]^_`{|}~.
                    for c in chars.by_ref() {
                        if matches!(c, '\u{40}'..='\u{7e}') {
                            break;
                        }
                    }
                }
                Some(']' | '_' | 'P' | '^' | 'X') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || c == '\u{9c}' {
                            break;
                        }
                        if c == '\u{1b}' {
                            chars.next_if_eq(&'\\');
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(bytes: &[u8]) -> String {
        let mut tail = Tail::default();
        tail.push(bytes);
        tail.text()
    }

    #[test]
    fn shows_what_a_person_would_read() {
        assert_eq!(tail(b""), "");
        assert_eq!(tail(b"one\ntwo\n"), "one\ntwo");
        assert_eq!(tail(b"\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07\r\n"), "red link");
        assert_eq!(tail(b" 10%\r 50%\r100%\n"), "100%");
        assert_eq!(tail(b"bad \xff byte\0"), "bad \u{fffd} byte");
    }

    #[test]
    fn long_output_keeps_its_last_whole_lines() {
        let long: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
        let text = tail(long.as_bytes());
        assert!(text.len() <= 2_000 && text.len() > 1_900);
        assert!(text.starts_with("line ") && text.ends_with("line 4999"));
        assert_eq!(tail(&[b'x'; 100_000]).len(), 2_000);
    }

    proptest! {
        #[test]
        fn never_too_long_never_a_control_character(bytes in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            let text = tail(&bytes);
            prop_assert!(text.len() <= 2_000);
            prop_assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }
    }
}

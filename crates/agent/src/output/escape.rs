//! Filters escape sequences out of a job's output (`spec/security.md` S7): whoever reads the log, in a browser or on a
//! terminal, must not have their terminal steered by a job.
//!
//! Kept: colours (SGR), erasing within the line, and links (OSC 8) to `http` and `https`. Dropped: every other control
//! sequence, OSC, DCS, APC, PM, SOS, and the C1 controls in UTF-8. Bytes that are no escape sequences stay as they
//! are, valid UTF-8 or not, but for half a character before a sequence. A sequence that is not ended ends with its line,
//! so that it swallows no more than that.

/// The longest parameters of a control sequence that is kept.
const LONGEST_PARAMETERS: usize = 64;
/// The longest link that is kept.
const LONGEST_LINK: usize = 2_048;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
/// Shifts a terminal to its line-drawing characters.
const SO: u8 = 0x0e;
/// Begins the C1 controls in UTF-8.
const C1: u8 = 0xc2;

/// The filter: fed any pieces of a stream, it gives what the whole stream would give.
#[derive(Clone, Debug, Default)]
pub(crate) struct Escapes {
    state: State,
    /// What is held of a sequence that may yet be kept.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Text,
    /// After the first byte of a C1 control.
    C1,
    /// After `ESC`.
    Escape,
    /// After `ESC` and an intermediate byte: a character set, which has one byte more.
    Intermediate,
    /// In a control sequence.
    Control,
    /// In a control sequence that is dropped.
    DroppedControl,
    /// In an operating system command that may be a link.
    Command,
    /// In a string that is dropped.
    String,
    /// In a string, after `ESC`: perhaps its end. The flag says that it is a link that may be kept.
    StringEscape(bool),
}

impl Escapes {
    /// Appends what is left of `input` to `out`.
    pub(crate) fn filter(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            if self.state == State::Text {
                let end = memchr::memchr3(ESC, C1, SO, input).unwrap_or(input.len());
                out.extend_from_slice(&input[..end]);
                input = &input[end..];
                if input.is_empty() {
                    return;
                }
            }
            self.step(input[0], out);
            input = &input[1..];
        }
    }

    /// Ends the stream here: what is held is no longer the beginning of anything.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.state == State::C1 {
            out.push(C1);
        }
        self.back_to_text();
    }

    fn back_to_text(&mut self) {
        self.state = State::Text;
        self.held.clear();
    }

    /// A byte that ends any sequence and counts as text.
    fn again(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.back_to_text();
        self.step(byte, out);
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.state, byte) {
            (State::Text, ESC) => self.state = State::Escape,
            (State::Text, C1) => self.state = State::C1,
            (State::Text, SO) => {}
            (State::Text, _) => out.push(byte),
            (State::C1, 0x80..=0x9f) => self.back_to_text(),
            // What follows may be dropped, and what comes after that would make a control of the two.
            (State::C1, ESC | C1 | SO) => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                self.again(byte, out);
            }
            (State::C1, _) => {
                out.push(C1);
                self.again(byte, out);
            }
            (_, CAN | SUB) => self.back_to_text(),
            (_, b'\n' | b'\r') => self.again(byte, out),
            (State::Escape, b'[') => self.state = State::Control,
            (State::Escape, b']') => self.state = State::Command,
            (State::Escape, b'P' | b'X' | b'^' | b'_') => self.state = State::String,
            (State::Escape, 0x20..=0x2f) => self.state = State::Intermediate,
            (State::Escape | State::Control | State::DroppedControl, ESC) => {
                self.held.clear();
                self.state = State::Escape;
            }
            (State::Escape, _) => self.back_to_text(),
            (State::Intermediate, 0x20..=0x2f) => {}
            (State::Intermediate, _) => self.back_to_text(),
            (State::Control, b'0'..=b'9' | b';' | b':') => {
                self.held.push(byte);
                if self.held.len() > LONGEST_PARAMETERS {
                    self.state = State::DroppedControl;
                }
            }
            (State::Control, b'm' | b'K') => {
                out.extend_from_slice(&[ESC, b'[']);
                out.extend_from_slice(&self.held);
                out.push(byte);
                self.back_to_text();
            }
            (State::Control | State::DroppedControl, 0x40..=0x7e) => self.back_to_text(),
            (State::Control, _) => self.state = State::DroppedControl,
            (State::DroppedControl, _) => {}
            (State::Command, BEL) => {
                self.link(out);
                self.back_to_text();
            }
            (State::String, BEL) => self.back_to_text(),
            (State::Command, ESC) => self.state = State::StringEscape(true),
            (State::String, ESC) => self.state = State::StringEscape(false),
            (State::Command, _) => {
                self.held.push(byte);
                if self.held.len() > LONGEST_LINK {
                    self.state = State::String;
                }
            }
            (State::String, _) => {}
            (State::StringEscape(link), b'\\') => {
                if link {
                    self.link(out);
                }
                self.back_to_text();
            }
            (State::StringEscape(_), _) => {
                // The string was given up for another sequence.
                self.held.clear();
                self.state = State::Escape;
                self.step(byte, out);
            }
        }
    }

    /// Keeps what is held, if it is a link that a reader may follow, or the end of one.
    fn link(&self, out: &mut Vec<u8>) {
        let Some(rest) = self.held.strip_prefix(b"8;") else {
            return;
        };
        let Some(at) = memchr::memchr(b';', rest) else {
            return;
        };
        let url = &rest[at + 1..];
        let lower: Vec<u8> = url.iter().take(8).map(u8::to_ascii_lowercase).collect();
        let harmless = url.iter().all(|b| (0x21..=0x7e).contains(b))
            && (url.is_empty() || lower.starts_with(b"http://") || lower.starts_with(b"https://"));
        if harmless {
            out.extend_from_slice(b"\x1b]8;;");
            out.extend_from_slice(url);
            out.extend_from_slice(b"\x1b\\");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered(input: &[u8]) -> Vec<u8> {
        let (mut escapes, mut out) = (Escapes::default(), Vec::new());
        escapes.filter(input, &mut out);
        escapes.finish(&mut out);
        out
    }

    #[test]
    fn keeps_colours_and_links_and_drops_the_rest() {
        for (input, wanted) in [
            ("plain \r\n\ttext\u{7}", "plain \r\n\ttext\u{7}"),
            ("\x1b[1;38:5:9mred\x1b[0m\x1b[K", "\x1b[1;38:5:9mred\x1b[0m\x1b[K"),
            ("\x1b]8;id=1;https://x.y/?a=b\x1b\\l\x1b]8;;\x07", "\x1b]8;;https://x.y/?a=b\x1b\\l\x1b]8;;\x1b\\"),
            ("\x1b]8;;javascript:alert(1)\x07l", "l"),
            ("\x1b]8;;HTTPS://x\x07l", "\x1b]8;;HTTPS://x\x1b\\l"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]52;c;aGk=\x1b\\b", "ab"),
            ("a\x1b_bk;t=1\x07b", "ab"),
            ("a\x1bPq#0\x1b\\b", "ab"),
            ("a\x1b[2Jb\x1b[1;1Hc\x1b[?1049hd\x1b[>0me", "abcde"),
            ("a\x1b(0b\x1bcd\x1b7e", "abde"),
            ("a\u{9b}31mb\u{85}c\u{a0}d\u{e9}", "a31mbc\u{a0}d\u{e9}"),
            ("a\x1b]never ended\nb", "a\nb"),
            ("a\x1b[31\nb", "a\nb"),
            ("a\x0eb\x0fc", "ab\x0fc"),
            ("\x1b\x1b[31mx", "\x1b[31mx"),
            ("\x1b]0;x\x1b[31my", "\x1b[31my"),
        ] {
            assert_eq!(String::from_utf8_lossy(&filtered(input.as_bytes())), wanted, "{input:?}");
        }
        let long = format!("\x1b[{}mx", "1;".repeat(100));
        assert_eq!(filtered(long.as_bytes()), b"x");
        for apart in [&b"\xc2\x1b[@\x9b"[..], b"\xc2\xc2\x80\x9b", b"\xc2\x0e\x9b"] {
            assert_eq!(filtered(apart), b"\xef\xbf\xbd\x9b");
        }
        assert_eq!(filtered(b"\xff\x80\xc3\x28\xc2"), b"\xff\x80\xc3\x28\xc2");
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|b| vec![b]),
            proptest::sample::select(vec![
                &b"\x1b["[..],
                b"\x1b]",
                b"\x1b]8;;http://x",
                b"\x1b\\",
                b"\x1b_",
                b"\x1bP",
                b"\x07",
                b"31m",
                b"\xc2\x9b",
                b"\n",
                b"H",
                b";",
            ])
            .prop_map(<[u8]>::to_vec),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(input in hostile(), cuts in proptest::collection::vec(0usize..200, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
            cuts.sort_unstable();
            let (mut escapes, mut out, mut from) = (Escapes::default(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([input.len()]) {
                escapes.filter(&input[from..cut], &mut out);
                from = cut;
            }
            escapes.finish(&mut out);
            prop_assert_eq!(out, filtered(&input));
        }

        #[test]
        fn what_is_left_is_harmless_and_filtering_twice_changes_nothing(input in hostile()) {
            let once = filtered(&input);
            prop_assert_eq!(&filtered(&once), &once);
            for (at, _) in once.iter().enumerate().filter(|(_, b)| **b == ESC) {
                let rest = &once[at + 1..];
                let end = rest.iter().position(|b| !matches!(b, b'[' | b'0'..=b'9' | b';' | b':'));
                let colour = rest.starts_with(b"[") && end.is_some_and(|e| matches!(rest[e], b'm' | b'K'));
                prop_assert!(colour || rest.starts_with(b"]8;;") || rest.starts_with(b"\\"));
            }
        }
    }
}

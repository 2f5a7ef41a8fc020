//! Makes a log harmless for a terminal: nothing but text, line breaks, tabs, carriage returns and colours.
//!
//! What a job writes may come from strangers. Sequences that move the cursor, change the title, write to the clipboard,
//! ask the terminal to answer, or hide what follows are left out; colours (SGR) stay.

/// A control sequence of colours is not longer than this.
const LONGEST_SGR: usize = 64;

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and intermediate bytes: one byte more.
    Intermediate,
    /// Within `ESC [ …`.
    Sequence(Vec<u8>),
    /// Within a text for the terminal (OSC, DCS, APC, PM, SOS), which BEL or ST ends.
    Text { escape: bool },
}

/// The filter. The log may be cut anywhere; little is held back.
#[derive(Debug)]
pub(crate) struct Neutral {
    colours: bool,
    state: State,
    /// Bytes of a character that is not complete.
    partial: Vec<u8>,
    /// A colour is set and not reset.
    coloured: bool,
}

impl Neutral {
    /// A filter that lets colours pass, or not.
    pub(crate) fn new(colours: bool) -> Self {
        Self { colours, state: State::Ground, partial: Vec::new(), coloured: false }
    }

    /// Goes on with the next bytes; appends what may be shown.
    pub(crate) fn push(&mut self, input: &[u8], out: &mut String) {
        self.partial.extend_from_slice(input);
        let bytes = std::mem::take(&mut self.partial);
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text(text, out);
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.text(std::str::from_utf8(valid).unwrap_or_default(), out);
                    match error.error_len() {
                        Some(length) => {
                            self.character('\u{fffd}', out);
                            rest = &after[length..];
                        }
                        None => {
                            self.partial = after.to_vec();
                            return;
                        }
                    }
                }
            }
        }
    }

    /// The log is over.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if !std::mem::take(&mut self.partial).is_empty() {
            self.character('\u{fffd}', out);
        }
        self.state = State::Ground;
        if std::mem::take(&mut self.coloured) {
            out.push_str("\x1b[0m");
        }
    }

    fn text(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while !rest.is_empty() {
            if matches!(self.state, State::Ground) {
                let plain = rest.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r'));
                let plain = plain.unwrap_or(rest.len());
                out.push_str(&rest[..plain]);
                rest = &rest[plain..];
            }
            let mut characters = rest.chars();
            if let Some(c) = characters.next() {
                self.character(c, out);
                rest = characters.as_str();
            }
        }
    }

    fn character(&mut self, c: char, out: &mut String) {
        // Nothing goes beyond the end of a line: a sequence that is never ended hides no more than the rest of its line.
        if c == '\n' {
            self.state = State::Ground;
        }
        match &mut self.state {
            State::Ground => match c {
                '\x1b' => self.state = State::Escape,
                // The same as ESC with `[`, and with what begins texts, in one character.
                '\u{9b}' => self.state = State::Sequence(Vec::new()),
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => self.state = State::Text { escape: false },
                '\n' | '\t' | '\r' => out.push(c),
                c if c.is_control() => {}
                c => out.push(c),
            },
            State::Escape => {
                self.state = match c {
                    '[' => State::Sequence(Vec::new()),
                    ']' | 'P' | '_' | '^' | 'X' => State::Text { escape: false },
                    ' '..='/' => State::Intermediate,
                    '\x1b' => State::Escape,
                    _ => State::Ground,
                }
            }
            State::Intermediate => self.state = State::Ground,
            State::Sequence(parameters) => match c {
                ' '..='?' => {
                    if parameters.len() <= LONGEST_SGR {
                        parameters.push(c as u8);
                    }
                }
                'm' => {
                    let parameters = std::mem::take(parameters);
                    self.state = State::Ground;
                    self.colour(&parameters, out);
                }
                '\x1b' => self.state = State::Escape,
                _ => self.state = State::Ground,
            },
            State::Text { escape } => match c {
                '\x07' | '\u{9c}' => self.state = State::Ground,
                '\\' if *escape => self.state = State::Ground,
                c => *escape = c == '\x1b',
            },
        }
    }

    fn colour(&mut self, parameters: &[u8], out: &mut String) {
        let plain = parameters.iter().all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
        if !self.colours || !plain || parameters.len() > LONGEST_SGR {
            return;
        }
        out.push_str("\x1b[");
        out.extend(parameters.iter().map(|b| char::from(*b)));
        out.push('m');
        self.coloured = !matches!(parameters, b"" | b"0" | b"00");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(input: &[u8]) -> String {
        let mut filter = Neutral::new(true);
        let mut out = String::new();
        filter.push(input, &mut out);
        filter.finish(&mut out);
        out
    }

    #[test]
    fn colours_stay_and_everything_else_goes() {
        for (input, expected) in [
            (&b"plain \xc3\xa4\t\r\n"[..], "plain ä\t\r\n"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[31mleft on", "\x1b[31mleft on\x1b[0m"),
            (b"\x1b[38:2::1:2:3mx\x1b[m", "\x1b[38:2::1:2:3mx\x1b[m"),
            (b"a\x1b[2J\x1b[Hb\x1b[?1049hc", "abc"),
            (b"a\x1b]0;title\x07b", "ab"),
            (b"a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
            (b"a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            (b"a\x1bP+q\x1b\\b\x1b_apc\x07c\x1b^pm\x1b\\d", "abcd"),
            (b"a\x1b]never ended\nb", "a\nb"),
            (b"a\x1b[6nb\x1b[cc\x1bcd\x1b(0e", "abcde"),
            (b"\x1b[>4;2mx\x1b[?25lm", "xm"),
            (b"a\xc2\x9b31mb\xc2\x9d0;t\xc2\x9cc", "a\x1b[31mbc\x1b[0m"),
            (b"a\x9b31m\xffb", "a\u{fffd}31m\u{fffd}b"),
            (b"a\x08\x08\x7f\x00\x07b", "ab"),
            (b"a\x1b", "a"),
            (b"\xe2\x82", "\u{fffd}"),
        ] {
            assert_eq!(shown(input), expected, "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn without_colours_nothing_of_them_is_left() {
        let mut filter = Neutral::new(false);
        let mut out = String::new();
        filter.push(b"\x1b[31mred\x1b[0m", &mut out);
        filter.finish(&mut out);
        assert_eq!(out, "red");
    }

    proptest! {
        #[test]
        fn where_the_log_is_cut_makes_no_difference(
            input in proptest::collection::vec(
                prop_oneof![Just(0x1bu8), Just(b'['), Just(b'm'), Just(b']'), Just(7u8), Just(0xc2), any::<u8>()], 0..80),
        ) {
            let mut filter = Neutral::new(true);
            let mut out = String::new();
            for byte in &input {
                filter.push(&[*byte], &mut out);
            }
            filter.finish(&mut out);
            prop_assert_eq!(&out, &shown(&input));
            // Every escape is that of a colour.
            for (at, _) in out.match_indices('\x1b') {
                let rest = &out[at + 1..];
                let end = rest.find(|c: char| !matches!(c, '[' | '0'..='9' | ';' | ':'));
                prop_assert!(rest.starts_with('[') && end.is_some_and(|end| rest[end..].starts_with('m')), "{:?}", out);
            }
            prop_assert!(!out.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r' | '\x1b')));
        }
    }
}

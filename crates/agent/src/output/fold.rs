//! Breaks lines that are longer than any reader should have to hold (`spec/security.md` S7). Nothing is lost: what is over
//! goes on in the next line.

/// The longest line of a log, in bytes.
pub(crate) const LONGEST_LINE: usize = 64 * 1024;

/// Counts the bytes of the line that is being written.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    length: usize,
    /// A line was broken before.
    told: bool,
}

impl Fold {
    /// Appends `input` to `out`, with a line break wherever a line would become too long. Whether that is the first time.
    pub(crate) fn fold(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> bool {
        let mut broken = false;
        while !input.is_empty() {
            let room = LONGEST_LINE.saturating_sub(self.length);
            let piece = &input[..room.min(input.len())];
            if let Some(end) = memchr::memrchr(b'\n', piece) {
                out.extend_from_slice(&piece[..=end]);
                input = &input[end + 1..];
                self.length = 0;
            } else if piece.len() < room || input.len() == piece.len() {
                out.extend_from_slice(piece);
                self.length += piece.len();
                return self.tell(broken);
            } else {
                out.extend_from_slice(piece);
                input = &input[piece.len()..];
                // A character stays whole, and a line that is just as long as it may be has its own end.
                while let Some((next @ 0x80..=0xbf, rest)) = input.split_first() {
                    out.push(*next);
                    input = rest;
                }
                self.length = LONGEST_LINE;
                if input.first() != Some(&b'\n') {
                    out.push(b'\n');
                    self.length = 0;
                    broken = true;
                }
            }
            if input.first() == Some(&b'\n') && self.length >= LONGEST_LINE {
                out.push(b'\n');
                input = &input[1..];
                self.length = 0;
            }
        }
        self.tell(broken)
    }

    fn tell(&mut self, broken: bool) -> bool {
        let first = broken && !self.told;
        self.told |= broken;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(pieces: &[&[u8]]) -> (Vec<u8>, u32) {
        let (mut fold, mut out, mut told) = (Fold::default(), Vec::new(), 0);
        for piece in pieces {
            told += u32::from(fold.fold(piece, &mut out));
        }
        (out, told)
    }

    #[test]
    fn only_lines_that_are_too_long_are_broken_and_that_is_told_once() {
        let longest = [vec![b'x'; LONGEST_LINE], vec![b'\n']].concat();
        assert_eq!(folded(&[&longest, b"y\n"]), ([longest.clone(), b"y\n".to_vec()].concat(), 0));
        let (out, told) = folded(&[&vec![b'x'; 3 * LONGEST_LINE - 1], b"\nz\n"]);
        assert_eq!((out.len(), told), (3 * LONGEST_LINE - 1 + 2 + 3, 1));
        assert!(out.split(|b| *b == b'\n').all(|line| line.len() <= LONGEST_LINE));
        let wide = "é".repeat(LONGEST_LINE);
        let odd = format!("x{wide}");
        let (out, _) = folded(&[odd.as_bytes()]);
        assert!(String::from_utf8(out).is_ok_and(|text| text.replace('\n', "") == odd));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_is_lost_wherever_the_stream_is_cut(
            lines in proptest::collection::vec(0usize..200_000, 1..5),
            cuts in proptest::collection::vec(0usize..600_000, 0..4),
        ) {
            let text: Vec<u8> = lines.iter().flat_map(|length| [vec![b'x'; *length], vec![b'\n']].concat()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            let (out, _) = folded(&pieces);
            prop_assert!(out.split(|b| *b == b'\n').all(|line| line.len() <= LONGEST_LINE));
            let count = |bytes: &[u8], wanted| bytes.iter().filter(|b| **b == wanted).count();
            prop_assert_eq!(count(&out, b'x'), count(&text, b'x'));
            let breaks: usize = lines.iter().map(|length| length.saturating_sub(1) / LONGEST_LINE).sum();
            let breaks_possible = breaks..=breaks + lines.len() + pieces.len();
            prop_assert!(breaks_possible.contains(&(count(&out, b'\n') - lines.len())));
        }
    }
}

//! Takes the marks of time out of a log: `ESC _bk;t=<unix ms> BEL` (`spec/agent.md`, logs).

/// How a mark begins.
const BEGIN: &[u8] = b"\x1b_bk;t=";
/// A mark is not longer than this: what goes on is no mark, but something that a job wrote.
const LONGEST: usize = BEGIN.len() + 20;

/// A piece of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Piece<'a> {
    /// What the job wrote.
    Bytes(&'a [u8]),
    /// What follows was written then, in milliseconds since the epoch.
    Time(u64),
}

/// Parts a log into bytes and marks. The log may be cut anywhere; at most a mark's length is held back.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// What may become a mark.
    held: Vec<u8>,
}

impl Marks {
    /// Goes on with the next bytes.
    pub(crate) fn push(&mut self, mut input: &[u8], mut out: impl FnMut(Piece<'_>)) {
        while !input.is_empty() {
            if self.held.is_empty() {
                let plain = input.iter().position(|byte| *byte == BEGIN[0]).unwrap_or(input.len());
                if plain > 0 {
                    out(Piece::Bytes(&input[..plain]));
                    input = &input[plain..];
                    continue;
                }
            }
            let byte = input[0];
            self.held.push(byte);
            input = &input[1..];
            match judge(&self.held) {
                Judgement::More => {}
                Judgement::Mark(at) => {
                    self.held.clear();
                    out(Piece::Time(at));
                }
                Judgement::NoMark => {
                    // The last byte may begin a mark of its own.
                    let again = byte == BEGIN[0] && self.held.len() > 1;
                    let keep = self.held.len() - usize::from(again);
                    out(Piece::Bytes(&self.held[..keep]));
                    self.held.clear();
                    if again {
                        self.held.push(byte);
                    }
                }
            }
        }
    }

    /// The log is over: what was held back was no mark.
    pub(crate) fn finish(&mut self, mut out: impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            out(Piece::Bytes(&self.held));
            self.held.clear();
        }
    }
}

enum Judgement {
    More,
    Mark(u64),
    NoMark,
}

fn judge(held: &[u8]) -> Judgement {
    if held.len() <= BEGIN.len() {
        return if BEGIN.starts_with(held) { Judgement::More } else { Judgement::NoMark };
    }
    let digits = &held[BEGIN.len()..];
    match digits.split_last() {
        Some((0x07, number)) => {
            let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
            number.map_or(Judgement::NoMark, Judgement::Mark)
        }
        Some((last, _)) if last.is_ascii_digit() && held.len() < LONGEST => Judgement::More,
        Some(_) | None => Judgement::NoMark,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes without marks, and the times of the marks.
    fn parted(chunks: &[&[u8]]) -> (Vec<u8>, Vec<u64>) {
        let (mut bytes, mut times) = (Vec::new(), Vec::new());
        let mut marks = Marks::default();
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Bytes(some) => bytes.extend_from_slice(some),
            Piece::Time(at) => times.push(at),
        };
        for chunk in chunks {
            marks.push(chunk, &mut take);
        }
        marks.finish(&mut take);
        (bytes, times)
    }

    #[test]
    fn marks_go_and_everything_else_stays() {
        let log = b"\x1b_bk;t=5\x07one\n\x1b_bk;t=17\x07two \x1b[31mred\x1b[0m\x1b\x1b_bk;t=18\x07\n";
        assert_eq!(parted(&[log]), (b"one\ntwo \x1b[31mred\x1b[0m\x1b\n".to_vec(), vec![5, 17, 18]));
        for no_mark in [
            &b"\x1b_bk;t=\x07"[..],
            b"\x1b_bk;t=1x\x07",
            b"\x1b_bk;t=123456789012345678901234567890\x07",
            b"\x1b_bk;dt=5\x07",
            b"\x1b_bk;t=5",
            b"\x1b",
        ] {
            assert_eq!(parted(&[no_mark]), (no_mark.to_vec(), vec![]), "{no_mark:?}");
        }
    }

    proptest! {
        #[test]
        fn where_the_log_is_cut_makes_no_difference(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(b"\x1b_bk;t=1795398000123\x07".to_vec()),
                    Just(b"\x1b".to_vec()),
                    Just(b"\x1b_bk;".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..9),
                ],
                0..12,
            ),
            cut in 0usize..200,
        ) {
            let log = parts.concat();
            let cut = cut.min(log.len());
            prop_assert_eq!(parted(&[&log]), parted(&[&log[..cut], &log[cut..]]));
            let single: Vec<&[u8]> = log.chunks(1).collect();
            prop_assert_eq!(parted(&[&log]), parted(&single));
        }
    }
}

//! Marks when each line began: `ESC _bk;t=<unix ms> BEL` before its first byte (`spec/agent.md`, logs). The reader
//! strips the marks; to a terminal they are invisible.

use bytes::{BufMut as _, BytesMut};

/// Puts marks into a stream of bytes that may be cut anywhere.
#[derive(Debug)]
pub(crate) struct Stamper {
    at_line_start: bool,
}

impl Stamper {
    pub(crate) fn new() -> Self {
        Self { at_line_start: true }
    }

    /// Whether the last byte ended a line, or there was none.
    pub(crate) fn at_line_start(&self) -> bool {
        self.at_line_start
    }

    /// Appends `input` to `out`, with a mark at the beginning of each line that begins in it.
    pub(crate) fn stamp(&mut self, mut input: &[u8], now_ms: u64, out: &mut BytesMut) {
        while !input.is_empty() {
            if self.at_line_start {
                out.put_slice(b"\x1b_bk;t=");
                out.put_slice(now_ms.to_string().as_bytes());
                out.put_u8(0x07);
                self.at_line_start = false;
            }
            match memchr::memchr(b'\n', input) {
                Some(end) => {
                    out.put_slice(&input[..=end]);
                    input = &input[end + 1..];
                    self.at_line_start = true;
                }
                None => {
                    out.put_slice(input);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_carries_one_mark() {
        let mut stamper = Stamper::new();
        let mut out = BytesMut::new();
        stamper.stamp(b"one\ntw", 5, &mut out);
        stamper.stamp(b"o\n", 6, &mut out);
        stamper.stamp(b"\n", 7, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "\x1b_bk;t=5\x07one\n\x1b_bk;t=5\x07two\n\x1b_bk;t=7\x07\n");
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cut in 0usize..200,
        ) {
            let cut = cut.min(text.len());
            let (mut whole, mut parts) = (BytesMut::new(), BytesMut::new());
            Stamper::new().stamp(&text, 9, &mut whole);
            let mut stamper = Stamper::new();
            stamper.stamp(&text[..cut], 9, &mut parts);
            stamper.stamp(&text[cut..], 9, &mut parts);
            prop_assert_eq!(whole, parts);
        }
    }
}

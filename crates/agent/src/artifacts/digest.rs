//! The hash of a file, in a form that also tells whether a part of it is still what it was.
//!
//! While a file is hashed, the state of the hash is kept after each block. A part that is read again, in whatever order,
//! begins with the state before it and has to end with the one after it. So all parts together are the file that was
//! hashed, and nothing is hashed more than twice.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

/// What is between two states that are kept, in bytes: parts begin at a multiple of it.
pub(super) const BLOCK: u64 = 1 << 20;
/// So much is read and sent at once.
const PIECE: usize = 64 * 1024;

/// The states of the hash of a file.
pub(super) struct Digests {
    /// After so many blocks.
    blocks: Vec<Sha256>,
    end: Sha256,
    size: u64,
}

impl Digests {
    /// Reads a file to its end. Blocks.
    pub(super) fn read(mut file: File) -> std::io::Result<Self> {
        let mut digests = Self { blocks: Vec::new(), end: Sha256::new(), size: 0 };
        let mut buffer = vec![0; 128 * 1024];
        loop {
            if digests.size.is_multiple_of(BLOCK) {
                digests.blocks.push(digests.end.clone());
            }
            // No further than the end of the block.
            let room = usize::try_from(BLOCK - digests.size % BLOCK).unwrap_or(usize::MAX).min(buffer.len());
            let count = file.read(&mut buffer[..room])?;
            if count == 0 {
                return Ok(digests);
            }
            digests.end.update(&buffer[..count]);
            digests.size += count as u64;
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of the file, in hex.
    pub(super) fn whole(&self) -> String {
        hex::encode(self.end.clone().finalize())
    }

    /// The state after so many bytes: a multiple of [`BLOCK`], or all.
    fn after(&self, bytes: u64) -> Option<&Sha256> {
        if bytes == self.size {
            return Some(&self.end);
        }
        let block = bytes.is_multiple_of(BLOCK).then(|| usize::try_from(bytes / BLOCK).ok()).flatten()?;
        self.blocks.get(block)
    }

    /// A body of the bytes from `from` to `to`, to which the file is open at `from`.
    pub(super) fn watched(&self, file: File, from: u64, to: u64) -> (reqwest::Body, Sent) {
        let reader = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), to - from);
        let sent = Sent {
            so_far: Arc::new(Mutex::new((self.after(from).cloned().unwrap_or_default(), to - from))),
            expected: self.after(to).cloned().unwrap_or_default(),
        };
        let so_far = Arc::clone(&sent.so_far);
        let pieces = ReaderStream::with_capacity(reader, PIECE).inspect_ok(move |piece| {
            let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
            so_far.0.update(piece);
            so_far.1 = so_far.1.saturating_sub(piece.len() as u64);
        });
        (reqwest::Body::wrap_stream(pieces), sent)
    }
}

/// What was sent of a body.
pub(super) struct Sent {
    /// The state, and how many bytes are still to come.
    so_far: Arc<Mutex<(Sha256, u64)>>,
    expected: Sha256,
}

impl Sent {
    /// All was sent, and it is not what was hashed before.
    pub(super) fn is_other(&self) -> bool {
        let (state, left) = self.so_far.lock().unwrap_or_else(PoisonError::into_inner).clone();
        left == 0 && state.finalize() != self.expected.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::io::{Seek as _, SeekFrom, Write as _};

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    async fn is_other(digests: &Digests, content: &[u8], from: u64, to: u64) -> bool {
        let mut file = file_of(content);
        file.seek(SeekFrom::Start(from)).unwrap();
        let (body, sent) = digests.watched(file, from, to);
        assert!(!sent.is_other(), "nothing was sent yet");
        let sent_body = axum::body::to_bytes(axum::body::Body::new(body), usize::MAX).await.unwrap();
        let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
        assert!(sent_body == content[range]);
        sent.is_other()
    }

    #[tokio::test]
    async fn a_part_is_known_for_what_it_was() {
        let block = usize::try_from(BLOCK).unwrap();
        for size in [0, 1, block - 1, block, block + 1, 3 * block, 3 * block + 5] {
            let mut content: Vec<u8> = (0..=250).cycle().take(size).collect();
            let digests = Digests::read(file_of(&content)).unwrap();
            assert_eq!((digests.size(), digests.whole()), (size as u64, hex::encode(Sha256::digest(&content))));
            let size = size as u64;
            let ranges: Vec<_> = (0..size).step_by(block).map(|from| (from, size.min(from + BLOCK))).collect();
            for &(from, to) in ranges.iter().rev().chain([&(0, size)]) {
                assert!(!is_other(&digests, &content, from, to).await, "{from} to {to} of {size}");
            }
            let Some(last) = content.last_mut() else { continue };
            *last ^= 1;
            for (number, &(from, to)) in ranges.iter().enumerate() {
                let hit = number + 1 == ranges.len();
                assert_eq!(is_other(&digests, &content, from, to).await, hit, "{from} to {to} of {size}");
            }
        }
    }
}

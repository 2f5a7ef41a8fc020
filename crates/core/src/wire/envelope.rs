//! The envelope of every stored record: who wrote it and who may read it.
//!
//! A reader that is older than `min_reader` parks the record: it reports [`ReadError::TooNew`], which callers treat as
//! "try again later", and never overwrites or drops what it cannot read. A release writes the format of the release
//! before it until all readers are new (`spec/hazards.md` M9).
//!
//! What is large is compressed (gzip), because stores charge by the kilobyte; both forms are read.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The format that this release writes.
pub const FORMAT: u32 = 1;
/// The oldest reader that understands what this release writes.
pub const MIN_READER: u32 = 1;

/// Bodies that are longer than this are compressed, in bytes.
const COMPRESS_ABOVE: usize = 2048;
/// The longest body that is read, in bytes, once it is inflated: a damaged record cannot grow without bound.
const LONGEST: u64 = 256 * 1024 * 1024;
/// How gzip begins; JSON never does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[derive(Serialize)]
struct Out<'a, T> {
    written_by: u32,
    min_reader: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct Head {
    min_reader: u32,
}

#[derive(Deserialize)]
struct In<T> {
    body: T,
}

/// Why a stored record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A newer release wrote it and says that we may not read it.
    #[error("the record needs a reader of format {needed}, and this release reads up to {FORMAT}: upgrade tidegate")]
    TooNew {
        /// The format that a reader must know.
        needed: u32,
    },
    /// The bytes are not what was written.
    #[error("the record is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// Serialises a record with its envelope.
///
/// # Errors
/// Only if the type cannot be JSON (a map whose keys are not texts): a bug in the type.
pub fn seal<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    let json = to_json(body)?;
    if json.len() <= COMPRESS_ABOVE {
        return Ok(json);
    }
    let mut gzip = GzEncoder::new(Vec::with_capacity(json.len() / 2), Compression::fast());
    gzip.write_all(&json).and_then(|()| gzip.finish()).map_err(serde_json::Error::io)
}

/// A record with its envelope as it is before it is compressed.
///
/// # Errors
/// As [`seal`].
pub fn to_json<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Out { written_by: FORMAT, min_reader: MIN_READER, body })
}

/// Reads a record, checking its envelope first.
///
/// # Errors
/// See [`ReadError`].
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    let mut inflated = Vec::new();
    let bytes = if bytes.starts_with(&GZIP) {
        GzDecoder::new(bytes).take(LONGEST).read_to_end(&mut inflated).map_err(serde_json::Error::io)?;
        &inflated
    } else {
        bytes
    };
    let head: Head = serde_json::from_slice(bytes)?;
    if head.min_reader > FORMAT {
        return Err(ReadError::TooNew { needed: head.min_reader });
    }
    Ok(serde_json::from_slice::<In<T>>(bytes)?.body)
}

/// JSON in ASCII: every other character is written as `\u` escapes. SQS rejects some Unicode characters that are legal
/// in JSON (`spec/aws-limits.md` 4.3), and anybody can put them into a commit message.
///
/// # Errors
/// As [`seal`].
pub fn to_ascii_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    use std::fmt::Write as _;
    let json = serde_json::to_string(value)?;
    if json.is_ascii() && !json.contains('\u{7f}') {
        return Ok(json);
    }
    let mut ascii = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
        } else {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    Ok(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_records_are_refused_not_misread() {
        let bytes = br#"{"written_by":9,"min_reader":7,"body":{"unknown":true}}"#;
        assert!(matches!(open::<u32>(bytes), Err(ReadError::TooNew { needed: 7 })));
        let readable = br#"{"written_by":9,"min_reader":1,"body":5,"extra":0}"#;
        assert!(matches!(open::<u32>(readable), Ok(5)));
    }

    #[test]
    fn what_is_large_is_compressed_and_reads_the_same() {
        for length in [10, COMPRESS_ABOVE, 100_000] {
            let body = "ab".repeat(length / 2);
            let sealed = seal(&body).unwrap_or_default();
            assert!(sealed.len() < COMPRESS_ABOVE + 100, "{}", sealed.len());
            assert_eq!(sealed.starts_with(&GZIP), length >= COMPRESS_ABOVE);
            assert!(matches!(open::<String>(&sealed), Ok(read) if read == body));
            assert!(open::<String>(&sealed[..sealed.len() - 9]).is_err(), "cut off");
        }
    }

    #[test]
    fn ascii_json_means_the_same() {
        let text = "a\u{ffff}é\u{1f600}\u{7f}\n";
        let ascii = to_ascii_json(&text).unwrap_or_default();
        assert!(ascii.bytes().all(|b| (0x20..0x7f).contains(&b)), "{ascii}");
        assert_eq!(serde_json::from_str::<String>(&ascii).ok().as_deref(), Some(text));
    }
}

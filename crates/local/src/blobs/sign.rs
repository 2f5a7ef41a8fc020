//! Signatures of blob URLs.

use std::fmt;
use std::io;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::Method;

use super::parts::PartAt;
use crate::files;

/// The key that signs. It is kept in a file, so that URLs outlive a restart of the server.
pub(super) struct Signer {
    key: [u8; 32],
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// What a signature covers: one method on one key until a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Grant<'a> {
    pub(super) method: Method,
    pub(super) key: &'a str,
    /// Where it is a part that is put.
    pub(super) part: Option<PartAt<'a>>,
    pub(super) expires: Timestamp,
}

impl Signer {
    /// Reads the key, or makes one that only the owner can read.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let found = files::read_if_there(path)?;
        if let Some(key) = found.and_then(|key| <[u8; 32]>::try_from(key).ok()) {
            return Ok(Self { key });
        }
        let key: [u8; 32] = rand::random();
        files::write_durable(path, &key, 0o600)?;
        Ok(Self { key })
    }

    /// The signature, in hex.
    pub(super) fn sign(&self, grant: Grant<'_>) -> String {
        self.mac(grant).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// Whether this is the signature. Takes the same time wherever it differs.
    pub(super) fn verify(&self, grant: Grant<'_>, signature: &str) -> bool {
        let Ok(signature) = hex::decode(signature) else {
            return false;
        };
        self.mac(grant).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
    }

    fn mac(&self, grant: Grant<'_>) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        // Keys and ids of uploads have no line break, so that no two grants have one text.
        let method = match grant.method {
            Method::Get => "GET".to_owned(),
            Method::Put { max_bytes } => format!("PUT {max_bytes}"),
        };
        let part =
            grant.part.map(|part| format!(" part {} {} {}", part.number, part.from, part.upload)).unwrap_or_default();
        mac.update(format!("tidegate blob 1\n{method}{part}\n{}\n{}", grant.key, grant.expires.0).as_bytes());
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_signature_covers_everything() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob-key");
        let signer = Signer::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let grant = Grant { method: Method::Put { max_bytes: 10 }, key: "a/b", part: None, expires: Timestamp(1_000) };
        let signature = signer.sign(grant);
        assert_eq!(signature.len(), 64);
        assert!(signer.verify(grant, &signature));
        assert!(Signer::open(&path).unwrap().verify(grant, &signature), "the key is kept");
        let put = |max_bytes| Method::Put { max_bytes };
        for other in [
            Grant { method: put(11), ..grant },
            Grant { method: Method::Get, ..grant },
            Grant { key: "a/c", ..grant },
            Grant { expires: Timestamp(1_001), ..grant },
            Grant { part: Some(PartAt { upload: "0a", number: 1, from: 0 }), ..grant },
        ] {
            assert!(!signer.verify(other, &signature), "{other:?}");
        }
        let part = PartAt { upload: "0a", number: 1, from: 5 };
        let signed = signer.sign(Grant { part: Some(part), ..grant });
        for other in [
            None,
            Some(PartAt { number: 2, ..part }),
            Some(PartAt { upload: "0b", ..part }),
            Some(PartAt { from: 6, ..part }),
        ] {
            assert!(!signer.verify(Grant { part: other, ..grant }, &signed), "{other:?}");
        }
        for forged in ["", "00", &signature[..62], &format!("{signature}00"), "zz"] {
            assert!(!signer.verify(grant, forged), "{forged}");
        }
        let other_key = Signer::open(&directory.path().join("other")).unwrap();
        assert!(!other_key.verify(grant, &signature));
    }
}

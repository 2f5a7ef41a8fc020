use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(crate) fn same_secret(expected: &str, given: &str) -> bool {
    let mac = |text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"tidegate secret comparison").ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    };
    let (Some(expected), Some(given)) = (mac(expected), mac(given)) else {
        return false;
    };
    given.verify_slice(&expected.finalize().into_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_is_the_same() {
        assert!(same_secret("abc", "abc"));
        for other in ["", "ab", "abcd", "abd", "xbc"] {
            assert!(!same_secret("abc", other), "{other}");
        }
    }
}

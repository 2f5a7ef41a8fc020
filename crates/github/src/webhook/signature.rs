//! `X-Hub-Signature-256`: HMAC-SHA256 of the raw body (`spec/github.md` 6.1, `spec/security.md` S10).

use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// The webhook secret, and others that are accepted while a change is under way. Copies are one thing: what replaces the secrets
/// of one replaces those of all.
#[derive(Clone, Debug)]
pub struct Secrets(Arc<RwLock<Vec<SecretString>>>);

/// A secret of no characters, with which everybody could sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the {which} webhook secret is empty: anybody could sign deliveries with it")]
pub struct EmptySecret {
    which: &'static str,
}

/// Why a delivery is not believed: a fixed word each, nothing that depends on what the right signature would have been.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unverified {
    /// There is no `X-Hub-Signature-256`: the hook has no secret.
    #[error("there is no signature")]
    Missing,
    /// It is not `sha256=` and 64 hex digits.
    #[error("the signature is not `sha256=` and 64 hex digits")]
    Malformed,
    /// No secret of ours makes this signature.
    #[error("the signature does not match")]
    Mismatch,
}

impl Unverified {
    /// A fixed word for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Unverified::Missing => "signature_missing",
            Unverified::Malformed => "signature_malformed",
            Unverified::Mismatch => "signature_mismatch",
        }
    }
}

impl Secrets {
    /// The secrets that deliveries may be signed with.
    ///
    /// # Errors
    /// One of them is empty.
    pub fn new(current: SecretString, previous: Option<SecretString>) -> Result<Self, EmptySecret> {
        if current.expose_secret().is_empty() {
            return Err(EmptySecret { which: "current" });
        }
        if previous.as_ref().is_some_and(|s| s.expose_secret().is_empty()) {
            return Err(EmptySecret { which: "previous" });
        }
        Ok(Self(Arc::new(RwLock::new([Some(current), previous].into_iter().flatten().collect()))))
    }

    /// Deliveries may be signed with these from now on, and with no other one. Empty ones are passed over.
    ///
    /// # Errors
    /// None is left: the secrets stay as they were.
    pub fn replace(&self, secrets: impl IntoIterator<Item = SecretString>) -> Result<(), EmptySecret> {
        let secrets: Vec<SecretString> = secrets.into_iter().filter(|s| !s.expose_secret().is_empty()).collect();
        if secrets.is_empty() {
            return Err(EmptySecret { which: "current" });
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets;
        Ok(())
    }

    /// Whether `header` is the signature of `body` by one of the secrets. The comparison takes the same time
    /// wherever the signatures differ.
    ///
    /// # Errors
    /// See [`Unverified`].
    pub fn verify(&self, body: &[u8], header: Option<&str>) -> Result<(), Unverified> {
        let digits = header.ok_or(Unverified::Missing)?.strip_prefix("sha256=").ok_or(Unverified::Malformed)?;
        let mut signature = [0u8; 32];
        hex::decode_to_slice(digits, &mut signature).map_err(|_| Unverified::Malformed)?;
        let matches = |secret: &SecretString| mac(secret, body).is_some_and(|mac| mac.verify_slice(&signature).is_ok());
        if self.0.read().unwrap_or_else(PoisonError::into_inner).iter().any(matches) {
            Ok(())
        } else {
            Err(Unverified::Mismatch)
        }
    }
}

/// The `X-Hub-Signature-256` that GitHub would send with `body`. For whoever delivers; verification never makes one.
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let signature = mac(secret, body).map(|mac| mac.finalize().into_bytes());
    format!("sha256={}", hex::encode(signature.unwrap_or_default()))
}

/// `None` never happens: HMAC takes keys of any length, but the type says otherwise.
fn mac(secret: &SecretString, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use proptest::prelude::*;

    use super::*;

    /// GitHub's documented example.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const DIGITS: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn secrets(current: &str, previous: Option<&str>) -> Secrets {
        Secrets::new(current.into(), previous.map(Into::into)).unwrap()
    }

    #[test]
    fn the_documented_example_verifies_and_is_what_we_sign() {
        let header = format!("sha256={DIGITS}");
        assert_eq!(sign(&SECRET.into(), BODY), header);
        for ours in [secrets(SECRET, None), secrets("new", Some(SECRET)), secrets(SECRET, Some("old"))] {
            assert_eq!(ours.verify(BODY, Some(&header)), Ok(()));
            let upper = format!("sha256={}", DIGITS.to_uppercase());
            assert_eq!(ours.verify(BODY, Some(&upper)), Ok(()));
        }
        let strangers = secrets("another", Some("older"));
        assert_eq!(strangers.verify(BODY, Some(&header)), Err(Unverified::Mismatch));
    }

    #[test]
    fn the_header_is_read_strictly() {
        let ours = secrets(SECRET, None);
        assert_eq!(ours.verify(BODY, None), Err(Unverified::Missing));
        for header in [
            String::new(),
            "sha256=".into(),
            DIGITS.into(),
            format!("sha256={}", &DIGITS[..63]),
            format!("sha256={}", &DIGITS[..62]),
            format!("sha256={DIGITS}00"),
            format!("sha256= {DIGITS}"),
            format!(" sha256={DIGITS}"),
            format!("sha256={DIGITS} "),
            format!("SHA256={DIGITS}"),
            format!("sha1={DIGITS}"),
            format!("sha256={}g", &DIGITS[..63]),
            format!("sha256={}é", &DIGITS[..62]),
        ] {
            assert_eq!(ours.verify(BODY, Some(&header)), Err(Unverified::Malformed), "{header}");
        }
    }

    #[test]
    fn empty_secrets_are_refused() {
        assert!(Secrets::new("".into(), None).is_err());
        assert!(Secrets::new("a".into(), Some("".into())).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", secrets("hunter2", Some("hunter1")));
        assert!(!shown.contains("hunter"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_flipped_bit_rejects(
            secret in ".{1,80}",
            body in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let ours = secrets(&secret, None);
            let header = sign(&secret.as_str().into(), &body);
            prop_assert_eq!(ours.verify(&body, Some(&header)), Ok(()));

            let mut other = body.clone();
            other[at.index(body.len())] ^= 1 << bit;
            prop_assert_eq!(ours.verify(&other, Some(&header)), Err(Unverified::Mismatch));

            let mut signature = hex::decode(&header["sha256=".len()..]).unwrap();
            signature[at.index(32)] ^= 1 << bit;
            let flipped = format!("sha256={}", hex::encode(signature));
            prop_assert_eq!(ours.verify(&body, Some(&flipped)), Err(Unverified::Mismatch));
        }

        #[test]
        fn no_header_makes_it_panic_or_pass(header in any::<String>()) {
            prop_assert!(secrets(SECRET, None).verify(b"unsigned", Some(&header)).is_err());
        }
    }
}

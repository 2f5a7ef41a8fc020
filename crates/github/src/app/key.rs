use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

/// How far back a token says that it was issued, in seconds: clocks differ, and GitHub refuses what was issued in its future.
const BACK: i64 = 60;
/// How long a token is valid from now, in seconds: GitHub refuses more than 10 minutes, by its own clock.
const LIFE: i64 = 9 * 60;

/// The private key of a GitHub App.
#[derive(Clone)]
pub struct AppKey(Arc<KeyPair>);

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppKey(…)")
    }
}

/// Why a text is no private key of an App. Says nothing of what the text holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It is not PEM, or not a private key.
    #[error("it is no private key: GitHub's begins with `-----BEGIN RSA PRIVATE KEY-----`")]
    Pem,
    /// It is another kind of key, or too short.
    #[error("it is no RSA key of at least 2048 bits")]
    Rsa,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    /// A string, as GitHub advises: both the App's id and its client id are one.
    iss: &'a str,
    jti: String,
}

impl AppKey {
    /// Reads it: PKCS#1, as GitHub gives it out, or PKCS#8.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_pem(text: &SecretString) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(text.expose_secret().as_bytes()).map_err(|_| KeyError::Pem)?;
        let key = match &der {
            PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            _ => return Err(KeyError::Rsa),
        };
        key.map(|key| Self(Arc::new(key))).map_err(|_| KeyError::Rsa)
    }

    /// A JSON web token by which the App `issuer` says who it is, at `now` in seconds by GitHub's clock. `None` when nothing can be
    /// signed: the system has no randomness.
    pub(super) fn token(&self, issuer: &str, now: i64, id: u128) -> Option<SecretString> {
        let claims = Claims { iat: now - BACK, exp: now + LIFE, iss: issuer, jti: format!("{id:032x}") };
        let claims = serde_json::to_vec(&claims).ok()?;
        let head = URL_SAFE_NO_PAD.encode(br#"{"typ":"JWT","alg":"RS256"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

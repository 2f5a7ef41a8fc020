//! A credential for the repository of a job: `POST /gate/git_credential` ([`crate::wire::gate`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::AttemptId;

/// Asks for what git needs to read the repository of the held attempt. Git says where it would send it: that has to be
/// this very repository.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GitCredential {
    /// As in [`Beat`](super::gate::Beat).
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// `https` or `http`.
    pub protocol: String,
    /// The host, with its port if one is given.
    pub host: String,
    /// The path of the repository, without the slash at its beginning.
    pub path: String,
}

/// The answer to [`GitCredential`]; nothing where the repository has none.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct GitCredentialAnswer {
    /// What git presents.
    #[serde(default)]
    pub credential: Option<Credential>,
}

/// A user and a password, or what is given in their places.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    /// The user, such as `x-access-token`.
    pub username: String,
    /// The password or token. Never printed.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let credential = Credential { username: "u".to_owned(), password: "hush".to_owned() };
        assert!(!format!("{:?}", GitCredentialAnswer { credential: Some(credential) }).contains("hush"));
    }
}

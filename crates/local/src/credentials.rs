//! Tokens that the owner has configured.

use std::collections::HashMap;
use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use tidegate_core::ids::RepositoryId;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{Credential, GitCredentials, PortError, RepositorySource};
use tidegate_git::credential::TOKEN_USER;

/// A token that reads a repository.
#[derive(Clone, Debug)]
pub enum Token {
    /// Itself.
    Text(SecretString),
    /// A file that holds it, read again whenever it is needed: whoever renews the token only writes the file.
    File(PathBuf),
}

/// The tokens of repositories, as they are configured.
///
/// What such a token may do beyond reading is not known here, so that only trusted work gets it.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredTokens {
    tokens: HashMap<RepositoryId, Token>,
}

impl ConfiguredTokens {
    /// With a token for each of these repositories.
    pub fn new(tokens: impl IntoIterator<Item = (RepositoryId, Token)>) -> Self {
        Self { tokens: tokens.into_iter().collect() }
    }
}

#[async_trait]
impl GitCredentials for ConfiguredTokens {
    fn has(&self, repository: &RepositorySource) -> bool {
        self.tokens.contains_key(&repository.id)
    }

    async fn for_reading(&self, repository: &RepositorySource, trust: Trust) -> Result<Option<Credential>, PortError> {
        let Some(token) = self.tokens.get(&repository.id) else {
            return Ok(None);
        };
        if trust < Trust::Trusted {
            return Err(PortError::reject(format!(
                "the token of `{}` may do more than read, so that work which is not trusted does not get it",
                repository.full_name
            )));
        }
        let password = match token {
            Token::Text(text) => text.expose_secret().to_owned(),
            Token::File(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    PortError::reject(format!(
                        "cannot read the token of `{}` from `{}`: {error}",
                        repository.full_name,
                        path.display()
                    ))
                })?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        if password.is_empty() || password.contains(char::is_control) {
            return Err(PortError::reject(format!("the token of `{}` is no token", repository.full_name)));
        }
        Ok(Some(Credential { username: TOKEN_USER.to_owned(), password }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use tidegate_core::ids::RepositoryName;

    fn repository(id: u64) -> RepositorySource {
        RepositorySource {
            id: RepositoryId(id),
            full_name: RepositoryName::new("o/r").unwrap(),
            clone_url: "https://x/o/r.git".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_file_is_read_anew_and_only_trusted_work_is_given_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let tokens = ConfiguredTokens::new([
            (RepositoryId(1), Token::File(file.clone())),
            (RepositoryId(2), Token::Text(SecretString::from("text"))),
        ]);
        let password = |answer: Result<Option<Credential>, PortError>| answer.map(|c| c.map(|c| c.password));
        assert!(tokens.for_reading(&repository(1), Trust::Trusted).await.is_err());
        for token in ["first", "second"] {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            let given = tokens.for_reading(&repository(1), Trust::Trusted).await;
            assert_eq!(password(given), Ok(Some(token.to_owned())));
        }
        std::fs::write(&file, "\n").unwrap();
        assert!(tokens.for_reading(&repository(1), Trust::Trusted).await.is_err());
        let given = tokens.for_reading(&repository(2), Trust::Trusted).await;
        assert_eq!(password(given), Ok(Some("text".to_owned())));
        assert!(tokens.for_reading(&repository(2), Trust::Untrusted).await.is_err());
        assert_eq!(tokens.for_reading(&repository(3), Trust::Untrusted).await, Ok(None));
        assert!(!tokens.has(&repository(3)) && tokens.has(&repository(1)));
    }
}

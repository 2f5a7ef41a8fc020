//! Secrets in one file of the state directory, readable only by its owner.
//!
//! `tidegate secret` writes the file whether a server runs or not; the server reads it again each time a job asks. Two
//! writers take turns by a lock beside it. Values are kept as they are: whoever can read the file can read the server's
//! memory and its jobs' too.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidegate_core::ids::PipelineSlug;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::time::Timestamp;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{Found, PortError, Secrets};

use crate::blocking::blocking;
use crate::files;

/// Version of the file that this program writes.
const FORMAT: u32 = 1;

/// A secret as it is kept.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct KeptSecret {
    /// Its name.
    pub name: SecretName,
    /// The pipeline that it is for; all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineSlug>,
    /// Only trusted work may have it.
    #[serde(default)]
    pub trusted_only: bool,
    /// When it was written.
    pub set_at: Timestamp,
    /// The value.
    pub value: SecretValue,
}

#[derive(Deserialize, Serialize)]
struct Content {
    format: u32,
    secrets: Vec<KeptSecret>,
}

/// Why secrets cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Others can read it.
    #[error(
        "other users of this machine can read `{}`: take that from them (`chmod 600 {}`), and renew the secrets",
        path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be understood.
    #[error("`{}` is damaged, or of a newer version: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, without what is there.
        why: String,
    },
    /// The file system refused.
    #[error("cannot {doing} `{}`: {}", path.display(), files::words(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
}

/// The file of secrets.
#[derive(Clone, Debug)]
pub struct SecretFile {
    path: PathBuf,
}

impl SecretFile {
    /// The file at a path, which need not be there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What is kept, in the order of names.
    ///
    /// # Errors
    /// Also when others can read the file.
    pub fn read(&self) -> Result<Vec<KeptSecret>, SecretsError> {
        let failed = |source| SecretsError::Io { doing: "read", path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(SecretsError::Open { path: self.path.clone() });
        }
        let mut text = String::new();
        std::io::Read::read_to_string(&mut &file, &mut text).map_err(failed)?;
        // Not the parser's own words: they may quote what is there.
        let damaged = |why: String| SecretsError::Damaged { path: self.path.clone(), why };
        let content: Content = serde_json::from_str(&text)
            .map_err(|error| damaged(format!("line {}, column {}", error.line(), error.column())))?;
        if content.format > FORMAT {
            return Err(damaged(format!("it has format {}, this program knows {FORMAT}", content.format)));
        }
        Ok(content.secrets)
    }

    /// Keeps a secret; whether one of this name and pipeline was replaced.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn set(&self, secret: KeptSecret) -> Result<bool, SecretsError> {
        self.change(|secrets| {
            let before = secrets.len();
            secrets.retain(|known| !is(known, &secret.name, secret.pipeline.as_ref()));
            let replaced = secrets.len() < before;
            secrets.push(secret);
            secrets.sort_by(|a, b| (&a.name, &a.pipeline).cmp(&(&b.name, &b.pipeline)));
            replaced
        })
    }

    /// Forgets a secret; whether there was one.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn remove(&self, name: &SecretName, pipeline: Option<&PipelineSlug>) -> Result<bool, SecretsError> {
        self.change(|secrets| {
            let before = secrets.len();
            secrets.retain(|known| !is(known, name, pipeline));
            secrets.len() < before
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<KeptSecret>) -> T) -> Result<T, SecretsError> {
        let lock_path = self.path.with_extension("lock");
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| SecretsError::Io { doing, path, source }
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("write", &lock_path))?;
        lock.lock().map_err(failed("lock", &lock_path))?;
        let mut secrets = self.read()?;
        let result = change(&mut secrets);
        if secrets.is_empty() {
            files::remove_if_there(&self.path).map_err(failed("remove", &self.path))?;
            return Ok(result);
        }
        let text = serde_json::to_vec_pretty(&Content { format: FORMAT, secrets })
            .map_err(|error| failed("write", &self.path)(error.into()))?;
        files::write_durable(&self.path, &text, 0o600).map_err(failed("write", &self.path))?;
        Ok(result)
    }
}

fn is(secret: &KeptSecret, name: &SecretName, pipeline: Option<&PipelineSlug>) -> bool {
    secret.name == *name && secret.pipeline.as_ref() == pipeline
}

/// The one that is meant.
fn choose(secrets: Vec<KeptSecret>, name: &SecretName, scope: &SecretScope) -> Found {
    let mut shared = None;
    for secret in secrets.into_iter().filter(|secret| secret.name == *name) {
        match &secret.pipeline {
            Some(pipeline) if *pipeline == scope.pipeline => return release(secret, scope.trust),
            Some(_) => {}
            None => shared = Some(secret),
        }
    }
    shared.map_or(Found::Nothing, |secret| release(secret, scope.trust))
}

fn release(secret: KeptSecret, trust: Trust) -> Found {
    if secret.trusted_only && trust < Trust::Trusted { Found::Withheld } else { Found::Value(secret.value) }
}

#[async_trait]
impl Secrets for SecretFile {
    async fn get(&self, name: &SecretName, scope: &SecretScope) -> Result<Found, PortError> {
        let file = self.clone();
        let secrets = blocking(move || file.read().map_err(|error| PortError::fatal(error.to_string()))).await?;
        Ok(choose(secrets, name, scope))
    }
}

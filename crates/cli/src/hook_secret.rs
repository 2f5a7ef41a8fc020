//! The files of the webhook secret, and how it is changed without a delivery that is refused.
//!
//! Three files, side by side: the secret, `….old` with the one before, and `….new` with one that GitHub has not been told yet.
//! The server accepts all that are there, and looks again every second. A change that was cut short goes on where it was:
//! `….new` stays until GitHub has been told of it, and is told again.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use tidegate_github::webhook::Secrets;
use tokio::sync::watch;

/// How often the server looks whether the files have changed.
const LOOK: Duration = Duration::from_secs(1);

/// Where the secrets are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SecretFiles {
    pub(crate) current: PathBuf,
    pub(crate) previous: PathBuf,
    next: PathBuf,
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The secret in a file; `None` where there is no file. A line end at its end is not part of it.
fn read(file: &Path) -> anyhow::Result<Option<SecretString>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n'])).filter(|t| !t.is_empty()).map(SecretString::from)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.display())),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(file: &Path, content: &SecretString) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        let draft = beside(file, ".tmp");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        out.write_all(content.expose_secret().as_bytes())?;
        out.sync_all()?;
        fs::rename(&draft, file)
    };
    written().with_context(|| format!("cannot write `{}`", file.display()))
}

impl SecretFiles {
    /// The files of a secret; `previous` where the configuration says so.
    pub(crate) fn of(current: PathBuf, previous: Option<PathBuf>) -> Self {
        let previous = previous.unwrap_or_else(|| beside(&current, ".old"));
        let next = beside(&current, ".new");
        Self { current, previous, next }
    }

    /// Everything that is accepted.
    fn accepted(&self) -> anyhow::Result<Vec<SecretString>> {
        let files = [&self.current, &self.previous, &self.next];
        files.into_iter().filter_map(|file| read(file).transpose()).collect()
    }

    /// The secret that GitHub is to be told: the one of a change that was cut short, or a new one.
    pub(crate) fn propose(&self, fresh: SecretString) -> anyhow::Result<SecretString> {
        if let Some(begun) = read(&self.next)? {
            return Ok(begun);
        }
        write_private(&self.next, &fresh)?;
        Ok(fresh)
    }

    /// GitHub has been told: the proposed secret is the secret now.
    pub(crate) fn adopt(&self) -> anyhow::Result<()> {
        if let Some(current) = read(&self.current)? {
            write_private(&self.previous, &current)?;
        }
        fs::rename(&self.next, &self.current)
            .with_context(|| format!("cannot rename `{}` to `{}`", self.next.display(), self.current.display()))
    }

    /// The one before is not accepted any more. Returns whether there was one.
    pub(crate) fn forget_previous(&self) -> anyhow::Result<bool> {
        match fs::remove_file(&self.previous) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove `{}`", self.previous.display())),
        }
    }

    /// Keeps what the server accepts in step with the files.
    pub(crate) async fn watch(self, secrets: Secrets, mut stop: watch::Receiver<bool>) {
        let texts = |all: &[SecretString]| all.iter().map(|s| s.expose_secret().to_owned()).collect::<Vec<_>>();
        let mut known = Vec::new();
        loop {
            match self.accepted() {
                Ok(all) if texts(&all) == known => {}
                Ok(all) => {
                    let now = texts(&all);
                    match secrets.replace(all) {
                        Ok(()) if !known.is_empty() => {
                            tracing::info!(accepted = now.len(), "the webhook secret has changed");
                        }
                        Ok(()) => {}
                        Err(_) => tracing::error!(
                            file = %self.current.display(),
                            "the webhook secret is gone: the last one stays in force until the server stops"
                        ),
                    }
                    known = now;
                }
                Err(error) => tracing::error!(error = format!("{error:#}"), "the webhook secret stays as it was"),
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

//! One bare mirror: what was fetched of a repository so far, and the process that reads from it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tidegate_core::ids::CommitSha;
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{CommitInfo, GitCredentials, PortError, RepositorySource};
use tidegate_git::credential;
use tidegate_git::names;
use tidegate_git::words::{self, Trouble};
use tokio::sync::{Mutex, Semaphore};

use super::cat_file::{CatFile, Object};
use super::command::{self, Failure, git};
use crate::files;

/// The first fetch of a large repository takes a while.
const FETCH: Duration = Duration::from_secs(20 * 60);
const LOCAL: Duration = Duration::from_secs(120);
/// So many fetches later git is asked whether it wants to tidy up.
const TIDY: u32 = 64;
/// A process that was not asked for so long is ended.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Why a commit is not there.
#[derive(Debug)]
pub(super) enum NotThere {
    /// The repository has none such, in git's words.
    NoCommit(String),
    Port(PortError),
}

impl From<PortError> for NotThere {
    fn from(error: PortError) -> Self {
        NotThere::Port(error)
    }
}

#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    credentials: Arc<dyn GitCredentials>,
    /// One fetch at a time; counts them.
    fetches: Mutex<u32>,
    reader: Mutex<Option<CatFile>>,
    used: std::sync::Mutex<Instant>,
}

impl Mirror {
    pub(super) fn new(path: PathBuf, credentials: Arc<dyn GitCredentials>) -> Self {
        let used = std::sync::Mutex::new(Instant::now());
        Self { path, credentials, fetches: Mutex::new(0), reader: Mutex::new(None), used }
    }

    /// When it was last read from.
    pub(super) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a process reads from it now.
    pub(super) fn is_open(&self) -> bool {
        // Somebody who holds the lock is just reading.
        self.reader.try_lock().is_ok_and(|reader| reader.is_some())
    }

    /// Ends the process that reads from it, unless it is at work.
    pub(super) fn close(&self) {
        if let Ok(mut reader) = self.reader.try_lock() {
            *reader = None;
        }
    }

    /// Reads an object, at most `most` bytes of it.
    pub(super) async fn read(&self, name: &str, most: u64) -> Result<Object, PortError> {
        let mut reader = self.reader.lock().await;
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        // Out of its place while it is asked: if this is cancelled in the middle of an answer, it is not used again.
        let mut process = match reader.take() {
            Some(process) => process,
            None => CatFile::start(&self.path)?,
        };
        let object = process.ask(name, most).await?;
        if !matches!(object, Object::TooLarge(_)) {
            *reader = Some(process);
        }
        Ok(object)
    }

    /// Whether the commit is here.
    pub(super) async fn has(&self, commit: &CommitSha) -> Result<bool, PortError> {
        if !self.path.is_dir() {
            return Ok(false);
        }
        let object = self.read(&format!("{commit}^{{commit}}"), u64::MAX / 2).await;
        match object {
            Ok(object) => Ok(object == Object::Other),
            // Not a repository any more: the fetch that follows finds out and makes a new one.
            Err(PortError::Retry { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fetches what is missing for this commit.
    pub(super) async fn ensure(
        &self,
        source: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
        slots: &Semaphore,
    ) -> Result<(), NotThere> {
        if self.has(commit).await? {
            return Ok(());
        }
        let mut fetches = self.fetches.lock().await;
        // Others may have fetched it while this one waited.
        if self.has(commit).await? {
            return Ok(());
        }
        let _slot = slots.acquire().await.map_err(|_| PortError::fatal("the server stops"))?;
        *fetches += 1;
        let mut rebuilt = false;
        loop {
            match self.fetch(source, commit, git_ref).await {
                Err(Failure::Git(printed)) => match words::judge(&printed) {
                    Trouble::Damaged if !rebuilt => {
                        rebuilt = true;
                        tracing::warn!(mirror = %self.path.display(), "a mirror is damaged and is made again");
                        self.remove().await?;
                    }
                    Trouble::Missing | Trouble::Unadvertised => {
                        return Err(NotThere::NoCommit(words::readable(&printed)));
                    }
                    trouble => return Err(port_error(source, trouble, &printed).into()),
                },
                Err(Failure::Port(error)) => return Err(error.into()),
                Ok(()) => break,
            }
        }
        if fetches.is_multiple_of(TIDY) {
            self.tidy().await;
        }
        if self.has(commit).await? {
            return Ok(());
        }
        Err(NotThere::NoCommit(format!("no branch or tag of the repository leads to {commit}")))
    }

    /// Fetches all branches and tags.
    pub(super) async fn fetch_all(&self, source: &RepositorySource, slots: &Semaphore) -> Result<(), PortError> {
        let mut fetches = self.fetches.lock().await;
        let _slot = slots.acquire().await.map_err(|_| PortError::fatal("the server stops"))?;
        *fetches += 1;
        let everything = async {
            self.make(40).await?;
            self.fetch_refs(source, Some("--prune"), &EVERYTHING).await
        };
        everything.await.map_err(|failure| failed(source, failure))
    }

    async fn fetch(&self, source: &RepositorySource, commit: &CommitSha, git_ref: Option<&str>) -> Result<(), Failure> {
        self.make(commit.as_str().len()).await?;
        // What was fetched is kept under a name, because git tells the other side only of what has a name that it is
        // here. Names are hashes: branches come and go, and `a` cannot be kept beside `a/b`.
        let git_ref = git_ref.filter(|name| name.starts_with("refs/") && names::is_ref(name));
        let slot = hex::encode(&Sha256::digest(git_ref.unwrap_or_default())[..8]);
        let by_id = self.fetch_refs(source, None, &[format!("+{commit}:refs/tidegate/by-ref/{slot}")]).await;
        match &by_id {
            Err(Failure::Git(printed)) if words::judge(printed) == Trouble::Unadvertised => {}
            _ => return by_id,
        }
        // An old server, or one that is only a directory behind HTTP: by the ref, and then by all of them.
        if let Some(git_ref) = git_ref {
            match self.fetch_refs(source, None, &[format!("+{git_ref}:refs/tidegate/by-ref/{slot}")]).await {
                Ok(()) if self.has(commit).await.map_err(Failure::Port)? => return Ok(()),
                Ok(()) => {}
                Err(Failure::Git(printed)) if words::judge(&printed) == Trouble::Missing => {}
                Err(failure) => return Err(failure),
            }
        }
        // What is gone there has to go here: `a` that is gone would be in the way of `a/b` that is new.
        self.fetch_refs(source, Some("--prune"), &EVERYTHING).await
    }

    async fn fetch_refs(
        &self,
        source: &RepositorySource,
        option: Option<&str>,
        refspecs: &[impl AsRef<str>],
    ) -> Result<(), Failure> {
        let url = source.clone_url.as_str();
        let mut args = vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"];
        args.extend(option);
        args.extend(tidegate_git::remote_args(url));
        args.extend(["--", url]);
        args.extend(refspecs.iter().map(AsRef::as_ref));
        let mut command = git(Some(&self.path), &args);
        lend(&mut command, &*self.credentials, source).await.map_err(Failure::Port)?;
        command::run(command, FETCH).await.map(drop)
    }

    /// Makes the mirror unless it is there, for ids of this length.
    async fn make(&self, id_length: usize) -> Result<(), Failure> {
        if self.path.join("HEAD").is_file() {
            return Ok(());
        }
        self.remove().await.map_err(Failure::Port)?;
        // Under another name first: under its own it is complete.
        let new = self.path.with_extension("new");
        let failed = |error| Failure::Port(files::port_error("write", &new, &error));
        files::remove_tree(&new).map_err(failed)?;
        let format = if id_length == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        let mut command = git(None, &["init", "--quiet", "--bare", "--template=", format, "--"]);
        command.arg(&new);
        command::run(command, LOCAL).await?;
        fs::rename(&new, &self.path).map_err(failed)
    }

    async fn remove(&self) -> Result<(), PortError> {
        *self.reader.lock().await = None;
        let path = self.path.clone();
        crate::blocking::blocking(move || {
            files::remove_tree(&path).map_err(|error| files::port_error("remove", &path, &error))
        })
        .await
    }

    /// Lets git join its packs if it thinks there are too many.
    async fn tidy(&self) {
        let mut command = git(Some(&self.path), &["-c", "gc.auto=2000", "-c", "gc.autoDetach=false"]);
        command.args(["gc", "--auto", "--quiet"]);
        if let Err(failure) = command::run(command, FETCH).await {
            tracing::warn!(mirror = %self.path.display(), failure = ?failure, "cannot tidy up a mirror");
        }
    }

    /// The commit that this expression, such as the beginning of an id, means here.
    pub(super) async fn expand(&self, abbreviated: &str) -> Result<Option<CommitSha>, PortError> {
        let name = format!("{abbreviated}^{{commit}}");
        let command = git(Some(&self.path), &["rev-parse", "--quiet", "--verify", &name]);
        match command::run(command, LOCAL).await {
            Ok(answer) => Ok(CommitSha::new(String::from_utf8_lossy(&answer).trim()).ok()),
            // None, or several.
            Err(Failure::Git(_)) => Ok(None),
            Err(Failure::Port(error)) => Err(error),
        }
    }

    /// What a commit that is here says of itself.
    pub(super) async fn commit_info(&self, commit: &CommitSha) -> Result<CommitInfo, PortError> {
        let format = "--format=%an%x00%ae%x00%B";
        let args = ["show", "--no-patch", "--no-show-signature", "--encoding=UTF-8", format, commit.as_str(), "--"];
        match command::run(git(Some(&self.path), &args), LOCAL).await {
            Ok(answer) => {
                let answer = String::from_utf8_lossy(&answer);
                let mut parts = answer.splitn(3, '\0').map(str::to_owned);
                let mut next = || parts.next().unwrap_or_default();
                let (author_name, author_email) = (next(), next());
                // Git ends the message with a line end and the answer with another one.
                Ok(CommitInfo { message: next().trim_end_matches('\n').to_owned(), author_name, author_email })
            }
            Err(Failure::Git(printed)) => {
                Err(PortError::retry(format!("cannot read {commit}: {}", words::readable(&printed))))
            }
            Err(Failure::Port(error)) => Err(error),
        }
    }

    /// Paths that a commit changes since its history left that of `base`, or by itself where it did not. Both are here.
    pub(super) async fn changed(&self, base: &CommitSha, head: &CommitSha) -> Result<Vec<String>, PortError> {
        let fork = match command::run(git(Some(&self.path), &["merge-base", base.as_str(), head.as_str()]), LOCAL).await
        {
            Ok(answer) => String::from_utf8_lossy(&answer).trim().to_owned(),
            Err(Failure::Git(_)) => {
                return Err(PortError::reject(format!("{base} and {head} have no common history")));
            }
            Err(Failure::Port(error)) => return Err(error),
        };
        let first_parent = self.expand(&format!("{head}^1")).await?;
        let old =
            if fork == head.as_str() { first_parent.as_ref().map(CommitSha::as_str) } else { Some(fork.as_str()) };
        let mut args = vec!["diff-tree", "--root", "--no-commit-id", "-r", "-z", "--name-only", "--no-renames"];
        args.push("--no-ext-diff");
        args.extend(old);
        args.push(head.as_str());
        match command::run(git(Some(&self.path), &args), LOCAL).await {
            Ok(answer) => Ok(answer
                .split(|byte| *byte == 0)
                .filter(|path| !path.is_empty())
                .map(|path| String::from_utf8_lossy(path).into_owned())
                .collect()),
            Err(Failure::Git(printed)) => {
                Err(PortError::retry(format!("cannot compare {base} and {head}: {}", words::readable(&printed))))
            }
            Err(Failure::Port(error)) => Err(error),
        }
    }
}

const EVERYTHING: [&str; 2] = ["+refs/heads/*:refs/tidegate/heads/*", "+refs/tags/*:refs/tidegate/tags/*"];

/// Gives git the credential of the repository, if there is one. What the server reads of a repository is the owner's own
/// business, whoever pushed.
pub(super) async fn lend(
    command: &mut tokio::process::Command,
    credentials: &dyn GitCredentials,
    source: &RepositorySource,
) -> Result<(), PortError> {
    if credentials.has(source)
        && credential::is_http(&source.clone_url)
        && let Some(given) = credentials.for_reading(source, Trust::Trusted).await?
    {
        credential::lend(command.as_std_mut(), &source.clone_url, &given.username, &given.password);
    }
    Ok(())
}

/// The answer for a failure that is not about a commit.
pub(super) fn failed(source: &RepositorySource, failure: Failure) -> PortError {
    match failure {
        Failure::Port(error) => error,
        Failure::Git(printed) => port_error(source, words::judge(&printed), &printed),
    }
}

fn port_error(source: &RepositorySource, trouble: Trouble, printed: &str) -> PortError {
    let why = format!("cannot read the repository `{}`: {}", source.full_name, words::readable(printed));
    match trouble {
        Trouble::Missing | Trouble::Unadvertised | Trouble::Refused => PortError::reject(why),
        Trouble::DiskFull => PortError::fatal(why),
        Trouble::Damaged | Trouble::Passing => PortError::retry(why),
    }
}

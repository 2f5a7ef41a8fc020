use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::ids::{CommitSha, RepositoryId};
use tidegate_engine::ports::{CommitInfo, FileAt, GitCredentials, PortError, Repositories, RepositorySource};
use tidegate_git::{names, remote_args};
use tokio::sync::Semaphore;

use super::cat_file::Object;
use super::command::{self, git};
use super::mirror::{IDLE, Mirror, NotThere, failed, lend};
use crate::state_dir::StateDir;

/// Fetches at a time, over all repositories.
const FETCHES: usize = 4;
/// Processes that wait to read, over all repositories.
const READERS: usize = 8;
const ASK: Duration = Duration::from_secs(120);

/// Repositories through the git command, each with a bare mirror.
///
/// A commit is fetched when it is read for the first time; after that a file costs neither the network nor a process.
/// Credentials are configured, or else the owner's business: git finds them through his configuration (credential helpers,
/// ssh).
#[derive(Clone, Debug)]
pub struct GitRepositories {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    credentials: Arc<dyn GitCredentials>,
    mirrors: Mutex<HashMap<RepositoryId, Arc<Mirror>>>,
    fetches: Semaphore,
    /// Bytes of the largest file that is read.
    largest: u64,
}

impl GitRepositories {
    /// The repositories of the server that holds the state directory, read with these credentials. Files of more than
    /// `largest` bytes are not read: `bytes` in the `[limits]` table of the configuration. Must be called within a runtime,
    /// which ends idle processes.
    pub fn open(state: &StateDir, largest: u64, credentials: Arc<dyn GitCredentials>) -> Self {
        let inner = Arc::new(Inner {
            directory: state.repositories(),
            credentials,
            mirrors: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
            largest,
        });
        tokio::spawn(end_idle(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// A mirror in which the commit is.
    async fn with_commit(
        &self,
        source: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
    ) -> Result<Arc<Mirror>, NotThere> {
        let mirror = self.inner.mirror(source)?;
        mirror.ensure(source, commit, git_ref, &self.inner.fetches).await?;
        Ok(mirror)
    }
}

impl Inner {
    fn mirrors(&self) -> MutexGuard<'_, HashMap<RepositoryId, Arc<Mirror>>> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirror(&self, source: &RepositorySource) -> Result<Arc<Mirror>, PortError> {
        if let Some(reason) = names::refuse_url(&source.clone_url) {
            return Err(PortError::reject(format!(
                "the clone URL `{}` of `{}` is not used: {reason}",
                source.clone_url.escape_debug(),
                source.full_name
            )));
        }
        let mut mirrors = self.mirrors();
        let mirror = mirrors.entry(source.id).or_insert_with(|| {
            let path = self.directory.join(format!("{}.git", source.id));
            Arc::new(Mirror::new(path, Arc::clone(&self.credentials)))
        });
        let mirror = Arc::clone(mirror);
        make_room(&mirrors, &mirror);
        Ok(mirror)
    }
}

/// Ends the process that was idle for the longest time, where another one is about to be started.
fn make_room(mirrors: &HashMap<RepositoryId, Arc<Mirror>>, wanted: &Arc<Mirror>) {
    if wanted.is_open() {
        return;
    }
    let mut open: Vec<&Arc<Mirror>> = mirrors.values().filter(|mirror| mirror.is_open()).collect();
    open.sort_by_key(|mirror| mirror.used());
    for mirror in open.iter().take((open.len() + 1).saturating_sub(READERS)) {
        mirror.close();
    }
}

async fn end_idle(repositories: Weak<Inner>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(inner) = repositories.upgrade() else {
            return;
        };
        for mirror in inner.mirrors().values() {
            if mirror.used().elapsed() > IDLE {
                mirror.close();
            }
        }
    }
}

#[async_trait]
impl Repositories for GitRepositories {
    async fn files(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
        paths: &[&str],
    ) -> Result<Vec<FileAt>, PortError> {
        let mirror = self
            .with_commit(repository, commit, git_ref)
            .await
            .map_err(|reason| no_commit(repository, commit, reason))?;
        let mut files = Vec::with_capacity(paths.len());
        for text in paths {
            let content = match names::path(text) {
                None => None,
                Some(path) => match mirror.read(&format!("{commit}:{path}"), self.inner.largest).await? {
                    Object::Blob(content) => Some(content),
                    Object::Missing | Object::Other => None,
                    Object::TooLarge(size) => {
                        return Err(PortError::reject(format!(
                            "the file `{path}` at {commit} has {size} bytes, more than the cap of {}: the cap is `bytes` in the \
                             `[limits]` table of the configuration",
                            self.inner.largest
                        )));
                    }
                },
            };
            files.push(FileAt { path: (*text).to_owned(), content });
        }
        Ok(files)
    }

    async fn commit(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
    ) -> Result<CommitInfo, PortError> {
        let mirror = self
            .with_commit(repository, commit, git_ref)
            .await
            .map_err(|reason| no_commit(repository, commit, reason))?;
        mirror.commit_info(commit).await
    }

    async fn resolve(&self, repository: &RepositorySource, name: &str) -> Result<Option<CommitSha>, PortError> {
        let mirror = self.inner.mirror(repository)?;
        if let Ok(commit) = CommitSha::new(name) {
            return match self.with_commit(repository, &commit, None).await {
                Ok(_) => Ok(Some(commit)),
                Err(NotThere::NoCommit(_)) => Ok(None),
                Err(NotThere::Port(error)) => Err(error),
            };
        }
        let mut args = vec!["ls-remote", "--quiet"];
        args.extend(remote_args(&repository.clone_url));
        args.extend(["--", &repository.clone_url]);
        // Asked for nothing that exists where the name is none: whether the repository is there is answered all the same.
        let wanted = if names::is_ref(name) { candidates(name) } else { Vec::new() };
        let patterns = if wanted.is_empty() { vec!["HEAD".to_owned()] } else { wanted.clone() };
        args.extend(patterns.iter().map(String::as_str));
        let mut command = git(None, &args);
        lend(&mut command, &*self.inner.credentials, repository).await?;
        let answer = command::run(command, ASK).await.map_err(|failure| failed(repository, failure))?;
        let found = pick(&String::from_utf8_lossy(&answer), &wanted);
        if found.is_some() || !names::is_abbreviated_id(name) {
            return Ok(found);
        }
        mirror.fetch_all(repository, &self.inner.fetches).await?;
        mirror.expand(name).await
    }

    async fn changed_files(
        &self,
        repository: &RepositorySource,
        base: &CommitSha,
        head: &CommitSha,
    ) -> Result<Vec<String>, PortError> {
        let mut mirror = None;
        for commit in [head, base] {
            let ensured = self.with_commit(repository, commit, None).await;
            mirror = Some(ensured.map_err(|reason| no_commit(repository, commit, reason))?);
        }
        match mirror {
            Some(mirror) => mirror.changed(base, head).await,
            None => Ok(Vec::new()),
        }
    }
}

fn no_commit(repository: &RepositorySource, commit: &CommitSha, reason: NotThere) -> PortError {
    match reason {
        NotThere::Port(error) => error,
        NotThere::NoCommit(words) => {
            PortError::reject(format!("the repository `{}` has no commit {commit}: {words}", repository.full_name))
        }
    }
}

/// The refs that a name may mean, the first that exists counts. `^{}` is the commit behind a tag with a message.
fn candidates(name: &str) -> Vec<String> {
    if name == "HEAD" {
        vec![name.to_owned()]
    } else if name.starts_with("refs/") {
        vec![format!("{name}^{{}}"), name.to_owned()]
    } else {
        vec![format!("refs/heads/{name}"), format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}")]
    }
}

/// The commit of the first of these refs that is listed. Git lists more than these: whatever ends so.
fn pick(listed: &str, wanted: &[String]) -> Option<CommitSha> {
    wanted.iter().find_map(|wanted| {
        listed.lines().find_map(|line| {
            let (id, name) = line.split_once('\t')?;
            (name == wanted).then(|| CommitSha::new(id).ok())?
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_come_before_tags_and_tags_mean_their_commit() {
        let id = |digit: char| digit.to_string().repeat(40);
        let listed = format!(
            "{}\trefs/heads/a/v1\n{}\trefs/heads/v1\n{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\trefs/tags/v2\n",
            id('1'),
            id('2'),
            id('3'),
            id('4'),
            id('5')
        );
        for (name, expected) in
            [("v1", Some('2')), ("refs/tags/v1", Some('4')), ("v2", Some('5')), ("v3", None), ("HEAD", None)]
        {
            let found = pick(&listed, &candidates(name));
            assert_eq!(found.map(String::from), expected.map(id), "{name}");
        }
    }
}

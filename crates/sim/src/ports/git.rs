use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::ids::{CommitSha, RepositoryId};
use tidegate_engine::ports::{CommitInfo, FileAt, PortError, Repositories, RepositorySource};

use crate::exec::lock;
use crate::sabotage;
use crate::world::{Side, World};

/// A repository: files of commits, what they follow, and where refs point.
#[derive(Default)]
pub(crate) struct GitRepo {
    pub(crate) commits: BTreeMap<String, BTreeMap<String, Bytes>>,
    pub(crate) parents: BTreeMap<String, String>,
    pub(crate) refs: BTreeMap<String, String>,
}

#[derive(Default)]
pub(crate) struct GitState {
    pub(crate) repos: BTreeMap<RepositoryId, GitRepo>,
}

impl World {
    async fn with_repo<T>(
        &self,
        repository: &RepositorySource,
        read: impl FnOnce(&GitRepo) -> Result<T, PortError> + Send,
    ) -> Result<T, PortError> {
        let fate = self.before(Side::Git).await?;
        let answer = match lock(&self.git).repos.get(&repository.id) {
            Some(repo) => read(repo),
            None => Err(PortError::reject(format!("there is no repository `{}`", repository.clone_url))),
        };
        self.after(fate).await?;
        answer
    }
}

impl GitRepo {
    /// A commit and those before it.
    fn history(&self, commit: &CommitSha) -> Vec<&str> {
        let newest = self.commits.get_key_value(commit.as_str()).map(|(id, _)| id);
        std::iter::successors(newest, |id| self.parents.get(*id)).map(String::as_str).collect()
    }
}

fn files<'a>(repo: &'a GitRepo, commit: &CommitSha) -> Result<&'a BTreeMap<String, Bytes>, PortError> {
    repo.commits.get(commit.as_str()).ok_or_else(|| PortError::reject(format!("there is no commit {commit}")))
}

#[async_trait]
impl Repositories for World {
    async fn files(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        git_ref: Option<&str>,
        paths: &[&str],
    ) -> Result<Vec<FileAt>, PortError> {
        let head = sabotage::reads_the_head(self);
        self.with_repo(repository, |repo| {
            let head = git_ref.filter(|_| head).and_then(|name| CommitSha::new(repo.refs.get(name)?).ok());
            let tree = files(repo, head.as_ref().unwrap_or(commit))?;
            if paths.iter().any(|path| tree.get(*path).is_some_and(|content| content.len() > 1 << 20)) {
                return Err(PortError::reject("a file over 1 MiB"));
            }
            Ok(paths.iter().map(|p| FileAt { path: (*p).to_owned(), content: tree.get(*p).cloned() }).collect())
        })
        .await
    }

    async fn commit(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        _git_ref: Option<&str>,
    ) -> Result<CommitInfo, PortError> {
        self.with_repo(repository, |repo| {
            files(repo, commit)?;
            Ok(CommitInfo {
                message: "a change".to_owned(),
                author_name: "Ann".to_owned(),
                author_email: "ann@example.com".to_owned(),
            })
        })
        .await
    }

    async fn resolve(&self, repository: &RepositorySource, name: &str) -> Result<Option<CommitSha>, PortError> {
        self.with_repo(repository, |repo| {
            let names = [name.to_owned(), format!("refs/heads/{name}"), format!("refs/tags/{name}")];
            let found = names.iter().find_map(|n| repo.refs.get(n)).map(String::as_str);
            let found = found.or_else(|| repo.commits.contains_key(name).then_some(name));
            Ok(found.and_then(|sha| CommitSha::new(sha).ok()))
        })
        .await
    }

    async fn changed_files(
        &self,
        repository: &RepositorySource,
        base: &CommitSha,
        head: &CommitSha,
    ) -> Result<Vec<String>, PortError> {
        self.with_repo(repository, |repo| {
            let (base, own) = (repo.history(base), repo.history(head));
            let Some(fork) = own.iter().position(|id| base.contains(id)) else {
                return Err(PortError::reject("no common history"));
            };
            let none = BTreeMap::new();
            let old = own.get(fork.max(1)).and_then(|id| repo.commits.get(*id)).unwrap_or(&none);
            let new = files(repo, head)?;
            let mut changed: Vec<String> =
                old.keys().chain(new.keys()).filter(|p| old.get(*p) != new.get(*p)).cloned().collect();
            changed.sort();
            changed.dedup();
            Ok(changed)
        })
        .await
    }
}

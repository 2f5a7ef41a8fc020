//! A bare repository with everything of a remote one, made once per machine and brought up to date when a commit is
//! missing.
//!
//! Many jobs of several processes use a mirror at once. Reading takes the lock shared, changing takes it alone. A new
//! mirror is made under another name and renamed when it is complete, so that a crash leaves nothing half-made under
//! its own. Fetched objects always become packs (`fetch.unpackLimit`), which is what workspaces link to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_core::ids::CommitSha;

use super::git::Git;
use super::lock::{Hold, lock};
use super::workspace::{CLONE_REFS, core_config};
use crate::job::remove_tree;

/// More packs than this are joined.
const MANY_PACKS: usize = 24;

/// The mirror of a repository.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) path: PathBuf,
    lock: PathBuf,
}

impl Mirror {
    /// The mirror's place. The error says why the id cannot name one.
    pub(crate) fn new(mirrors: &Path, repository: &str) -> Result<Self, String> {
        let harmless = !repository.is_empty()
            && repository.len() <= 100
            && !repository.starts_with('.')
            && repository.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !harmless {
            return Err(format!("`{repository}` cannot name a repository"));
        }
        Ok(Self { path: mirrors.join(format!("{repository}.git")), lock: mirrors.join(format!("{repository}.lock")) })
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.join("HEAD").is_file()
    }

    pub(crate) async fn lock_shared(&self) -> Result<File, String> {
        lock(&self.lock, Hold::Shared).await
    }

    async fn lock_alone(&self) -> Result<File, String> {
        lock(&self.lock, Hold::Alone).await
    }

    /// Deletes a damaged mirror.
    pub(crate) async fn remove(&self) -> Result<(), String> {
        let _lock = self.lock_alone().await?;
        remove_tree(&self.path).map_err(|e| format!("cannot remove the mirror `{}`: {e}", self.path.display()))
    }

    /// Makes the mirror if there is none, and fetches if it lacks the commit. The error is git's own words.
    pub(crate) async fn update(
        &self,
        git: &Git<'_>,
        url: &str,
        git_ref: Option<&str>,
        commit: &CommitSha,
    ) -> Result<(), String> {
        let _lock = self.lock_alone().await?;
        if self.exists() {
            if !self.has(git, &self.path, commit).await? {
                git.log.say(format!("Fetching {url}")).await;
                self.fetch(git, &self.path, url, git_ref, commit).await?;
                self.join_packs(git).await;
            }
            return Ok(());
        }
        git.log.say(format!("Cloning {url}")).await;
        let new = self.path.with_extension("new");
        let made = async {
            remove_tree(&new).map_err(|e| e.to_string())?;
            make_bare(&new, commit).map_err(|e| format!("cannot make `{}`: {e}", new.display()))?;
            self.fetch(git, &new, url, git_ref, commit).await?;
            std::fs::rename(&new, &self.path).map_err(|e| format!("cannot rename `{}`: {e}", new.display()))
        }
        .await;
        if made.is_err() {
            // What is left is removed by the next try, if not now.
            let _ = remove_tree(&new);
        }
        made
    }

    /// All branches and tags, so that what a job compares with is current too; what the commit needs beyond that.
    async fn fetch(
        &self,
        git: &Git<'_>,
        mirror: &Path,
        url: &str,
        git_ref: Option<&str>,
        commit: &CommitSha,
    ) -> Result<(), String> {
        fetch(git, mirror, url, &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]).await?;
        let mut refused = None;
        if !self.has(git, mirror, commit).await?
            && let Some(name) = git_ref.filter(|name| is_other_ref(name))
        {
            // A ref that is gone by now (a closed pull request) need not be the end: the commit may still be had.
            refused = fetch(git, mirror, url, &[&format!("+{name}:{name}")]).await.err();
        }
        if !self.has(git, mirror, commit).await?
            && let Err(why) = fetch(git, mirror, url, &[commit.as_str()]).await
        {
            return Err(refused.map_or_else(|| why.clone(), |refused| format!("{refused}\n{why}")));
        }
        let refs = git
            .run(
                mirror,
                &["for-each-ref", "--format=%(objectname) %(refname) %(*objectname)", "refs/heads", "refs/tags"],
            )
            .await?;
        std::fs::write(mirror.join(CLONE_REFS), clone_refs(&String::from_utf8_lossy(&refs)))
            .map_err(|e| format!("cannot write to `{}`: {e}", mirror.display()))
    }

    async fn has(&self, git: &Git<'_>, mirror: &Path, commit: &CommitSha) -> Result<bool, String> {
        let object = format!("{commit}^{{commit}}");
        match git.run(mirror, &["cat-file", "-e", &object]).await {
            Ok(_) => Ok(true),
            Err(why) if why.to_ascii_lowercase().contains("not a git repository") => Err(why),
            Err(_) => Ok(false),
        }
    }

    /// Keeps the number of packs bounded. Workspaces have links of their own to what is replaced.
    async fn join_packs(&self, git: &Git<'_>) {
        let packs = std::fs::read_dir(self.path.join("objects/pack"))
            .map(|entries| entries.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "pack")).count())
            .unwrap_or(0);
        if packs > MANY_PACKS
            && let Err(why) = git.run(&self.path, &["repack", "--quiet", "-d", "--geometric=2"]).await
        {
            tracing::warn!(error = why, "the packs of a mirror are not joined");
        }
    }
}

async fn fetch(git: &Git<'_>, mirror: &Path, url: &str, refs: &[&str]) -> Result<(), String> {
    let mut args = vec![
        "-c",
        "fetch.unpackLimit=1",
        "-c",
        "transfer.unpackLimit=1",
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
    ];
    if refs.len() > 1 {
        // A branch `a` that is gone would be in the way of a branch `a/b`.
        args.push("--prune");
    }
    args.extend(tidegate_git::remote_args(url));
    args.extend(["--", url]);
    args.extend(refs);
    git.run(mirror, &args).await.map(drop)
}

fn is_other_ref(name: &str) -> bool {
    name.starts_with("refs/")
        && !name.starts_with("refs/heads/")
        && !name.starts_with("refs/tags/")
        && !name.contains([':', '*', '+', '^', ' '])
}

fn make_bare(path: &Path, commit: &CommitSha) -> io::Result<()> {
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        std::fs::create_dir_all(path.join(directory))?;
    }
    std::fs::write(path.join("config"), core_config(commit, true))?;
    // Last: it is what makes a directory a repository.
    std::fs::write(path.join("HEAD"), "ref: refs/heads/main\n")
}

/// The lines of `packed-refs` of a clone: branches become remote branches. Sorted by name, as its header claims.
fn clone_refs(listed: &str) -> String {
    let mut refs: Vec<(String, String)> = listed
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (id, name) = (words.next()?, words.next()?);
            let name = match name.strip_prefix("refs/heads/") {
                Some(branch) => format!("refs/remotes/origin/{branch}"),
                None => name.to_owned(),
            };
            let peeled = match words.next() {
                Some(peeled) if !peeled.is_empty() => format!("\n^{peeled}"),
                _ => String::new(),
            };
            Some((name.clone(), format!("{id} {name}{peeled}\n")))
        })
        .collect();
    refs.sort();
    let lines: String = refs.into_iter().map(|(_, line)| line).collect();
    format!("# pack-refs with: peeled fully-peeled sorted \n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_become_remote_branches_and_tags_stay() {
        let listed = "1 refs/heads/main \n2 refs/heads/a/b \n3 refs/tags/v1 4\n";
        assert_eq!(
            clone_refs(listed),
            "# pack-refs with: peeled fully-peeled sorted \n\
             2 refs/remotes/origin/a/b\n1 refs/remotes/origin/main\n3 refs/tags/v1\n^4\n"
        );
    }

    #[test]
    fn an_id_cannot_leave_the_directory() {
        for bad in ["", "..", ".x", "a/b", "a b", "-\0"] {
            assert!(Mirror::new(Path::new("/m"), bad).is_err(), "{bad}");
        }
        let mirror = Mirror::new(Path::new("/m"), "123").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(mirror.path, Path::new("/m/123.git"));
    }
}

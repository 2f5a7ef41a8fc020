//! The checkout: the exact commit in a clean directory, from a mirror that is shared by the jobs of a machine.
//!
//! The usual case costs one git process. The workspace's `.git` is written by hand with hard links to the mirror's
//! packs, so that it is complete in itself (a container sees no mirror) and outlives whatever happens to the mirror;
//! then `git checkout` makes the files. Only when that fails is the mirror looked at: is the commit missing, it is
//! fetched; is the mirror damaged, it is made again.
//!
//! A mirror answers for commits that it has without asking the server again. A pipeline that wants little history or
//! few files gets them directly from the server where there is no mirror yet ([`direct`]).

mod direct;
mod extras;
mod git;
mod lock;
mod mirror;
mod options;
mod persistence;
mod plugin;
mod workspace;

pub(crate) use plugin::{Wanted, fetch_plugin};

use tidegate_core::ids::CommitSha;
use tidegate_core::wire::gate::Checkout;
use tidegate_git::words::{Trouble, judge};

use crate::job::api::JobApi;
use crate::job::{Host, JobDir, JobEnv};
use crate::output::Log;
use git::{Access, Git};
use mirror::Mirror;
use options::Options;
use persistence::{Persistence, TRIES};
use workspace::Setup;

/// Why there is no checkout; the text is git's own where there is one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum CheckoutError {
    /// Trying again cannot help.
    #[error("{0}")]
    Permanent(String),
    /// Tried often enough.
    #[error("{0}")]
    Failed(String),
    /// No room.
    #[error("{0}")]
    DiskFull(String),
}

/// Makes the checkout in the attempt's directory, and says which commit it is.
pub(crate) async fn check_out(
    host: &Host,
    log: &Log,
    wanted: &Checkout,
    dir: &JobDir,
    env: &JobEnv,
    api: &JobApi,
) -> Result<CommitSha, CheckoutError> {
    let options = Options::of(&wanted.options, env);
    if !options.unused.is_empty() {
        log.say(format!("These flags for git have no effect here: {}", options.unused.join(" "))).await;
    }
    let mut git = Git::new(host, log, dir);
    if wanted.credentials {
        git = git.with_access(Access::to(&wanted.url, api));
    }
    if options.lfs.is_some() {
        // Either not at all, or all at once in the end.
        git = git.with_variable("GIT_LFS_SKIP_SMUDGE", "1");
    }
    let commit = if wanted.commit.eq_ignore_ascii_case("HEAD") {
        head(&git, wanted).await?
    } else {
        CommitSha::new(wanted.commit.to_ascii_lowercase()).map_err(|e| CheckoutError::Permanent(e.to_string()))?
    };
    let mirror = Mirror::new(&host.instance.mirrors_dir, &wanted.repository).map_err(CheckoutError::Permanent)?;
    let try_to = TryTo { git: &git, mirror: &mirror, wanted, commit: &commit, options: &options };
    try_to.check_out().await?;
    if options.lfs != Some(false) {
        extras::large_files(&git, &wanted.url, &options, env).await?;
    }
    if options.submodules && dir.checkout.join(".gitmodules").is_file() {
        extras::submodules(&git, &wanted.url).await?;
    }
    Ok(commit)
}

/// What the ref of the job points at now, or the default branch.
async fn head(git: &Git<'_>, wanted: &Checkout) -> Result<CommitSha, CheckoutError> {
    let name = wanted.git_ref.as_deref().unwrap_or("HEAD");
    let peeled = format!("{name}^{{}}");
    let mut args = vec!["ls-remote", "--quiet"];
    args.extend(tidegate_git::remote_args(&wanted.url));
    args.extend(["--", &wanted.url, name, &peeled]);
    let mut persistence = Persistence::new(git.log, &wanted.url);
    loop {
        let why = match git.run(&git.dir.root, &args).await {
            Ok(answer) => {
                let listed = String::from_utf8_lossy(&answer).into_owned();
                let find = |wanted: &str| {
                    listed.lines().filter_map(|line| line.split_once('\t')).find(|(_, found)| *found == wanted)
                };
                match find(&peeled).or_else(|| find(name)).map(|(id, _)| CommitSha::new(id)) {
                    Some(Ok(commit)) => {
                        git.log.say(format!("{name} is {commit}")).await;
                        return Ok(commit);
                    }
                    Some(Err(error)) => return Err(CheckoutError::Permanent(error.to_string())),
                    None => format!("fatal: couldn't find remote ref {name}"),
                }
            }
            Err(why) => why,
        };
        persistence.after(why).await?;
    }
}

pub(super) struct TryTo<'a> {
    git: &'a Git<'a>,
    mirror: &'a Mirror,
    wanted: &'a Checkout,
    commit: &'a CommitSha,
    options: &'a Options,
}

impl TryTo<'_> {
    async fn check_out(&self) -> Result<(), CheckoutError> {
        if !self.mirror.exists() {
            if self.options.depth.is_some() || self.options.filter.is_some() {
                match self.directly().await {
                    // A server that hands out what its refs point at and nothing else.
                    Err(CheckoutError::Permanent(why)) if judge(&why) == Trouble::Unadvertised => {}
                    other => return other,
                }
            }
        } else if self.take().await.is_ok() {
            // A failure here only says that the mirror must be looked at.
            return Ok(());
        }
        self.insist().await
    }

    fn setup(&self) -> Setup<'_> {
        Setup {
            url: &self.wanted.url,
            commit: self.commit,
            git_ref: self.wanted.git_ref.as_deref(),
            credentials: self.wanted.credentials,
            filter: self.options.filter.as_deref(),
        }
    }

    /// From the mirror as it is.
    async fn take(&self) -> Result<(), String> {
        let checkout = &self.git.dir.checkout;
        let taken = async {
            let failed = |e: std::io::Error| format!("cannot prepare `{}`: {e}", checkout.display());
            let _lock = self.mirror.lock_shared().await?;
            // What a mirror has need not be fetched later.
            let setup = Setup { filter: None, ..self.setup() };
            workspace::prepare(checkout, &setup).map_err(failed)?;
            workspace::link(&self.mirror.path, checkout).map_err(failed)?;
            match self.options.depth {
                None => {}
                Some(1) => {
                    workspace::cut(checkout, &setup).map_err(failed)?;
                }
                Some(depth) => {
                    // All that it asks for is here: it only finds out where history ends.
                    let source = self.mirror.path.display().to_string();
                    self.fetch(&source, &[self.commit.as_str()], Some(depth), None).await?;
                    workspace::only_ref(checkout, &setup).map_err(failed)?;
                }
            }
            Ok(())
        };
        let head = match taken.await {
            Ok(()) => self.files().await,
            Err(why) => Err(why),
        };
        if head.is_err() {
            workspace::clear(checkout).map_err(|e| format!("cannot clear `{}`: {e}", checkout.display()))?;
        }
        head
    }

    /// The files of the commit, of which everything is there.
    async fn files(&self) -> Result<(), String> {
        let checkout = &self.git.dir.checkout;
        if !self.options.sparse.is_empty() {
            let mut args = vec!["sparse-checkout", "set", "--cone", "--"];
            args.extend(self.options.sparse.iter().map(String::as_str));
            self.git.run(checkout, &args).await?;
        }
        let args = ["checkout", "--quiet", "--force", "--detach", self.commit.as_str()];
        self.git.run(checkout, &args).await.map(drop)
    }

    /// Brings the mirror into a state from which the commit can be taken, with patience but not without end.
    async fn insist(&self) -> Result<(), CheckoutError> {
        let mut persistence = Persistence::new(self.git.log, &self.wanted.url);
        let mut renewed = false;
        loop {
            let (trouble, why) = match self.update().await {
                Ok(()) => match self.take().await {
                    Ok(()) => return Ok(()),
                    // The commit is there and cannot be taken: the mirror is not what it should be.
                    Err(why) if judge(&why) == Trouble::DiskFull => return Err(CheckoutError::DiskFull(why)),
                    Err(why) => (Trouble::Damaged, why),
                },
                Err(why) => (judge(&why), why),
            };
            // A last try with a new mirror, in case it is damaged in a way that we do not recognise.
            let last = trouble == Trouble::Passing && persistence.tries + 2 == TRIES;
            if (trouble == Trouble::Damaged || last) && !renewed {
                renewed = true;
                if trouble == Trouble::Damaged {
                    self.git
                        .log
                        .say(format!("{why}\nThe mirror of the repository is damaged: making a new one."))
                        .await;
                }
                self.mirror.remove().await.map_err(CheckoutError::Failed)?;
                if trouble == Trouble::Damaged {
                    continue;
                }
            }
            persistence.after(why).await?;
        }
    }

    async fn update(&self) -> Result<(), String> {
        self.mirror.update(self.git, &self.wanted.url, self.wanted.git_ref.as_deref(), self.commit).await
    }
}

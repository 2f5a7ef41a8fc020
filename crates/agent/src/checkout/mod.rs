//! The checkout: the exact commit in a clean directory, from a mirror that is shared by the jobs of a machine.
//!
//! The usual case costs one git process. The workspace's `.git` is written by hand with hard links to the mirror's
//! packs, so that it is complete in itself (a container sees no mirror) and outlives whatever happens to the mirror;
//! then `git checkout` makes the files. Only when that fails is the mirror looked at: is the commit missing, it is
//! fetched; is the mirror damaged, it is made again.
//!
//! A mirror answers for commits that it has without asking the server again.

mod classify;
mod git;
mod lock;
mod mirror;
mod plugin;
mod workspace;

pub(crate) use plugin::{Wanted, fetch_plugin};

use std::time::Duration;

use tidegate_core::ids::CommitSha;
use tidegate_core::wire::gate::Checkout;

use crate::gate::Pauses;
use crate::job::{Host, JobDir, JobEnv};
use crate::output::Log;
use classify::{Trouble, judge};
use git::Git;
use mirror::Mirror;

/// How often a checkout is tried before it fails.
const TRIES: u32 = 5;
/// A commit that was pushed a moment ago may not have reached every server of a forge yet.
const SECOND_LOOK: Duration = Duration::from_secs(1);

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

/// Makes the checkout in the attempt's directory.
pub(crate) async fn check_out(
    host: &Host,
    log: &Log,
    wanted: &Checkout,
    dir: &JobDir,
    env: &JobEnv,
) -> Result<(), CheckoutError> {
    let commit =
        CommitSha::new(wanted.commit.to_ascii_lowercase()).map_err(|e| CheckoutError::Permanent(e.to_string()))?;
    let git = Git::new(host, log, dir);
    let mirror = Mirror::new(&host.instance.mirrors_dir, &wanted.repository).map_err(CheckoutError::Permanent)?;
    let try_to = TryTo { git: &git, mirror: &mirror, wanted, commit: &commit };
    let done = if mirror.exists() {
        // A failure here only says that the mirror must be looked at.
        try_to.take().await.is_ok()
    } else {
        false
    };
    if !done {
        try_to.insist(log).await?;
    }
    if !env.is_off("BUILDKITE_GIT_SUBMODULES") && dir.checkout.join(".gitmodules").is_file() {
        submodules(&git, log).await?;
    }
    Ok(())
}

struct TryTo<'a> {
    git: &'a Git<'a>,
    mirror: &'a Mirror,
    wanted: &'a Checkout,
    commit: &'a CommitSha,
}

impl TryTo<'_> {
    /// From the mirror as it is.
    async fn take(&self) -> Result<(), String> {
        let checkout = &self.git.dir.checkout;
        {
            let _lock = self.mirror.lock_shared().await?;
            workspace::prepare(&self.mirror.path, checkout, &self.wanted.url, self.commit)
                .map_err(|e| format!("cannot prepare `{}`: {e}", checkout.display()))?;
        }
        let head = self.git.run(checkout, &["checkout", "--quiet", "--force", "--detach", self.commit.as_str()]).await;
        if head.is_err() {
            workspace::clear(checkout).map_err(|e| format!("cannot clear `{}`: {e}", checkout.display()))?;
        }
        head.map(drop)
    }

    /// Brings the mirror into a state from which the commit can be taken, with patience but not without end.
    async fn insist(&self, log: &Log) -> Result<(), CheckoutError> {
        let mut pauses = Pauses::between(Duration::from_millis(500), Duration::from_secs(16));
        let mut looked_twice = !is_remote(&self.wanted.url);
        let mut renewed = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let trouble = match self.update().await {
                Ok(()) => match self.take().await {
                    Ok(()) => return Ok(()),
                    // The commit is there and cannot be taken: the mirror is not what it should be.
                    Err(why) => match judge(&why) {
                        Trouble::DiskFull => return Err(CheckoutError::DiskFull(why)),
                        _ => (Trouble::Damaged, why),
                    },
                },
                Err(why) => (judge(&why), why),
            };
            match trouble {
                (Trouble::DiskFull, why) => return Err(CheckoutError::DiskFull(why)),
                (Trouble::Permanent, why) if looked_twice => {
                    return Err(CheckoutError::Permanent(why));
                }
                (Trouble::Permanent, _) => {
                    looked_twice = true;
                    tokio::time::sleep(SECOND_LOOK).await;
                }
                (_, why) if tries >= TRIES => return Err(CheckoutError::Failed(why)),
                (Trouble::Damaged, why) if !renewed => {
                    renewed = true;
                    log.say(format!("{why}\nThe mirror of the repository is damaged: making a new one.")).await;
                    self.mirror.remove().await.map_err(CheckoutError::Failed)?;
                }
                (_, why) => {
                    // A last try with a new mirror, in case it is damaged in a way we do not recognise.
                    if tries == TRIES - 1 && !renewed {
                        renewed = true;
                        self.mirror.remove().await.map_err(CheckoutError::Failed)?;
                    }
                    log.say(format!("{why}\nTrying again ({tries} of {TRIES} tries made).")).await;
                    pauses.pause().await;
                }
            }
        }
    }

    async fn update(&self) -> Result<(), String> {
        self.mirror.update(self.git, &self.wanted.url, self.wanted.git_ref.as_deref(), self.commit).await
    }
}

/// Whether a server answers, which may lag behind itself; not so a path.
fn is_remote(url: &str) -> bool {
    !(url.starts_with('/') || url.starts_with("file:") || url.starts_with('.'))
}

async fn submodules(git: &Git<'_>, log: &Log) -> Result<(), CheckoutError> {
    let mut pauses = Pauses::between(Duration::from_millis(500), Duration::from_secs(16));
    log.say("$ git submodule update --init --recursive --force").await;
    let mut tries = 0;
    loop {
        tries += 1;
        let args = ["submodule", "--quiet", "update", "--init", "--recursive", "--force"];
        let Err(why) = git.run(&git.dir.checkout, &args).await else {
            return Ok(());
        };
        match judge(&why) {
            Trouble::DiskFull => return Err(CheckoutError::DiskFull(why)),
            Trouble::Permanent => return Err(CheckoutError::Permanent(why)),
            Trouble::Damaged | Trouble::Passing if tries >= TRIES => {
                return Err(CheckoutError::Failed(why));
            }
            Trouble::Damaged | Trouble::Passing => {
                log.say(format!("{why}\nTrying again ({tries} of {TRIES} tries made).")).await;
                pauses.pause().await;
            }
        }
    }
}

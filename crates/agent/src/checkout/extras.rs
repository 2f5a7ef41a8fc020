//! What comes on top of the files of a commit: submodules, and the contents of files in Git LFS.

use std::path::Path;

use super::CheckoutError;
use super::git::Git;
use super::options::Options;
use super::persistence::Persistence;
use crate::job::JobEnv;

/// Fetches the submodules, and theirs.
pub(super) async fn submodules(git: &Git<'_>, url: &str) -> Result<(), CheckoutError> {
    git.log.say("$ git submodule update --init --recursive --force").await;
    let args = ["submodule", "--quiet", "update", "--init", "--recursive", "--force"];
    insist(git, url, &args).await
}

/// The contents of large files, if they are wanted; a word about it if they were needed and are not there.
pub(super) async fn large_files(
    git: &Git<'_>,
    url: &str,
    options: &Options,
    env: &JobEnv,
) -> Result<(), CheckoutError> {
    let wanted = options.lfs == Some(true);
    let here = is_on_path("git-lfs", env);
    match (wanted, here) {
        (true, true) => {}
        (true, false) => {
            let why = "the pipeline wants files from Git LFS (`lfs: true`), and this machine has no `git-lfs`: install \
                       it on the machine";
            return Err(CheckoutError::Permanent(why.to_owned()));
        }
        (false, _) => {
            if !here && uses_large_files(&git.dir.checkout) {
                let what = "This repository keeps files in Git LFS, and this machine has no `git-lfs`: they are here as \
                            pointers only.";
                git.log.say(what).await;
            }
            return Ok(());
        }
    }
    // The filters, into the configuration of this workspace only; hooks are for people.
    insist(git, url, &["lfs", "install", "--local", "--skip-repo"]).await?;
    git.log.say("$ git lfs pull").await;
    insist(git, url, &["lfs", "pull"]).await
}

async fn insist(git: &Git<'_>, url: &str, args: &[&str]) -> Result<(), CheckoutError> {
    let mut persistence = Persistence::new(git.log, url);
    loop {
        let Err(why) = git.run(&git.dir.checkout, args).await else {
            return Ok(());
        };
        persistence.after(why).await?;
    }
}

fn uses_large_files(checkout: &Path) -> bool {
    std::fs::read_to_string(checkout.join(".gitattributes")).is_ok_and(|text| text.contains("filter=lfs"))
}

fn is_on_path(program: &str, env: &JobEnv) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| env.get("PATH").unwrap_or_default().into());
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

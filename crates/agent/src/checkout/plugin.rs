//! Fetching plugins: once per machine and ref. A ref that moves is not followed, as in the reference, unless
//! `BUILDKITE_PLUGINS_ALWAYS_CLONE_FRESH` says so or no ref is given.

use std::path::{Path, PathBuf};

use super::CheckoutError;
use super::git::Git;
use super::lock::{Hold, lock};
use super::persistence::Persistence;
use crate::job::{Host, JobDir, remove_tree};
use crate::output::Log;

/// A plugin's repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    pub(crate) version: Option<&'a str>,
    /// The name of the directory among all plugins.
    pub(crate) name: &'a str,
    /// Even if it is there.
    pub(crate) fresh: bool,
}

/// Fetches a plugin and gives its directory.
pub(crate) async fn fetch_plugin(
    host: &Host,
    log: &Log,
    dir: &JobDir,
    wanted: Wanted<'_>,
) -> Result<PathBuf, CheckoutError> {
    let plugins = match &host.instance.plugins_dir {
        Some(directory) => directory.clone(),
        None => host.instance.mirrors_dir.join("plugins"),
    };
    let target = plugins.join(wanted.name);
    let _lock =
        lock(&plugins.join(format!("{}.lock", wanted.name)), Hold::Alone).await.map_err(CheckoutError::Failed)?;
    if target.is_dir() && !wanted.fresh && wanted.version.is_some() {
        return Ok(target);
    }
    if let Some(version) = wanted.version
        && (version.starts_with('-') || version.contains(char::is_control))
    {
        return Err(CheckoutError::Permanent(format!("`{version}` cannot be a ref")));
    }
    let source = local_source(host, wanted.url).unwrap_or_else(|| wanted.url.to_owned());
    let new = plugins.join(format!("{}.new", wanted.name));
    let git = Git::new(host, log, dir);
    let mut persistence = Persistence::new(log, &source);
    loop {
        let fetched = async {
            remove_tree(&new).map_err(|e| e.to_string())?;
            clone(&git, &plugins, &source, wanted.version, &new).await
        };
        match fetched.await {
            Ok(()) => break,
            Err(why) => persistence.after(why).await?,
        }
    }
    remove_tree(&target)
        .and_then(|()| std::fs::rename(&new, &target))
        .map_err(|e| CheckoutError::Failed(format!("cannot write `{}`: {e}", target.display())))?;
    Ok(target)
}

async fn clone(git: &Git<'_>, plugins: &Path, source: &str, version: Option<&str>, new: &Path) -> Result<(), String> {
    let target = new.display().to_string();
    let Some(version) = version else {
        return git.run(plugins, &["clone", "--quiet", "--depth=1", "--", source, &target]).await.map(drop);
    };
    let branch = format!("--branch={version}");
    let shallow = git.run(plugins, &["clone", "--quiet", "--depth=1", &branch, "--", source, &target]).await;
    match shallow {
        Ok(_) => Ok(()),
        Err(why) if why.contains("not found in upstream") => {
            // Neither branch nor tag: perhaps a commit.
            remove_tree(new).map_err(|e| e.to_string())?;
            git.run(plugins, &["clone", "--quiet", "--no-checkout", "--", source, &target]).await?;
            git.run(new, &["checkout", "--quiet", "--detach", version, "--"])
                .await
                .map(drop)
                // What the full repository does not have, nobody has.
                .map_err(|_| format!("fatal: couldn't find remote ref {version}"))
        }
        Err(why) => Err(why),
    }
}

/// The directory that stands for a remote repository on this machine, if there is one.
fn local_source(host: &Host, url: &str) -> Option<String> {
    let mirrors = host.instance.plugin_mirrors.as_ref()?;
    let (_, rest) = url.split_once("://")?;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/');
    let harmless = rest.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    let bare = rest.strip_suffix(".git").unwrap_or(rest);
    [bare.to_owned(), format!("{bare}.git")]
        .into_iter()
        .map(|name| mirrors.join(name))
        .find(|path| harmless && path.is_dir())
        .map(|path| path.display().to_string())
}

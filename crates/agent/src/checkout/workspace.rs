//! The `.git` directory of a workspace, written by hand: a `git clone` of a mirror on the same disk is a handful of
//! processes that come to the same.

use std::io;
use std::path::Path;

use tidegate_core::ids::CommitSha;
use tidegate_git::{credential, names};

/// The mirror's refs as a clone would have them, kept by [`super::mirror`].
pub(crate) const CLONE_REFS: &str = "tidegate-clone-refs";

/// What a workspace is told of the repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) url: &'a str,
    pub(crate) commit: &'a CommitSha,
    /// The full ref of the job.
    pub(crate) git_ref: Option<&'a str>,
    /// Git in the job asks the agent for the credential of the repository.
    pub(crate) credentials: bool,
    /// What the workspace does not have, and gets from its origin when it needs it.
    pub(crate) filter: Option<&'a str>,
}

/// Writes a `.git` that has nothing yet. The directory must be empty.
pub(crate) fn prepare(checkout: &Path, setup: &Setup<'_>) -> io::Result<()> {
    let git = checkout.join(".git");
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        std::fs::create_dir_all(git.join(directory))?;
    }
    std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n")?;
    std::fs::write(git.join("config"), config(setup))
}

/// Gives it everything that the mirror has.
pub(crate) fn link(mirror: &Path, checkout: &Path) -> io::Result<()> {
    let git = checkout.join(".git");
    match std::fs::copy(mirror.join(CLONE_REFS), git.join("packed-refs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => drop(other?),
    }
    let objects = mirror.join("objects");
    if link_packs(&objects.join("pack"), &git.join("objects/pack")).is_err() {
        // Another file system, or one without hard links: borrow the mirror's objects instead.
        let objects = objects.canonicalize()?;
        let alternates = git.join("objects/info/alternates");
        std::fs::write(alternates, format!("{}\n", objects.display()))?;
    }
    Ok(())
}

/// Ends history at the commit itself: a depth of 1.
pub(crate) fn cut(checkout: &Path, setup: &Setup<'_>) -> io::Result<()> {
    std::fs::write(checkout.join(".git/shallow"), format!("{}\n", setup.commit))?;
    only_ref(checkout, setup)
}

/// Leaves the one ref of the job, as a shallow clone has it.
pub(crate) fn only_ref(checkout: &Path, setup: &Setup<'_>) -> io::Result<()> {
    let name = setup.git_ref.and_then(|name| {
        let branch = name.strip_prefix("refs/heads/").map(|branch| format!("refs/remotes/origin/{branch}"));
        branch.or_else(|| name.starts_with("refs/tags/").then(|| name.to_owned()))
    });
    let line = name.filter(|name| names::is_ref(name)).map(|name| format!("{} {name}\n", setup.commit));
    std::fs::write(checkout.join(".git/packed-refs"), line.unwrap_or_default())
}

fn link_packs(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let name = entry?.file_name();
        let wanted = Path::new(&name).extension().is_some_and(|e| e == "pack" || e == "idx" || e == "rev");
        if wanted {
            std::fs::hard_link(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// The configuration of a workspace.
fn config(setup: &Setup<'_>) -> String {
    let mut text = core_config(setup.commit, false);
    let url = config_value(setup.url);
    text.push_str(&format!("[remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"));
    if let Some(filter) = setup.filter {
        text.push_str(&format!("\tpromisor = true\n\tpartialclonefilter = {}\n", config_value(filter)));
    }
    if setup.credentials && credential::is_http(setup.url) {
        // No secret: the name of a command that is on the job's PATH.
        let (program, command) = (crate::job::api::NAMES[0], crate::job_cli::CREDENTIALS);
        let helper = format!("!\"${{BUILDKITE_BIN_PATH:+$BUILDKITE_BIN_PATH/}}{program}\" {command}");
        text.push_str(&format!(
            "[credential {url}]\n\thelper = \"\"\n\thelper = {}\n\tuseHttpPath = true\n",
            config_value(&helper)
        ));
    }
    text
}

/// The part that every repository has; the length of a commit id tells the kind of hash.
pub(crate) fn core_config(commit: &CommitSha, bare: bool) -> String {
    let sha256 = commit.as_str().len() == 64;
    let version = u8::from(sha256);
    let log = if bare { "" } else { "\tlogallrefupdates = true\n" };
    let format = if sha256 { "[extensions]\n\tobjectformat = sha256\n" } else { "" };
    format!("[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = {bare}\n{log}{format}")
}

/// A value as git's configuration files quote it.
fn config_value(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Empties the directory.
pub(crate) fn clear(checkout: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(checkout)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_cannot_write_settings() {
        let commit = CommitSha::new("a".repeat(40)).unwrap_or_else(|e| panic!("{e}"));
        let url = "https://x/\"\n[core]\n\tsshCommand = evil";
        let setup = Setup { url, commit: &commit, git_ref: None, credentials: true, filter: Some("\n[core]") };
        let text = config(&setup);
        assert_eq!(text.lines().filter(|l| l.starts_with('[')).count(), 3);
        assert!(text.contains(r#"url = "https://x/\"\n[core]\n\tsshCommand = evil""#));
    }
}

//! The `.git` directory of a workspace, written by hand: a `git clone` of a mirror on the same disk is a handful of
//! processes that come to the same.

use std::io;
use std::path::Path;

use tidegate_core::ids::CommitSha;

/// The mirror's refs as a clone would have them, kept by [`super::mirror`].
pub(crate) const CLONE_REFS: &str = "tidegate-clone-refs";

/// Writes `.git` with everything that the mirror has. The directory must be empty.
pub(crate) fn prepare(mirror: &Path, checkout: &Path, url: &str, commit: &CommitSha) -> io::Result<()> {
    let git = checkout.join(".git");
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        std::fs::create_dir_all(git.join(directory))?;
    }
    std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n")?;
    std::fs::write(git.join("config"), config(url, commit))?;
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

/// A repository's configuration; `bare` has no origin.
pub(crate) fn config(url: &str, commit: &CommitSha) -> String {
    let mut text = core_config(commit, false);
    text.push_str("[remote \"origin\"]\n\turl = ");
    text.push_str(&config_value(url));
    text.push_str("\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n");
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
        let text = config("https://x/\"\n[core]\n\tsshCommand = evil", &commit);
        assert_eq!(text.lines().filter(|l| l.starts_with('[')).count(), 2);
        assert!(text.contains(r#"url = "https://x/\"\n[core]\n\tsshCommand = evil""#));
    }
}

//! The git command, for the commands that need it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// A git command in a directory. What the environment says of another repository does not count.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(directory)
        .stdin(Stdio::null())
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0");
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its output; an error has git's own words.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    match attempt(command)? {
        Ok(text) => Ok(text),
        Err(words) => bail!("{}: {words}", name(command)),
    }
}

/// Runs a command that may well fail: its output, or git's own words.
pub(crate) fn attempt(command: &mut Command) -> anyhow::Result<Result<String, String>> {
    let output =
        command.output().with_context(|| format!("cannot run git, which is needed for this: {}", name(command)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
    if output.status.success() {
        Ok(Ok(text(&output.stdout)))
    } else {
        let words = text(&output.stderr);
        Ok(Err(if words.is_empty() { output.status.to_string() } else { words }))
    }
}

/// `git` and the subcommand, for errors.
fn name(command: &Command) -> String {
    let mut arguments = command.get_args().skip(2).filter(|argument| *argument != OsStr::new("-c"));
    let sub = arguments.find(|argument| !argument.to_string_lossy().contains('='));
    format!("git {}", sub.map(OsStr::to_string_lossy).unwrap_or_default())
}

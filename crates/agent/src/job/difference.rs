//! What a hook that was sourced changed of the job.

use std::path::PathBuf;

use super::variables::{JobEnv, is_agent_only};

/// What a hook changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changes {
    pub(crate) set: Vec<(String, String)>,
    pub(crate) unset: Vec<String>,
    /// Changes that have no effect: the agent alone sets these.
    pub(crate) refused: Vec<String>,
    pub(crate) directory: Option<PathBuf>,
}

/// Compares what a hook was given with what it left: directory and variables, each ended by a NUL.
pub(crate) fn difference(answer: &[u8], given: &JobEnv) -> Changes {
    let mut changes = Changes::default();
    let mut entries = answer.split(|b| *b == 0);
    let directory = entries.next().unwrap_or_default();
    if !directory.is_empty()
        && let Ok(directory) = std::str::from_utf8(directory)
    {
        changes.directory = Some(PathBuf::from(directory));
    }
    let mut left = JobEnv::default();
    for entry in entries {
        // What is not UTF-8 or not a variable (an exported function) stays the hook's own.
        if let Ok(entry) = std::str::from_utf8(entry)
            && let Some((name, value)) = entry.split_once('=')
            && is_variable(name)
            && !is_shells_own(name)
        {
            left.set(name, value);
        }
    }
    for (name, value) in left.iter() {
        if given.get(name) != Some(value) {
            if is_agent_only(name) {
                changes.refused.push(name.to_owned());
            } else {
                changes.set.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    for (name, _) in given.iter() {
        if left.get(name).is_none() && !is_shells_own(name) && is_variable(name) {
            if is_agent_only(name) {
                changes.refused.push(name.to_owned());
            } else {
                changes.unset.push(name.to_owned());
            }
        }
    }
    changes
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What a shell sets by itself.
fn is_shells_own(name: &str) -> bool {
    matches!(name, "_" | "PWD" | "OLDPWD" | "SHLVL" | "TIDEGATE_HOOK_WRITES")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_applied_without_what_is_not_theirs() {
        let mut given = JobEnv::default();
        for (name, value) in [("KEEP", "1"), ("CHANGE", "1"), ("DROP", "1"), ("BUILDKITE_SHELL", "s"), ("PWD", "/")] {
            given.set(name, value);
        }
        let answer = b"/there\0KEEP=1\0CHANGE=two\nlines=\0NEW=\0_=/usr/bin/env\0SHLVL=1\0BUILDKITE_SHELL=evil\0BASH_FUNC_f%%=() { :; }\0";
        let changes = difference(answer, &given);
        assert_eq!(
            changes,
            Changes {
                set: vec![("CHANGE".into(), "two\nlines=".into()), ("NEW".into(), String::new())],
                unset: vec!["DROP".into()],
                refused: vec!["BUILDKITE_SHELL".into()],
                directory: Some("/there".into()),
            }
        );
    }
}

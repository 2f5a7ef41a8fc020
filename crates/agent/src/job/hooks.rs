//! Hooks (`spec/pipeline.md` 1.15): finding them, starting them, and carrying over what they change.
//!
//! A shell hook is sourced by a wrapper that writes down, when the shell ends, where it stands and what it exports;
//! also when the hook calls `exit`. What differs from what the hook was given is applied to the job.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::env::{JobEnv, is_agent_only};

/// When a hook runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    Environment,
    PreCheckout,
    Checkout,
    PostCheckout,
    PreCommand,
    Command,
    PostCommand,
    PreArtifact,
    PostArtifact,
    PreExit,
}

impl Moment {
    /// The name of the hook's file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Moment::Environment => "environment",
            Moment::PreCheckout => "pre-checkout",
            Moment::Checkout => "checkout",
            Moment::PostCheckout => "post-checkout",
            Moment::PreCommand => "pre-command",
            Moment::Command => "command",
            Moment::PostCommand => "post-command",
            Moment::PreArtifact => "pre-artifact",
            Moment::PostArtifact => "post-artifact",
            Moment::PreExit => "pre-exit",
        }
    }
}

/// The hook of a directory for a moment, if there is one.
pub(crate) fn find(directory: &Path, moment: Moment) -> Option<PathBuf> {
    let hook = directory.join(moment.file());
    hook.is_file().then_some(hook)
}

/// How a hook is started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Sourced by a shell.
    Shell,
    /// Run as it is.
    Program,
}

fn kind_of(hook: &Path) -> std::io::Result<Kind> {
    let mut start = Vec::new();
    File::open(hook)?.take(256).read_to_end(&mut start)?;
    Ok(judge(&start))
}

/// What a hook is, by how its file begins.
fn judge(start: &[u8]) -> Kind {
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or(line);
        let line = String::from_utf8_lossy(line);
        let shells = ["sh", "bash", "dash", "ash", "ksh", "zsh"];
        let shell = line
            .split_whitespace()
            .filter(|word| !word.starts_with('-') && !word.contains('='))
            .filter_map(|word| word.rsplit('/').next())
            .find(|word| *word != "env")
            .is_some_and(|word| shells.contains(&word));
        if shell { Kind::Shell } else { Kind::Program }
    } else if start.starts_with(b"\x7fELF") {
        Kind::Program
    } else {
        Kind::Shell
    }
}

/// The wrapper. `$1` is the hook and `$2` the file for the answer. The answer is written under another name first, so
/// that it is there whole or not at all.
const WRAPPER: &str = r#"tidegate_hook=$1 tidegate_answer=$2
shift 2
tidegate_hook_ends() {
  tidegate_status=$?
  trap - EXIT
  { printf '%s\0' "$PWD"; TIDEGATE_HOOK_WRITES=1 /usr/bin/env -0; } > "$tidegate_answer.new" &&
    mv -- "$tidegate_answer.new" "$tidegate_answer"
  exit "$tidegate_status"
}
trap tidegate_hook_ends EXIT
. "$tidegate_hook"
"#;

/// A hook that is about to run.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    answer: Option<PathBuf>,
}

/// Prepares a hook; `scratch` is a directory for the answer.
pub(crate) fn prepare(hook: &Path, scratch: &Path, number: u32) -> std::io::Result<Started> {
    Ok(match kind_of(hook)? {
        Kind::Program => Started { program: hook.into(), args: Vec::new(), answer: None },
        Kind::Shell => {
            let answer = scratch.join(format!("hook-{number}"));
            Started {
                program: "/bin/bash".into(),
                args: vec!["-c".into(), WRAPPER.into(), hook.into(), hook.into(), answer.clone().into()],
                answer: Some(answer),
            }
        }
    })
}

/// What a hook changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changes {
    pub(crate) set: Vec<(String, String)>,
    pub(crate) unset: Vec<String>,
    /// Changes that have no effect: the agent alone sets these.
    pub(crate) refused: Vec<String>,
    pub(crate) directory: Option<PathBuf>,
}

impl Started {
    /// Reads the answer; none means that nothing changes.
    pub(crate) fn changes(&self, given: &JobEnv) -> Changes {
        let Some(answer) = &self.answer else {
            return Changes::default();
        };
        match std::fs::read(answer) {
            Ok(bytes) => {
                // It has served its purpose, and is removed with the job at the latest.
                let _ = std::fs::remove_file(answer);
                difference(&bytes, given)
            }
            Err(_) => Changes::default(),
        }
    }
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
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn hooks_are_told_apart_by_their_beginning() {
        for (start, kind) in [
            ("echo hi", Kind::Shell),
            ("", Kind::Shell),
            ("#!/bin/bash\nset -e", Kind::Shell),
            ("#!/usr/bin/env bash", Kind::Shell),
            ("#!/usr/bin/env -S bash -eu", Kind::Shell),
            ("#!/bin/sh -e\n", Kind::Shell),
            ("#!/usr/bin/env python3", Kind::Program),
            ("#!/usr/bin/ruby -w", Kind::Program),
            ("\u{7f}ELF\u{2}", Kind::Program),
        ] {
            assert_eq!(judge(start.as_bytes()), kind, "{start}");
        }
    }

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

    /// What a hook leaves is what the next one is given: but for what is not its to change.
    fn applied(given: &JobEnv, changes: &Changes) -> JobEnv {
        let mut env = given.clone();
        for (name, value) in &changes.set {
            env.set(name, value);
        }
        for name in &changes.unset {
            env.unset(name);
        }
        env
    }

    fn is_the_hooks(name: &str) -> bool {
        is_variable(name) && !is_shells_own(name) && !is_agent_only(name)
    }

    fn variables() -> impl Strategy<Value = BTreeMap<String, String>> {
        let name = prop_oneof![
            6 => "[A-Z_a-z][A-Z_a-z0-9]{0,3}",
            1 => Just("TIDEGATE_INSTANCE".to_owned()),
            1 => Just("BUILDKITE_SHELL".to_owned()),
            1 => Just("PWD".to_owned()),
            1 => "[^=\0]{1,4}",
        ];
        proptest::collection::btree_map(name, "[^\0]{0,12}", 0..8)
    }

    proptest! {
        /// More cases: `PROPTEST_CASES=1000000 cargo test -p tidegate-agent --lib what_a_hook_leaves`.
        #[test]
        fn what_a_hook_leaves_is_what_comes_after(given in variables(), left in variables(), cut in any::<prop::sample::Index>()) {
            let mut env = JobEnv::default();
            for (name, value) in &given {
                env.set(name, value);
            }
            let mut answer = b"/there\0".to_vec();
            for (name, value) in &left {
                answer.extend_from_slice(format!("{name}={value}\0").as_bytes());
            }
            let changes = difference(&answer, &env);
            let after = applied(&env, &changes);
            for name in given.keys().chain(left.keys()) {
                // A name with `=` in it is not to be had: its value is part of another one.
                if is_the_hooks(name) {
                    prop_assert_eq!(after.get(name), left.get(name).map(String::as_str), "{}", name);
                } else {
                    prop_assert_eq!(after.get(name), given.get(name).map(String::as_str), "{}", name);
                }
            }
            prop_assert_eq!(changes.directory, Some(PathBuf::from("/there")));
            // Taken over, it changes nothing more.
            let again = difference(&answer, &after);
            prop_assert!(again.set.is_empty() && again.unset.is_empty(), "{:?}", again);
            // Cut off anywhere it is read without harm, too.
            let cut = cut.index(answer.len() + 1);
            let changes = difference(&answer[..cut], &env);
            prop_assert!(changes.set.iter().all(|(name, _)| is_the_hooks(name)));
            prop_assert!(changes.unset.iter().all(|name| is_the_hooks(name)));
        }

        #[test]
        fn any_answer_is_read_without_harm(answer in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut given = JobEnv::default();
            given.set("TIDEGATE_INSTANCE", "i-1");
            let changes = difference(&answer, &given);
            prop_assert!(changes.set.iter().all(|(name, _)| is_variable(name) && !is_agent_only(name)));
            prop_assert!(changes.unset.iter().all(|name| !is_agent_only(name)));
        }
    }
}

//! Hooks (`spec/pipeline.md` 1.15): finding them, starting them, and carrying over what they change.
//!
//! A shell hook is sourced by a wrapper that writes down, when the shell ends, where it stands and what it exports;
//! also when the hook calls `exit`. What differs from what the hook was given is applied to the job.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::difference::{Changes, difference};
use super::env::JobEnv;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}

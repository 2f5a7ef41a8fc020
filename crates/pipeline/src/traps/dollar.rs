//! A `$` in a command that is replaced when the file is read, where the shell was meant to see it.

use std::collections::HashSet;

use crate::codes::Code;
use crate::interpolate::{identifier_places, place_within};
use crate::source::Report;
use crate::yaml::Node;

/// Variables that have a value only where a job runs.
const OF_THE_JOB: [&str; 26] = [
    "BUILDKITE_JOB_ID",
    "BUILDKITE_STEP_ID",
    "BUILDKITE_STEP_KEY",
    "BUILDKITE_LABEL",
    "BUILDKITE_COMMAND",
    "BUILDKITE_ARTIFACT_PATHS",
    "BUILDKITE_TIMEOUT",
    "BUILDKITE_RETRY_COUNT",
    "BUILDKITE_PARALLEL_JOB",
    "BUILDKITE_PARALLEL_JOB_COUNT",
    "BUILDKITE_GROUP_ID",
    "BUILDKITE_GROUP_KEY",
    "BUILDKITE_GROUP_LABEL",
    "BUILDKITE_BUILD_PATH",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "BUILDKITE_COMMAND_EXIT_STATUS",
    "BUILDKITE_LAST_HOOK_EXIT_STATUS",
    "BUILDKITE_JOB_CANCELLED",
    "BUILDKITE_UNBLOCKER",
    "BUILDKITE_UNBLOCKER_EMAIL",
    "BUILDKITE_PLUGINS",
    "BUILDKITE_HOOKS_PATH",
    "BUILDKITE_PLUGINS_PATH",
    "BUILDKITE_SHELL",
    "BUILDKITE_ENV_FILE",
    "BUILDKITE_IMAGE",
];

/// Variables of every shell.
const OF_THE_SHELL: [&str; 17] = [
    "HOME", "PWD", "OLDPWD", "PATH", "USER", "SHELL", "TMPDIR", "HOSTNAME", "RANDOM", "UID", "EUID", "SECONDS",
    "LINENO", "IFS", "OPTARG", "OPTIND", "REPLY",
];

/// Variables of one command that are looked at.
const MOST: usize = 100;

/// Looks at the commands of one step. `own` are the variables of the step's `env`, `known` those that the file or the
/// build sets before the step is read.
pub(super) fn commands(scripts: &[&Node], own: &[String], known: &HashSet<String>, report: &mut Report<'_>) {
    let mut assigned: Vec<String> = Vec::new();
    for script in scripts {
        if let Some(text) = script.as_str() {
            assigned.extend(assignments(text));
        }
    }
    for script in scripts {
        if report.full() {
            return;
        }
        let Some(text) = script.as_str() else { continue };
        // A text that cannot be interpolated is reported as that.
        let Ok(places) = identifier_places(text, MOST) else { continue };
        for (name, range) in places {
            if known.contains(&name) {
                continue;
            }
            let why = if assigned.contains(&name) {
                "the command itself sets it"
            } else if own.contains(&name) {
                "the step's own `env` sets it, for the job"
            } else if OF_THE_JOB.contains(&name.as_str()) || name.starts_with("BUILDKITE_AGENT_") {
                "it has a value only where a job runs"
            } else if OF_THE_SHELL.contains(&name.as_str()) {
                "the shell sets it where the job runs"
            } else {
                continue;
            };
            let place = place_within(report, script.span, text, range.start, range.end);
            report
                .warn(Code::EatenDollar, place, format!("`${name}` is replaced when the file is read, and {why}"))
                .help(format!("write `$${name}`, which the shell sees as `${name}`"));
        }
    }
}

/// Variables that a script sets: `NAME=…`, `for NAME in`, `read NAME`.
fn assignments(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let is_name = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '{' | '}'));
    let mut before = "";
    for word in words.filter(|word| !word.is_empty()) {
        if let Some((name, _)) = word.split_once('=')
            && is_name(name.trim_end_matches('+'))
        {
            out.push(name.trim_end_matches('+').to_owned());
        }
        if matches!(before, "for" | "read" | "-r") && is_name(word) {
            out.push(word.to_owned());
        }
        before = word;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_seen_through_the_shell_s_punctuation() {
        let found =
            assignments("set -e; A=1 && export B=$(x); for i in a b; do read -r line; done\nmake --flag=3 C+=x");
        assert_eq!(found, ["A", "B", "i", "line", "C"]);
    }
}

//! `docs/cli.md`, made of the command line itself. `TIDEGATE_UPDATE_DOCS=1 cargo test -p tidegate-cli docs` writes it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Arguments;

const PREFACE: &str = include_str!("../docs/preface.md");

/// The whole document.
fn markdown() -> String {
    let mut command = Arguments::command();
    command.build();
    let mut out = PREFACE.trim_end().to_owned();
    out.push_str("\n\n## Options of every command\n\n");
    for argument in command.get_arguments().filter(|a| a.is_global_set() && !is_help(a)) {
        out.push_str(&argument_line(argument));
    }
    out.push_str("\n## Commands\n");
    describe(&command, "tidegate", &mut out);
    out
}

fn is_help(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version")
}

fn describe(command: &Command, path: &str, out: &mut String) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        if sub.get_subcommands().any(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            describe(sub, &path, out);
            continue;
        }
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        write!(out, "\n### `{path}`\n\n{about}.\n\n```text\n{}\n```\n", usage(sub, &path)).unwrap();
        let own: Vec<&Arg> =
            sub.get_arguments().filter(|a| !a.is_global_set() && !a.is_hide_set() && !is_help(a)).collect();
        if !own.is_empty() {
            out.push('\n');
            own.iter().for_each(|argument| out.push_str(&argument_line(argument)));
        }
    }
}

fn usage(command: &Command, path: &str) -> String {
    let rendered = command.clone().render_usage().to_string();
    let arguments = rendered.split_once(command.get_name()).map_or("", |(_, rest)| rest);
    let arguments = arguments.strip_prefix(' ').unwrap_or(arguments);
    format!("{path} {arguments}").trim_end().to_owned()
}

fn argument_line(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let value = if takes { values.iter().map(|v| format!(" {v}")).collect() } else { String::new() };
    let name = match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}{value}"),
        (Some(long), None) => format!("--{long}{value}"),
        (None, _) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes)
        .map(|value| {
            let help = value.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("`{}`{help}", value.get_name())
        })
        .collect();
    if !choices.is_empty() {
        write!(text, ": {}", choices.join(", ")).unwrap();
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|d| d.to_string_lossy().into_owned()).collect();
    if takes && !defaults.is_empty() {
        write!(text, " [default: {}]", defaults.join(" ")).unwrap();
    }
    if let Some(variable) = argument.get_env() {
        write!(text, " [environment: {}]", variable.to_string_lossy()).unwrap();
    }
    format!("- `{name}`: {text}\n")
}

#[test]
fn the_document_is_that_of_the_commands() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let wanted = markdown();
    if std::env::var_os("TIDEGATE_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == wanted, "docs/cli.md is not up to date: TIDEGATE_UPDATE_DOCS=1 cargo test -p tidegate-cli docs");
}

#[test]
fn every_state_and_cause_is_listed() {
    use tidegate_core::attempt::Cause;
    use tidegate_core::build::{BuildState, JobState};
    let causes: Vec<Cause> = [
        "exit",
        "signal",
        "timeout",
        "canceled",
        "interrupted",
        "lost",
        "boot_failed",
        "checkout_failed",
        "agent_stopped",
        "out_of_disk",
        "out_of_memory",
        "expired",
    ]
    .iter()
    .map(|name| serde_json::from_value(serde_json::Value::from(*name)).unwrap())
    .collect();
    let builds = [
        BuildState::Scheduled,
        BuildState::Running,
        BuildState::Failing,
        BuildState::Blocked,
        BuildState::Canceling,
        BuildState::Passed,
        BuildState::Failed,
        BuildState::Canceled,
        BuildState::NotRun,
        BuildState::Skipped,
    ];
    let jobs = [
        JobState::Waiting,
        JobState::WaitingFailed,
        JobState::Broken,
        JobState::Skipped,
        JobState::Blocked,
        JobState::Unblocked,
        JobState::Limited,
        JobState::Scheduled,
        JobState::Backoff,
        JobState::Canceling,
        JobState::Passed,
        JobState::Failed,
        JobState::SoftFailed,
        JobState::Canceled,
        JobState::TimedOut,
        JobState::Expired,
    ];
    let names = causes.iter().map(|c| c.name());
    let names = names.chain(builds.iter().map(|b| b.name())).chain(jobs.iter().map(|j| j.name()));
    for name in names {
        assert!(PREFACE.contains(&format!("`{name}`")), "{name} is not listed");
    }
}

/// Every `crate/file::function` of `docs/compatibility.md` is a test that there is.
#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/compatibility.md")).unwrap();
    let mut named = 0;
    for word in text.split('`').filter(|word| word.contains("::") && word.contains('/') && !word.contains(' ')) {
        let (file, function) = word.split_once("::").unwrap();
        let (package, file) = file.split_once('/').unwrap();
        let mut files = Vec::new();
        sources(&root.join("crates").join(package), &format!("{file}.rs"), &mut files);
        let wanted = format!("fn {function}(");
        let there = files.iter().any(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains(&wanted)));
        assert!(there, "docs/compatibility.md names `{word}`, which is not there");
        named += 1;
    }
    assert!(named > 40, "{named}");
}

fn sources(directory: &Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, name, found);
        } else if path.file_name().is_some_and(|file| file == name) {
            found.push(path);
        }
    }
}

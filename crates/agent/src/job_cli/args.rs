//! The arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What a job can ask of its agent.
#[derive(Debug, Parser)]
#[command(version, name = "tidegate-agent", about, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Accepted for the sake of existing scripts; has no effect.
    #[arg(long, global = true, hide = true)]
    debug: bool,
    /// Accepted for the sake of existing scripts; has no effect.
    #[arg(long, global = true, hide = true)]
    no_color: bool,
    /// Accepted for the sake of existing scripts; has no effect.
    #[arg(long, global = true, hide = true)]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add steps to the build.
    #[command(subcommand)]
    Pipeline(Pipeline),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Debug, Subcommand)]
pub(super) enum Pipeline {
    /// Add the steps of a pipeline file directly after the step of this job.
    ///
    /// All of them are added or none: an error in the file is shown, and the status is 1. When the status is 0 the steps
    /// are recorded. They wait for this job.
    Upload(Upload),
}

#[derive(Debug, Args)]
pub(super) struct Upload {
    /// The file. Without it: standard input, if that is not a terminal, or else the one of the usual places, such as
    /// `.buildkite/pipeline.yml`, where there is one.
    pub(super) file: Option<PathBuf>,
    /// Drop the steps of the build that have not started yet.
    #[arg(long)]
    pub(super) replace: bool,
    /// Leave `$` alone.
    #[arg(long)]
    pub(super) no_interpolation: bool,
    /// Print the steps instead of adding them.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How `--dry-run` prints.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub(super) format: Format,
    /// A variable for interpolation, on top of the environment of this process.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// Always so: a pipeline that the value of a secret variable would become part of is refused.
    #[arg(long, hide = true)]
    reject_secrets: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    Json,
    Yaml,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

//! The arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_core::wire::job::AnnotationStyle;

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
    /// Texts that the jobs of a build tell each other, under names; of several writes the last one counts.
    #[command(subcommand)]
    MetaData(MetaData),
    /// Files of the build.
    #[command(subcommand)]
    Artifact(Artifact),
    /// Show people a text with the build.
    Annotate(Annotate),
    /// Change what `annotate` wrote.
    #[command(subcommand)]
    Annotation(Annotation),
    /// What is known of the steps of the build.
    #[command(subcommand)]
    Step(Step),
    /// The build of this job.
    #[command(subcommand)]
    Build(Build),
    /// This job itself.
    #[command(subcommand)]
    Job(Job),
    /// Locks between the jobs of this machine. The end of a job frees what it holds.
    #[command(subcommand)]
    Lock(Lock),
    /// The environment of what runs next in this job.
    #[command(subcommand)]
    Env(Env),
    /// What the log of this job must not show.
    #[command(subcommand)]
    Redactor(Redactor),
    /// What git asks for the credential of the job's repository (gitcredentials(7)); people have no use for it.
    GitCredentialsHelper {
        /// `get`; what git wants to be kept or forgotten is passed over.
        operation: String,
    },
    /// Secrets that the owner keeps.
    #[command(subcommand)]
    Secret(Secret),
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

#[derive(Debug, Subcommand)]
pub(super) enum MetaData {
    /// Write a value.
    Set {
        key: String,
        /// At most 100 KB; from standard input when not given.
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// Accepted for the sake of existing scripts; has no effect.
        #[arg(long, hide = true)]
        job: Option<String>,
    },
    /// Print a value. Without one the status is 1.
    Get {
        key: String,
        /// Print this when there is no value.
        #[arg(long, allow_hyphen_values = true)]
        default: Option<String>,
    },
    /// Tell by the status whether there is a value: 0, or 100 when there is none.
    Exists { key: String },
    /// Print all names.
    Keys,
    /// Write several values, all or none.
    SetBatch {
        /// A JSON object from standard input when not given.
        #[arg(value_name = "KEY=VALUE", value_parser = variable)]
        entries: Vec<(String, String)>,
    },
}

/// Which artifacts are meant.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// A path or a glob: `*` stays within a directory, `**` crosses them.
    pub(super) query: String,
    /// Only of this step or job: a key, a label or an id.
    #[arg(long)]
    pub(super) step: Option<String>,
    /// The build; only the job's own can be reached.
    #[arg(long)]
    pub(super) build: Option<String>,
    /// Also of attempts that were tried again.
    #[arg(long)]
    pub(super) include_retried_jobs: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Artifact {
    /// Keep files with the build.
    Upload {
        /// Globs beneath the working directory, several with `;` between them.
        globs: String,
        /// Not supported.
        destination: Option<String>,
        /// Accepted for the sake of existing scripts; has no effect.
        #[arg(long, hide = true)]
        content_type: Option<String>,
    },
    /// Get files of the build, verified, with their paths below a directory.
    Download {
        #[command(flatten)]
        which: Which,
        directory: PathBuf,
    },
    /// List files of the build.
    Search {
        #[command(flatten)]
        which: Which,
        /// %p path, %j id of the job, %c time, %s size, %T SHA-256, %i id.
        #[arg(long, default_value = "%j %p %c\n")]
        format: String,
        /// Finding nothing is no failure.
        #[arg(long)]
        allow_empty_results: bool,
    },
    /// Print the hash of one file of the build.
    Shasum {
        #[command(flatten)]
        which: Which,
        /// SHA-256: the only hash that is kept.
        #[arg(long)]
        sha256: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Annotate {
    /// Markdown, at most 1 MiB; from standard input when not given.
    #[arg(allow_hyphen_values = true)]
    pub(super) body: Option<String>,
    /// Which annotation.
    #[arg(long, default_value = "default")]
    pub(super) context: String,
    #[arg(long, value_enum)]
    pub(super) style: Option<Style>,
    /// Put the text behind the one that is there.
    #[arg(long)]
    pub(super) append: bool,
    /// 1 to 10: higher ones are shown first.
    #[arg(long)]
    pub(super) priority: Option<u8>,
    #[arg(long, value_enum, default_value_t = Scope::Build, hide = true)]
    pub(super) scope: Scope,
}

#[derive(Debug, Subcommand)]
pub(super) enum Annotation {
    /// Remove it.
    Remove {
        #[arg(long, default_value = "default")]
        context: String,
        #[arg(long, value_enum, default_value_t = Scope::Build, hide = true)]
        scope: Scope,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Scope {
    Build,
    Job,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Style {
    Default,
    Success,
    Info,
    Warning,
    Error,
}

impl From<Style> for AnnotationStyle {
    fn from(style: Style) -> Self {
        match style {
            Style::Default => Self::Default,
            Style::Success => Self::Success,
            Style::Info => Self::Info,
            Style::Warning => Self::Warning,
            Style::Error => Self::Error,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Step {
    /// Print what a step is, or one attribute of it.
    Get {
        /// type, key, label, state or outcome.
        attribute: Option<String>,
        /// The key or label of the step; the one of this job when not given.
        #[arg(long)]
        step: Option<String>,
        /// Accepted for the sake of existing scripts: only the job's own build can be reached.
        #[arg(long, hide = true)]
        build: Option<String>,
        /// Accepted for the sake of existing scripts; has no effect.
        #[arg(long, hide = true)]
        format: Option<String>,
    },
    /// Change a step, for as long as the build lasts.
    Update {
        /// label, or priority.
        attribute: String,
        /// Read from standard input when not given.
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// Put the text behind the label that is there.
        #[arg(long)]
        append: bool,
        /// The key or label of the step; the one of this job when not given.
        #[arg(long)]
        step: Option<String>,
        /// Accepted for the sake of existing scripts: only the job's own build can be reached.
        #[arg(long, hide = true)]
        build: Option<String>,
    },
    /// Cancel all jobs of a step that are not over.
    Cancel {
        /// The key or label of the step; the one of this job when not given.
        #[arg(long)]
        step: Option<String>,
        /// Accepted for the sake of existing scripts: only the job's own build can be reached.
        #[arg(long, hide = true)]
        build: Option<String>,
        /// Accepted for the sake of existing scripts: jobs that run always get their grace period.
        #[arg(long, hide = true)]
        force: bool,
        /// Accepted for the sake of existing scripts; has no effect.
        #[arg(long, hide = true)]
        force_grace_period_seconds: Option<u32>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Build {
    /// Cancel the build, this job included.
    Cancel {
        /// The id of the build; only the job's own can be reached.
        #[arg(long)]
        build: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Job {
    /// Change this job.
    Update {
        /// timeout: minutes from the start of the job on.
        attribute: String,
        /// Read from standard input when not given.
        value: Option<String>,
        /// The id of the job; only this one can be changed.
        #[arg(long)]
        job: Option<String>,
    },
}

/// How long a lock is waited for.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Give up after this time, such as `90s` or `5m`; waits for ever when not given, or 0.
    #[arg(long, env = "BUILDKITE_LOCK_WAIT_TIMEOUT", value_parser = super::duration::parse, value_name = "TIME")]
    pub(super) lock_wait_timeout: Option<Duration>,
    #[command(flatten)]
    scope: LockScope,
}

#[derive(Debug, Args)]
pub(super) struct LockScope {
    /// Locks are those of the machine.
    #[arg(long, env = "BUILDKITE_LOCK_SCOPE", hide = true, value_parser = ["machine"])]
    lock_scope: Option<String>,
    /// Accepted for the sake of existing scripts; has no effect.
    #[arg(long, hide = true)]
    sockets_path: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Lock {
    /// Wait for a lock, take it, and print the token that lets go of it.
    Acquire {
        key: String,
        #[command(flatten)]
        patience: Patience,
    },
    /// Let go of a lock.
    Release {
        key: String,
        /// What `acquire` printed.
        token: String,
        #[command(flatten)]
        scope: LockScope,
    },
    /// Print `do` when the work of this key is yours to do, or `done` once somebody has done it.
    Do {
        key: String,
        #[command(flatten)]
        patience: Patience,
    },
    /// Say that the work of this key is done. It stays done until the machine is started again.
    Done {
        key: String,
        #[command(flatten)]
        scope: LockScope,
    },
    /// Print what a lock says: nothing when it is free.
    Get {
        key: String,
        #[command(flatten)]
        scope: LockScope,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Env {
    /// Print variables of the job: all, or these; of one alone its value.
    Get {
        names: Vec<String>,
        #[arg(long, value_enum, default_value_t = EnvFormat::Plain)]
        format: EnvFormat,
    },
    /// Set variables for the hooks and commands that come after this one.
    Set {
        #[arg(value_name = "NAME=VALUE", value_parser = variable, required = true)]
        entries: Vec<(String, String)>,
    },
    /// Remove variables for the hooks and commands that come after this one.
    Unset {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Print the environment of this very process.
    Dump {
        #[arg(long, value_enum, default_value_t = EnvFormat::Json)]
        format: EnvFormat,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum EnvFormat {
    Plain,
    Json,
    JsonPretty,
}

#[derive(Debug, Subcommand)]
pub(super) enum Redactor {
    /// Hide a text from here on.
    Add {
        /// A file with the text; standard input when not given.
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Print secrets; the log shows `[REDACTED]` in their place. All or none: one that there is not is an error.
    Get {
        /// Their names; case does not matter.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// How: one alone is printed as it is, several as JSON.
        #[arg(long, value_enum, default_value_t = SecretFormat::Default)]
        format: SecretFormat,
        /// Has no effect: secrets are always hidden in the log.
        #[arg(long, hide = true)]
        skip_redaction: bool,
        /// Accepted for the sake of existing scripts; has no effect.
        #[arg(long, hide = true)]
        job: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum SecretFormat {
    Default,
    Json,
    Env,
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

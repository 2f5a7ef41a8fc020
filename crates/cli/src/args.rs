//! The command line.

mod github;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_core::ids::{InvalidId, PipelineSlug};
use tidegate_core::secret::SecretName;
use tidegate_engine::api::BuildName;

pub(crate) use github::{Deliveries, GitHubCommand, RotateSecret, Setup};

const VERSION: &str = env!("TIDEGATE_VERSION");

/// Where there is no `--state`: below this, in the user's directory of states.
const STATE_NAME: &str = "tidegate";
/// Where there is no `--config`.
const CONFIG_NAME: &str = "tidegate.toml";

#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version = VERSION,
    about = "Continuous integration that lives in its owner's account, and whole on one machine",
    after_help = "BUILD is `N`, `pipeline#N` or an id; JOB is a key, `key:index`, a label or an id.\n\
                  Exit status: 0 done or passed, 1 failed build or findings, 2 usage, configuration or pipeline file,\n\
                  3 cannot reach the server, 130 interrupted.",
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// Configuration file [default: tidegate.toml in the working directory]
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_CONFIG",
        value_name = "FILE",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// State directory of the server [default: tidegate in $XDG_STATE_HOME or ~/.local/state]
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_STATE",
        value_name = "DIR",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) state: Option<PathBuf>,
    /// URL of a server [default: the server that runs on the state directory]; its token is taken from TIDEGATE_TOKEN
    /// or the state directory
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) url: Option<String>,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

impl Global {
    /// The configuration file: the one that was asked for, or the one in the working directory.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_NAME))
    }

    /// The state directory: the one that was asked for, or the user's.
    pub(crate) fn state_path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.state {
            return Ok(path.clone());
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        base.map(|base| base.join(STATE_NAME)).ok_or_else(|| {
            crate::exit::Expected::usage("there is no home directory for the state: say where with `--state DIR`")
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the whole system build a small repository, lose a machine, and pass
    Demo(Demo),
    /// Run the pipeline of a local repository, without a server
    Run(Run),
    /// Run the server
    Up(Up),
    /// List builds, newest first
    Builds(Builds),
    /// Show or make one build
    #[command(subcommand)]
    Build(Build),
    /// Print the log of a job
    Logs(Logs),
    /// List or download what jobs uploaded
    #[command(subcommand)]
    Artifact(Artifact),
    /// Cancel a build
    Cancel(Cancel),
    /// Let a build be made of a commit of a fork; for GitHub's pages: a comment `/approve SHA` on the pull request
    Approve(Approve),
    /// Run a job again, or all jobs of a build that failed
    Retry(Retry),
    /// Make a build again: the same commit, branch, message and environment
    Rebuild(Rebuild),
    /// Open a step that waits for a person
    Unblock(Unblock),
    /// Keep secrets for jobs
    #[command(subcommand)]
    Secret(Secret),
    /// Say why a build or a job waits, and what would end the wait
    Why(Why),
    /// List concurrency groups, who holds them and who waits
    Groups,
    /// List the schedules of pipelines: when each is due, and what became of it the last time
    Schedules,
    /// Delete builds that are older than the configuration keeps them, which the server does by itself too
    Retention(Retention),
    /// List machines
    Instances,
    /// Be an App at GitHub: make it, look whether all is right, change its secret
    #[command(subcommand, name = "github")]
    GitHub(GitHubCommand),
    /// Look at webhook deliveries: what GitHub says of them, and what became of them here
    #[command(subcommand)]
    Deliveries(Deliveries),
    /// Sign a webhook payload and post it as GitHub would
    Deliver(Deliver),
    /// Print or check a configuration
    #[command(subcommand)]
    Config(Config),
    /// Look at pipeline files, without a server
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Be an instance of the fleet
    #[command(hide = true)]
    Instance(Instance),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the state, and say how to read it
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The repository [default: the one around the working directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// Path of the pipeline file in the repository [default: the usual places]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Build the working tree as it stands instead of the current commit: what is tracked, and what is untracked and not
    /// ignored. The repository is not touched
    #[arg(long)]
    pub(crate) dirty: bool,
    /// A directory of agent hooks that every job runs
    #[arg(long, value_name = "DIR")]
    pub(crate) hooks: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// How to write the log
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}

/// How the server writes its log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct Builds {
    /// Only of this pipeline
    #[arg(long, value_name = "SLUG")]
    pub(crate) pipeline: Option<String>,
    /// How many
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Build {
    /// Show a build with its jobs and attempts
    Show {
        /// `N`, `pipeline#N` or an id
        #[arg(value_parser = build_name)]
        build: String,
    },
    /// Make a build
    Create(Create),
    /// Make a build again: the same commit, branch, message and environment
    Rebuild(Rebuild),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The pipeline
    #[arg(long, value_name = "SLUG")]
    pub(crate) pipeline: String,
    /// The branch
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// The commit, or anything that git resolves [default: the head of the branch]
    #[arg(long, value_name = "REV")]
    pub(crate) commit: Option<String>,
    /// What to show as the message
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// A variable of the build; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// The same key is the same build: makes a repetition harmless
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
    /// A key, `key:index`, a label or an id
    pub(crate) job: String,
    /// Go on until the attempt ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Which attempt, counted from 1 [default: the latest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Print the time before each line
    #[arg(long, short, conflicts_with_all = ["json", "raw"])]
    pub(crate) times: bool,
    /// Print every byte as the job wrote it, with the marks of time
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Artifact {
    /// List artifacts
    List {
        /// `N`, `pipeline#N` or an id
        #[arg(value_parser = build_name)]
        build: String,
        /// Only of this job
        #[arg(long, value_name = "JOB")]
        job: Option<String>,
    },
    /// Download artifacts to their paths below a directory
    Download {
        /// `N`, `pipeline#N` or an id
        #[arg(value_parser = build_name)]
        build: String,
        /// Paths or patterns such as `pkg/**/*.tar.gz` [default: all]
        #[arg(value_name = "PATTERN")]
        patterns: Vec<String>,
        /// Only of this job
        #[arg(long, value_name = "JOB")]
        job: Option<String>,
        /// Where to
        #[arg(long, default_value = ".", value_name = "DIR")]
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
    /// A key, `key:index`, a label or an id [default: all jobs that failed]
    pub(crate) job: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Keep a secret, or replace it; the value is read from the standard input, without the line end behind it
    Set {
        #[command(flatten)]
        which: WhichSecret,
        /// Only for trusted work. What is not trusted, such as a pull request from a fork, is given no secret in any case
        #[arg(long)]
        trusted_only: bool,
    },
    /// List secrets, without their values
    List,
    /// Forget a secret
    Remove {
        #[command(flatten)]
        which: WhichSecret,
    },
}

/// Which secret is meant.
#[derive(Debug, Args)]
pub(crate) struct WhichSecret {
    /// Letters, digits and `_`; case does not matter
    #[arg(value_parser = SecretName::new)]
    pub(crate) name: SecretName,
    /// Only for builds of this pipeline; beats one of the same name for all
    #[arg(long, value_name = "SLUG", value_parser = pipeline_slug)]
    pub(crate) pipeline: Option<PipelineSlug>,
}

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
    /// The same key is the same build: makes a repetition harmless
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Retention {
    /// Only list what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
    /// A key, `key:index`, a label or an id [default: all jobs that others may wait for]
    pub(crate) job: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unblock {
    /// `N`, `pipeline#N` or an id
    #[arg(value_parser = build_name)]
    pub(crate) build: String,
    /// The block or input step: a key, a label or an id
    pub(crate) step: String,
    /// What to fill in; may be repeated, also for one field of which several options may be chosen
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = field)]
    pub(crate) fields: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Deliver {
    /// The payload; `-` is the standard input
    pub(crate) file: PathBuf,
    /// `X-GitHub-Event`
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: String,
    /// The webhook's secret [default: that of the configuration]. Others can see it in the list of processes:
    /// `--secret-file` is safer
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_file")]
    pub(crate) secret: Option<String>,
    /// A file with the webhook's secret
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// `X-GitHub-Delivery` [default: a new one]
    #[arg(long, value_name = "GUID")]
    pub(crate) delivery: Option<String>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Config {
    /// Print a configuration with all settings, explained
    Example,
    /// Check the configuration
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Say everything that is wrong or doubtful about pipeline files
    Lint {
        /// The files; `-` is the standard input [default: the usual places]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How to print the findings
        #[arg(long, value_enum, default_value_t = LintFormat::Text)]
        format: LintFormat,
    },
    /// Show the jobs that a pipeline file would make, and what is left out and why
    Plan(Plan),
    /// Print a pipeline file in its normal form, as JSON
    Normalize(Normalize),
    /// Print the JSON Schema of pipeline files, for editors
    Schema,
    /// Evaluate a condition
    Eval {
        /// The condition
        expression: String,
        /// What it sees, in JSON; `-` is the standard input
        #[arg(long, value_name = "FILE")]
        context: Option<PathBuf>,
    },
    /// Replace the variables in a text
    Interpolate {
        /// The text; `-` is the standard input
        text: String,
        /// A variable; may be repeated
        #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
        env: Vec<(String, String)>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The file; `-` is the standard input [default: the usual places]
    pub(crate) file: Option<PathBuf>,
    /// A variable of the build; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// The webhook payload that the build is for: of a push, a pull request or a merge queue
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// The branch of the build
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// The tag of the build
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// The message of the commit
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Files that changed
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) changed: Option<Vec<String>>,
    /// How to print the plan
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Normalize {
    /// The file; `-` is the standard input [default: the usual places]
    pub(crate) file: Option<PathBuf>,
    /// A variable; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Leave variables as they are written
    #[arg(long)]
    pub(crate) no_interpolation: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LintFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// Workflow commands, which GitHub shows at the lines of a pull request
    Github,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// A diagram for documents
    Mermaid,
}

#[derive(Debug, Args)]
pub(crate) struct Instance {
    /// The `instance.json` that the fleet wrote
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// Be the process that works; without this, be the one that watches over it
    #[arg(long, hide = true)]
    pub(crate) worker: bool,
}

/// A name that can be one of a build: whether there is such a build is for the server to say.
fn build_name(text: &str) -> Result<String, String> {
    text.parse::<BuildName>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn pipeline_slug(text: &str) -> Result<PipelineSlug, InvalidId> {
    PipelineSlug::new(text)
}

/// `NAME=VALUE`.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// A field that is filled in.
fn field(text: &str) -> Result<(String, String), String> {
    variable(text).map_err(|_| "write KEY=VALUE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn variables_keep_what_follows_the_first_sign() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(variable("A").is_err());
        assert!(variable("=b").is_err());
    }
}

//! The command line inside a job (`spec/pipeline.md` 1.19): this program under the names `tidegate-agent` and
//! `buildkite-agent`, which talks to the job's agent over its socket ([`crate::job::api`]).

mod annotate;
mod args;
mod artifact;
mod client;
mod credential;
mod download;
mod duration;
mod env;
mod input;
mod lock;
mod meta_data;
mod pipeline;
mod secret;
mod step;
pub(crate) mod wire;
mod yaml;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::job::api::NAMES;
use args::{Arguments, Command};

/// The command that git asks for a credential.
pub(crate) const CREDENTIALS: &str = "git-credentials-helper";

/// Commands that scripts may expect and that do not exist here.
const MISSING: [&str; 9] =
    ["bootstrap", "cache", "kubernetes-bootstrap", "oidc", "pause", "resume", "start", "stop", "tool"];

/// Whether a process with these arguments, its own name first, is to be the command line of a job.
pub fn is_job_cli(args: impl IntoIterator<Item = OsString>) -> bool {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default();
    let called = Path::new(&name).file_name().is_some_and(|name| NAMES.iter().any(|known| name == OsStr::new(known)));
    // The fleet calls the same program by the same name for something else.
    called && args.next().is_none_or(|first| first != "instance")
}

/// Runs the command line of a job. The status is 0 only when what was asked for is done.
pub fn job_cli_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to be told when that fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Pipeline(args::Pipeline::Upload(upload)) => pipeline::upload(&upload),
        Command::MetaData(command) => meta_data::run(&command),
        Command::Artifact(command) => artifact::run(&command),
        Command::Annotate(annotate) => annotate::write(&annotate),
        Command::Annotation(command) => annotate::run(&command),
        Command::Step(command) => step::run(&command),
        Command::Env(command) => env::run(&command),
        Command::Redactor(command) => env::redactor(&command),
        Command::GitCredentialsHelper { operation } => credential::run(&operation),
        Command::Lock(command) => lock::run(&command),
        Command::Build(args::Build::Cancel { build }) => step::cancel_build(build.as_deref()),
        Command::Job(command) => step::job(&command),
        Command::Secret(command) => secret::run(&command),
        Command::Other(words) => {
            let name = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            if MISSING.contains(&&*name) {
                anyhow::bail!("`{name}` is a command that this agent does not have; `--help` lists what there is");
            }
            anyhow::bail!("there is no command `{name}`; `--help` lists what there is")
        }
    }
}

/// Names a request, so that repeating it is harmless.
fn fresh_uuid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A line for people.
fn say(text: &str) {
    // A reader that has gone away does not change what was done.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}

/// A result, for whoever called.
fn print(bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes.as_ref())?;
    Ok(out.flush()?)
}

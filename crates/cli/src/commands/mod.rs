//! The commands.

mod artifact;
mod build;
mod builds;
mod change;
mod config;
pub(crate) mod deliver;
mod deliveries;
mod event;
mod github;
mod instances;
mod logs;
mod pipeline;
mod retention;
mod schedules;
mod secret;
mod why;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::args::{Arguments, Command, Config as ConfigCommand, Global, LogFormat, Up};
use crate::config::{Config, Local};
use crate::exit::{self, Expected};
use crate::{demo, instance, run, up};

/// Runs a command to its exit status.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { global, command } = arguments;
    match command {
        // On the main thread and before there are others: it becomes the parent of everything that a machine runs.
        Command::Instance(instance) => {
            log_to_stderr(LogFormat::Text, "info");
            return Ok(instance::run(&instance.file, instance.worker));
        }
        Command::Up(up) => return serve(&global, &up),
        // The system in this process says nothing unless it is asked: there is a picture to be seen.
        Command::Run(_) if std::env::var_os("TIDEGATE_LOG").is_some() => log_to_stderr(LogFormat::Text, "info"),
        _ => {}
    }
    let runtime = runtime()?;
    let status = runtime.block_on(client(&global, command));
    // Whatever still reads the terminal or resolves a name is not waited for.
    runtime.shutdown_background();
    status.map(exit::code)
}

async fn client(global: &Global, command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Demo(demo) => demo::run(global, &demo).await,
        Command::Run(run) => run::run(global, &run).await,
        Command::Builds(builds) => builds::run(global, &builds).await,
        Command::Build(build) => build::run(global, build).await,
        Command::Logs(logs) => logs::run(global, &logs).await,
        Command::Artifact(artifact) => artifact::run(global, artifact).await,
        Command::Approve(approve) => change::approve(global, &approve).await,
        Command::Cancel(cancel) => change::cancel(global, &cancel).await,
        Command::Retry(retry) => change::retry(global, &retry).await,
        Command::Rebuild(rebuild) => change::rebuild(global, &rebuild).await,
        Command::Unblock(unblock) => change::unblock(global, &unblock).await,
        Command::Secret(secret) => secret::run(global, &secret).await,
        Command::Why(arguments) => why::run(global, &arguments).await,
        Command::Deliveries(command) => deliveries::run(global, command).await,
        Command::GitHub(command) => github::run(global, command).await,
        Command::Groups => why::groups(global).await,
        Command::Schedules => schedules::run(global).await,
        Command::Retention(retention) => retention::run(global, &retention).await,
        Command::Instances => instances::run(global).await,
        Command::Deliver(deliver) => deliver::run(global, &deliver).await,
        Command::Config(ConfigCommand::Example) => config::example(),
        Command::Config(ConfigCommand::Check) => config::check(global),
        Command::Pipeline(pipeline) => pipeline::run(global, pipeline),
        Command::Up(_) | Command::Instance(_) => Ok(exit::USAGE),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn serve(global: &Global, arguments: &Up) -> anyhow::Result<ExitCode> {
    log_to_stderr(arguments.log, "info");
    let path = global.config_path();
    // Only the file that nobody asked for may be missing.
    let named = global.config.is_some() || path.exists();
    let config = if named { load(global)? } else { Config::default() };
    let state = global.state_path()?;
    let up = up::Up { config, config_path: named.then_some(path), state: &state };
    let runtime = runtime()?;
    let code = runtime.block_on(up::run(up)).map_err(|error| Expected::usage(error.to_string()));
    runtime.shutdown_background();
    code
}

/// The configuration that was asked for, or the one in the working directory.
fn load(global: &Global) -> anyhow::Result<Config> {
    Config::load(&global.config_path()).map_err(|error| Expected::usage(error.to_string()))
}

/// What of that configuration concerns this machine; nothing else of it is needed, so no secret has to be there.
pub(crate) fn local(global: &Global) -> anyhow::Result<Local> {
    let path = global.config_path();
    // Only the file that nobody asked for may be missing.
    if global.config.is_none() && !path.exists() {
        return Ok(Local::default());
    }
    Config::local_of(&path).map_err(|error| Expected::usage(error.to_string()))
}

/// Writes the log to the standard error output, at the level of `TIDEGATE_LOG`.
fn log_to_stderr(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => {
            log.with_ansi(anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never).init()
        }
    }
}

/// Who asks, for the record: the user's name on this machine.
pub(crate) fn me() -> String {
    let name = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    name.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "somebody".to_owned())
}

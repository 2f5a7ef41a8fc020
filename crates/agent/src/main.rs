//! The small binary for machines: `tidegate-agent instance --file FILE`. Inside a job it is the command line of the job.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(version, about = "Runs jobs on this machine for Tidegate.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the instance that a file describes, until there is nothing more to do.
    Instance {
        /// The `instance.json` that the fleet wrote.
        #[arg(long)]
        file: PathBuf,
        /// Be the process that works; without this, be the one that watches over it.
        #[arg(long, hide = true)]
        worker: bool,
    },
}

fn main() -> ExitCode {
    if tidegate_agent::is_job_cli(std::env::args_os()) {
        return tidegate_agent::job_cli_main(std::env::args_os());
    }
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .init();
    match arguments.command {
        Command::Instance { file, worker: false } => tidegate_agent::watchdog_main(&file),
        Command::Instance { file, worker: true } => tidegate_agent::agent_main(&file),
    }
}

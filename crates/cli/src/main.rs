#![doc = include_str!("../README.md")]

mod args;
mod client;
mod commands;
mod config;
mod demo;
#[cfg(test)]
mod docs;
mod exit;
mod git;
mod github;
mod hook_secret;
mod instance;
mod live;
mod out;
mod outbound;
mod process;
mod run;
#[cfg(test)]
mod sample;
mod server;
mod show;
mod signals;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use args::Arguments;

fn main() -> ExitCode {
    // In a job this program is also what the job calls its agent by.
    if tidegate_agent::is_job_cli(std::env::args_os()) {
        return tidegate_agent::job_cli_main(std::env::args_os());
    }
    let arguments = Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            let (status, told) = exit::of(&error);
            if told {
                out::error(&error);
            }
            exit::code(status)
        }
    }
}

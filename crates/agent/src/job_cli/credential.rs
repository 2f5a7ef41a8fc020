//! `git-credentials-helper`: answers git (gitcredentials(7)).

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context as _;
use tidegate_core::wire::credential::GitCredentialAnswer;
use tidegate_git::credential::Asked;

use super::client::Agent;
use super::{print, say, wire};

/// More than git ever writes.
const LIMIT: u64 = 64 * 1024;

pub(super) fn run(operation: &str) -> anyhow::Result<ExitCode> {
    if operation != "get" {
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    std::io::stdin().lock().take(LIMIT).read_to_string(&mut text).context("cannot read what git asks")?;
    match ask(&text) {
        Ok(GitCredentialAnswer { credential: Some(given) }) => {
            print(format!("username={}\npassword={}\n", given.username, given.password))?;
        }
        // Git goes on to whoever else may know one.
        Ok(GitCredentialAnswer { credential: None }) => {}
        Err(error) => {
            say(&format!("no credential: {error:#}"));
            // There is no use in asking anybody else.
            print("quit=1\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(text: &str) -> anyhow::Result<GitCredentialAnswer> {
    let Asked { protocol, host, path } = Asked::parse(text);
    Agent::of_this_job()?.post(wire::GIT_CREDENTIAL, &wire::Repository { protocol, host, path })
}

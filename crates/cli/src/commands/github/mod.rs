//! `tidegate github`: the App that this server is at GitHub.

mod doctor;
mod rotate;
mod setup;

use crate::args::{GitHubCommand, Global};
use crate::config::{Config, GitHubApi, GitHubIdentity};
use crate::exit::Expected;

/// `tidegate github …`.
pub(super) async fn run(global: &Global, command: GitHubCommand) -> anyhow::Result<u8> {
    match command {
        GitHubCommand::Setup(arguments) => setup::run(global, &arguments).await,
        GitHubCommand::Doctor => doctor::run(global).await,
        GitHubCommand::RotateSecret(arguments) => rotate::run(global, &arguments).await,
    }
}

/// The App of a configuration.
fn app_of(config: &Config) -> anyhow::Result<tidegate_github::app::App> {
    let Some(api) = &config.github else {
        return Err(Expected::usage("the configuration has no [github]: `tidegate github setup` makes an App"));
    };
    match &api.identity {
        GitHubIdentity::App { id, key_file } => crate::github::app(api, id, key_file),
        GitHubIdentity::Token(_) => Err(Expected::usage(
            "[github] has a token and no App: this is for Apps, which `tidegate github setup` makes",
        )),
    }
}

/// Where people see GitHub.
fn web(api: &GitHubApi) -> String {
    let scheme = api.api_url.split("://").next().unwrap_or("https");
    format!("{scheme}://{}", api.git_host().unwrap_or("github.com"))
}

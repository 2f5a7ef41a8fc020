//! `tidegate up`: the server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::server::{Server, StartError};

/// How long instances may take to end at a stop, beyond the grace that their jobs have.
const STOP: Duration = Duration::from_secs(10);

/// What `up` was told.
pub(crate) struct Up<'a> {
    /// The configuration's path; the defaults apply when it was not named and is not there.
    pub(crate) config: Config,
    /// Where the configuration came from, for the log.
    pub(crate) config_path: Option<PathBuf>,
    /// The state directory.
    pub(crate) state: &'a Path,
}

/// Runs until SIGTERM or SIGINT. A second signal ends at once: what runs goes on, and the next start finds it.
pub(crate) async fn run(up: Up<'_>) -> Result<ExitCode, StartError> {
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            return Err(anyhow::anyhow!("signals cannot be received: {error}").into());
        }
    };
    let server = Server::start(&up.config, up.state).await?;
    tracing::info!(
        webhook.url = %format!("{}/webhook", server.public_url),
        api.url = %server.api_url,
        state = %up.state.display(),
        config = %up.config_path.as_deref().map_or_else(|| "defaults".to_owned(), |p| p.display().to_string()),
        repositories = up.config.repositories.len(),
        "ready"
    );
    if up.config.webhook.is_none() {
        tracing::warn!("no webhook secret is configured: every delivery is refused; set `secret_file` in [webhook]");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: running jobs are ended and tried again after the next start");
    let patience = up.config.limits.grace + STOP;
    tokio::select! {
        () = server.stop(patience) => tracing::info!("stopped"),
        _ = terminate.recv() => tracing::warn!("stopped at once"),
        _ = interrupt.recv() => tracing::warn!("stopped at once"),
    }
    Ok(ExitCode::SUCCESS)
}

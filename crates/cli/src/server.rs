//! The whole system in one process: what `up` runs, and what `run` runs on a state directory of its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::http::HeaderMap;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tidegate_console::ApiToken;
use tidegate_edge::gate::{Callers, presented};
use tidegate_edge::{gate, serve, webhook};
use tidegate_engine::gate::Caller;
use tidegate_engine::ports::GitCredentials;
use tidegate_engine::{Engine, Ports, resident};
use tidegate_github::webhook::Secrets;
use tidegate_local::{
    ConfiguredTokens, Database, DirBlobs, FleetSettings, GitRepositories, ProcessFleet, QueueSettings, SecretFile,
    SqliteQueue, SqliteStore, StateDir, SystemClock, SystemIds, blob_routes,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::github::{GitHubSide, github};
use crate::outbound::HttpOutbound;

/// Largest webhook delivery (`contract.md`).
const WEBHOOK_LIMIT: usize = 25 << 20;
/// Where clients find a running server: in the state directory, for its owner only.
const API_FILE: &str = "api.json";

/// What a client needs to reach the server.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct ApiFile {
    /// Base URL of the API.
    pub(crate) url: String,
    /// Base URL of the webhook.
    #[serde(default)]
    pub(crate) public_url: String,
    /// Opens the API.
    pub(crate) token: String,
    /// The server's process.
    pub(crate) pid: u32,
}

impl ApiFile {
    /// Reads the file of a state directory; `None` when no server wrote one.
    pub(crate) fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state.join(API_FILE)).ok()?).ok()
    }
}

/// What stands between a configuration and a running server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A port is taken, or may not be used.
    #[error("cannot listen on {address} ({key} in the configuration): {why}")]
    Listen { address: SocketAddr, key: &'static str, why: String },
    /// Anything else, said by whoever knows.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// A running server.
pub(crate) struct Server {
    pub(crate) public_url: String,
    pub(crate) api_url: String,
    pub(crate) engine: Arc<Engine>,
    fleet: ProcessFleet,
    api_file: PathBuf,
    stop: watch::Sender<bool>,
    loops: JoinHandle<()>,
    listeners: Vec<JoinHandle<()>>,
    stop_listeners: watch::Sender<bool>,
}

#[derive(Debug)]
struct ProcessCallers(ProcessFleet);

impl Callers for ProcessCallers {
    fn authenticate(&self, headers: &HeaderMap) -> Option<Caller> {
        let (named, token) = presented(headers)?;
        let instance = self.0.identify(token).filter(|instance| instance.as_str() == named)?;
        let pool = self.0.pool_of(&instance)?;
        Some(Caller { instance, pool })
    }
}

async fn listen(address: SocketAddr, key: &'static str) -> Result<(TcpListener, String), StartError> {
    let refused = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "another program uses this port: stop it, or choose another port".to_owned(),
            io::ErrorKind::PermissionDenied => "not allowed: ports below 1024 need root".to_owned(),
            _ => error.to_string(),
        };
        StartError::Listen { address, key, why }
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, format!("http://{bound}")))
}

fn random_text() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

impl Server {
    /// Starts everything on a state directory. When this returns, deliveries are accepted.
    pub(crate) async fn start(config: &Config, state: &Path) -> Result<Self, StartError> {
        let state = StateDir::serve(state).map_err(|error| anyhow!(error))?;
        // Ports first: nothing has changed yet when one of them is taken.
        let (public, public_url) = listen(config.listen, "`listen`").await?;
        let (private, api_url) = listen(config.api_listen, "`api_listen`").await?;

        let database = Database::open(&state.database()).map_err(|error| anyhow!(error))?;
        let store = SqliteStore::new(Arc::clone(&database));
        let queue = SqliteQueue::open(database, QueueSettings::default()).await.map_err(|error| anyhow!(error))?;
        let queue = Arc::new(queue);
        let blobs = DirBlobs::open(&state).map_err(|error| anyhow!(error))?;
        blobs.set_base_url(api_url.clone());
        state.set_endpoint(&api_url).map_err(|error| anyhow!(error))?;
        let fleet = ProcessFleet::open(&state, fleet_settings(config)?).await.map_err(|error| anyhow!(error))?;
        let own: Arc<dyn GitCredentials> = Arc::new(ConfiguredTokens::new(config.tokens.iter().cloned()));
        let GitHubSide { forge, credentials } = github(config, own)?;
        let repositories = GitRepositories::open(&state, config.limits.pipeline.bytes as u64, Arc::clone(&credentials));
        let ports = Ports {
            store: Arc::new(store),
            queue: Arc::clone(&queue) as _,
            blobs: Arc::new(blobs.clone()),
            fleet: Arc::new(fleet.clone()),
            repositories: Arc::new(repositories),
            secrets: Arc::new(SecretFile::at(config.secrets.clone().unwrap_or_else(|| state.secrets()))),
            forge,
            outbound: Some(Arc::new(HttpOutbound { allow_private: config.notify.allow_private })),
            credentials,
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
        };
        let engine = Arc::new(Engine::new(ports, config.settings()));

        let token = random_text();
        let secrets = secrets(config)?;
        let files = config.webhook.as_ref().and_then(|webhook| webhook.files.clone());
        let deps =
            webhook::Deps { secrets: secrets.clone(), limit: WEBHOOK_LIMIT, queue, clock: Arc::new(SystemClock) };
        let private_routes = gate::routes(Arc::clone(&engine), Arc::new(ProcessCallers(fleet.clone())))
            .merge(tidegate_console::routes(Arc::clone(&engine), ApiToken::new(token.clone())))
            .merge(blob_routes(blobs));
        let (stop, stopped) = watch::channel(false);
        let (stop_listeners, listeners_stopped) = watch::channel(false);
        let until = |mut stop: watch::Receiver<bool>| async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let listeners = vec![
            tokio::spawn(serve::serve(public, webhook::router(deps), serve::Limits::default(), until(stopped.clone()))),
            tokio::spawn(serve::serve(private, private_routes, serve::Limits::default(), until(listeners_stopped))),
        ];
        if let Some(files) = files {
            tokio::spawn(files.watch(secrets, stopped.clone()));
        }
        let loops = tokio::spawn(resident::run(Arc::clone(&engine), fleet.changes(), stopped));

        let file = ApiFile { url: api_url.clone(), public_url: public_url.clone(), token, pid: std::process::id() };
        let content = serde_json::to_vec(&file).context("cannot describe the server")?;
        state.write_private(API_FILE, &content).map_err(|error| anyhow!(error))?;
        let api_file = state.path().join(API_FILE);
        // The lock of the state directory lives as long as the process.
        std::mem::forget(state);
        Ok(Self { public_url, api_url, engine, fleet, api_file, stop, loops, listeners, stop_listeners })
    }

    /// Stops: no more deliveries, no more launches; running jobs are asked to end and are tried again after the next
    /// start; instances are gone when this returns, or killed after `patience`.
    pub(crate) async fn stop(self, patience: Duration) {
        let _ = self.stop.send(true);
        let _ = self.loops.await;
        // The gate stays open until then: instances report how their jobs ended.
        if !self.fleet.end_all(patience).await {
            tracing::warn!("some instances did not end in time");
        }
        let _ = self.stop_listeners.send(true);
        for listener in self.listeners {
            let _ = listener.await;
        }
        let _ = std::fs::remove_file(&self.api_file);
    }
}

fn fleet_settings(config: &Config) -> Result<FleetSettings, StartError> {
    let mut settings = FleetSettings::this_program().context("cannot find the program of the instances")?;
    settings.beat = config.limits.beat;
    // Before the control plane gives it up (`spec/hazards.md` C9), with room for the grace of a job's end.
    settings.self_kill = config.limits.silence.mul_f64(0.6);
    settings.stop = config.limits.grace + Duration::from_secs(2);
    settings.hooks_dir.clone_from(&config.hooks_dir);
    settings.plugin_mirrors.clone_from(&config.plugin_mirrors);
    settings.forbidden.clone_from(&config.forbidden);
    Ok(settings)
}

fn secrets(config: &Config) -> Result<Secrets, StartError> {
    let (current, previous) = match &config.webhook {
        Some(secrets) => (secrets.current.clone(), secrets.previous.clone()),
        // Nobody knows this one: every delivery is refused.
        None => (SecretString::from(random_text()), None),
    };
    Ok(Secrets::new(current, previous).map_err(|error| anyhow!("{error}"))?)
}

//! Where answers come from: the API of a server, or the records themselves.
//!
//! A server that runs is asked over HTTP. Where none runs, commands that only read open the state directory and ask the
//! same engine that the server runs, in this process.

mod directory;
mod http;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tidegate_core::ids::DeliveryId;
use tidegate_engine::Schedules;
use tidegate_engine::api::{
    ApiError, ArtifactAnswer, BuildAnswer, BuildName, Builds, CreateBuild, Deliveries, DeliveryAnswer, Groups,
    InstanceAnswer, JobName, LogPart, LogPosition, Rebuild, Unblock, WhyAnswer,
};
use tidegate_engine::{Engine, RetentionAnswer};
use tidegate_local::{StateDir, StateError};

use crate::args::Global;
use crate::exit::Expected;
use crate::server::ApiFile;

pub(crate) use http::{Http, base_url, client};

/// How long a server that has just been started is waited for.
const STARTING: Duration = Duration::from_secs(5);
/// How much of an artifact is held in memory.
const PIECE: u64 = 1 << 20;

/// Machines, in a list.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Instances {
    pub(crate) instances: Vec<InstanceAnswer>,
}

/// Artifacts, in a list.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Artifacts {
    pub(crate) artifacts: Vec<ArtifactAnswer>,
}

/// What was named is not there, in the words of the server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotThere(String);

/// Whether an error says that what was named is not there, perhaps only not yet.
pub(crate) fn is_not_there(error: &anyhow::Error) -> bool {
    error.is::<NotThere>() || matches!(error.downcast_ref::<ApiError>(), Some(ApiError::NotFound(_)))
}

/// Where answers come from.
#[derive(Debug)]
pub(crate) enum Backend {
    /// A server's API.
    Http(Http),
    /// The engine, in this process.
    Engine(Arc<Engine>),
    /// The records of a state directory on which no server runs.
    Directory(Arc<Engine>),
}

/// What a command does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// It only reads, and can do so without a server.
    Read,
    /// It needs a server.
    Server,
}

impl Backend {
    /// Finds out where the answers come from.
    ///
    /// # Errors
    /// [`Expected::Unreachable`] with a way out when there is nothing that could answer.
    pub(crate) async fn open(global: &Global, access: Access) -> anyhow::Result<Self> {
        if let Some(url) = &global.url {
            base_url(url)?;
            return Ok(Backend::Http(Http::new(url, token(global)?)?));
        }
        let path = global.state_path()?;
        let state = match StateDir::read(&path) {
            Ok(state) => state,
            Err(StateError::Missing { .. }) => {
                return Err(Expected::unreachable(format!(
                    "no server has run on `{}`: start one with `tidegate up`, or say where it is with `--state DIR` or \
                     `--url URL`",
                    path.display()
                )));
            }
            Err(error) => return Err(Expected::unreachable(error.to_string())),
        };
        if let Some(server) = find_server(&state).await {
            return Ok(Backend::Http(Http::new(&server.url, server.token)?));
        }
        match access {
            Access::Read => {
                let engine = directory::engine(global, &state).map_err(|error| {
                    Expected::unreachable(format!("no server runs on `{}`, and {error:#}", path.display()))
                })?;
                Ok(Backend::Directory(Arc::new(engine)))
            }
            Access::Server => Err(Expected::unreachable(format!(
                "no server runs on `{}`: start one with `tidegate up`, or say where it is with `--state DIR` or \
                 `--url URL`",
                path.display()
            ))),
        }
    }

    /// Builds, newest first.
    pub(crate) async fn builds(&self, pipeline: Option<&str>, limit: u32) -> anyhow::Result<Builds> {
        match self {
            Backend::Http(http) => http.builds(pipeline, limit).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                Ok(engine.list_builds(pipeline, limit as usize).await?)
            }
        }
    }

    /// A build with its jobs.
    pub(crate) async fn build(&self, name: &str) -> anyhow::Result<BuildAnswer> {
        build_name(name)?;
        match self {
            Backend::Http(http) => http.build(name).await,
            Backend::Engine(engine) => Ok(engine.show_build(&build_name(name)?).await?),
            Backend::Directory(engine) => {
                let mut build = engine.show_build(&build_name(name)?).await?;
                for job in build.jobs.iter_mut().filter(|job| job.waiting.is_some()) {
                    job.waiting = Some("for a server: none runs on this state directory".to_owned());
                }
                Ok(build)
            }
        }
    }

    /// Where the log of a job begins.
    pub(crate) async fn log_position(
        &self,
        build: &str,
        job: &str,
        attempt: Option<u32>,
    ) -> anyhow::Result<LogPosition> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.log_position(build, job, attempt).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                Ok(engine.log_position(&name, &JobName(job.to_owned()), attempt).await?)
            }
        }
    }

    /// The next part of a log.
    pub(crate) async fn log_part(&self, at: &LogPosition) -> anyhow::Result<LogPart> {
        match self {
            Backend::Http(http) => http.log_part(at).await,
            Backend::Engine(engine) => Ok(engine.log_part(at).await?),
            Backend::Directory(engine) => {
                // Nobody writes: nothing more comes, whatever the record says.
                let part = engine.log_part(at).await?;
                let end = part.end || part.bytes.is_empty();
                Ok(LogPart { end, ..part })
            }
        }
    }

    /// Artifacts of a build or of one of its jobs.
    pub(crate) async fn artifacts(&self, build: &str, job: Option<&str>) -> anyhow::Result<Artifacts> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.artifacts(build, job).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let job = job.map(|job| JobName(job.to_owned()));
                Ok(Artifacts { artifacts: engine.list_artifacts(&name, job.as_ref()).await? })
            }
        }
    }

    /// The content of an artifact, in pieces.
    pub(crate) async fn artifact_content(
        &self,
        artifact: &ArtifactAnswer,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let engine = match self {
            Backend::Http(http) => return http.artifact_content(artifact, take).await,
            Backend::Engine(engine) | Backend::Directory(engine) => engine,
        };
        let mut at = 0;
        while at < artifact.size {
            let end = (at + PIECE).min(artifact.size);
            let piece = engine.ports().blobs.get(&artifact.key, Some(at..end)).await?;
            let piece = piece.filter(|piece| !piece.is_empty());
            let piece = piece.context("its content is not there any more")?;
            take(&piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Makes a build.
    pub(crate) async fn create(&self, wish: &CreateBuild) -> anyhow::Result<BuildAnswer> {
        match self {
            Backend::Http(http) => http.create(wish).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let id = engine.create_build(wish).await?;
                Ok(engine.show_build(&BuildName::Id(id)).await?)
            }
        }
    }

    /// Cancels a build.
    pub(crate) async fn cancel(&self, build: &str, by: &str) -> anyhow::Result<BuildAnswer> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.cancel(build, by).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let id = engine.cancel_build(&name, by).await?;
                Ok(engine.show_build(&BuildName::Id(id)).await?)
            }
        }
    }

    /// Lets a build be planned that waits for approval.
    pub(crate) async fn approve(&self, build: &str, by: &str) -> anyhow::Result<BuildAnswer> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.approve(build, by).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let id = engine.approve(&name, by).await?;
                Ok(engine.show_build(&BuildName::Id(id)).await?)
            }
        }
    }

    /// Runs a job again, or all that failed.
    pub(crate) async fn retry(&self, build: &str, job: Option<&str>, by: &str) -> anyhow::Result<BuildAnswer> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.retry(build, job, by).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let job = job.map(|job| JobName(job.to_owned()));
                let id = engine.retry(&name, job.as_ref(), by).await?;
                Ok(engine.show_build(&BuildName::Id(id)).await?)
            }
        }
    }

    /// Makes a build again.
    pub(crate) async fn rebuild(&self, build: &str, wish: &Rebuild) -> anyhow::Result<BuildAnswer> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.rebuild(build, wish).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let id = engine.rebuild(&name, wish).await?;
                Ok(engine.show_build(&BuildName::Id(id)).await?)
            }
        }
    }

    /// Opens a block or input step.
    pub(crate) async fn unblock(&self, build: &str, wish: &Unblock) -> anyhow::Result<BuildAnswer> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.unblock(build, wish).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let id = engine.unblock(&name, wish).await?;
                Ok(engine.show_build(&BuildName::Id(id)).await?)
            }
        }
    }

    /// Why a build or a job waits.
    pub(crate) async fn why(&self, build: &str, job: Option<&str>) -> anyhow::Result<WhyAnswer> {
        let name = build_name(build)?;
        match self {
            Backend::Http(http) => http.why(build, job).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let job = job.map(|job| JobName(job.to_owned()));
                let mut answer = engine.why(&name, job.as_ref()).await?;
                if matches!(self, Backend::Directory(_)) && answer.jobs.iter().any(|job| job.waits) {
                    answer.sentence.push_str("; and no server runs on this state directory: `tidegate up` starts it");
                }
                Ok(answer)
            }
        }
    }

    /// Deletes what is old, or lists it.
    pub(crate) async fn retention(&self, dry_run: bool) -> anyhow::Result<RetentionAnswer> {
        match self {
            Backend::Http(http) => http.retention(dry_run).await,
            Backend::Engine(engine) | Backend::Directory(engine) => Ok(engine.retention(dry_run).await?),
        }
    }

    /// Schedules.
    pub(crate) async fn schedules(&self) -> anyhow::Result<Schedules> {
        match self {
            Backend::Http(http) => http.schedules().await,
            Backend::Engine(engine) | Backend::Directory(engine) => Ok(engine.list_schedules().await?),
        }
    }

    /// Concurrency groups.
    pub(crate) async fn groups(&self) -> anyhow::Result<Groups> {
        match self {
            Backend::Http(http) => http.groups().await,
            Backend::Engine(engine) | Backend::Directory(engine) => Ok(engine.list_groups().await?),
        }
    }

    /// Deliveries, newest first, as the forge lists them.
    pub(crate) async fn deliveries(&self, limit: u32) -> anyhow::Result<Deliveries> {
        match self {
            Backend::Http(http) => http.deliveries(limit).await,
            Backend::Engine(engine) | Backend::Directory(engine) => Ok(engine.list_deliveries(limit as usize).await?),
        }
    }

    /// A delivery.
    pub(crate) async fn delivery_details(&self, guid: &DeliveryId) -> anyhow::Result<DeliveryAnswer> {
        match self {
            Backend::Http(http) => http.delivery_details(guid.as_str()).await,
            Backend::Engine(engine) | Backend::Directory(engine) => Ok(engine.find_delivery(guid).await?),
        }
    }

    /// Asks the forge for a delivery once more.
    pub(crate) async fn replay(&self, guid: &DeliveryId) -> anyhow::Result<DeliveryAnswer> {
        match self {
            Backend::Http(http) => http.replay(guid.as_str()).await,
            Backend::Engine(engine) | Backend::Directory(engine) => Ok(engine.replay_delivery(guid).await?),
        }
    }

    /// Machines.
    pub(crate) async fn instances(&self) -> anyhow::Result<Instances> {
        match self {
            Backend::Http(http) => http.instances().await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                Ok(Instances { instances: engine.list_instances().await? })
            }
        }
    }

    /// What became of a delivery; `None` while it is not decided.
    pub(crate) async fn delivery(&self, id: &str) -> anyhow::Result<Option<tidegate_engine::DeliveryRecord>> {
        match self {
            Backend::Http(http) => http.delivery(id).await,
            Backend::Engine(engine) | Backend::Directory(engine) => {
                let id = tidegate_core::ids::DeliveryId::new(id)?;
                match engine.show_delivery(&id).await {
                    Ok(record) => Ok(Some(record)),
                    Err(tidegate_engine::api::ApiError::NotFound(_)) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

/// What a person wrote for a build.
fn build_name(text: &str) -> anyhow::Result<BuildName> {
    text.parse::<BuildName>().map_err(|error| Expected::usage(error.to_string()))
}

/// The server of a state directory. One that holds the directory and has not said yet where it is, is waited for.
pub(crate) async fn find_server(state: &StateDir) -> Option<ApiFile> {
    let deadline = Instant::now() + STARTING;
    loop {
        // What a server that was killed has left says nothing.
        let holder = state.server()?;
        if let Some(file) = ApiFile::read(state.path()).filter(|file| holder.is_none_or(|pid| pid == file.pid)) {
            return Some(file);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The token for a server that was named by its URL.
fn token(global: &Global) -> anyhow::Result<String> {
    if let Some(token) = std::env::var("TIDEGATE_TOKEN").ok().filter(|token| !token.is_empty()) {
        return Ok(token);
    }
    let path = global.state_path()?;
    ApiFile::read(&path).map(|file| file.token).ok_or_else(|| {
        Expected::unreachable(format!(
            "the server's token is neither in TIDEGATE_TOKEN nor in `{}`: name the server's state directory with `--state \
             DIR`",
            path.display()
        ))
    })
}

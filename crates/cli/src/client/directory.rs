//! The records of a state directory, read in this process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::ids::{CommitSha, InstanceId};
use tidegate_core::secret::{SecretName, SecretScope};
use tidegate_engine::ports::{
    CommitInfo, FileAt, Fleet, Found, InstanceView, LaunchRequest, Launched, NoCredentials, Outgoing, PortError, Queue,
    Received, Repositories, RepositorySource, Secrets,
};
use tidegate_engine::{Engine, Ports};
use tidegate_local::{Database, DirBlobs, SqliteStore, StateDir, SystemClock, SystemIds};

use crate::args::Global;
use crate::config::Config;

/// An engine that can only read.
pub(super) fn engine(global: &Global, state: &StateDir) -> anyhow::Result<Engine> {
    let database = Database::open_read_only(&state.database())?;
    let absent = Arc::new(Absent);
    let ports = Ports {
        store: Arc::new(SqliteStore::new(database)),
        queue: Arc::clone(&absent) as _,
        blobs: Arc::new(DirBlobs::read_only(state)),
        fleet: Arc::clone(&absent) as _,
        repositories: Arc::clone(&absent) as _,
        secrets: absent,
        forge: None,
        outbound: None,
        credentials: Arc::new(NoCredentials),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
    };
    // Whatever is wrong with the configuration does not matter to who only reads.
    let config = Config::load(&global.config_path()).unwrap_or_default();
    Ok(Engine::new(ports, config.settings()))
}

/// What only a server has.
#[derive(Debug)]
struct Absent;

fn absent<T>() -> Result<T, PortError> {
    Err(PortError::reject("this needs a server, and none runs on the state directory"))
}

#[async_trait]
impl Queue for Absent {
    async fn send(&self, _: &str, _: Outgoing) -> Result<(), PortError> {
        absent()
    }

    async fn receive(&self, _: &str, _: usize, _: Duration) -> Result<Vec<Received>, PortError> {
        absent()
    }

    async fn delete(&self, _: &str, _: &str) -> Result<(), PortError> {
        absent()
    }

    async fn extend(&self, _: &str, _: &str, _: Duration) -> Result<(), PortError> {
        absent()
    }

    async fn depth(&self, _: &str) -> Result<u64, PortError> {
        absent()
    }
}

#[async_trait]
impl Fleet for Absent {
    async fn launch(&self, _: &LaunchRequest) -> Result<Launched, PortError> {
        absent()
    }

    async fn describe(&self) -> Result<Vec<InstanceView>, PortError> {
        Ok(Vec::new())
    }

    async fn terminate(&self, _: &[InstanceId]) -> Result<(), PortError> {
        absent()
    }
}

#[async_trait]
impl Secrets for Absent {
    async fn get(&self, _: &SecretName, _: &SecretScope) -> Result<Found, PortError> {
        absent()
    }
}

#[async_trait]
impl Repositories for Absent {
    async fn files(
        &self,
        _: &RepositorySource,
        _: &CommitSha,
        _: Option<&str>,
        _: &[&str],
    ) -> Result<Vec<FileAt>, PortError> {
        absent()
    }

    async fn commit(&self, _: &RepositorySource, _: &CommitSha, _: Option<&str>) -> Result<CommitInfo, PortError> {
        absent()
    }

    async fn resolve(&self, _: &RepositorySource, _: &str) -> Result<Option<CommitSha>, PortError> {
        absent()
    }

    async fn changed_files(
        &self,
        _: &RepositorySource,
        _: &CommitSha,
        _: &CommitSha,
    ) -> Result<Vec<String>, PortError> {
        absent()
    }
}

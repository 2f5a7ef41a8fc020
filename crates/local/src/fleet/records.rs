//! What the fleet keeps in files, so that a server that is started again finds its instances.
//!
//! They are not flushed to disk: a power failure that could lose them ends all that they speak of.
//!
//! | file | written | says |
//! |---|---|---|
//! | `launches/<token>.json` | before anything is started | which instances this launch makes |
//! | `instances/<id>/instance.json` | before the process is started | what the agent needs, its token among it |
//! | `instances/<id>/process.json` | after it was started | which process it is |
//! | `instances/<id>/ending` | before it is asked to end | that it is to end |
//! | `instances/<id>.gone` | after its last process has ended | how it ended |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegate_core::ids::{InstanceId, PoolName, derived_uuid};
use tidegate_core::time::Timestamp;
use tidegate_core::wire::instance::InstanceFile;
use tidegate_engine::ports::{LaunchRequest, PortError};

use super::procs::Identity;
use crate::files;

/// A launch, as it was asked for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) token: String,
    pub(super) pool: PoolName,
    pub(super) count: u32,
    pub(super) idle_ms: u64,
    pub(super) hard_stop_ms: u64,
    pub(super) tags: Vec<(String, String)>,
    pub(super) at: Timestamp,
    /// What it makes: as many as asked for, or fewer when the machine had no room for more.
    pub(super) instances: Vec<InstanceId>,
}

/// Which process an instance is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) process: Identity,
    /// The run of the machine in which this process was.
    pub(super) boot: String,
    pub(super) at: Timestamp,
}

/// How an instance ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Tombstone {
    pub(super) at: Timestamp,
    pub(super) pid: Option<u32>,
    pub(super) why: String,
    /// The end of what it printed.
    pub(super) log: String,
}

impl Launch {
    pub(super) fn new(request: &LaunchRequest, state: &str, at: Timestamp) -> Result<Self, PortError> {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let instances =
            (0..request.count).map(|n| instance_id(state, &request.token, n)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            token: request.token.clone(),
            pool: request.pool.clone(),
            count: request.count,
            idle_ms: millis(request.idle),
            hard_stop_ms: millis(request.hard_stop),
            tags: request.tags.clone(),
            at,
            instances,
        })
    }

    /// Whether both ask for the same.
    pub(super) fn same_request(&self, other: &Launch) -> bool {
        let Launch { token, pool, count, idle_ms, hard_stop_ms, tags, at: _, instances: _ } = self;
        *token == other.token
            && *pool == other.pool
            && *count == other.count
            && *idle_ms == other.idle_ms
            && *hard_stop_ms == other.hard_stop_ms
            && *tags == other.tags
    }
}

/// The same launch always makes the same ids, and no other state directory makes them.
fn instance_id(state: &str, token: &str, n: u32) -> Result<InstanceId, PortError> {
    let uuid = derived_uuid("instance", &format!("{state}/{token}/{n}"));
    let mut text = uuid.simple().to_string();
    text.truncate(17);
    InstanceId::new(format!("i-{text}")).map_err(|error| PortError::fatal(error.to_string()))
}

/// The places of the files.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) launches: PathBuf,
    pub(super) instances: PathBuf,
}

impl Places {
    pub(super) fn launch(&self, token: &str) -> PathBuf {
        self.launches.join(format!("{token}.json"))
    }

    pub(super) fn directory(&self, instance: &InstanceId) -> PathBuf {
        self.instances.join(instance.as_str())
    }

    pub(super) fn work(&self, instance: &InstanceId) -> PathBuf {
        self.directory(instance).join("work")
    }

    pub(super) fn log(&self, instance: &InstanceId) -> PathBuf {
        self.directory(instance).join("log")
    }

    pub(super) fn instance_file(&self, instance: &InstanceId) -> PathBuf {
        self.directory(instance).join("instance.json")
    }

    pub(super) fn started(&self, instance: &InstanceId) -> PathBuf {
        self.directory(instance).join("process.json")
    }

    pub(super) fn ending(&self, instance: &InstanceId) -> PathBuf {
        self.directory(instance).join("ending")
    }

    pub(super) fn tombstone(&self, instance: &InstanceId) -> PathBuf {
        self.instances.join(format!("{instance}.gone"))
    }

    /// All launches that are kept. What cannot be read is said and left.
    pub(super) fn all_launches(&self) -> io::Result<Vec<Launch>> {
        let mut launches = Vec::new();
        for entry in fs::read_dir(&self.launches)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                launches.extend(read::<Launch>(&path)?);
            }
        }
        Ok(launches)
    }

    pub(super) fn read_instance(&self, instance: &InstanceId) -> io::Result<Option<InstanceFile>> {
        read(&self.instance_file(instance))
    }
}

/// Reads a file. One that cannot be understood counts as none: every file is written as a whole, so that somebody else
/// has been at it.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(content) = files::read_if_there(path)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&content) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %error, "a file of the fleet is damaged");
            Ok(None)
        }
    }
}

/// Writes a file.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    files::write_whole(path, &serde_json::to_vec(value)?, 0o600)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;

    fn request() -> LaunchRequest {
        LaunchRequest {
            token: "t-1".to_owned(),
            pool: PoolName::new("default").unwrap(),
            count: 3,
            idle: Duration::from_secs(30),
            hard_stop: Duration::from_secs(60),
            tags: vec![("queue".to_owned(), "default".to_owned())],
        }
    }

    #[test]
    fn ids_depend_on_the_token_and_the_state_directory() {
        let at = Timestamp(5);
        let launch = Launch::new(&request(), "state", at).unwrap();
        assert_eq!(launch.instances.len(), 3);
        assert!(launch.instances.iter().all(|id| id.as_str().len() == 19 && id.as_str().starts_with("i-")));
        assert_eq!(Launch::new(&request(), "state", at).unwrap(), launch);
        assert_ne!(Launch::new(&request(), "other", at).unwrap().instances, launch.instances);
        let other = LaunchRequest { token: "t-2".to_owned(), ..request() };
        assert_ne!(Launch::new(&other, "state", at).unwrap().instances, launch.instances);
    }

    #[test]
    fn what_was_asked_for_is_compared_whole() {
        let launch = Launch::new(&request(), "state", Timestamp(5)).unwrap();
        let later = Launch::new(&request(), "state", Timestamp(9)).unwrap();
        assert!(launch.same_request(&later));
        for other in [
            LaunchRequest { count: 2, ..request() },
            LaunchRequest { idle: Duration::from_secs(31), ..request() },
            LaunchRequest { hard_stop: Duration::from_secs(61), ..request() },
            LaunchRequest { tags: Vec::new(), ..request() },
            LaunchRequest { pool: PoolName::new("other").unwrap(), ..request() },
        ] {
            let other = Launch::new(&other, "state", Timestamp(5)).unwrap();
            assert!(!launch.same_request(&other), "{other:?}");
        }
    }
}

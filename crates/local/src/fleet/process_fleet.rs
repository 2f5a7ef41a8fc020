use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::ids::{InstanceId, PoolName};
use tidegate_core::time::Timestamp;
use tidegate_core::wire::instance::InstanceToken;
use tidegate_engine::ports::{Clock, Fleet, InstanceStatus, InstanceView, LaunchRequest, Launched, PortError};
use tokio::sync::watch;

use super::procs::{self, Identity};
use super::records::{Places, Tombstone};
use super::settings::FleetSettings;
use super::{adopt, spawn, supervise};
use crate::blocking::blocking;
use crate::clock::SystemClock;
use crate::files;
use crate::secret::same_secret;
use crate::state_dir::StateDir;

/// What ended is described for this long.
const DESCRIBED: Duration = Duration::from_secs(60 * 60);

/// Child processes as machines.
///
/// Each instance is a process in a session of its own; everything that it starts inherits the variable
/// `TIDEGATE_INSTANCE`. When the process ends, however that comes, everything that still carries the variable is killed
/// first, and only then the instance is reported gone: what is tried again never meets remnants of the time before.
///
/// Instances outlive the server. One that is started again on the state directory finds them by process id and start
/// time, or by the variable where it died before it could note these, and ends what remained of those that have ended
/// meanwhile.
///
/// A process that changed its user or its environment's memory, and whose parents have ended, cannot be found.
#[derive(Clone, Debug)]
pub struct ProcessFleet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// Names the state directory.
    pub(super) state: String,
    pub(super) boot: String,
    pub(super) places: Places,
    pub(super) endpoint: PathBuf,
    pub(super) mirrors: PathBuf,
    pub(super) settings: FleetSettings,
    /// One launch at a time: the same token may be asked for twice at once.
    pub(super) launching: Mutex<()>,
    entries: Mutex<BTreeMap<InstanceId, Entry>>,
    changes: watch::Sender<u64>,
}

/// What is known of an instance.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pool: PoolName,
    /// Token of the launch.
    pub(super) launch: String,
    pub(super) launched: Timestamp,
    /// The secret by which the gate knows it.
    pub(super) token: Option<InstanceToken>,
    pub(super) process: Option<Identity>,
    pub(super) gone: Option<Tombstone>,
    /// Whether it is to end.
    pub(super) ending: watch::Sender<bool>,
}

impl ProcessFleet {
    /// The instances of a state directory, those that already live among them. Must be called within a runtime, which
    /// then watches over them.
    ///
    /// Errors: [`PortError::Fatal`] or [`PortError::Retry`] when the state directory or `/proc` cannot be read.
    pub async fn open(state: &StateDir, settings: FleetSettings) -> Result<Self, PortError> {
        let inner = Arc::new(Inner {
            state: state.id().to_owned(),
            boot: procs::boot_id().map_err(|error| PortError::fatal(format!("cannot read /proc: {error}")))?,
            places: Places { launches: state.launches(), instances: state.instances() },
            endpoint: state.endpoint(),
            mirrors: state.mirrors(),
            settings,
            launching: Mutex::default(),
            entries: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let adopting = Arc::clone(&inner);
        blocking(move || adopt::adopt(&adopting)).await?;
        tokio::spawn(supervise::keep_house(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Tells of each instance that was launched or has ended; the number only changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The secret of a living instance.
    pub fn token_of(&self, instance: &InstanceId) -> Option<InstanceToken> {
        self.inner.entries().get(instance).filter(|entry| entry.gone.is_none())?.token.clone()
    }

    /// The living instance whose secret this is: whom a request to the gate comes from.
    pub fn identify(&self, token: &str) -> Option<InstanceId> {
        let (instance, _) = token.rsplit_once('.')?;
        let instance = InstanceId::new(instance).ok()?;
        let expected = self.token_of(&instance)?;
        same_secret(expected.expose(), token).then_some(instance)
    }

    /// The pool of an instance that is described.
    pub fn pool_of(&self, instance: &InstanceId) -> Option<PoolName> {
        self.inner.entries().get(instance).map(|entry| entry.pool.clone())
    }

    /// Ends all instances and waits until nothing of them is left. Returns whether that was so within `patience`.
    pub async fn end_all(&self, patience: Duration) -> bool {
        let mut changes = self.changes();
        let alive = || -> Vec<InstanceId> {
            let entries = self.inner.entries();
            entries.iter().filter(|(_, entry)| entry.gone.is_none()).map(|(id, _)| id.clone()).collect()
        };
        for instance in alive() {
            self.inner.end(&instance);
        }
        tokio::time::timeout(patience, changes.wait_for(|_| alive().is_empty())).await.is_ok()
    }
}

impl Inner {
    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an entry, if there is one, and tells of it.
    pub(super) fn change(&self, instance: &InstanceId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries().get_mut(instance) {
            change(entry);
        }
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Asks an instance to end, also if this server dies before it has.
    fn end(&self, instance: &InstanceId) {
        let entries = self.entries();
        let Some(entry) = entries.get(instance).filter(|entry| entry.gone.is_none()) else {
            return;
        };
        if entry.ending.send_replace(true) {
            return;
        }
        let path = self.places.ending(instance);
        if let Err(error) = files::write_whole(&path, b"", 0o600) {
            tracing::warn!(instance.id = %instance, error = %error, "cannot note that an instance is to end");
        }
    }
}

#[async_trait]
impl Fleet for ProcessFleet {
    async fn launch(&self, request: &LaunchRequest) -> Result<Launched, PortError> {
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        blocking(move || spawn::launch(&inner, &request)).await
    }

    async fn describe(&self) -> Result<Vec<InstanceView>, PortError> {
        let now = SystemClock.now();
        let entries = self.inner.entries();
        let views = entries.iter().filter_map(|(id, entry)| {
            if entry.gone.as_ref().is_some_and(|gone| now.since(gone.at) > DESCRIBED) {
                return None;
            }
            Some(InstanceView {
                id: id.clone(),
                pool: entry.pool.clone(),
                token: entry.launch.clone(),
                status: if entry.gone.is_some() { InstanceStatus::Gone } else { InstanceStatus::Alive },
                pid: match &entry.gone {
                    Some(gone) => gone.pid,
                    None => entry.process.map(|process| process.pid),
                },
                why: entry.gone.as_ref().map(|gone| gone.why.clone()),
            })
        });
        Ok(views.collect())
    }

    async fn terminate(&self, instances: &[InstanceId]) -> Result<(), PortError> {
        let (inner, instances) = (Arc::clone(&self.inner), instances.to_vec());
        blocking(move || {
            for instance in &instances {
                inner.end(instance);
            }
            Ok(())
        })
        .await
    }
}

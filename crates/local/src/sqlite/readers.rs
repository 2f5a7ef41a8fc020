//! A few connections that read, beside the writer and never in its way.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tidegate_engine::ports::PortError;
use tokio::sync::Semaphore;

use super::database::{self, sql_error};

/// How many reads run at a time. Each connection has a page cache of its own.
const READERS: usize = 3;

#[derive(Debug)]
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, PortError> {
        let connections = (0..READERS).map(|_| database::open_reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { permits: Arc::new(Semaphore::new(connections.len())), free: Arc::new(Mutex::new(connections)) })
    }

    /// Reads. It sees every write that was answered before.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let closed = || PortError::fatal("the database is closed");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let free = Arc::clone(&self.free);
        tokio::task::spawn_blocking(move || {
            // The connection goes back here and not in the caller, who may be cancelled meanwhile.
            let connection = lock(&free).pop().ok_or_else(closed)?;
            let outcome = work(&connection);
            lock(&free).push(connection);
            drop(permit);
            outcome.map_err(|error| sql_error("read the database", &error))
        })
        .await
        .map_err(|error| PortError::fatal(format!("a read of the database failed: {error}")))?
    }
}

fn lock(free: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

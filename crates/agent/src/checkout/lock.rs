//! Locks between the processes of a machine, by files that hold nothing. The kernel releases them with their holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

/// How long a lock is waited for: as long as the first clone of a large repository may take.
const LOCK_TIME: Duration = Duration::from_secs(20 * 60);

/// Together with other readers, or alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hold {
    Shared,
    Alone,
}

/// Takes the lock; it is held as long as the file is open. The error is for people.
pub(crate) async fn lock(path: &Path, hold: Hold) -> Result<File, String> {
    let failed = |e: io::Error| format!("cannot lock `{}`: {e}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    let deadline = Instant::now() + LOCK_TIME;
    let mut pause = Duration::from_millis(5);
    loop {
        let taken = match hold {
            Hold::Shared => file.try_lock_shared(),
            Hold::Alone => file.try_lock(),
        };
        match taken {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "another job has held `{}` for {} minutes",
                    path.display(),
                    LOCK_TIME.as_secs() / 60
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

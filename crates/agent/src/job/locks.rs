//! Locks between the jobs of one machine (`spec/pipeline.md` 1.19, `lock`): files that the machine's agents share, each
//! held by the kernel's lock on it. So a lock is free as soon as the agent that holds it for its job lets go of it or ends,
//! however that comes, and no agent has to be the first among them.
//!
//! The work of `do` and `done` stays done until the machine is started again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// Between two looks at a lock that somebody else holds.
const LOOK: Duration = Duration::from_millis(50);
/// The longest key, in bytes.
const LONGEST_KEY: usize = 1_000;
/// What a lock whose work is being done, or is done, says.
const DOING: &str = "doing";
const DONE: &str = "done";

/// Why a lock did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("a key has 1 to {LONGEST_KEY} bytes")]
    Key,
    #[error("the lock `{0}` was not free in time")]
    Late(String),
    #[error("the work of `{0}` is done: a key of `lock do` cannot be one of `lock acquire`")]
    IsDone(String),
    #[error("the lock `{0}` is held by `lock acquire`: such a key cannot be one of `lock do`")]
    IsAcquired(String),
    #[error("this job does not hold the lock `{0}`")]
    NotHeld(String),
    #[error("this is not the token that `lock acquire {0}` printed")]
    Token(String),
    #[error("the job has ended")]
    Ended,
    #[error("the locks of this machine cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// The locks that a job holds, and the way to others.
#[derive(Debug)]
pub(crate) struct Locks {
    directory: PathBuf,
    /// Names this run of the machine.
    boot: String,
    /// None once the job has ended.
    held: Mutex<Option<BTreeMap<String, Held>>>,
}

#[derive(Debug)]
struct Held {
    state: String,
    /// Locked as long as it is open.
    file: File,
}

/// A look at a lock.
enum Look {
    /// Ours now; what it says holds for this run of the machine.
    Ours(File, String),
    /// Somebody else's, who says this.
    Theirs(String),
}

impl Locks {
    pub(crate) fn new(directory: PathBuf) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { directory, boot: boot.trim().to_owned(), held: Mutex::new(Some(BTreeMap::new())) }
    }

    /// Lets go of everything, and gives nothing any more.
    pub(crate) fn close(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (key, held) in held.into_iter().flatten() {
            // While it is still ours. Where it stays it is free all the same.
            let _stays = std::fs::remove_file(self.path(&key));
            drop(held);
        }
    }

    /// Waits for a lock and takes it; the token that lets go of it.
    pub(crate) async fn acquire(&self, key: &str, patience: Option<Duration>) -> Result<String, LockError> {
        let token = format!("acquired(otp={})", hex::encode(rand::random::<[u8; 16]>()));
        let deadline = deadline(patience);
        loop {
            match self.look(key)? {
                Look::Ours(_, state) if state == DONE => return Err(LockError::IsDone(key.to_owned())),
                Look::Ours(file, _) => return self.take(key, file, token.clone()).map(|()| token),
                Look::Theirs(_) => wait(key, deadline).await?,
            }
        }
    }

    /// Lets go of a lock.
    pub(crate) fn release(&self, key: &str, token: &str) -> Result<(), LockError> {
        let held = self.take_back(key, |state| state == token, || LockError::Token(key.to_owned()))?;
        // The next one makes a new file: whoever waits for this one sees that it has gone.
        Ok(std::fs::remove_file(self.path(key)).or_else(|_| held.file.set_len(0))?)
    }

    /// Whether the work of a key is to be done by whoever asks: else it is done. Waits while somebody else does it.
    pub(crate) async fn begin(&self, key: &str, patience: Option<Duration>) -> Result<bool, LockError> {
        let deadline = deadline(patience);
        loop {
            match self.look(key)? {
                Look::Ours(_, state) if state == DONE => return Ok(false),
                Look::Ours(file, _) => return self.take(key, file, DOING.to_owned()).map(|()| true),
                Look::Theirs(state) if state.starts_with("acquired") => {
                    return Err(LockError::IsAcquired(key.to_owned()));
                }
                Look::Theirs(_) => wait(key, deadline).await?,
            }
        }
    }

    /// The work of a key is done.
    pub(crate) fn done(&self, key: &str) -> Result<(), LockError> {
        let held = self.take_back(key, |state| state == DOING, || LockError::NotHeld(key.to_owned()))?;
        Ok(self.write(&held.file, DONE)?)
    }

    /// What a lock says; empty when it is free.
    pub(crate) fn get(&self, key: &str) -> Result<String, LockError> {
        if !self.path(check(key)?).exists() {
            return Ok(String::new());
        }
        Ok(match self.look(key)? {
            Look::Ours(_, state) if state == DONE => state,
            Look::Ours(..) => String::new(),
            Look::Theirs(state) => state,
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.directory.join(hex::encode(Sha256::digest(key)))
    }

    fn look(&self, key: &str) -> Result<Look, LockError> {
        let path = self.path(check(key)?);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        loop {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path)? => {
                    let state = self.read(&file)?;
                    return Ok(Look::Ours(file, state));
                }
                // Let go of and removed since it was opened.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Look::Theirs(self.read(&file)?)),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    fn take(&self, key: &str, file: File, state: String) -> Result<(), LockError> {
        let mut guard = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = guard.as_mut().ok_or(LockError::Ended)?;
        self.write(&file, &state)?;
        held.insert(key.to_owned(), Held { state, file });
        Ok(())
    }

    fn take_back(
        &self,
        key: &str,
        is: impl FnOnce(&str) -> bool,
        other: impl FnOnce() -> LockError,
    ) -> Result<Held, LockError> {
        let mut guard = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = guard.as_mut().ok_or(LockError::Ended)?;
        match held.get(check(key)?) {
            None => Err(LockError::NotHeld(key.to_owned())),
            Some(known) if is(&known.state) => held.remove(key).ok_or_else(|| LockError::NotHeld(key.to_owned())),
            Some(_) => Err(other()),
        }
    }

    /// What the file says, if that was in this run of the machine.
    fn read(&self, mut file: &File) -> io::Result<String> {
        let mut text = String::new();
        file.rewind()?;
        file.take(1_000).read_to_string(&mut text)?;
        Ok(match text.split_once('\n') {
            Some((boot, state)) if boot == self.boot => state.to_owned(),
            _ => String::new(),
        })
    }

    fn write(&self, mut file: &File, state: &str) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n{state}", self.boot).as_bytes())
    }
}

fn check(key: &str) -> Result<&str, LockError> {
    if (1..=LONGEST_KEY).contains(&key.len()) { Ok(key) } else { Err(LockError::Key) }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match path.metadata() {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn deadline(patience: Option<Duration>) -> Option<Instant> {
    patience.and_then(|patience| Instant::now().checked_add(patience))
}

async fn wait(key: &str, deadline: Option<Instant>) -> Result<(), LockError> {
    if deadline.is_some_and(|at| Instant::now() >= at) {
        return Err(LockError::Late(key.to_owned()));
    }
    tokio::time::sleep(crate::gate::jitter(LOOK)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[tokio::test]
    async fn one_job_at_a_time_and_the_end_of_a_job_frees_its_locks() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Locks::new(dir.path().join("l")), Locks::new(dir.path().join("l")));
        assert_eq!(one.get("k").unwrap(), "");
        let token = one.acquire("k", NOW).await.unwrap();
        assert_eq!(two.get("k").unwrap(), token);
        assert!(matches!(two.acquire("k", NOW).await, Err(LockError::Late(_))));
        // Nor a second time within one job.
        assert!(matches!(one.acquire("k", NOW).await, Err(LockError::Late(_))));
        assert!(matches!(two.release("k", &token), Err(LockError::NotHeld(_))));
        assert!(matches!(one.release("k", "other"), Err(LockError::Token(_))));
        one.release("k", &token).unwrap();
        assert!(matches!(one.release("k", &token), Err(LockError::NotHeld(_))));
        let token = two.acquire("k", NOW).await.unwrap();
        two.close();
        assert_eq!(one.get("k").unwrap(), "");
        assert!(matches!(two.release("k", &token), Err(LockError::Ended)));
        assert!(matches!(two.acquire("k", NOW).await, Err(LockError::Ended)));
        one.acquire("k", NOW).await.unwrap();
        assert!(one.begin("work", NOW).await.unwrap());
        one.close();
        assert_eq!(std::fs::read_dir(dir.path().join("l")).unwrap().count(), 0, "a job leaves files of its locks");
    }

    #[tokio::test]
    async fn work_is_done_once_and_again_when_whoever_did_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = [(), (), ()].map(|()| Locks::new(dir.path().to_owned()));
        assert!(one.begin("k", NOW).await.unwrap());
        assert!(matches!(two.begin("k", NOW).await, Err(LockError::Late(_))));
        assert!(matches!(two.done("k"), Err(LockError::NotHeld(_))));
        assert_eq!(two.get("k").unwrap(), "doing");
        one.close();
        assert!(two.begin("k", NOW).await.unwrap());
        two.done("k").unwrap();
        two.close();
        assert!(!three.begin("k", NOW).await.unwrap());
        assert_eq!(three.get("k").unwrap(), "done");
        assert!(matches!(three.acquire("k", NOW).await, Err(LockError::IsDone(_))));
        three.acquire("other", NOW).await.unwrap();
        assert!(matches!(three.begin("other", NOW).await, Err(LockError::IsAcquired(_))));
        // Of another run of the machine: nothing is done.
        let rebooted = Locks { boot: "another".to_owned(), ..Locks::new(dir.path().to_owned()) };
        assert!(rebooted.begin("k", NOW).await.unwrap());
        assert!(matches!(three.get(""), Err(LockError::Key)));
    }

    #[tokio::test]
    async fn of_many_that_want_a_lock_never_two_have_it() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let (inside, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let tasks = (0..8).map(|_| {
            let locks = Locks::new(dir.path().to_owned());
            let (inside, done) = (Arc::clone(&inside), Arc::clone(&done));
            async move {
                for _ in 0..3 {
                    let token = locks.acquire("k", None).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    locks.release("k", &token).unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        futures_util::future::join_all(tasks).await;
        assert_eq!(done.load(Ordering::SeqCst), 24);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a lock that nobody holds leaves nothing");
    }
}

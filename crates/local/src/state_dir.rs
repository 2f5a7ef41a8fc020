//! The directory in which a server on one machine keeps everything.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::files;

/// Version of the layout that this program writes.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
/// The file of secrets in a state directory.
pub const SECRETS_FILE: &str = "secrets.json";

/// A state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another server uses it.
    #[error(
        "the state directory `{}` is in use by {}: stop that server first, or choose another directory",
        path.display(),
        match holder { Some(pid) => format!("the server with process id {pid}"), None => "another server".to_owned() }
    )]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// The process that holds the lock, if it has said so.
        holder: Option<u32>,
    },
    /// A newer Tidegate wrote it.
    #[error(
        "the state directory `{}` has format {found}, this program knows formats up to {FORMAT}: use the newer \
         program again, or another directory",
        path.display()
    )]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// It holds other things.
    #[error(
        "`{}` is not empty and no state directory: choose an empty or a new directory",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// Its format file cannot be understood.
    #[error("`{}` is damaged: expected `tidegate-state <version> <id>`", path.display())]
    Damaged {
        /// The format file.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no state directory at `{}`: no server was ever started on it", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {doing} `{}`: {}", path.display(), files::words(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl StateError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| StateError::Io { doing, path, source }
    }
}

/// A state directory, opened.
///
/// | name | content |
/// |---|---|
/// | `format` | version of this layout, and an id that no other state directory has |
/// | `lock` | locked by the server that runs on it, with its process id |
/// | `endpoint` | URL at which instances find the server's gate; changes with each start |
/// | `state.db` | records and queues (SQLite, write-ahead log) |
/// | `blobs/` | blobs: `data/` as a tree of their keys, `tmp/` what is being written |
/// | `secrets.json` | secrets of the owner, only for the owner; `secrets.lock` while one is written |
/// | `blob-key` | key of the signatures of blob URLs, only for the owner |
/// | `launches/<token>.json` | launches, written before anything is started |
/// | `instances/<id>/` | a living instance: `instance.json` (only for the owner), `process.json`, `log`, `work/` |
/// | `instances/<id>.gone` | what ended lately |
/// | `repositories/<id>.git` | bare mirrors of repositories, from which the server reads |
/// | `mirrors/` | bare mirrors from which instances check out; theirs alone |
///
/// Whatever is killed at whatever moment: files are replaced by renaming and the database recovers by its log, so that
/// the next start works on a consistent directory.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    id: String,
    /// Held while a server runs. The kernel gives it back when the process ends, however that happens.
    _lock: Option<File>,
}

impl StateDir {
    /// Opens a state directory for the one server that runs on it, or makes a new one (only for its owner, mode 0700).
    pub fn serve(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(StateError::io("create the state directory", &path))?;
        let root = fs::canonicalize(&path).map_err(StateError::io("open the state directory", &path))?;
        // Before the lock file is made, so that a wrong path is left as it was.
        let known = read_format(&root)?;
        if known.is_none() && !is_fresh(&root)? {
            return Err(StateError::Foreign { path: root });
        }
        let lock = lock(&root)?;
        // Again: another server may have made it in between.
        let id = match read_format(&root)? {
            Some(id) => id,
            None => initialise(&root)?,
        };
        let state = Self { root, id, _lock: Some(lock) };
        for directory in [state.instances(), state.launches(), state.repositories(), state.mirrors()] {
            make_directory(&directory)?;
        }
        Ok(state)
    }

    /// Opens a state directory for reading, whether a server runs on it or not.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        let root = match fs::canonicalize(&path) {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StateError::Missing { path }),
            Err(error) => return Err(StateError::io("open the state directory", &path)(error)),
        };
        match read_format(&root)? {
            Some(id) => Ok(Self { root, id, _lock: None }),
            None => Err(StateError::Missing { path: root }),
        }
    }

    /// The directory, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// An id that no other state directory has.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a server holds the lock of this state directory now, and its process id if it has said so. For client
    /// commands, which want to say why nothing answers.
    pub fn server(&self) -> Option<Option<u32>> {
        let mut file = File::open(self.root.join(LOCK_FILE)).ok()?;
        match file.try_lock_shared() {
            Ok(()) => None,
            Err(_) => Some(holder(&mut file)),
        }
    }

    /// The database of records and queues.
    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// The directory of blobs.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The file with the key of the signatures of blob URLs.
    pub fn blob_key(&self) -> PathBuf {
        self.root.join("blob-key")
    }

    /// The file of secrets.
    pub fn secrets(&self) -> PathBuf {
        self.root.join(SECRETS_FILE)
    }

    /// The directory of instances.
    pub fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// The directory of launches.
    pub fn launches(&self) -> PathBuf {
        self.root.join("launches")
    }

    /// The directory of the bare mirrors from which the server reads.
    pub fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// The directory of the mirrors from which instances check out.
    pub fn mirrors(&self) -> PathBuf {
        self.root.join("mirrors")
    }

    /// The file that names the server's gate. Instances read it again whenever the server does not answer, so that they
    /// find one that was started again on another port.
    pub fn endpoint(&self) -> PathBuf {
        self.root.join("endpoint")
    }

    /// Says where the gate of the running server is, such as `http://127.0.0.1:41234`.
    pub fn set_endpoint(&self, url: &str) -> Result<(), StateError> {
        let path = self.endpoint();
        files::write_whole(&path, format!("{url}\n").as_bytes(), 0o600).map_err(StateError::io("write", &path))
    }

    /// Writes a file of the state directory as a whole, readable only by its owner; durable when this returns.
    pub fn write_private(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.root.join(name);
        files::write_durable(&path, content, 0o600).map_err(StateError::io("write", &path))
    }
}

pub(crate) fn make_directory(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StateError::io("create the directory", path))
}

/// Nothing in it but what a start that was cut short leaves.
fn is_fresh(root: &Path) -> Result<bool, StateError> {
    for entry in fs::read_dir(root).map_err(StateError::io("read the directory", root))? {
        let entry = entry.map_err(StateError::io("read the directory", root))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name != LOCK_FILE && !(name.starts_with(".format.") && name.ends_with(".tmp")) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(root: &Path) -> Result<File, StateError> {
    let path = root.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StateError::io("write", &path))?;
    // More than once: a client that looks whether a server is there ([`StateDir::server`]) holds the lock for a moment.
    for left in (0..20).rev() {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if left > 0 => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::InUse { path: root.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(StateError::io("lock", &path)(error)),
        }
    }
    // Also the first write into the directory: a full disk and a read-only one are found here.
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(StateError::io("write", &path))?;
    Ok(file)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn initialise(root: &Path) -> Result<String, StateError> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o700))
        .map_err(StateError::io("close to other users the directory", root))?;
    let id = format!("{:032x}", rand::random::<u128>());
    let path = root.join(FORMAT_FILE);
    files::write_durable(&path, format!("tidegate-state {FORMAT} {id}\n").as_bytes(), 0o600)
        .map_err(StateError::io("write", &path))?;
    Ok(id)
}

/// The id of the state directory; `None` when there is none here yet.
fn read_format(root: &Path) -> Result<Option<String>, StateError> {
    let path = root.join(FORMAT_FILE);
    let Some(content) = files::read_if_there(&path).map_err(StateError::io("read", &path))? else {
        return Ok(None);
    };
    match parse_format(&String::from_utf8_lossy(&content)) {
        Some((FORMAT, Some(id))) => Ok(Some(id)),
        // The line of a newer version may go on in a way that is not known here.
        Some((found, _)) if found > FORMAT => Err(StateError::Newer { path: root.to_owned(), found }),
        _ => Err(StateError::Damaged { path }),
    }
}

fn parse_format(text: &str) -> Option<(u32, Option<String>)> {
    let mut words = text.lines().next()?.split(' ');
    if words.next()? != "tidegate-state" {
        return None;
    }
    let version = words.next()?.parse().ok()?;
    let id = words.next().filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned);
    Some((version, id))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_new_directory_is_only_for_its_owner_and_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/state");
        let first = StateDir::serve(&path).unwrap();
        let id = first.id().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(first);
        assert_eq!(StateDir::serve(&path).unwrap().id(), id);
        assert_eq!(StateDir::read(&path).unwrap().id(), id);
    }

    #[test]
    fn a_second_server_is_told_who_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDir::serve(directory.path()).unwrap();
        let error = StateDir::serve(directory.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the state directory `{}` is in use by the server with process id {}: stop that server first, or \
                 choose another directory",
                first.path().display(),
                std::process::id()
            )
        );
        let reader = StateDir::read(directory.path()).unwrap();
        assert_eq!(reader.server(), Some(Some(std::process::id())));
        drop(first);
        assert_eq!(reader.server(), None);
        StateDir::serve(directory.path()).unwrap();
    }

    #[test]
    fn other_directories_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(StateDir::serve(directory.path()), Err(StateError::Foreign { .. })));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(matches!(StateDir::read(directory.path()), Err(StateError::Missing { .. })));
        assert!(matches!(StateDir::read(directory.path().join("none")), Err(StateError::Missing { .. })));
    }

    #[test]
    fn newer_and_damaged_formats_are_refused_and_left_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let format = directory.path().join(FORMAT_FILE);
        fs::write(&format, "tidegate-state 2 whatever comes\n").unwrap();
        let error = StateDir::serve(directory.path()).unwrap_err();
        assert!(matches!(error, StateError::Newer { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("has format 2, this program knows formats up to 1"));
        assert!(matches!(StateDir::read(directory.path()), Err(StateError::Newer { .. })));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        for damaged in ["", "tidegate-state", "tidegate-state x y", "tidegate-state 1 zz", "other 1"] {
            fs::write(&format, damaged).unwrap();
            assert!(matches!(StateDir::serve(directory.path()), Err(StateError::Damaged { .. })), "{damaged}");
        }
    }

    #[test]
    fn a_start_that_was_cut_short_is_finished_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LOCK_FILE), "123\n").unwrap();
        fs::write(directory.path().join(".format.123.0.tmp"), "tideg").unwrap();
        StateDir::serve(directory.path()).unwrap();
    }

    #[test]
    fn places_that_cannot_be_written_are_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let error = StateDir::serve(directory.path().join("file/state")).unwrap_err();
        assert!(
            error.to_string().contains("cannot create the state directory") && error.to_string().contains("file/state"),
            "{error}"
        );
    }
}

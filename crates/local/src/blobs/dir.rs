use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{BlobMeta, Blobs, Clock, Method, PortError, Presigned};

use super::sign::{Grant, Signer};
use super::{keys, list};
use crate::blocking::blocking;
use crate::clock::SystemClock;
use crate::files;
use crate::state_dir::{StateDir, StateError, make_directory};

const MAX_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Blobs as files of a state directory.
///
/// A blob is written beside its place, flushed, and then renamed to it: it is there as a whole or not at all, also after
/// a power failure.
#[derive(Clone, Debug)]
pub struct DirBlobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    data: PathBuf,
    temporary: PathBuf,
    serial: AtomicU64,
    signer: Option<Signer>,
    base_url: RwLock<Option<String>>,
}

/// What became of a finished upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Placed {
    Written,
    /// One is there, and it should not be replaced.
    Kept,
}

impl DirBlobs {
    /// Opens the blobs of the server that holds the state directory. URLs can be had once
    /// [`DirBlobs::set_base_url`] was called.
    pub fn open(state: &StateDir) -> Result<Self, StateError> {
        let blobs = Self::over(&state.blobs(), None);
        make_directory(&blobs.inner.data)?;
        // What was being written when the last server died.
        let temporary = &blobs.inner.temporary;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { doing: "write", path, source }
        };
        files::remove_tree(temporary).map_err(io(temporary))?;
        make_directory(temporary)?;
        let signer = Signer::open(&state.blob_key()).map_err(io(&state.blob_key()))?;
        Ok(Self::over(&state.blobs(), Some(signer)))
    }

    /// Opens the blobs for reading, whether a server runs or not. Writing and URLs are refused.
    pub fn read_only(state: &StateDir) -> Self {
        Self::over(&state.blobs(), None)
    }

    fn over(directory: &Path, signer: Option<Signer>) -> Self {
        Self {
            inner: Arc::new(Inner {
                data: directory.join("data"),
                temporary: directory.join("tmp"),
                serial: AtomicU64::new(0),
                signer,
                base_url: RwLock::default(),
            }),
        }
    }

    /// Says where [`blob_routes`](super::blob_routes) are served, such as `http://127.0.0.1:41234`, without a slash at
    /// the end. Known only once the server is bound.
    pub fn set_base_url(&self, url: impl Into<String>) {
        let mut base = self.inner.base_url.write().unwrap_or_else(PoisonError::into_inner);
        *base = Some(url.into());
    }

    /// Whether this signature grants this now.
    pub(super) fn granted(&self, grant: Grant<'_>, signature: &str) -> bool {
        let signed = self.inner.signer.as_ref().is_some_and(|signer| signer.verify(grant, signature));
        signed && SystemClock.now() < grant.expires
    }

    /// Opens a blob for reading.
    pub(super) async fn open_blob(&self, key: &str) -> Result<Option<(File, u64)>, PortError> {
        keys::check(key)?;
        let path = keys::path(&self.inner.data, key);
        blocking(move || match open_with_size(&path) {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(files::port_error("read", &path, &error)),
        })
        .await
    }

    /// Begins to write a blob.
    pub(super) async fn upload(&self, key: &str) -> Result<Upload, PortError> {
        keys::check(key)?;
        self.writable()?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || Upload::begin(inner, &key)).await
    }

    fn writable(&self) -> Result<&Signer, PortError> {
        self.inner.signer.as_ref().ok_or_else(|| PortError::reject("the blobs were opened for reading only"))
    }

    async fn write(&self, key: &str, body: Bytes, replace: bool) -> Result<Placed, PortError> {
        keys::check(key)?;
        self.writable()?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || {
            let mut upload = Upload::begin(inner, &key)?;
            upload.write(&body)?;
            upload.finish(replace)
        })
        .await
    }
}

#[async_trait]
impl Blobs for DirBlobs {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), PortError> {
        self.write(key, body, true).await.map(drop)
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<bool, PortError> {
        let placed = self.write(key, body, false).await?;
        Ok(placed == Placed::Written)
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PortError> {
        keys::check(key)?;
        let path = keys::path(&self.inner.data, key);
        blocking(move || match read(&path, range) {
            Ok(content) => Ok(Some(content)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(files::port_error("read", &path, &error)),
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<BlobMeta>, PortError> {
        keys::check_prefix(prefix)?;
        if !(1..=1_000).contains(&limit) {
            return Err(PortError::reject(format!("a listing has 1 to 1,000 blobs, not {limit}")));
        }
        let inner = Arc::clone(&self.inner);
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        blocking(move || {
            list::list(&inner.data, &prefix, after.as_deref(), limit)
                .map_err(|error| files::port_error("list", &inner.data, &error))
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        keys::check(key)?;
        self.writable()?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || {
            let path = keys::path(&inner.data, &key);
            remove(&inner.data, &path).map_err(|error| files::port_error("remove", &path, &error))
        })
        .await
    }

    async fn presign(&self, method: Method, key: &str, lifetime: Duration) -> Result<Presigned, PortError> {
        keys::check(key)?;
        if lifetime > MAX_LIFETIME {
            return Err(PortError::reject(format!("a URL lives up to 15 minutes, not {lifetime:?}")));
        }
        let base = self
            .inner
            .base_url
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| PortError::fatal("no address is known at which blobs are served"))?;
        let signer = self.writable()?;
        let grant = Grant { method, key, expires: Timestamp(0) + (SystemClock.now() + lifetime).since(Timestamp(0)) };
        let signature = signer.sign(grant);
        let expires = grant.expires.0;
        Ok(Presigned(match method {
            Method::Get => format!("{base}/blobs/{key}?expires={expires}&signature={signature}"),
            Method::Put { max_bytes } => {
                format!("{base}/blobs/{key}?expires={expires}&max_bytes={max_bytes}&signature={signature}")
            }
        }))
    }
}

/// A blob that is being written. Dropped before it is finished it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Arc<Inner>,
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Upload {
    fn begin(inner: Arc<Inner>, key: &str) -> Result<Self, PortError> {
        let target = keys::path(&inner.data, key);
        let serial = inner.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = inner.temporary.join(serial.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| files::port_error("write", &temporary, &error))?;
        Ok(Self { inner, file, temporary, target })
    }

    /// Adds to the content. Blocks.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.file.write_all(bytes).map_err(|error| files::port_error("write", &self.target, &error))
    }

    /// Puts the blob to its place, replacing what is there. Blocks until it is durable.
    pub(super) fn replace(self) -> Result<(), PortError> {
        self.finish(true).map(drop)
    }

    fn finish(self, replace: bool) -> Result<Placed, PortError> {
        self.file
            .sync_all()
            .and_then(|()| self.place(replace))
            .map_err(|error| files::port_error("write", &self.target, &error))
    }

    fn place(&self, replace: bool) -> io::Result<Placed> {
        let parent = self.target.parent().unwrap_or(&self.inner.data);
        // A removal may take the directory away again between the two steps, because it was empty.
        for _ in 0..100 {
            let moved = if replace {
                fs::rename(&self.temporary, &self.target)
            } else {
                fs::hard_link(&self.temporary, &self.target)
            };
            match moved {
                Ok(()) => {
                    files::sync_directory(parent)?;
                    return Ok(Placed::Written);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Placed::Kept),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    make_parents(parent)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("its directory is removed again and again"))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After a rename there is nothing left. What stays is removed at the next start.
        let _gone_already = fs::remove_file(&self.temporary);
    }
}

/// Makes the directories from `root` down to `directory`. That they are there is on disk once a flush of the last one
/// is: file systems that keep a log of changes flush what led to a change along with it.
fn make_parents(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        // Removed meanwhile by somebody who found one of them empty: the caller begins again.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        made => made,
    }
}

fn remove(root: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut directory = path.parent();
    while let Some(empty) = directory.filter(|path| *path != root && path.starts_with(root)) {
        if fs::remove_dir(empty).is_err() {
            // Not empty, or somebody else was faster.
            break;
        }
        directory = empty.parent();
    }
    Ok(())
}

fn open_with_size(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn read(path: &Path, range: Option<Range<u64>>) -> io::Result<Bytes> {
    let (file, size) = open_with_size(path)?;
    let range = range.unwrap_or(0..size);
    let start = range.start.min(size);
    let length = range.end.min(size).saturating_sub(start);
    let length = usize::try_from(length).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, start)?;
    Ok(Bytes::from(content))
}

/// No blob is there: no such file, or a directory on the way is missing.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

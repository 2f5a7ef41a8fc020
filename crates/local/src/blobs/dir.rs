use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{BlobMeta, Blobs, Clock, InParts, Method, PortError, Presigned};

use super::parts::{self, PartAt, PartWriter, Parts};
use super::sign::{Grant, Signer};
use super::upload::{Placed, Upload};
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
pub(super) struct Inner {
    pub(super) data: PathBuf,
    /// What is being written. Empty when a server begins.
    pub(super) temporary: PathBuf,
    /// What is being written in parts, also from one server to the next.
    pub(super) parts: Parts,
    pub(super) serial: AtomicU64,
    signer: Option<Signer>,
    base_url: RwLock<Option<String>>,
}

/// What comes by a URL and is being written.
#[derive(Debug)]
pub(super) enum Writing {
    Blob(Upload),
    Part(PartWriter),
}

/// Blocks.
impl Writing {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        match self {
            Writing::Blob(upload) => upload.write(bytes),
            Writing::Part(part) => part.write(bytes),
        }
    }

    /// All of it is there. Returns the tag of a part.
    pub(super) fn finish(self) -> Result<Option<String>, PortError> {
        match self {
            Writing::Blob(upload) => upload.replace().map(|()| None),
            Writing::Part(part) => part.finish().map(Some),
        }
    }
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
        let parts = blobs.inner.parts.directory();
        make_directory(parts)?;
        blobs.inner.parts.drop_abandoned(SystemTime::now()).map_err(io(parts))?;
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
                parts: Parts::beneath(&directory.join("parts")),
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

    /// Begins to write a blob, or a part of one.
    pub(super) async fn begin_upload(&self, key: &str, part: Option<PartAt<'_>>) -> Result<Writing, PortError> {
        keys::check(key)?;
        self.writable()?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        let part = part.map(|part| (part.upload.to_owned(), part.number, part.from));
        blocking(move || match part {
            None => Upload::begin(inner, &key).map(Writing::Blob),
            Some((upload, number, from)) => {
                inner.parts.write(&key, PartAt { upload: &upload, number, from }).map(Writing::Part)
            }
        })
        .await
    }

    fn writable(&self) -> Result<&Signer, PortError> {
        self.inner.signer.as_ref().ok_or_else(|| PortError::reject("the blobs were opened for reading only"))
    }

    /// A signed URL. What else the grant covers is to be added.
    fn url(
        &self,
        method: Method,
        key: &str,
        part: Option<PartAt<'_>>,
        lifetime: Duration,
    ) -> Result<String, PortError> {
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
        let expires = Timestamp(0) + (SystemClock.now() + lifetime).since(Timestamp(0));
        let signature = signer.sign(Grant { method, key, part, expires });
        Ok(format!("{base}/blobs/{key}?expires={}&signature={signature}", expires.0))
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
        let url = self.url(method, key, None, lifetime)?;
        Ok(Presigned(match method {
            Method::Get => url,
            Method::Put { max_bytes } => format!("{url}&max_bytes={max_bytes}"),
        }))
    }

    async fn begin_parts(&self, key: &str) -> Result<String, PortError> {
        keys::check(key)?;
        self.writable()?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || inner.parts.begin(&key)).await
    }

    async fn presign_part(
        &self,
        upload: InParts<'_>,
        number: u32,
        from: u64,
        max_bytes: u64,
        lifetime: Duration,
    ) -> Result<Presigned, PortError> {
        let part = PartAt { upload: upload.id, number, from };
        part.check()?;
        let url = self.url(Method::Put { max_bytes }, upload.key, Some(part), lifetime)?;
        Ok(Presigned(format!("{url}&max_bytes={max_bytes}&upload={}&part={number}&from={from}", upload.id)))
    }

    async fn complete_parts(&self, upload: InParts<'_>, tags: &[String]) -> Result<bool, PortError> {
        keys::check(upload.key)?;
        self.writable()?;
        let (inner, key, id, tags) =
            (Arc::clone(&self.inner), upload.key.to_owned(), upload.id.to_owned(), tags.to_vec());
        blocking(move || parts::complete(&inner, InParts { key: &key, id: &id }, &tags)).await
    }

    async fn abort_parts(&self, upload: InParts<'_>) -> Result<(), PortError> {
        keys::check(upload.key)?;
        self.writable()?;
        let (inner, key, id) = (Arc::clone(&self.inner), upload.key.to_owned(), upload.id.to_owned());
        blocking(move || inner.parts.remove(InParts { key: &key, id: &id })).await
    }

    async fn drop_abandoned(&self) -> Result<(), PortError> {
        self.writable()?;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let parts = &inner.parts;
            parts
                .drop_abandoned(SystemTime::now())
                .map_err(|error| files::port_error("remove", parts.directory(), &error))
        })
        .await
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
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

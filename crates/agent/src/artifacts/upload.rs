//! Hashing, registering and uploading.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use sha2::{Digest as _, Sha256};
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::{ArtifactFile, Artifacts, ArtifactsAnswer};
use tokio_util::io::ReaderStream;

use super::media::media_type;
use super::select::{Chosen, select};
use crate::gate::{Pauses, PutError};
use crate::job::Host;
use crate::output::Log;

/// How many are registered in one request.
const BATCH: usize = 100;
/// How many are uploaded at once.
const AT_ONCE: usize = 4;
/// How often one file is tried.
const TRIES: u32 = 8;
/// The largest file, and the most of one job (`spec/pipeline.md` 1.21), in bytes.
const LARGEST: u64 = 10 << 30;

/// Who is told what happens.
#[derive(Debug)]
pub(crate) enum Voice<'a> {
    /// The log of the job.
    Log(&'a Log),
    /// A command of the job, once all is done.
    Lines(Mutex<Vec<String>>),
}

impl Voice<'_> {
    async fn say(&self, line: String) {
        match self {
            Voice::Log(log) => log.say(line).await,
            Voice::Lines(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(line),
        }
    }
}

/// Keeps what the globs choose beneath a directory; the error is for people. `numbers` counts the artifacts of the
/// attempt, of all uploads together.
pub(crate) async fn upload(
    host: &Host,
    log: &Voice<'_>,
    attempt: &AttemptId,
    checkout: &Path,
    globs: &[String],
    numbers: &AtomicU32,
) -> Result<(), String> {
    let (root, patterns) = (checkout.to_owned(), globs.to_vec());
    let selection = in_background(move || {
        let selection = select(&root, &patterns).map_err(|e| e.to_string())?;
        // Before anything is read; what counts in the end is what the gate is told.
        let sizes = selection.files.iter().filter_map(|file| root.join(&file.real).metadata().ok());
        match sizes.map(|file| file.len()).fold(0, u64::saturating_add) {
            total if total > LARGEST => Err(format!(
                "the files that match have {total} bytes; a job may keep at most {LARGEST} (10 GiB): keep less, or pack it"
            )),
            _ => Ok(selection),
        }
    })
    .await?;
    for glob in &selection.unmatched {
        log.say(format!("No file matches `{glob}`.")).await;
    }
    for refused in &selection.refused {
        log.say(format!("Left out: {refused}.")).await;
    }
    let uploader = Uploader { host, attempt, checkout };
    let count = u32::try_from(selection.files.len()).unwrap_or(u32::MAX);
    let mut number = numbers.fetch_add(count, Ordering::Relaxed);
    for batch in selection.files.chunks(BATCH) {
        let files = uploader.hash(batch, number).await?;
        for file in &files {
            log.say(format!("{} ({} bytes)", file.path, file.size)).await;
        }
        uploader.send(batch, files).await?;
        number += u32::try_from(batch.len()).unwrap_or(0);
    }
    if count > 0 {
        log.say(format!("{count} files uploaded.")).await;
    }
    Ok(())
}

struct Uploader<'a> {
    host: &'a Host,
    attempt: &'a AttemptId,
    checkout: &'a Path,
}

impl Uploader<'_> {
    async fn hash(&self, batch: &[Chosen], first: u32) -> Result<Vec<ArtifactFile>, String> {
        let (root, chosen) = (self.checkout.to_owned(), batch.to_vec());
        in_background(move || (first..).zip(&chosen).map(|(number, chosen)| describe(&root, chosen, number)).collect())
            .await
    }

    async fn send(&self, batch: &[Chosen], files: Vec<ArtifactFile>) -> Result<(), String> {
        let urls = self.register(&files, false).await?;
        if urls.len() != files.len() {
            return Err(format!("the gate gave {} URLs for {} artifacts", urls.len(), files.len()));
        }
        // Boxed, or the compiler cannot see that all of this may move between threads.
        let puts: Vec<_> = batch
            .iter()
            .zip(&files)
            .zip(urls)
            .map(|((chosen, file), url)| self.put(chosen, file, url).boxed())
            .collect();
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.register(&files, true).await.map(drop)
    }

    async fn register(&self, files: &[ArtifactFile], done: bool) -> Result<Vec<String>, String> {
        let request =
            Artifacts { boot: self.host.boot.clone(), attempt: self.attempt.clone(), files: files.to_vec(), done };
        self.host
            .gate
            .call::<_, ArtifactsAnswer>("artifacts", &request)
            .await
            .map(|answer| answer.urls)
            .map_err(|refused| format!("artifacts cannot be kept: {refused}"))
    }

    async fn put(&self, chosen: &Chosen, file: &ArtifactFile, url: String) -> Result<(), String> {
        let mut pauses = Pauses::between(Duration::from_millis(100), Duration::from_secs(20));
        let mut url = Some(url);
        let mut tries = 0;
        loop {
            tries += 1;
            let target = match url.take() {
                Some(url) => url,
                None => self
                    .register(std::slice::from_ref(file), false)
                    .await?
                    .pop()
                    .ok_or_else(|| "the gate gave no URL".to_owned())?,
            };
            let opened =
                open(self.checkout, &chosen.real).map_err(|e| format!("cannot read `{}`: {e}", chosen.path))?;
            // The size that was registered, even if the file has grown.
            let reader = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(opened), file.size);
            let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(reader, 64 * 1024));
            let why = match self.host.gate.put_body(&target, file.size, body).await {
                Ok(()) => return Ok(()),
                Err(PutError::Stale(status)) => format!("refused with {status}"),
                Err(PutError::Weather(why)) => why,
            };
            if tries >= TRIES {
                return Err(format!("the artifact `{}` could not be uploaded in {TRIES} tries: {why}", chosen.path));
            }
            tracing::warn!(artifact.path = chosen.path, error = why, "an upload failed");
            pauses.pause().await;
        }
    }
}

/// Reads a file once for its size and hash.
fn describe(root: &Path, chosen: &Chosen, number: u32) -> Result<ArtifactFile, String> {
    let failed = |e: std::io::Error| format!("cannot read `{}`: {e}", chosen.path);
    let mut file = open(root, &chosen.real).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut size: u64 = 0;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
    if size > LARGEST {
        return Err(format!("the artifact `{}` has {size} bytes; at most {LARGEST} are kept", chosen.path));
    }
    Ok(ArtifactFile {
        number,
        path: chosen.path.clone(),
        size,
        sha256: hex::encode(hash.finalize()),
        content_type: media_type(&chosen.path).to_owned(),
    })
}

/// Opens a file beneath a directory, following no link on the way: they were resolved when it was chosen, and a link
/// that appeared since is a trick.
fn open(root: &Path, real: &PathBuf) -> std::io::Result<File> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(File::from(openat2(root.as_fd(), real, how)?))
}

/// Runs something that reads a disk where it holds up nothing else.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(format!("interrupted: {e}")))
}

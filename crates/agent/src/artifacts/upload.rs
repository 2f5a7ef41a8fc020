//! Hashing, registering and uploading.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::{
    ArtifactFile, ArtifactParts, ArtifactPartsAnswer, Artifacts, ArtifactsAnswer, PartsAsk,
};
use tokio::sync::Semaphore;

use super::digest::{BLOCK, Digests};
use super::media::media_type;
use super::select::{Chosen, select};
use crate::gate::{Pauses, PutError};
use crate::job::Host;
use crate::output::Log;

/// How many are registered in one request.
const BATCH: usize = 100;
/// How many are uploaded at once.
const AT_ONCE: usize = 4;
/// How often one file, or one part of one, is tried.
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
    let uploader = Uploader { host, attempt, checkout, room: Semaphore::new(AT_ONCE) };
    let count = u32::try_from(selection.files.len()).unwrap_or(u32::MAX);
    let mut number = numbers.fetch_add(count, Ordering::Relaxed);
    for batch in selection.files.chunks(BATCH) {
        let known = uploader.hash(batch, number).await?;
        for Known { file, .. } in &known {
            log.say(format!("{} ({} bytes)", file.path, file.size)).await;
        }
        uploader.send(batch, &known).await?;
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
    /// One for each body that may be on its way: of whole files and of parts together.
    room: Semaphore,
}

/// A file that was read once.
struct Known {
    file: ArtifactFile,
    digests: Digests,
}

/// Some of a file.
struct Piece<'a> {
    chosen: &'a Chosen,
    known: &'a Known,
    from: u64,
    to: u64,
    /// Asks for its URL; none for a whole file.
    ask: Option<PartsAsk>,
}

impl Uploader<'_> {
    async fn hash(&self, batch: &[Chosen], first: u32) -> Result<Vec<Known>, String> {
        let (root, chosen) = (self.checkout.to_owned(), batch.to_vec());
        in_background(move || (first..).zip(&chosen).map(|(number, chosen)| describe(&root, chosen, number)).collect())
            .await
    }

    async fn send(&self, batch: &[Chosen], known: &[Known]) -> Result<(), String> {
        let files: Vec<ArtifactFile> = known.iter().map(|known| known.file.clone()).collect();
        let ArtifactsAnswer { urls, part_bytes } = self.register(&files, false).await?;
        if urls.len() != files.len() {
            return Err(format!("the gate gave {} URLs for {} artifacts", urls.len(), files.len()));
        }
        let part_bytes = part_bytes.filter(|bytes| *bytes > 0 && bytes.is_multiple_of(BLOCK));
        // Boxed, or the compiler cannot see that all of this may move between threads.
        let puts: Vec<_> = batch
            .iter()
            .zip(known)
            .zip(urls)
            .map(|((chosen, known), url)| match part_bytes {
                Some(part_bytes) if known.file.size > part_bytes.saturating_mul(2) => {
                    self.put_parts(chosen, known, part_bytes).boxed()
                }
                _ => self.put(chosen, known, url).boxed(),
            })
            .collect();
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.register(&files, true).await.map(drop)
    }

    async fn register(&self, files: &[ArtifactFile], done: bool) -> Result<ArtifactsAnswer, String> {
        let request =
            Artifacts { boot: self.host.boot.clone(), attempt: self.attempt.clone(), files: files.to_vec(), done };
        self.host
            .gate
            .call("artifacts", &request)
            .await
            .map_err(|refused| format!("artifacts cannot be kept: {refused}"))
    }

    async fn put(&self, chosen: &Chosen, known: &Known, url: String) -> Result<(), String> {
        let piece = Piece { chosen, known, from: 0, to: known.file.size, ask: None };
        self.put_piece(piece, Some(url)).await.map(drop)
    }

    /// Uploads a file in parts. What breaks goes on with the parts that are not there yet.
    async fn put_parts(&self, chosen: &Chosen, known: &Known, part_bytes: u64) -> Result<(), String> {
        let file = &known.file;
        let begun = self.ask_parts(file, PartsAsk::Begin).await?;
        let upload = begun.upload.ok_or_else(|| "the gate began no upload".to_owned())?;
        let parts: Vec<_> = (1..)
            .zip((0..file.size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX)))
            .map(|(part, from)| {
                let ask = Some(PartsAsk::Part { upload: upload.clone(), part, part_bytes });
                let piece = Piece { chosen, known, from, to: file.size.min(from + part_bytes), ask };
                self.put_piece(piece, None).boxed()
            })
            .collect();
        let done = match stream::iter(parts).buffered(AT_ONCE).try_collect::<Vec<_>>().await {
            Ok(tags) => {
                let tags = tags.into_iter().map(Option::unwrap_or_default).collect();
                self.ask_parts(file, PartsAsk::Complete { upload: upload.clone(), tags }).await
            }
            Err(why) => Err(why),
        };
        if done.is_err() {
            // Otherwise the store drops it in the end.
            let _told_already = self.ask_parts(file, PartsAsk::Abort { upload }).await;
        }
        done.map(drop)
    }

    async fn ask_parts(&self, file: &ArtifactFile, ask: PartsAsk) -> Result<ArtifactPartsAnswer, String> {
        let wait = match ask {
            // The store may copy the file.
            PartsAsk::Complete { .. } => Duration::from_secs(30 + file.size / 20_000_000),
            PartsAsk::Begin | PartsAsk::Part { .. } | PartsAsk::Abort { .. } => Duration::ZERO,
        };
        let (boot, attempt) = (self.host.boot.clone(), self.attempt.clone());
        let request = ArtifactParts { boot, attempt, number: file.number, ask };
        let asked = self.host.gate.call_waiting("artifact_parts", &request, wait).await;
        asked.map_err(|refused| format!("the artifact `{}` cannot be kept: {refused}", file.path))
    }

    /// Where a piece goes.
    async fn fresh(&self, piece: &Piece<'_>) -> Result<String, String> {
        let file = &piece.known.file;
        let url = match &piece.ask {
            None => self.register(std::slice::from_ref(file), false).await?.urls.pop(),
            Some(ask) => self.ask_parts(file, ask.clone()).await?.url,
        };
        url.ok_or_else(|| "the gate gave no URL".to_owned())
    }

    /// Puts a piece, and returns the tag that the store gave it. Checks that it is what was read before.
    async fn put_piece(&self, piece: Piece<'_>, mut url: Option<String>) -> Result<Option<String>, String> {
        let Piece { chosen, known, from, to, .. } = piece;
        let changed = || {
            format!(
                "the artifact `{}` has changed while it was uploaded: let what writes it end before, or keep a copy of it",
                chosen.path
            )
        };
        let mut pauses = Pauses::between(Duration::from_millis(100), Duration::from_secs(20));
        let mut tries = 0;
        loop {
            tries += 1;
            let why = {
                let _room = self.room.acquire().await;
                let target = match url.take() {
                    Some(url) => url,
                    None => self.fresh(&piece).await?,
                };
                let failed = |e: std::io::Error| format!("cannot read `{}`: {e}", chosen.path);
                let mut opened = open(self.checkout, &chosen.real).map_err(failed)?;
                // The size that was registered, even if the file has grown.
                if opened.metadata().map_err(failed)?.len() < known.file.size {
                    return Err(changed());
                }
                opened.seek(SeekFrom::Start(from)).map_err(failed)?;
                let (body, sent) = known.digests.watched(opened, from, to);
                match self.host.gate.put_body(&target, to - from, body).await {
                    Ok(_) if sent.is_other() => return Err(changed()),
                    Ok(tag) => return Ok(tag),
                    Err(PutError::Stale(status)) => format!("refused with {status}"),
                    Err(PutError::Weather(why)) => why,
                }
            };
            if tries >= TRIES {
                return Err(format!("the artifact `{}` could not be uploaded in {TRIES} tries: {why}", chosen.path));
            }
            tracing::warn!(artifact.path = chosen.path, artifact.from = from, error = why, "an upload failed");
            pauses.pause().await;
        }
    }
}

/// Reads a file once for its size and hash.
fn describe(root: &Path, chosen: &Chosen, number: u32) -> Result<Known, String> {
    let failed = |e: std::io::Error| format!("cannot read `{}`: {e}", chosen.path);
    let digests = open(root, &chosen.real).and_then(Digests::read).map_err(failed)?;
    let size = digests.size();
    if size > LARGEST {
        return Err(format!("the artifact `{}` has {size} bytes; at most {LARGEST} are kept", chosen.path));
    }
    let file = ArtifactFile {
        number,
        path: chosen.path.clone(),
        size,
        sha256: digests.whole(),
        content_type: media_type(&chosen.path).to_owned(),
    };
    Ok(Known { file, digests })
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

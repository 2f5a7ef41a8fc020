//! Downloading artifacts. Whatever a path says, and whatever links there are: nothing is written outside of the
//! directory that was named, and no file appears before its contents are known to be right.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tidegate_core::wire::job::{FetchArtifactsAnswer, FoundArtifact};

use super::client::Agent;
use super::{say, wire};
use crate::beneath::Beneath;
use crate::gate::{Pauses, is_loopback};

/// How many are asked for at once.
const BATCH: usize = 100;
/// How many are downloaded at once.
const AT_ONCE: usize = 4;
/// How often each is tried.
const TRIES: u32 = 6;

/// Downloads into a directory, which is made if need be.
pub(super) fn all(agent: &Agent, files: Vec<FoundArtifact>, directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .create(directory)
        .with_context(|| format!("cannot make the directory `{}`", directory.display()))?;
    let root = File::open(directory).with_context(|| format!("cannot open `{}`", directory.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for batch in files.chunks(BATCH) {
            let urls = urls(agent, batch)?;
            stream::iter(batch.iter().zip(urls))
                .map(|(file, url)| one(agent, &root, file, url))
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    })
}

fn urls(agent: &Agent, files: &[FoundArtifact]) -> anyhow::Result<Vec<String>> {
    let names: Vec<_> = files.iter().map(|found| (found.attempt.clone(), found.file.number)).collect();
    let answer: FetchArtifactsAnswer = agent.post(wire::FETCH, &names)?;
    ensure!(answer.urls.len() == files.len(), "the gate gave {} URLs for {} files", answer.urls.len(), files.len());
    Ok(answer.urls)
}

async fn one(agent: &Agent, root: &File, found: &FoundArtifact, url: String) -> anyhow::Result<()> {
    let path = &found.file.path;
    let target = Beneath::new(root, Path::new(path)).with_context(|| format!("cannot write `{path}`"))?;
    let mut pauses = Pauses::between(Duration::from_millis(100), Duration::from_secs(10));
    let mut url = Some(url);
    let mut tries = 0;
    loop {
        tries += 1;
        let from = match url.take() {
            Some(url) => url,
            None => urls(agent, std::slice::from_ref(found))?.pop().context("the gate gave no URL")?,
        };
        match fetch(&from, found, &target).await {
            Ok(()) => return target.finish().with_context(|| format!("cannot write `{path}`")),
            Err(error) if tries >= TRIES => {
                return Err(error.context(format!("`{path}` could not be downloaded in {TRIES} tries")));
            }
            Err(error) => say(&format!("warning: `{path}`: {error:#}; trying again")),
        }
        pauses.pause().await;
    }
}

async fn fetch(url: &str, found: &FoundArtifact, target: &Beneath) -> anyhow::Result<()> {
    let mut http = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(url) {
        // A proxy cannot reach our loopback.
        http = http.no_proxy();
    }
    // The URL carries a signature: it does not belong into a message.
    let response = http.build()?.get(url).send().await.map_err(reqwest::Error::without_url)?;
    ensure!(response.status().is_success(), "answered {}", response.status());
    let mut file = target.open()?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(reqwest::Error::without_url)?;
        size += piece.len() as u64;
        ensure!(size <= found.file.size, "more than the {} bytes that were uploaded", found.file.size);
        hash.update(&piece);
        file.write_all(&piece)?;
    }
    ensure!(size == found.file.size, "{size} of {} bytes", found.file.size);
    ensure!(hex::encode(hash.finalize()) == found.file.sha256, "its SHA-256 is not that of the artifact");
    Ok(())
}

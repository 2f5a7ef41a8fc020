//! Downloading artifacts. Whatever a path says, and whatever links there are: nothing is written outside of the
//! directory that was named, and no file appears before its contents are known to be right.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};
use tidegate_core::wire::job::{FetchArtifactsAnswer, FoundArtifact};

use super::client::Agent;
use super::{say, wire};
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
    let target = Target::new(root, Path::new(path)).with_context(|| format!("cannot write `{path}`"))?;
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

async fn fetch(url: &str, found: &FoundArtifact, target: &Target) -> anyhow::Result<()> {
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

/// Where a file goes: a directory beneath the root, and a name in it.
struct Target {
    directory: OwnedFd,
    name: String,
    /// What it is called until it is whole. Removed with this, whatever happens.
    partial: String,
}

impl Target {
    fn new(root: &File, path: &Path) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_str().context("its path is not UTF-8")?),
                _ => bail!("its path leads out of the directory"),
            }
        }
        let name = parts.pop().context("it has no name")?.to_owned();
        let beneath = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        let mut directory = root.as_fd().try_clone_to_owned()?;
        let mut so_far = std::path::PathBuf::new();
        for part in parts {
            match mkdirat(&directory, part, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            so_far.push(part);
            // From the root each time: a link may lead elsewhere beneath it, and no further.
            directory = openat2(root, &so_far, beneath).context("a link leads out of the directory")?;
        }
        let partial = format!(".tidegate-{}", hex::encode(rand::random::<[u8; 8]>()));
        Ok(Self { directory, name, partial })
    }

    /// A new file for the contents.
    fn open(&self) -> anyhow::Result<File> {
        let _ = unlinkat(&self.directory, self.partial.as_str(), UnlinkatFlags::NoRemoveDir);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = nix::fcntl::openat(&self.directory, self.partial.as_str(), flags, Mode::from_bits_truncate(0o666))?;
        Ok(File::from(file))
    }

    /// The contents are right: the file takes its name. A link of that name is replaced, not followed.
    fn finish(&self) -> anyhow::Result<()> {
        Ok(renameat(&self.directory, self.partial.as_str(), &self.directory, self.name.as_str())?)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Not there any more when it was finished.
        let _ = unlinkat(&self.directory, self.partial.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, path: &str) -> anyhow::Result<()> {
        let target = Target::new(&File::open(root)?, Path::new(path))?;
        target.open()?.write_all(b"new")?;
        target.finish()
    }

    /// Every file and link beneath a directory, links not followed, with what it holds.
    fn everything(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                found.push((path.clone(), Vec::new()));
                found.extend(everything(&path));
            } else if kind.is_file() {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    }

    /// What stands at a place before anything is downloaded.
    #[derive(Clone, Debug)]
    enum There {
        Directory,
        File,
        Link(String),
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![8 => "[abc]", 2 => Just("..".to_owned()), 1 => Just(".".to_owned()), 1 => Just(String::new())]
    }

    fn path() -> impl Strategy<Value = String> {
        let parts = || proptest::collection::vec(name(), 1..5).prop_map(|parts| parts.join("/"));
        let any = "[^/\0]{0,3}(/[^/\0]{0,3}){0,2}";
        prop_oneof![6 => parts(), 1 => parts().prop_map(|path| format!("/{path}")), 1 => any]
    }

    fn there() -> impl Strategy<Value = There> {
        prop_oneof![
            Just(There::Directory),
            Just(There::File),
            path().prop_map(There::Link),
            Just(There::Link("OUTSIDE".to_owned())),
            Just(There::Link("OUTSIDE/victim".to_owned())),
            Just(There::Link("/proc/self/cwd".to_owned())),
        ]
    }

    proptest! {
        /// More cases: `PROPTEST_CASES=100000 cargo test -p tidegate-agent --lib no_path_and_no_link`.
        #[test]
        fn no_path_and_no_link_leads_out(
            before in proptest::collection::vec((path(), there()), 0..8),
            paths in proptest::collection::vec(path(), 1..6),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
            std::fs::create_dir(&root).unwrap();
            std::fs::create_dir(&outside).unwrap();
            for victim in ["victim", "a", "b"] {
                std::fs::write(outside.join(victim), "old").unwrap();
            }
            std::fs::write(dir.path().join("a"), "old").unwrap();
            for (path, there) in before {
                // Within the root only; what cannot be made there is not there.
                let inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
                let place = root.join(&path);
                if !inside || !place.parent().is_some_and(|parent| parent.canonicalize().is_ok_and(|p| p.starts_with(&root))) {
                    continue;
                }
                match there {
                    There::Directory => drop(std::fs::create_dir(&place)),
                    There::File if place.symlink_metadata().is_err() => drop(std::fs::write(&place, "here")),
                    There::File => {}
                    There::Link(to) => drop(symlink(to.replace("OUTSIDE", &outside.display().to_string()), &place)),
                }
            }
            let before: Vec<_> = everything(dir.path()).into_iter().filter(|(path, _)| !path.starts_with(&root)).collect();
            for path in &paths {
                // `a/.` is `a`. A link that leads to its own directory may be what the file takes the place of.
                let path: std::path::PathBuf = Path::new(path).components().collect();
                let parent = path.parent().map(|parent| root.join(parent));
                let directory = parent.and_then(|parent| parent.canonicalize().ok());
                if write(&root, &path.to_string_lossy()).is_ok() {
                    let place = match (directory, path.file_name()) {
                        (Some(directory), Some(name)) => directory.join(name),
                        _ => root.join(&path).canonicalize().unwrap(),
                    };
                    let within = place.starts_with(root.canonicalize().unwrap());
                    prop_assert!(within, "{} is at {}", path.display(), place.display());
                    prop_assert_eq!(std::fs::read(place).unwrap(), b"new");
                }
            }
            let after = everything(dir.path());
            prop_assert!(after.iter().all(|(path, _)| !path.file_name().unwrap().to_string_lossy().starts_with(".tidegate")));
            let after: Vec<_> = after.into_iter().filter(|(path, _)| !path.starts_with(&root)).collect();
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(dir.path().join("victim"), "old").unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink(dir.path(), root.join("absolute")).unwrap();
        symlink("../victim", root.join("file")).unwrap();
        symlink("real", root.join("inside")).unwrap();
        for bad in ["../victim", "/etc/x", "up/victim", "absolute/victim", "up/new/victim", "", "a/../../victim"] {
            assert!(write(&root, bad).is_err(), "{bad}");
        }
        for good in ["file", "a/b/c", "inside/x"] {
            write(&root, good).unwrap_or_else(|e| panic!("{good}: {e:#}"));
            assert_eq!(std::fs::read_to_string(root.join(good)).unwrap(), "new");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(root.join("real/x").is_file());
        // Nothing unfinished is left.
        drop(Target::new(&File::open(&root).unwrap(), Path::new("z")).unwrap().open().unwrap());
        let names = std::fs::read_dir(&root).unwrap().flatten().map(|e| e.file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with(".tidegate")));
    }
}

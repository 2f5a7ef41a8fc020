use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tidegate_agent::Beneath;
use tidegate_engine::api::ArtifactAnswer;
use tidegate_pipeline::Glob;

use crate::args::{Artifact, Global};
use crate::client::{Access, Artifacts, Backend};
use crate::exit::Expected;
use crate::terminal::clean;
use crate::{exit, out, show};

/// `tidegate artifact …`.
pub(super) async fn run(global: &Global, command: Artifact) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Read).await?;
    match command {
        Artifact::List { build, job } => {
            let answer = backend.artifacts(&build, job.as_deref()).await?;
            if global.json {
                out::json(&answer)?;
            } else {
                out::text(&show::artifacts(&answer.artifacts, out::width()))?;
            }
        }
        Artifact::Download { build, patterns, job, to } => {
            let Artifacts { artifacts } = backend.artifacts(&build, job.as_deref()).await?;
            let wanted = choose(artifacts, &patterns)?;
            let mut done = Vec::new();
            for artifact in &wanted {
                let path = download(&backend, artifact, &to)
                    .await
                    .with_context(|| format!("cannot download `{}`", clean(&artifact.path)))?;
                if !global.json {
                    let size = show::bytes(artifact.size);
                    out::line(&format!("{} ({size})", clean(&path.display().to_string())))?;
                }
                done.push(
                    json!({ "path": artifact.path, "file": path, "size": artifact.size, "sha256": artifact.sha256 }),
                );
            }
            if global.json {
                out::json(&json!({ "downloaded": done }))?;
            }
        }
    }
    Ok(exit::DONE)
}

/// The artifacts that the patterns name, of each path the one of the latest attempt. All when there is no pattern.
fn choose(artifacts: Vec<ArtifactAnswer>, patterns: &[String]) -> anyhow::Result<Vec<ArtifactAnswer>> {
    let globs = patterns
        .iter()
        .map(|pattern| Glob::new(pattern).map_err(|error| Expected::usage(format!("`{pattern}`: {error}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let mut chosen: Vec<ArtifactAnswer> = Vec::new();
    for artifact in artifacts {
        let exact = patterns.contains(&artifact.path);
        if !patterns.is_empty() && !exact && !globs.iter().any(|glob| glob.matches(&artifact.path)) {
            continue;
        }
        match chosen.iter_mut().find(|c| c.path == artifact.path && c.job_id == artifact.job_id) {
            Some(known) if known.attempt < artifact.attempt => *known = artifact,
            Some(_) => {}
            None => chosen.push(artifact),
        }
    }
    for (at, artifact) in chosen.iter().enumerate() {
        if let Some(other) = chosen[..at].iter().find(|other| other.path == artifact.path) {
            bail!(
                "`{}` was uploaded by `{}` and by `{}`: choose one with `--job`",
                clean(&artifact.path),
                clean(&other.job),
                clean(&artifact.job)
            );
        }
    }
    if chosen.is_empty() {
        if patterns.is_empty() {
            bail!("there are no artifacts");
        }
        bail!("no artifact matches {}; `tidegate artifact list` shows what there is", patterns.join(", "));
    }
    Ok(chosen)
}

/// Never outside of the directory, whatever a job has called it and whatever links are there.
async fn download(backend: &Backend, artifact: &ArtifactAnswer, directory: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    let root = File::open(directory).with_context(|| format!("cannot open `{}`", directory.display()))?;
    let place = Beneath::new(&root, Path::new(&artifact.path))?;
    let mut file = place.open()?;
    let mut digest = Sha256::new();
    backend
        .artifact_content(artifact, |piece| {
            digest.update(piece);
            file.write_all(piece).context("cannot write")
        })
        .await?;
    if hex::encode(digest.finalize()) != artifact.sha256 {
        bail!("its content does not have the SHA-256 that the job uploaded: try again");
    }
    place.finish()?;
    Ok(directory.join(&artifact.path))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn artifact(path: &str, job: &str, attempt: u32) -> ArtifactAnswer {
        ArtifactAnswer {
            path: path.into(),
            size: 1,
            sha256: String::new(),
            content_type: String::new(),
            job: job.into(),
            job_id: job.into(),
            attempt,
            key: format!("{path}/{job}/{attempt}"),
        }
    }

    #[test]
    fn patterns_choose_and_the_latest_attempt_counts() {
        let all =
            || vec![artifact("pkg/a.txt", "one", 1), artifact("pkg/a.txt", "one", 2), artifact("b.txt", "two", 1)];
        let keys = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            choose(all(), &patterns).map(|c| c.into_iter().map(|a| a.key).collect::<Vec<_>>())
        };
        assert_eq!(keys(&[]).unwrap(), ["pkg/a.txt/one/2", "b.txt/two/1"]);
        assert_eq!(keys(&["pkg/*"]).unwrap(), ["pkg/a.txt/one/2"]);
        assert!(keys(&["none"]).unwrap_err().to_string().contains("no artifact matches none"));
        let mut two = all();
        two.push(artifact("b.txt", "three", 1));
        let error = choose(two, &[]).unwrap_err().to_string();
        assert_eq!(error, "`b.txt` was uploaded by `two` and by `three`: choose one with `--job`");
    }
}

//! `artifact`: files of the build.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use globset::{GlobBuilder, GlobMatcher};
use tidegate_core::wire::job::{FindArtifactsAnswer, FoundArtifact};

use super::args::{Artifact, Which};
use super::client::Agent;
use super::{download, print, say, wire};

pub(super) fn run(command: &Artifact) -> anyhow::Result<ExitCode> {
    match command {
        Artifact::Upload { globs, destination, .. } => upload(globs, destination.as_deref()),
        Artifact::Download { which, directory } => {
            let agent = Agent::of_this_job()?;
            let found = find(&agent, which)?;
            if found.is_empty() {
                bail!("{}", nothing(which));
            }
            // Of several files with one path the one of the latest job counts.
            let mut wanted: Vec<FoundArtifact> = Vec::new();
            for file in found {
                wanted.retain(|known| known.file.path != file.file.path);
                wanted.push(file);
            }
            let count = wanted.len();
            download::all(&agent, wanted, directory)?;
            say(&format!("{count} files downloaded to `{}`.", directory.display()));
            Ok(ExitCode::SUCCESS)
        }
        Artifact::Search { which, format, allow_empty_results } => {
            let found = find(&Agent::of_this_job()?, which)?;
            if found.is_empty() && !allow_empty_results {
                bail!("{}", nothing(which));
            }
            for file in &found {
                print(formatted(format, file))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Artifact::Shasum { which, sha256 } => {
            if !sha256 {
                bail!("only SHA-256 is kept of artifacts: write `artifact shasum --sha256`");
            }
            match find(&Agent::of_this_job()?, which)?.as_slice() {
                [one] => print(format!("{}\n", one.file.sha256))?,
                [] => bail!("{}", nothing(which)),
                several => bail!("{} artifacts match `{}`: name one, or its `--step`", several.len(), which.query),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn nothing(which: &Which) -> String {
    match &which.step {
        Some(step) => format!("no artifact of `{step}` matches `{}`", which.query),
        None => format!("no artifact of this build matches `{}`", which.query),
    }
}

fn upload(globs: &str, destination: Option<&str>) -> anyhow::Result<ExitCode> {
    if let Some(destination) = destination {
        bail!("artifacts are kept with the build: the destination `{destination}` is not supported");
    }
    let directory = std::env::current_dir().context("there is no working directory")?;
    let globs = globs.split(';').map(|glob| glob.trim().to_owned()).filter(|glob| !glob.is_empty()).collect();
    let kept: wire::Kept = Agent::of_this_job()?.post(wire::KEEP, &wire::Keep { directory, globs })?;
    for line in &kept.lines {
        say(line);
    }
    match kept.error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => bail!(error),
    }
}

/// Artifacts of the build, in the order of jobs.
fn find(agent: &Agent, which: &Which) -> anyhow::Result<Vec<FoundArtifact>> {
    let own = std::env::var("BUILDKITE_BUILD_ID").ok();
    if which.build.is_some() && which.build != own {
        bail!("only artifacts of the job's own build can be reached, not of another `--build`");
    }
    let query = which.query.trim_start_matches("./");
    let matcher = matcher(query)?;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let ask = wire::Find { step: which.step.clone(), retried: which.include_retried_jobs, after };
        let answer: FindArtifactsAnswer = agent.post(wire::FIND, &ask)?;
        let files = answer.files.into_iter();
        found.extend(files.filter(|f| f.file.path == query || matcher.is_match(&f.file.path)));
        match answer.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

fn matcher(query: &str) -> anyhow::Result<GlobMatcher> {
    let glob = GlobBuilder::new(query).literal_separator(true).backslash_escape(true).build();
    Ok(glob.with_context(|| format!("`{query}` is no glob"))?.compile_matcher())
}

/// A line of `search`: `%` and a letter stand for what is known.
fn formatted(format: &str, found: &FoundArtifact) -> String {
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('%', Some('p')) => out.push_str(&found.file.path),
            ('%', Some('j')) => out.push_str(&found.job_id),
            ('%', Some('c')) => out.push_str(&found.created_at),
            ('%', Some('s')) => out.push_str(&found.file.size.to_string()),
            ('%', Some('T')) => out.push_str(&found.file.sha256),
            ('%', Some('i')) => out.push_str(&format!("{}/{}", found.attempt, found.file.number)),
            ('%', Some('%')) => out.push('%'),
            ('\\', Some('n')) => out.push('\n'),
            (other, _) => {
                out.push(other);
                continue;
            }
        }
        letters.next();
    }
    out
}

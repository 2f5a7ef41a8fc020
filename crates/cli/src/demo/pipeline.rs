//! The repository that is built.

use std::fs;
use std::path::Path;

use tidegate_core::event::GitRef;
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_core::time::Timestamp;
use tidegate_github::payload::{CommitFacts, PushFacts};

use crate::git;

/// The step whose machine is lost.
pub(super) const LONG: &str = "integration";
/// `owner/name`.
pub(super) const NAME: &str = "tidegate-demo/hello";
/// Any number, as long as the configuration has the same.
pub(super) const ID: u64 = 4_242;
const BRANCH: &str = "main";

const PIPELINE: &str = r#"# Three steps at once, then three parts of one, then a last one.
steps:
  - label: lint
    key: lint
    command: sh scripts/lint.sh

  - label: compile
    key: compile
    command: |
      mkdir -p pkg
      sh scripts/compile.sh > pkg/hello.txt
      cat pkg/hello.txt
    artifact_paths: pkg/*

  # Prints for a few seconds. The demo kills the machine under it.
  - label: integration
    key: integration
    command: sh scripts/integration.sh

  - wait

  - label: tests
    key: tests
    command: sh scripts/tests.sh
    parallelism: 3
"#;

const FILES: [(&str, &str); 6] = [
    (".tidegate/pipeline.yml", PIPELINE),
    ("README.md", "# hello\n\nA repository that `tidegate demo` made.\n"),
    (
        "scripts/lint.sh",
        "set -e\nfor file in scripts/*.sh; do sh -n \"$file\" && echo \"$file: good\"; sleep 0.2; done\n",
    ),
    ("scripts/compile.sh", "set -e\nsleep 0.8\necho \"hello from commit $BUILDKITE_COMMIT\"\n"),
    (
        "scripts/integration.sh",
        "set -e\nfor n in 1 2 3 4 5 6; do\n  echo \"check $n of 6\"\n  sleep 0.4\ndone\necho \"all checks passed\"\n",
    ),
    (
        "scripts/tests.sh",
        "set -e\npart=$((BUILDKITE_PARALLEL_JOB + 1))\necho \"part $part of $BUILDKITE_PARALLEL_JOB_COUNT\"\nsleep 0.5\n\
         echo \"part $part passed\"\n",
    ),
];

/// Makes the repository with one commit; returns the push that tells of it.
pub(super) fn make(directory: &Path) -> anyhow::Result<PushFacts> {
    for (path, content) in FILES {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    let run = |arguments: &[&str]| {
        let mut command = git::command(directory);
        // The user's own settings, such as signing or hooks, are of no use here.
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.args(["-c", "user.name=Demo", "-c", "user.email=demo@example.com"]).args(arguments);
        git::output(&mut command)
    };
    run(&["init", "--quiet", "."])?;
    run(&["symbolic-ref", "HEAD", &format!("refs/heads/{BRANCH}")])?;
    run(&["add", "--all"])?;
    run(&["commit", "--quiet", "-m", "Say hello"])?;
    let id = CommitSha::new(run(&["rev-parse", "HEAD"])?)?;
    let tree = CommitSha::new(run(&["rev-parse", "HEAD^{tree}"])?)?;
    let timestamp = run(&["log", "-1", "--format=%cI"])?;
    let millis = jiff::Timestamp::now().as_millisecond();
    Ok(PushFacts {
        repository_id: RepositoryId(ID),
        full_name: RepositoryName::new(NAME)?,
        default_branch: BRANCH.to_owned(),
        clone_url: Some(directory.display().to_string()),
        git_ref: GitRef::Branch(BRANCH.to_owned()),
        before: CommitSha::new("0".repeat(id.as_str().len()))?,
        after: id.clone(),
        forced: false,
        commits: vec![CommitFacts {
            id,
            tree,
            message: "Say hello".to_owned(),
            author_name: "Demo".to_owned(),
            author_email: "demo@example.com".to_owned(),
            timestamp,
            added: FILES.iter().map(|(path, _)| (*path).to_owned()).collect(),
            removed: Vec::new(),
            modified: Vec::new(),
        }],
        head: None,
        pusher: "demo".to_owned(),
        at: Timestamp(u64::try_from(millis).unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use tidegate_pipeline::{Context, Source, lint};

    use super::*;

    #[test]
    fn the_pipeline_is_beyond_reproach() {
        let findings = lint(Source::new("pipeline.yml", PIPELINE), &Context::for_lint());
        assert!(findings.is_empty(), "{findings:?}");
        assert!(PIPELINE.contains(&format!("key: {LONG}\n")));
    }
}

//! Repositories of this machine, read through mirrors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_engine::conformance::{self, Trial};
use tidegate_engine::ports::{NoCredentials, PortError, Repositories, RepositorySource};
use tidegate_local::{GitRepositories, StateDir, SystemClock};

struct Repo(PathBuf);

impl Repo {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let repo = Self(path);
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Someone", "-c", "user.email=someone@example.com", "-c", "commit.gpgsign=false"])
            .arg("-C")
            .arg(&self.0)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn commit(&self) -> CommitSha {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=x"]);
        CommitSha::new(self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    fn source(&self, id: u64) -> RepositorySource {
        source(id, self.0.to_str().unwrap())
    }
}

fn source(id: u64, url: &str) -> RepositorySource {
    RepositorySource {
        id: RepositoryId(id),
        full_name: RepositoryName::new("octo/hello").unwrap(),
        clone_url: url.to_owned(),
    }
}

struct World {
    directory: tempfile::TempDir,
    repositories: GitRepositories,
    _state: StateDir,
}

impl World {
    /// Within a runtime.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::serve(directory.path().join("state")).unwrap();
        let repositories = GitRepositories::open(&state, 1 << 20, Arc::new(NoCredentials));
        Self { repositories, directory, _state: state }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn mirror(&self, id: u64) -> PathBuf {
        self.path(&format!("state/repositories/{id}.git"))
    }

    async fn read(
        &self,
        source: &RepositorySource,
        commit: &CommitSha,
        path: &str,
    ) -> Result<Option<Bytes>, PortError> {
        let files = self.repositories.files(source, commit, Some("refs/heads/main"), &[path]).await?;
        Ok(files.into_iter().next().unwrap().content)
    }
}

#[tokio::test]
async fn the_repositories_conform() {
    let world = World::new();
    let repo = Repo::new(world.path("repo"));
    repo.write("dir/kept", "kept\n");
    repo.write("changed", "one\n");
    repo.write("large", vec![b'x'; (1 << 20) + 1]);
    repo.write("binary", [0, 255, 10, 13]);
    let first = repo.commit();
    repo.git(&["tag", "--annotate", "--message=x", "v1"]);
    repo.write("changed", "two\n");
    repo.write("added", "new\n");
    let second = repo.commit();
    for (id, url) in [(1, repo.0.display().to_string()), (2, format!("file://{}", repo.0.display()))] {
        let subject = conformance::repositories::Subject {
            repositories: &world.repositories,
            source: source(id, &url),
            missing: source(id + 10, &format!("{url}-not")),
            branch: "main".to_owned(),
            tag: "v1".to_owned(),
            first: first.clone(),
            second: second.clone(),
        };
        let trial = Trial::new(&SystemClock, "t", Duration::from_secs(30));
        let report = conformance::repositories::suite(&trial, &subject).await.unwrap();
        assert!(report.counts.is_empty(), "{report}");
    }
    let short = &first.as_str()[..10];
    let found = world.repositories.resolve(&repo.source(1), short).await.unwrap();
    assert_eq!(found, Some(first));
}

#[tokio::test]
async fn links_within_the_repository_are_followed() {
    let world = World::new();
    let repo = Repo::new(world.path("repo"));
    repo.write("ci/pipeline.yml", "steps: []\n");
    for (target, name) in [("ci/pipeline.yml", "in.yml"), ("/etc/hostname", "out.yml"), ("gone", "dangling.yml")] {
        std::os::unix::fs::symlink(target, repo.0.join(name)).unwrap();
    }
    let commit = repo.commit();
    let source = repo.source(1);
    let read = |path: &'static str| world.read(&source, &commit, path);
    assert_eq!(read("in.yml").await.unwrap().unwrap(), "steps: []\n");
    assert_eq!(read("./in.yml").await.unwrap().unwrap(), "steps: []\n");
    assert_eq!(read("out.yml").await.unwrap(), None);
    assert_eq!(read("dangling.yml").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_come_go_and_are_forced() {
    let world = World::new();
    let repo = Repo::new(world.path("repo"));
    let source = repo.source(1);
    repo.write("f", "one");
    repo.commit();
    repo.git(&["checkout", "--quiet", "-b", "a"]);
    let mut commits = vec![(repo.commit(), "refs/heads/a")];
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["branch", "--quiet", "-D", "a"]);
    repo.git(&["checkout", "--quiet", "-b", "a/b"]);
    repo.write("f", "two");
    commits.push((repo.commit(), "refs/heads/a/b"));
    repo.git(&["commit", "--quiet", "--amend", "--message=other"]);
    commits.push((CommitSha::new(repo.git(&["rev-parse", "HEAD"])).unwrap(), "refs/heads/a/b"));
    // Many ask for each at a time, also for what no branch leads to any more.
    for _ in 0..2 {
        let asks = (0..24).map(|n| {
            let (commit, git_ref) = &commits[n % commits.len()];
            world.repositories.files(&source, commit, Some(git_ref), &["f"])
        });
        let answers = try_join_all(asks).await.unwrap();
        assert_eq!(answers[0][0].content.as_ref().unwrap(), "one");
        assert_eq!(answers[23][0].content.as_ref().unwrap(), "two");
    }
    // Once here, the other side is not asked again.
    fs::remove_dir_all(&repo.0).unwrap();
    world.read(&source, &commits[0].0, "f").await.unwrap();
}

#[tokio::test]
async fn a_damaged_mirror_is_made_again() {
    let world = World::new();
    let repo = Repo::new(world.path("repo"));
    let source = repo.source(1);
    for damage in [
        &(|mirror: &Path| fs::remove_file(mirror.join("HEAD")).unwrap()) as &dyn Fn(&Path),
        &|mirror| fs::write(mirror.join("HEAD"), "nonsense").unwrap(),
        &|mirror| fs::write(mirror.join("config"), "nonsense [").unwrap(),
        &|mirror| fs::remove_dir_all(mirror.join("objects")).unwrap(),
        &|mirror| fs::remove_dir_all(mirror).unwrap(),
        &|mirror| fs::rename(mirror, mirror.with_extension("new")).unwrap(),
    ] {
        repo.write("f", "content");
        let commit = repo.commit();
        assert_eq!(world.read(&source, &commit, "f").await.unwrap().unwrap(), "content");
        damage(&world.mirror(1));
    }
    let commit = repo.commit();
    assert_eq!(world.read(&source, &commit, "f").await.unwrap().unwrap(), "content");
}

#[tokio::test]
async fn repositories_of_other_users_are_read() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give a directory away.
        return;
    }
    let world = World::new();
    let repo = Repo::new(world.path("repo"));
    repo.write("f", "content");
    let commit = repo.commit();
    let mut waiting = vec![repo.0.clone()];
    while let Some(path) = waiting.pop() {
        std::os::unix::fs::lchown(&path, Some(65_534), Some(65_534)).unwrap();
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let source = repo.source(1);
    assert_eq!(world.read(&source, &commit, "f").await.unwrap().unwrap(), "content");
    assert_eq!(world.repositories.resolve(&source, "main").await.unwrap(), Some(commit));
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_apart() {
    let world = World::new();
    let commit = CommitSha::new("0123456789".repeat(4)).unwrap();
    let ran = world.path("ran");
    let helper = format!("ext::sh -c touch% {}", ran.display());
    let cases = [
        ("/no/such/directory", "does not appear to be a git repository"),
        ("--upload-pack=touch /tmp/x", "begins with `-`"),
        ("", "empty"),
        (helper.as_str(), "not allowed"),
    ];
    for (id, (url, words)) in (1..).zip(cases) {
        let source = source(id, url);
        let answers = [
            world.read(&source, &commit, "f").await.unwrap_err(),
            world.repositories.resolve(&source, "main").await.unwrap_err(),
        ];
        for error in answers {
            assert!(matches!(&error, PortError::Reject { why } if why.contains(words)), "{url}: {error:?}");
        }
    }
    assert!(!ran.exists(), "a URL ran a command");
    // Nobody listens on port 1.
    let source = source(9, "http://127.0.0.1:1/x.git");
    let error = world.read(&source, &commit, "f").await.unwrap_err();
    assert!(matches!(&error, PortError::Retry { .. }), "{error:?}");
}

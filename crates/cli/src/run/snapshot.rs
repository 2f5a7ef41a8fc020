//! What is to be built, as a repository of its own that borrows its objects from the user's.
//!
//! The user's repository is only read: a commit of the working tree is made with an index and a directory of objects that
//! are not its own.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use tidegate_core::event::is_ref_name;
use tidegate_core::ids::RepositoryName;
use tidegate_pipeline::{SEARCH_PATHS, find};

use crate::exit::Expected;
use crate::git;

/// A commit to build.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The repository that has it.
    pub(super) repository: PathBuf,
    pub(super) commit: String,
    pub(super) branch: String,
    pub(super) default_branch: String,
    /// `owner/name`.
    pub(super) full_name: String,
    pub(super) message: String,
    pub(super) author_name: String,
    pub(super) author_email: String,
}

/// The working tree around a directory.
pub(super) fn root(directory: &Path) -> anyhow::Result<PathBuf> {
    let found = git::attempt(git::command(directory).args(["rev-parse", "--show-toplevel"]))?;
    match found {
        Ok(root) if !root.is_empty() => Ok(PathBuf::from(root)),
        Ok(_) => Err(Expected::usage(format!("`{}` has no working tree", directory.display()))),
        Err(words) => Err(Expected::usage(format!(
            "`{}` is in no git repository ({words}): go to one, or name one with `--repo DIR`",
            directory.display()
        ))),
    }
}

/// The path of a file below the root of its repository.
pub(super) fn inside(root: &Path, file: &str) -> anyhow::Result<String> {
    let path = Path::new(file);
    let relative = if path.is_absolute() {
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        canonical
            .strip_prefix(&root)
            .map(Path::to_owned)
            .map_err(|_| Expected::usage(format!("`{file}` is not in the repository `{}`", root.display())))?
    } else {
        path.to_owned()
    };
    let mut parts = Vec::new();
    for part in relative.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Expected::usage(format!("`{file}` is not a path below the repository's root")));
            }
        }
    }
    Ok(parts.join("/"))
}

/// `main` or `master`, if the repository has one; nothing otherwise.
fn usual_branch(ask: &impl Fn(&[&str]) -> anyhow::Result<Result<String, String>>) -> anyhow::Result<String> {
    for name in ["main", "master"] {
        if ask(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{name}")])?.is_ok() {
            return Ok(name.to_owned());
        }
    }
    Ok(String::new())
}

impl Snapshot {
    /// Makes the repository `target` with the commit that `root` is at, or with one of its working tree.
    pub(super) fn take(root: &Path, target: &Path, dirty: bool) -> anyhow::Result<Self> {
        let ask = |arguments: &[&str]| git::attempt(git::command(root).args(arguments));
        let head = ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?.ok();
        borrow(root, target)?;
        let commit = match (&head, dirty) {
            (_, true) => commit_working_tree(root, target, head.as_deref())?,
            (Some(head), false) => head.clone(),
            (None, false) => {
                return Err(Expected::usage(
                    "the repository has no commit yet: make one, or build what is on disk with `--dirty`",
                ));
            }
        };
        let branch = ask(&["symbolic-ref", "--quiet", "--short", "HEAD"])?.ok();
        let branch = branch.filter(|name| is_ref_name(name)).unwrap_or_else(|| "HEAD".to_owned());
        git::output(git::command(target).args(["update-ref", &format!("refs/heads/{branch}"), &commit]))?;
        let default_branch = ask(&["symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"])?
            .ok()
            .and_then(|name| Some(name.strip_prefix("origin/")?.to_owned()));
        let default_branch = match default_branch {
            Some(name) => name,
            None => usual_branch(&ask)?,
        };
        let origin = ask(&["config", "--get", "remote.origin.url"])?.ok();
        let full_name = origin.as_deref().and_then(name_of_url).unwrap_or_else(|| name_of_directory(root));
        let show = |format: &str| {
            git::output(git::command(target).args(["log", "-1", &format!("--format={format}"), &commit]))
        };
        Ok(Self {
            message: show("%B")?.trim_end().to_owned(),
            author_name: show("%an")?,
            author_email: show("%ae")?,
            repository: target.to_owned(),
            commit,
            branch,
            default_branch,
            full_name,
        })
    }

    /// The pipeline file of the commit; `None` when there is none, or more than one.
    pub(super) fn pipeline(&self, file: Option<&str>) -> Option<Vec<u8>> {
        let listed = |path: &str| {
            let mut list = git::command(&self.repository);
            list.args(["ls-tree", "--name-only", &self.commit, "--", path]);
            git::output(&mut list).is_ok_and(|found| found == path)
        };
        let path = match file {
            Some(file) => file,
            None => find(|path| SEARCH_PATHS.contains(&path) && listed(path)).ok()?,
        };
        let mut show = git::command(&self.repository);
        let output = show.args(["cat-file", "blob", &format!("{}:{path}", self.commit)]).output().ok()?;
        output.status.success().then_some(output.stdout)
    }
}

/// Makes an empty repository that borrows the objects of another.
fn borrow(root: &Path, target: &Path) -> anyhow::Result<()> {
    let path_of = |name: &str| -> anyhow::Result<PathBuf> {
        let path = git::output(git::command(root).args(["rev-parse", "--git-path", name]))?;
        Ok(root.join(path))
    };
    let format = git::attempt(git::command(root).args(["rev-parse", "--show-object-format"]))?.ok();
    fs::create_dir(target).with_context(|| format!("cannot make `{}`", target.display()))?;
    let mut init = git::command(target);
    // Nothing of the user's templates, such as hooks.
    init.args(["init", "--quiet", "--bare", "--template="]);
    // Older versions of git know one format and no option for it.
    if let Some(format) = format.filter(|format| format == "sha256") {
        init.arg(format!("--object-format={format}"));
    }
    git::output(init.arg("."))?;
    let objects = fs::canonicalize(path_of("objects")?).context("the repository has no objects")?;
    let info = target.join("objects/info");
    fs::create_dir_all(&info)?;
    let mut alternates = objects.into_os_string().into_encoded_bytes();
    if alternates.contains(&b'\n') {
        bail!("the path of the repository has a line break");
    }
    alternates.push(b'\n');
    fs::write(info.join("alternates"), alternates)?;
    // A shallow clone has commits whose parents are not there.
    let shallow = path_of("shallow")?;
    if shallow.is_file() {
        fs::copy(shallow, target.join("shallow"))?;
    }
    Ok(())
}

/// A commit of what is on disk: what is tracked, and what is untracked and not ignored.
fn commit_working_tree(root: &Path, target: &Path, head: Option<&str>) -> anyhow::Result<String> {
    let index = target.join("index.of.working-tree");
    // With the user's index git knows which files have not changed, and need not read them.
    let own = git::output(git::command(root).args(["rev-parse", "--git-path", "index"]))?;
    let own = root.join(own);
    if own.is_file() {
        fs::copy(&own, &index).context("cannot copy the index")?;
    }
    let objects = git::output(git::command(root).args(["rev-parse", "--git-path", "objects"]))?;
    let objects = fs::canonicalize(root.join(objects))?;
    let apart = |arguments: &[&str]| -> Command {
        let mut command = git::command(root);
        command
            .env("GIT_INDEX_FILE", &index)
            .env("GIT_OBJECT_DIRECTORY", target.join("objects"))
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &objects)
            .args([
                "-c",
                "core.fsmonitor=false",
                "-c",
                "core.safecrlf=false",
                "-c",
                "core.splitIndex=false",
                "-c",
                "gc.auto=0",
            ])
            .args(arguments);
        command
    };
    git::output(&mut apart(&["add", "--all", "."]))?;
    let tree = git::output(&mut apart(&["write-tree"]))?;
    let setting = |name: &str, fallback: &str| -> anyhow::Result<String> {
        let value = git::attempt(git::command(root).args(["config", "--get", name]))?.ok();
        Ok(value.filter(|value| !value.is_empty()).unwrap_or_else(|| fallback.to_owned()))
    };
    let message = match head {
        Some(head) => {
            let subject = git::output(git::command(root).args(["log", "-1", "--format=%s", head]))?;
            format!("Working tree on top of: {subject}")
        }
        None => "Working tree".to_owned(),
    };
    let (name, email) = (setting("user.name", "somebody")?, setting("user.email", "somebody@localhost")?);
    let mut commit = apart(&["-c", "commit.gpgSign=false", "commit-tree", &tree, "-m", &message]);
    if let Some(head) = head {
        commit.args(["-p", head]);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        commit.env(format!("GIT_{who}_NAME"), &name).env(format!("GIT_{who}_EMAIL"), &email);
    }
    let made = git::output(&mut commit)?;
    fs::remove_file(&index)?;
    Ok(made)
}

/// `owner/name` out of the address of a repository.
fn name_of_url(url: &str) -> Option<String> {
    let path = url.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let mut parts = path.rsplit(['/', ':']);
    let (name, owner) = (parts.next()?, parts.next()?);
    // A path on this machine or a host has no owner.
    let remote = url.contains("://") && !url.starts_with("file:") || url.contains('@');
    let name = format!("{owner}/{name}");
    (remote && RepositoryName::new(name.clone()).is_ok()).then_some(name)
}

/// `local/<name of the directory>`.
fn name_of_directory(root: &Path) -> String {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(100)
        .collect();
    let name = format!("local/{plain}");
    if RepositoryName::new(name.clone()).is_ok() { name } else { "local/repository".to_owned() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn names_come_from_addresses_and_directories() {
        for (url, name) in [
            ("https://github.com/octo/web.git", Some("octo/web")),
            ("git@github.com:octo/web.git", Some("octo/web")),
            ("ssh://git@example.com:22/octo/web/", Some("octo/web")),
            ("/srv/git/web.git", None),
            ("file:///srv/git/web.git", None),
            ("../web", None),
        ] {
            assert_eq!(name_of_url(url).as_deref(), name, "{url}");
        }
        assert_eq!(name_of_directory(Path::new("/home/me/my project")), "local/my-project");
        assert_eq!(name_of_directory(Path::new("/")), "local/repository");
    }

    #[test]
    fn files_are_below_the_root() {
        let root = Path::new("/somewhere");
        assert_eq!(inside(root, "./ci/pipeline.yml").unwrap(), "ci/pipeline.yml");
        assert!(inside(root, "../x.yml").is_err());
        assert!(inside(root, "/elsewhere/x.yml").is_err());
    }

    fn repository() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        git::output(git::command(directory.path()).args(["init", "--quiet", "."])).unwrap();
        directory
    }

    /// Everything below a directory with its content, but for times of access.
    fn content(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        let mut open = vec![directory.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { all.push((path.clone(), fs::read(&path).unwrap())) }
            }
        }
        all.sort();
        all
    }

    fn files(snapshot: &Snapshot) -> Vec<String> {
        let mut list = git::command(&snapshot.repository);
        let text = git::output(list.args(["ls-tree", "-r", "--name-only", &snapshot.commit])).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_working_tree_is_built_without_touching_its_repository() {
        let directory = repository();
        let root = directory.path();
        let target = tempfile::tempdir().unwrap();
        fs::write(root.join("a"), "1").unwrap();
        fs::write(root.join(".gitignore"), "ignored\n").unwrap();
        fs::write(root.join("ignored"), "x").unwrap();
        let before = content(root);
        let refused = Snapshot::take(root, &target.path().join("none"), false).unwrap_err();
        assert!(refused.to_string().contains("`--dirty`"), "{refused}");
        let first = Snapshot::take(root, &target.path().join("one"), true).unwrap();
        assert_eq!(files(&first), [".gitignore", "a"]);
        assert_eq!(content(root), before);

        let commit = ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "First"];
        git::output(git::command(root).args(["add", "a"])).unwrap();
        git::output(git::command(root).args(commit)).unwrap();
        fs::write(root.join("b"), "2").unwrap();
        fs::remove_file(root.join("a")).unwrap();
        let before = content(root);
        let second = Snapshot::take(root, &target.path().join("two"), true).unwrap();
        assert_eq!(files(&second), [".gitignore", "b"]);
        assert_eq!(second.message, "Working tree on top of: First");
        let clean = Snapshot::take(root, &target.path().join("three"), false).unwrap();
        assert_eq!(files(&clean), ["a"]);
        assert_eq!((clean.message.as_str(), clean.author_name.as_str()), ("First", "A"));
        assert_eq!(content(root), before);

        // Whoever clones the copy has the commit, although its objects are borrowed.
        let clone = target.path().join("clone");
        let mut command = git::command(target.path());
        git::output(command.args(["clone", "--quiet", "--branch", &second.branch]).arg(&second.repository).arg(&clone))
            .unwrap();
        assert_eq!(fs::read(clone.join("b")).unwrap(), b"2");
    }
}

//! Which files a list of globs means (`spec/pipeline.md` 1.4): `*` stays within a directory, `**` crosses them, `{a,b}`
//! is either. Links are followed as long as they stay beneath the checkout; nothing outside is ever taken, whatever
//! the job wrote. `.git` is left out unless a glob names it: it may hold credentials.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// How many files one job may keep (`spec/pipeline.md` 1.21).
pub(crate) const MOST_FILES: usize = 5_000;

/// A file to keep.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Chosen {
    /// As the job sees it, relative to the checkout.
    pub(crate) path: String,
    /// Where it really is, links resolved, relative to the checkout.
    pub(crate) real: PathBuf,
}

/// What the globs lead to.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Sorted by path, each once.
    pub(crate) files: Vec<Chosen>,
    /// Globs that match nothing.
    pub(crate) unmatched: Vec<String>,
    /// What matches and cannot be kept, and why.
    pub(crate) refused: Vec<String>,
}

/// Why nothing can be chosen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("`{glob}` is not a glob: {why}")]
    Glob { glob: String, why: String },
    #[error(
        "`{0}` leads out of the checkout: artifacts are files beneath the directory that the job was checked out to"
    )]
    Outside(String),
    #[error("more than {MOST_FILES} files match: pack them into one archive, or keep fewer")]
    TooMany,
    #[error("cannot read `{path}`: {why}")]
    Read { path: String, why: String },
}

/// Finds the files.
pub(crate) fn select(checkout: &Path, globs: &[String]) -> Result<Selection, SelectError> {
    let root = checkout
        .canonicalize()
        .map_err(|e| SelectError::Read { path: checkout.display().to_string(), why: e.to_string() })?;
    let mut found = BTreeMap::new();
    let mut selection = Selection::default();
    for glob in globs.iter().map(|g| g.trim()).filter(|g| !g.is_empty()) {
        let pattern = Pattern::parse(glob, checkout, &root)?;
        let mut walk = Walk {
            root: &root,
            pattern: &pattern,
            found: &mut found,
            refused: &mut selection.refused,
            matched: false,
            above: Vec::new(),
        };
        walk.visit(&pattern.fixed)?;
        if !walk.matched {
            selection.unmatched.push(glob.to_owned());
        }
    }
    selection.files = found.into_iter().map(|(path, real)| Chosen { path, real }).collect();
    Ok(selection)
}

struct Pattern {
    matcher: GlobMatcher,
    /// The directory before the first special character: where to start looking.
    fixed: PathBuf,
    /// The glob names `.git` itself.
    git: bool,
}

impl Pattern {
    fn parse(glob: &str, checkout: &Path, root: &Path) -> Result<Self, SelectError> {
        let outside = || SelectError::Outside(glob.to_owned());
        // Scripts write `$PWD/…`: that is beneath the checkout too.
        let path = Path::new(glob);
        let relative = path.strip_prefix(checkout).or_else(|_| path.strip_prefix(root)).unwrap_or(path);
        let mut parts = Vec::new();
        for part in relative.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                Component::CurDir => {}
                Component::ParentDir => {
                    parts.pop().ok_or_else(outside)?;
                }
                Component::RootDir | Component::Prefix(_) => return Err(outside()),
            }
        }
        let text = parts.join("/");
        let matcher = GlobBuilder::new(&text)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|e| SelectError::Glob { glob: glob.to_owned(), why: e.kind().to_string() })?
            .compile_matcher();
        let special = |part: &String| part.contains(['*', '?', '[', '{', '\\']);
        let whole = parts.len();
        let fixed: PathBuf = parts.iter().take(whole.saturating_sub(1)).take_while(|part| !special(part)).collect();
        Ok(Self { matcher, fixed, git: parts.iter().any(|part| part == ".git") })
    }
}

struct Walk<'a> {
    root: &'a Path,
    pattern: &'a Pattern,
    found: &'a mut BTreeMap<String, PathBuf>,
    refused: &'a mut Vec<String>,
    matched: bool,
    /// The real places of the directories that we are in: a link back to one of them would never end.
    above: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Looks through a directory, given relative to the checkout.
    fn visit(&mut self, directory: &Path) -> Result<(), SelectError> {
        let Ok(real) = self.root.join(directory).canonicalize() else {
            return Ok(());
        };
        if !real.starts_with(self.root) || self.above.contains(&real) {
            return Ok(());
        }
        let entries = match std::fs::read_dir(&real) {
            Ok(entries) => entries,
            // The fixed part of a glob that does not exist, or is a file.
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => {
                return Err(SelectError::Read { path: directory.display().to_string(), why: error.to_string() });
            }
        };
        self.above.push(real);
        for entry in entries.flatten() {
            self.look_at(&directory.join(entry.file_name()))?;
        }
        self.above.pop();
        Ok(())
    }

    fn look_at(&mut self, path: &Path) -> Result<(), SelectError> {
        if !self.pattern.git && path.file_name().is_some_and(|name| name == ".git") {
            return Ok(());
        }
        let full = self.root.join(path);
        // Follows links; one that leads nowhere is no file.
        let Ok(metadata) = full.metadata() else {
            return Ok(());
        };
        if metadata.is_dir() {
            return self.visit(path);
        }
        if !metadata.is_file() || !self.pattern.matcher.is_match(path) {
            return Ok(());
        }
        self.matched = true;
        let real = full.canonicalize().ok().and_then(|real| real.strip_prefix(self.root).map(Path::to_owned).ok());
        let Some(real) = real else {
            self.refused.push(format!("{}: a link that leads out of the checkout", path.display()));
            return Ok(());
        };
        let Some(name) = path.to_str() else {
            self.refused.push(format!("{}: its name is not UTF-8", path.display()));
            return Ok(());
        };
        self.found.insert(name.to_owned(), real);
        if self.found.len() > MOST_FILES {
            return Err(SelectError::TooMany);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(checkout: &Path, globs: &[&str]) -> Vec<String> {
        let globs: Vec<String> = globs.iter().map(|g| (*g).to_owned()).collect();
        let selection = select(checkout, &globs).unwrap();
        selection.files.into_iter().map(|f| f.path).collect()
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "checkout/a.txt",
            "checkout/b.log",
            "checkout/dist/one.js",
            "checkout/dist/deep/two.js",
            "checkout/dist/.hidden",
            "checkout/.git/config",
            "secret",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        dir
    }

    #[test]
    fn globs_mean_what_the_reference_means() {
        let dir = tree();
        let checkout = dir.path().join("checkout");
        assert_eq!(names(&checkout, &["*.txt"]), ["a.txt"]);
        assert_eq!(names(&checkout, &["dist/*.js"]), ["dist/one.js"]);
        assert_eq!(names(&checkout, &["dist/**/*.js"]), ["dist/deep/two.js", "dist/one.js"]);
        assert_eq!(names(&checkout, &["**/*.{log,txt}", "./a.txt"]), ["a.txt", "b.log"]);
        assert_eq!(names(&checkout, &["**/*"]), ["a.txt", "b.log", "dist/.hidden", "dist/deep/two.js", "dist/one.js"]);
        assert_eq!(names(&checkout, &[".git/config"]), [".git/config"]);
        let absolute = format!("{}/dist/*.js", checkout.display());
        assert_eq!(names(&checkout, &[&absolute]), ["dist/one.js"]);
        assert!(names(&checkout, &["nothing/*", "", "dist"]).is_empty());
    }

    #[test]
    fn nothing_outside_is_taken() {
        let dir = tree();
        let checkout = dir.path().join("checkout");
        symlink("../secret", checkout.join("link")).unwrap();
        symlink("..", checkout.join("up")).unwrap();
        symlink("dist", checkout.join("alias")).unwrap();
        symlink(".", checkout.join("dist/loop")).unwrap();
        symlink(checkout.join("a.txt"), checkout.join("inside")).unwrap();
        for glob in ["../secret", "/etc/passwd", "a/../../secret"] {
            let error = select(&checkout, &[glob.to_owned()]).unwrap_err();
            assert!(matches!(error, SelectError::Outside(_)), "{glob}: {error}");
        }
        let selection = select(&checkout, &["link".to_owned()]).unwrap();
        assert!(selection.files.is_empty());
        insta::assert_debug_snapshot!(selection.refused, @r#"
        [
            "link: a link that leads out of the checkout",
        ]
        "#);
        assert!(names(&checkout, &["up/*"]).is_empty());
        assert_eq!(names(&checkout, &["alias/*.js"]), ["alias/one.js"]);
        assert_eq!(names(&checkout, &["inside"]), ["inside"]);
        assert!(names(&checkout, &["**/secret"]).is_empty());
    }
}

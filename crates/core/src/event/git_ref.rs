//! Names of what is built.

use serde::{Deserialize, Serialize};

/// A branch, a tag, or the head of a pull request.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitRef {
    /// `refs/heads/…`
    Branch(String),
    /// `refs/tags/…`
    Tag(String),
    /// `refs/pull/…/head`: the head of a pull request from another repository, as the repository that it is for has it.
    Pull {
        /// Its number.
        number: u64,
        /// `owner:branch`, so that the branch `main` of a stranger is never taken for that of the repository.
        branch: String,
    },
}

impl GitRef {
    /// Parses the full ref of a branch or a tag. `None` for other namespaces and for names that `git check-ref-format` refuses.
    pub fn parse(full: &str) -> Option<Self> {
        let (make, name): (fn(String) -> GitRef, &str) = if let Some(name) = full.strip_prefix("refs/heads/") {
            (GitRef::Branch, name)
        } else if let Some(name) = full.strip_prefix("refs/tags/") {
            (GitRef::Tag, name)
        } else {
            return None;
        };
        is_ref_name(name).then(|| make(name.to_owned()))
    }

    /// The name without its namespace.
    pub fn name(&self) -> &str {
        match self {
            GitRef::Branch(name) | GitRef::Tag(name) | GitRef::Pull { branch: name, .. } => name,
        }
    }

    /// The full ref.
    pub fn full(&self) -> String {
        match self {
            GitRef::Branch(name) => format!("refs/heads/{name}"),
            GitRef::Tag(name) => format!("refs/tags/{name}"),
            GitRef::Pull { number, .. } => format!("refs/pull/{number}/head"),
        }
    }
}

/// The rules of `git check-ref-format` for the part after the namespace, and at most 1,024 bytes. A leading dash is
/// refused too, although git's plumbing allows it, so that a name can never be read as an option.
pub fn is_ref_name(name: &str) -> bool {
    let bad_char = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    !name.is_empty()
        && name.len() <= 1024
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.chars().any(bad_char)
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_checked_as_git_checks_them() {
        assert_eq!(GitRef::parse("refs/heads/a/b"), Some(GitRef::Branch("a/b".into())));
        assert_eq!(GitRef::parse("refs/tags/v1.0"), Some(GitRef::Tag("v1.0".into())));
        for bad in [
            "refs/pull/1/merge",
            "refs/heads/",
            "refs/heads/a..b",
            "refs/heads/-x",
            "refs/heads/a b",
            "refs/heads/a.lock",
            "refs/heads/.a",
            "refs/heads/a//b",
            "refs/heads/a\n",
            "refs/heads/@{0}",
        ] {
            assert_eq!(GitRef::parse(bad), None, "{bad:?}");
        }
    }
}

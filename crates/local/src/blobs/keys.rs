//! Keys of blobs, and where the file of a key is.
//!
//! The parts of a key become directories and, for the last, a file. A file's name ends with `=`, which no key contains:
//! so a key and a longer one below it (`a` and `a/b`) can both be there. Long parts are cut into directories that end
//! with `+`, because file names are shorter than keys may be.

use std::path::{Path, PathBuf};

use tidegate_engine::ports::PortError;

const KEY_LIMIT: usize = 512;
/// File names have at most 255 bytes.
const NAME_LIMIT: usize = 200;
const FILE: char = '=';
const CONTINUED: char = '+';

/// What the name of an entry in the tree says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry<'a> {
    /// The blob of a key that ends here.
    Blob(&'a str),
    /// A directory with longer keys, after a `/`.
    Part(&'a str),
    /// A directory in which the part goes on.
    Continued(&'a str),
}

/// Refuses what is no key. Everything that comes from outside passes here before it becomes a path.
pub(super) fn check(key: &str) -> Result<(), PortError> {
    let valid = (1..=KEY_LIMIT).contains(&key.len())
        && key.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(is_key_byte));
    if valid {
        Ok(())
    } else {
        Err(PortError::reject(format!(
            "`{}` is no key of a blob: parts of letters, digits, `-`, `_` and `.`, joined by `/`, at most {KEY_LIMIT} \
             bytes",
            key.chars().take(80).collect::<String>().escape_debug()
        )))
    }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Whether a key could begin with this.
pub(super) fn check_prefix(prefix: &str) -> Result<(), PortError> {
    if prefix.len() <= KEY_LIMIT && prefix.bytes().all(|b| b == b'/' || is_key_byte(b)) {
        Ok(())
    } else {
        Err(PortError::reject(format!(
            "`{}` is no beginning of a key",
            prefix.chars().take(80).collect::<String>().escape_debug()
        )))
    }
}

/// Where the blob of a key is, below `root`. The key has passed [`check`].
pub(super) fn path(root: &Path, key: &str) -> PathBuf {
    let mut path = root.to_owned();
    let mut parts = key.split('/').peekable();
    while let Some(mut part) = parts.next() {
        while part.len() > NAME_LIMIT {
            // All ASCII, so that every byte is a boundary.
            let (head, rest) = part.split_at(NAME_LIMIT);
            path.push(format!("{head}{CONTINUED}"));
            part = rest;
        }
        match parts.peek() {
            Some(_) => path.push(part),
            None => path.push(format!("{part}{FILE}")),
        }
    }
    path
}

/// Reads the name of an entry of the tree.
pub(super) fn entry(name: &str) -> Option<Entry<'_>> {
    let (entry, part) = if let Some(part) = name.strip_suffix(FILE) {
        (Entry::Blob(part), part)
    } else if let Some(part) = name.strip_suffix(CONTINUED) {
        (Entry::Continued(part), part)
    } else {
        (Entry::Part(name), name)
    };
    (!part.is_empty() && part.bytes().all(is_key_byte)).then_some(entry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_keys_pass() {
        for good in ["a", "a/b", "a.b/..c/-/_", "logs/0197/00001/001/000000", "..."] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "a/./b", "a b", "a\\b", "a\0b", "a\n",
            "ä", "a%2fb", "a=", "a+", "~", "a:b",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&"a".repeat(KEY_LIMIT)).is_ok());
        assert!(check(&"a".repeat(KEY_LIMIT + 1)).is_err());
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c.]{1,3}(/[a-c._-]{1,3}){0,3}",
            "[ab]{195,210}(/[ab]{395,405})?".prop_map(|key| key.chars().take(KEY_LIMIT).collect()),
        ]
        .prop_filter("a key", |key| check(key).is_ok())
    }

    proptest! {
        #[test]
        fn different_keys_have_different_files_below_the_root(a in key(), b in key()) {
            let root = Path::new("/root");
            let (x, y) = (path(root, &a), path(root, &b));
            prop_assert!(x.starts_with(root) && x != root);
            prop_assert!(x.components().all(|part| part.as_os_str().len() <= 255));
            prop_assert!(!x.components().any(|part| part == std::path::Component::ParentDir));
            prop_assert_eq!(a == b, x == y);
            // No file is where another key needs a directory.
            prop_assert!(!y.starts_with(&x) || x == y);
        }
    }
}

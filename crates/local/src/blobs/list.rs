//! Listing in the order of keys.
//!
//! A directory is read as a whole, but only as many of its names are kept as can still be answered, and only the
//! directories that the answer reaches into are opened: a listing costs the directories on its way, not the tree.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tidegate_engine::ports::BlobMeta;

use super::keys::{self, Entry};

struct Listing<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    found: Vec<BlobMeta>,
}

/// The blobs below `root` with a prefix, after a key, in order, at most `limit`.
pub(super) fn list(root: &Path, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<BlobMeta>> {
    let mut listing = Listing { prefix, after, limit, found: Vec::new() };
    listing.walk(root, "")?;
    Ok(listing.found)
}

impl Listing<'_> {
    /// Whether keys that begin with `start` can be part of the answer.
    fn reaches(&self, start: &str) -> bool {
        let prefixed = start.starts_with(self.prefix) || self.prefix.starts_with(start);
        // Everything that begins with `start` is before `after`, unless `after` itself begins so.
        let later = self.after.is_none_or(|after| start > after || after.starts_with(start));
        prefixed && later
    }

    fn wants(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }

    /// Adds what is in `directory`, whose keys all begin with `start`.
    fn walk(&mut self, directory: &Path, start: &str) -> io::Result<()> {
        let mut next = Next::new(self.limit.saturating_add(SPARE));
        loop {
            self.gather(directory, start, &mut next)?;
            let Some(last) = next.entries.keys().next_back().cloned() else {
                return Ok(());
            };
            for (key, path) in std::mem::take(&mut next.entries) {
                if self.found.len() == self.limit {
                    return Ok(());
                }
                if key.ends_with('/') {
                    self.walk(&path, &key)?;
                } else if let Some(metadata) = unless_gone(fs::metadata(&path))? {
                    self.found.push(BlobMeta { key, size: metadata.len() });
                }
            }
            if !next.cut {
                return Ok(());
            }
            next.cut = false;
            next.after = Some(last);
        }
    }

    fn gather(&self, directory: &Path, start: &str, next: &mut Next) -> io::Result<()> {
        let Some(entries) = unless_gone(fs::read_dir(directory))? else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str().and_then(keys::entry) {
                Some(Entry::Blob(part)) => {
                    let key = format!("{start}{part}");
                    if self.wants(&key) {
                        next.offer(key, entry.path());
                    }
                }
                Some(Entry::Part(part)) => {
                    let below = format!("{start}{part}/");
                    if self.reaches(&below) {
                        next.offer(below, entry.path());
                    }
                }
                Some(Entry::Continued(part)) => {
                    let longer = format!("{start}{part}");
                    if self.reaches(&longer) {
                        self.gather(&entry.path(), &longer, next)?;
                    }
                }
                // Nothing of ours.
                None => {}
            }
        }
        Ok(())
    }
}

/// Directories count as one entry although they may turn out to be empty (a blob was just removed): so many of them cost
/// no second look.
const SPARE: usize = 16;

/// The next entries of a directory, by key, or by the beginning of all keys below for a directory (`x/`): the order of
/// these is the order of the keys.
struct Next {
    entries: BTreeMap<String, PathBuf>,
    most: usize,
    /// Only entries after this one.
    after: Option<String>,
    /// Entries were left out because there are more than `most`.
    cut: bool,
}

impl Next {
    fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), most, after: None, cut: false }
    }

    fn offer(&mut self, key: String, path: PathBuf) {
        if self.after.as_ref().is_some_and(|after| key <= *after) {
            return;
        }
        self.entries.insert(key, path);
        if self.entries.len() > self.most {
            self.entries.pop_last();
            self.cut = true;
        }
    }
}

fn unless_gone<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

//! A file that is written beside its place and put there as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest as _, Sha256};
use tidegate_engine::ports::PortError;

use super::dir::Inner;
use super::keys;
use crate::files;

/// What became of a finished upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Placed {
    /// It is there.
    Written,
    /// One is there, and it should not be replaced.
    Kept,
}

/// A blob, or a part of one, that is being written. Dropped before it is finished it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Arc<Inner>,
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    /// Of a part: what its tag will be made of.
    hash: Option<Sha256>,
}

impl Upload {
    /// A blob. Blocks, as all of this does.
    pub(super) fn begin(inner: Arc<Inner>, key: &str) -> Result<Self, PortError> {
        let target = keys::path(&inner.data, key);
        Self::new(inner, target, None)
    }

    /// A part, whose place is in a directory that is there.
    pub(super) fn begin_part(inner: Arc<Inner>, target: PathBuf) -> Result<Self, PortError> {
        Self::new(inner, target, Some(Sha256::new()))
    }

    fn new(inner: Arc<Inner>, target: PathBuf, hash: Option<Sha256>) -> Result<Self, PortError> {
        let serial = inner.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = inner.temporary.join(serial.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| files::port_error("write", &temporary, &error))?;
        Ok(Self { inner, file, temporary, target, hash })
    }

    /// Adds to the content.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        self.file.write_all(bytes).map_err(|error| files::port_error("write", &self.target, &error))
    }

    /// Adds `size` bytes of another file: without passing them through this process where the file system can.
    pub(super) fn append(&mut self, from: &mut File, size: u64) -> Result<(), PortError> {
        match io::copy(&mut from.take(size), &mut self.file) {
            Ok(copied) if copied == size => Ok(()),
            Ok(_) => Err(PortError::retry("a part has become shorter")),
            Err(error) => Err(files::port_error("write", &self.target, &error)),
        }
    }

    /// Puts it to its place, replacing what is there: a blob once it is durable. Returns the tag of a part.
    pub(super) fn replace(mut self) -> Result<Option<String>, PortError> {
        let Some(hash) = self.hash.take() else { return self.finish(true).map(|_| None) };
        let tag = hex::encode(hash.finalize());
        let placed = self.file.write_all(tag.as_bytes()).and_then(|()| fs::rename(&self.temporary, &self.target));
        match placed {
            Ok(()) => Ok(Some(tag)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(PortError::reject("there is no such upload any more"))
            }
            Err(error) => Err(files::port_error("write", &self.target, &error)),
        }
    }

    /// Puts a blob to its place once it is durable.
    pub(super) fn finish(self, replace: bool) -> Result<Placed, PortError> {
        self.file
            .sync_all()
            .and_then(|()| self.place(replace))
            .map_err(|error| files::port_error("write", &self.target, &error))
    }

    fn place(&self, replace: bool) -> io::Result<Placed> {
        let parent = self.target.parent().unwrap_or(&self.inner.data);
        // A removal may take the directory away again between the two steps, because it was empty.
        for _ in 0..100 {
            let moved = if replace {
                fs::rename(&self.temporary, &self.target)
            } else {
                fs::hard_link(&self.temporary, &self.target)
            };
            match moved {
                Ok(()) => {
                    files::sync_directory(parent)?;
                    return Ok(Placed::Written);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Placed::Kept),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    make_parents(parent)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("its directory is removed again and again"))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After a rename there is nothing left. What stays is removed at the next start.
        let _gone_already = fs::remove_file(&self.temporary);
    }
}

/// Makes the directories from `root` down to `directory`. That they are there is on disk once a flush of the last one
/// is: file systems that keep a log of changes flush what led to a change along with it.
fn make_parents(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        // Removed meanwhile by somebody who found one of them empty: the caller begins again.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        made => made,
    }
}

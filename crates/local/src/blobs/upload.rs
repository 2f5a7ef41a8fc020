//! A file that is written beside its place and put there as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// A blob that is being written. Dropped before it is finished it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Arc<Inner>,
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Upload {
    /// A blob. Blocks, as all of this does.
    pub(super) fn begin(inner: Arc<Inner>, key: &str) -> Result<Self, PortError> {
        let target = keys::path(&inner.data, key);
        let serial = inner.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = inner.temporary.join(serial.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| files::port_error("write", &temporary, &error))?;
        Ok(Self { inner, file, temporary, target })
    }

    /// A blob whose content is in a file of another place of the same file system.
    pub(super) fn of(inner: Arc<Inner>, key: &str, file: File, temporary: PathBuf) -> Self {
        let target = keys::path(&inner.data, key);
        Self { inner, file, temporary, target }
    }

    /// Adds to the content.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.file.write_all(bytes).map_err(|error| files::port_error("write", &self.target, &error))
    }

    /// Puts the blob to its place once it is durable, replacing what is there.
    pub(super) fn replace(self) -> Result<(), PortError> {
        self.finish(true).map(drop)
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

//! The directory of one attempt: made fresh, removed whatever is in it.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tidegate_core::ids::AttemptId;

/// Where an attempt works.
#[derive(Clone, Debug)]
pub(crate) struct JobDir {
    pub(crate) root: PathBuf,
    pub(crate) checkout: PathBuf,
    pub(crate) tmp: PathBuf,
    /// In front of the job's `PATH`: the commands that the agent offers.
    pub(crate) bin: PathBuf,
}

impl JobDir {
    /// Makes the directories, empty and for this user only. What an earlier process left under this name is removed.
    pub(crate) fn create(work_dir: &Path, attempt: &AttemptId) -> io::Result<Self> {
        std::fs::create_dir_all(work_dir)?;
        let root = work_dir.join(attempt.to_string().replace('/', "-"));
        remove(&root)?;
        let dirs = Self { checkout: root.join("checkout"), tmp: root.join("tmp"), bin: root.join("bin"), root };
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.create(&dirs.root)?;
        private.create(&dirs.tmp)?;
        private.create(&dirs.bin)?;
        std::fs::create_dir(&dirs.checkout)?;
        Ok(dirs)
    }
}

/// Removes a directory with everything in it; directories that forbid writing (module caches are such) are opened
/// first. A directory that is not there is removed already.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(directory);
            ignore_missing(std::fs::remove_dir_all(directory))
        }
        other => ignore_missing(other),
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Lets us write to every directory below, as far as they are ours. Does not follow links.
fn open_up(directory: &Path) {
    // What fails here fails again, with its reason, when the directory is removed.
    let _ = std::fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

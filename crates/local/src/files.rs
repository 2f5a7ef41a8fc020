//! Files that are written as a whole or not at all, and what goes wrong with files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_engine::ports::PortError;

/// Makes `path` hold exactly `content`, with this mode; on disk when this returns, and never seen half written.
pub(crate) fn write_durable(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write(path, content, mode, true)
}

/// As [`write_durable`], for what means nothing after a power failure: such as which processes run.
pub(crate) fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    write(path, content, mode, false)
}

fn write(path: &Path, content: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary =
        directory.join(format!(".{name}.{}.{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if durable { sync_directory(directory) } else { Ok(()) }
    })();
    if written.is_err() {
        let _gone_already = fs::remove_file(&temporary);
    }
    written
}

/// Makes what was created, renamed or removed in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The content of a file, `None` when there is none.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory with everything in it, also where a job took its own permission away (`chmod -w`, as module
/// caches do). Symbolic links are removed, not followed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) => {
            make_writable(path);
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
    }
}

fn make_writable(root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut waiting: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        // What fails here fails again in the removal, which reports it.
        let _reported_later = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
}

/// Classifies a failure with a file: a full disk and missing permission will not go away by asking again.
pub(crate) fn port_error(doing: &str, path: &Path, error: &io::Error) -> PortError {
    let why = format!("cannot {doing} `{}`: {}", path.display(), words(error));
    match error.kind() {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => PortError::fatal(why),
        _ => PortError::retry(why),
    }
}

/// What happened, with the way out where there is one.
pub(crate) fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull => "the disk is full: free some space and try again".to_owned(),
        ErrorKind::QuotaExceeded => "the disk quota is used up: free some space and try again".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn trees_without_write_permission_are_removed_too() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("work");
        let closed = root.join("a/closed");
        fs::create_dir_all(&closed).unwrap();
        fs::write(closed.join("file"), "x").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn failures_are_classified() {
        let path = Path::new("/state/x");
        let full = port_error("write", path, &io::Error::from(ErrorKind::StorageFull));
        assert_eq!(full, PortError::fatal("cannot write `/state/x`: the disk is full: free some space and try again"));
        let interrupted = port_error("read", path, &io::Error::from(ErrorKind::Interrupted));
        assert!(matches!(interrupted, PortError::Retry { .. }));
    }
}

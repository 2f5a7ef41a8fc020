use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Why a file cannot be written there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeneathError {
    /// It is absolute, empty, or has `..` in it.
    #[error("its path leads out of the directory, or nowhere")]
    Path,
    /// On the way there is a link to elsewhere, or one that leads in circles.
    #[error("a link at `{}` leads out of the directory", .0.display())]
    Link(PathBuf),
    /// Where a directory should be there is something else.
    #[error("`{}` is there, and is no directory", .0.display())]
    NoDirectory(PathBuf),
    /// The system says no.
    #[error("{}", .0.desc())]
    System(#[from] Errno),
}

/// A place for a file beneath a directory (`spec/security.md` S8). Whatever its path says, whatever links there are, and
/// whoever changes them meanwhile: nothing is made or written outside of the directory, and nothing that is there is
/// written through. A link, a pipe or a device of the file's name is replaced.
///
/// The file takes its name by [`Beneath::finish`]; until then it is another one, which is removed with this.
#[derive(Debug)]
pub struct Beneath {
    directory: OwnedFd,
    name: String,
    partial: String,
}

impl Beneath {
    /// A place beneath `root`, a directory that is open. The directories on the way are made.
    ///
    /// # Errors
    /// A path that is not of plain names, a link that leads out, and what the system refuses.
    pub fn new(root: &File, path: &Path) -> Result<Self, BeneathError> {
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_str().ok_or(BeneathError::Path)?),
                Component::CurDir | Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(BeneathError::Path);
                }
            }
        }
        let name = parts.pop().ok_or(BeneathError::Path)?.to_owned();
        let mut directory =
            root.as_fd().try_clone_to_owned().map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
        let mut so_far = PathBuf::new();
        for part in parts {
            // In the directory that was opened last: a link of that name is not followed to make something.
            match mkdirat(&directory, part, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            so_far.push(part);
            // From the root each time: a link may lead elsewhere beneath it, and no further.
            directory = open_directory(root, &so_far)?;
        }
        let partial = format!(".tidegate-{}", hex::encode(rand::random::<[u8; 8]>()));
        Ok(Self { directory, name, partial })
    }

    /// A new file for the contents. What was written before is dropped.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn open(&self) -> Result<File, BeneathError> {
        // Not there, mostly.
        let _dropped = unlinkat(&self.directory, self.partial.as_str(), UnlinkatFlags::NoRemoveDir);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, self.partial.as_str(), flags, Mode::from_bits_truncate(0o666))?;
        Ok(File::from(file))
    }

    /// The contents are right: the file takes its name.
    ///
    /// # Errors
    /// What the system refuses, such as a directory of that name.
    pub fn finish(&self) -> Result<(), BeneathError> {
        Ok(renameat(&self.directory, self.partial.as_str(), &self.directory, self.name.as_str())?)
    }
}

impl Drop for Beneath {
    fn drop(&mut self) {
        // Not there any more when it was finished.
        let _gone = unlinkat(&self.directory, self.partial.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

fn open_directory(root: &File, path: &Path) -> Result<OwnedFd, BeneathError> {
    let beneath = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    // The kernel gives up when something is renamed at that moment.
    for _ in 0..100 {
        match openat2(root, path, beneath) {
            Err(Errno::EAGAIN) => {}
            Err(Errno::EXDEV | Errno::ELOOP) => return Err(BeneathError::Link(path.to_owned())),
            Err(Errno::ENOTDIR | Errno::ENOENT) => return Err(BeneathError::NoDirectory(path.to_owned())),
            opened => return Ok(opened?),
        }
    }
    Err(Errno::EAGAIN.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn write(root: &Path, path: &str) -> Result<(), BeneathError> {
        let target = Beneath::new(&File::open(root).unwrap(), Path::new(path))?;
        target.open()?.write_all(b"new").unwrap();
        target.finish()
    }

    #[test]
    fn nothing_is_written_outside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        fs::write(dir.path().join("victim"), "old").unwrap();
        fs::write(root.join("plain"), "old").unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink(dir.path(), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("/proc/self/cwd", root.join("magic")).unwrap();
        let long = "x".repeat(256);
        let deep = "d/".repeat(2_100) + "x";
        for (bad, why) in [
            ("", "its path leads out of the directory, or nowhere"),
            ("../victim", "its path leads out of the directory, or nowhere"),
            ("a/../../victim", "its path leads out of the directory, or nowhere"),
            ("/etc/x", "its path leads out of the directory, or nowhere"),
            ("up/victim", "a link at `up` leads out of the directory"),
            ("up/new/victim", "a link at `up` leads out of the directory"),
            ("absolute/victim", "a link at `absolute` leads out of the directory"),
            ("real/../up/victim", "its path leads out of the directory, or nowhere"),
            ("loop/x", "a link at `loop` leads out of the directory"),
            ("magic/x", "a link at `magic` leads out of the directory"),
            ("dangling/x", "`dangling` is there, and is no directory"),
            ("plain/x", "`plain` is there, and is no directory"),
            ("real", "Is a directory"),
            ("a\0b", "Invalid argument"),
            (&long, "File name too long"),
            (&deep, "File name too long"),
        ] {
            let error = write(&root, bad).unwrap_err().to_string();
            assert_eq!(error, why, "{}", bad.chars().take(40).collect::<String>());
        }
        assert_eq!(fs::read_to_string(dir.path().join("victim")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // Nothing unfinished is left.
        drop(Beneath::new(&File::open(&root).unwrap(), Path::new("z")).unwrap().open().unwrap());
        let names = fs::read_dir(&root).unwrap().flatten().map(|e| e.file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with(".tidegate")));
    }

    #[test]
    fn what_has_the_name_is_replaced_and_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        fs::write(dir.path().join("victim"), "old").unwrap();
        symlink("../victim", root.join("link")).unwrap();
        symlink("/dev/null", root.join("device")).unwrap();
        fs::hard_link(dir.path().join("victim"), root.join("hard")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        symlink("real", root.join("inside")).unwrap();
        symlink("../inside", root.join("real/round")).unwrap();
        for good in ["link", "device", "hard", "pipe", "a/b/c", "inside/x", "inside/round/y", "Name", "name", "a b\n*"]
        {
            write(&root, good).unwrap_or_else(|e| panic!("{good}: {e:#}"));
            let meta = root.join(good).symlink_metadata().unwrap();
            assert!(meta.is_file() && meta.nlink() == 1 && meta.mode() & 0o7111 == 0, "{good}: {:o}", meta.mode());
            assert_eq!(fs::read_to_string(root.join(good)).unwrap(), "new");
        }
        assert_eq!(fs::read_to_string(dir.path().join("victim")).unwrap(), "old");
        assert!(root.join("real/x").is_file() && root.join("real/y").is_file());
    }

    #[test]
    fn a_directory_that_is_swapped_meanwhile_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("b")).unwrap();
        let swapping = std::sync::atomic::AtomicBool::new(true);
        let written = std::thread::scope(|scope| {
            scope.spawn(|| {
                while swapping.load(std::sync::atomic::Ordering::SeqCst) {
                    for (from, to) in [("a", "c"), ("b", "a"), ("a", "b"), ("c", "a")] {
                        let _one_of_both_is_gone = fs::rename(root.join(from), root.join(to));
                    }
                }
            });
            let written = (0..2_000).filter(|_| write(&root, "a/new/x").is_ok()).count();
            swapping.store(false, std::sync::atomic::Ordering::SeqCst);
            written
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{written} were written, some of them outside");
    }
}

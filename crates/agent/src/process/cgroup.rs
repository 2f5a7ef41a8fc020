//! A control group for what the jobs of an instance start (cgroups(7), version 2), where the machine lets us make one.
//! The kernel ends all of it at one stroke, processes that are just being made among them. Without one the same is reached
//! by looking again and again ([`super::stop`]).
//!
//! One for all jobs of an instance: between two jobs it is empty. The worker makes it, the watchdog removes it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// What the names of such groups begin with.
const NAME: &str = "tidegate-";

/// The group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Locked as long as its worker lives. One that nobody holds was left by an instance that was killed.
    _lock: Option<File>,
}

impl Cgroup {
    /// Makes the group of an instance beneath our own; `None` where that is not possible or not allowed.
    pub(crate) fn create(instance: &str) -> Option<Self> {
        let path = place(instance)?;
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            Ok(()) | Err(_) => {}
        }
        let lock = File::open(&path).ok().filter(|file| file.try_lock().is_ok());
        let group = Self { path, _lock: lock };
        group.remove_abandoned();
        // Since Linux 5.14.
        if group.path.join("cgroup.kill").is_file() && group.door().is_ok() {
            return Some(group);
        }
        group.remove();
        None
    }

    /// The group that the worker of an instance has made.
    pub(crate) fn find(instance: &str) -> Option<Self> {
        place(instance).filter(|path| path.is_dir()).map(|path| Self { path, _lock: None })
    }

    /// Whoever writes `0` to it is in the group from then on, with all that it starts.
    pub(crate) fn door(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))
    }

    /// Kills everything in it.
    pub(crate) fn kill(&self) {
        // Where it fails, whoever called looks for processes anyway.
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Removes the groups beside it that nobody uses any more.
    fn remove_abandoned(&self) {
        for entry in
            self.path.parent().and_then(|parent| std::fs::read_dir(parent).ok()).into_iter().flatten().flatten()
        {
            let ours = entry.file_name().to_string_lossy().starts_with(NAME) && entry.path() != self.path;
            if ours && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                Self { path: entry.path(), _lock: None }.remove();
            }
        }
    }

    /// Removes it, if it is empty.
    pub(crate) fn remove(&self) {
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // A job that is root may have made groups of its own.
                Self { path: entry.path(), _lock: None }.remove();
            }
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

fn place(instance: &str) -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    Some(own(&groups, &mounts)?.join(format!("{NAME}{instance}")))
}

/// The directory of our own group, by `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn own(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then_some(())?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        Some(Path::new(place).join(group.strip_prefix(root).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_group_is_found_where_it_is_mounted() {
        let mounts = "25 1 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let in_container = "31 24 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        for (groups, mounts, wanted) in [
            ("3:cpu:/x\n0::/user.slice/a\n", mounts, Some("/sys/fs/cgroup/user.slice/a")),
            ("0::/\n", mounts, Some("/sys/fs/cgroup")),
            ("0::/docker/1/job\n", in_container, Some("/sys/fs/cgroup/job")),
            ("0::/elsewhere\n", in_container, None),
            ("3:cpu:/x\n", mounts, None),
            ("0::/\n", "", None),
        ] {
            assert_eq!(own(groups, mounts), wanted.map(PathBuf::from), "{groups}");
        }
    }
}

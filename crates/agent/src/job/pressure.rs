//! Whether the machine ran out of something while a job ran. Best effort: an answer of "no" may be wrong.

use std::path::{Path, PathBuf};

/// Less room than this is none, in bytes.
const NO_ROOM: u64 = 64 * 1024;

/// Counts processes that the kernel killed for want of memory.
#[derive(Debug)]
pub(crate) struct OomKills {
    counter: PathBuf,
    before: u64,
}

impl OomKills {
    /// Starts counting: in our control group where there is one, else on the whole machine.
    pub(crate) fn watch() -> Self {
        let counter = own_group()
            .map(|group| group.join("memory.events"))
            .filter(|events| events.exists())
            .unwrap_or_else(|| PathBuf::from("/proc/vmstat"));
        let before = read_counter(&counter);
        Self { counter, before }
    }

    /// Whether there was one since.
    pub(crate) fn happened(&self) -> bool {
        read_counter(&self.counter) > self.before
    }
}

fn own_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

fn read_counter(file: &Path) -> u64 {
    std::fs::read_to_string(file).map_or(0, |text| parse_counter(&text))
}

fn parse_counter(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Whether nothing more can be written below a directory.
pub(crate) fn disk_full(directory: &Path) -> bool {
    nix::sys::statvfs::statvfs(directory).is_ok_and(|stat| {
        // The types of these differ between platforms.
        #[expect(clippy::useless_conversion, reason = "not everywhere `u64`")]
        let room = u64::from(stat.blocks_available()).saturating_mul(stat.fragment_size());
        let no_files = stat.files() > 0 && stat.files_available() == 0;
        room < NO_ROOM || no_files
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_counters() {
        assert_eq!(parse_counter("low 0\noom 3\noom_kill 2\n"), 2);
        assert_eq!(parse_counter("nr_free_pages 1\noom_kill 7\n"), 7);
        assert_eq!(parse_counter("low 0\n"), 0);
        assert!(!disk_full(Path::new("/proc/self/no-such-place")));
    }
}

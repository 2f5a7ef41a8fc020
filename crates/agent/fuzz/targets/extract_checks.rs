//! What has to hold of every download. Used by the fuzz target and by the tests; whoever includes this has `Beneath` in
//! scope.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use super::Beneath;

/// Names that something could stumble over; most of them such that paths meet.
fn name(byte: u8) -> String {
    match byte % 24 {
        short @ 0..=11 => char::from(b'a' + short % 4).to_string(),
        12..=14 => "..".to_owned(),
        15 => ".".to_owned(),
        16 => String::new(),
        17 => "A".to_owned(),
        18 => "x".repeat(255),
        19 => "x".repeat(256),
        20 => "\u{e9}\n*".to_owned(),
        21 => "a\0b".to_owned(),
        22 => ".tidegate-".to_owned(),
        _ => "victim".to_owned(),
    }
}

/// Reads bytes as decisions; zeros when there are none left.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn path(&mut self) -> String {
        let shape = self.byte();
        let mut path = if shape & 0x40 == 0 { String::new() } else { "/".to_owned() };
        let parts: Vec<String> = (0..=shape % 4).map(|_| name(self.byte())).collect();
        path.push_str(&parts.join("/"));
        if shape & 0x80 != 0 {
            path.push('/');
        }
        path
    }
}

/// Every file, link, pipe and directory beneath a directory, links not followed, with what it holds.
fn everything(directory: &Path, without: Option<&Path>) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| Some(path.as_path()) != without) {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let kind = meta.file_type();
        if kind.is_dir() {
            found.extend(everything(&path, without));
        }
        let content = if kind.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let link = fs::read_link(&path).unwrap_or_default();
        found.push((path, format!("{kind:?} {:o} {} {content:?} {link:?}", meta.mode(), meta.nlink())));
    }
    found.sort();
    found
}

/// Where a path leads from the root by plain means, if that is within: what a job could have made there itself.
fn within(root: &Path, path: &str) -> Option<PathBuf> {
    let place = root.join(path.trim_start_matches('/'));
    let parent = place.parent()?.canonicalize().ok()?;
    let name = place.file_name()?;
    parent.starts_with(root).then(|| parent.join(name))
}

fn plant(script: &mut Script<'_>, root: &Path, outside: &Path) {
    let kind = script.byte();
    let (path, other) = (script.path(), script.path());
    let Some(place) = within(root, &path) else { return };
    // What cannot be made there is not there.
    let _made = match kind % 8 {
        0 => fs::create_dir(&place),
        1 if place.symlink_metadata().is_err() => fs::write(&place, "here"),
        2 => nix::unistd::mkfifo(&place, nix::sys::stat::Mode::from_bits_truncate(0o600)).map_err(Into::into),
        3 => symlink(outside, &place),
        4 => symlink(outside.join("victim"), &place),
        5 => symlink(
            ["/proc/self/cwd", "/proc/self/root", "/dev/null", "..", "../outside"][usize::from(kind >> 3) % 5],
            &place,
        ),
        6 => within(root, &other).map_or(Ok(()), |to| fs::rename(&place, to)),
        _ => symlink(other.replace('\0', ""), &place),
    };
}

fn download(root: &Path, path: &str) -> bool {
    let Ok(directory) = File::open(root) else { return false };
    let Ok(target) = Beneath::new(&directory, Path::new(path)) else { return false };
    let written = target.open().map(|mut file| file.write_all(b"new").is_ok()).unwrap_or(false);
    written && target.finish().is_ok()
}

/// Whatever stands in the directory and whatever a file is called: it is written there, whole, or not at all, and nothing
/// else changes.
pub fn extract(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let dir = dir.path().canonicalize().expect("its path");
    let (root, outside) = (dir.join("root"), dir.join("outside"));
    for directory in [&root, &outside] {
        fs::create_dir(directory).expect("directories for the test");
    }
    for victim in [outside.join("victim"), outside.join("a"), dir.join("a"), dir.join("victim")] {
        fs::write(victim, "old").expect("files for the test");
    }
    let before = everything(&dir, Some(&root));
    let mut script = Script(data);
    while !script.0.is_empty() {
        if script.byte() % 2 == 0 {
            plant(&mut script, &root, &outside);
            continue;
        }
        let path = script.path();
        let inside = everything(&root, None);
        // The file may take the place of a link on the way to it, so where it goes is known before. Unless its directory is
        // made on the way.
        let place = within(&root, &path);
        let written = download(&root, &path);
        let after = everything(&root, None);
        assert_eq!(everything(&dir, Some(&root)), before, "{path:?} reached something outside");
        let place = place.or_else(|| within(&root, &path)).filter(|_| written);
        if written {
            let place = place.as_ref().unwrap_or_else(|| panic!("{path:?} is nowhere"));
            let kind = place.symlink_metadata().expect("what was written").file_type();
            assert!(kind.is_file() && !kind.is_fifo() && fs::read(place).is_ok_and(|now| now == b"new"), "{path:?}");
        }
        // Directories on the way may be new; of files only the one.
        let old: Vec<_> = inside.iter().filter(|(path, _)| Some(path) != place.as_ref()).collect();
        let kept = old
            .iter()
            .all(|old| after.binary_search_by(|new| new.0.cmp(&old.0)).is_ok_and(|at| same(&after[at].1, &old.1)));
        assert!(kept, "{path:?} changed something else: {inside:?} became {after:?}");
        let new = after.iter().filter(|(path, _)| !inside.iter().any(|(old, _)| old == path));
        for (made, what) in new {
            assert!(what.contains("is_dir: true") || Some(made) == place.as_ref(), "{path:?} left {}", made.display());
        }
    }
}

/// A directory has one link more for each new directory in it.
fn same(one: &str, other: &str) -> bool {
    one == other || (one.contains("is_dir: true") && other.contains("is_dir: true"))
}

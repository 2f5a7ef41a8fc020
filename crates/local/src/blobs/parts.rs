//! Blobs that are written in parts.
//!
//! An upload is a directory: a file `key` with the key of the blob, and a file for each part, which ends with the part's
//! tag (the SHA-256 of what is before it). A part takes its place as a whole, by a rename. The parts are copied to the
//! blob's file by the kernel, and only that one is flushed: what is lost with a power failure is a part, whose tag is
//! then not there.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tidegate_engine::ports::{InParts, LEAST_PART, MOST_PARTS, PortError};

use super::dir::{Inner, is_absent};
use super::upload::Upload;
use crate::files;

/// An upload that nobody has added to for so long is abandoned.
const ABANDONED: Duration = Duration::from_secs(2 * 86_400);
/// Hex digits of an id.
const ID: usize = 32;
/// Hex digits of a tag.
pub(super) const TAG: usize = 64;
const KEY: &str = "key";

/// The uploads of a store.
#[derive(Debug)]
pub(super) struct Parts {
    directory: PathBuf,
    /// Uploads that are being completed: it takes its time, and whoever asks again should not do it twice at once.
    completing: Mutex<HashSet<String>>,
}

/// Refuses what can be no part of an upload.
pub(super) fn check(id: &str, number: u32) -> Result<(), PortError> {
    if !is_id(id) {
        return Err(PortError::reject(format!("`{}` is no upload", id.chars().take(80).collect::<String>())));
    }
    if !(1..=MOST_PARTS).contains(&number) {
        return Err(PortError::reject(format!("parts have numbers from 1 to {MOST_PARTS}, not {number}")));
    }
    Ok(())
}

fn is_id(id: &str) -> bool {
    is_hex(id, ID)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn file_of(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("{number:05}"))
}

impl Parts {
    pub(super) fn beneath(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), completing: Mutex::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Blocks.
    pub(super) fn begin(&self, key: &str) -> Result<String, PortError> {
        let id = hex::encode(rand::random::<[u8; ID / 2]>());
        let directory = self.directory.join(&id);
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.and_then(|()| files::write_durable(&directory.join(KEY), key.as_bytes(), 0o600))
            .map_err(|error| files::port_error("write", &directory, &error))?;
        Ok(id)
    }

    /// The directory of an upload, if there is one and it is one of this key. Blocks.
    fn find(&self, upload: InParts<'_>) -> Result<Option<PathBuf>, PortError> {
        if !is_id(upload.id) {
            return Ok(None);
        }
        let directory = self.directory.join(upload.id);
        let path = directory.join(KEY);
        let key = files::read_if_there(&path).map_err(|error| files::port_error("read", &path, &error))?;
        Ok(key.filter(|key| key == upload.key.as_bytes()).map(|_| directory))
    }

    /// Where a part goes. Blocks.
    pub(super) fn part_of(&self, upload: InParts<'_>, number: u32) -> Result<PathBuf, PortError> {
        check(upload.id, number)?;
        let directory = self.find(upload)?.ok_or_else(|| PortError::reject("there is no such upload any more"))?;
        Ok(file_of(&directory, number as usize))
    }

    /// Removes an upload, if it is there. Blocks.
    pub(super) fn remove(&self, upload: InParts<'_>) -> Result<(), PortError> {
        match self.find(upload)? {
            Some(directory) => remove(&directory).map_err(|error| files::port_error("remove", &directory, &error)),
            None => Ok(()),
        }
    }

    /// Removes what nobody has added to for long. Blocks.
    pub(super) fn drop_abandoned(&self, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Gone meanwhile, or touched in the future: not abandoned.
            let touched = entry.metadata().and_then(|entry| entry.modified());
            if touched.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > ABANDONED)) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The key first: whoever looks then sees that the upload is gone.
fn remove(directory: &Path) -> io::Result<()> {
    files::remove_if_there(&directory.join(KEY))?;
    files::remove_tree(directory)
}

/// Makes the parts the blob. Blocks until it is durable.
pub(super) fn complete(inner: &Arc<Inner>, upload: InParts<'_>, tags: &[String]) -> Result<bool, PortError> {
    let Some(directory) = inner.parts.find(upload)? else { return Ok(false) };
    let _alone = Alone::new(&inner.parts.completing, upload.id)?;
    let mut blob = Upload::begin(Arc::clone(inner), upload.key)?;
    match gather(&directory, tags, &mut blob) {
        Ok(()) => {}
        // Completed or dropped meanwhile.
        Err(_) if inner.parts.find(upload)?.is_none() => return Ok(false),
        Err(error) => return Err(error),
    }
    blob.replace()?;
    inner.parts.remove(upload)?;
    Ok(true)
}

fn gather(directory: &Path, tags: &[String], blob: &mut Upload) -> Result<(), PortError> {
    if tags.is_empty() {
        return Err(PortError::reject("an upload has one part at least"));
    }
    for (number, tag) in (1..).zip(tags) {
        let path = file_of(directory, number);
        let failed = |error: io::Error| files::port_error("read", &path, &error);
        let (mut part, size) = match open(&path, tag) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(PortError::reject(format!("part {number} is not there"))),
            Err(error) => return Err(failed(error)),
        };
        if size < LEAST_PART && number < tags.len() {
            return Err(PortError::reject(format!("part {number} has {size} bytes: at least {LEAST_PART} are needed")));
        }
        blob.append(&mut part, size)?;
    }
    Ok(())
}

/// Opens a part, if it is there and has this tag, and says how long it is.
fn open(path: &Path, tag: &str) -> io::Result<Option<(File, u64)>> {
    let mut file = match File::open(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        opened => opened?,
    };
    let Some(size) = file.metadata()?.len().checked_sub(TAG as u64) else { return Ok(None) };
    file.seek(SeekFrom::Start(size))?;
    let mut found = String::new();
    // No text: what is left by a power failure.
    match (&file).take(TAG as u64).read_to_string(&mut found) {
        Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(None),
        read => read?,
    };
    file.rewind()?;
    Ok((is_hex(tag, TAG) && found == tag).then_some((file, size)))
}

/// Nobody else completes the upload while this lives.
struct Alone<'a> {
    all: &'a Mutex<HashSet<String>>,
    id: &'a str,
}

impl<'a> Alone<'a> {
    fn new(all: &'a Mutex<HashSet<String>>, id: &'a str) -> Result<Self, PortError> {
        if all.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned()) {
            Ok(Self { all, id })
        } else {
            Err(PortError::retry("the upload is being completed"))
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_what_is_abandoned_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let parts = Parts::beneath(directory.path());
        let ids = [parts.begin("a/old").unwrap(), parts.begin("a/new").unwrap()];
        for id in &ids {
            fs::write(directory.path().join(id).join("00001"), "content").unwrap();
        }
        let now = SystemTime::now();
        let set = |id: &str, at| File::open(directory.path().join(id)).unwrap().set_modified(at).unwrap();
        set(&ids[0], now - ABANDONED - Duration::from_secs(1));
        set(&ids[1], now - ABANDONED + Duration::from_secs(60));
        parts.drop_abandoned(now).unwrap();
        let left = |id: &str, key| parts.find(InParts { key, id }).unwrap().is_some();
        assert_eq!((left(&ids[0], "a/old"), left(&ids[1], "a/new")), (false, true));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_power_failure_leaves_of_a_part_is_no_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("00001");
        let tag = "a".repeat(TAG);
        for content in [Vec::new(), vec![0; 40], vec![0; 100], vec![0xff; 100], b"x".repeat(100)] {
            fs::write(&path, content).unwrap();
            assert!(open(&path, &tag).unwrap().is_none());
        }
        fs::write(&path, format!("content{tag}")).unwrap();
        assert_eq!(open(&path, &tag).unwrap().unwrap().1, 7);
        assert!(open(&path, "tentaaaa").unwrap().is_none());
    }
}

//! Blobs that are written in parts.
//!
//! An upload is a directory: a file `key` with the key of the blob, a file `data` into which every part is written at its
//! place, and for each part that is there a file that says where it is and what its tag is. In the end `data` is flushed
//! and renamed: nothing is copied. Of two who write one part the later one counts: the other one's next write fails.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tidegate_engine::ports::{InParts, LEAST_PART, MOST_PARTS, PortError};

use super::dir::{Inner, is_absent};
use super::upload::Upload;
use crate::files;

/// An upload that nobody has added to for so long is abandoned.
const ABANDONED: Duration = Duration::from_secs(2 * 86_400);
/// Hex digits of an id, and of a tag.
const ID: usize = 32;
const KEY: &str = "key";
const DATA: &str = "data";

/// A part of an upload, as a URL names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct PartAt<'a> {
    pub(super) upload: &'a str,
    pub(super) number: u32,
    /// Where in the blob it begins.
    pub(super) from: u64,
}

impl PartAt<'_> {
    /// Refuses what can be no part.
    pub(super) fn check(&self) -> Result<(), PortError> {
        if !is_id(self.upload) {
            return Err(PortError::reject("that is no upload"));
        }
        if !(1..=MOST_PARTS).contains(&self.number) {
            return Err(PortError::reject(format!("parts have numbers from 1 to {MOST_PARTS}, not {}", self.number)));
        }
        Ok(())
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn random() -> String {
    hex::encode(rand::random::<[u8; ID / 2]>())
}

fn gone() -> PortError {
    PortError::reject("there is no such upload any more")
}

/// The uploads of a store.
#[derive(Debug)]
pub(super) struct Parts {
    directory: PathBuf,
    busy: Mutex<Busy>,
}

/// How many have begun to write a part: only the last one may.
type Writers = Arc<Mutex<u64>>;

#[derive(Debug, Default)]
struct Busy {
    writers: HashMap<String, HashMap<u32, Writers>>,
    /// Uploads that are being completed: nobody writes them then, and nobody else completes them.
    completing: HashSet<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All of this blocks.
impl Parts {
    pub(super) fn beneath(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), busy: Mutex::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn begin(&self, key: &str) -> Result<String, PortError> {
        let id = random();
        let directory = self.directory.join(&id);
        let begin = || {
            DirBuilder::new().mode(0o700).create(&directory)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(DATA))?;
            files::write_durable(&directory.join(KEY), key.as_bytes(), 0o600)
        };
        begin().map_err(|error| files::port_error("write", &directory, &error))?;
        Ok(id)
    }

    /// The directory of an upload, if there is one and it is one of this key.
    fn find(&self, upload: InParts<'_>) -> Result<Option<PathBuf>, PortError> {
        if !is_id(upload.id) {
            return Ok(None);
        }
        let directory = self.directory.join(upload.id);
        let path = directory.join(KEY);
        let key = files::read_if_there(&path).map_err(|error| files::port_error("read", &path, &error))?;
        Ok(key.filter(|key| key == upload.key.as_bytes()).map(|_| directory))
    }

    /// Begins to write a part: whoever wrote it before must not go on, and what was there is not there any more.
    pub(super) fn write(&self, key: &str, part: PartAt<'_>) -> Result<PartWriter, PortError> {
        part.check()?;
        let directory = self.find(InParts { key, id: part.upload })?.ok_or_else(gone)?;
        let writers = {
            let mut busy = lock(&self.busy);
            if busy.completing.contains(part.upload) {
                return Err(PortError::retry("the upload is being completed"));
            }
            let of_upload = busy.writers.entry(part.upload.to_owned()).or_default();
            Arc::clone(of_upload.entry(part.number).or_default())
        };
        let mark = directory.join(format!("{:05}", part.number));
        let data = directory.join(DATA);
        let (file, turn) = {
            let mut turn = lock(&writers);
            *turn += 1;
            let opened = files::remove_if_there(&mark).and_then(|()| OpenOptions::new().write(true).open(&data));
            match opened {
                Ok(file) => (file, *turn),
                Err(error) if is_absent(&error) => return Err(gone()),
                Err(error) => return Err(files::port_error("write", &data, &error)),
            }
        };
        Ok(PartWriter { file, mark, from: part.from, size: 0, writers, turn })
    }

    /// Removes an upload, if it is there. The key first: whoever looks then sees that it is gone.
    pub(super) fn remove(&self, upload: InParts<'_>) -> Result<(), PortError> {
        match self.find(upload)? {
            Some(directory) => {
                lock(&self.busy).writers.remove(upload.id);
                remove(&directory).map_err(|error| files::port_error("remove", &directory, &error))
            }
            None => Ok(()),
        }
    }

    /// Removes what nobody has added to for long.
    pub(super) fn drop_abandoned(&self, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Gone meanwhile, or touched in the future: not abandoned.
            let touched = entry.metadata().and_then(|entry| entry.modified());
            if touched.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > ABANDONED)) {
                lock(&self.busy).writers.remove(&*entry.file_name().to_string_lossy());
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Keeps everybody else from an upload.
    fn alone<'a>(&'a self, id: &'a str) -> Result<Alone<'a>, PortError> {
        let writers = {
            let mut busy = lock(&self.busy);
            if !busy.completing.insert(id.to_owned()) {
                return Err(PortError::retry("the upload is being completed"));
            }
            busy.writers.remove(id)
        };
        for writers in writers.into_iter().flat_map(HashMap::into_values) {
            *lock(&writers) += 1;
        }
        Ok(Alone { parts: self, id })
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    files::remove_if_there(&directory.join(KEY))?;
    files::remove_tree(directory)
}

/// Nobody else writes or completes the upload while this lives.
struct Alone<'a> {
    parts: &'a Parts,
    id: &'a str,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        lock(&self.parts.busy).completing.remove(self.id);
    }
}

/// A part that is being written.
#[derive(Debug)]
pub(super) struct PartWriter {
    file: File,
    mark: PathBuf,
    from: u64,
    size: u64,
    writers: Writers,
    turn: u64,
}

/// Blocks.
impl PartWriter {
    /// Does something while nobody else writes the part.
    fn in_turn<T>(&self, act: impl FnOnce() -> io::Result<T>) -> Result<T, PortError> {
        let turn = lock(&self.writers);
        if *turn != self.turn {
            return Err(PortError::retry("somebody else writes this part"));
        }
        match act() {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(gone()),
            done => done.map_err(|error| files::port_error("write", &self.mark, &error)),
        }
    }

    /// Adds to the part.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.in_turn(|| self.file.write_all_at(bytes, self.from.saturating_add(self.size)))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The part is there. Returns its tag.
    pub(super) fn finish(self) -> Result<String, PortError> {
        let mark = Mark { from: self.from, size: self.size, tag: random() };
        self.in_turn(|| files::write_whole(&self.mark, mark.text().as_bytes(), 0o600))?;
        Ok(mark.tag)
    }
}

/// What is known of a part that is there.
#[derive(Debug, Eq, PartialEq)]
struct Mark {
    from: u64,
    size: u64,
    tag: String,
}

impl Mark {
    fn text(&self) -> String {
        format!("{} {} {}", self.from, self.size, self.tag)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let mark = Self {
            from: words.next()?.parse().ok()?,
            size: words.next()?.parse().ok()?,
            tag: words.next().filter(|tag| is_id(tag))?.to_owned(),
        };
        words.next().is_none().then_some(mark)
    }
}

/// Makes the parts the blob. Blocks until it is durable.
pub(super) fn complete(inner: &Arc<Inner>, upload: InParts<'_>, tags: &[String]) -> Result<bool, PortError> {
    let Some(directory) = inner.parts.find(upload)? else { return Ok(false) };
    let _alone = inner.parts.alone(upload.id)?;
    let size = match tiled(&directory, tags) {
        Ok(size) => size,
        // Completed or dropped meanwhile.
        Err(_) if inner.parts.find(upload)?.is_none() => return Ok(false),
        Err(error) => return Err(error),
    };
    let data = directory.join(DATA);
    match OpenOptions::new().write(true).open(&data).and_then(|file| file.set_len(size).map(|()| file)) {
        Ok(file) => Upload::of(Arc::clone(inner), upload.key, file, data).replace()?,
        // Completed by a server that died before it could remove the rest.
        Err(error) if is_absent(&error) => return inner.parts.remove(upload).map(|()| false),
        Err(error) => return Err(files::port_error("write", &data, &error)),
    }
    inner.parts.remove(upload)?;
    Ok(true)
}

/// How long the blob of these parts is.
fn tiled(directory: &Path, tags: &[String]) -> Result<u64, PortError> {
    if tags.is_empty() {
        return Err(PortError::reject("an upload has one part at least"));
    }
    let mut size = 0;
    for (number, tag) in (1..).zip(tags) {
        let path = directory.join(format!("{number:05}"));
        let mark = files::read_if_there(&path).map_err(|error| files::port_error("read", &path, &error))?;
        let mark = mark.as_deref().and_then(Mark::parse).filter(|mark| mark.tag == *tag);
        let mark = mark.ok_or_else(|| PortError::reject(format!("part {number} is not there")))?;
        if mark.size < LEAST_PART && number < tags.len() {
            return Err(PortError::reject(format!("part {number} has {} bytes: too few", mark.size)));
        }
        if mark.from != size {
            return Err(PortError::reject(format!("part {number} is at {} and not at {size}", mark.from)));
        }
        size += mark.size;
    }
    Ok(size)
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
    fn of_two_who_write_a_part_the_later_one_counts() {
        let directory = tempfile::tempdir().unwrap();
        let parts = Parts::beneath(directory.path());
        let id = parts.begin("k").unwrap();
        let part = PartAt { upload: &id, number: 1, from: 0 };
        let mut early = parts.write("k", part).unwrap();
        early.write(b"early").unwrap();
        let mut late = parts.write("k", part).unwrap();
        late.write(b"la").unwrap();
        assert!(matches!(early.write(b"early"), Err(PortError::Retry { .. })));
        assert!(matches!(early.finish(), Err(PortError::Retry { .. })));
        late.write(b"te").unwrap();
        let tag = late.finish().unwrap();
        let place = directory.path().join(&id);
        assert_eq!(tiled(&place, &[tag]).unwrap(), 4);
        assert_eq!(fs::read(place.join(DATA)).unwrap(), b"latey");
        // While it is completed nobody writes, and who had begun must not go on.
        let mut begun = parts.write("k", PartAt { number: 2, ..part }).unwrap();
        let alone = parts.alone(&id).unwrap();
        assert!(matches!(begun.write(b"x"), Err(PortError::Retry { .. })));
        assert!(matches!(parts.write("k", part), Err(PortError::Retry { .. })));
        assert!(matches!(parts.alone(&id).map(drop), Err(PortError::Retry { .. })));
        drop(alone);
        assert!(parts.write("k", part).is_ok());
    }

    #[test]
    fn parts_that_leave_a_hole_are_no_blob() {
        let directory = tempfile::tempdir().unwrap();
        let tag = "a".repeat(ID);
        let mark = |number: u32, text: &str| fs::write(directory.path().join(format!("{number:05}")), text).unwrap();
        let (least, tags) = (LEAST_PART, [tag.clone(), tag.clone()]);
        mark(1, &format!("0 {least} {tag}"));
        mark(2, &format!("{least} 3 {tag}"));
        assert_eq!(tiled(directory.path(), &tags).unwrap(), least + 3);
        for bad in [
            format!("{} 3 {tag}", least + 1),
            format!("{} 3 {tag}", least - 1),
            format!("{least} 3 {tag} x"),
            format!("{least} 3"),
            String::new(),
            "\0".repeat(40),
        ] {
            mark(2, &bad);
            assert!(matches!(tiled(directory.path(), &tags), Err(PortError::Reject { .. })), "{bad}");
        }
    }
}

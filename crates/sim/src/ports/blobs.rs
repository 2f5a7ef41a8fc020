use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_engine::ports::{BlobMeta, Blobs, InParts, LEAST_PART, MOST_PARTS, Method, PortError, Presigned};

use crate::exec::lock;
use crate::world::{Side, World};

#[derive(Default)]
pub(crate) struct BlobState {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    pub(crate) bytes_written: u64,
    /// What is written in parts, by the id of the upload.
    uploads: BTreeMap<String, Parts>,
    begun: u64,
}

struct Parts {
    key: String,
    parts: BTreeMap<u32, Bytes>,
}

impl BlobState {
    fn upload(&mut self, upload: InParts<'_>) -> Option<&mut Parts> {
        self.uploads.get_mut(upload.id).filter(|parts| parts.key == upload.key)
    }

    /// What the parts with these tags are together, in order.
    fn joined(&mut self, upload: InParts<'_>, tags: &[String]) -> Result<Option<Bytes>, PortError> {
        let Some(known) = self.upload(upload) else { return Ok(None) };
        let mut whole = Vec::new();
        for (number, expected) in (1..).zip(tags) {
            let part = known.parts.get(&number).filter(|part| tag(part) == *expected);
            let part = part.ok_or_else(|| PortError::reject(format!("part {number} is not there")))?;
            if (part.len() as u64) < LEAST_PART && (number as usize) < tags.len() {
                return Err(PortError::reject(format!("part {number} is too small")));
            }
            whole.extend_from_slice(part);
        }
        if tags.is_empty() { Err(PortError::reject("no parts")) } else { Ok(Some(whole.into())) }
    }
}

/// Tells parts apart by their length and their ends: hashing megabytes would take most of the time of a test.
fn tag(part: &[u8]) -> String {
    let ends = [&part[..part.len().min(64)], &part[part.len().saturating_sub(64)..]].concat();
    // FNV-1a.
    let hash = ends.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    format!("{}-{hash:016x}", part.len())
}

fn check(key: &str) -> Result<(), PortError> {
    let part = |p: &str| {
        !p.is_empty()
            && !matches!(p, "." | "..")
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if key.len() <= 512 && key.split('/').all(part) {
        Ok(())
    } else {
        Err(PortError::reject(format!("`{}` is no key", key.escape_debug())))
    }
}

#[async_trait]
impl Blobs for World {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), PortError> {
        check(key)?;
        let fate = self.before(Side::Blobs).await?;
        {
            let mut state = lock(&self.blobs);
            state.bytes_written += body.len() as u64;
            state.blobs.insert(key.to_owned(), body);
        }
        self.event(|| format!("blob {key}"));
        self.after(fate).await
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<bool, PortError> {
        check(key)?;
        let fate = self.before(Side::Blobs).await?;
        let wrote = {
            let mut state = lock(&self.blobs);
            let absent = !state.blobs.contains_key(key);
            if absent {
                state.bytes_written += body.len() as u64;
                state.blobs.insert(key.to_owned(), body);
            }
            absent
        };
        self.event(|| format!("blob {key} {wrote}"));
        self.after(fate).await?;
        Ok(wrote)
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>, PortError> {
        check(key)?;
        let fate = self.before(Side::Blobs).await?;
        let found = lock(&self.blobs).blobs.get(key).cloned();
        self.after(fate).await?;
        Ok(found.map(|body| match range {
            None => body,
            Some(range) => {
                let cut = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(body.len());
                let (from, to) = (cut(range.start), cut(range.end));
                body.slice(from.min(to)..to)
            }
        }))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<BlobMeta>, PortError> {
        if !(1..=1000).contains(&limit) {
            return Err(PortError::reject(format!("{limit} is no limit")));
        }
        let fate = self.before(Side::Blobs).await?;
        let found = lock(&self.blobs)
            .blobs
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|(key, body)| BlobMeta { key: key.clone(), size: body.len() as u64 })
            .collect();
        self.after(fate).await?;
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        check(key)?;
        let fate = self.before(Side::Blobs).await?;
        lock(&self.blobs).blobs.remove(key);
        self.observe_deletion(key, None);
        self.after(fate).await
    }

    async fn presign(&self, method: Method, key: &str, lifetime: Duration) -> Result<Presigned, PortError> {
        check(key)?;
        if lifetime > Duration::from_secs(900) {
            return Err(PortError::reject("a URL may live 15 minutes at most"));
        }
        Ok(Presigned(format!("sim:{method:?}/{key}")))
    }

    async fn begin_parts(&self, key: &str) -> Result<String, PortError> {
        check(key)?;
        let fate = self.before(Side::Blobs).await?;
        let id = {
            let mut state = lock(&self.blobs);
            state.begun += 1;
            let id = format!("upload-{}", state.begun);
            state.uploads.insert(id.clone(), Parts { key: key.to_owned(), parts: BTreeMap::new() });
            id
        };
        self.event(|| format!("parts of {key}"));
        self.after(fate).await?;
        Ok(id)
    }

    async fn presign_part(
        &self,
        upload: InParts<'_>,
        number: u32,
        _from: u64,
        max_bytes: u64,
        lifetime: Duration,
    ) -> Result<Presigned, PortError> {
        check(upload.key)?;
        if lifetime > Duration::from_secs(900) || !(1..=MOST_PARTS).contains(&number) {
            return Err(PortError::reject(format!("no URL of part {number} for {lifetime:?}")));
        }
        let url = format!("sim:part {number} {max_bytes} {} {}", upload.id, upload.key);
        let signature = tag(url.as_bytes());
        Ok(Presigned(format!("{url} {signature}")))
    }

    async fn complete_parts(&self, upload: InParts<'_>, tags: &[String]) -> Result<bool, PortError> {
        check(upload.key)?;
        let fate = self.before(Side::Blobs).await?;
        let done = {
            let mut state = lock(&self.blobs);
            let whole = state.joined(upload, tags)?;
            if let Some(whole) = whole.clone() {
                state.uploads.remove(upload.id);
                state.bytes_written += whole.len() as u64;
                state.blobs.insert(upload.key.to_owned(), whole);
            }
            whole.is_some()
        };
        self.event(|| format!("blob {} of parts {done}", upload.key));
        self.after(fate).await?;
        Ok(done)
    }

    async fn abort_parts(&self, upload: InParts<'_>) -> Result<(), PortError> {
        check(upload.key)?;
        let fate = self.before(Side::Blobs).await?;
        {
            let mut state = lock(&self.blobs);
            if state.upload(upload).is_some() {
                state.uploads.remove(upload.id);
            }
        }
        self.after(fate).await
    }
}

/// Whoever has the URL of a part, in the world of a test: URLs of blobs lead nowhere here.
#[cfg(test)]
#[async_trait]
impl tidegate_engine::conformance::blobs::Visitor for World {
    async fn get(&self, _: &str) -> (u16, Bytes) {
        (404, Bytes::new())
    }

    async fn put(&self, _: &str, _: Bytes) -> u16 {
        404
    }

    async fn put_part(&self, url: &str, body: Bytes) -> (u16, Option<String>) {
        let Some((url, signature)) = url.rsplit_once(' ') else { return (403, None) };
        let words: Vec<&str> = url.split(' ').collect();
        let ["sim:part", number, most, id, key] = words[..] else { return (403, None) };
        if signature != tag(url.as_bytes()) {
            return (403, None);
        }
        let (Ok(number), Ok(most)) = (number.parse(), most.parse::<usize>()) else { return (403, None) };
        if body.len() > most {
            return (413, None);
        }
        let mut state = lock(&self.blobs);
        let Some(known) = state.upload(InParts { key, id }) else { return (404, None) };
        let tag = tag(&body);
        known.parts.insert(number, body);
        (200, Some(tag))
    }
}

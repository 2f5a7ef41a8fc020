use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_engine::ports::{BlobMeta, Blobs, Method, PortError, Presigned};

use crate::exec::lock;
use crate::world::{Side, World};

#[derive(Default)]
pub(crate) struct BlobState {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    pub(crate) bytes_written: u64,
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
        self.after(fate).await
    }

    async fn presign(&self, method: Method, key: &str, lifetime: Duration) -> Result<Presigned, PortError> {
        check(key)?;
        if lifetime > Duration::from_secs(900) {
            return Err(PortError::reject("a URL may live 15 minutes at most"));
        }
        Ok(Presigned(format!("sim:{method:?}/{key}")))
    }
}

//! Properties of [`Blobs`].

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;

use super::{Report, Trial, Violation};
use crate::ports::{BlobMeta, Blobs, Method, PortError, Presigned};

/// Somebody with nothing but a URL: how a test reaches what is behind presigned URLs.
#[async_trait]
pub trait Visitor: fmt::Debug + Send + Sync {
    /// `GET`: the status, and the body where it is 200.
    async fn get(&self, url: &str) -> (u16, Bytes);

    /// `PUT`: the status.
    async fn put(&self, url: &str, body: Bytes) -> u16;

    /// `PUT` of a part: the status, and the `ETag` where it succeeds.
    async fn put_part(&self, url: &str, body: Bytes) -> (u16, Option<String>);
}

/// Runs all properties of this module but those of URLs ([`url_suite`]).
pub async fn suite(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<Report, Violation> {
    run!(
        trial,
        blobs,
        [
            what_was_put_is_got,
            put_if_absent_writes_once,
            one_of_many_writers_wins,
            ranges_are_cut,
            deleting_is_repeatable,
            listings_are_complete_and_ordered,
            only_keys_are_accepted,
            urls_live_15_minutes_at_most,
        ]
    )
}

/// Runs the properties of presigned URLs.
pub async fn url_suite(trial: &Trial<'_>, blobs: &dyn Blobs, visitor: &dyn Visitor) -> Result<Report, Violation> {
    run!(
        trial,
        (blobs, visitor),
        [urls_read_and_write, urls_are_for_one_method_and_key, urls_bound_the_size, urls_expire]
    )
}

async fn put(trial: &Trial<'_>, blobs: &dyn Blobs, key: &str, body: &Bytes) -> Result<(), Violation> {
    trial.done("a write", || blobs.put(key, body.clone())).await
}

async fn get(trial: &Trial<'_>, blobs: &dyn Blobs, key: &str) -> Result<Option<Bytes>, Violation> {
    trial.done("a read", || blobs.get(key, None)).await
}

pub(super) fn bytes(count: usize) -> Bytes {
    // Repeated as a whole: a build that is not optimised takes long for each item of an iterator.
    let mut all = (0..=250_u8).collect::<Vec<_>>().repeat(count / 251 + 1);
    all.truncate(count);
    all.into()
}

/// A blob is read as it was written, whatever its size, until it is replaced as a whole.
pub async fn what_was_put_is_got(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let key = trial.name("k");
    ensure!(trial, get(trial, blobs, &key).await?.is_none(), "a blob is there before it was written");
    for size in [0, 1, 70_000, 3_000_000, 5] {
        let body = bytes(size);
        put(trial, blobs, &key, &body).await?;
        let found = get(trial, blobs, &key).await?;
        ensure!(
            trial,
            found.as_ref() == Some(&body),
            "a blob of {size} bytes is read as {:?} bytes, or others",
            found.map(|found| found.len())
        );
    }
    Ok(())
}

/// Only the first one writes; what is there stays.
pub async fn put_if_absent_writes_once(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let key = trial.name("k");
    // Whether the first call says so is open when its answer was lost: then it is the repetition that answers.
    trial.done("a write", || blobs.put_if_absent(&key, bytes(10))).await?;
    let second = trial.done("a write", || blobs.put_if_absent(&key, bytes(20))).await?;
    ensure!(trial, !second, "a second write says that it wrote");
    let found = get(trial, blobs, &key).await?;
    ensure!(trial, found == Some(bytes(10)), "a second write replaced the first");
    Ok(())
}

/// Of those who write at a time at most one is told that he wrote, and it is his blob that is there.
pub async fn one_of_many_writers_wins(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    for round in 0..5 {
        let key = trial.name(&format!("k{round}"));
        let writers = (1..=8).map(|n| {
            let key = &key;
            async move { (n, trial.again(|| blobs.put_if_absent(key, bytes(n))).await) }
        });
        let mut winners = Vec::new();
        for (n, answer) in join_all(writers).await {
            match answer {
                Ok(true) => winners.push(n),
                Ok(false) => {}
                Err(error) => return Err(trial.broken(format!("a write failed: {error}"))),
            }
        }
        let found = get(trial, blobs, &key).await?.map(|found| found.len());
        let right = match winners[..] {
            // All answers that said so were lost.
            [] => trial.report().count("retries") > 0 && found.is_some(),
            [winner] => found == Some(winner),
            _ => false,
        };
        ensure!(trial, right, "{winners:?} say that they wrote, and the blob has {found:?} bytes");
    }
    Ok(())
}

/// A range is cut to what is there.
pub async fn ranges_are_cut(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let key = trial.name("k");
    let body = bytes(1_000);
    put(trial, blobs, &key, &body).await?;
    for (range, expected) in [
        (0..10, 0..10),
        (990..1_000, 990..1_000),
        (990..5_000, 990..1_000),
        (0..u64::MAX, 0..1_000),
        (1_000..1_001, 1_000..1_000),
        (5_000..6_000, 1_000..1_000),
        (7..7, 7..7),
    ] {
        let found = trial.done("a read", || blobs.get(&key, Some(range.clone()))).await?;
        ensure!(
            trial,
            found.as_ref().is_some_and(|found| found == &body[expected.clone()]),
            "the range {range:?} of 1,000 bytes should be {expected:?}, not {:?} bytes",
            found.map(|found| found.len())
        );
    }
    let none = trial.name("none");
    let absent = trial.done("a read", || blobs.get(&none, Some(0..1))).await?;
    ensure!(trial, absent.is_none(), "a part of what is not there was read");
    Ok(())
}

/// Removing what is not there succeeds; what was removed is gone and can be written again.
pub async fn deleting_is_repeatable(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let (key, sibling) = (trial.name("d/a/k"), trial.name("d/a/other"));
    put(trial, blobs, &sibling, &bytes(1)).await?;
    for _ in 0..2 {
        put(trial, blobs, &key, &bytes(3)).await?;
        for _ in 0..2 {
            trial.done("a removal", || blobs.delete(&key)).await?;
            ensure!(trial, get(trial, blobs, &key).await?.is_none(), "a removed blob is there");
        }
    }
    let none = trial.name("none/at/all");
    trial.done("a removal", || blobs.delete(&none)).await?;
    ensure!(trial, get(trial, blobs, &sibling).await?.is_some(), "a removal took another blob along");
    Ok(())
}

/// Pages together hold exactly the blobs whose keys begin with the prefix, in the order of bytes, with their sizes. A
/// prefix may end anywhere, and a key may go on where another one ends.
pub async fn listings_are_complete_and_ordered(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let root = trial.name("l");
    let long = "x".repeat(300);
    let names = [
        "a",
        "a/b",
        "a/b/c",
        "a-b",
        "a.b",
        "a0",
        "a/-",
        "a/0",
        "a/a",
        "b/1",
        "b/10",
        "b/2",
        "B",
        "_",
        "b/1/x",
        "c/d/e/f/g",
        &long,
        &format!("{long}/y"),
        &format!("{long}-z"),
        &format!("{long}z"),
        &long[..200],
        &format!("{}/w", &long[..200]),
    ];
    let mut all: Vec<BlobMeta> = Vec::new();
    for (n, name) in (0..).zip(names) {
        all.push(BlobMeta { key: format!("{root}/{name}"), size: n });
    }
    for n in 0..60 {
        all.push(BlobMeta { key: format!("{root}/many/{n:02}"), size: 1 });
    }
    for meta in &all {
        let size = usize::try_from(meta.size).unwrap_or(0);
        put(trial, blobs, &meta.key, &bytes(size)).await?;
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    for (prefix, after) in [
        ("", None),
        ("a", None),
        ("a/", None),
        ("a/b", None),
        ("many/1", None),
        ("xx", None),
        ("none", None),
        ("", Some("a/b")),
        ("", Some("a/b/")),
        ("", Some("a/zzz")),
        ("a/", Some("a")),
        ("a", Some("b")),
        ("many/", Some("many/57")),
    ] {
        let prefix = format!("{root}/{prefix}");
        let after = after.map(|after| format!("{root}/{after}"));
        let expected: Vec<&BlobMeta> = all
            .iter()
            .filter(|meta| meta.key.starts_with(&prefix) && after.as_ref().is_none_or(|after| meta.key > *after))
            .collect();
        for limit in [1, 3, 1_000] {
            let found = list(trial, blobs, &prefix, after.clone(), limit).await?;
            ensure!(
                trial,
                found.iter().eq(expected.iter().copied()),
                "the listing of `{prefix}` after {after:?} by {limit} should be {expected:?}, not {found:?}"
            );
        }
    }
    for limit in [0, 1_001] {
        trial.rejected("a limit out of bounds", || blobs.list(&root, None, limit)).await?;
    }
    Ok(())
}

async fn list(
    trial: &Trial<'_>,
    blobs: &dyn Blobs,
    prefix: &str,
    mut after: Option<String>,
    limit: usize,
) -> Result<Vec<BlobMeta>, Violation> {
    let mut found: Vec<BlobMeta> = Vec::new();
    loop {
        let page = trial.done("a listing", || blobs.list(prefix, after.as_deref(), limit)).await?;
        ensure!(trial, page.len() <= limit, "a page of {limit} has {} blobs", page.len());
        match page.last() {
            Some(last) => {
                ensure!(
                    trial,
                    after.as_ref() < Some(&last.key),
                    "a listing goes back from {after:?} to `{}`",
                    last.key
                );
                after = Some(last.key.clone());
            }
            None => return Ok(found),
        }
        found.extend(page);
    }
}

/// What is no key is refused by every operation.
pub async fn only_keys_are_accepted(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let long = "x".repeat(513);
    for bad in [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a b",
        "a\\b",
        "a\0",
        "é",
        "a%2fb",
        &long,
    ] {
        trial.rejected("a write under no key", || blobs.put(bad, bytes(1))).await?;
        trial.rejected("a write under no key", || blobs.put_if_absent(bad, bytes(1))).await?;
        trial.rejected("a read of no key", || blobs.get(bad, None)).await?;
        trial.rejected("a removal of no key", || blobs.delete(bad)).await?;
        trial.rejected("a URL of no key", || blobs.presign(Method::Get, bad, Duration::from_secs(1))).await?;
    }
    let longest = format!("{}/{}", trial.name("k"), "x".repeat(512));
    put(trial, blobs, &longest[..512], &bytes(1)).await
}

/// No longer than 15 minutes, and not printed by accident.
pub async fn urls_live_15_minutes_at_most(trial: &Trial<'_>, blobs: &dyn Blobs) -> Result<(), Violation> {
    let key = trial.name("k");
    let minutes = |count: u64| Duration::from_secs(count * 60);
    trial.rejected("a URL for 16 minutes", || blobs.presign(Method::Get, &key, minutes(16))).await?;
    let url = trial.done("a URL", || blobs.presign(Method::Get, &key, minutes(15))).await?;
    ensure!(trial, !format!("{url:?}").contains(&key), "a URL prints itself");
    Ok(())
}

async fn presign(
    trial: &Trial<'_>,
    blobs: &dyn Blobs,
    method: Method,
    key: &str,
    lifetime: Duration,
) -> Result<String, Violation> {
    let Presigned(url) = trial.done("a URL", || blobs.presign(method, key, lifetime)).await?;
    Ok(url)
}

const MINUTE: Duration = Duration::from_secs(60);

type Served<'a> = (&'a dyn Blobs, &'a dyn Visitor);

/// What is put by a URL is got by the port and the other way round; a URL can be used again within its time.
pub async fn urls_read_and_write(trial: &Trial<'_>, (blobs, visitor): Served<'_>) -> Result<(), Violation> {
    for size in [0, 1, 1_000_000] {
        let key = trial.name(&format!("k/{size}"));
        let writing = presign(trial, blobs, Method::Put { max_bytes: 1_000_000 }, &key, MINUTE).await?;
        let reading = presign(trial, blobs, Method::Get, &key, MINUTE).await?;
        let (status, _) = visitor.get(&reading).await;
        ensure!(trial, status == 404, "reading what is not there gives {status}");
        for _ in 0..2 {
            let status = visitor.put(&writing, bytes(size)).await;
            ensure!(trial, (200..300).contains(&status), "writing {size} bytes gives {status}");
        }
        let found = get(trial, blobs, &key).await?;
        ensure!(trial, found == Some(bytes(size)), "{size} bytes were written, {:?} read", found.map(|b| b.len()));
        let (status, body) = visitor.get(&reading).await;
        ensure!(trial, status == 200 && body == bytes(size), "reading gives {status} and {} bytes", body.len());
    }
    Ok(())
}

/// A URL cannot be used for another method, nor be changed to another key.
pub async fn urls_are_for_one_method_and_key(trial: &Trial<'_>, (blobs, visitor): Served<'_>) -> Result<(), Violation> {
    let (key, other) = (trial.name("mine"), trial.name("else"));
    for key in [&key, &other] {
        put(trial, blobs, key, &bytes(3)).await?;
    }
    let reading = presign(trial, blobs, Method::Get, &key, MINUTE).await?;
    let writing = presign(trial, blobs, Method::Put { max_bytes: 10 }, &key, MINUTE).await?;
    for (what, status) in [
        ("reading by a URL for writing", visitor.get(&writing).await.0),
        ("reading another key", visitor.get(&reading.replace(&key, &other)).await.0),
        ("reading a directory", visitor.get(&reading.replace(&key, "..")).await.0),
        ("writing by a URL for reading", visitor.put(&reading, bytes(1)).await),
        ("writing another key", visitor.put(&writing.replace(&key, &other), bytes(1)).await),
        ("reading without a signature", visitor.get(reading.split('?').next().unwrap_or_default()).await.0),
    ] {
        ensure!(trial, (400..500).contains(&status), "{what} gives {status}");
    }
    for key in [&key, &other] {
        ensure!(trial, get(trial, blobs, key).await? == Some(bytes(3)), "a forged URL wrote `{key}`");
    }
    Ok(())
}

/// A body over the granted size is refused, and nothing of it is there.
pub async fn urls_bound_the_size(trial: &Trial<'_>, (blobs, visitor): Served<'_>) -> Result<(), Violation> {
    for (granted, sent) in [(10, 11), (10, 2_000_000), (0, 1)] {
        let key = trial.name(&format!("k/{granted}/{sent}"));
        let url = presign(trial, blobs, Method::Put { max_bytes: granted }, &key, MINUTE).await?;
        let status = visitor.put(&url, bytes(sent)).await;
        ensure!(
            trial,
            (400..500).contains(&status),
            "writing {sent} bytes where {granted} were granted gives {status}"
        );
        let found = get(trial, blobs, &key).await?;
        ensure!(trial, found.is_none(), "a part of a refused body is there");
    }
    Ok(())
}

/// After its time a URL is worth nothing.
pub async fn urls_expire(trial: &Trial<'_>, (blobs, visitor): Served<'_>) -> Result<(), Violation> {
    let key = trial.name("k");
    put(trial, blobs, &key, &bytes(3)).await?;
    let second = Duration::from_secs(1);
    let reading = presign(trial, blobs, Method::Get, &key, second).await?;
    let writing = presign(trial, blobs, Method::Put { max_bytes: 10 }, &key, second).await?;
    let deadline = trial.deadline();
    loop {
        let (status, _) = visitor.get(&reading).await;
        if status != 200 {
            ensure!(trial, (400..500).contains(&status), "reading too late gives {status}");
            break;
        }
        ensure!(trial, trial.now() < deadline, "a URL of one second still works");
        trial.sleep(Duration::from_millis(100)).await;
    }
    let status = visitor.put(&writing, bytes(1)).await;
    ensure!(trial, (400..500).contains(&status), "writing too late gives {status}");
    match trial.again(|| blobs.get(&key, None)).await {
        Ok(found) => {
            ensure!(trial, found == Some(bytes(3)), "a URL that was over wrote");
            Ok(())
        }
        Err(PortError::Conflict) => Err(trial.broken("reading knows no conflicts")),
        Err(error) => Err(trial.broken(format!("a read failed: {error}"))),
    }
}

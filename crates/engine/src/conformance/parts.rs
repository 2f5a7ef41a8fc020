//! Properties of writing [`Blobs`] in parts.

use std::time::Duration;

use bytes::Bytes;

use super::blobs::{Visitor, bytes};
use super::{Report, Trial, Violation};
use crate::ports::{Blobs, InParts, LEAST_PART, MOST_PARTS, Presigned};

const MINUTE: Duration = Duration::from_secs(60);
const FIRST: At = (1, 0);

type Served<'a> = (&'a dyn Blobs, &'a dyn Visitor);

/// Runs all properties of this module.
pub async fn suite(trial: &Trial<'_>, blobs: &dyn Blobs, visitor: &dyn Visitor) -> Result<Report, Violation> {
    run!(
        trial,
        (blobs, visitor),
        [
            parts_become_one_blob,
            a_part_that_is_put_again_replaces,
            what_is_incomplete_is_rejected,
            what_was_aborted_is_gone,
            uploads_do_not_mix,
            part_urls_are_bounded,
            unknown_uploads_are_gone,
        ]
    )
}

async fn begin(trial: &Trial<'_>, blobs: &dyn Blobs, key: &str) -> Result<String, Violation> {
    trial.done("beginning", || blobs.begin_parts(key)).await
}

/// Number of a part, and where it begins.
type At = (u32, u64);

async fn url(
    trial: &Trial<'_>,
    blobs: &dyn Blobs,
    upload: InParts<'_>,
    (number, from): At,
) -> Result<String, Violation> {
    let most = LEAST_PART + 100;
    let Presigned(url) = trial.done("a URL", || blobs.presign_part(upload, number, from, most, MINUTE)).await?;
    Ok(url)
}

/// Puts a part and returns its tag.
async fn part(
    trial: &Trial<'_>,
    (blobs, visitor): Served<'_>,
    upload: InParts<'_>,
    at: At,
    body: &Bytes,
) -> Result<String, Violation> {
    let url = url(trial, blobs, upload, at).await?;
    let (status, tag) = visitor.put_part(&url, body.clone()).await;
    ensure!(trial, (200..300).contains(&status), "writing part {} gives {status}", at.0);
    tag.ok_or_else(|| trial.broken("a part has no tag"))
}

async fn complete(
    trial: &Trial<'_>,
    blobs: &dyn Blobs,
    upload: InParts<'_>,
    tags: &[String],
) -> Result<bool, Violation> {
    trial.done("completing", || blobs.complete_parts(upload, tags)).await
}

async fn holds(trial: &Trial<'_>, blobs: &dyn Blobs, key: &str, expected: Option<&[u8]>) -> Result<(), Violation> {
    let found = trial.done("a read", || blobs.get(key, None)).await?;
    ensure!(
        trial,
        found.as_deref() == expected,
        "`{key}` holds {:?} bytes instead of {:?}, or others",
        found.map(|found| found.len()),
        expected.map(<[u8]>::len)
    );
    Ok(())
}

fn least() -> usize {
    usize::try_from(LEAST_PART).unwrap_or(usize::MAX)
}

/// Parts are put in any order; the blob is there with all of them or not at all, and replaces what was there.
pub async fn parts_become_one_blob(trial: &Trial<'_>, served: Served<'_>) -> Result<(), Violation> {
    let blobs = served.0;
    let key = trial.name("p/k");
    trial.done("a write", || blobs.put(&key, bytes(3))).await?;
    let id = begin(trial, blobs, &key).await?;
    let upload = InParts { key: &key, id: &id };
    let (first, second, last) = (bytes(least()), bytes(least() + 77), Bytes::from_static(b"end"));
    let third = part(trial, served, upload, (3, 2 * LEAST_PART + 77), &last).await?;
    let tags = [
        part(trial, served, upload, FIRST, &first).await?,
        part(trial, served, upload, (2, LEAST_PART), &second).await?,
        third,
    ];
    holds(trial, blobs, &key, Some(&bytes(3))).await?;
    // Whether the first call says so is open when its answer was lost.
    complete(trial, blobs, upload, &tags).await?;
    let whole = [first, second, last].concat();
    holds(trial, blobs, &key, Some(&whole)).await?;
    ensure!(trial, !complete(trial, blobs, upload, &tags).await?, "an upload is completed twice");
    holds(trial, blobs, &key, Some(&whole)).await?;
    let prefix = trial.name("p/");
    let listed = trial.done("a listing", || blobs.list(&prefix, None, 10)).await?;
    let sizes: Vec<u64> = listed.iter().map(|blob| blob.size).collect();
    ensure!(trial, sizes == [whole.len() as u64], "parts are listed beside the blob: {listed:?}");
    // One part alone may be short.
    let small = trial.name("q/k");
    let id = begin(trial, blobs, &small).await?;
    let upload = InParts { key: &small, id: &id };
    let tags = [part(trial, served, upload, FIRST, &bytes(1)).await?];
    complete(trial, blobs, upload, &tags).await?;
    holds(trial, blobs, &small, Some(&bytes(1))).await
}

/// The last `PUT` of a part counts, and the tag tells one from the other.
pub async fn a_part_that_is_put_again_replaces(trial: &Trial<'_>, served: Served<'_>) -> Result<(), Violation> {
    let blobs = served.0;
    let key = trial.name("k");
    let id = begin(trial, blobs, &key).await?;
    let upload = InParts { key: &key, id: &id };
    let before = part(trial, served, upload, FIRST, &Bytes::from_static(b"old")).await?;
    let after = part(trial, served, upload, FIRST, &Bytes::from_static(b"new")).await?;
    ensure!(trial, before != after, "tags do not tell contents apart: {before}");
    trial
        .rejected("completing with an old tag", || blobs.complete_parts(upload, std::slice::from_ref(&before)))
        .await?;
    complete(trial, blobs, upload, &[after]).await?;
    holds(trial, blobs, &key, Some(b"new")).await
}

/// Without parts, without one of them, and with short ones in between nothing is completed; the upload can go on.
pub async fn what_is_incomplete_is_rejected(trial: &Trial<'_>, served: Served<'_>) -> Result<(), Violation> {
    let blobs = served.0;
    let key = trial.name("k");
    let id = begin(trial, blobs, &key).await?;
    let upload = InParts { key: &key, id: &id };
    trial.rejected("completing without parts", || blobs.complete_parts(upload, &[])).await?;
    let short = part(trial, served, upload, FIRST, &bytes(10)).await?;
    let missing = [short.clone(), short.clone()];
    trial.rejected("completing without a part", || blobs.complete_parts(upload, &missing)).await?;
    let last = part(trial, served, upload, (2, LEAST_PART), &Bytes::from_static(b"!")).await?;
    let with_short = [short, last.clone()];
    trial.rejected("completing with a short part", || blobs.complete_parts(upload, &with_short)).await?;
    holds(trial, blobs, &key, None).await?;
    let first = part(trial, served, upload, FIRST, &bytes(least())).await?;
    complete(trial, blobs, upload, &[first, last]).await?;
    holds(trial, blobs, &key, Some(&[&bytes(least())[..], b"!"].concat())).await
}

/// Dropping can be repeated, and nothing comes of it any more.
pub async fn what_was_aborted_is_gone(trial: &Trial<'_>, served: Served<'_>) -> Result<(), Violation> {
    let (blobs, visitor) = served;
    let key = trial.name("k");
    let id = begin(trial, blobs, &key).await?;
    let upload = InParts { key: &key, id: &id };
    let tag = part(trial, served, upload, FIRST, &bytes(10)).await?;
    let late = url(trial, blobs, upload, (2, LEAST_PART)).await?;
    for _ in 0..2 {
        trial.done("dropping", || blobs.abort_parts(upload)).await?;
    }
    ensure!(trial, !complete(trial, blobs, upload, &[tag]).await?, "a dropped upload is completed");
    let (status, _) = visitor.put_part(&late, bytes(1)).await;
    ensure!(trial, (400..500).contains(&status), "a part of a dropped upload gives {status}");
    holds(trial, blobs, &key, None).await
}

/// Two uploads of one key are two, and one of another key cannot be had by its id.
pub async fn uploads_do_not_mix(trial: &Trial<'_>, served: Served<'_>) -> Result<(), Violation> {
    let (blobs, visitor) = served;
    let (key, other) = (trial.name("mine"), trial.name("else"));
    let (one, two) = (begin(trial, blobs, &key).await?, begin(trial, blobs, &key).await?);
    ensure!(trial, one != two, "two uploads have one id");
    let (one, two) = (InParts { key: &key, id: &one }, InParts { key: &key, id: &two });
    let tag = part(trial, served, one, FIRST, &Bytes::from_static(b"one")).await?;
    trial
        .rejected("completing with a part of another", || blobs.complete_parts(two, std::slice::from_ref(&tag)))
        .await?;
    let forged = InParts { key: &other, id: one.id };
    ensure!(
        trial,
        !complete(trial, blobs, forged, std::slice::from_ref(&tag)).await?,
        "parts of one key became another"
    );
    trial.done("dropping", || blobs.abort_parts(forged)).await?;
    let signed = url(trial, blobs, one, FIRST).await?;
    for (what, forged) in [
        ("another upload", signed.replace(one.id, two.id)),
        ("another key", signed.replace(&key, &other)),
        ("the blob itself", signed.replace(one.id, "")),
    ] {
        let (status, _) = visitor.put_part(&forged, bytes(1)).await;
        ensure!(trial, (400..500).contains(&status), "a URL that was changed to {what} gives {status}");
    }
    holds(trial, blobs, &other, None).await?;
    complete(trial, blobs, one, &[tag]).await?;
    holds(trial, blobs, &key, Some(b"one")).await?;
    trial.done("dropping", || blobs.abort_parts(two)).await
}

/// In number, in time and in size.
pub async fn part_urls_are_bounded(trial: &Trial<'_>, served: Served<'_>) -> Result<(), Violation> {
    let (blobs, visitor) = served;
    let key = trial.name("k");
    let id = begin(trial, blobs, &key).await?;
    let upload = InParts { key: &key, id: &id };
    for number in [0, MOST_PARTS + 1, u32::MAX] {
        trial.rejected("a part out of bounds", || blobs.presign_part(upload, number, 0, 1, MINUTE)).await?;
    }
    trial.rejected("a URL for 16 minutes", || blobs.presign_part(upload, 1, 0, 1, MINUTE * 16)).await?;
    trial.rejected("parts of no key", || blobs.begin_parts("a//b")).await?;
    let Presigned(url) = trial.done("a URL", || blobs.presign_part(upload, MOST_PARTS, 0, 10, MINUTE)).await?;
    let (status, tag) = visitor.put_part(&url, bytes(11)).await;
    ensure!(trial, (400..500).contains(&status) && tag.is_none(), "11 of 10 bytes give {status}");
    let (status, _) = visitor.put_part(&url, bytes(10)).await;
    ensure!(trial, (200..300).contains(&status), "10 of 10 bytes give {status}");
    trial.done("dropping", || blobs.abort_parts(upload)).await
}

/// Ids come from outside: what is none is an upload that is gone, and reaches nothing else.
pub async fn unknown_uploads_are_gone(trial: &Trial<'_>, (blobs, _): Served<'_>) -> Result<(), Violation> {
    let key = trial.name("k");
    trial.done("a write", || blobs.put(&key, bytes(3))).await?;
    let long = "0".repeat(5_000);
    for id in ["", ".", "..", "../data", "/etc", "0123456789abcdef0123456789abcdef", "a/b", "é", "\0", &long] {
        let upload = InParts { key: &key, id };
        let tags = ["0".repeat(64)];
        ensure!(trial, !complete(trial, blobs, upload, &tags).await?, "the upload `{id}` is completed");
        trial.done("dropping", || blobs.abort_parts(upload)).await?;
    }
    holds(trial, blobs, &key, Some(&bytes(3))).await
}

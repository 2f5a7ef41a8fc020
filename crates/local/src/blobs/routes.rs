//! The loopback server behind signed URLs.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{Method, PortError};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::DirBlobs;
use super::parts::PartAt;
use super::sign::Grant;
use crate::blocking::blocking;

/// So much of a body is gathered before it is written: a log chunk of a few KB is one write.
const PIECE: usize = 256 * 1_024;

/// `GET` and `PUT` of `/blobs/<key>` for those who have a URL from
/// [`presign`](tidegate_engine::ports::Blobs::presign). To be merged into the router of the server that
/// [`DirBlobs::set_base_url`] names.
///
/// Answers: 200 (`GET`), 206 for a `Range`, 201 (`PUT`, of a part with its tag as `ETag`), 403 when the URL does not allow it or is too old, 404, 413 over
/// the size that was granted, 416, 503 when it may work later, 507 when the disk is full.
pub fn blob_routes(blobs: DirBlobs) -> Router {
    Router::new().route("/blobs/{*key}", get(read).put(write)).with_state(blobs)
}

#[derive(Deserialize)]
struct Signed {
    expires: u64,
    max_bytes: Option<u64>,
    /// Of a part: the upload that it belongs to.
    upload: Option<String>,
    part: Option<u32>,
    from: Option<u64>,
    signature: String,
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Response {
    (status, format!("{}\n", why.into())).into_response()
}

fn forbidden() -> Response {
    refuse(StatusCode::FORBIDDEN, "this URL does not allow this request, or its time is over: ask for a new one")
}

fn failed(error: &PortError) -> Response {
    match error {
        PortError::Retry { .. } | PortError::Conflict => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        PortError::Reject { .. } => refuse(StatusCode::BAD_REQUEST, error.to_string()),
        PortError::Fatal { .. } => refuse(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
    }
}

async fn read(
    State(blobs): State<DirBlobs>,
    Path(key): Path<String>,
    signed: Result<Query<Signed>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(signed)) = signed else {
        return forbidden();
    };
    let grant = Grant { method: Method::Get, key: &key, part: None, expires: Timestamp(signed.expires) };
    if signed.max_bytes.is_some() || !blobs.granted(grant, &signed.signature) {
        return forbidden();
    }
    let (file, size) = match blobs.open_blob(&key).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return refuse(StatusCode::NOT_FOUND, "there is no such blob"),
        Err(error) => return failed(&error),
    };
    let (status, start, end) = match headers.get(header::RANGE).map(|range| parse_range(range, size)) {
        None | Some(Wanted::All) => (StatusCode::OK, 0, size),
        Some(Wanted::Part(start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Wanted::Nothing) => {
            let mut response = refuse(StatusCode::RANGE_NOT_SATISFIABLE, "the blob is shorter");
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
    };
    let mut file = tokio::fs::File::from_std(file);
    if start > 0
        && let Err(error) = file.seek(std::io::SeekFrom::Start(start)).await
    {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    }
    let rest = file.take(end - start);
    let pieces = futures_util::stream::try_unfold(rest, |mut rest| async move {
        let mut piece = BytesMut::with_capacity(64 * 1_024);
        let read = rest.read_buf(&mut piece).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (piece.freeze(), rest)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_LENGTH, &(end - start).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
    }
    // A job wrote it: nothing in it may act as a page of this server.
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut response, header::CONTENT_DISPOSITION, "attachment");
    set(&mut response, header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

async fn write(
    State(blobs): State<DirBlobs>,
    Path(key): Path<String>,
    signed: Result<Query<Signed>, QueryRejection>,
    request: Request,
) -> Response {
    let Ok(Query(Signed { expires, max_bytes: Some(max_bytes), upload, part, from, signature })) = signed else {
        return forbidden();
    };
    let part = match (&upload, part, from) {
        (None, None, None) => None,
        (Some(upload), Some(number), Some(from)) => Some(PartAt { upload, number, from }),
        _ => return forbidden(),
    };
    let grant = Grant { method: Method::Put { max_bytes }, key: &key, part, expires: Timestamp(expires) };
    if !blobs.granted(grant, &signature) {
        return forbidden();
    }
    let too_large = || {
        refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over the {max_bytes} bytes that this URL allows"))
    };
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return too_large();
    }
    match store(&blobs, &key, part, request.into_body(), max_bytes).await {
        Ok(tag) => {
            let mut response = StatusCode::CREATED.into_response();
            if let Some(tag) = tag {
                set(&mut response, header::ETAG, &format!("\"{tag}\""));
            }
            response
        }
        Err(NotStored::TooLarge) => too_large(),
        Err(NotStored::Broken(why)) => refuse(StatusCode::BAD_REQUEST, why),
        Err(NotStored::Failed(error)) => {
            tracing::warn!(blob.key = key, error = %error, "cannot store a blob");
            failed(&error)
        }
    }
}

enum NotStored {
    TooLarge,
    Broken(String),
    Failed(PortError),
}

impl From<PortError> for NotStored {
    fn from(error: PortError) -> Self {
        NotStored::Failed(error)
    }
}

/// Returns the tag, if it is a part.
async fn store(
    blobs: &DirBlobs,
    key: &str,
    part: Option<PartAt<'_>>,
    body: Body,
    max_bytes: u64,
) -> Result<Option<String>, NotStored> {
    let mut upload = blobs.begin_upload(key, part).await?;
    let mut stream = body.into_data_stream();
    let mut gathered = BytesMut::new();
    let mut total: u64 = 0;
    while let Some(piece) = stream.next().await {
        // The sender went away in the middle: nothing of it is kept.
        let piece: Bytes = piece.map_err(|error| NotStored::Broken(format!("the body broke off: {error}")))?;
        total = total.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if total > max_bytes {
            return Err(NotStored::TooLarge);
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= PIECE {
            let full = gathered.split().freeze();
            upload = blocking(move || upload.write(&full).map(|()| upload)).await?;
        }
    }
    let rest = gathered.freeze();
    Ok(blocking(move || upload.write(&rest).and_then(|()| upload.finish())).await?)
}

/// What a `Range` header asks for.
#[derive(Debug, Eq, PartialEq)]
enum Wanted {
    All,
    /// From, and up to but without.
    Part(u64, u64),
    Nothing,
}

/// One range of bytes (RFC 9110, 14.1.2). What is not understood, and several ranges, mean everything.
fn parse_range(range: &HeaderValue, size: u64) -> Wanted {
    let parsed = range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")).and_then(|text| text.split_once('-'));
    let Some((first, last)) = parsed else {
        return Wanted::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let (start, end) = if first.is_empty() {
        match last.parse::<u64>() {
            Ok(suffix) => (size.saturating_sub(suffix), size),
            Err(_) => return Wanted::All,
        }
    } else {
        let end = match (last.is_empty(), last.parse::<u64>()) {
            (true, _) => size,
            (false, Ok(last)) => last.saturating_add(1).min(size),
            (false, Err(_)) => return Wanted::All,
        };
        match first.parse::<u64>() {
            Ok(start) => (start, end),
            Err(_) => return Wanted::All,
        }
    };
    if start < end { Wanted::Part(start, end) } else { Wanted::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-", Wanted::Part(0, 10)),
            ("bytes=2-3", Wanted::Part(2, 4)),
            ("bytes=2-99", Wanted::Part(2, 10)),
            ("bytes=-3", Wanted::Part(7, 10)),
            ("bytes=-99", Wanted::Part(0, 10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=3-2", Wanted::Nothing),
            ("bytes=0-1,3-4", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes=a-b", Wanted::All),
        ] {
            assert_eq!(parse_range(&HeaderValue::from_static(text), 10), expected, "{text}");
        }
    }
}

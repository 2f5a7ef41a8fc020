//! The API client against a GitHub in this process.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tidegate_core::ids::{CommitSha, RepositoryId, RepositoryName};
use tidegate_engine::ports::{
    CommitStatus, Forge as _, Permission, PortError, PullRequestState, RepositorySource, StatusState,
};
use tidegate_github::client::GitHub;

#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: HeaderMap,
    body: serde_json::Value,
}

/// A server that records requests and gives the same answer to each; `answer` gets the path.
async fn server(answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let app = axum::Router::new().fallback(move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        record.lock().unwrap().push(Seen {
            line: format!("{} {}", parts.method, parts.uri),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        answer(parts.uri.path())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, seen)
}

fn client(base: &str) -> GitHub {
    GitHub::new(base.parse().unwrap(), &"ghs_token".into()).unwrap()
}

fn hello() -> RepositorySource {
    RepositorySource {
        id: RepositoryId(7),
        full_name: RepositoryName::new("octo/hello").unwrap(),
        clone_url: "ignored".into(),
    }
}

async fn set(base: &str, description: &str) -> Result<(), PortError> {
    let status = CommitStatus {
        context: "tidegate/web".into(),
        state: StatusState::Failure,
        description: description.into(),
        target_url: Some("https://ci.example.com/1".into()),
    };
    let commit = CommitSha::new("a".repeat(40)).unwrap();
    client(base).set_status(&hello(), &commit, &status).await
}

#[tokio::test]
async fn a_status_is_posted_as_github_wants_it() {
    let (base, seen) = server(|_| StatusCode::CREATED.into_response()).await;
    set(&format!("{base}/api/v3/"), &"é".repeat(200)).await.unwrap();
    let seen = seen.lock().unwrap();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(request.line, format!("POST /api/v3/repos/octo/hello/statuses/{}", "a".repeat(40)));
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("authorization"), "Bearer ghs_token");
    assert_eq!(header("accept"), "application/vnd.github+json");
    assert_eq!(header("x-github-api-version"), "2022-11-28");
    assert!(header("user-agent").starts_with("tidegate/"));
    assert_eq!(
        request.body,
        serde_json::json!({
            "state": "failure",
            "context": "tidegate/web",
            "description": format!("{}…", "é".repeat(139)),
            "target_url": "https://ci.example.com/1",
        })
    );
}

/// The error for an answer with these headers and this body.
async fn error_of(status: u16, headers: &[(&str, &str)], body: &str) -> PortError {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let (status, body) = (StatusCode::from_u16(status).unwrap(), body.to_owned());
    let (base, _) = server(move |_| (status, map.clone(), body.clone()).into_response()).await;
    set(&base, "d").await.unwrap_err()
}

fn pause(error: &PortError) -> Option<u64> {
    match error {
        PortError::Retry { after, .. } => after.map(|span| span.as_secs()),
        other => panic!("not to be retried: {other:?}"),
    }
}

#[tokio::test]
async fn refusals_are_classified_and_say_what_to_do() {
    let fatal = error_of(401, &[], r#"{"message":"Bad credentials"}"#).await;
    assert!(matches!(fatal, PortError::Fatal { .. }), "{fatal:?}");
    insta::assert_snapshot!(fatal, @"status `tidegate/web` of octo/hello@aaaaaaaa: GitHub answered 401 Unauthorized: Bad credentials: the token is wrong, revoked or expired, set a new one");

    let mut refusals = Vec::new();
    for (status, body) in [
        (403, r#"{"message":"Resource not accessible by integration"}"#),
        (404, r#"{"message":"Not Found"}"#),
        (
            422,
            r#"{"message":"Validation Failed","errors":[{"message":"This SHA and context has reached the maximum number of statuses."},"No commit\nfound",{"code":"custom"}]}"#,
        ),
        (400, "<html>"),
        (301, r#"{"message":"Moved Permanently"}"#),
    ] {
        let refusal = error_of(status, &[("location", "http://127.0.0.1:1/x")], body).await;
        assert!(matches!(refusal, PortError::Reject { .. }), "{refusal:?}");
        refusals.push(refusal.to_string());
    }
    insta::assert_snapshot!(refusals.join("\n"), @r#"
status `tidegate/web` of octo/hello@aaaaaaaa: GitHub answered 403 Forbidden: Resource not accessible by integration: the token needs write access to commit statuses
status `tidegate/web` of octo/hello@aaaaaaaa: GitHub answered 404 Not Found: Not Found: there is no such repository, or the token may not see it
status `tidegate/web` of octo/hello@aaaaaaaa: GitHub answered 422 Unprocessable Entity: Validation Failed; This SHA and context has reached the maximum number of statuses.; No commit found; {"code":"custom"}
status `tidegate/web` of octo/hello@aaaaaaaa: GitHub answered 400 Bad Request
status `tidegate/web` of octo/hello@aaaaaaaa: GitHub answered 301 Moved Permanently: Moved Permanently: it points to `http://127.0.0.1:1/x`, which is not followed: correct `full_name` of the repository
"#);
}

#[tokio::test]
async fn limits_are_waited_out_as_github_asks() {
    let date = ("date", "Mon, 23 Nov 2026 02:00:00 GMT");
    let reset = ("x-ratelimit-reset", "1795399290"); // 90 s after that date
    let used_up = ("x-ratelimit-remaining", "0");
    for (status, headers, body, seconds) in [
        (429, vec![("retry-after", "17")], "", 17),
        (403, vec![("retry-after", "17"), used_up, reset, date], "", 17),
        (403, vec![used_up, reset, date], "", 91),
        (429, vec![used_up, reset, date], "", 91),
        (429, vec![], "", 60),
        (
            403,
            vec![("x-ratelimit-remaining", "99"), reset, date],
            r#"{"message":"You have exceeded a secondary rate limit."}"#,
            60,
        ),
        (429, vec![("retry-after", "999999")], "", 3600),
        (503, vec![("retry-after", "3")], "", 3),
    ] {
        let error = error_of(status, &headers, body).await;
        assert_eq!(pause(&error), Some(seconds), "{status} {headers:?}");
    }
    assert_eq!(pause(&error_of(500, &[], "").await), None);
    assert_eq!(pause(&error_of(502, &[], "<html>").await), None);
}

#[tokio::test]
async fn silence_is_retried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(pause(&set(&base, "d").await.unwrap_err()), None);
}

#[tokio::test]
async fn redirects_are_followed_at_home_and_nowhere_else() {
    let (elsewhere, stolen) = server(|_| StatusCode::CREATED.into_response()).await;
    let (base, seen) = server(move |path| {
        let to = match path {
            p if p.starts_with("/repositories/") => return StatusCode::CREATED.into_response(),
            p if p.starts_with("/away/") => format!("{elsewhere}/repositories/7"),
            p if p.starts_with("/loop/") => path.to_owned(),
            _ => "/repositories/7/statuses/a".to_owned(),
        };
        (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response()
    })
    .await;
    set(&base, "d").await.unwrap();
    {
        let seen = seen.lock().unwrap();
        assert_eq!(seen[1].line, "POST /repositories/7/statuses/a");
        assert_eq!(seen[1].body["context"], "tidegate/web");
        assert!(seen[1].headers.contains_key("authorization"));
    }
    for path in ["away", "loop"] {
        let refused = set(&format!("{base}/{path}"), "d").await.unwrap_err();
        assert!(matches!(refused, PortError::Reject { .. }), "{refused:?}");
    }
    assert_eq!(stolen.lock().unwrap().len(), 0);
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let refused = |base: &str, token: &str| GitHub::new(base.parse().unwrap(), &token.into()).unwrap_err().to_string();
    insta::assert_snapshot!(refused("https://u:secret@api.example.com/", "t"), @"`https://api.example.com/` is no address of an API: it must start with `https://` or `http://`, and hold no user, password, query or fragment");
    insta::assert_snapshot!(refused("https://api.example.com/", "t\n"), @"the GitHub token has characters that cannot be sent (a line end, perhaps)");
    refused("file:///x", "t");
    let shown = format!("{:?}", client("https://api.example.com"));
    assert!(!shown.contains("ghs_token"), "{shown}");
}

#[tokio::test]
async fn a_permission_is_the_role_and_nobody_has_one_by_accident() {
    let table = [
        (r#"{"permission":"admin","role_name":"admin"}"#, Permission::Admin),
        (r#"{"permission":"write","role_name":"maintain"}"#, Permission::Maintain),
        (r#"{"permission":"write","role_name":"write"}"#, Permission::Write),
        (r#"{"permission":"read","role_name":"triage"}"#, Permission::Triage),
        (r#"{"permission":"read","role_name":"read"}"#, Permission::Read),
        // A role of the organization's own making, built on another one; an old server; a word of the future.
        (r#"{"permission":"write","role_name":"releaser"}"#, Permission::Write),
        (r#"{"permission":"write"}"#, Permission::Write),
        (r#"{"permission":"none"}"#, Permission::None),
        (r#"{"permission":"owner","role_name":"owner"}"#, Permission::None),
    ];
    for (body, wanted) in table {
        let (base, seen) = server(move |_| (StatusCode::OK, body).into_response()).await;
        assert_eq!(client(&base).permission(&hello(), "ann").await.unwrap(), wanted, "{body}");
        assert_eq!(seen.lock().unwrap()[0].line, "GET /repos/octo/hello/collaborators/ann/permission");
        assert_eq!(wanted.can_write(), body.contains("admin") || body.contains("write"), "{body}");
    }
    let answers = |status: u16, body: &'static str| async move {
        let status = StatusCode::from_u16(status).unwrap();
        let (base, _) = server(move |_| (status, body).into_response()).await;
        client(&base).permission(&hello(), "ann").await
    };
    assert_eq!(answers(404, r#"{"message":"ann is not a user"}"#).await.unwrap(), Permission::None);
    assert!(matches!(answers(404, r#"{"message":"Not Found"}"#).await, Err(PortError::Reject { .. })));
    assert!(matches!(answers(200, "{}").await, Err(PortError::Reject { .. })));

    let (base, seen) = server(|_| (StatusCode::OK, r#"{"permission":"admin"}"#).into_response()).await;
    for login in ["", "../../../user", "a/b", "ann?x=1", "é"] {
        assert_eq!(client(&base).permission(&hello(), login).await.unwrap(), Permission::None, "{login}");
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_pull_request_is_read_as_it_is_now() {
    let pull = |state: &str, merged: bool, fork: &serde_json::Value| {
        serde_json::json!({
            "number": 9, "state": state, "merged": merged, "draft": true, "title": "Faster", "labels": [{"name": "ci"}],
            "head": {"sha": "a".repeat(40), "ref": "faster", "repo": fork},
            "base": {"sha": "b".repeat(40), "ref": "main", "repo": {"id": 7, "full_name": "octo/hello"}},
        })
        .to_string()
    };
    let read = |body: String| async move {
        let (base, seen) = server(move |_| (StatusCode::OK, body.clone()).into_response()).await;
        let answer = client(&base).pull_request(&hello(), 9).await.unwrap().unwrap();
        assert_eq!(seen.lock().unwrap()[0].line, "GET /repos/octo/hello/pulls/9");
        answer
    };
    let open = read(pull("open", false, &serde_json::json!({"id": 8, "full_name": "fork/hello"}))).await;
    assert_eq!((open.number, open.state, open.draft), (9, PullRequestState::Open, true));
    assert_eq!((open.head.sha.as_str(), open.head.branch.as_str()), ("a".repeat(40).as_str(), "faster"));
    assert_eq!((open.head.repository, open.base.repository), (Some(RepositoryId(8)), Some(RepositoryId(7))));
    assert_eq!(open.labels, ["ci"]);
    let gone = read(pull("closed", false, &serde_json::Value::Null)).await;
    assert_eq!((gone.state, gone.head.repository, gone.head.repository_name), (PullRequestState::Closed, None, None));
    assert_eq!(read(pull("closed", true, &serde_json::Value::Null)).await.state, PullRequestState::Merged);

    let (base, _) = server(|_| StatusCode::NOT_FOUND.into_response()).await;
    assert_eq!(client(&base).pull_request(&hello(), 9).await.unwrap(), None);
}

#[tokio::test]
async fn a_question_follows_a_repository_that_was_renamed() {
    let (base, seen) = server(|path| match path {
        "/repositories/7/pulls/9" => StatusCode::NOT_FOUND.into_response(),
        _ => (StatusCode::MOVED_PERMANENTLY, [("location", "/repositories/7/pulls/9")]).into_response(),
    })
    .await;
    assert_eq!(client(&base).pull_request(&hello(), 9).await.unwrap(), None);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

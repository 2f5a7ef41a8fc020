//! A git server for tests: `git http-backend` behind a small HTTP server on loopback, that can demand a user and a
//! password, and be out of order.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// What it has seen, and what it is to do.
#[derive(Debug, Default)]
struct State {
    /// What `Authorization` has to be.
    wanted: Option<String>,
    /// The status with which the next so many requests are answered.
    broken: (u32, u16),
    /// Requests, as method and path.
    requests: Vec<String>,
    /// Values of `Authorization` that came.
    presented: Vec<String>,
}

/// The server. It serves as long as the process lives.
#[derive(Clone, Debug)]
pub struct HttpGit {
    address: String,
    state: Arc<Mutex<State>>,
}

impl HttpGit {
    /// Serves the repositories beneath a directory.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap().to_string(), state: Arc::default() };
        let (root, state) = (root.to_owned(), Arc::clone(&server.state));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, state) = (root.clone(), Arc::clone(&state));
                // A client that goes away in the middle is no news.
                std::thread::spawn(move || drop(answer(&stream, root, &state)));
            }
        });
        server
    }

    /// The URL of a repository, by its path beneath the directory.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Demands the value of an `Authorization` header from now on.
    pub fn demand(&self, authorization: &str) {
        self.with(|state| state.wanted = Some(authorization.to_owned()));
    }

    /// Answers the next so many requests with a status and nothing else.
    pub fn break_down(&self, requests: u32, status: u16) {
        self.with(|state| state.broken = (requests, status));
    }

    /// The requests so far, as method and path.
    pub fn requests(&self) -> Vec<String> {
        self.with(|state| state.requests.clone())
    }

    /// The values of `Authorization` that were presented so far.
    pub fn presented(&self) -> Vec<String> {
        self.with(|state| state.presented.clone())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(mut stream: &TcpStream, root: PathBuf, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let status = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(format!("{method} {path}"));
        let given = headers.get("authorization");
        state.presented.extend(given.cloned());
        if state.broken.0 > 0 {
            state.broken.0 -= 1;
            Some(state.broken.1)
        } else if state.wanted.is_some() && state.wanted.as_ref() != given {
            Some(401)
        } else {
            None
        }
    };
    let body = if headers.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        chunked(&mut reader)?
    } else {
        let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        body
    };
    if let Some(status) = status {
        let challenge = if status == 401 { "WWW-Authenticate: Basic realm=\"test\"\r\n" } else { "" };
        return write!(stream, "HTTP/1.1 {status} No\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let mut backend = Command::new("git");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_LENGTH", body.len().to_string());
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = headers.get(header) {
            backend.env(variable, value);
        }
    }
    let mut backend = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut input = backend.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || drop(input.write_all(&body)));
    let mut output = Vec::new();
    backend.stdout.take().unwrap().read_to_end(&mut output)?;
    backend.wait()?;
    drop(feeder.join());
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).unwrap_or("200 OK");
    let rest: String = head.lines().filter(|l| !l.starts_with("Status: ")).map(|l| format!("{l}\r\n")).collect();
    let body = output.get(end + 4..).unwrap_or_default();
    write!(stream, "HTTP/1.1 {status}\r\n{rest}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn chunked(reader: &mut impl std::io::BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

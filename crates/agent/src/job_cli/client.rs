//! The client of the job's socket.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::wire::gate::Refusal;

use crate::job::api::{SOCKET_VARIABLE, TOKEN_VARIABLE, socket};

/// The agent of the job that this process is part of.
pub(crate) struct Agent {
    socket: PathBuf,
    token: String,
}

impl Agent {
    /// Found through the environment.
    pub(crate) fn of_this_job() -> anyhow::Result<Self> {
        let variable = |name: &str| -> anyhow::Result<OsString> {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .with_context(|| format!("this works inside a job only: `{name}` is not set"))
        };
        let token = variable(TOKEN_VARIABLE)?;
        let Ok(token) = token.into_string() else {
            bail!("`{TOKEN_VARIABLE}` is not what the agent has set");
        };
        if token.contains(|c: char| c.is_control()) {
            bail!("`{TOKEN_VARIABLE}` is not what the agent has set");
        }
        Ok(Self { socket: variable(SOCKET_VARIABLE)?.into(), token })
    }

    /// Asks and waits for the answer.
    pub(crate) fn post<Q: Serialize, A: DeserializeOwned>(&self, path: &str, request: &Q) -> anyhow::Result<A> {
        self.send("POST", path, request)
    }

    /// The same by another method.
    pub(crate) fn send<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        request: &Q,
    ) -> anyhow::Result<A> {
        self.request(method, path, &serde_json::to_vec(request)?)
    }

    /// One request.
    pub(crate) fn request<A: DeserializeOwned>(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<A> {
        let mut stream = socket::connect(&self.socket)
            .with_context(|| format!("the agent of this job cannot be reached at `{}`", self.socket.display()))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: agent\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.token,
            body.len()
        );
        // A request that is too large is answered before it is read to its end: what cannot be written is no error yet.
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response);
        if response.is_empty() {
            written.and_then(|()| read.map(drop)).context("the agent of this job does not answer")?;
        }
        let (status, body) = split(&response).context("the agent of this job has ended before it answered")?;
        if status == 200 {
            return serde_json::from_slice(body).context("the answer of the agent cannot be read");
        }
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => bail!("{}", refusal.error),
            Err(_) => bail!("the agent answered with status {status} {}", String::from_utf8_lossy(body).trim()),
        }
    }
}

/// Status and body of a response that is there whole.
fn split(response: &[u8]) -> Option<(u16, &[u8])> {
    let end = memchr::memmem::find(response, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&response[..end]).ok()?;
    let body = &response[end + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    (length.is_none_or(|length| body.len() == length)).then_some((status, body))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_response_is_taken_whole_or_not_at_all() {
        assert_eq!(split(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), Some((200, &b"{}"[..])));
        assert_eq!(split(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"), None);
        assert_eq!(split(b"HTTP/1.1 403 Forbidden\r\n\r\nno"), Some((403, &b"no"[..])));
        assert_eq!(split(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(split(b"nonsense\r\n\r\n"), None);
    }
}

//! `tidegate deliver`: what GitHub does when something happens.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tidegate_github::webhook::sign;
use tidegate_local::StateDir;

use crate::args::{Deliver, Global};
use crate::client::{base_url, client, find_server};
use crate::exit::{self, Expected};
use crate::out;

/// GitHub gives up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// `tidegate deliver`.
pub(super) async fn run(global: &Global, arguments: &Deliver) -> anyhow::Result<u8> {
    let body = read(&arguments.file)?;
    let secret = secret(global, arguments)?;
    let url = webhook_url(global).await?;
    let guid = arguments.delivery.clone().unwrap_or_else(|| fresh_guid().to_string());
    let delivery = Delivery { url: &url, event: &arguments.event, guid: &guid, body };
    let answer = delivery.send(&secret).await?;
    if global.json {
        let said = serde_json::from_str(&answer.body).unwrap_or_else(|_| Value::from(answer.body.clone()));
        out::json(&json!({ "status": answer.status, "delivery": guid, "answer": said }))?;
    } else {
        out::line(&format!("{} {}", answer.status, answer.body.trim_end()))?;
    }
    Ok(if (200..300).contains(&answer.status) { exit::DONE } else { exit::FAILED })
}

/// A new `X-GitHub-Delivery`.
pub(crate) fn fresh_guid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// A delivery.
pub(crate) struct Delivery<'a> {
    /// Where to.
    pub(crate) url: &'a Url,
    /// `X-GitHub-Event`.
    pub(crate) event: &'a str,
    /// `X-GitHub-Delivery`.
    pub(crate) guid: &'a str,
    /// The payload.
    pub(crate) body: Vec<u8>,
}

/// What the server said.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Delivery<'_> {
    /// Posts it with the headers that GitHub sends.
    pub(crate) async fn send(&self, secret: &SecretString) -> anyhow::Result<Answer> {
        let payload: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let target = payload.pointer("/repository/id").map(Value::to_string);
        let mut request = client(self.url)?
            .post(self.url.clone())
            .timeout(PATIENCE)
            .header("accept", "*/*")
            .header("user-agent", "GitHub-Hookshot/tidegate")
            .header("content-type", "application/json")
            .header("x-github-event", self.event)
            .header("x-github-delivery", self.guid)
            .header("x-github-hook-id", "1")
            .header("x-hub-signature-256", sign(secret, &self.body));
        if let Some(target) = target {
            request = request
                .header("x-github-hook-installation-target-type", "repository")
                .header("x-github-hook-installation-target-id", target);
        }
        let response = request.body(self.body.clone()).send().await.map_err(|error| {
            let why = if error.is_timeout() {
                "no answer in 10 s, which GitHub would count as failed"
            } else {
                "nothing answers"
            };
            if error.is_builder() {
                return Expected::usage(format!("`{}` or `{}` cannot be a header", self.event, self.guid));
            }
            Expected::unreachable(format!(
                "cannot deliver to {}: {why}. Is the server running? `tidegate up` starts it",
                self.url
            ))
        })?;
        let status = response.status().as_u16();
        let body = response.text().await.context("the answer broke off")?;
        Ok(Answer { status, body })
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut body).context("cannot read the standard input")?;
        return Ok(body);
    }
    std::fs::read(path).map_err(|error| Expected::usage(format!("cannot read `{}`: {error}", path.display())))
}

fn secret(global: &Global, arguments: &Deliver) -> anyhow::Result<SecretString> {
    if let Some(secret) = &arguments.secret {
        return Ok(SecretString::from(secret.clone()));
    }
    if let Some(path) = &arguments.secret_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Expected::usage(format!("cannot read `{}`: {error}", path.display())))?;
        // An editor ends a file with a line break that nobody means.
        let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        return Ok(SecretString::from(text.to_owned()));
    }
    let config = super::load(global).map_err(|error| {
        Expected::usage(format!("{error:#}. The secret can also be given with `--secret-file FILE`"))
    })?;
    let configured = config.webhook.map(|webhook| webhook.current).filter(|s| !s.expose_secret().is_empty());
    configured.ok_or_else(|| {
        Expected::usage(format!(
            "`{}` has no webhook secret: give one with `--secret-file FILE`",
            global.config_path().display()
        ))
    })
}

/// Where webhooks go to: `--url`, or the server of the state directory.
pub(crate) async fn webhook_url(global: &Global) -> anyhow::Result<Url> {
    let base = match &global.url {
        Some(url) => base_url(url)?,
        None => {
            let path = global.state_path()?;
            let server = match StateDir::read(&path) {
                Ok(state) => find_server(&state).await,
                Err(_) => None,
            };
            let server = server.ok_or_else(|| {
                Expected::unreachable(format!(
                    "no server runs on `{}`: start one with `tidegate up`, or say where it is with `--state DIR` or `--url \
                     URL`",
                    path.display()
                ))
            })?;
            base_url(&server.public_url)?
        }
    };
    Ok(with_path(base))
}

/// `/webhook` of a server, unless the URL has a path of its own.
pub(crate) fn with_path(mut url: Url) -> Url {
    if matches!(url.path(), "" | "/") {
        url.set_path("/webhook");
    }
    url
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_url_without_a_path_gets_that_of_webhooks() {
        for (given, expected) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1/webhook"),
            ("https://ci.example.com/", "https://ci.example.com/webhook"),
            ("https://ci.example.com/hooks/1", "https://ci.example.com/hooks/1"),
        ] {
            assert_eq!(with_path(base_url(given).unwrap()).as_str(), expected);
        }
        assert!(base_url("localhost:8080").is_err());
        assert!(base_url("file:///etc").is_err());
    }
}

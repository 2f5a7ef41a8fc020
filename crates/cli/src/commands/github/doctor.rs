//! `tidegate github doctor`: everything that has to be right, one by one, and what to do about what is not.

use serde::Serialize;
use tidegate_engine::ports::{Forge as _, ListedDelivery, PortError};
use tidegate_github::app::{About, App, EVENTS, Hook, Installed, PERMISSIONS, Rate};
use tidegate_github::client::GitHub;

use super::{app_of, web};
use crate::args::Global;
use crate::commands::load;
use crate::config::{Config, GitHubApi, GitHubIdentity};
use crate::exit;
use crate::out;
use crate::terminal::clean;

/// A clock that differs by more than this is worth a word, in seconds: tokens are dated a minute back.
const SMALL_SKEW: i64 = 10;
/// And by more than this costs a refusal each time the server starts.
const LARGE_SKEW: i64 = 60;

/// How bad.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Finding {
    /// A stable name.
    check: &'static str,
    state: State,
    /// What was found.
    what: String,
    /// What to do; empty where nothing is to be done.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    advice: String,
}

fn ok(check: &'static str, what: impl Into<String>) -> Finding {
    Finding { check, state: State::Ok, what: what.into(), advice: String::new() }
}

fn warning(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, state: State::Warning, what: what.into(), advice: advice.into() }
}

fn failed(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { check, state: State::Failed, what: what.into(), advice: advice.into() }
}

pub(super) async fn run(global: &Global) -> anyhow::Result<u8> {
    let config = load(global)?;
    let findings = match &config.github {
        None => {
            vec![failed("configuration", "there is no [github]", "run `tidegate github setup`, or give a `token_file`")]
        }
        Some(api) => match &api.identity {
            GitHubIdentity::Token(_) => of_token(&config).await?,
            GitHubIdentity::App { key_file, .. } => {
                let mut findings = key(key_file);
                match app_of(&config) {
                    Ok(app) => findings.extend(of_app(&config, api, app).await),
                    Err(error) => findings.push(failed(
                        "key",
                        format!("{error:#}"),
                        "make a new key in the App's settings at GitHub, and put it there",
                    )),
                }
                findings
            }
        },
    };
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    if global.json {
        out::json(&serde_json::json!({ "findings": findings }))?;
    } else {
        out::text(&shown(&findings))?;
    }
    Ok(if worst == State::Failed { exit::FAILED } else { exit::DONE })
}

fn shown(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.state {
            State::Ok => "ok  ",
            State::Warning => "warn",
            State::Failed => "FAIL",
        };
        text += &format!("{mark}  {:<13} {}\n", finding.check, clean(&finding.what));
        if !finding.advice.is_empty() {
            text += &format!("      {:<13} -> {}\n", "", clean(&finding.advice));
        }
    }
    text
}

fn key(file: &std::path::Path) -> Vec<Finding> {
    match crate::github::readable_by_others(file) {
        Some(mode) => vec![failed(
            "key",
            format!(
                "others on this machine can read `{}` (mode {mode:o}): it opens every repository of the App",
                file.display()
            ),
            format!("chmod 600 {}, and make a new key if somebody may have read it", file.display()),
        )],
        None => Vec::new(),
    }
}

async fn of_token(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let side = crate::github::github(config, std::sync::Arc::new(tidegate_engine::ports::NoCredentials))?;
    let mut findings = vec![warning(
        "identity",
        "a token: results are commit statuses, and GitHub cannot be asked for lost webhooks",
        "`tidegate github setup` makes an App, which can do both",
    )];
    findings.push(secret(config));
    let Some(forge) = side.forge else { return Ok(findings) };
    for repository in &config.repositories {
        findings.push(match forge.refs(repository).await {
            Ok(refs) => {
                ok("repository", format!("{}: {} branches and tags can be read", repository.full_name, refs.len()))
            }
            Err(error) => failed("repository", error.to_string(), "give the token access to it, or correct its name"),
        });
    }
    Ok(findings)
}

fn secret(config: &Config) -> Finding {
    match &config.webhook {
        None => failed("secret", "[webhook] has no secret: every delivery is refused", "set `secret_file`"),
        Some(webhook) => {
            match webhook.files.as_ref().and_then(|files| crate::github::readable_by_others(&files.current)) {
                Some(mode) => warning(
                    "secret",
                    format!("others can read the webhook secret (mode {mode:o})"),
                    "chmod 600 it, and rotate it",
                ),
                None => ok("secret", "there is a webhook secret"),
            }
        }
    }
}

async fn of_app(config: &Config, api: &GitHubApi, app: App) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match app.clock_difference().await {
        Ok(difference) => clock(difference),
        Err(error) => {
            let advice = format!("can this machine reach {}?", api.api_url);
            return vec![failed("reach", error.to_string(), advice)];
        }
    });
    let about = match app.about().await {
        Ok(about) => about,
        Err(error) => {
            findings.push(failed(
                "identity",
                error.to_string(),
                "compare `app_id` and the key with the App's settings at GitHub",
            ));
            return findings;
        }
    };
    let settings = format!("{}/settings/apps/{}", web(api), about.slug);
    findings.push(ok("identity", format!("the App `{}` (id {})", about.name, about.id)));
    findings.extend(permissions(&about, &settings));
    findings.push(events(&about, &settings));
    findings.push(secret(config));
    findings.push(match app.hook().await {
        Ok(hook) => webhook(&hook, &settings),
        Err(error) => failed("webhook", error.to_string(), format!("look at {settings}")),
    });
    match app.installed().await {
        Ok(installed) => findings.extend(accepted(&about, &installed, &web(api))),
        Err(error) => findings.push(failed("installation", error.to_string(), "try again")),
    }
    for repository in &config.repositories {
        findings.push(match app.installation_of(repository).await {
            Ok(_) => match app.rate(repository).await {
                Ok(rate) => limit(repository.full_name.as_str(), rate),
                Err(error) => failed("repository", error.to_string(), "see above"),
            },
            Err(PortError::Reject { .. }) => failed(
                "repository",
                format!("the App is not installed on {}, or that is not its name any more", repository.full_name),
                format!("install it: {}/installations/new", about.html_url),
            ),
            Err(error) => failed("repository", error.to_string(), "try again"),
        });
    }
    let forge = GitHub::with_app(std::sync::Arc::new(app));
    findings.push(match forge.deliveries(None).await {
        Ok(page) => deliveries(&page.deliveries),
        Err(error) => failed("deliveries", error.to_string(), "try again"),
    });
    findings
}

fn clock(difference: i64) -> Finding {
    let words = format!("GitHub's clock is {} s {}", difference.abs(), if difference < 0 { "behind" } else { "ahead" });
    match difference.abs() {
        0..=SMALL_SKEW => ok("clock", words),
        11..=LARGE_SKEW => warning("clock", words, "let this machine keep time: chrony, or systemd-timesyncd"),
        _ => failed("clock", words, "let this machine keep time: GitHub refuses tokens of the wrong date"),
    }
}

/// Whether a level is enough for another.
fn suffices(granted: Option<&String>, needed: &str) -> bool {
    granted.is_some_and(|granted| granted == needed || granted == "write" || granted == "admin")
}

fn permissions(about: &About, settings: &str) -> Vec<Finding> {
    let missing = PERMISSIONS.iter().filter(|(name, level, _)| !suffices(about.permissions.get(*name), level));
    let advice = format!("grant it at {settings}/permissions; owners of installations then accept it");
    let findings: Vec<Finding> = missing
        .map(|(name, level, why)| failed("permissions", format!("`{name}: {level}` is missing, {why}"), advice.clone()))
        .collect();
    if findings.is_empty() { vec![ok("permissions", "all that is needed")] } else { findings }
}

fn events(about: &About, settings: &str) -> Finding {
    let missing: Vec<&str> = EVENTS.into_iter().filter(|event| !about.events.iter().any(|e| e == event)).collect();
    if missing.is_empty() {
        ok("events", "all that is needed")
    } else {
        failed(
            "events",
            format!("not told of: {}", missing.join(", ")),
            format!("subscribe to them at {settings}/permissions"),
        )
    }
}

fn webhook(hook: &Hook, settings: &str) -> Finding {
    let url = hook.url.as_deref().unwrap_or_default();
    let parsed = url.parse::<reqwest::Url>().ok();
    match parsed {
        _ if url.is_empty() => failed("webhook", "the App has no webhook", format!("set its address at {settings}")),
        None => failed("webhook", format!("`{url}` is no address"), format!("correct it at {settings}")),
        Some(_) if hook.content_type != "json" => failed(
            "webhook",
            format!("payloads are sent as `{}`", hook.content_type),
            format!("choose JSON at {settings}"),
        ),
        Some(parsed) if !parsed.path().ends_with("/webhook") => warning(
            "webhook",
            format!("deliveries go to {url}, and this server listens at `/webhook`"),
            "correct it, unless a proxy rewrites it",
        ),
        Some(parsed) if parsed.scheme() != "https" => {
            warning("webhook", format!("deliveries go to {url}: everybody on the way can read them"), "use https")
        }
        Some(_) => ok("webhook", format!("deliveries go to {url}")),
    }
}

fn accepted(about: &About, installed: &[Installed], web: &str) -> Vec<Finding> {
    if installed.is_empty() {
        let advice = format!("install it: {}/installations/new", about.html_url);
        return vec![failed("installation", "the App is installed nowhere", advice)];
    }
    let mut findings = Vec::new();
    for one in installed {
        let (name, at) = (
            &one.account.login,
            format!("{web}/organizations/{}/settings/installations/{}", one.account.login, one.id),
        );
        let unaccepted = PERMISSIONS.iter().any(|(name, level, _)| {
            suffices(about.permissions.get(*name), level) && !suffices(one.permissions.get(*name), level)
        });
        findings.push(if one.suspended_at.is_some() {
            failed("installation", format!("the installation of {name} is suspended"), format!("unsuspend it at {at}"))
        } else if unaccepted {
            failed("installation", format!("{name} has not accepted all permissions"), format!("accept them at {at}"))
        } else {
            ok("installation", format!("installed by {name}"))
        });
    }
    findings
}

fn limit(repository: &str, rate: Rate) -> Finding {
    let words = format!("{repository}: {} of {} requests left this hour", rate.remaining, rate.limit);
    if rate.remaining * 10 < rate.limit {
        warning("rate limit", words, "what is shown may lag until the hour is over")
    } else {
        ok("rate limit", words)
    }
}

fn deliveries(recent: &[ListedDelivery]) -> Finding {
    let missing: Vec<&ListedDelivery> = recent
        .iter()
        .filter(|d| !d.arrived && !recent.iter().any(|other| other.guid == d.guid && other.arrived))
        .collect();
    let Some(last) = missing.first() else {
        return match recent.len() {
            0 => warning("deliveries", "none of the last three days is known", "push something, and look again"),
            n => ok("deliveries", format!("the last {n} arrived")),
        };
    };
    let advice = match last.status {
        401 => "the secret here is not the one at GitHub: `tidegate github rotate-secret` sets both",
        404 | 405 => "the address is not that of this server's `/webhook`",
        0 => "GitHub does not reach the address: it has to be public, and the server up",
        500.. => "the server, or a proxy before it, failed: look at its log at that time",
        _ => "`tidegate deliveries list` shows them",
    };
    let words = format!("{} of the last {} did not arrive; the last one: {}", missing.len(), recent.len(), last.words);
    failed("deliveries", words, format!("{advice}. The server asks for them again by itself"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::time::Timestamp;

    fn delivery(guid: &str, status: u16) -> ListedDelivery {
        ListedDelivery {
            id: 1,
            guid: guid.to_owned(),
            at: Timestamp(0),
            event: "push".to_owned(),
            action: None,
            repository: None,
            arrived: status == 202,
            status,
            words: format!("status {status}"),
            again: false,
        }
    }

    #[test]
    fn each_way_to_be_wrong_has_its_advice() {
        let about = |permissions: &[(&str, &str)], events: &[&str]| About {
            id: 1,
            slug: "tide".to_owned(),
            name: "Tide".to_owned(),
            html_url: "https://github.com/apps/tide".to_owned(),
            permissions: permissions.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect(),
            events: events.iter().map(|e| (*e).to_owned()).collect(),
        };
        let all: Vec<(&str, &str)> = PERMISSIONS.iter().map(|(name, level, _)| (*name, *level)).collect();
        let (whole, bare) = (about(&all, &EVENTS), about(&[("checks", "read"), ("contents", "write")], &["push"]));
        let hook =
            |url: &str, content_type: &str| Hook { url: Some(url.to_owned()), content_type: content_type.to_owned() };
        let mut findings = vec![clock(0), clock(-30), clock(600)];
        findings.extend(permissions(&whole, "S"));
        findings.extend(permissions(&bare, "S"));
        findings.extend([events(&whole, "S"), events(&bare, "S")]);
        for (url, kind) in [
            ("https://ci/webhook", "json"),
            ("", "json"),
            ("https://ci/webhook", "form"),
            ("https://ci/", "json"),
            ("http://ci/webhook", "json"),
        ] {
            findings.push(webhook(&hook(url, kind), "S"));
        }
        findings.push(limit("o/r", Rate { limit: 5_000, remaining: 4_000 }));
        findings.push(limit("o/r", Rate { limit: 5_000, remaining: 100 }));
        findings.push(deliveries(&[]));
        findings.push(deliveries(&[delivery("a", 202), delivery("a", 0)]));
        for status in [401, 404, 0, 502, 413] {
            findings.push(deliveries(&[delivery("b", status), delivery("a", 202)]));
        }
        insta::assert_snapshot!(shown(&findings), @r#"
ok    clock         GitHub's clock is 0 s ahead
warn  clock         GitHub's clock is 30 s behind
                    -> let this machine keep time: chrony, or systemd-timesyncd
FAIL  clock         GitHub's clock is 600 s ahead
                    -> let this machine keep time: GitHub refuses tokens of the wrong date
ok    permissions   all that is needed
FAIL  permissions   `checks: write` is missing, to show results
                    -> grant it at S/permissions; owners of installations then accept it
FAIL  permissions   `statuses: write` is missing, for `notify: github_commit_status`
                    -> grant it at S/permissions; owners of installations then accept it
FAIL  permissions   `metadata: read` is missing, to ask what people may do
                    -> grant it at S/permissions; owners of installations then accept it
FAIL  permissions   `pull_requests: read` is missing, to build pull requests
                    -> grant it at S/permissions; owners of installations then accept it
FAIL  permissions   `merge_queues: read` is missing, to build merge queues
                    -> grant it at S/permissions; owners of installations then accept it
ok    events        all that is needed
FAIL  events        not told of: pull_request, merge_group, check_run, check_suite, issue_comment, create, delete, repository
                    -> subscribe to them at S/permissions
ok    webhook       deliveries go to https://ci/webhook
FAIL  webhook       the App has no webhook
                    -> set its address at S
FAIL  webhook       payloads are sent as `form`
                    -> choose JSON at S
warn  webhook       deliveries go to https://ci/, and this server listens at `/webhook`
                    -> correct it, unless a proxy rewrites it
warn  webhook       deliveries go to http://ci/webhook: everybody on the way can read them
                    -> use https
ok    rate limit    o/r: 4000 of 5000 requests left this hour
warn  rate limit    o/r: 100 of 5000 requests left this hour
                    -> what is shown may lag until the hour is over
warn  deliveries    none of the last three days is known
                    -> push something, and look again
ok    deliveries    the last 2 arrived
FAIL  deliveries    1 of the last 2 did not arrive; the last one: status 401
                    -> the secret here is not the one at GitHub: `tidegate github rotate-secret` sets both. The server asks for them again by itself
FAIL  deliveries    1 of the last 2 did not arrive; the last one: status 404
                    -> the address is not that of this server's `/webhook`. The server asks for them again by itself
FAIL  deliveries    1 of the last 2 did not arrive; the last one: status 0
                    -> GitHub does not reach the address: it has to be public, and the server up. The server asks for them again by itself
FAIL  deliveries    1 of the last 2 did not arrive; the last one: status 502
                    -> the server, or a proxy before it, failed: look at its log at that time. The server asks for them again by itself
FAIL  deliveries    1 of the last 2 did not arrive; the last one: status 413
                    -> `tidegate deliveries list` shows them. The server asks for them again by itself
"#);
    }
}

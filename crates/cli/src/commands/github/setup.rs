//! `tidegate github setup`: makes an App from a manifest
//! (<https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>).
//!
//! GitHub wants the manifest in a form that a person sends, so a page on loopback holds that form. GitHub sends the person back to
//! that page with a code, which is exchanged for the App's id, key and webhook secret.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_github::app::{EVENTS, NewApp, PERMISSIONS, exchange};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::web;
use crate::args::{Global, Setup};
use crate::config::{Config, GitHubApi, GitHubIdentity};
use crate::exit::{self, Expected};
use crate::hook_secret::write_private;
use crate::out;

/// GitHub's codes live for an hour.
const PATIENCE: Duration = Duration::from_secs(3_600);
const KEY_FILE: &str = "github-app.pem";
const SECRET_FILE: &str = "webhook.secret";

/// What the page holds.
struct Page {
    host: String,
    state: String,
    action: String,
    manifest: Value,
    codes: mpsc::Sender<String>,
}

#[derive(Deserialize)]
struct Returned {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
}

pub(super) async fn run(global: &Global, arguments: &Setup) -> anyhow::Result<u8> {
    let config_path = global.config_path();
    let directory =
        config_path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned();
    let api_url = match (&arguments.api_url, Config::load(&config_path).ok().and_then(|config| config.github)) {
        (Some(url), _) => url.clone(),
        (None, Some(github)) => github.api_url,
        (None, None) => "https://api.github.com".to_owned(),
    };
    let api = GitHubApi {
        api_url,
        identity: GitHubIdentity::Token(SecretString::from("")),
        job_checks: tidegate_engine::JobChecks::default(),
        look_every: tidegate_core::lost::EVERY,
    };
    let base: reqwest::Url =
        api.api_url.parse().map_err(|_| Expected::usage(format!("`{}` is no address", api.api_url)))?;
    let (key_file, secret_file) = (directory.join(KEY_FILE), directory.join(SECRET_FILE));
    for file in [&key_file, &secret_file] {
        if file.exists() {
            return Err(Expected::usage(format!(
                "`{}` is there already: an App may be in use. Move it away, or set up in another directory with `--config`",
                file.display()
            )));
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await.context("cannot listen on loopback")?;
    let here = listener.local_addr()?;
    let hook = arguments.webhook_url.as_deref().map(webhook_address).transpose()?;
    let state = format!("{:032x}", rand::random::<u128>());
    let (codes, mut received) = mpsc::channel(1);
    let page = Arc::new(Page {
        host: here.to_string(),
        action: form_action(&api, arguments.org.as_deref(), &state),
        manifest: manifest(&arguments.name, hook.as_deref(), &format!("http://{here}/made")),
        state,
        codes,
    });
    let routes = axum::Router::new().route("/", get(form)).route("/made", get(made)).with_state(page);
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let address = format!("http://{here}/");
    out::note(&format!(
        "Open {address} in a browser on this machine, and send the form: GitHub asks you to confirm the App.\n\
         On another machine, first: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE",
        port = here.port()
    ));
    if !arguments.no_browser && std::io::stdout().is_terminal() {
        open_browser(&address);
    }
    let code = tokio::time::timeout(PATIENCE, received.recv()).await.ok().flatten();
    let code = code.context("nobody came back from GitHub within an hour: run it again")?;
    let app = exchange(base, &code).await?;
    // Long enough for the browser to have its page.
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.abort();
    let kept = keep(&app, &key_file, &secret_file)?;
    let text = configuration(&api, &app, kept.secret);
    let install = format!("{}/installations/new", app.html_url);
    let written = if config_path.exists() {
        false
    } else {
        std::fs::write(&config_path, &text).with_context(|| format!("cannot write `{}`", config_path.display()))?;
        true
    };
    if global.json {
        out::json(&json!({
            "app": { "id": app.id, "name": app.name, "slug": app.slug, "url": app.html_url },
            "private_key_file": key_file, "secret_file": kept.secret.then_some(&secret_file),
            "install": install, "config": config_path, "written": written, "configuration": text,
        }))?;
        return Ok(exit::DONE);
    }
    out::line(&format!("Made the App `{}` (id {}). Its key is in `{}`.", app.name, app.id, key_file.display()))?;
    if written {
        out::line(&format!("Wrote `{}`; add your repositories to it.", config_path.display()))?;
    } else {
        out::line(&format!("Put this into `{}`:\n\n{text}", config_path.display()))?;
    }
    out::line(&format!(
        "Install it on your repositories: {install}\nThen `tidegate up`, and `tidegate github doctor`."
    ))?;
    Ok(exit::DONE)
}

struct Kept {
    secret: bool,
}

fn keep(app: &NewApp, key_file: &Path, secret_file: &Path) -> anyhow::Result<Kept> {
    write_private(key_file, &app.private_key)?;
    if let Some(secret) = &app.webhook_secret {
        write_private(secret_file, secret)?;
    }
    Ok(Kept { secret: app.webhook_secret.is_some() })
}

fn configuration(api: &GitHubApi, app: &NewApp, secret: bool) -> String {
    let mut text = String::new();
    if secret {
        text += &format!("[webhook]\nsecret_file = \"{SECRET_FILE}\"\n\n");
    }
    text += &format!("[github]\napp_id = {}\nprivate_key_file = \"{KEY_FILE}\"\n", app.id);
    if api.api_url != "https://api.github.com" {
        text += &format!("api_url = \"{}\"\n", api.api_url);
    }
    text
}

fn webhook_address(text: &str) -> anyhow::Result<String> {
    let url: reqwest::Url = text.parse().map_err(|_| Expected::usage(format!("`{text}` is no web address")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Expected::usage(format!("`{text}` is no web address")));
    }
    Ok(crate::commands::deliver::with_path(url).to_string())
}

/// Where the form is sent to.
fn form_action(api: &GitHubApi, org: Option<&str>, state: &str) -> String {
    let web = web(api);
    match org {
        Some(org) => format!("{web}/organizations/{org}/settings/apps/new?state={state}"),
        None => format!("{web}/settings/apps/new?state={state}"),
    }
}

fn manifest(name: &str, hook: Option<&str>, redirect: &str) -> Value {
    let permissions: serde_json::Map<String, Value> =
        PERMISSIONS.iter().map(|(name, level, _)| ((*name).to_owned(), Value::from(*level))).collect();
    let mut manifest = json!({
        "name": name,
        "url": "https://github.com/features/integrations",
        "redirect_url": redirect,
        "public": false,
        "default_permissions": permissions,
        "default_events": EVENTS,
    });
    // GitHub wants an address in any case; one that is not used is better than deliveries to a place that nobody listens at.
    manifest["hook_attributes"] = match hook {
        Some(url) => json!({ "url": url, "active": true }),
        None => json!({ "url": "https://example.com/webhook", "active": false }),
    };
    manifest
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(title: &str, body: &str, form_action: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><h1>{title}</h1>{body}</html>"
    );
    let policy = format!("default-src 'none'; form-action {form_action}; frame-ancestors 'none'; base-uri 'none'");
    ([(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer".to_owned())], Html(html))
        .into_response()
}

/// Whether a request is for this page, and not for a name that was made to point here.
fn is_here(page: &Page, headers: &HeaderMap) -> bool {
    headers.get(header::HOST).is_some_and(|host| host.as_bytes() == page.host.as_bytes())
}

async fn form(State(page_): State<Arc<Page>>, headers: HeaderMap) -> Response {
    if !is_here(&page_, &headers) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let body = format!(
        "<p>GitHub will show you what the App may do, and ask for its name. Nothing is sent before you press the button.</p>\
         <form action=\"{}\" method=\"post\"><input type=\"hidden\" name=\"manifest\" value=\"{}\">\
         <button>Make the App at GitHub</button></form>",
        attribute(&page_.action),
        attribute(&page_.manifest.to_string())
    );
    let origin = page_.action.split('/').take(3).collect::<Vec<_>>().join("/");
    page("Tidegate and GitHub", &body, &origin)
}

async fn made(State(page_): State<Arc<Page>>, headers: HeaderMap, Query(returned): Query<Returned>) -> Response {
    if !is_here(&page_, &headers) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    // Somebody else could send a person here with a code of an App of theirs.
    if returned.state != page_.state || returned.code.is_empty() {
        let refusal = page("This is not the App that was asked for", "<p>Nothing was kept.</p>", "'none'");
        return (StatusCode::BAD_REQUEST, refusal).into_response();
    }
    match page_.codes.try_send(returned.code) {
        Ok(()) => page("The App is made", "<p>Go on in the terminal; this page can be closed.</p>", "'none'"),
        Err(_) => page("Already done", "<p>Go on in the terminal.</p>", "'none'"),
    }
}

/// Tries to; whoever has none opens the address by hand.
fn open_browser(address: &str) {
    let opener: PathBuf = if cfg!(target_os = "macos") { "open".into() } else { "xdg-open".into() };
    let quiet = || std::process::Stdio::null();
    let _ = std::process::Command::new(opener).arg(address).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}

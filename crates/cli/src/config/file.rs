//! The file as it is written, and how it is checked.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use tidegate_core::fleet::{Isolation, PoolPolicy};
use tidegate_core::ids::{PipelineSlug, PoolName, RepositoryId, RepositoryName};
use tidegate_core::trust::{Forks, Trust};
use tidegate_core::wire::instance::Forbidden;
use tidegate_engine::ports::RepositorySource;
use tidegate_engine::{PipelineSettings, ScheduleSettings};
use tidegate_local::Token;
use toml::Spanned;

use crate::hook_secret::SecretFiles;

use super::duration::Span;
use super::github::{GitHub, github};
use super::limits::Limits;
use super::{
    Config, ConfigError, GitHubApi, GitHubIdentity, Local, NotifyConfig, WebhookSecrets, default_pool, suggest,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: Option<Spanned<String>>,
    api_listen: Option<Spanned<String>>,
    base_url: Option<Spanned<String>>,
    organization: Option<String>,
    #[serde(default)]
    webhook: Webhook,
    github: Option<GitHub>,
    #[serde(default)]
    repository: Vec<Repository>,
    #[serde(default)]
    pipeline: Vec<Pipeline>,
    #[serde(default)]
    pool: Vec<Pool>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    retention: Retention,
    #[serde(default)]
    notify: NotifyTable,
    #[serde(default)]
    hooks: Hooks,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    secret: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    previous_secret: Option<Spanned<String>>,
    previous_secret_file: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repository {
    full_name: Spanned<String>,
    id: Spanned<u64>,
    clone_url: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pipeline {
    slug: Spanned<String>,
    repository: Spanned<String>,
    file: Option<Spanned<String>>,
    #[serde(default)]
    branches: Branches,
    skip_intermediate_builds: Option<Filter>,
    cancel_intermediate_builds: Option<Filter>,
    pull_requests: Option<Filter>,
    forks: Option<Forks>,
    cancel_deleted_branches: Option<bool>,
    #[serde(default)]
    schedule: Vec<Schedule>,
}

/// Where something holds: `true` everywhere, or the patterns of branches.
#[derive(Deserialize)]
#[serde(untagged)]
enum Filter {
    All(bool),
    Text(String),
    List(Vec<String>),
}

impl Filter {
    fn patterns(&self) -> Option<Vec<String>> {
        match self {
            Filter::All(all) => all.then(Vec::new),
            Filter::Text(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
            Filter::List(list) => Some(list.clone()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schedule {
    cron: Spanned<String>,
    branch: Option<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Branches {
    #[default]
    All,
    Text(String),
    List(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    name: Spanned<String>,
    width: u32,
    idle: Option<Span>,
    hard_stop: Option<Span>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    no_command_eval: Option<bool>,
    no_local_hooks: Option<bool>,
    no_plugins: Option<bool>,
    #[serde(default)]
    trust: PoolTrust,
    isolation: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
enum PoolTrust {
    #[default]
    Trusted,
    Untrusted,
}

/// What an owner writes out who lets code of strangers run as it is.
const AT_OWN_RISK: &str = "none, at my own risk";

/// What keeps child processes of this server apart: nothing that would stop anybody.
const CHILD_PROCESSES: &str = "its instances are child processes of this server, so that jobs run as its own user, read its \
     files and reach its network. Run such jobs on machines of their own; or, if you accept that anybody who opens a pull \
     request may do all that, write `isolation = \"none, at my own risk\"` in that [[pool]]";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotifyTable {
    webhook_secret: Option<Spanned<String>>,
    webhook_secret_file: Option<Spanned<PathBuf>>,
    slack_url: Option<Spanned<String>>,
    slack_url_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retention {
    builds: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hooks {
    dir: Option<PathBuf>,
    plugin_mirrors: Option<PathBuf>,
    no_command_eval: Option<bool>,
    no_local_hooks: Option<bool>,
    no_plugins: Option<bool>,
}

/// Where findings are.
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    pub(super) fn wrong(&self, at: Option<std::ops::Range<usize>>, message: impl Into<String>) -> ConfigError {
        let (line, column) = at.map_or((0, 0), |span| {
            let before = &self.text[..span.start.min(self.text.len())];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        });
        ConfigError::Wrong { path: self.path.to_owned(), line, column, message: message.into() }
    }

    fn at<T, V, E: std::fmt::Display>(
        &self,
        value: &Spanned<T>,
        parse: impl FnOnce(&T) -> Result<V, E>,
    ) -> Result<V, ConfigError> {
        parse(value.get_ref()).map_err(|error| self.wrong(Some(value.span()), error.to_string()))
    }

    pub(super) fn beside(&self, file: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| file.to_owned(), |dir| dir.join(file))
    }

    /// A secret, written here or in a file of its own. A newline at the end of the file does not count.
    pub(super) fn secret(
        &self,
        what: &str,
        here: Option<&Spanned<String>>,
        file: Option<&Spanned<PathBuf>>,
    ) -> Result<Option<SecretString>, ConfigError> {
        let (text, span) = match (here, file) {
            (Some(_), Some(file)) => {
                return Err(
                    self.wrong(Some(file.span()), format!("`{what}` and `{what}_file` are both given: keep one"))
                );
            }
            (None, None) => return Ok(None),
            (Some(here), None) => (here.get_ref().clone(), here.span()),
            (None, Some(file)) => {
                let path = self.beside(file.get_ref());
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    self.wrong(Some(file.span()), format!("cannot read `{}`: {error}", path.display()))
                })?;
                (text.trim_end_matches(['\r', '\n']).to_owned(), file.span())
            }
        };
        if text.is_empty() {
            return Err(self.wrong(Some(span), format!("`{what}` is empty: anybody could sign with it")));
        }
        Ok(Some(SecretString::from(text)))
    }
}

/// Makes serde's complaint about an unknown key a suggestion.
fn with_suggestion(message: &str) -> String {
    let message = message.trim();
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let Some((unknown, expected)) = rest.split_once('`') else { return message.to_owned() };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    match suggest::nearest(unknown, known.iter().copied()) {
        Some(near) => format!("unknown key `{unknown}`: did you mean `{near}`?"),
        None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
    }
}

impl Reader<'_> {
    fn written(&self) -> Result<Written, ConfigError> {
        toml::from_str(self.text).map_err(|error| self.wrong(error.span(), with_suggestion(error.message())))
    }
}

pub(super) fn local_of(path: &Path, text: &str) -> Result<Local, ConfigError> {
    let reader = Reader { path, text };
    let written = reader.written()?;
    Ok(Local {
        limits: written.limits.checked(&reader)?,
        hooks_dir: written.hooks.dir.map(|dir| reader.beside(&dir)),
        plugin_mirrors: written.hooks.plugin_mirrors.map(|dir| reader.beside(&dir)),
    })
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let reader = Reader { path, text };
    let written = reader.written()?;
    let defaults = Config::default();
    let address = |value: &Option<Spanned<String>>, default: SocketAddr| match value {
        None => Ok(default),
        Some(value) => reader.at(value, |text| {
            text.parse()
                .map_err(|_| format!("`{text}` is not an address: write IP and port, such as \"127.0.0.1:8920\""))
        }),
    };
    let listen = address(&written.listen, defaults.listen)?;
    let api_listen = address(&written.api_listen, defaults.api_listen)?;
    let webhook = webhook(&reader, &written.webhook)?;
    let github = github(&reader, written.github.as_ref())?;
    let repositories = repositories(&reader, &written.repository, github.as_ref())?;
    let tokens = tokens(&reader, &written, github.as_ref(), &repositories)?;
    let pipelines = pipelines(&reader, &written.pipeline, &repositories)?;
    let pools = pools(&reader, &written.pool)?;
    let forbidden = pools
        .iter()
        .map(|pool| {
            let own = written.pool.iter().find(|own| own.name.get_ref() == pool.name.as_str());
            (pool.name.clone(), forbidden(own, &written.hooks))
        })
        .collect();
    let base_url = match &written.base_url {
        None => String::new(),
        Some(url) => reader.at(url, |url| {
            let web = url.starts_with("https://") || url.starts_with("http://");
            if web { Ok(url.trim_end_matches('/').to_owned()) } else { Err(format!("`{url}` is not a web address")) }
        })?,
    };
    Ok(Config {
        listen,
        api_listen,
        webhook,
        github,
        repositories,
        tokens,
        pipelines,
        pools,
        limits: written.limits.checked(&reader)?,
        base_url,
        organization: written.organization.unwrap_or(defaults.organization),
        retention: written.retention.builds.map_or(defaults.retention, |span| span.0),
        notify: notify(&reader, &written.notify)?,
        hooks_dir: written.hooks.dir.map(|dir| reader.beside(&dir)),
        forbidden,
        plugin_mirrors: written.hooks.plugin_mirrors.map(|dir| reader.beside(&dir)),
        secrets: None,
    })
}

fn notify(reader: &Reader<'_>, written: &NotifyTable) -> Result<NotifyConfig, ConfigError> {
    let webhook_secret =
        reader.secret("webhook_secret", written.webhook_secret.as_ref(), written.webhook_secret_file.as_ref())?;
    let slack_url = reader.secret("slack_url", written.slack_url.as_ref(), written.slack_url_file.as_ref())?;
    Ok(NotifyConfig { webhook_secret, slack_url, allow_private: written.allow_private })
}

fn webhook(reader: &Reader<'_>, written: &Webhook) -> Result<Option<WebhookSecrets>, ConfigError> {
    let current = reader.secret("secret", written.secret.as_ref(), written.secret_file.as_ref())?;
    // A file of the secret before is there only while a change is under way.
    let file = written.previous_secret_file.as_ref().filter(|file| reader.beside(file.get_ref()).exists());
    let previous = reader.secret("previous_secret", written.previous_secret.as_ref(), file)?;
    let files = written.secret_file.as_ref().filter(|_| written.previous_secret.is_none()).map(|file| {
        let previous = written.previous_secret_file.as_ref().map(|file| reader.beside(file.get_ref()));
        SecretFiles::of(reader.beside(file.get_ref()), previous)
    });
    match (current, previous) {
        (Some(current), previous) => Ok(Some(WebhookSecrets { current, previous, files })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(reader.wrong(None, "[webhook] has a previous secret and no current one")),
    }
}

fn repositories(
    reader: &Reader<'_>,
    written: &[Repository],
    github: Option<&GitHubApi>,
) -> Result<Vec<RepositorySource>, ConfigError> {
    let host = github.and_then(GitHubApi::git_host).unwrap_or("github.com");
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    let mut repositories = Vec::new();
    for repository in written {
        let full_name = reader.at(&repository.full_name, |name| RepositoryName::new(name.clone()))?;
        let id = RepositoryId(*repository.id.get_ref());
        if !ids.insert(id) {
            return Err(reader.wrong(Some(repository.id.span()), format!("the id {id} is given twice")));
        }
        if !names.insert(full_name.clone()) {
            return Err(reader.wrong(Some(repository.full_name.span()), format!("`{full_name}` is given twice")));
        }
        let clone_url = match &repository.clone_url {
            None => format!("https://{host}/{full_name}.git"),
            Some(url) => reader.at(url, |url| clone_url(url))?,
        };
        repositories.push(RepositorySource { id, full_name, clone_url });
    }
    Ok(repositories)
}

/// The tokens by which git reads repositories over HTTP: a repository's own, or that of `[github]` for what is there.
fn tokens(
    reader: &Reader<'_>,
    written: &Written,
    github: Option<&GitHubApi>,
    repositories: &[RepositorySource],
) -> Result<Vec<(RepositoryId, Token)>, ConfigError> {
    let mut tokens = Vec::new();
    for (written_one, repository) in written.repository.iter().zip(repositories) {
        let here = reader.secret("token", written_one.token.as_ref(), written_one.token_file.as_ref())?;
        let own = here.map(|text| token(reader, text, written_one.token_file.as_ref()));
        if own.is_some()
            && let Some(why) = no_place_for_a_token(&repository.clone_url)
        {
            let span = written_one.token.as_ref().map(Spanned::span);
            let span = span.or_else(|| written_one.token_file.as_ref().map(Spanned::span));
            return Err(reader.wrong(span, why));
        }
        let shared = || {
            let (github, section) = (github?, written.github.as_ref()?);
            let GitHubIdentity::Token(shared) = &github.identity else { return None };
            let host = github.git_host()?;
            let url = &repository.clone_url;
            let is_there = tidegate_git::credential::host(url)? == host && no_place_for_a_token(url).is_none();
            is_there.then(|| token(reader, shared.clone(), section.token_file.as_ref()))
        };
        tokens.extend(own.or_else(shared).map(|token| (repository.id, token)));
    }
    Ok(tokens)
}

/// Why a token cannot be used at an address, if so.
fn no_place_for_a_token(url: &str) -> Option<String> {
    if tidegate_git::credential::host(url).is_none() {
        return Some(format!("a token is of use over HTTP only, and the address is `{url}`"));
    }
    let open = !tidegate_git::credential::is_unread(url);
    open.then(|| format!("everybody on the way could read the token: write `https` in the address `{url}`"))
}

fn token(reader: &Reader<'_>, text: SecretString, file: Option<&Spanned<PathBuf>>) -> Token {
    file.map_or(Token::Text(text), |file| Token::File(reader.beside(file.get_ref())))
}

fn clone_url(url: &str) -> Result<String, String> {
    if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
        return Err(format!("`{}` is not an address that can be cloned", url.escape_debug()));
    }
    let authority = url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.is_some_and(|a| a.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))) {
        // Not repeated here: it holds the password.
        return Err(
            "the address holds a password: give `token_file` instead, or use a git credential helper".to_owned()
        );
    }
    Ok(url.to_owned())
}

fn branch_name(name: &str) -> Result<String, String> {
    if tidegate_core::event::is_ref_name(name) {
        Ok(name.to_owned())
    } else {
        Err(format!("`{name}` is no branch name"))
    }
}

fn pipelines(
    reader: &Reader<'_>,
    written: &[Pipeline],
    repositories: &[RepositorySource],
) -> Result<Vec<PipelineSettings>, ConfigError> {
    let mut slugs = HashSet::new();
    let mut pipelines = Vec::new();
    for pipeline in written {
        let slug = reader.at(&pipeline.slug, |slug| PipelineSlug::new(slug.clone()))?;
        if !slugs.insert(slug.clone()) {
            return Err(reader.wrong(Some(pipeline.slug.span()), format!("the slug `{slug}` is given twice")));
        }
        let repository = reader.at(&pipeline.repository, |name| {
            repositories.iter().find(|r| r.full_name.as_str() == name).map(|r| r.id).ok_or_else(|| {
                let names = repositories.iter().map(|r| r.full_name.as_str());
                match suggest::nearest(name, names) {
                    Some(near) => format!("there is no [[repository]] `{name}`: did you mean `{near}`?"),
                    None => format!("there is no [[repository]] `{name}`"),
                }
            })
        })?;
        let file = pipeline
            .file
            .as_ref()
            .map(|file| {
                reader.at(file, |path| {
                    let inside =
                        !path.is_empty() && !path.starts_with('/') && !path.split('/').any(|part| part == "..");
                    if inside { Ok(path.clone()) } else { Err(format!("`{path}` is not a path inside the repository")) }
                })
            })
            .transpose()?;
        let branches = match &pipeline.branches {
            Branches::All => Vec::new(),
            Branches::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Branches::List(list) => list.clone(),
        };
        let mut schedules = Vec::new();
        for schedule in &pipeline.schedule {
            schedules.push(ScheduleSettings {
                cron: reader.at(&schedule.cron, |cron| tidegate_core::schedule::Schedule::parse(cron))?,
                branch: schedule
                    .branch
                    .as_ref()
                    .map(|branch| reader.at(branch, |name| branch_name(name)))
                    .transpose()?,
                env: schedule.env.clone().into_iter().collect(),
                message: schedule.message.clone(),
            });
        }
        pipelines.push(PipelineSettings {
            slug,
            repository,
            file,
            branches,
            skip_intermediate: pipeline.skip_intermediate_builds.as_ref().and_then(Filter::patterns),
            cancel_intermediate: pipeline.cancel_intermediate_builds.as_ref().and_then(Filter::patterns),
            schedules,
            pull_requests: pipeline.pull_requests.as_ref().map_or(Some(Vec::new()), Filter::patterns),
            forks: pipeline.forks,
            cancel_deleted_branches: pipeline.cancel_deleted_branches.unwrap_or(true),
        });
    }
    // Repositories without a pipeline of their own are given one of their name; two of one name would share builds.
    let configured: HashSet<RepositoryId> = pipelines.iter().map(|p: &PipelineSettings| p.repository).collect();
    for repository in repositories.iter().filter(|r| !configured.contains(&r.id)) {
        let name = repository.full_name.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        let slug = PipelineSlug::new(name).map_err(|error| reader.wrong(None, error.to_string()))?;
        if !slugs.insert(slug.clone()) {
            let why = format!(
                "`{}` would have the pipeline `{slug}`, which is taken: give it a [[pipeline]] with another slug",
                repository.full_name
            );
            return Err(reader.wrong(None, why));
        }
        pipelines.push(PipelineSettings::new(slug, repository.id));
    }
    Ok(pipelines)
}

/// What a pool says counts before what is said for all. Without command evaluation or hooks of the repository there are no
/// plugins either, unless they are allowed by name: as in the reference.
fn forbidden(pool: Option<&Pool>, all: &Hooks) -> Forbidden {
    let command_eval = pool.and_then(|pool| pool.no_command_eval).or(all.no_command_eval).unwrap_or_default();
    let local_hooks = pool.and_then(|pool| pool.no_local_hooks).or(all.no_local_hooks).unwrap_or_default();
    let plugins = pool.and_then(|pool| pool.no_plugins).or(all.no_plugins).unwrap_or(command_eval || local_hooks);
    Forbidden { command_eval, local_hooks, plugins }
}

fn isolation(reader: &Reader<'_>, pool: &Pool) -> Result<Isolation, ConfigError> {
    match &pool.isolation {
        None => Ok(Isolation::Missing(CHILD_PROCESSES.to_owned())),
        Some(written) => reader.at(written, |text| match text.as_str() {
            AT_OWN_RISK if pool.trust == PoolTrust::Untrusted => Ok(Isolation::Waived),
            AT_OWN_RISK => Err("`isolation` is of use where `trust = \"untrusted\"`".to_owned()),
            other => Err(format!("`{other}` is nothing that this server can do: write \"{AT_OWN_RISK}\", or nothing")),
        }),
    }
}

fn pools(reader: &Reader<'_>, written: &[Pool]) -> Result<Vec<PoolPolicy>, ConfigError> {
    if written.is_empty() {
        return Ok(vec![default_pool()]);
    }
    let mut names = HashSet::new();
    let mut pools = Vec::new();
    for pool in written {
        let name = reader.at(&pool.name, |name| PoolName::new(name.clone()))?;
        if !names.insert(name.clone()) {
            return Err(reader.wrong(Some(pool.name.span()), format!("the pool `{name}` is given twice")));
        }
        let mut tags = vec![("queue".to_owned(), name.to_string())];
        tags.extend(pool.tags.iter().filter(|(tag, _)| *tag != "queue").map(|(t, v)| (t.clone(), v.clone())));
        let defaults = default_pool();
        pools.push(PoolPolicy {
            name,
            width: pool.width,
            idle: pool.idle.map_or(defaults.idle, |span| span.0),
            hard_stop: pool.hard_stop.map_or(defaults.hard_stop, |span| span.0),
            tags,
            trust: match pool.trust {
                PoolTrust::Trusted => Trust::Trusted,
                PoolTrust::Untrusted => Trust::Untrusted,
            },
            isolation: isolation(reader, pool)?,
        });
    }
    Ok(pools)
}

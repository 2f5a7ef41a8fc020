//! Plugins: where one comes from, and the variables it gets (`spec/pipeline.md` 1.14).

use serde_json::Value as Json;
use thiserror::Error;

/// Where a plugin comes from, written out: `docker#v5` is
/// `github.com/buildkite-plugins/docker-buildkite-plugin#v5`.
pub fn full_source(source: &str) -> String {
    if source.is_empty() || source.starts_with(['/', '.', '\\']) || has_scheme(source) {
        return source.to_owned();
    }
    let (path, version) = match source.split_once('#') {
        Some((path, version)) => (path, Some(version).filter(|version| !version.is_empty())),
        None => (source, None),
    };
    let path = path.split('?').next().unwrap_or(path);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (owner, name) = match parts.as_slice() {
        [name] => ("buildkite-plugins", *name),
        [owner, name] => (*owner, *name),
        _ => return source.to_owned(),
    };
    let version = version.map(|version| format!("#{version}")).unwrap_or_default();
    format!("github.com/{owner}/{name}-buildkite-plugin{version}")
}

/// `ssh://…`, `C:\…`, `git@host:…`: written by somebody who means it, or no URL at all.
fn has_scheme(source: &str) -> bool {
    let Some((scheme, _)) = source.split_once(':') else { return false };
    // A colon after the first slash belongs to the path.
    !scheme.contains('/')
}

/// An empty map or list of settings is none.
pub(crate) fn canonical_config(config: Json) -> Json {
    match &config {
        Json::Object(map) if map.is_empty() => Json::Null,
        Json::Array(items) if items.is_empty() => Json::Null,
        _ => config,
    }
}

/// Where a plugin is fetched from, taken apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Definition {
    /// Host and path, or a path in a file system.
    pub location: String,
    /// What stands behind `#`: a tag, a branch or a commit. Empty where there is none.
    pub version: String,
    /// `https`, `ssh`, `zip+https` and so on; empty where none is written.
    pub scheme: String,
    /// `user` or `user:password`.
    pub authentication: Option<String>,
}

/// Why a plugin's source, or its configuration, cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PluginError {
    /// More than one `#`.
    #[error("more than one `#` in the plugin `{0}`")]
    TwoVersions(String),
    /// A colon in the first part of a path, or in a port.
    #[error("`{0}` is neither a URL nor a path")]
    NotAUrl(String),
    /// Too few parts to name a repository.
    #[error("`{0}` does not name a repository")]
    Incomplete(String),
    /// `BUILDKITE_PLUGINS` is not a list of plugins.
    #[error("not a list of plugins: {0}")]
    NotAList(String),
}

impl Definition {
    /// Takes a source apart, such as `https://user@host/path#v1`.
    ///
    /// # Errors
    ///
    /// When it is neither a URL nor a path, or has two versions.
    pub fn new(source: &str) -> Result<Self, PluginError> {
        let (place, version) = source.split_once('#').unwrap_or((source, ""));
        if version.contains('#') {
            return Err(PluginError::TwoVersions(source.to_owned()));
        }
        let place = place.split('?').next().unwrap_or(place);
        let version = version.to_owned();
        let Some((scheme, rest)) = place.split_once("://") else {
            if place.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err(PluginError::NotAUrl(source.to_owned()));
            }
            return Ok(Self { location: place.to_owned(), version, ..Self::default() });
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (authentication, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        if host.rsplit_once(':').is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(PluginError::NotAUrl(source.to_owned()));
        }
        Ok(Self { location: format!("{host}{path}"), version, scheme: scheme.to_owned(), authentication })
    }

    /// The plugins of `BUILDKITE_PLUGINS`, with their configurations; an empty map where there is none.
    ///
    /// # Errors
    ///
    /// When the text is not a list of sources and of maps from a source to a configuration.
    pub fn list(json: &str) -> Result<Vec<(Self, Json)>, PluginError> {
        let fail = |what: &str| PluginError::NotAList(what.to_owned());
        let empty = || Json::Object(serde_json::Map::new());
        let value: Json = serde_json::from_str(json).map_err(|error| fail(&error.to_string()))?;
        let Json::Array(items) = value else { return Err(fail("it is not a list")) };
        let mut out = Vec::new();
        for item in items {
            match item {
                Json::String(source) => out.push((Self::new(&source)?, empty())),
                Json::Object(map) => {
                    for (source, config) in map {
                        let config = match config {
                            Json::Null => empty(),
                            Json::Object(_) => config,
                            _ => return Err(fail(&format!("the configuration of `{source}` is not a map"))),
                        };
                        out.push((Self::new(&source)?, config));
                    }
                }
                _ => return Err(fail("an entry is neither a source nor a map")),
            }
        }
        Ok(out)
    }

    /// Whether it stands in the repository itself, so that it is read after the checkout.
    pub fn is_vendored(&self) -> bool {
        self.location.starts_with('.')
    }

    /// Whether it is an archive.
    pub fn is_zip(&self) -> bool {
        self.scheme.starts_with("zip+")
    }

    /// The scheme by which an archive is fetched; the scheme itself for anything else.
    pub fn base_scheme(&self) -> &str {
        self.scheme.strip_prefix("zip+").unwrap_or(&self.scheme)
    }

    /// The name in variables, in lower case: the last part of the location, without `-buildkite-plugin` and `.git`.
    pub fn name(&self) -> String {
        let location = self.location.replace('\\', "/");
        let last = location.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        let lower = last.trim_start_matches('.').to_lowercase();
        // A run of blanks is one.
        let mut spaced = String::with_capacity(lower.len());
        for c in lower.chars() {
            if !c.is_whitespace() {
                spaced.push(c);
            } else if !spaced.ends_with(' ') {
                spaced.push(' ');
            }
        }
        let plain: String = spaced.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        plain.replace("-buildkite-plugin-git", "").replace("-buildkite-plugin", "")
    }

    /// Location and version as the name of a directory.
    pub fn identifier(&self) -> String {
        let label =
            if self.version.is_empty() { self.location.clone() } else { format!("{}#{}", self.location, self.version) };
        let mut out = String::with_capacity(label.len());
        for c in label.chars() {
            if c.is_ascii_alphanumeric() {
                out.push(c);
            } else if !out.ends_with('-') {
                out.push('-');
            }
        }
        out.trim_matches('-').to_owned()
    }

    /// The repository to clone, with scheme and authentication, and without a directory inside it.
    ///
    /// # Errors
    ///
    /// When the location has too few parts.
    pub fn repository(&self) -> Result<String, PluginError> {
        let mut out = self.repository_path()?;
        if let Some(user) = &self.authentication {
            out = format!("{user}@{out}");
        }
        if out.starts_with('/') {
            return Ok(out);
        }
        let scheme = if self.scheme.is_empty() { "https" } else { &self.scheme };
        Ok(format!("{scheme}://{out}"))
    }

    /// The directory of the plugin inside its repository; empty for the repository itself.
    ///
    /// # Errors
    ///
    /// When the location has too few parts.
    pub fn subdirectory(&self) -> Result<String, PluginError> {
        let repository = self.repository_path()?;
        let rest = self.location.strip_prefix(repository.as_str()).unwrap_or(&self.location);
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        Ok(rest.strip_suffix(".git").unwrap_or(rest).to_owned())
    }

    fn repository_path(&self) -> Result<String, PluginError> {
        let incomplete = || PluginError::Incomplete(self.location.clone());
        let parts: Vec<&str> = self.location.split('/').collect();
        if parts.len() < 2 {
            return Err(incomplete());
        }
        match parts[0] {
            "github.com" | "bitbucket.org" | "gitlab.com" if parts.len() < 3 => Err(incomplete()),
            "github.com" | "bitbucket.org" => Ok(parts[..3].join("/")),
            "gitlab.com" => Ok(parts.join("/")),
            _ => {
                let end = parts.iter().position(|part| part.ends_with(".git")).unwrap_or(parts.len() - 1);
                Ok(parts[..=end].join("/"))
            }
        }
    }

    /// The variables of a job for this plugin: its name, its configuration as JSON, and one for each setting, with
    /// lists indexed and maps joined by `_`. A setting that is null has none.
    pub fn environment(&self, config: &Json) -> Vec<(String, String)> {
        let name = variable_part(&self.name());
        let mut out = vec![
            ("BUILDKITE_PLUGIN_NAME".to_owned(), name.clone()),
            ("BUILDKITE_PLUGIN_CONFIGURATION".to_owned(), crate::json::go_text(config)),
        ];
        flatten(config, &format!("BUILDKITE_PLUGIN_{name}"), &mut out);
        out
    }
}

fn flatten(value: &Json, name: &str, out: &mut Vec<(String, String)>) {
    match value {
        Json::Null => {}
        Json::Bool(value) => out.push((name.to_owned(), value.to_string())),
        Json::Number(number) => out.push((name.to_owned(), number.to_string())),
        Json::String(text) => out.push((name.to_owned(), text.clone())),
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                flatten(item, &format!("{name}_{at}"), out);
            }
        }
        Json::Object(map) => {
            for (key, item) in map {
                flatten(item, &format!("{name}_{}", variable_part(key)), out);
            }
        }
    }
}

/// A part of a variable's name: upper case, `-` and blanks as `_`.
fn variable_part(text: &str) -> String {
    text.to_uppercase().chars().map(|c| if c == '-' || c.is_ascii_whitespace() { '_' } else { c }).collect()
}

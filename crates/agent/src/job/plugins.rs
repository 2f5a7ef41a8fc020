//! Plugins (`spec/pipeline.md` 1.14): what `BUILDKITE_PLUGINS` names, what each is told, and where it comes from.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::env::JobEnv;

/// A plugin of a job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Plugin {
    /// As written, without the ref.
    pub(crate) location: String,
    /// The ref after `#`.
    pub(crate) version: Option<String>,
    pub(crate) config: Value,
}

/// A plugin whose files are there.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) plugin: Plugin,
    pub(crate) directory: PathBuf,
}

/// Where a plugin's files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// In the checkout.
    Vendored(PathBuf),
    /// In a repository, perhaps below its root.
    Repository { url: String, below: PathBuf },
}

/// Reads `BUILDKITE_PLUGINS`: a list of sources, each alone or as the key of its configuration.
pub(crate) fn parse(json: &str) -> Result<Vec<Plugin>, String> {
    let bad = |why: String| format!("`BUILDKITE_PLUGINS` is not a list of plugins: {why}");
    let items: Vec<Value> = serde_json::from_str(json).map_err(|e| bad(e.to_string()))?;
    items
        .into_iter()
        .map(|item| match item {
            Value::String(source) => Ok(Plugin::new(&source, Value::Null)),
            Value::Object(map) if map.len() == 1 => map
                .into_iter()
                .next()
                .map(|(source, config)| Plugin::new(&source, config))
                .ok_or_else(|| bad("an empty entry".to_owned())),
            other => Err(bad(format!("an entry is `{other}`"))),
        })
        .collect()
}

impl Plugin {
    fn new(source: &str, config: Value) -> Self {
        let (location, version) = match source.split_once('#') {
            Some((location, version)) if !version.is_empty() => (location, Some(version.to_owned())),
            Some((location, _)) => (location, None),
            None => (source, None),
        };
        Self { location: location.to_owned(), version, config }
    }

    /// The last part of the location without what every plugin's repository ends with.
    pub(crate) fn name(&self) -> String {
        let location = self.location.trim_end_matches(['/', '\\']);
        let last = location.rsplit(['/', '\\']).next().unwrap_or(location);
        let last = last.strip_suffix(".git").unwrap_or(last);
        let last = last.strip_suffix("-buildkite-plugin").unwrap_or(last);
        last.to_lowercase()
    }

    /// How the log calls it.
    pub(crate) fn label(&self) -> String {
        match &self.version {
            Some(version) => format!("{}#{version}", self.name()),
            None => self.name(),
        }
    }

    /// The name of its directory among fetched plugins.
    pub(crate) fn directory_name(&self) -> String {
        let whole = match &self.version {
            Some(version) => format!("{}-{version}", self.location),
            None => self.location.clone(),
        };
        let mut name = String::with_capacity(whole.len());
        for c in whole.chars() {
            if c.is_ascii_alphanumeric() {
                name.push(c);
            } else if !name.ends_with('-') {
                name.push('-');
            }
        }
        name.trim_matches('-').to_owned()
    }

    /// Where its files are; the error says why nowhere.
    pub(crate) fn source(&self) -> Result<Source, String> {
        let location = &self.location;
        if location.starts_with('.') {
            let path = Path::new(location);
            let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            return if inside {
                Ok(Source::Vendored(path.to_owned()))
            } else {
                Err(format!("the plugin `{location}` leads out of the checkout"))
            };
        }
        let url = if has_scheme(location) || location.starts_with('/') || location.contains('@') {
            location.clone()
        } else {
            format!("https://{}", full_location(location))
        };
        let (url, below) = split_below(&url);
        Ok(Source::Repository { url, below })
    }

    /// What a plugin's hooks are told on top of the job's environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let name = variable_name(&self.name());
        let mut env = vec![
            ("BUILDKITE_PLUGIN_NAME".to_owned(), name.clone()),
            (
                "BUILDKITE_PLUGIN_CONFIGURATION".to_owned(),
                match &self.config {
                    Value::Null => "{}".to_owned(),
                    config => sorted(config).to_string(),
                },
            ),
        ];
        flatten(&format!("BUILDKITE_PLUGIN_{name}"), &self.config, &mut env);
        env
    }
}

fn has_scheme(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'))
}

/// `docker` is `github.com/buildkite-plugins/docker-buildkite-plugin`, `org/x` is `github.com/org/x-buildkite-plugin`.
fn full_location(location: &str) -> String {
    let parts: Vec<&str> = location.split('/').collect();
    match parts.as_slice() {
        [name] => format!("github.com/buildkite-plugins/{name}-buildkite-plugin"),
        [owner, name] if !owner.contains(['.', ':']) => {
            format!("github.com/{owner}/{name}-buildkite-plugin")
        }
        _ => location.to_owned(),
    }
}

/// Splits a URL into the repository and the directory below its root: `….git/sub`, or what follows owner and name on
/// the forges whose URLs have just these two.
fn split_below(url: &str) -> (String, PathBuf) {
    if let Some((repository, below)) = url.split_once(".git/") {
        return (format!("{repository}.git"), PathBuf::from(below));
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        let host = parts.first().map_or("", |h| h.rsplit('@').next().unwrap_or(h));
        if matches!(host, "github.com" | "bitbucket.org" | "gitlab.com") && parts.len() > 3 {
            let below = parts[3..].iter().collect();
            return (format!("{scheme}://{}", parts[..3].join("/")), below);
        }
    }
    (url.to_owned(), PathBuf::new())
}

/// Upper case; space and dash become `_`; nothing else that a variable's name cannot hold is left.
fn variable_name(text: &str) -> String {
    super::env::variable_part(text)
}

fn flatten(prefix: &str, value: &Value, env: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::String(text) => env.push((prefix.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => env.push((prefix.to_owned(), value.to_string())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{prefix}_{index}"), item, env);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                flatten(&format!("{prefix}_{}", variable_name(key)), item, env);
            }
        }
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// What `plugin.yml` says that matters here.
#[derive(Debug, Default, Deserialize)]
struct Description {
    #[serde(default)]
    requirements: Vec<String>,
    #[serde(default)]
    configuration: Value,
}

/// What a plugin finds wrong with this machine and with its configuration, each a sentence for people.
pub(crate) fn findings(plugin: &Plugin, directory: &Path, env: &JobEnv) -> Vec<String> {
    let label = plugin.label();
    let names = ["plugin.json", "plugin.yaml", "plugin.yml"];
    let Some(file) = names.iter().map(|name| directory.join(name)).find(|file| file.is_file()) else {
        return Vec::new();
    };
    let name = file.file_name().unwrap_or_default().display();
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => return vec![format!("The `{name}` of the plugin {label} cannot be read: {error}.")],
    };
    let description: Description = match serde_saphyr::from_str(&text) {
        Ok(description) => description,
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default();
            return vec![format!("The `{name}` of the plugin {label} cannot be understood: {why}.")];
        }
    };
    let path = env.get("PATH").unwrap_or_default();
    let missing: Vec<String> = description
        .requirements
        .into_iter()
        .filter(|command| !std::env::split_paths(path).any(|directory| directory.join(command).is_file()))
        .collect();
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(format!("the plugin {label} needs {}, which this machine does not have", missing.join(", ")));
    }
    if !description.configuration.is_null() {
        let wrong = super::schema::check(&description.configuration, &plugin.config);
        findings.extend(wrong.into_iter().map(|what| {
            format!(
                "the configuration of the plugin {label} is wrong: {what}. Change it in the pipeline, see its `{name}`"
            )
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::collections::BTreeMap;

    fn plugin(source: &str) -> Plugin {
        Plugin::new(source, Value::Null)
    }

    #[test]
    fn sources() {
        let repository = |url: &str, below: &str| Source::Repository { url: url.to_owned(), below: below.into() };
        for (source, wanted) in [
            ("docker#v5", repository("https://github.com/buildkite-plugins/docker-buildkite-plugin", "")),
            ("org/x#v1", repository("https://github.com/org/x-buildkite-plugin", "")),
            (
                "github.com/buildkite-plugins/docker-buildkite-plugin#v5",
                repository("https://github.com/buildkite-plugins/docker-buildkite-plugin", ""),
            ),
            ("github.com/a/b/sub/dir#v5", repository("https://github.com/a/b", "sub/dir")),
            ("ssh://git@host/a/b.git#v5", repository("ssh://git@host/a/b.git", "")),
            ("git@host:a/b.git#v5", repository("git@host:a/b.git", "")),
            ("file:///srv/p.git/sub#v5", repository("file:///srv/p.git", "sub")),
            ("/srv/p#v5", repository("/srv/p", "")),
            ("./.buildkite/plugins/own", Source::Vendored("./.buildkite/plugins/own".into())),
        ] {
            assert_eq!(plugin(source).source(), Ok(wanted), "{source}");
        }
        assert!(plugin("./../../etc").source().is_err());
        assert_eq!(plugin("https://x/y#a/b").directory_name(), "https-x-y-a-b");
    }

    #[test]
    fn lists_are_read_and_broken_ones_refused() {
        let plugins = parse(r#"["a#v1", {"b/c#v2": {"k": 1}}]"#).unwrap();
        assert_eq!(plugins.len(), 2);
        assert_eq!(plugins[1].version.as_deref(), Some("v2"));
        assert!(parse("{}").is_err());
        assert!(parse(r#"[{"a": 1, "b": 2}]"#).is_err());
    }

    #[test]
    fn configuration_becomes_variables() {
        let config = serde_json::json!({
            "run": "app", "list": ["a", {"b": null, "c": true}], "a - b": 13, "none": null,
        });
        let env: BTreeMap<_, _> = Plugin::new("docker-compose#v1", config).environment().into_iter().collect();
        insta::assert_debug_snapshot!(env, @r#"
        {
            "BUILDKITE_PLUGIN_CONFIGURATION": "{\"a - b\":13,\"list\":[\"a\",{\"b\":null,\"c\":true}],\"none\":null,\"run\":\"app\"}",
            "BUILDKITE_PLUGIN_DOCKER_COMPOSE_A___B": "13",
            "BUILDKITE_PLUGIN_DOCKER_COMPOSE_LIST_0": "a",
            "BUILDKITE_PLUGIN_DOCKER_COMPOSE_LIST_1_C": "true",
            "BUILDKITE_PLUGIN_DOCKER_COMPOSE_RUN": "app",
            "BUILDKITE_PLUGIN_NAME": "DOCKER_COMPOSE",
        }
        "#);
    }

    /// The reference's own vectors, where they are at hand.
    #[test]
    fn agrees_with_the_vectors() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/pipeline/vectors/plugin.json");
        let Ok(text) = std::fs::read_to_string(file) else {
            return;
        };
        let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
        let mut checked = 0;
        for vector in &vectors {
            let case = &vector["case"];
            match vector["test"].as_str().unwrap() {
                "TestPluginNameParsedFromLocation" => {
                    let wanted = case["wantName"].as_str().unwrap();
                    assert_eq!(plugin(case["location"].as_str().unwrap()).name(), wanted);
                }
                "TestIdentifier" => {
                    let wanted = case["wantID"].as_str().unwrap();
                    let plugin = plugin(case["location"].as_str().unwrap());
                    assert_eq!(plugin.directory_name(), wanted);
                }
                "TestConfigurationToEnvironment" => {
                    let config = serde_json::from_str(case["configJSON"].as_str().unwrap()).unwrap();
                    let env: BTreeMap<_, _> = Plugin::new("github.com/o/docker-compose-buildkite-plugin", config)
                        .environment()
                        .into_iter()
                        .collect();
                    for (name, value) in case["wantEnvMap"].as_object().unwrap() {
                        assert_eq!(env.get(name).map(String::as_str), value.as_str(), "{name}");
                    }
                }
                _ => continue,
            }
            checked += 1;
        }
        assert!(checked > 10, "{checked}");
    }
}

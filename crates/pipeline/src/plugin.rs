//! Plugins: where one comes from, and the variables it gets (`spec/pipeline.md` 1.14).

use serde_json::Value as Json;

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

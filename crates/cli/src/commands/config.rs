use serde_json::json;

use crate::args::Global;
use crate::config::EXAMPLE;
use crate::{exit, out};

/// `tidegate config example`.
pub(super) fn example() -> anyhow::Result<u8> {
    out::bytes(EXAMPLE.as_bytes())?;
    Ok(exit::DONE)
}

/// `tidegate config check`.
pub(super) fn check(global: &Global) -> anyhow::Result<u8> {
    let path = global.config_path();
    let config = super::load(global)?;
    let slugs: Vec<String> = config.slugs().iter().map(ToString::to_string).collect();
    let pools: Vec<String> = config.pools.iter().map(|pool| pool.name.to_string()).collect();
    if global.json {
        out::json(
            &json!({ "config": path, "repositories": config.repositories.len(), "pipelines": slugs, "pools": pools }),
        )?;
    } else {
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        out::line(&format!("{}: good. Pipelines: {}. Pools: {}", path.display(), list(&slugs), list(&pools)))?;
    }
    Ok(exit::DONE)
}

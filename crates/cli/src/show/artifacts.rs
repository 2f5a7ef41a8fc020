use tidegate_engine::api::ArtifactAnswer;

use super::{Table, bytes};
use crate::terminal::clean;

/// A list of artifacts.
pub(crate) fn artifacts(artifacts: &[ArtifactAnswer], limit: Option<usize>) -> String {
    if artifacts.is_empty() {
        return "no artifacts\n".to_owned();
    }
    let mut table = Table::new(&["SIZE", "JOB", "SHA-256", "PATH"]).right(&[0]);
    for artifact in artifacts {
        let attempt = if artifact.attempt > 1 { format!(" (attempt {})", artifact.attempt) } else { String::new() };
        table.row([
            bytes(artifact.size),
            format!("{}{attempt}", clean(&artifact.job)),
            artifact.sha256.chars().take(12).collect(),
            clean(&artifact.path).into_owned(),
        ]);
    }
    table.render("", limit)
}

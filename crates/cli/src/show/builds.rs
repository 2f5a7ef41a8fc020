use jiff::Timestamp;
use tidegate_engine::api::{BuildLine, Builds};

use super::{Table, ago, build_state, elapsed, span, symbol};
use crate::terminal::clean;

/// A list of builds.
pub(crate) fn builds(builds: &Builds, now: Timestamp, limit: Option<usize>) -> String {
    if builds.builds.is_empty() {
        return "no builds yet\n".to_owned();
    }
    let mut table = Table::new(&["", "BUILD", "STATE", "REF", "COMMIT", "MADE", "TIME", "MESSAGE"]).right(&[6]);
    for build in &builds.builds {
        let message = clean(build.message.lines().next().unwrap_or_default()).into_owned();
        let time = span(build.started_at.as_deref(), build.finished_at.as_deref());
        table.row([
            symbol(build.state.name()),
            format!("{}#{}", build.pipeline, build.number),
            build_state(build.state.name()),
            short_ref(build),
            build.commit.chars().take(8).collect(),
            ago(&build.created_at, now),
            time.map_or_else(String::new, elapsed),
            message,
        ]);
    }
    table.render("", limit)
}

/// The branch or tag.
pub(super) fn short_ref(build: &BuildLine) -> String {
    let full = build.git_ref.as_deref().unwrap_or_default();
    clean(full.strip_prefix("refs/heads/").or_else(|| full.strip_prefix("refs/tags/")).unwrap_or(full)).into_owned()
}

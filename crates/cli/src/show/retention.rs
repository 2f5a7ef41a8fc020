use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_engine::RetentionAnswer;

use super::{Table, ago, build_state, bytes, elapsed};
use crate::terminal::clean;

/// What was deleted, or would be.
pub(crate) fn retention(answer: &RetentionAnswer, now: Timestamp) -> String {
    let keep = elapsed(Duration::from_secs(answer.keep_seconds));
    if answer.builds.is_empty() {
        return format!("nothing to delete: builds are kept for {keep} after their end\n");
    }
    let mut table = Table::new(&["BUILD", "STATE", "ENDED", "SIZE"]).right(&[3]);
    for build in &answer.builds {
        table.row([
            format!("{}#{}", clean(&build.pipeline), build.number),
            build_state(&build.state),
            build.finished_at.as_deref().map_or_else(String::new, |at| ago(at, now)),
            bytes(build.bytes),
        ]);
    }
    let mut out = table.render("", None);
    let sum = answer.builds.iter().fold(0u64, |sum, build| sum.saturating_add(build.bytes));
    let what = if answer.deleted { "deleted" } else { "would be deleted" };
    // Writing to a text cannot fail.
    let _ = writeln!(out, "\n{} builds with {} {what}: builds are kept for {keep}", answer.builds.len(), bytes(sum));
    out
}

use jiff::Timestamp;
use tidegate_engine::ScheduleAnswer;

use super::{Table, ago, elapsed, parse, since};
use crate::terminal::clean;

/// Schedules in the order of the configuration.
pub(crate) fn schedules(schedules: &[ScheduleAnswer], now: Timestamp) -> String {
    if schedules.is_empty() {
        return "no pipeline has a schedule: `[[pipeline.schedule]]` in the configuration makes one\n".to_owned();
    }
    let mut table = Table::new(&["PIPELINE", "WHEN", "BRANCH", "NEXT", "LAST", ""]);
    for schedule in schedules {
        let next = schedule.next.as_deref().and_then(parse).and_then(|at| since(now, at));
        let outcome = match (schedule.build, &schedule.why) {
            (Some(number), _) => format!("{}#{number}", clean(&schedule.pipeline)),
            (None, Some(why)) => format!("no build: {}", clean(why)),
            (None, None) => String::new(),
        };
        table.row([
            clean(&schedule.pipeline).into_owned(),
            clean(&schedule.cron).into_owned(),
            schedule.branch.as_deref().map_or_else(|| "the default branch".to_owned(), |name| clean(name).into_owned()),
            next.map_or_else(|| "never".to_owned(), |span| format!("in {}", elapsed(span))),
            schedule.last.as_deref().map_or_else(|| "not yet".to_owned(), |last| ago(last, now)),
            outcome,
        ]);
    }
    table.render("", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_schedule() {
        let schedule = |branch: Option<&str>, last: Option<&str>, build, why: Option<&str>| ScheduleAnswer {
            pipeline: "web".to_owned(),
            cron: "0 3 * * *".to_owned(),
            branch: branch.map(str::to_owned),
            next: Some("2026-11-24T03:00:00Z".to_owned()),
            last: last.map(str::to_owned),
            build,
            why: why.map(str::to_owned),
        };
        let all = [
            schedule(None, None, None, None),
            schedule(Some("release"), Some("2026-11-23T03:00:00Z"), Some(12), None),
            schedule(Some("gone"), Some("2026-11-23T03:00:00Z"), None, Some("`web` has no branch `gone`")),
        ];
        let now = "2026-11-23T05:00:00Z".parse().unwrap_or_default();
        insta::assert_snapshot!(schedules(&all, now), @r"
        [2mPIPELINE[0m  [2mWHEN[0m       [2mBRANCH[0m              [2mNEXT[0m        [2mLAST[0m     [2m[0m
        web       0 3 * * *  the default branch  in 22h 00m  not yet
        web       0 3 * * *  release             in 22h 00m  2h ago   web#12
        web       0 3 * * *  gone                in 22h 00m  2h ago   no build: `web` has no branch `gone`
        ");
        assert!(schedules(&[], now).starts_with("no pipeline has a schedule"));
    }
}

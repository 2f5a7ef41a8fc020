//! What follows from the end of an attempt (`spec/pipeline.md` 1.12; design, principle 5).

use std::time::Duration;

use super::{Cell, JobState, Limits};
use crate::attempt::Cause;
use crate::plan::{ExitStatusMatch, Retry, RetryRule, SoftFail};
use crate::time::Timestamp;

/// The exit status that rules see when the job did not end by itself (`spec/agent.md`: lost agents are `-1`).
pub const EXIT_STATUS_WITHOUT_EXIT: i32 = -1;

/// What to do after an attempt has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The job is in this state now.
    Final(JobState),
    /// Try again at once, by this rule of the user's.
    ByRule(usize),
    /// Try again after a pause, on our own account: no rule of the user's is used up.
    OnUs(Duration),
}

/// The facts of an end that decide.
#[derive(Clone, Debug)]
pub(super) struct Ending<'a> {
    pub(super) cause: Cause,
    pub(super) exit_status: Option<i32>,
    pub(super) signal: Option<&'a str>,
    pub(super) permanent: bool,
    pub(super) started: bool,
}

impl RetryRule {
    fn matches(&self, exit_status: i32, signal: Option<&str>, reason: &str) -> bool {
        let exit = match &self.exit_status {
            // `*` is every failure, `-1` included: see docs/decisions/0003-retry-star.md.
            ExitStatusMatch::Any => exit_status != 0,
            ExitStatusMatch::OneOf(list) => list.contains(&exit_status),
        };
        let named = |patterns: &[String], value: Option<&str>| {
            patterns.iter().any(|pattern| match pattern.as_str() {
                "*" => true,
                "none" => value.is_none(),
                pattern => value.is_some_and(|v| v.eq_ignore_ascii_case(pattern)),
            })
        };
        exit && named(&self.signal, signal) && named(&self.signal_reason, (reason != "none").then_some(reason))
    }
}

/// The `signal_reason` that users' rules know for a cause.
fn signal_reason(cause: Cause) -> &'static str {
    match cause {
        Cause::Canceled | Cause::Timeout => "cancel",
        Cause::AgentStopped | Cause::Interrupted => "agent_stop",
        Cause::Exit
        | Cause::Signal
        | Cause::Lost
        | Cause::BootFailed
        | Cause::CheckoutFailed
        | Cause::OutOfDisk
        | Cause::OutOfMemory
        | Cause::Expired => "none",
    }
}

/// Ends that may be the job's own doing although they look like the machine's: three of them, and the job is red.
pub(super) fn counts_as_silent(cause: Cause) -> bool {
    matches!(cause, Cause::Lost | Cause::OutOfDisk)
}

/// That a job is red because machines died under it, for people. `None` if that is not why.
pub fn quarantine(cell: &Cell, limits: &Limits) -> Option<String> {
    (matches!(cell.state, JobState::Failed | JobState::SoftFailed) && cell.silent >= u32::from(limits.silent_losses)).then(
        || {
            format!(
                "quarantined: {} machines died silently, or ran out of disk, while its command ran; it is not tried again \
                 by itself",
                cell.silent
            )
        },
    )
}

/// Decides. `canceled`: the build or the job is being cancelled, so nothing is tried again.
pub fn after_end(
    retry: &Retry,
    soft_fail: &SoftFail,
    cell: &Cell,
    canceled: bool,
    limits: &Limits,
    end: &super::fold::Ended,
    now: Timestamp,
) -> Verdict {
    decide(
        retry,
        soft_fail,
        cell,
        canceled,
        limits,
        &Ending {
            cause: end.cause,
            exit_status: end.exit_status,
            signal: end.signal.as_deref(),
            permanent: end.permanent,
            started: end.started,
        },
        now,
    )
}

fn decide(
    retry: &Retry,
    soft_fail: &SoftFail,
    cell: &Cell,
    canceled: bool,
    limits: &Limits,
    end: &Ending<'_>,
    now: Timestamp,
) -> Verdict {
    if end.cause == Cause::Exit && end.exit_status == Some(0) {
        return Verdict::Final(JobState::Passed);
    }
    // A job that was asked to end for want of time and ended well has passed (`spec/pipeline.md` 1.12).
    if end.cause == Cause::Timeout && end.exit_status == Some(0) {
        return Verdict::Final(JobState::Passed);
    }
    match end.cause {
        Cause::Canceled => return Verdict::Final(JobState::Canceled),
        Cause::Expired => return Verdict::Final(JobState::Expired),
        _ if canceled => return Verdict::Final(JobState::Canceled),
        _ => {}
    }
    let exit_status = end.exit_status.unwrap_or(EXIT_STATUS_WITHOUT_EXIT);
    let rules = retry.automatic.as_deref();
    let matching = rules
        .unwrap_or_default()
        .iter()
        .position(|rule| rule.matches(exit_status, end.signal, signal_reason(end.cause)));
    let failed = || {
        let state = if soft_fail.covers(exit_status) {
            JobState::SoftFailed
        } else if end.cause == Cause::Timeout {
            JobState::TimedOut
        } else {
            JobState::Failed
        };
        Verdict::Final(state)
    };
    if end.permanent {
        return failed();
    }
    if end.cause.is_infrastructure() {
        let forbidden = end.started
            && (rules.is_some_and(<[RetryRule]>::is_empty)
                || matching.zip(rules).is_some_and(|(m, rules)| rules[m].limit == 0));
        let poison = counts_as_silent(end.cause) && end.started && cell.silent + 1 >= u32::from(limits.silent_losses);
        // What never works is not tried for ever: the job is red by a deadline and says why (invariant I7).
        let too_late = cell.losses > 0 && now.since(cell.lost_since) > limits.wait;
        return if forbidden || poison || too_late { failed() } else { Verdict::OnUs(pause(cell.losses)) };
    }
    match matching.zip(rules) {
        Some((m, rules)) if cell.rule_uses.get(m).copied().unwrap_or(0) < rules[m].limit => Verdict::ByRule(m),
        Some(_) | None => failed(),
    }
}

/// The pause before our own next try: none at first, then 1, 2, 4 … 60 seconds.
fn pause(losses: u32) -> Duration {
    match losses {
        0 => Duration::ZERO,
        n => Duration::from_secs((1u64 << (n - 1).min(6)).min(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(exit: ExitStatusMatch, limit: u8) -> RetryRule {
        RetryRule { exit_status: exit, signal: vec!["*".into()], signal_reason: vec!["*".into()], limit }
    }

    fn end(cause: Cause, exit_status: Option<i32>, started: bool) -> Ending<'static> {
        Ending { cause, exit_status, signal: None, permanent: false, started }
    }

    #[test]
    fn table() {
        use ExitStatusMatch::{Any, OneOf};
        use JobState::{Canceled, Failed, Passed, SoftFailed, TimedOut};
        use Verdict::{ByRule, Final, OnUs};
        let none = || Retry::default();
        let rules = |list: Vec<RetryRule>| Retry { automatic: Some(list), ..Retry::default() };
        let never = SoftFail::Never;
        let fresh = Cell::default();
        let used = Cell { rule_uses: vec![2], ..Cell::default() };
        let lost_before = Cell { losses: 3, silent: 2, ..Cell::default() };
        let cases: Vec<(&str, Retry, SoftFail, Cell, Ending<'_>, Verdict)> = vec![
            ("passes", none(), never.clone(), fresh.clone(), end(Cause::Exit, Some(0), true), Final(Passed)),
            ("fails", none(), never.clone(), fresh.clone(), end(Cause::Exit, Some(1), true), Final(Failed)),
            (
                "fails softly",
                none(),
                SoftFail::Always,
                fresh.clone(),
                end(Cause::Exit, Some(1), true),
                Final(SoftFailed),
            ),
            (
                "is not softly failed by another status",
                none(),
                SoftFail::On(vec![Some(2)]),
                fresh.clone(),
                end(Cause::Exit, Some(1), true),
                Final(Failed),
            ),
            (
                "is retried before it fails softly",
                rules(vec![rule(Any, 1)]),
                SoftFail::Always,
                fresh.clone(),
                end(Cause::Exit, Some(1), true),
                ByRule(0),
            ),
            (
                "first matching rule decides",
                rules(vec![rule(OneOf(vec![3]), 0), rule(Any, 2)]),
                never.clone(),
                fresh.clone(),
                end(Cause::Exit, Some(3), true),
                Final(Failed),
            ),
            (
                "second rule",
                rules(vec![rule(OneOf(vec![3]), 0), rule(Any, 2)]),
                never.clone(),
                fresh.clone(),
                end(Cause::Exit, Some(4), true),
                ByRule(1),
            ),
            (
                "limit used up",
                rules(vec![rule(Any, 2)]),
                never.clone(),
                used,
                end(Cause::Exit, Some(1), true),
                Final(Failed),
            ),
            (
                "star matches -1",
                rules(vec![rule(Any, 2)]),
                never.clone(),
                fresh.clone(),
                end(Cause::Signal, None, true),
                ByRule(0),
            ),
            (
                "lost machine is on us",
                rules(vec![rule(Any, 2)]),
                never.clone(),
                fresh.clone(),
                end(Cause::Lost, None, true),
                OnUs(Duration::ZERO),
            ),
            (
                "also without rules",
                none(),
                never.clone(),
                fresh.clone(),
                end(Cause::AgentStopped, None, true),
                OnUs(Duration::ZERO),
            ),
            (
                "automatic: false forbids it after the start",
                rules(vec![]),
                never.clone(),
                fresh.clone(),
                end(Cause::Lost, None, true),
                Final(Failed),
            ),
            (
                "but not before",
                rules(vec![]),
                never.clone(),
                fresh.clone(),
                end(Cause::Lost, None, false),
                OnUs(Duration::ZERO),
            ),
            (
                "so does a matching rule with limit 0",
                rules(vec![rule(OneOf(vec![-1]), 0)]),
                never.clone(),
                fresh.clone(),
                end(Cause::Lost, None, true),
                Final(Failed),
            ),
            (
                "three silent deaths are the job's",
                none(),
                never.clone(),
                lost_before.clone(),
                end(Cause::Lost, None, true),
                Final(Failed),
            ),
            (
                "announced ones are not",
                none(),
                never.clone(),
                lost_before,
                end(Cause::Interrupted, None, true),
                OnUs(Duration::from_secs(4)),
            ),
            ("timeout", none(), never.clone(), fresh.clone(), end(Cause::Timeout, Some(143), true), Final(TimedOut)),
            (
                "timeout that ended well",
                none(),
                never.clone(),
                fresh.clone(),
                end(Cause::Timeout, Some(0), true),
                Final(Passed),
            ),
            (
                "cancel",
                rules(vec![rule(Any, 2)]),
                never.clone(),
                fresh.clone(),
                end(Cause::Canceled, None, true),
                Final(Canceled),
            ),
            (
                "no such commit",
                rules(vec![rule(Any, 2)]),
                never,
                fresh,
                Ending { permanent: true, ..end(Cause::CheckoutFailed, None, false) },
                Final(Failed),
            ),
        ];
        for (name, retry, soft, cell, ending, wanted) in cases {
            assert_eq!(
                decide(&retry, &soft, &cell, false, &Limits::default(), &ending, Timestamp(0)),
                wanted,
                "{name}"
            );
        }
    }

    #[test]
    fn rule_1_12_all_conditions_of_a_rule_must_hold() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let cases = [
            // exit status, signal and reason of the rule; exit status, signal and cause of the end; whether they match
            (None, "*", "*", Some(1), None, Cause::Exit, true),
            (None, "*", "*", None, None, Cause::Lost, true),
            (None, "KILL", "*", None, Some("KILL"), Cause::Signal, true),
            (None, "kill", "*", None, Some("KILL"), Cause::Signal, true),
            (None, "TERM", "*", None, Some("KILL"), Cause::Signal, false),
            (None, "TERM", "*", Some(1), None, Cause::Exit, false),
            (None, "none", "*", Some(1), None, Cause::Exit, true),
            (None, "none", "*", None, Some("KILL"), Cause::Signal, false),
            (Some(137), "KILL", "*", Some(137), Some("KILL"), Cause::OutOfMemory, true),
            (Some(137), "KILL", "*", Some(1), Some("KILL"), Cause::OutOfMemory, false),
            (None, "*", "cancel", Some(143), None, Cause::Timeout, true),
            (None, "*", "agent_stop", None, None, Cause::AgentStopped, true),
            (None, "*", "agent_stop", Some(1), None, Cause::Exit, false),
            (None, "*", "none", Some(1), None, Cause::Exit, true),
            (None, "*", "none", None, None, Cause::AgentStopped, false),
        ];
        for case in cases {
            let (status, signal, reason, exit_status, with, cause, wanted) = case;
            let rule = RetryRule {
                exit_status: status.map_or(ExitStatusMatch::Any, |s| ExitStatusMatch::OneOf(vec![s])),
                signal: list(&[signal]),
                signal_reason: list(&[reason]),
                limit: 1,
            };
            let exit_status = exit_status.unwrap_or(EXIT_STATUS_WITHOUT_EXIT);
            assert_eq!(rule.matches(exit_status, with, signal_reason(cause)), wanted, "{case:?}");
        }
    }

    #[test]
    fn nothing_is_retried_in_a_canceled_build() {
        let retry = Retry { automatic: Some(vec![rule(ExitStatusMatch::Any, 2)]), ..Retry::default() };
        for cause in [Cause::Exit, Cause::Lost, Cause::Timeout] {
            let verdict = decide(
                &retry,
                &SoftFail::Never,
                &Cell::default(),
                true,
                &Limits::default(),
                &end(cause, Some(1), true),
                Timestamp(0),
            );
            assert_eq!(verdict, Verdict::Final(JobState::Canceled));
        }
    }
}

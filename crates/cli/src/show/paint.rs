//! Colours and signs of states.

use owo_colors::Style;
use tidegate_engine::api::AttemptAnswer;

/// A text in a style.
pub(crate) fn paint(text: impl std::fmt::Display, style: Style) -> String {
    style.style(text).to_string()
}

/// The style of a state of a build or a job.
fn style(state: &str) -> Style {
    match state {
        "passed" | "unblocked" => Style::new().green(),
        "failed" | "timed_out" | "expired" | "failing" | "lost" => Style::new().red(),
        "soft_failed" | "blocked" | "canceling" | "backoff" => Style::new().yellow(),
        "running" | "assigned" => Style::new().cyan(),
        _ => Style::new().dimmed(),
    }
}

/// A sign that says the same as the colour.
pub(crate) fn symbol(state: &str) -> String {
    let sign = match state {
        "passed" | "unblocked" => "✓",
        "failed" | "timed_out" | "expired" | "failing" | "lost" => "✗",
        "soft_failed" => "!",
        "running" => "●",
        "assigned" => "◐",
        "blocked" => "■",
        "canceled" | "canceling" | "skipped" | "broken" | "not_run" | "waiting_failed" => "–",
        _ => "○",
    };
    paint(sign, style(state))
}

/// A state of a build.
pub(crate) fn build_state(state: &str) -> String {
    paint(state.replace('_', " "), style(state).bold())
}

/// A state of a job.
pub(crate) fn job_state(state: &str) -> String {
    paint(state.replace('_', " "), style(state))
}

/// A cause for people.
pub(crate) fn cause_word(cause: &str) -> String {
    cause.replace('_', " ")
}

/// How an attempt ended, in words: `exit 0`, `signal KILL`, `lost`.
pub(crate) fn attempt_outcome(attempt: &AttemptAnswer) -> String {
    let Some(cause) = attempt.cause.as_deref() else { return attempt.state.clone() };
    match (cause, attempt.exit_status, attempt.signal.as_deref()) {
        ("exit", Some(status), _) => format!("exit {status}"),
        ("signal", _, Some(signal)) => format!("signal {signal}"),
        (cause, _, _) => cause_word(cause),
    }
}

//! `retry` and `soft_fail` (`spec/pipeline.md` 1.12).

use tidegate_core::plan::{ExitStatusMatch, ManualRetry, Retry, RetryRule, SoftFail};

use super::Reader;
use super::fields::{Field, Fields};
use crate::codes::Code;
use crate::yaml::{Number, Value};

const REASONS: [&str; 9] = [
    "*",
    "none",
    "cancel",
    "agent_stop",
    "agent_refused",
    "agent_incompatible",
    "process_run_error",
    "signature_rejected",
    "stack_error",
];

/// How often a rule without `limit` retries.
const DEFAULT_LIMIT: u8 = 2;

impl Reader<'_, '_> {
    pub(super) fn retry(&mut self, field: Field<'_>) -> Retry {
        let mut retry = Retry::default();
        let Some(map) = self.map(field) else { return retry };
        let fields = Fields::new(map, field.key_span);
        if let Some(automatic) = fields.take_one("automatic") {
            retry.automatic = self.automatic(automatic);
        }
        if let Some(manual) = fields.take_one("manual") {
            retry.manual = self.manual_retry(manual);
        }
        self.mostly(&fields, "retry", &["automatic", "manual"]);
        retry
    }

    fn automatic(&mut self, field: Field<'_>) -> Option<Vec<RetryRule>> {
        match &field.node.value {
            Value::Null => None,
            Value::Seq(items) => {
                let rules: Vec<RetryRule> =
                    items.iter().filter_map(|node| self.rule(Field { node, ..field })).collect();
                self.shadowed(&rules, items.iter().map(|node| node.span).collect());
                Some(rules)
            }
            Value::Map(_) => Some(self.rule(field).into_iter().collect()),
            _ => match self.boolean(field)? {
                true => Some(vec![every_failure()]),
                false => Some(Vec::new()),
            },
        }
    }

    fn rule(&mut self, item: Field<'_>) -> Option<RetryRule> {
        let Value::Map(map) = &item.node.value else {
            return self.wrong_type(item, "a rule such as `{exit_status: 1, limit: 2}`");
        };
        let fields = Fields::new(map, item.node.span);
        let mut rule = every_failure();
        if let Some(field) = fields.take_one("exit_status") {
            rule.exit_status = self.exit_statuses(field);
        }
        if let Some(field) = fields.take_one("signal") {
            let signals = self.texts(field);
            rule.signal = signals.iter().map(|signal| signal_name(signal)).collect();
        }
        if let Some(field) = fields.take_one("signal_reason") {
            rule.signal_reason =
                self.nodes(field).into_iter().filter_map(|item| self.word(item, &REASONS)).map(str::to_owned).collect();
        }
        for list in [&mut rule.signal, &mut rule.signal_reason] {
            if list.is_empty() {
                list.push("*".to_owned());
            }
        }
        if let Some(field) = fields.take_one("limit") {
            rule.limit = self.count(field, 0..=10).and_then(|n| u8::try_from(n).ok()).unwrap_or(DEFAULT_LIMIT);
        }
        self.only(&fields, "automatic", &["exit_status", "signal", "signal_reason", "limit"]);
        self.impossible(&rule, map.first().map_or(item.node.span, |first| first.key_span));
        Some(rule)
    }

    fn exit_statuses(&mut self, field: Field<'_>) -> ExitStatusMatch {
        let mut statuses = Vec::new();
        for item in self.nodes(field) {
            match self.exit_status(item) {
                Some(None) => return ExitStatusMatch::Any,
                Some(Some(status)) => statuses.push(status),
                None => {}
            }
        }
        if statuses.is_empty() { ExitStatusMatch::Any } else { ExitStatusMatch::OneOf(statuses) }
    }

    /// A number, or `None` for `*`.
    fn exit_status(&mut self, field: Field<'_>) -> Option<Option<i32>> {
        if field.node.as_str() == Some("*") {
            return Some(None);
        }
        let status = self.integer(field, i64::from(i32::MIN)..=i64::from(i32::MAX))?;
        Some(i32::try_from(status).ok())
    }

    fn manual_retry(&mut self, field: Field<'_>) -> ManualRetry {
        let mut manual = ManualRetry::default();
        let Value::Map(map) = &field.node.value else {
            manual.allowed = self.boolean(field).unwrap_or(true);
            return manual;
        };
        let fields = Fields::new(map, field.key_span);
        if let Some(field) = fields.take_one("allowed") {
            manual.allowed = self.boolean(field).unwrap_or(true);
        }
        if let Some(field) = fields.take_one("permit_on_passed") {
            manual.permit_on_passed = self.boolean(field).unwrap_or(true);
        }
        manual.reason = fields.take_one("reason").and_then(|field| self.text(field));
        self.mostly(&fields, "manual", &["allowed", "permit_on_passed", "reason"]);
        manual
    }

    pub(super) fn soft_fail(&mut self, field: Field<'_>) -> SoftFail {
        let Value::Seq(items) = &field.node.value else {
            return match self.boolean(field) {
                Some(true) => SoftFail::Always,
                Some(false) | None => SoftFail::Never,
            };
        };
        let mut statuses = Vec::new();
        for node in items {
            let item = Field { node, ..field };
            match &node.value {
                Value::Map(map) => {
                    let fields = Fields::new(map, map.first().map_or(node.span, |first| first.key_span));
                    match fields.take_one("exit_status") {
                        Some(status) => statuses.extend(self.exit_status(status)),
                        None => {
                            self.report
                                .error(
                                    Code::MissingAttribute,
                                    fields.span,
                                    "an entry of `soft_fail` needs `exit_status`",
                                )
                                .help("write `exit_status: 1`, or `soft_fail: true` for every failure");
                        }
                    }
                    self.only(&fields, "soft_fail", &["exit_status"]);
                }
                Value::Number(Number::Int(_)) | Value::Str(_) => {
                    self.bad_value::<()>(item, "is not an entry of `soft_fail`", "write `- exit_status: …`");
                }
                _ => {
                    self.wrong_type::<()>(item, "a list of `exit_status: …`");
                }
            }
        }
        SoftFail::On(statuses)
    }

    /// A rule none of whose conditions can hold together.
    fn impossible(&mut self, rule: &RetryRule, span: crate::source::Span) {
        if !self.lint {
            return;
        }
        if let ExitStatusMatch::OneOf(statuses) = &rule.exit_status
            && statuses.iter().all(|status| *status == 0 || !(-1..=255).contains(status))
        {
            let message = if statuses.contains(&0) {
                "this rule never matches: a job that ends with 0 has passed"
            } else {
                "this rule never matches: an exit status is -1 to 255"
            };
            self.report.warn(Code::RetryNeverMatches, span, message).help("name the status of the failure, or `\"*\"`");
        } else if rule.limit == 0 {
            // A limit of 0 is how people say «never for this one», in front of a wider rule.
        } else if rule.signal_reason == ["cancel"] {
            self.report
                .warn(Code::RetryNeverMatches, span, "this rule never matches: a cancelled job is not retried")
                .help("drop the rule");
        }
    }

    /// A rule behind one that takes everything before it.
    fn shadowed(&mut self, rules: &[RetryRule], spans: Vec<crate::source::Span>) {
        if !self.lint {
            return;
        }
        let has = |wanted: &dyn Fn(&RetryRule) -> bool| rules.iter().position(wanted);
        let any = has(&|rule| rule.exit_status == ExitStatusMatch::Any);
        let lost = has(&|rule| matches!(&rule.exit_status, ExitStatusMatch::OneOf(statuses) if statuses.contains(&-1)));
        if let (Some(any), Some(lost)) = (any, lost)
            && any < lost
            && let Some(span) = spans.get(lost)
        {
            self.report
                .warn(
                    Code::OpenPoint,
                    *span,
                    "whether `\"*\"` in the rule above already takes -1 is not settled; here it does",
                )
                .help("put the rule for -1 first");
        }
        let covers_all = |rule: &RetryRule| {
            rule.exit_status == ExitStatusMatch::Any && rule.signal == ["*"] && rule.signal_reason == ["*"]
        };
        let Some(first) = rules.iter().position(covers_all) else { return };
        for span in spans.into_iter().skip(first + 1).take(rules.len().saturating_sub(first + 1)) {
            self.report
                .warn(Code::RetryNeverMatches, span, "this rule never matches: an earlier rule takes every failure")
                .help("put the rule for `\"*\"` last");
        }
    }
}

fn every_failure() -> RetryRule {
    RetryRule {
        exit_status: ExitStatusMatch::Any,
        signal: vec!["*".to_owned()],
        signal_reason: vec!["*".to_owned()],
        limit: DEFAULT_LIMIT,
    }
}

/// Upper case without `SIG`; `*` and `none` as they are.
fn signal_name(text: &str) -> String {
    let upper = text.trim().to_ascii_uppercase();
    match upper.as_str() {
        "NONE" => "none".to_owned(),
        _ => upper.strip_prefix("SIG").unwrap_or(&upper).to_owned(),
    }
}

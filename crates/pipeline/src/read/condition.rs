//! Checks of the conditions of steps and notifications.

use super::Reader;
use super::fields::Field;
use crate::codes::Code;
use crate::condition::{Condition, ConditionError, EntryPoint, ErrorKind};
use crate::interpolate::place_within;

impl Reader<'_, '_> {
    /// Reports what is wrong with a condition. In a notification, where a condition that fails is false, that is a
    /// warning.
    pub(super) fn condition(&mut self, text: &str, field: Field<'_>, entry_point: EntryPoint) {
        if field.node.unknown || text.trim().is_empty() {
            return;
        }
        let condition = match Condition::parse(text, &self.context.limits) {
            Ok(condition) => condition,
            Err(error) => return self.bad_condition(text, field, entry_point, &error),
        };
        let errors = condition.check_own(entry_point);
        for error in &errors {
            self.bad_condition(text, field, entry_point, error);
        }
        if errors.is_empty() && self.lint {
            self.condition_traps(text, field, &condition, entry_point);
        }
    }

    fn bad_condition(&mut self, text: &str, field: Field<'_>, entry_point: EntryPoint, error: &ConditionError) {
        let place = self.place_in(text, field, &error.span);
        let what = match error.kind {
            ErrorKind::Parse => "this is not a condition",
            ErrorKind::Validation | ErrorKind::Result | ErrorKind::Evaluation => "this condition does not fit",
        };
        let message = format!("{what}: {}", error.message);
        let found = if entry_point.is_notification() {
            self.report.warn(Code::BadCondition, place, format!("{message}; so it never holds"))
        } else {
            self.report.error(Code::BadCondition, place, message)
        };
        found.help_if(error.help.clone());
    }

    fn place_in(&self, text: &str, field: Field<'_>, span: &std::ops::Range<usize>) -> crate::source::Span {
        if span.is_empty() {
            return field.value_span();
        }
        place_within(self.report, field.value_span(), text, span.start, span.end)
    }

    fn condition_traps(&mut self, text: &str, field: Field<'_>, condition: &Condition, entry_point: EntryPoint) {
        if let Some(constant) = condition.constant() {
            let place = self.place_in(text, field, &constant.span);
            let message = format!("this condition is always {}: {}", constant.value, constant.why);
            let help = if constant.value {
                "leave the condition out, or say what was meant"
            } else {
                "the step never runs; write `skip: \"reason\"` if that is meant"
            };
            self.report.warn(Code::ConstantCondition, place, message).help(help);
        }
        if condition.names_changed_files() {
            self.report
                .warn(
                    Code::OpenPoint,
                    field.value_span(),
                    "`build.changed_files` is an addition of ours; other implementations reject it",
                )
                .help("`if_changed` does the same everywhere");
        }
        if entry_point.is_notification() {
            return;
        }
        for (name, span) in condition.reads() {
            if self.draft.env.iter().any(|(own, _)| *own == name) {
                let place = self.place_in(text, field, &span);
                self.report
                    .warn(
                        Code::InvisibleVariable,
                        place,
                        format!("a condition does not see `{name}` as the file's own `env` sets it"),
                    )
                    .help("it sees the variables of the build; compare the value where it is set");
            }
        }
    }
}

//! Trigger steps (`spec/pipeline.md` 1.5).

use tidegate_core::plan::TriggerStep;

use super::Reader;
use super::fields::Fields;
use crate::codes::Code;

impl Reader<'_, '_> {
    pub(super) fn trigger(&mut self, fields: &Fields<'_>, label: Option<&str>) -> TriggerStep {
        let pipeline = match fields.take_one("trigger") {
            Some(field) => self.name(field).unwrap_or_default(),
            None => {
                self.report
                    .error(Code::MissingAttribute, fields.span, "a trigger step needs `trigger`")
                    .help("write `trigger: SLUG`, with the slug of the pipeline to build");
                String::new()
            }
        };
        let mut step = TriggerStep {
            pipeline,
            branch: None,
            commit: None,
            message: label.map(str::to_owned),
            env: Vec::new(),
            meta_data: Vec::new(),
            asynchronous: false,
            soft_fail: fields.take_one("soft_fail").map(|field| self.soft_fail(field)).unwrap_or_default(),
            parallelism: 1,
        };
        if let Some(field) = fields.take_one("async") {
            step.asynchronous = self.boolean(field).unwrap_or(false);
        }
        if let Some(field) = fields.take_one("parallelism") {
            step.parallelism = self.count(field, 0..=u32::MAX).unwrap_or(1).max(1);
            self.job_cap(step.parallelism, field);
        }
        if let Some(field) = fields.take_one("build")
            && let Some(map) = self.map(field)
        {
            let build = Fields::new(map, field.key_span);
            let text = |reader: &mut Self, name: &str| build.take_one(name).and_then(|field| reader.text(field));
            step.branch = text(self, "branch");
            step.commit = text(self, "commit");
            if let Some(message) = text(self, "message") {
                step.message = Some(message);
            }
            step.env = build.take_one("env").map(|field| self.variables(field)).unwrap_or_default();
            step.meta_data = build.take_one("meta_data").map(|field| self.variables(field)).unwrap_or_default();
            self.mostly(&build, "build", &["branch", "commit", "message", "env", "meta_data"]);
        }
        step
    }
}

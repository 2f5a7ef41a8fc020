//! `depends_on` (`spec/pipeline.md` 1.7).

use std::collections::HashSet;

use tidegate_core::plan::Dependency;

use super::fields::{Field, Fields};
use super::{Reader, Spanned};
use crate::codes::Code;
use crate::yaml::Value;

impl Reader<'_, '_> {
    /// The dependencies; none where it is nothing or an empty list, which means that the step may run at once.
    pub(super) fn depends_on(&mut self, field: Field<'_>) -> Vec<Spanned<Dependency>> {
        match &field.node.value {
            Value::Map(_) => {
                self.report
                    .error(Code::BadType, field.value_span(), "`depends_on` must be a key or a list, not a map")
                    .help("make it a list of one: `- step: …`");
                Vec::new()
            }
            _ => {
                let mut out: Vec<Spanned<Dependency>> = Vec::new();
                let mut seen: HashSet<String> = HashSet::new();
                for item in self.nodes(field) {
                    let Some(dependency) = self.dependency(item) else { continue };
                    if !seen.insert(dependency.value.key.clone()) && self.lint {
                        let message = format!("`{}` is named twice", dependency.value.key);
                        self.report.warn(Code::UselessDependency, dependency.span, message).help("drop one of the two");
                    }
                    out.push(dependency);
                }
                out
            }
        }
    }

    fn dependency(&mut self, item: Field<'_>) -> Option<Spanned<Dependency>> {
        if let Value::Map(map) = &item.node.value {
            let fields = Fields::new(map, map.first().map_or(item.node.span, |first| first.key_span));
            let step = fields.take_one("step");
            let allow = fields.take_one("allow_failure").and_then(|field| self.boolean(field));
            self.only(&fields, "depends_on", &["step", "allow_failure"]);
            let Some(step) = step else {
                self.report
                    .error(Code::MissingAttribute, fields.span, "an entry of `depends_on` needs `step`")
                    .help("write `step: KEY`, with the `key` of the other step");
                return None;
            };
            let key = self.name(step)?;
            return Some(Spanned {
                value: Dependency { key, allow_failure: allow.unwrap_or(false) },
                span: step.value_span(),
                unknown: step.node.unknown,
            });
        }
        if item.node.is_null() {
            return None;
        }
        let key = self.text(item)?;
        if key.is_empty() {
            // `${X}` without a value depends on nothing.
            return None;
        }
        Some(Spanned {
            value: Dependency { key, allow_failure: false },
            span: item.node.span,
            unknown: item.node.unknown,
        })
    }
}

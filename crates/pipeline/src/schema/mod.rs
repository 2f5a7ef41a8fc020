//! The language as types, from which the JSON Schema for editors is generated.
//!
//! The types describe what may be written; nothing is read into them. A test holds them to the one table of attributes.

#![expect(dead_code, reason = "the fields are there for their names, types and descriptions")]

mod steps;
mod values;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use steps::StepItem;
use values::{Agents, Cache, Checkout, Notify, Number, Scalar, Secrets};

/// The JSON Schema of pipeline files, for editors: `pipeline schema` prints it.
pub fn schema() -> Schema {
    schema_for!(PipelineFile)
}

/// A pipeline: a map with `steps`, or a bare list of steps.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum PipelineFile {
    Map(Box<Pipeline>),
    Steps(Vec<StepItem>),
}

/// A pipeline.
#[derive(JsonSchema, Serialize)]
struct Pipeline {
    /// The steps, in order.
    steps: Option<Vec<StepItem>>,
    /// Variables of every command step, below the step's own. Later ones may use earlier ones.
    env: Option<BTreeMap<String, Scalar>>,
    /// Which machines run the steps that say nothing themselves.
    agents: Option<Agents>,
    #[serde(flatten)]
    agents_alias: AgentsAlias,
    /// Who is told how the build goes.
    notify: Option<Vec<Notify>>,
    /// Secrets of every command step.
    secrets: Option<Secrets>,
    /// How every command step checks out.
    checkout: Option<Checkout>,
    /// Container image of every command step.
    image: Option<String>,
    /// Larger first.
    priority: Option<Number>,
    /// Paths that every command step keeps between builds.
    cache: Option<Cache>,
}

/// An older name of `agents`.
#[derive(JsonSchema, Serialize)]
struct AgentsAlias {
    /// Older name of `agents`.
    agent_query_rules: Option<Agents>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::steps::{BlockStep, CommandStep, GroupStep, InputStep, TriggerStep, WaitStep};
    use super::*;
    use crate::attributes::{ATTRIBUTES, Kind};

    /// The names of a type's attributes.
    fn properties<T: JsonSchema>() -> BTreeSet<String> {
        let schema = schema_for!(T).to_value();
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn the_types_name_what_the_table_of_attributes_names() {
        let kinds = [
            (Kind::Top, properties::<Pipeline>()),
            (Kind::Command, properties::<CommandStep>()),
            (Kind::Wait, properties::<WaitStep>()),
            (Kind::Block, properties::<BlockStep>()),
            (Kind::Input, properties::<InputStep>()),
            (Kind::Trigger, properties::<TriggerStep>()),
            (Kind::Group, properties::<GroupStep>()),
        ];
        for (kind, properties) in kinds {
            let rows = ATTRIBUTES.iter().filter(|row| row.kinds & kind as u8 != 0);
            let table: BTreeSet<String> = rows
                .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
                .map(str::to_owned)
                .collect();
            assert_eq!(properties, table, "{}", kind.name());
        }
    }
}

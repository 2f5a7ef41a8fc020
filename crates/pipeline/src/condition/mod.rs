//! Conditions: the `if` of a step or of a notification (`spec/pipeline.md` 1.8).

mod facts;

pub use facts::{
    Actor, Build, EntryPoint, Facts, MergeQueue, Organization, Pipeline, PullRequest, RebuiltFrom, Scm, Step,
    TriggeredFrom, Variables,
};

//! Who did what to a build: kept in its record, oldest first, and shown.

use serde::{Deserialize, Serialize};

use super::Build;
use crate::ids::JobIndex;
use crate::time::Timestamp;

/// Most acts that a record keeps: people who retry all day must not make it grow without bound.
const MAX_ACTS: usize = 100;

/// Something that a person, or what stands for one, did to a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// When it was folded in.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What.
    pub did: Did,
}

/// What was done. A cancel is [`Build::cancel`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// Let a commit of a fork be built.
    Approved,
    /// Ran a job again; `None`: all that failed.
    Retried(Option<JobIndex>),
    /// Opened a block or input step.
    Unblocked {
        /// Which.
        job: JobIndex,
        /// The stored form with the values of its fields, if it has fields.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<String>,
        /// The values are still to be written to the meta-data: an effect that is to be performed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unwritten: bool,
    },
}

impl Did {
    /// The name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Did::Approved => "approved",
            Did::Retried(_) => "retried",
            Did::Unblocked { .. } => "unblocked",
        }
    }

    /// The form that was filled in, if there was one.
    pub fn form(&self) -> Option<&String> {
        match self {
            Did::Unblocked { form, .. } => form.as_ref(),
            Did::Approved | Did::Retried(_) => None,
        }
    }

    /// The job that it was done to, if it was one.
    pub fn job(&self) -> Option<JobIndex> {
        match self {
            Did::Approved => None,
            Did::Retried(job) => *job,
            Did::Unblocked { job, .. } => Some(*job),
        }
    }
}

impl Build {
    /// Writes down who did what. Of too many the oldest are forgotten, but for what still has an effect.
    pub(super) fn note(&mut self, by: &str, did: Did, at: Timestamp) {
        if self.acts.len() >= MAX_ACTS
            && let Some(oldest) =
                self.acts.iter().position(|a| !matches!(a.did, Did::Unblocked { unwritten: true, .. }))
        {
            self.acts.remove(oldest);
        }
        self.acts.push(Act { at, by: by.to_owned(), did });
    }

    /// Who opened this block or input step, and when; the last time.
    pub fn unblocked(&self, wanted: JobIndex) -> Option<&Act> {
        self.acts.iter().rev().find(|a| matches!(a.did, Did::Unblocked { job, .. } if job == wanted))
    }
}

//! What people and their programs ask and want of builds. The same functions serve the HTTP interface and a client that
//! reads a state directory without a server.

mod answers;
mod commands;
mod deliveries;
mod find;
mod logs;
mod machines;
mod show;
mod unblock;
mod why;

pub use answers::{
    ActAnswer, AnnotationAnswer, ArtifactAnswer, AttemptAnswer, BuildAnswer, BuildLine, Builds, FieldAnswer,
    FormAnswer, JobAnswer, NoticeAnswer, TriggeredAnswer,
};
pub use commands::{CreateBuild, Rebuild};
pub use deliveries::{Deliveries, DeliveryAnswer, DeliveryOutcome};
pub use find::{BuildName, JobName, NotFound};
pub use logs::{LogPart, LogPosition};
pub use machines::InstanceAnswer;
pub use unblock::Unblock;
pub use why::{GroupAnswer, GroupMember, Groups, WhyAnswer, WhyJob};

use crate::error::Error;

/// Why a request could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// What was named is not there, or not one thing.
    #[error("{0}")]
    NotFound(#[from] NotFound),
    /// It cannot be done in this state.
    #[error("{0}")]
    Refused(String),
    /// Something of ours failed.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl From<crate::ports::PortError> for ApiError {
    fn from(error: crate::ports::PortError) -> Self {
        ApiError::Engine(error.into())
    }
}

//! What the command line and the agent of its job say to each other.

use serde::{Deserialize, Serialize};
use tidegate_core::plan::Env;

/// [`Upload`], answered by [`tidegate_core::wire::gate::UploadAnswer`].
pub(crate) const UPLOAD: &str = "/tidegate/v0/upload";

/// A pipeline to add to the build: as [`tidegate_core::wire::gate::Upload`], without what the agent knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) uuid: String,
    pub(crate) pipeline: String,
    pub(crate) replace: bool,
    pub(crate) env: Env,
    pub(crate) no_interpolation: bool,
}

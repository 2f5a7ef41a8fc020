//! Secrets of a running job: the verb `secrets` of the gate. The same rules as in [`super::gate`] hold.

use serde::{Deserialize, Serialize};

use crate::ids::AttemptId;
use crate::secret::SecretValue;

/// Most secrets of one request.
pub const MOST_SECRETS: usize = 100;

/// Asks for secrets, all or none. Refused with 422 and a sentence that names what there is not, or what this attempt may
/// not have.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Secrets {
    /// As in [`super::gate::Beat`].
    pub boot: String,
    /// The held attempt.
    pub attempt: AttemptId,
    /// Their names, at most [`MOST_SECRETS`].
    pub names: Vec<String>,
}

/// The answer to [`Secrets`].
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SecretsAnswer {
    /// In the order asked for.
    pub values: Vec<SecretValue>,
}

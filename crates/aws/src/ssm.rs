//! Secrets in SSM parameters of type SecureString: they cost nothing, and the roles that may read them are listed by name.

use aws_config::SdkConfig;
use secrecy::SecretString;
use tidegate_engine::ports::PortError;

use crate::errors::classify;

/// Parameters of SSM.
#[derive(Clone, Debug)]
pub struct Parameters {
    client: aws_sdk_ssm::Client,
}

impl Parameters {
    /// A client. Connects to nothing yet.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: aws_sdk_ssm::Client::new(config) }
    }

    /// The values of these parameters (at most 10), decrypted, in the order asked for; `None` where there is no such parameter.
    ///
    /// # Errors
    /// [`PortError::Fatal`] when we may not read them.
    pub async fn get(&self, names: &[&str]) -> Result<Vec<Option<SecretString>>, PortError> {
        let what = format!("reading the parameters `{}`", names.join("`, `"));
        let answer = self
            .client
            .get_parameters()
            .set_names(Some(names.iter().map(|name| (*name).to_owned()).collect()))
            .with_decryption(true)
            .send()
            .await
            .map_err(|error| classify(&what, &error))?;
        let value = |name: &&str| {
            // A parameter may be asked for by name or by ARN, and answers with both.
            let found = answer.parameters().iter().find(|p| p.name() == Some(*name) || p.arn() == Some(*name))?;
            found.value().map(SecretString::from)
        };
        Ok(names.iter().map(value).collect())
    }
}

//! Secrets in SSM parameters of type SecureString: they cost nothing, and the roles that may read them are listed by name.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ssm::operation::get_parameters::GetParametersOutput;
use secrecy::{ExposeSecret as _, SecretString};
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::trust::Trust;
use tidegate_engine::ports::{Found, PortError, Secrets};

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
        let answer = self.ask(names, true).await?;
        let value = |name: &&str| {
            // A parameter may be asked for by name or by ARN, and answers with both.
            let found = answer.parameters().iter().find(|p| p.name() == Some(*name) || p.arn() == Some(*name))?;
            found.value().map(SecretString::from)
        };
        Ok(names.iter().map(value).collect())
    }

    /// Whether there are these parameters (at most 10), in the order asked for; nothing is decrypted.
    ///
    /// # Errors
    /// As [`Parameters::get`].
    pub async fn exist(&self, names: &[&str]) -> Result<Vec<bool>, PortError> {
        let answer = self.ask(names, false).await?;
        Ok(names.iter().map(|name| answer.parameters().iter().any(|p| p.name() == Some(*name))).collect())
    }

    async fn ask(&self, names: &[&str], decrypted: bool) -> Result<GetParametersOutput, PortError> {
        let what = format!("reading the parameters `{}`", names.join("`, `"));
        self.client
            .get_parameters()
            .set_names(Some(names.iter().map(|name| (*name).to_owned()).collect()))
            .with_decryption(decrypted)
            .send()
            .await
            .map_err(|error| classify(&what, &error))
    }
}

/// The secrets of jobs, by parameters below one path:
///
/// | parameter | for whom |
/// |---|---|
/// | `<path>/pipeline/<slug>/trusted/<NAME>` | trusted work of one pipeline |
/// | `<path>/pipeline/<slug>/any/<NAME>` | all work of one pipeline |
/// | `<path>/all/trusted/<NAME>` | trusted work of every pipeline |
/// | `<path>/all/any/<NAME>` | all work of every pipeline |
///
/// What is for trusted work is never decrypted for other work, and a role can be kept from all of it by its path.
#[derive(Clone, Debug)]
pub struct SecretParameters {
    parameters: Parameters,
    path: String,
}

impl SecretParameters {
    /// Secrets below a path, such as `/tidegate/main/secrets`.
    pub fn new(parameters: Parameters, path: impl Into<String>) -> Self {
        Self { parameters, path: path.into() }
    }
}

#[async_trait]
impl Secrets for SecretParameters {
    async fn get(&self, name: &SecretName, scope: &SecretScope) -> Result<Found, PortError> {
        let place = |whose: &str, trust: &str| format!("{}/{whose}/{trust}/{name}", self.path);
        let own = format!("pipeline/{}", scope.pipeline);
        // The first that is there is meant; every second one is for all work.
        let places = [place(&own, "trusted"), place(&own, "any"), place("all", "trusted"), place("all", "any")];
        let order = places.each_ref().map(String::as_str);
        match scope.trust {
            Trust::Trusted => {
                let found = self.parameters.get(&order).await?.into_iter().flatten().next();
                found.map_or(Ok(Found::Nothing), value)
            }
            Trust::Untrusted => {
                let there = self.parameters.exist(&order).await?;
                match there.iter().position(|there| *there) {
                    None => Ok(Found::Nothing),
                    Some(0 | 2) => Ok(Found::Withheld),
                    Some(place) => {
                        let found = self.parameters.get(&order[place..=place]).await?.into_iter().flatten().next();
                        found.map_or(Ok(Found::Nothing), value)
                    }
                }
            }
        }
    }
}

fn value(found: SecretString) -> Result<Found, PortError> {
    let value = SecretValue::new(found.expose_secret()).map_err(|error| PortError::reject(error.to_string()))?;
    Ok(Found::Value(value))
}

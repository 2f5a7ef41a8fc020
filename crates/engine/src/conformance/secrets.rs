//! Properties of [`Secrets`].

use async_trait::async_trait;
use tidegate_core::ids::PipelineSlug;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::trust::Trust;

use super::{Report, Trial, Violation};
use crate::ports::{Found, Secrets};

/// How a suite makes the owner keep a secret.
#[async_trait]
pub trait Owner: Sync {
    /// Keeps a value, for all pipelines or for one, perhaps for trusted work only; what is there is replaced.
    async fn keep(&self, name: &SecretName, pipeline: Option<&PipelineSlug>, trusted_only: bool, value: &SecretValue);
}

/// Runs all properties of secrets.
pub async fn suite(trial: &Trial<'_>, secrets: &dyn Secrets, owner: &dyn Owner) -> Result<Report, Violation> {
    let world = World { secrets, owner };
    run!(trial, &world, [what_is_not_there_is_nothing, one_pipeline_is_not_another, trust_is_asked_for])
}

/// The adapter and its owner.
#[derive(Clone, Copy)]
pub struct World<'a> {
    secrets: &'a dyn Secrets,
    owner: &'a dyn Owner,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

struct Names {
    secret: SecretName,
    web: PipelineSlug,
    shop: PipelineSlug,
}

fn names(trial: &Trial<'_>) -> Result<Names, Violation> {
    let bad = |error: tidegate_core::ids::InvalidId| trial.broken(error.to_string());
    Ok(Names {
        secret: SecretName::new(&format!("S_{}", trial.name("secret").replace('-', "_"))).map_err(bad)?,
        web: PipelineSlug::new(trial.name("web")).map_err(bad)?,
        shop: PipelineSlug::new(trial.name("shop")).map_err(bad)?,
    })
}

fn value(trial: &Trial<'_>, text: &str) -> Result<SecretValue, Violation> {
    SecretValue::new(text).map_err(|error| trial.broken(error.to_string()))
}

impl World<'_> {
    async fn get(
        &self,
        trial: &Trial<'_>,
        name: &SecretName,
        pipeline: &PipelineSlug,
        trust: Trust,
    ) -> Result<Found, Violation> {
        let scope = SecretScope { pipeline: pipeline.clone(), trust };
        trial.done("a look at a secret", || self.secrets.get(name, &scope)).await
    }
}

/// A name without a secret has none; a secret has its exact value, line ends and quotes included, and the last one counts.
pub async fn what_is_not_there_is_nothing(trial: &Trial<'_>, world: &World<'_>) -> Result<(), Violation> {
    let Names { secret, web, .. } = names(trial)?;
    let found = world.get(trial, &secret, &web, Trust::Trusted).await?;
    ensure!(trial, found == Found::Nothing, "a secret that nobody keeps is {found:?}");
    for text in ["first", "-----BEGIN-----\r\n'ä' \"$X\" \\\n-----END-----\n", " x "] {
        let value = value(trial, text)?;
        world.owner.keep(&secret, None, false, &value).await;
        for trust in [Trust::Trusted, Trust::Untrusted] {
            let found = world.get(trial, &secret, &web, trust).await?;
            ensure!(trial, found == Found::Value(value.clone()), "a value came back changed");
        }
    }
    Ok(())
}

/// A secret of one pipeline is none of another, and beats the one for all.
pub async fn one_pipeline_is_not_another(trial: &Trial<'_>, world: &World<'_>) -> Result<(), Violation> {
    let Names { secret, web, shop } = names(trial)?;
    let (own, shared) = (value(trial, "own")?, value(trial, "shared")?);
    world.owner.keep(&secret, Some(&web), false, &own).await;
    let found = world.get(trial, &secret, &shop, Trust::Trusted).await?;
    ensure!(trial, found == Found::Nothing, "another pipeline's secret is {found:?}");
    world.owner.keep(&secret, None, false, &shared).await;
    let found = world.get(trial, &secret, &web, Trust::Trusted).await?;
    ensure!(trial, found == Found::Value(own), "a pipeline's own secret does not beat the one for all");
    let found = world.get(trial, &secret, &shop, Trust::Trusted).await?;
    ensure!(trial, found == Found::Value(shared), "the secret for all is not for all");
    Ok(())
}

/// What is kept for trusted work is for nobody else, nor is what it hides.
pub async fn trust_is_asked_for(trial: &Trial<'_>, world: &World<'_>) -> Result<(), Violation> {
    let Names { secret, web, shop } = names(trial)?;
    let (own, shared) = (value(trial, "own")?, value(trial, "shared")?);
    world.owner.keep(&secret, None, false, &shared).await;
    world.owner.keep(&secret, Some(&web), true, &own).await;
    let found = world.get(trial, &secret, &web, Trust::Trusted).await?;
    ensure!(trial, found == Found::Value(own), "trusted work does not get what is kept for it");
    let found = world.get(trial, &secret, &web, Trust::Untrusted).await?;
    ensure!(trial, found == Found::Withheld, "work that is not trusted gets {found:?}");
    world.owner.keep(&secret, None, true, &shared).await;
    let found = world.get(trial, &secret, &shop, Trust::Untrusted).await?;
    ensure!(trial, found == Found::Withheld, "work that is not trusted gets {found:?} of all pipelines");
    Ok(())
}

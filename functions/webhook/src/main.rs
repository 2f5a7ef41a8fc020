#![doc = include_str!("../README.md")]

mod function;
mod secrets;
mod settings;

use lambda_runtime::service_fn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::function::Function;
use crate::settings::Settings;

// One invocation at a time: one thread is enough, and starts sooner.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let settings = Settings::from_env(|name| std::env::var(name).ok());
    let level = settings.as_ref().map_or(tracing::Level::INFO, |settings| settings.level);
    // Only our own code at that level: what libraries say in detail may hold whole requests and answers.
    let targets = Targets::new().with_default(tracing::Level::WARN.min(level)).with_target("tidegate", level);
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
    let settings = settings.inspect_err(|error| tracing::error!(%error, "the function cannot start"))?;
    let function = Function::new(settings);
    lambda_runtime::run(service_fn(async |event| Ok::<_, std::convert::Infallible>(function.answer(event).await))).await
}

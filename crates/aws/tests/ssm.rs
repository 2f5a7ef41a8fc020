//! The adapter of secrets against a parameter store of this process.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ssm::config::Credentials;
use axum::body::Bytes;
use serde_json::{Value, json};
use tidegate_aws_adapters::ambient::SystemClock;
use tidegate_aws_adapters::ssm::{Parameters, SecretParameters};
use tidegate_core::ids::PipelineSlug;
use tidegate_core::secret::{SecretName, SecretScope, SecretValue};
use tidegate_core::trust::Trust;
use tidegate_engine::conformance::Trial;
use tidegate_engine::conformance::secrets::{Owner, suite};
use tidegate_engine::ports::{Found, Secrets as _};

/// Parameters by name, and which were decrypted.
#[derive(Default)]
struct Kept {
    parameters: BTreeMap<String, String>,
    decrypted: Vec<String>,
}

#[derive(Clone, Default)]
struct ParameterStore(Arc<Mutex<Kept>>);

impl ParameterStore {
    async fn serve(&self) -> SecretParameters {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let store = self.clone();
        let app = axum::Router::new().fallback(move |body: Bytes| async move { store.get(&body) });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .endpoint_url(&base)
            .retry_config(RetryConfig::disabled())
            .load()
            .await;
        SecretParameters::new(Parameters::new(&config), "/tg/secrets")
    }

    fn get(&self, body: &[u8]) -> String {
        let request: Value = serde_json::from_slice(body).unwrap();
        let mut kept = self.0.lock().unwrap();
        let decrypts = request["WithDecryption"] == true;
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in request["Names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            match kept.parameters.get(name).cloned() {
                Some(value) => {
                    let value = if decrypts { value } else { "AQICAHj…".to_owned() };
                    found.push(json!({ "Name": name, "Type": "SecureString", "Value": value }));
                    if decrypts {
                        kept.decrypted.push(name.to_owned());
                    }
                }
                None => invalid.push(name.to_owned()),
            }
        }
        json!({ "Parameters": found, "InvalidParameters": invalid }).to_string()
    }

    fn write(&self, whose: &str, trusted_only: bool, name: &SecretName, value: &str) {
        let parameters = &mut self.0.lock().unwrap().parameters;
        let place = |trust: &str| format!("/tg/secrets/{whose}/{trust}/{name}");
        parameters.remove(&place(if trusted_only { "any" } else { "trusted" }));
        parameters.insert(place(if trusted_only { "trusted" } else { "any" }), value.to_owned());
    }
}

#[async_trait]
impl Owner for ParameterStore {
    async fn keep(&self, name: &SecretName, pipeline: Option<&PipelineSlug>, trusted_only: bool, value: &SecretValue) {
        let whose = pipeline.map_or_else(|| "all".to_owned(), |slug| format!("pipeline/{slug}"));
        self.write(&whose, trusted_only, name, value.expose());
    }
}

#[tokio::test]
async fn the_secrets_conform() {
    let store = ParameterStore::default();
    let secrets = store.serve().await;
    let trial = Trial::new(&SystemClock, "t", Duration::from_secs(30));
    suite(&trial, &secrets, &store).await.unwrap();
}

#[tokio::test]
async fn what_is_for_trusted_work_is_not_even_decrypted_for_other_work() {
    let store = ParameterStore::default();
    let secrets = store.serve().await;
    let name = SecretName::new("KEY").unwrap();
    store.write("pipeline/web", true, &name, "hush");
    store.write("all", false, &name, "open");
    let scope = SecretScope { pipeline: PipelineSlug::new("web").unwrap(), trust: Trust::Untrusted };
    assert_eq!(secrets.get(&name, &scope).await, Ok(Found::Withheld));
    assert_eq!(store.0.lock().unwrap().decrypted, Vec::<String>::new());
    let scope = SecretScope { pipeline: PipelineSlug::new("shop").unwrap(), ..scope };
    assert!(matches!(secrets.get(&name, &scope).await, Ok(Found::Value(_))));
    assert_eq!(store.0.lock().unwrap().decrypted, ["/tg/secrets/all/any/KEY"]);
}

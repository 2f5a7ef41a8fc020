//! From a function URL's event to its answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lambda_events::http::HeaderValue;
use aws_lambda_events::lambda_function_urls::{LambdaFunctionUrlRequest, LambdaFunctionUrlResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_runtime::LambdaEvent;
use tidegate_aws_adapters::ambient::{SystemClock, SystemIds};
use tidegate_aws_adapters::config;
use tidegate_aws_adapters::sqs::{QueueUrls, Sqs};
use tidegate_aws_adapters::ssm::Parameters;
use tidegate_edge::webhook::{Answer, Deps, handle};
use tidegate_engine::ports::{PortError, Queue};
use tidegate_github::webhook::{Decision, Headers, Secrets};
use tokio::sync::OnceCell;

use crate::secrets::{Cached, SecretsError};
use crate::settings::Settings;

/// Lambda's own limit of an event, in bytes: a body is always below it (`spec/aws-limits.md` 4.4).
const LIMIT: usize = 6 * 1024 * 1024;
/// How long reading the secrets may take. With the queue's 8 s this is GitHub's 10 s or a little more, and only when both are slow at once.
const SECRETS_DEADLINE: Duration = Duration::from_secs(3);

/// What lives from one invocation to the next.
#[derive(Debug)]
pub(crate) struct Function {
    settings: Settings,
    secrets: Cached,
    aws: OnceCell<Aws>,
}

#[derive(Debug)]
struct Aws {
    queue: Arc<dyn Queue>,
    parameters: Parameters,
}

impl Function {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { secrets: Cached::new(settings.keep), settings, aws: OnceCell::new() }
    }

    /// Answers one event. Never an error: Lambda would show a stranger's mistake as ours.
    pub(crate) async fn answer(&self, event: LambdaEvent<LambdaFunctionUrlRequest>) -> LambdaFunctionUrlResponse {
        let request = event.payload;
        let method = request.request_context.http.method.as_deref().unwrap_or_default();
        let answer = match (method, request.raw_path.as_deref().unwrap_or("/")) {
            ("POST", "/webhook" | "/") => self.webhook(&request).await,
            ("GET" | "HEAD", "/healthz") => plain(200, "ok\n"),
            (_, "/webhook" | "/" | "/healthz") => plain(405, ""),
            _ => plain(404, ""),
        };
        respond(answer)
    }

    async fn webhook(&self, request: &LambdaFunctionUrlRequest) -> Answer {
        let text = request.body.as_deref().unwrap_or_default();
        let body = if request.is_base64_encoded {
            match STANDARD.decode(text) {
                Ok(bytes) => Cow::Owned(bytes),
                Err(_) => return plain(400, ""),
            }
        } else {
            Cow::Borrowed(text.as_bytes())
        };
        if body.len() > LIMIT {
            let Decision { status, body, .. } = Decision::too_large(LIMIT);
            return Answer { status, body };
        }
        let aws = self.aws.get_or_init(|| Aws::new(&self.settings)).await;
        let secrets = match self.secrets.get(Instant::now(), read(aws, &self.settings)).await {
            Ok(secrets) => secrets,
            Err(error) => {
                tracing::error!(%error, outcome = "no_secret", "a delivery cannot be verified: redeliver it later");
                return plain(503, r#"{"error":"the delivery cannot be verified now: redeliver it"}"#);
            }
        };
        let deps = Deps { secrets, limit: LIMIT, queue: Arc::clone(&aws.queue), clock: Arc::new(SystemClock) };
        let header = |name: &str| request.headers.get(name)?.to_str().ok();
        let headers = Headers {
            event: header("x-github-event"),
            delivery: header("x-github-delivery"),
            signature: header("x-hub-signature-256"),
            content_type: header("content-type"),
        };
        handle(&deps, headers, &body).await
    }
}

impl Aws {
    /// Clients that have connected to nothing yet: there is nothing in them that could be broken for good.
    async fn new(settings: &Settings) -> Self {
        let config = config::load().await;
        let urls = QueueUrls { base: settings.queue_base.clone(), fifo: Default::default() };
        Self { queue: Arc::new(Sqs::new(&config, urls, Arc::new(SystemIds))), parameters: Parameters::new(&config) }
    }
}

/// Both secrets in one call.
async fn read(aws: &Aws, settings: &Settings) -> Result<Secrets, SecretsError> {
    let names: Vec<&str> =
        [Some(&settings.secret), settings.previous.as_ref()].into_iter().flatten().map(String::as_str).collect();
    let read = tokio::time::timeout(SECRETS_DEADLINE, aws.parameters.get(&names)).await;
    let values = read.map_err(|_| PortError::retry("SSM did not answer in time"))??;
    let mut values = values.into_iter();
    let current = values.next().flatten().ok_or_else(|| SecretsError::Missing(settings.secret.clone()))?;
    Ok(Secrets::new(current, values.next().flatten())?)
}

fn plain(status: u16, body: &str) -> Answer {
    Answer { status, body: body.to_owned() }
}

fn respond(Answer { status, body }: Answer) -> LambdaFunctionUrlResponse {
    let mut response = LambdaFunctionUrlResponse::default();
    response.status_code = i64::from(status);
    if body.starts_with('{') {
        response.headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    response.body = Some(body);
    response
}

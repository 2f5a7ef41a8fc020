//! What is around the function: the Lambda Runtime API and AWS, on loopback.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// Longest wait for the function, far above what it needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// A function process with its surroundings.
pub(crate) struct World {
    pub(crate) aws: Aws,
    runtime: Runtime,
    answers: mpsc::UnboundedReceiver<(String, Value)>,
    process: Child,
    /// Reads what the process logs, so that it never waits for a reader.
    log: Option<JoinHandle<String>>,
    count: u32,
}

impl World {
    /// Starts the function and waits until it asks for its first invocation.
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let aws = Aws::start().await;
        let (answered, answers) = mpsc::unbounded_channel();
        let runtime = Runtime::start(answered).await;
        let mut process = spawn(&aws, runtime.address, environment);
        let mut output = process.stdout.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            output.read_to_string(&mut log).unwrap();
            log
        });
        let mut asked = runtime.asked.subscribe();
        tokio::time::timeout(DEADLINE, asked.wait_for(|times| *times > 0)).await.unwrap().unwrap();
        Self { aws, runtime, answers, process, log: Some(log), count: 0 }
    }

    /// Starts a function that cannot start, and gives what it said.
    pub(crate) async fn start_and_fail(environment: &[(&str, &str)]) -> String {
        let aws = Aws::start().await;
        let runtime = Runtime::start(mpsc::unbounded_channel().0).await;
        let process = spawn(&aws, runtime.address, environment);
        let output = tokio::task::spawn_blocking(|| process.wait_with_output().unwrap()).await.unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The function's answer to an event.
    pub(crate) async fn invoke(&mut self, event: &Value) -> Value {
        self.count += 1;
        let id = format!("invocation-{}", self.count);
        self.runtime.invocations.send((id.clone(), event.to_string())).unwrap();
        let (answered, answer) = tokio::time::timeout(DEADLINE, self.answers.recv()).await.unwrap().unwrap();
        assert_eq!(answered, id);
        answer
    }

    /// Whether the process that was started is the one that still runs.
    pub(crate) fn is_the_first_process(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Ends the function and gives all it logged.
    pub(crate) fn stop(mut self) -> String {
        self.process.kill().unwrap();
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(aws: &Aws, runtime: SocketAddr, environment: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tidegate-webhook-function"))
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", runtime.to_string()),
            ("AWS_ENDPOINT_URL", aws.base.clone()),
            ("TIDEGATE_QUEUE_BASE", format!("{}/1/tidegate-", aws.base)),
        ])
        .envs([
            ("AWS_LAMBDA_FUNCTION_NAME", "webhook"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "aws-key"),
            ("AWS_SECRET_ACCESS_KEY", "aws-secret-key"),
            ("TIDEGATE_WEBHOOK_SECRET_PARAMETER", "/tidegate/secret"),
        ])
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The Lambda Runtime API.
#[derive(Clone)]
struct Runtime {
    address: SocketAddr,
    invocations: mpsc::UnboundedSender<(String, String)>,
    waiting: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, String)>>>,
    answered: mpsc::UnboundedSender<(String, Value)>,
    /// How often `next` was called.
    asked: Arc<watch::Sender<u32>>,
}

impl Runtime {
    async fn start(answered: mpsc::UnboundedSender<(String, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (invocations, waiting) = mpsc::unbounded_channel();
        let runtime = Self {
            address: listener.local_addr().unwrap(),
            invocations,
            waiting: Arc::new(tokio::sync::Mutex::new(waiting)),
            answered,
            asked: Arc::new(watch::Sender::new(0)),
        };
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answer))
            .with_state(runtime.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        runtime
    }
}

async fn next(State(runtime): State<Runtime>) -> Response {
    runtime.asked.send_modify(|times| *times += 1);
    let Some((id, event)) = runtime.waiting.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", "9999999999999".to_owned()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:1:function:webhook".to_owned()),
        (
            "lambda-runtime-trace-id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0".to_owned(),
        ),
    ];
    (headers, event).into_response()
}

async fn answer(State(runtime): State<Runtime>, Path((id, kind)): Path<(String, String)>, body: Bytes) -> StatusCode {
    let mut said: Value = serde_json::from_slice(&body).unwrap_or_default();
    if kind != "response" {
        said = json!({ "statusCode": 0, "error": said });
    }
    let _ = runtime.answered.send((id, said));
    StatusCode::ACCEPTED
}

/// What is wrong with AWS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The connection ends in the middle of the answer.
    BreaksOff,
    /// An error with this status and type.
    Answer(u16, &'static str),
    /// The parameter is not there.
    NoParameter,
    /// No answer.
    Hang,
}

/// SQS and SSM, as far as the function uses them.
#[derive(Clone)]
pub(crate) struct Aws {
    pub(crate) base: String,
    state: Arc<Mutex<AwsState>>,
}

#[derive(Default)]
struct AwsState {
    parameters: BTreeMap<String, String>,
    fault: Option<(&'static str, Fault)>,
    calls: Vec<String>,
    sent: Vec<Value>,
}

impl Aws {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let aws = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::new(Mutex::new(AwsState::default())),
        };
        aws.put("/tidegate/secret", "current-5ec3e7");
        let app = Router::new().fallback(call).with_state(aws.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        aws
    }

    pub(crate) fn put(&self, parameter: &str, value: &str) {
        self.state.lock().unwrap().parameters.insert(parameter.to_owned(), value.to_owned());
    }

    pub(crate) fn remove(&self, parameter: &str) {
        self.state.lock().unwrap().parameters.remove(parameter);
    }

    /// From now on the service whose name starts so has this fault.
    pub(crate) fn fail(&self, fault: Option<(&'static str, Fault)>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// What was called, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The messages that SQS has.
    pub(crate) fn sent(&self) -> Vec<Value> {
        self.state.lock().unwrap().sent.clone()
    }
}

async fn call(State(aws): State<Aws>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    assert!(headers["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=aws-key/"));
    let fault = {
        let mut state = aws.state.lock().unwrap();
        state.calls.push(target.clone());
        state.fault.filter(|(service, _)| target.starts_with(service)).map(|(_, fault)| fault)
    };
    let request: HashMap<String, Value> = serde_json::from_slice(&body).unwrap();
    match fault {
        None => {}
        Some(Fault::Answer(status, kind)) => {
            let error = json!({ "__type": kind, "message": "no" }).to_string();
            return (StatusCode::from_u16(status).unwrap(), error).into_response();
        }
        Some(Fault::NoParameter) => {
            return json!({ "Parameters": [], "InvalidParameters": request["Names"] }).to_string().into_response();
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::BreaksOff) => {
            let reset = stream::once(async { Err::<Bytes, _>(io::Error::other("reset")) });
            return axum::body::Body::from_stream(reset).into_response();
        }
    }
    let mut state = aws.state.lock().unwrap();
    match target.as_str() {
        "AmazonSSM.GetParameters" => {
            assert_eq!(request["WithDecryption"], true);
            let names = request["Names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            let found = names.filter_map(|name| {
                let value = state.parameters.get(name)?;
                Some(json!({ "Name": name, "Type": "SecureString", "Value": value, "Version": 1 }))
            });
            json!({ "Parameters": found.collect::<Vec<_>>(), "InvalidParameters": [] }).to_string().into_response()
        }
        "AmazonSQS.SendMessage" => {
            state.sent.push(json!(request));
            json!({ "MessageId": "5fea7756-0ea4-451a-a703-a558b933e274", "MD5OfMessageBody": "" })
                .to_string()
                .into_response()
        }
        other => (StatusCode::BAD_REQUEST, format!("{other} is not known here")).into_response(),
    }
}

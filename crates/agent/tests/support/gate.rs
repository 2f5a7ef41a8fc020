//! The verbs of the gate over plain memory. It can be moved to another port, and be away.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{post, put};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tidegate_core::ids::AttemptId;
use tidegate_core::secret::SecretValue;
use tidegate_core::wire::credential::{Credential, GitCredential, GitCredentialAnswer};
use tidegate_core::wire::gate::*;
use tidegate_core::wire::job::*;
use tidegate_core::wire::secret::*;
use tokio::runtime::Runtime;

use super::{PATIENCE, TOKEN};

#[derive(Default)]
pub struct Memory {
    pub instance: String,
    pub base: String,
    pub queue: VecDeque<Assignment>,
    pub held: Option<Assignment>,
    pub beats: Vec<Beat>,
    pub started: Vec<AttemptId>,
    pub results: Vec<ReportResult>,
    pub objects: BTreeMap<String, Vec<u8>>,
    pub artifacts: Vec<ArtifactFile>,
    pub listed: bool,
    pub cancel: Option<CancelReason>,
    pub start_cancel: Option<CancelReason>,
    pub stop: bool,
    pub doomed: bool,
    pub leave: bool,
    /// The next so many `PUT`s are answered with this.
    pub bad_puts: VecDeque<u16>,
    /// Larger files than twice this come in parts of so many bytes.
    pub part_bytes: Option<u64>,
    /// Uploads in parts: how many were begun, dropped and completed.
    pub in_parts: (u32, u32, u32),
    /// Every key that was put as a whole, in order.
    pub put: Vec<String>,
    /// Done once, when artifacts are registered.
    pub meanwhile: Option<Box<dyn FnOnce() + Send>>,
    /// The next so many calls of the gate are answered 503.
    pub bad_calls: u32,
    /// A beat is answered 409 while this is held.
    pub ended_elsewhere: bool,
    /// Calls of `next` since closing was said.
    pub closing_polls: u32,
    pub unauthorised: u32,
    pub presigned: u32,
    /// Every `PUT` body is only counted, not kept.
    pub count_only: bool,
    pub counted: u64,
    /// Pipeline uploads, each once.
    pub uploads: Vec<Upload>,
    /// The answers of the next so many uploads are lost.
    pub lost_uploads: u32,
    /// What an upload is answered with.
    pub upload_answer: Option<UploadAnswer>,
    pub meta_data: BTreeMap<String, String>,
    pub annotations: Vec<Annotate>,
    /// User and password that git is given.
    pub credential: Option<Credential>,
    /// Where git would have sent it.
    pub credential_asked: Vec<GitCredential>,
    /// By name.
    pub secrets: BTreeMap<String, String>,
    /// The body of every call of the gate, as it came.
    pub heard: Vec<String>,
}

type Shared = Arc<(Mutex<Memory>, Condvar)>;

pub struct Gate {
    shared: Shared,
    endpoint: PathBuf,
    server: Mutex<Option<Runtime>>,
}

impl Gate {
    pub fn start(endpoint: PathBuf, instance: String) -> Self {
        let memory = Memory { instance, ..Memory::default() };
        let gate = Self { shared: Arc::new((Mutex::new(memory), Condvar::new())), endpoint, server: Mutex::new(None) };
        gate.open();
        gate
    }

    /// Listens on a new port and says so in the endpoint file.
    pub fn open(&self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        self.with(|m| m.base = base.clone());
        let app = Router::new()
            .route("/gate/{verb}", post(verb))
            .route("/put/{*key}", put(store).get(load))
            .layer(DefaultBodyLimit::max(1 << 30))
            .with_state(Arc::clone(&self.shared));
        runtime.spawn(async move { axum::serve(listener, app).await });
        let new = self.endpoint.with_extension("new");
        std::fs::write(&new, base).unwrap();
        std::fs::rename(new, &self.endpoint).unwrap();
        *self.server.lock().unwrap() = Some(runtime);
    }

    /// Is gone, with every connection.
    pub fn close(&self) {
        if let Some(runtime) = self.server.lock().unwrap().take() {
            runtime.shutdown_timeout(Duration::from_millis(50));
        }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        let (memory, changed) = &*self.shared;
        let value = look(&mut memory.lock().unwrap());
        changed.notify_all();
        value
    }

    /// Waits until something holds.
    pub fn wait(&self, what: &str, holds: impl Fn(&Memory) -> bool) {
        let (memory, changed) = &*self.shared;
        let deadline = Instant::now() + PATIENCE;
        let mut memory = memory.lock().unwrap();
        while !holds(&memory) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            memory = changed.wait_timeout(memory, left).unwrap().0;
        }
    }

    pub fn give(&self, assignment: Assignment) {
        self.with(|m| m.queue.push_back(assignment));
    }

    /// Waits for a result.
    pub fn result(&self, index: usize) -> ReportResult {
        self.wait("a result", |m| m.results.len() > index);
        self.with(|m| m.results[index].clone())
    }

    /// The log of an attempt as it was uploaded.
    pub fn raw_log(&self, attempt: &AttemptId) -> Vec<u8> {
        self.with(|m| {
            let prefix = log_prefix(attempt);
            let chunks: Vec<_> = m.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
            for (number, (key, _)) in (0..).zip(&chunks) {
                assert_eq!(**key, log_chunk_key(attempt, number), "a hole in the log");
            }
            chunks.into_iter().flat_map(|(_, body)| body.clone()).collect()
        })
    }

    /// The log without marks.
    pub fn log(&self, attempt: &AttemptId) -> String {
        String::from_utf8_lossy(&unmark(&self.raw_log(attempt))).into_owned()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

/// Removes the marks of line beginnings.
pub fn unmark(raw: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(raw.len());
    let mut rest = raw;
    let mark = b"\x1b_bk;t=";
    while let Some(at) = rest.windows(mark.len()).position(|w| w == mark) {
        clean.extend_from_slice(&rest[..at]);
        let end = rest[at..].iter().position(|b| *b == 7).unwrap();
        rest = &rest[at + end + 1..];
    }
    clean.extend_from_slice(rest);
    clean
}

type Answer = (StatusCode, String);

fn refuse(status: StatusCode, error: &str) -> Answer {
    (status, json!({ "error": error }).to_string())
}

fn ok(answer: &impl serde::Serialize) -> Answer {
    (StatusCode::OK, serde_json::to_string(answer).unwrap())
}

fn read<T: DeserializeOwned>(body: &Bytes) -> T {
    serde_json::from_slice(body).unwrap()
}

async fn verb(State(shared): State<Shared>, Path(verb): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    {
        let mut memory = shared.0.lock().unwrap();
        let bearer = format!("Bearer {TOKEN}");
        let known = headers.get("authorization").is_some_and(|h| h == &bearer)
            && headers.get("x-tidegate-instance").is_some_and(|h| h == &memory.instance);
        if !known {
            memory.unauthorised += 1;
            return refuse(StatusCode::FORBIDDEN, "who are you");
        }
        if memory.bad_calls > 0 {
            memory.bad_calls -= 1;
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "not now");
        }
    }
    if verb == "next" {
        return next(&shared, &read(&body)).await;
    }
    let mut guard = shared.0.lock().unwrap();
    let memory = &mut *guard;
    memory.heard.push(String::from_utf8_lossy(&body).into_owned());
    let answer = match verb.as_str() {
        "beat" => beat(memory, read(&body)),
        "start" => {
            let start: Start = read(&body);
            assert_eq!(Some(&start.attempt), memory.held.as_ref().map(|a| &a.attempt));
            memory.started.push(start.attempt);
            ok(&StartAnswer { cancel: memory.start_cancel })
        }
        "presign" => {
            let ask: Presign = read(&body);
            memory.presigned += ask.count;
            let urls = (ask.first..ask.first + ask.count)
                .map(|n| format!("{}/put/{}", memory.base, log_chunk_key(&ask.attempt, n)))
                .collect();
            ok(&PresignAnswer { urls })
        }
        "artifacts" => artifacts(memory, read(&body)),
        "artifact_parts" => artifact_parts(memory, read(&body)),
        "upload" => upload(memory, read(&body)),
        "meta_data" => meta_data(memory, read(&body)),
        "find_artifacts" => found(memory, &read(&body)),
        "fetch_artifacts" => {
            let ask: FetchArtifacts = read(&body);
            let urls = ask.files.iter().map(|(a, n)| format!("{}/put/{}", memory.base, artifact_key(a, *n)));
            ok(&FetchArtifactsAnswer { urls: urls.collect() })
        }
        "annotate" => {
            memory.annotations.push(read(&body));
            ok(&AnnotateAnswer { existed: memory.annotations.len() > 1 })
        }
        "git_credential" => {
            let ask: GitCredential = read(&body);
            assert_eq!(Some(&ask.attempt), memory.held.as_ref().map(|a| &a.attempt));
            memory.credential_asked.push(ask);
            ok(&GitCredentialAnswer { credential: memory.credential.clone() })
        }
        "secrets" => {
            let ask: Secrets = read(&body);
            match ask
                .names
                .iter()
                .map(|name| memory.secrets.get(name).cloned().ok_or(name))
                .collect::<Result<Vec<_>, _>>()
            {
                Ok(values) => ok(&SecretsAnswer {
                    values: values.into_iter().map(|value| SecretValue::new(value).unwrap()).collect(),
                }),
                Err(name) => {
                    refuse(StatusCode::UNPROCESSABLE_ENTITY, &format!("the pipeline `p` has no secret `{name}`"))
                }
            }
        }
        "result" => {
            let result: ReportResult = read(&body);
            memory.held = None;
            memory.cancel = None;
            memory.results.push(result);
            ok(&ResultAnswer { accepted: true })
        }
        _ => refuse(StatusCode::NOT_FOUND, "no such verb"),
    };
    shared.1.notify_all();
    answer
}

fn beat(memory: &mut Memory, beat: Beat) -> Answer {
    let refused = memory.ended_elsewhere && beat.attempt.is_some();
    memory.beats.push(beat);
    if refused {
        return refuse(StatusCode::CONFLICT, "that attempt has ended");
    }
    ok(&BeatAnswer { cancel: memory.cancel, doomed: memory.doomed, stop: memory.stop })
}

fn artifacts(memory: &mut Memory, ask: Artifacts) -> Answer {
    assert!(ask.files.len() <= 100);
    if ask.done {
        memory.listed = true;
        return ok(&ArtifactsAnswer::default());
    }
    let urls =
        ask.files.iter().map(|f| format!("{}/put/{}", memory.base, artifact_key(&ask.attempt, f.number))).collect();
    for file in ask.files {
        memory.artifacts.retain(|f| f.number != file.number);
        memory.artifacts.push(file);
    }
    memory.artifacts.sort_by_key(|f| f.number);
    if let Some(meanwhile) = memory.meanwhile.take() {
        meanwhile();
    }
    ok(&ArtifactsAnswer { urls, part_bytes: memory.part_bytes })
}

fn artifact_parts(memory: &mut Memory, ask: ArtifactParts) -> Answer {
    let key = |upload: &str, part: usize| format!("parts/{upload}/{part}");
    let mut answer = ArtifactPartsAnswer::default();
    match ask.ask {
        PartsAsk::Begin => {
            memory.in_parts.0 += 1;
            answer.upload = Some(format!("{}-{}", ask.number, memory.in_parts.0));
        }
        PartsAsk::Part { upload, part, part_bytes } => {
            assert_eq!(Some(part_bytes), memory.part_bytes);
            answer.url = Some(format!("{}/put/{}", memory.base, key(&upload, part as usize)));
        }
        PartsAsk::Complete { upload, tags } => {
            memory.in_parts.2 += 1;
            let mut whole = Vec::new();
            for (number, tag) in (1..).zip(tags) {
                let part = &memory.objects[&key(&upload, number)];
                assert_eq!(tag, tag_of(part));
                whole.extend_from_slice(part);
            }
            memory.objects.insert(artifact_key(&ask.attempt, ask.number), whole);
        }
        PartsAsk::Abort { .. } => memory.in_parts.1 += 1,
    }
    ok(&answer)
}

fn tag_of(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

fn meta_data(memory: &mut Memory, ask: MetaData) -> Answer {
    let mut answer = MetaDataAnswer::default();
    match ask.ask {
        MetaDataAsk::Set(entries) => memory.meta_data.extend(entries),
        MetaDataAsk::Get(name) => answer.value = memory.meta_data.get(&name).cloned(),
        MetaDataAsk::Keys => answer.keys = memory.meta_data.keys().cloned().collect(),
    }
    ok(&answer)
}

/// One in each answer.
fn found(memory: &Memory, ask: &FindArtifacts) -> Answer {
    if ask.step.as_deref().is_some_and(|step| step != "this") {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "the build has no such step");
    }
    let at: usize = ask.after.as_ref().map_or(0, |after| after.parse().unwrap());
    let files = memory.artifacts.get(at).map(|file| FoundArtifact {
        attempt: ask.attempt.clone(),
        job_id: "job-1".to_owned(),
        file: file.clone(),
        created_at: "2026-01-02T03:04:05Z".to_owned(),
    });
    let next = (at + 1 < memory.artifacts.len()).then(|| (at + 1).to_string());
    ok(&FindArtifactsAnswer { files: files.into_iter().collect(), next })
}

async fn load(State(shared): State<Shared>, Path(key): Path<String>) -> Result<Vec<u8>, StatusCode> {
    shared.0.lock().unwrap().objects.get(&key).cloned().ok_or(StatusCode::NOT_FOUND)
}

fn upload(memory: &mut Memory, upload: Upload) -> Answer {
    let answer = memory.upload_answer.clone().unwrap_or(UploadAnswer { diagnostics: Vec::new(), accepted: true });
    match memory.uploads.iter().find(|known| known.uuid == upload.uuid) {
        Some(known) => assert_eq!(*known, upload, "one id, two uploads"),
        None => memory.uploads.push(upload),
    }
    if memory.lost_uploads > 0 {
        memory.lost_uploads -= 1;
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the answer is lost");
    }
    ok(&answer)
}

async fn next(shared: &Shared, ask: &Next) -> Answer {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(ask.wait_ms);
    loop {
        {
            let mut memory = shared.0.lock().unwrap();
            if memory.held.is_none() {
                memory.held = memory.queue.pop_front();
            }
            let closing = memory.beats.last().map(|b| b.state) == Some(AgentState::Closing);
            if let Some(held) = memory.held.clone() {
                return ok(&NextAnswer { assignment: Some(Box::new(held)), leave: false });
            }
            if memory.leave {
                return ok(&NextAnswer { assignment: None, leave: true });
            }
            if tokio::time::Instant::now() >= deadline {
                memory.closing_polls += u32::from(closing);
                return ok(&NextAnswer::default());
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

type Tag = [(&'static str, String); 1];

async fn store(State(shared): State<Shared>, Path(key): Path<String>, body: Bytes) -> (StatusCode, Tag) {
    let tag = [("etag", format!("\"{}\"", tag_of(&body)))];
    let mut memory = shared.0.lock().unwrap();
    if let Some(status) = memory.bad_puts.pop_front() {
        return (StatusCode::from_u16(status).unwrap(), tag);
    }
    memory.put.push(key.clone());
    memory.counted += body.len() as u64;
    if !memory.count_only {
        if let Some(before) = memory.objects.get(&key) {
            assert_eq!(before, &body.to_vec(), "a key was written twice, differently");
        }
        memory.objects.insert(key, body.to_vec());
    }
    drop(memory);
    shared.1.notify_all();
    (StatusCode::OK, tag)
}

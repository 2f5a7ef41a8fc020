//! The task that owns a log. It reads the job's pipe, marks lines, counts, cuts chunks and uploads them.
//!
//! Back-pressure: at most one chunk is being filled and two are on their way; while they are, the pipe is not read and
//! the job's writes block. So a job that prints faster than the store takes it is slowed down, and this process stays
//! small whatever is printed.
//!
//! The agent's own lines take their place after everything that the job's processes wrote before: the pipe is drained
//! first. That is exact for processes that have ended.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tidegate_core::ids::AttemptId;
use tidegate_core::wire::gate::LogExtent;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::chunks::Chunks;
use super::fold::{Fold, LONGEST_LINE};
use super::limit::{Limit, Writer};
use super::pace::Pace;
use super::redact::Redactor;
use super::sieve::Sieve;
use super::stamp::Stamper;
use super::tail::Tail;
use crate::gate::{Gate, Refused};

/// A chunk of this size is sent without waiting for more.
const GOOD_CHUNK: usize = 256 * 1024;
/// No chunk is larger than this and one read.
const LARGEST_CHUNK: usize = 1024 * 1024;
/// Chunks on their way.
const IN_FLIGHT: usize = 2;
/// While output flows a chunk is sent this often.
const FLUSH_EVERY: Duration = Duration::from_millis(300);
/// Output after a silence is sent after this: long enough for a line to be complete.
const FLUSH_SOON: Duration = Duration::from_millis(15);
/// One read.
const READ: usize = 64 * 1024;
/// How much is read at most before an agent's line takes its turn; a process that writes without end cannot hold it up.
const DRAIN: usize = 4 * 1024 * 1024;
/// The pipe's buffer: fewer switches between the job and us. The kernel may refuse.
const PIPE: i32 = 256 * 1024;

/// What the log of an attempt needs to know.
#[derive(Debug)]
pub(crate) struct LogSettings {
    pub(crate) gate: Gate,
    pub(crate) boot: String,
    pub(crate) attempt: AttemptId,
    pub(crate) urls: Vec<String>,
    pub(crate) limit: u64,
    /// Bytes a second.
    pub(crate) rate: u64,
}

/// The finished log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnd {
    pub(crate) extent: LogExtent,
    pub(crate) tail: String,
    /// From [`Log::command_starts`] to the first byte of output after it.
    pub(crate) first_output: Option<Duration>,
}

/// A handle to the log of an attempt. The log ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Log {
    asks: mpsc::Sender<Ask>,
    redactions: Redactions,
    /// The write end of the pipe, from which each process gets its own.
    pipe: Option<OwnedFd>,
}

/// Not to be printed: it may hold secrets.
enum Ask {
    Say(Vec<u8>),
    CommandStarts(Instant),
    Redact(Vec<String>, oneshot::Sender<()>),
    Finish(oneshot::Sender<LogEnd>),
}

impl Log {
    /// Opens the log and starts its task.
    pub(crate) fn open(settings: LogSettings) -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // Refused when this user has too many large pipes: then it is smaller.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE));
        let pipe = Receiver::from_owned_fd(read)?;
        let (asks, asked) = mpsc::channel(64);
        let task = Task {
            chunks: Chunks::new(settings.gate, settings.boot, settings.attempt, settings.urls),
            filling: BytesMut::new(),
            flush_at: None,
            last_flush: None,
            extent: LogExtent::default(),
            refused: false,
            sieve: Sieve::default(),
            shown: Vec::new(),
            stamper: Stamper::new(),
            fold: Fold::default(),
            folded: Vec::new(),
            pace: Pace::new(settings.rate),
            opened: Instant::now(),
            limit: Limit::new(settings.limit),
            tail: Tail::default(),
            command_started: None,
            first_output: None,
        };
        tokio::spawn(task.run(pipe, asked));
        let redactions = Redactions { asks: asks.clone(), hidden: Arc::default() };
        Ok(Self { asks, redactions, pipe: Some(write) })
    }

    /// The end that a process of the job writes to.
    pub(crate) fn writer(&self) -> io::Result<OwnedFd> {
        match &self.pipe {
            Some(pipe) => pipe.try_clone(),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Writes lines of the agent's own.
    pub(crate) async fn say(&self, text: impl AsRef<str>) {
        let mut line = text.as_ref().as_bytes().to_vec();
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        self.ask(Ask::Say(line)).await;
    }

    /// The user's command is about to run.
    pub(crate) async fn command_starts(&self) {
        self.ask(Ask::CommandStarts(Instant::now())).await;
    }

    /// Replaces these from here on, wherever they appear.
    pub(crate) async fn redact(&self, secrets: Vec<String>) {
        self.redactions.add(secrets).await;
    }

    /// For those who only hide what they come to know of.
    pub(crate) fn redactions(&self) -> Redactions {
        self.redactions.clone()
    }

    /// Closes the log and waits until all of it is uploaded. Nothing of the job may be running any more.
    pub(crate) async fn finish(mut self) -> LogEnd {
        self.pipe = None;
        let (tell, told) = oneshot::channel();
        self.ask(Ask::Finish(tell)).await;
        told.await.unwrap_or_default()
    }

    async fn ask(&self, ask: Ask) {
        // The task ends only after a `Finish` or with its handle.
        let _ = self.asks.send(ask).await;
    }
}

/// Hides secrets in a log, and knows all that are hidden.
#[derive(Clone, Debug)]
pub(crate) struct Redactions {
    asks: mpsc::Sender<Ask>,
    hidden: Arc<Mutex<Redactor>>,
}

impl Redactions {
    /// As [`Log::redact`].
    pub(crate) async fn add(&self, secrets: Vec<String>) {
        if secrets.is_empty() {
            return;
        }
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).add(secrets.iter().map(String::as_str));
        let (tell, told) = oneshot::channel();
        // An error means that the log has ended.
        if self.asks.send(Ask::Redact(secrets, tell)).await.is_ok() {
            let _ = told.await;
        }
    }

    /// A text that leaves the machine by another way than the log, without what the log hides; `None` when it holds nothing
    /// of that.
    pub(crate) fn clean(&self, text: &str) -> Option<String> {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::with_capacity(text.len());
        hidden.feed(text.as_bytes(), &mut out);
        hidden.finish(&mut out);
        (out != text.as_bytes()).then(|| String::from_utf8_lossy(&out).into_owned())
    }

    /// As [`Log::say`].
    pub(crate) async fn say(&self, text: String) {
        // An error means that the log has ended.
        let _ = self.asks.send(Ask::Say(format!("{text}\n").into_bytes())).await;
    }
}

type Uploads = FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Result<(), Refused>> + Send>>>;

struct Task {
    chunks: Chunks,
    filling: BytesMut,
    flush_at: Option<Instant>,
    last_flush: Option<Instant>,
    extent: LogExtent,
    /// The gate wants no more of this log.
    refused: bool,
    sieve: Sieve,
    /// What it let through of a piece of output: kept for its memory.
    shown: Vec<u8>,
    fold: Fold,
    folded: Vec<u8>,
    pace: Pace,
    opened: Instant,
    stamper: Stamper,
    limit: Limit,
    tail: Tail,
    command_started: Option<Instant>,
    first_output: Option<Duration>,
}

impl Task {
    async fn run(mut self, pipe: Receiver, mut asked: mpsc::Receiver<Ask>) {
        let mut uploads = Uploads::new();
        let mut buffer = vec![0; READ];
        let mut open = true;
        loop {
            self.cut(&mut uploads);
            let room = self.filling.len() < LARGEST_CHUNK;
            let slow = self.pace.waits_until(self.opened.elapsed()).map(|until| self.opened + until);
            tokio::select! {
                Some(result) = uploads.next() => self.uploaded(&result),
                ask = asked.recv(), if room => {
                    if open {
                        open = self.drain(&pipe, &mut buffer, &mut uploads).await;
                    }
                    match ask {
                        Some(Ask::Say(line)) => self.agent_line(&line),
                        Some(Ask::Redact(secrets, tell)) => {
                            self.sieve.hide(secrets.iter().map(String::as_str));
                            // Whoever asked may have been given up.
                            let _ = tell.send(());
                        }
                        Some(Ask::CommandStarts(at)) => self.command_started = Some(at),
                        Some(Ask::Finish(tell)) => {
                            let end = self.finish(&mut uploads).await;
                            // The job was given up meanwhile.
                            let _ = tell.send(end);
                            return;
                        }
                        None => return,
                    }
                }
                () = sleep_until(slow), if slow.is_some() => {}
                ready = pipe.readable(), if room && open && slow.is_none() => {
                    open = ready.is_ok() && self.read(&pipe, &mut buffer) != Read::End;
                }
                () = sleep_until(self.flush_at), if self.flush_at.is_some() && uploads.len() < IN_FLIGHT => {
                    self.flush(&mut uploads);
                }
            }
        }
    }

    /// Reads what is in the pipe now; `false` when all writers are gone.
    async fn drain(&mut self, pipe: &Receiver, buffer: &mut [u8], uploads: &mut Uploads) -> bool {
        let mut total = 0;
        while total < DRAIN {
            match self.read(pipe, buffer) {
                Read::Bytes(count) => total += count,
                Read::Nothing => return true,
                Read::End => return false,
            }
            self.cut(uploads);
            while self.filling.len() >= LARGEST_CHUNK {
                if let Some(result) = uploads.next().await {
                    self.uploaded(&result);
                }
                self.cut(uploads);
            }
        }
        true
    }

    fn read(&mut self, pipe: &Receiver, buffer: &mut [u8]) -> Read {
        match pipe.try_read(buffer) {
            Ok(0) => Read::End,
            Ok(count) => {
                if self.first_output.is_none() {
                    self.first_output = self.command_started.map(|at| at.elapsed());
                }
                self.pace.printed(count, self.opened.elapsed());
                self.job_output(&buffer[..count]);
                if self.pace.waits_until(self.opened.elapsed()).is_some()
                    && let Some(notice) = self.pace.notice()
                {
                    self.notice(&notice);
                }
                Read::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::End,
        }
    }

    fn job_output(&mut self, bytes: &[u8]) {
        let mut shown = std::mem::take(&mut self.shown);
        self.sieve.feed(bytes, &mut shown);
        self.add(&shown, Writer::Job);
        shown.clear();
        self.shown = shown;
    }

    /// What is held of a job's output is no beginning of anything: the agent speaks, or the log ends.
    fn job_pauses(&mut self) {
        let mut shown = Vec::new();
        self.sieve.finish(&mut shown);
        self.add(&shown, Writer::Job);
    }

    fn agent_line(&mut self, line: &[u8]) {
        self.job_pauses();
        if !self.stamper.at_line_start() {
            self.add(b"\n", Writer::Agent);
        }
        let mut shown = Vec::new();
        self.sieve.feed_own(line, &mut shown);
        self.add(&shown, Writer::Agent);
    }

    /// A line of ours in the midst of what a job prints. What is held of the job's output stays so: it may yet be a secret.
    fn notice(&mut self, text: &str) {
        let text = format!("{}{text}\n", if self.stamper.at_line_start() { "" } else { "\n" });
        self.add(text.as_bytes(), Writer::Agent);
    }

    fn add(&mut self, bytes: &[u8], writer: Writer) {
        let mut folded = std::mem::take(&mut self.folded);
        let first = self.fold.fold(bytes, &mut folded);
        self.append(&folded, writer);
        folded.clear();
        self.folded = folded;
        if first {
            self.notice(&format!("~~~ A line has more than {LONGEST_LINE} bytes: it is shown as several lines."));
        }
    }

    fn append(&mut self, bytes: &[u8], writer: Writer) {
        self.tail.push(bytes);
        if self.refused || bytes.is_empty() {
            return;
        }
        let share = self.limit.admit(bytes.len(), writer);
        self.stamper.stamp(&bytes[..share.keep], unix_ms(), &mut self.filling);
        if share.notice {
            let notice = self.limit.notice();
            self.stamper.stamp(notice.as_bytes(), unix_ms(), &mut self.filling);
        }
        if !self.filling.is_empty() && self.flush_at.is_none() {
            let now = Instant::now();
            let earliest = self.last_flush.map_or(now, |last| last + FLUSH_EVERY);
            self.flush_at = Some(earliest.max(now + FLUSH_SOON));
        }
    }

    /// Sends a chunk that is large enough, if there is a free way.
    fn cut(&mut self, uploads: &mut Uploads) {
        if self.filling.len() >= GOOD_CHUNK && uploads.len() < IN_FLIGHT {
            self.flush(uploads);
        }
    }

    fn flush(&mut self, uploads: &mut Uploads) {
        self.flush_at = None;
        self.last_flush = Some(Instant::now());
        if self.filling.is_empty() || self.refused {
            self.filling.clear();
            return;
        }
        let body: Bytes = self.filling.split().freeze();
        let number = self.extent.chunks;
        self.extent.chunks += 1;
        self.extent.bytes += body.len() as u64;
        uploads.push(Box::pin(self.chunks.clone().upload(number, body)));
    }

    fn uploaded(&mut self, result: &Result<(), Refused>) {
        if let Err(refused) = result
            && !self.refused
        {
            tracing::warn!(error = %refused, "the rest of the log is not wanted");
            self.refused = true;
            self.filling.clear();
            self.flush_at = None;
        }
    }

    async fn finish(&mut self, uploads: &mut Uploads) -> LogEnd {
        self.job_pauses();
        self.flush(uploads);
        while let Some(result) = uploads.next().await {
            self.uploaded(&result);
        }
        LogEnd {
            extent: LogExtent { dropped: self.limit.dropped(), ..self.extent },
            tail: self.tail.text(),
            first_output: self.first_output,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Read {
    Bytes(usize),
    Nothing,
    End,
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Wall-clock time, for people who read the log. Nothing is decided by it.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

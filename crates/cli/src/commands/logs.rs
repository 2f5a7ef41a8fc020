//! `tidegate logs`: a log, streamed in bounded memory.

use std::time::Duration;

use tidegate_engine::api::LogPosition;

use crate::args::{Global, Logs};
use crate::client::{Access, Backend, is_not_there};
use crate::exit::Expected;
use crate::live::{Lines, Reading};
use crate::terminal::{Marks, Piece};
use crate::{exit, out};

/// Between two looks at a log that grows.
const POLL: Duration = Duration::from_millis(100);
/// Between two looks for a server that does not answer.
const AGAIN: Duration = Duration::from_millis(300);
/// How long a server that went away is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// `tidegate logs`.
pub(super) async fn run(global: &Global, arguments: &Logs) -> anyhow::Result<u8> {
    let mut source = Source { global, follow: arguments.follow, backend: Backend::open(global, Access::Read).await? };
    let mut at = position(&mut source, arguments).await?;
    let mut printer = Printer::new(global, arguments);
    let number = at.attempt.number;
    loop {
        let part = loop {
            match source.backend.log_part(&at).await {
                Ok(part) => break part,
                Err(error) => source.again(error).await?,
            }
        };
        if !part.bytes.is_empty() {
            printer.print(&part.bytes, number)?;
        }
        at = part.next;
        if part.bytes.is_empty() {
            if part.end || !arguments.follow {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    }
    printer.finish(number)?;
    if global.json && arguments.follow {
        out::json_line(&source.backend.build(&arguments.build).await?)?;
    }
    Ok(exit::DONE)
}

/// Where the log comes from, found again when it is followed and the server is started again.
struct Source<'a> {
    global: &'a Global,
    follow: bool,
    backend: Backend,
}

impl Source<'_> {
    /// Waits for a server that does not answer any more; any other error is one.
    async fn again(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let gone = matches!(error.downcast_ref::<Expected>(), Some(Expected::Unreachable(_)));
        if !gone || !self.follow || !matches!(self.backend, Backend::Http(_)) {
            return Err(error);
        }
        out::note("the server does not answer: waiting until it is there again");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            tokio::time::sleep(AGAIN).await;
            // One that was started again on a state directory may listen elsewhere.
            if let Ok(backend) = Backend::open(self.global, Access::Server).await
                && backend.builds(None, 1).await.is_ok()
            {
                self.backend = backend;
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(error);
            }
        }
    }
}

/// Where the log begins. With `--follow`, of a build or job that is still to come: waits until it has come.
async fn position(source: &mut Source<'_>, arguments: &Logs) -> anyhow::Result<LogPosition> {
    let mut told = false;
    loop {
        let error = match source.backend.log_position(&arguments.build, &arguments.job, arguments.attempt).await {
            Ok(at) => return Ok(at),
            Err(error) => error,
        };
        if !arguments.follow || arguments.attempt.is_some() || !matches!(source.backend, Backend::Http(_)) {
            return Err(error);
        }
        if !is_not_there(&error) {
            source.again(error).await?;
            continue;
        }
        // Of a build that is over nothing more comes.
        match source.backend.build(&arguments.build).await {
            Ok(build) if build.build.state.is_final() => return Err(error),
            Ok(_) => {}
            Err(unknown) if is_not_there(&unknown) => {}
            Err(other) => source.again(other).await?,
        }
        if !std::mem::replace(&mut told, true) {
            out::note(&format!("waiting: {error:#}"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Prints a log the way that was asked for.
enum Printer {
    /// Every byte.
    Raw,
    /// Without marks, else every byte: for files and other programs.
    Plain(Marks),
    /// For people: groups, times, and nothing that a terminal would act on but colours.
    Reading(Box<Reading>),
    /// One event a line.
    Json { lines: Box<Lines>, job: String },
}

impl Printer {
    fn new(global: &Global, arguments: &Logs) -> Self {
        if arguments.raw {
            Printer::Raw
        } else if global.json {
            Printer::Json { lines: Box::default(), job: arguments.job.clone() }
        } else if arguments.times || std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            Printer::Reading(Box::new(Reading::new(out::is_coloured(), arguments.times)))
        } else {
            Printer::Plain(Marks::default())
        }
    }

    fn print(&mut self, bytes: &[u8], attempt: u32) -> anyhow::Result<()> {
        match self {
            Printer::Raw => out::bytes(bytes),
            Printer::Plain(marks) => {
                let mut plain = Vec::with_capacity(bytes.len());
                marks.push(bytes, |piece| take_bytes(piece, &mut plain));
                out::bytes(&plain)
            }
            Printer::Reading(reading) => {
                let mut text = String::with_capacity(bytes.len());
                reading.push(bytes, &mut text);
                out::bytes(text.as_bytes())
            }
            Printer::Json { lines, job } => {
                let mut found = Vec::new();
                lines.push(bytes, |line| found.push(line));
                found.iter().try_for_each(|line| out::json_line(&line.event(job, attempt)))
            }
        }
    }

    fn finish(&mut self, attempt: u32) -> anyhow::Result<()> {
        match self {
            Printer::Raw => Ok(()),
            Printer::Plain(marks) => {
                let mut plain = Vec::new();
                marks.finish(|piece| take_bytes(piece, &mut plain));
                out::bytes(&plain)
            }
            Printer::Reading(reading) => {
                let mut text = String::new();
                reading.finish(&mut text);
                out::bytes(text.as_bytes())
            }
            Printer::Json { lines, job } => {
                let mut found = Vec::new();
                lines.finish(|line| found.push(line));
                found.iter().try_for_each(|line| out::json_line(&line.event(job, attempt)))
            }
        }
    }
}

fn take_bytes(piece: Piece<'_>, out: &mut Vec<u8>) {
    if let Piece::Bytes(bytes) = piece {
        out.extend_from_slice(bytes);
    }
}

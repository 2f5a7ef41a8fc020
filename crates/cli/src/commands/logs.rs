//! `tidegate logs`: a log, streamed in bounded memory.

use std::time::Duration;

use crate::args::{Global, Logs};
use crate::client::{Access, Backend};
use crate::live::Lines;
use crate::terminal::{Marks, Neutral, Piece};
use crate::{exit, out};

/// Between two looks at a log that grows.
const POLL: Duration = Duration::from_millis(100);

/// `tidegate logs`.
pub(super) async fn run(global: &Global, arguments: &Logs) -> anyhow::Result<u8> {
    let backend = Backend::open(global, Access::Read).await?;
    let mut at = position(&backend, arguments).await?;
    let mut printer = Printer::new(global, arguments);
    let number = at.attempt.number;
    loop {
        let part = backend.log_part(&at).await?;
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
        out::json_line(&backend.build(&arguments.build).await?)?;
    }
    Ok(exit::DONE)
}

/// Where the log begins. With `--follow`, of a job that has not run yet: waits until it has.
async fn position(backend: &Backend, arguments: &Logs) -> anyhow::Result<tidegate_engine::api::LogPosition> {
    loop {
        let error = match backend.log_position(&arguments.build, &arguments.job, arguments.attempt).await {
            Ok(at) => return Ok(at),
            Err(error) => error,
        };
        // Only a job that is still to come is waited for.
        let comes = arguments.follow
            && arguments.attempt.is_none()
            && matches!(backend, Backend::Http(_))
            && error.to_string().contains("has not run: it is")
            && !backend.build(&arguments.build).await?.build.state.is_final();
        if !comes {
            return Err(error);
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
    /// Without anything that a terminal would act on but colours.
    Terminal(Marks, Box<Neutral>),
    /// One event a line.
    Json { lines: Box<Lines>, job: String },
}

impl Printer {
    fn new(global: &Global, arguments: &Logs) -> Self {
        if arguments.raw {
            Printer::Raw
        } else if global.json {
            Printer::Json { lines: Box::default(), job: arguments.job.clone() }
        } else if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            Printer::Terminal(Marks::default(), Box::new(Neutral::new(out::is_coloured())))
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
            Printer::Terminal(marks, neutral) => {
                let mut text = String::with_capacity(bytes.len());
                marks.push(bytes, |piece| {
                    if let Piece::Bytes(bytes) = piece {
                        neutral.push(bytes, &mut text);
                    }
                });
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
            Printer::Terminal(_, neutral) => {
                let mut text = String::new();
                neutral.finish(&mut text);
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

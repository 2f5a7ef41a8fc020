//! Writing to people and programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::exit::Expected;

/// Prints a text as it is; colours are left out where nobody wants or sees them.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    checked(anstream::stdout().lock().write_all(text.as_bytes()))
}

/// Prints a line.
pub(crate) fn line(line: &str) -> anyhow::Result<()> {
    checked(writeln!(anstream::stdout().lock(), "{line}"))
}

/// Prints a value as JSON: indented for people, in one line for programs.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text =
        if io::stdout().is_terminal() { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? };
    bytes(format!("{text}\n").as_bytes())
}

/// Prints a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    bytes(format!("{}\n", serde_json::to_string(value)?).as_bytes())
}

/// Prints bytes as they are, at once.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    checked(out.write_all(bytes).and_then(|()| out.flush()))
}

fn checked(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if crate::exit::is_broken_pipe(&error) => Err(Expected::NobodyReads.into()),
        Err(error) => Err(anyhow::Error::from(error).context("cannot write to the standard output")),
    }
}

/// Tells of an error on the standard error output, with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    let red = owo_colors::Style::new().red().bold();
    // There is nowhere left to tell that this failed.
    let _ = writeln!(anstream::stderr().lock(), "{} {error:#}", red.style("error:"));
}

/// Prints a text that tells of an error on the standard error output.
pub(crate) fn error_text(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Tells of something on the standard error output that is no result.
pub(crate) fn note(note: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{note}");
}

/// Whether a person sees the standard output on a terminal that can do more than print lines.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are wanted and seen on the standard output.
pub(crate) fn is_coloured() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// How many places a line of the standard output has; `None` where lines may be as long as they like.
pub(crate) fn width() -> Option<usize> {
    let columns = size()?.0;
    Some(columns).filter(|columns| *columns >= 20)
}

/// Columns and rows of the terminal on the standard output.
pub(crate) fn size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(columns, _)| *columns > 0)
}

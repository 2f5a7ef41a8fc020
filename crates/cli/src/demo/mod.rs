//! `tidegate demo`: the whole system builds a small repository, loses a machine, and passes.
//!
//! It uses what every user has: `up` in a process of its own, the code of `deliver`, and the API that the client commands
//! ask. Everything that it says was seen; what does not come as promised is said too, and makes it fail.

mod guard;
mod pipeline;
mod story;
mod summary;

use std::path::Path;

use anyhow::Context as _;

use crate::args::{Demo, Global};
use crate::exit::{self, Expected};
use crate::live::View;
use crate::signals::Signals;
use crate::{out, show};

/// `tidegate demo`.
pub(crate) async fn run(global: &Global, arguments: &Demo) -> anyhow::Result<u8> {
    let directory = tempfile::Builder::new().prefix("tidegate-demo-").tempdir().context("cannot make a directory")?;
    let mut signals = Signals::new()?;
    let mut view = View::new(global.json, true);
    let mut server = guard::Server::default();
    let told = tokio::select! {
        told = story::tell(directory.path(), &mut view, &mut server) => told,
        () = signals.next() => Err(Expected::Interrupted.into()),
    };
    view.clear()?;
    let interrupted = told.as_ref().is_err_and(|error| exit::of(error).0 == exit::INTERRUPTED);
    if interrupted && !global.json {
        out::note("interrupted: ending every process");
    }
    let log = server.log_tail(directory.path());
    let stopped = tokio::select! {
        stopped = server.stop() => stopped,
        () = signals.next() => {
            server.kill();
            Err(Expected::Interrupted.into())
        }
    };
    let ended = match told {
        Ok(ended) => ended,
        Err(error) => {
            if !interrupted && !log.is_empty() {
                out::note(&format!("the last lines of the server's log:\n{log}"));
            }
            keep(arguments, directory, global)?;
            return Err(error);
        }
    };
    let mut broken = ended.broken();
    if let Err(error) = stopped {
        broken.push(format!("the server did not stop cleanly: {error:#}"));
    }
    if global.json {
        out::json_line(&summary::json(&ended, &broken))?;
    } else {
        out::text(&summary::text(&ended, arguments.keep.then(|| directory.path()), out::width()))?;
        for promise in &broken {
            let red = owo_colors::Style::new().red().bold();
            out::line(&format!("{} {promise}", show::paint("not as promised:", red)))?;
        }
    }
    keep(arguments, directory, global)?;
    Ok(if broken.is_empty() { exit::DONE } else { exit::FAILED })
}

/// Leaves the directory, or removes it.
fn keep(arguments: &Demo, directory: tempfile::TempDir, global: &Global) -> anyhow::Result<()> {
    if arguments.keep {
        let path = directory.keep();
        if global.json {
            out::json_line(&serde_json::json!({ "kept": path }))?;
        }
        return Ok(());
    }
    let path = directory.path().to_owned();
    directory.close().with_context(|| format!("cannot remove `{}`", path.display()))
}

/// The state directory of a demo.
fn state(directory: &Path) -> std::path::PathBuf {
    directory.join("state")
}

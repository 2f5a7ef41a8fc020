//! `tidegate instance --file F`: what the fleet starts as a machine. Hidden: nobody types it.

use std::path::Path;
use std::process::ExitCode;

/// Runs the watchdog, or with `worker` the agent that it watches.
pub(crate) fn run(file: &Path, worker: bool) -> ExitCode {
    if worker { tidegate_agent::agent_main(file) } else { tidegate_agent::watchdog_main(file) }
}

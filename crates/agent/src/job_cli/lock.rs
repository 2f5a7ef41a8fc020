//! `lock`: locks between the jobs of one machine.

use std::process::ExitCode;

use super::args::{Lock, Patience};
use super::client::Agent;
use super::{print, wire};

pub(super) fn run(command: &Lock) -> anyhow::Result<ExitCode> {
    let ask = |ask: wire::Lock| Agent::of_this_job()?.post::<_, wire::Locked>(wire::LOCK, &ask);
    let line = match command {
        Lock::Acquire { key, patience } => {
            ask(wire::Lock::Acquire { key: key.clone(), wait_ms: wait(patience) })?.state
        }
        Lock::Do { key, patience } => ask(wire::Lock::Do { key: key.clone(), wait_ms: wait(patience) })?.state,
        Lock::Get { key, .. } => ask(wire::Lock::Get { key: key.clone() })?.state,
        Lock::Release { key, token, .. } => {
            ask(wire::Lock::Release { key: key.clone(), token: token.clone() })?;
            return Ok(ExitCode::SUCCESS);
        }
        Lock::Done { key, .. } => {
            ask(wire::Lock::Done { key: key.clone() })?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    print(format!("{line}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// No time, or none at all, is for ever.
fn wait(patience: &Patience) -> Option<u64> {
    patience.lock_wait_timeout.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).filter(|ms| *ms > 0)
}

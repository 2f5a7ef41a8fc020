//! Processes: what runs on this machine, starting a job's processes, and ending all of them.

pub(crate) mod cgroup;
pub(crate) mod pty;
mod reaper;
mod spawn;
pub(crate) mod stop;
pub(crate) mod table;

pub(crate) use reaper::Children;
pub(crate) use spawn::{End, JobCommand, own_group};

//! Starting git, never through a shell, and never so that it asks anybody anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use crate::names;

/// Variables of git that are passed on: how to reach the network, and where the owner's configuration is, with his
/// credential helpers. All others could turn git to another repository: a server may have been started by a hook.
const INHERITED: &[&[u8]] = &[
    b"GIT_SSH",
    b"GIT_SSH_COMMAND",
    b"GIT_SSH_VARIANT",
    b"GIT_SSL_CAINFO",
    b"GIT_SSL_CAPATH",
    b"GIT_SSL_CERT",
    b"GIT_SSL_KEY",
    b"GIT_SSL_NO_VERIFY",
    b"GIT_PROXY_COMMAND",
    b"GIT_EXEC_PATH",
    b"GIT_CONFIG_GLOBAL",
    b"GIT_CONFIG_SYSTEM",
    b"GIT_CONFIG_NOSYSTEM",
];

/// Settings that hold whatever a repository's or the owner's configuration says.
const SETTINGS: &[&str] = &[
    // `ext::sh -c …` is a URL, too.
    "protocol.ext.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "fetch.recurseSubmodules=false",
    // Nothing that goes on in the background.
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    // A transfer that makes no progress for a minute is over.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
];

/// `git` with its settings and an environment in which it cannot ask and is not turned elsewhere; its words are in the
/// C locale. Arguments of `git` itself and the subcommand are for the caller, and so is the process: nothing here ends it.
pub fn git() -> Command {
    let mut command = Command::new("git");
    for setting in SETTINGS {
        command.arg("-c").arg(setting);
    }
    for (name, _) in std::env::vars_os() {
        let name = name.as_bytes();
        let turns_git = name.starts_with(b"GIT_") && !INHERITED.contains(&name);
        if turns_git || name.starts_with(b"TIDEGATE_") {
            command.env_remove(OsStr::from_bytes(name));
        }
    }
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        // Empty means none at all; unset would mean that of the configuration.
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What has to be said to reach a URL.
///
/// Git refuses to read a repository of this machine that belongs to another user, and no setting that is passed down to
/// the reading side changes that, because git removes it on the way (`GIT_CONFIG_PARAMETERS` is for one repository). The
/// owner of this server has named the repository in his configuration, so the reading side is told that it is safe, by
/// the command that starts it.
pub fn remote_args(url: &str) -> Option<&'static str> {
    names::is_local(url).then_some("--upload-pack=git -c 'safe.directory=*' upload-pack")
}

//! The environment of a job (`spec/pipeline.md` 1.16): a small base, what the control plane says, and what only the
//! agent knows, in this order. Nothing else of the agent's own environment reaches a job, and no credential.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use tidegate_core::ids::AttemptId;
use tidegate_core::plan::Env;
use tidegate_core::wire::instance::InstanceFile;

pub(crate) use super::variables::{JobEnv, is_agent_only, is_possible};

/// In the environment of every process of an attempt.
pub(crate) const ATTEMPT_VARIABLE: &str = "TIDEGATE_ATTEMPT";

/// What of the machine's environment a job sees.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE"];

/// Places of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) build: &'a Path,
    pub(crate) checkout: &'a Path,
    pub(crate) tmp: &'a Path,
}

/// The base from the machine's own environment.
pub(crate) fn base(machine: impl Iterator<Item = (OsString, OsString)>) -> Env {
    let mut base: BTreeMap<String, String> = machine
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| INHERITED.contains(&name.as_str()))
        .collect();
    for (name, value) in
        [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/"), ("LANG", "C.UTF-8")]
    {
        base.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    base.into_iter().collect()
}

/// The whole environment of an attempt.
pub(crate) fn compose(
    base: &Env,
    assigned: &Env,
    attempt: &AttemptId,
    grace_ms: u64,
    instance: &InstanceFile,
    places: Places<'_>,
) -> JobEnv {
    let mut env = JobEnv::default();
    for (name, value) in base {
        env.set(name, value);
    }
    env.set("TERM", "xterm-256color");
    env.set("GIT_TERMINAL_PROMPT", "0");
    env.set("TMPDIR", places.tmp.to_string_lossy());

    let mut ignored = Vec::new();
    for (name, value) in assigned {
        if is_agent_only(name) {
            ignored.push(name.as_str());
        } else if is_possible(name, value) {
            env.set(name, value);
        } else {
            ignored.push(name.as_str());
        }
    }
    ignored.sort_unstable();
    ignored.dedup();
    if !ignored.is_empty() {
        env.set("BUILDKITE_IGNORED_ENV", ignored.join(",").replace('\0', "?"));
    }

    let id = instance.instance.as_str();
    env.set("BUILDKITE_AGENT_ID", id);
    env.set("BUILDKITE_AGENT_NAME", id);
    env.set("BUILDKITE_AGENT_PID", std::process::id().to_string());
    for (tag, value) in &instance.tags {
        let name = format!("BUILDKITE_AGENT_META_DATA_{}", variable_part(tag));
        if is_possible(&name, value) {
            env.set(name, value);
        }
    }
    env.set("BUILDKITE_BUILD_PATH", places.build.to_string_lossy());
    env.set("BUILDKITE_BUILD_CHECKOUT_PATH", places.checkout.to_string_lossy());
    env.set("BUILDKITE_SHELL", "/bin/bash -e -c");
    let allowed = |forbidden: bool| if forbidden { "false" } else { "true" };
    env.set("BUILDKITE_COMMAND_EVAL", allowed(instance.forbidden.command_eval));
    env.set("BUILDKITE_LOCAL_HOOKS_ENABLED", allowed(instance.forbidden.local_hooks));
    env.set("BUILDKITE_PLUGINS_ENABLED", allowed(instance.forbidden.plugins));
    env.set("BUILDKITE_CANCEL_GRACE_PERIOD", grace_ms.div_ceil(1000).to_string());
    env.set("BUILDKITE_CANCEL_SIGNAL", "SIGTERM");
    env.set(crate::worker::INSTANCE_VARIABLE, id);
    env.set(ATTEMPT_VARIABLE, attempt.to_string());
    env
}

/// A name as part of a variable's name: upper case, everything but letters and digits is `_`.
pub(crate) fn variable_part(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> InstanceFile {
        serde_json::from_str(
            r#"{"instance":"i-1","pool":"p","tags":[["queue","default"],["gpu-kind","a b"]],"token":"hush",
                "endpoint_file":"/e","idle_ms":1,"hard_stop_ms":1,"work_dir":"/w","mirrors_dir":"/m"}"#,
        )
        .unwrap_or_else(|e| panic!("{e}"))
    }

    fn composed(assigned: &[(&str, &str)]) -> JobEnv {
        let machine = [("PATH", "/bin"), ("AWS_SECRET_ACCESS_KEY", "x"), ("HOME", "/root")];
        let base = base(machine.iter().map(|(n, v)| (n.into(), v.into())));
        let assigned: Env = assigned.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let attempt = "0197a7c0-0000-7000-8000-000000000001/3/2".parse().unwrap_or_else(|e| panic!("{e}"));
        let places =
            Places { build: Path::new("/w/a"), checkout: Path::new("/w/a/checkout"), tmp: Path::new("/w/a/tmp") };
        compose(&base, &assigned, &attempt, 10_000, &instance(), places)
    }

    #[test]
    fn the_assignment_wins_over_the_base_and_the_agent_over_both() {
        let env = composed(&[
            ("HOME", "/elsewhere"),
            ("TERM", "dumb"),
            ("A", "1"),
            ("A", "2"),
            ("BUILDKITE_AGENT_ID", "forged"),
        ]);
        assert_eq!(env.get("HOME"), Some("/elsewhere"));
        assert_eq!(env.get("TERM"), Some("dumb"));
        assert_eq!(env.get("A"), Some("2"));
        assert_eq!(env.get("PATH"), Some("/bin"));
        assert_eq!(env.get("BUILDKITE_AGENT_ID"), Some("i-1"));
        assert_eq!(env.get("BUILDKITE_AGENT_META_DATA_QUEUE"), Some("default"));
        assert_eq!(env.get("BUILDKITE_AGENT_META_DATA_GPU_KIND"), Some("a b"));
        assert_eq!(env.get("TIDEGATE_ATTEMPT"), Some("0197a7c0-0000-7000-8000-000000000001/3/2"));
    }

    #[test]
    fn nothing_else_of_the_machine_and_no_token_gets_in() {
        let env = composed(&[]);
        assert_eq!(env.get("AWS_SECRET_ACCESS_KEY"), None);
        assert!(env.iter().all(|(_, value)| !value.contains("hush")));
    }

    #[test]
    fn protected_and_impossible_variables_are_ignored_and_named() {
        let env = composed(&[("BUILDKITE_SHELL", "/evil"), ("TIDEGATE_INSTANCE", "other"), ("NUL", "a\0b"), ("", "x")]);
        assert_eq!(env.get("BUILDKITE_SHELL"), Some("/bin/bash -e -c"));
        assert_eq!(env.get("TIDEGATE_INSTANCE"), Some("i-1"));
        assert_eq!(env.get("NUL"), None);
        assert_eq!(env.get("BUILDKITE_IGNORED_ENV"), Some(",BUILDKITE_SHELL,NUL,TIDEGATE_INSTANCE"));
    }
}

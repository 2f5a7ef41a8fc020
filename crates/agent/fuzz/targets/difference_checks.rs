//! What has to hold of whatever a hook leaves behind. Used by the fuzz target and by the tests; whoever includes this has
//! `Changes`, `JobEnv`, `difference` and `is_agent_only` in scope.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, JobEnv, difference, is_agent_only};

/// What the shell of a hook may change for those that come after.
fn is_the_hooks(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let begins = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let shells = ["_", "PWD", "OLDPWD", "SHLVL", "TIDEGATE_HOOK_WRITES"].contains(&name);
    plain && begins && !shells && !is_agent_only(name)
}

fn variables<'a>(entries: impl Iterator<Item = &'a [u8]>) -> BTreeMap<&'a str, &'a str> {
    entries.filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('=')).collect()
}

fn applied(given: &JobEnv, changes: &Changes) -> JobEnv {
    let mut env = given.clone();
    for (name, value) in &changes.set {
        env.set(name, value);
    }
    for name in &changes.unset {
        env.unset(name);
    }
    env
}

/// The input is the variables that a hook was given, each ended by a NUL, then `\x01`, then the hook's answer.
pub fn difference_of(data: &[u8]) {
    let at = data.iter().position(|b| *b == 1).unwrap_or(data.len());
    let (before, answer) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let before = variables(before.split(|b| *b == 0));
    let mut given = JobEnv::default();
    for (name, value) in &before {
        given.set(*name, *value);
    }
    let changes = difference(answer, &given);
    let after = applied(&given, &changes);

    // The directory comes first.
    let left = variables(answer.split(|b| *b == 0).skip(1));
    for name in before.keys().chain(left.keys()).collect::<BTreeSet<_>>() {
        let (had, leaves) = (before.get(name).copied(), left.get(name).copied());
        let expected = if is_the_hooks(name) { leaves } else { had };
        assert_eq!(after.get(name), expected, "{name:?}: given {had:?}, left {leaves:?}");
    }
    assert_eq!(
        after.iter().count(),
        after.iter().filter(|(n, _)| before.contains_key(n) || left.contains_key(n)).count()
    );
    for (name, value) in &changes.set {
        assert!(!value.contains('\0') && !name.is_empty(), "a variable that cannot be set: {name:?}");
    }
    assert!(changes.refused.iter().all(|name| is_agent_only(name)), "{:?}", changes.refused);
    assert!(changes.directory.as_ref().is_none_or(|directory| !directory.as_os_str().is_empty()));
    // Taken over, it changes nothing more.
    let again = difference(answer, &after);
    assert!(again.set.is_empty() && again.unset.is_empty(), "{again:?} is changed once more");
}

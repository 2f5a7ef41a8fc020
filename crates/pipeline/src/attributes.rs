//! Which attributes there are, on which steps, under which names, and which are acted on.
//!
//! This is the one table: reading, "did you mean", the code `unsupported` and the documentation follow it.

/// Where an attribute may stand: a set of [`Kind`]s.
pub(crate) type Kinds = u8;

/// The kinds of step, and the top level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Kind {
    Top = 1,
    Command = 2,
    Wait = 4,
    Block = 8,
    Input = 16,
    Trigger = 32,
    Group = 64,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Top, Self::Command, Self::Wait, Self::Block, Self::Input, Self::Trigger, Self::Group];

    /// With its article, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Top => "the pipeline",
            Self::Command => "a command step",
            Self::Wait => "a wait step",
            Self::Block => "a block step",
            Self::Input => "an input step",
            Self::Trigger => "a trigger step",
            Self::Group => "a group",
        }
    }
}

const TOP: Kinds = Kind::Top as Kinds;
const COMMAND: Kinds = Kind::Command as Kinds;
const WAIT: Kinds = Kind::Wait as Kinds;
const BLOCK: Kinds = Kind::Block as Kinds;
const INPUT: Kinds = Kind::Input as Kinds;
const TRIGGER: Kinds = Kind::Trigger as Kinds;
const GROUP: Kinds = Kind::Group as Kinds;
const STEPS: Kinds = COMMAND | WAIT | BLOCK | INPUT | TRIGGER;

/// An attribute.
#[derive(Debug)]
pub(crate) struct Attribute {
    /// The name that the documentation uses.
    pub(crate) name: &'static str,
    /// Other names, in the order in which they count.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) kinds: Kinds,
    /// Where it is accepted without effect: what happens instead.
    pub(crate) not_yet: Option<&'static str>,
}

const fn row(
    name: &'static str,
    aliases: &'static [&'static str],
    kinds: Kinds,
    not_yet: Option<&'static str>,
) -> Attribute {
    Attribute { name, aliases, kinds, not_yet }
}

/// The attributes. To say that one is now acted on, replace its `Some(…)` by `None`.
pub(crate) const ATTRIBUTES: &[Attribute] = &[
    row("steps", &[], TOP | GROUP, None),
    row("env", &[], TOP | COMMAND, None),
    row("agents", &["agent_query_rules"], TOP | COMMAND, None),
    row("notify", &[], TOP | COMMAND | GROUP, None),
    row("secrets", &[], TOP | COMMAND, None),
    row("checkout", &[], TOP | COMMAND, None),
    row("image", &[], TOP | COMMAND, Some("only `BUILDKITE_IMAGE` is set; the job runs on the machine itself")),
    row("priority", &[], TOP | COMMAND, None),
    row("cache", &[], TOP | COMMAND, Some("nothing is cached")),
    row("type", &[], STEPS | GROUP, None),
    row("command", &["commands", "script"], COMMAND, None),
    row("wait", &["waiter"], WAIT, None),
    row("block", &["manual"], BLOCK, None),
    row("input", &[], INPUT, None),
    row("trigger", &[], TRIGGER, None),
    row("group", &[], GROUP, None),
    row("label", &["name"], STEPS | GROUP, None),
    row("key", &["id", "identifier"], STEPS | GROUP, None),
    row("depends_on", &[], STEPS | GROUP, None),
    row("allow_dependency_failure", &[], STEPS | GROUP, None),
    row("if", &[], STEPS | GROUP, None),
    row("branches", &[], STEPS, None),
    // Not known where the changed files are not: see `lint`.
    row("if_changed", &[], COMMAND | TRIGGER | GROUP, None),
    row("skip", &[], COMMAND | TRIGGER | GROUP, None),
    row("artifact_paths", &["artifacts"], COMMAND, None),
    row("parallelism", &[], COMMAND | TRIGGER, None),
    row("matrix", &[], COMMAND, None),
    row("concurrency", &[], COMMAND, None),
    row("concurrency_group", &[], COMMAND, None),
    row("concurrency_method", &[], COMMAND, None),
    row("retry", &[], COMMAND, None),
    row("soft_fail", &[], COMMAND | TRIGGER, None),
    row("timeout_in_minutes", &["timeout"], COMMAND, None),
    row("cancel_on_build_failing", &[], COMMAND, None),
    row("plugins", &[], COMMAND, None),
    row("signature", &[], COMMAND, Some("it is not checked")),
    row("continue_on_failure", &[], WAIT, None),
    row("prompt", &[], BLOCK | INPUT, None),
    row("submit", &[], BLOCK | INPUT, None),
    row("fields", &[], BLOCK | INPUT, None),
    row("blocked_state", &[], BLOCK | INPUT, None),
    row("allowed_teams", &[], BLOCK | INPUT, Some("everybody who may use the API can open the step")),
    row("async", &[], TRIGGER, None),
    row("build", &[], TRIGGER, None),
];

/// What happens to notifications that are not acted on.
const NOT_SENT: &str = "nothing is sent";

/// Settings within an attribute that are accepted without effect, and what happens instead.
pub(crate) const SETTINGS_NOT_YET: &[(&str, &str)] = &[
    ("notify.email", NOT_SENT),
    ("notify.basecamp_campfire", NOT_SENT),
    ("notify.basecamp", NOT_SENT),
    ("notify.pagerduty_change_event", NOT_SENT),
    ("notify.github_check", NOT_SENT),
    ("group.notify", NOT_SENT),
    ("checkout.ssh_secret", "git uses the keys of the machine"),
    ("checkout.commit_verification", "signatures of commits are not checked"),
];

/// The attribute that a key names on this kind of step.
pub(crate) fn find(kind: Kind, key: &str) -> Option<&'static Attribute> {
    let bit = kind as Kinds;
    ATTRIBUTES.iter().find(|row| row.kinds & bit != 0 && (row.name == key || row.aliases.contains(&key)))
}

/// The attribute of this name on any kind of step.
pub(crate) fn find_anywhere(key: &str) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().find(|row| row.name == key || row.aliases.contains(&key))
}

/// An attribute or a kind of step that is accepted without effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsupported {
    /// The attribute.
    pub attribute: &'static str,
    /// What happens instead, as a clause.
    pub instead: &'static str,
}

/// What is accepted and not yet acted on. The same list gives the code `unsupported` to findings.
pub fn describe_unsupported() -> Vec<Unsupported> {
    ATTRIBUTES
        .iter()
        .filter_map(|row| row.not_yet.map(|instead| Unsupported { attribute: row.name, instead }))
        .chain(SETTINGS_NOT_YET.iter().map(|&(attribute, instead)| Unsupported { attribute, instead }))
        .collect()
}

/// Words of other systems, and what they are called here.
const ELSEWHERE: [(&str, &str); 19] = [
    ("allow_failure", "soft_fail"),
    ("before_script", "command"),
    ("cmd", "command"),
    ("continue-on-error", "soft_fail"),
    ("dependencies", "depends_on"),
    ("environment", "env"),
    ("machine", "agents"),
    ("needs", "depends_on"),
    ("only", "branches"),
    ("queue", "agents"),
    ("requires", "depends_on"),
    ("run", "command"),
    ("runs-on", "agents"),
    ("strategy", "matrix"),
    ("tags", "agents"),
    ("timeout-minutes", "timeout_in_minutes"),
    ("uses", "plugins"),
    ("variables", "env"),
    ("when", "if"),
];

/// The attribute that an unknown one probably stands for: it is misspelt, or called so in another system.
pub(crate) fn meant<'w>(word: &str, known: impl Iterator<Item = &'w str> + Clone) -> Option<&'w str> {
    suggest(word, known.clone()).or_else(|| {
        let (_, here) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == word)?;
        known.into_iter().find(|name| name == here)
    })
}

/// The known word that a misspelt one probably stands for.
pub(crate) fn suggest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if word.len() > 64 {
        return None;
    }
    let plain = normal(word);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter_map(|candidate| {
            let other = normal(candidate);
            let distance = if other == plain { 0 } else { distance(&plain, &other) };
            (distance <= allowed && distance < candidate.len()).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `dependsOn`, `depends-on` and `depends_on` are one word.
fn normal(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if c == '-' || c == ' ' {
            out.push('_');
        } else if c.is_uppercase() {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            out.extend(c.to_lowercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// How many letters must be changed, added, dropped or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, right) in b.iter().enumerate() {
            let change = last[j] + usize::from(left != right);
            let mut best = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *right && b[j - 1] == *left {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_on_each_kind_of_step() {
        for kind in Kind::ALL {
            let bit = kind as Kinds;
            let mut seen = std::collections::HashSet::new();
            for row in ATTRIBUTES.iter().filter(|row| row.kinds & bit != 0) {
                for name in std::iter::once(&row.name).chain(row.aliases) {
                    assert!(seen.insert(*name), "`{name}` twice on {}", kind.name());
                }
            }
        }
    }

    #[test]
    fn misspelt_words_find_their_attribute() {
        let known = || ATTRIBUTES.iter().map(|row| row.name);
        let cases = [
            ("depend_on", Some("depends_on")),
            ("dependsOn", Some("depends_on")),
            ("artefact_paths", Some("artifact_paths")),
            ("paralellism", Some("parallelism")),
            ("timeout-in-minutes", Some("timeout_in_minutes")),
            ("soft-fail", Some("soft_fail")),
            ("agent", Some("agents")),
            ("evn", Some("env")),
            ("needs", Some("depends_on")),
            ("run", Some("command")),
            ("allow_failure", Some("soft_fail")),
            ("expeditor", None),
        ];
        for (word, want) in cases {
            assert_eq!(meant(word, known()), want, "{word}");
        }
    }
}

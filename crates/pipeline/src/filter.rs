//! What leaves a step out: `skip`, `if`, `branches`, `if_changed`.

use std::collections::HashMap;
use std::rc::Rc;

use tidegate_core::plan::{LeftOut, LeftOutKind};

use crate::condition::{Condition, Facts};
use crate::context::Context;
use crate::glob::Glob;
use crate::limits::Limits;
use crate::read::{Filters, IfChanged};

/// Why `if_changed` left a step out, in the words of the other implementation (`spec/pipeline.md` 1.10).
pub(crate) const UNCHANGED: &str = "if_changed matched no unexcluded changed files in this build";

/// A condition that could not be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Decides which steps are left out of one build. The same condition is evaluated once.
pub(crate) struct Decider<'c> {
    context: &'c Context,
    facts: Facts,
    known: HashMap<String, Result<Option<String>, Failed>>,
    /// Which changed files a glob matches, in their order; `None` for one that is malformed.
    globs: HashMap<String, Option<Rc<[bool]>>>,
}

impl<'c> Decider<'c> {
    pub(crate) fn new(context: &'c Context) -> Self {
        Self { context, facts: context.condition_facts(), known: HashMap::new(), globs: HashMap::new() }
    }

    /// Why a step with these filters is left out, if it is.
    ///
    /// A condition that fails is an error: the text is rejected, as a condition that does not fit is.
    pub(crate) fn left_out(&mut self, filters: &Filters) -> Result<Option<LeftOut>, Failed> {
        if self.context.decide {
            if let Some(condition) = filters.condition.as_ref().filter(|condition| !condition.unknown)
                && let Some(why) = self.condition(&condition.value)?
            {
                return Ok(Some(LeftOut { kind: LeftOutKind::Broken, why }));
            }
            if let Some(branches) = filters.branches.as_ref().filter(|branches| !branches.unknown)
                && let Some(why) = self.branches(&branches.value)
            {
                return Ok(Some(LeftOut { kind: LeftOutKind::Broken, why }));
            }
        }
        if let Some(reason) = &filters.skip {
            let why = if reason.is_empty() { "`skip` is true".to_owned() } else { reason.clone() };
            return Ok(Some(LeftOut { kind: LeftOutKind::Skipped, why }));
        }
        if let Some(if_changed) = filters.if_changed.as_ref().filter(|if_changed| !if_changed.unknown)
            && self.unchanged(&if_changed.value)
        {
            return Ok(Some(LeftOut { kind: LeftOutKind::Skipped, why: UNCHANGED.to_owned() }));
        }
        Ok(None)
    }

    /// Why the condition does not hold, if it does not.
    fn condition(&mut self, text: &str) -> Result<Option<String>, Failed> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let decided = evaluate(text, &self.facts, &self.context.limits);
        self.known.insert(text.to_owned(), decided.clone());
        decided
    }

    /// Whether none of the changed files is meant. Where they are not known, or a glob is malformed, some may be.
    pub(crate) fn unchanged(&mut self, if_changed: &IfChanged) -> bool {
        let Some(changed) = self.context.changed_files.as_deref() else { return false };
        let mut meant = vec![false; changed.len()];
        for (patterns, value) in [(&if_changed.include, true), (&if_changed.exclude, false)] {
            for pattern in patterns {
                let Some(matched) = self.glob(pattern, changed) else { return false };
                for (place, _) in matched.iter().enumerate().filter(|(_, matched)| **matched) {
                    meant[place] = value;
                }
            }
        }
        !meant.contains(&true)
    }

    fn glob(&mut self, pattern: &str, changed: &[String]) -> Option<Rc<[bool]>> {
        if let Some(known) = self.globs.get(pattern) {
            return known.clone();
        }
        let glob = Glob::new(pattern).ok();
        let matched = glob.map(|glob| changed.iter().map(|path| glob.matches(path)).collect::<Rc<[bool]>>());
        self.globs.insert(pattern.to_owned(), matched.clone());
        matched
    }

    /// Tag builds have the tag's name for a branch.
    fn branches(&self, patterns: &[String]) -> Option<String> {
        let build = &self.facts.build;
        let branch = build.branch.as_deref().or(build.tag.as_deref()).unwrap_or("");
        if branches_match(patterns, branch) {
            return None;
        }
        Some(format!("`branches` is `{}`, and the branch is `{branch}`", patterns.join(" ")))
    }
}

fn evaluate(text: &str, facts: &Facts, limits: &Limits) -> Result<Option<String>, Failed> {
    // What does not parse or does not fit was reported when the step was read.
    let Ok(condition) = Condition::parse(text, limits) else { return Ok(None) };
    if !condition.check_own(facts.entry_point).is_empty() {
        return Ok(None);
    }
    // As with `if_changed`, nothing is left out where the changed files are not known.
    if facts.changed_files.is_none() && condition.names_changed_files() {
        return Ok(None);
    }
    match condition.evaluate(facts) {
        Ok(true) => Ok(None),
        Ok(false) => {
            let shown: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let values = condition.values(facts);
            let place = if values.is_empty() { String::new() } else { format!(", where {}", values.join(", ")) };
            Ok(Some(format!("`if` is false: {shown}{place}")))
        }
        Err(error) => Err(Failed { message: error.message, help: error.help }),
    }
}

/// Whether a branch is meant: it matches one of the positive patterns, or there are none, and none of the negative
/// (`spec/pipeline.md` 1.8). `*` is any text, with `/` in it or not.
pub fn branches_match(patterns: &[String], branch: &str) -> bool {
    let (negative, positive): (Vec<&String>, Vec<&String>) =
        patterns.iter().partition(|pattern| pattern.starts_with('!'));
    let meant = positive.is_empty() || positive.iter().any(|pattern| branch_matches(pattern, branch));
    meant && !negative.iter().any(|pattern| branch_matches(&pattern[1..], branch))
}

/// `*` is any text, with `/` in it or not; everything else is itself.
pub(crate) fn branch_matches(pattern: &str, branch: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = branch.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_patterns_cross_slashes_and_negate() {
        let cases = [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1/2", true),
            ("*fix*", "hotfix/1", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("!main", "dev", true),
            ("!main", "main", false),
            ("release/* !release/old*", "release/old1", false),
            ("release/* !release/old*", "release/2", true),
            ("ab*ba", "aba", false),
        ];
        for (patterns, branch, want) in cases {
            let patterns: Vec<String> = patterns.split_whitespace().map(str::to_owned).collect();
            assert_eq!(branches_match(&patterns, branch), want, "{patterns:?} on {branch}");
        }
    }
}

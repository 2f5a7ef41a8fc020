//! The policy of a repository: `.tidegate/policy.yml` of its default branch. A small file whose every key is known:
//!
//! ```yaml
//! forks:
//!   build: approved        # never, approved or always
//!   trust:                 # people whose forks are trusted, while the repository is private
//!     - login: mira-lund   # for the reader
//!       id: 88120457       # what counts: `gh api users/mira-lund --jq .id`
//! ```

use tidegate_core::diagnostic::Diagnostic;
use tidegate_core::trust::{Forks, Policy};

use crate::attributes::suggest;
use crate::codes::Code;
use crate::expand::decode;
use crate::limits::Limits;
use crate::source::{Report, Source, Span, Text};
use crate::yaml::{self, Entry, Map, Node, Number, Value};

/// Where the policy is.
pub const POLICY_PATH: &str = ".tidegate/policy.yml";

/// Most people that are named.
const MOST_PEOPLE: usize = 200;

/// Reads a policy. Anything that is not understood is an error: what its author meant must not be guessed.
///
/// # Errors
/// Everything that is wrong with it, with its place and the way out.
pub fn policy(source: Source<'_>, limits: Limits) -> Result<Policy, Vec<Diagnostic>> {
    let text = decode(source, &limits).map_err(|report| report.finish())?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Policy::default());
    }
    let mut report = Report::new(Text::new(source.name, text));
    let root = yaml::parse(&mut report, &limits);
    let policy = root.map(|root| Reader { report: &mut report }.policy(&root)).unwrap_or_default();
    if report.failed() { Err(report.finish()) } else { Ok(policy) }
}

struct Reader<'r, 'a> {
    report: &'r mut Report<'a>,
}

impl Reader<'_, '_> {
    fn policy(&mut self, root: &Node) -> Policy {
        let mut policy = Policy::default();
        let Some(map) = self.map(root, "a policy", "write `forks:` and `build: approved` below it") else {
            return policy;
        };
        self.only(map, &["forks"]);
        let Some(forks) = yaml::get(map, "forks") else { return policy };
        let Some(map) = self.map(&forks.node, "`forks`", "write `build: approved` below it") else { return policy };
        self.only(map, &["build", "trust"]);
        policy.forks = yaml::get(map, "build").and_then(|entry| self.build(entry));
        if let Some(trust) = yaml::get(map, "trust") {
            policy.people = self.people(&trust.node);
        }
        policy
    }

    fn map<'n>(&mut self, node: &'n Node, what: &str, help: &str) -> Option<&'n Map> {
        let map = node.as_map();
        if map.is_none() {
            self.report
                .error(Code::BadType, node.span, format!("{what} is a map, not {}", node.describe()))
                .help(help.to_owned());
        }
        map
    }

    fn only(&mut self, map: &Map, known: &[&str]) {
        for entry in map.iter().filter(|entry| !known.contains(&&*entry.key)) {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let help = match suggest(&entry.key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", names.join(", ")),
            };
            self.report
                .error(Code::UnknownAttribute, entry.key_span, format!("`{}` is not known here", entry.key))
                .help(help);
        }
    }

    fn build(&mut self, entry: &Entry) -> Option<Forks> {
        let words = [("never", Forks::Never), ("approved", Forks::Approved), ("always", Forks::Always)];
        let word = entry.node.as_str();
        let found = word.and_then(|word| words.iter().find(|(name, _)| *name == word));
        if found.is_none() {
            let near = word.and_then(|word| suggest(word, words.iter().map(|(name, _)| *name)));
            let help = near.map_or_else(
                || "`never` builds none, `approved` what somebody with write access has approved".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let is = entry.node.describe();
            self.report
                .error(
                    Code::BadValue,
                    self.place(&entry.node, entry.key_span),
                    format!("`build` is `never`, `approved` or `always`, not {is}"),
                )
                .help(help);
        }
        found.map(|(_, forks)| *forks)
    }

    fn people(&mut self, node: &Node) -> Vec<u64> {
        let help = "write `- login: NAME` and `id: NUMBER`; `gh api users/NAME --jq .id` prints the number";
        let Value::Seq(items) = &node.value else {
            self.report
                .error(Code::BadType, node.span, format!("`trust` is a list of people, not {}", node.describe()))
                .help(help);
            return Vec::new();
        };
        if items.len() > MOST_PEOPLE {
            self.report
                .error(Code::BadValue, node.span, format!("at most {MOST_PEOPLE} people can be named"))
                .help("whoever needs to be trusted may be given write access, and push to a branch of the repository");
        }
        let mut people = Vec::new();
        for item in items {
            let Some(map) = self.map(item, "each of the people", help) else { continue };
            self.only(map, &["login", "id"]);
            let id = yaml::get(map, "id");
            match id.map(|entry| &entry.node.value) {
                Some(Value::Number(Number::Int(number))) if *number > 0 => {
                    people.extend(u64::try_from(*number).ok());
                }
                _ => {
                    let span = id.map_or(item.span, |entry| self.place(&entry.node, entry.key_span));
                    self.report
                        .error(
                            Code::MissingAttribute,
                            span,
                            "`id` is the number of an account, and the login is not enough",
                        )
                        .help("logins change hands: `gh api users/NAME --jq .id` prints the number");
                }
            }
        }
        people
    }

    /// Where to point at a value; where it is missing, at its key.
    fn place(&self, node: &Node, key: Span) -> Span {
        if node.is_null() && node.span.start >= node.span.end { key } else { node.span }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;
    use crate::render;

    fn read(text: &str) -> Result<Policy, String> {
        policy(Source { name: POLICY_PATH, text: text.as_bytes() }, Limits::default())
            .map_err(|findings| render::text(&findings, false))
    }

    #[test]
    fn what_is_said_is_read_and_what_is_not_is_none() {
        let policy = |forks, people: &[u64]| Ok(Policy { forks, people: people.to_vec() });
        for (text, wanted) in [
            ("", policy(None, &[])),
            ("# nothing yet\n", policy(None, &[])),
            ("{}", policy(None, &[])),
            ("forks: {}", policy(None, &[])),
            ("forks:\n  build: never\n", policy(Some(Forks::Never), &[])),
            ("forks: {build: approved}", policy(Some(Forks::Approved), &[])),
            ("forks: {build: always, trust: [{login: a, id: 7}, {id: 8}]}", policy(Some(Forks::Always), &[7, 8])),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_place() {
        let text = "forks:\n  build: approve\n  trust:\n    - login: mira-lund\n    - mira\nfork: 1\n";
        insta::assert_snapshot!(read(text).unwrap_err(), @r#"
error[bad-value]: `build` is `never`, `approved` or `always`, not `approve`
 --> .tidegate/policy.yml:2:10
  |
2 |   build: approve
  |          ^^^^^^^
  |
  = help: did you mean `approved`?

error[missing-attribute]: `id` is the number of an account, and the login is not enough
 --> .tidegate/policy.yml:4:7
  |
4 |     - login: mira-lund
  |       ^^^^^^^^^^^^^^^^
  |
  = help: logins change hands: `gh api users/NAME --jq .id` prints the number

error[bad-type]: each of the people is a map, not `mira`
 --> .tidegate/policy.yml:5:7
  |
5 |     - mira
  |       ^^^^
  |
  = help: write `- login: NAME` and `id: NUMBER`; `gh api users/NAME --jq .id` prints the number

error[unknown-attribute]: `fork` is not known here
 --> .tidegate/policy.yml:6:1
  |
6 | fork: 1
  | ^^^^
  |
  = help: did you mean `forks`?
"#);
        for text in [
            "- a",
            "3",
            "forks: always",
            "forks: {build: true}",
            "forks: {build: }",
            "forks: {trust: mira}",
            "forks: {trust: [{login: a, id: 0}]}",
            "forks: {trust: [{login: a, id: \"7\"}]}",
            "forks: [",
            "a: 1\n---\n{}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a machine must offer: `agents` of a step as one text, `queue=default,os=linux`, sorted by tag. As a text it is
/// part of record keys.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Requirement(String);

impl Default for Requirement {
    fn default() -> Self {
        Self("queue=default".to_owned())
    }
}

/// `%`, `,`, `=` and `/` have a meaning in the text, so they are written as `%` and two hex digits.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' | ',' | '=' | '/' => {
                out.push('%');
                out.push_str(&format!("{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    ["%2c", "%3d", "%2f", "%25"]
        .iter()
        .zip([",", "=", "/", "%"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

impl Requirement {
    /// From tags and values. A missing `queue` is `default`; an empty value is any, as `*` is (`spec/pipeline.md` 1.4).
    pub fn new(agents: &[(String, String)]) -> Self {
        let mut tags: Vec<(String, String)> = agents
            .iter()
            .map(|(tag, value)| (escape(tag), if value.is_empty() { "*".to_owned() } else { escape(value) }))
            .collect();
        if !tags.iter().any(|(tag, _)| tag == "queue") {
            tags.push(("queue".to_owned(), "default".to_owned()));
        }
        tags.sort();
        tags.dedup();
        Self(tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect::<Vec<_>>().join(","))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tags and values.
    pub fn tags(&self) -> impl Iterator<Item = (String, String)> {
        self.0.split(',').filter_map(|tag| tag.split_once('=')).map(|(tag, value)| (unescape(tag), unescape(value)))
    }

    /// The queue it names.
    pub fn queue(&self) -> String {
        self.tags().find(|(tag, _)| tag == "queue").map_or_else(|| "default".to_owned(), |(_, queue)| queue)
    }

    /// Whether these tags offer everything.
    pub fn is_met_by(&self, offered: &[(String, String)]) -> bool {
        self.tags().all(|(tag, value)| offered.iter().any(|(t, v)| *t == tag && (value == "*" || *v == value)))
    }
}

impl Requirement {
    /// Whether these tags offer everything, whatever the queue is.
    pub fn is_met_but_for_queue(&self, offered: &[(String, String)]) -> bool {
        let met =
            |(tag, value): (String, String)| offered.iter().any(|(t, v)| *t == tag && (value == "*" || *v == value));
        self.tags().filter(|(tag, _)| tag != "queue").all(met)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(t, v)| ((*t).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_tag_must_be_offered() {
        let pool = tags(&[("queue", "default"), ("os", "linux")]);
        for (wanted, met) in [
            (tags(&[]), true),
            (tags(&[("os", "linux")]), true),
            (tags(&[("os", "*")]), true),
            (tags(&[("os", "")]), true),
            (tags(&[("os", "mac")]), false),
            (tags(&[("gpu", "*")]), false),
            (tags(&[("queue", "big"), ("os", "linux")]), false),
        ] {
            assert_eq!(Requirement::new(&wanted).is_met_by(&pool), met, "{wanted:?}");
        }
    }

    #[test]
    fn odd_values_keep_apart() {
        let odd = tags(&[("a", "x,queue=y"), ("queue", "50%2c/=")]);
        let requirement = Requirement::new(&odd);
        assert_eq!(requirement.tags().collect::<Vec<_>>(), odd);
        assert_eq!(requirement.queue(), "50%2c/=");
        assert!(!requirement.as_str().contains('/'));
    }
}

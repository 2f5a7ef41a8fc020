//! Replaces secrets in a stream of bytes, wherever it is cut: as they are, and as tools write them (base64, URL, JSON
//! and shell quoting). A second line of defence only: a job that wants to print a secret can.
//!
//! As much of the stream is held back as could be the beginning of a secret, and no more, so that a line that is none
//! is seen at once.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What a secret is replaced by.
pub(crate) const REDACTED: &[u8] = b"[REDACTED]";
/// Shorter values are not secrets but words (`spec/pipeline.md` 1.19), in bytes.
pub(crate) const SHORTEST: usize = 6;
/// Up to so many bytes of secrets, in all their forms, the search is a table: twice as fast, and some 300 bytes a byte.
const MOST_FOR_A_TABLE: usize = 24 * 1024;
/// A line of a secret of several lines is a secret of its own from this length on, in bytes.
const SHORTEST_LINE: usize = 16;

/// The redactor of one log.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    /// Sorted, each once.
    needles: Vec<Vec<u8>>,
    automaton: Option<AhoCorasick>,
    longest: usize,
    /// The bytes that any needle begins with: most bytes begin none, and need no search.
    first: Vec<u8>,
    /// The end of what was fed, which may be the beginning of a secret.
    held: Vec<u8>,
    /// So many bytes at the beginning of `held` belong to a secret that was replaced already.
    covered: usize,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("needles", &self.needles.len()).finish_non_exhaustive()
    }
}

impl Redactor {
    /// Adds secrets. What was written before is not affected.
    pub(crate) fn add<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>) {
        let before = self.needles.len();
        for secret in secrets {
            self.needles.extend(forms(secret));
        }
        self.needles.sort_unstable();
        self.needles.dedup();
        if self.needles.len() == before {
            return;
        }
        self.first = self.needles.iter().filter_map(|needle| needle.first().copied()).collect();
        self.first.dedup();
        self.longest = self.needles.iter().map(Vec::len).max().unwrap_or(0);
        // Building fails only beyond gigabytes of patterns; then what was known stays known.
        let size: usize = self.needles.iter().map(Vec::len).sum();
        let kind = (size <= MOST_FOR_A_TABLE).then_some(AhoCorasickKind::DFA);
        if let Ok(automaton) = AhoCorasickBuilder::new().match_kind(MatchKind::Standard).kind(kind).build(&self.needles)
        {
            self.automaton = Some(automaton);
        }
    }

    /// Appends what may be shown of `input` to `out`.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        if self.automaton.is_none() {
            out.extend_from_slice(input);
            return;
        }
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(input);
        let hold = self.beginning_of_a_secret(&bytes);
        self.pass(&bytes, hold, out);
        self.held = bytes.split_off(hold);
    }

    /// Ends the stream here.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let bytes = std::mem::take(&mut self.held);
        self.pass(&bytes, bytes.len(), out);
        self.covered = 0;
    }

    /// Writes what begins before `hold`, secrets replaced.
    fn pass(&mut self, bytes: &[u8], hold: usize, out: &mut Vec<u8>) {
        let mut done = self.covered;
        let mut in_secret = self.covered;
        for secret in self.secrets_in(bytes) {
            if secret.start >= hold && secret.start >= in_secret {
                break;
            }
            if secret.start >= in_secret {
                out.extend_from_slice(&bytes[done..secret.start]);
                out.extend_from_slice(REDACTED);
            }
            // Otherwise it overlaps with one that was replaced: the same replacement stands for both.
            done = done.max(secret.end);
            in_secret = done;
        }
        if done < hold {
            out.extend_from_slice(&bytes[done..hold]);
            self.covered = 0;
        } else {
            self.covered = done - hold;
        }
    }

    /// Where secrets are, those that overlap joined, in order.
    fn secrets_in(&self, bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
        let Some(automaton) = &self.automaton else {
            return Vec::new();
        };
        let mut found: Vec<_> = automaton.find_overlapping_iter(bytes).map(|found| found.range()).collect();
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut joined: Vec<std::ops::Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match joined.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }

    /// Where the longest end of `bytes` starts that is the beginning of a secret and not all of it.
    fn beginning_of_a_secret(&self, bytes: &[u8]) -> usize {
        let first = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        (first..bytes.len())
            .filter(|start| self.first.binary_search(&bytes[*start]).is_ok())
            .find(|start| {
                let end = &bytes[*start..];
                // Of the needles in order, those that begin with it come first after it.
                let at = self.needles.partition_point(|needle| needle.as_slice() <= end);
                self.needles.get(at).is_some_and(|needle| needle.starts_with(end))
            })
            .unwrap_or(bytes.len())
    }
}

/// A secret in all the forms in which tools write it.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let secret = secret.trim();
    if secret.len() < SHORTEST {
        return Vec::new();
    }
    let mut forms: Vec<Vec<u8>> = vec![secret.as_bytes().to_vec()];
    let json = in_json(secret);
    for form in [
        in_json(&json),
        ascii(&json),
        // As Go and JavaScript write it into pages.
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        json.replace('/', r"\/"),
        json,
        // As `printf %q` writes it.
        secret.chars().flat_map(|c| (!is_plain(c)).then_some('\\').into_iter().chain([c])).collect(),
    ] {
        forms.push(form.into_bytes());
    }
    forms.push(secret.replace('\'', r"'\''").into_bytes());
    for upper in [true, false] {
        for space in ["%20", "+"] {
            forms.push(url_encoded(secret, upper, space).into_bytes());
        }
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        forms.extend(in_base64(secret.as_bytes(), engine));
    }
    if secret.contains('\n') {
        forms.push(secret.replace('\n', "\r\n").into_bytes());
        let lines = secret.lines().map(str::trim);
        forms.extend(
            lines
                .filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----"))
                .map(|line| line.as_bytes().to_vec()),
        );
    }
    forms
}

/// The inside of a JSON string.
fn in_json(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// JSON as tools write it that keep to ASCII.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// Means nothing to a shell.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "-_./:@%+,=".contains(c)
}

/// What of a secret's base64 does not depend on what stands before and after it, for each of the three ways in which
/// it can lie in groups of three bytes.
fn in_base64(secret: &[u8], engine: &impl base64::Engine) -> Vec<Vec<u8>> {
    (0..3)
        .map(|before| {
            let mut padded = vec![0; before];
            padded.extend_from_slice(secret);
            let text = engine.encode(&padded).into_bytes();
            // A character holds 6 bits: those that also hold bits of what stands before or after are left out.
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            text[from..to.min(text.len())].to_vec()
        })
        .filter(|form| form.len() >= SHORTEST)
        .collect()
}

fn url_encoded(secret: &str, upper: bool, space: &str) -> String {
    let mut text = String::with_capacity(secret.len() * 3);
    for byte in secret.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte));
            }
            b' ' => text.push_str(space),
            _ if upper => text.push_str(&format!("%{byte:02X}")),
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

/// Names what else is secret, as the reference does: patterns of names of variables.
pub(crate) const REDACTED_VARIABLES: &str = "BUILDKITE_REDACTED_VARS";
/// Names of variables that hold secrets (`spec/pipeline.md` 1.19).
pub(crate) const SECRET_NAMES: &str = "*_PASSWORD,*_SECRET,*_TOKEN,*_PRIVATE_KEY,*_SSH_KEY,*_ACCESS_KEY,*_SECRET_KEY,\
                            *_CONNECTION_STRING,*_API_KEY";

/// Whether a variable's name says that its value is secret, by these patterns or the usual ones.
pub(crate) fn is_secret_name(name: &str, patterns: Option<&str>) -> bool {
    patterns.unwrap_or(SECRET_NAMES).split(',').any(|pattern| matches(pattern.trim(), name))
}

/// The values of variables whose names say that they are secret.
pub(crate) fn secret_values<'a>(env: impl Iterator<Item = (&'a str, &'a str)>, patterns: Option<&str>) -> Vec<String> {
    env.filter(|(name, _)| is_secret_name(name, patterns)).map(|(_, value)| value.to_owned()).collect()
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use proptest::prelude::*;

    fn redacted(secrets: &[&str], pieces: &[&[u8]]) -> String {
        let mut redactor = Redactor::default();
        redactor.add(secrets.iter().copied());
        let mut out = Vec::new();
        for piece in pieces {
            redactor.feed(piece, &mut out);
        }
        redactor.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn secrets_are_replaced_in_every_form() {
        let secret = "s3cr'et/ \"x\"\n+";
        let shown = |text: &str| redacted(&[secret], &[text.as_bytes()]);
        assert_eq!(shown("a s3cr'et/ \"x\"\n+ b"), "a [REDACTED] b");
        assert_eq!(shown(r#"{"k":"s3cr'et/ \"x\"\n+"}"#), r#"{"k":"[REDACTED]"}"#);
        assert_eq!(shown("u=s3cr%27et%2F%20%22x%22%0A%2B&"), "u=[REDACTED]&");
        assert_eq!(shown("u=s3cr%27et%2f+%22x%22%0a%2b&"), "u=[REDACTED]&");
        for prefix in ["", "u", "us", "user:"] {
            let whole = STANDARD_NO_PAD.encode(format!("{prefix}{secret} tail"));
            assert!(shown(&whole).contains("[REDACTED]"), "{prefix}");
        }
        assert_eq!(redacted(&["short"], &[b"short"]), "short");
    }

    #[test]
    fn secrets_that_overlap_are_replaced_as_one() {
        let both = ["abcdef", "defghi"];
        assert_eq!(redacted(&both, &[b"xabcdefghix"]), "x[REDACTED]x");
        assert_eq!(redacted(&both, &[b"xabcdef", b"ghix"]), "x[REDACTED]x");
        assert_eq!(redacted(&both, &[b"xabcdefg", b"-"]), "x[REDACTED]g-");
        assert_eq!(redacted(&["abcdef", "abcdefgh"], &[b"abcdef", b"gx"]), "[REDACTED]gx");
        assert_eq!(redacted(&["abcdef"], &[b"abcdefabc", b"def"]), "[REDACTED][REDACTED]");
    }

    #[test]
    fn a_line_that_is_no_secret_is_not_held_back() {
        let mut redactor = Redactor::default();
        redactor.add(["hunter22"]);
        let mut out = Vec::new();
        redactor.feed(b"password: hun", &mut out);
        assert_eq!(out, b"password: ");
        redactor.feed(b"dred\n", &mut out);
        assert_eq!(out, b"password: hundred\n");
    }

    #[test]
    fn lines_of_a_key_are_secret_one_by_one() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nshort\n-----END KEY-----";
        assert_eq!(redacted(&[key], &[b"> MIIEvQIBADANBgkqhkiG9w0BAQEFAASC <"]), "> [REDACTED] <");
    }

    #[test]
    fn names_tell_what_is_secret() {
        let env = [("GITHUB_TOKEN", "t1"), ("MY_API_KEY", "k1"), ("TOKENS", "no"), ("X", "no")];
        assert_eq!(secret_values(env.into_iter(), None), ["t1", "k1"]);
        assert_eq!(secret_values(env.into_iter(), Some("X, TOK*S")), ["no", "no"]);
    }

    proptest! {
        /// The oracle: no split of any output ever shows a secret, and the split makes no difference.
        #[test]
        fn no_split_shows_a_secret(
            secrets in proptest::collection::vec("[ab]{6,9}", 1..4),
            text in "[abc]{0,80}",
            planted in 0usize..4,
            at in 0usize..80,
            cuts in proptest::collection::vec(0usize..120, 0..6),
        ) {
            let mut text = text;
            if let Some(secret) = secrets.get(planted) {
                text.insert_str(at.min(text.len()), secret);
            }
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            let shown = redacted(&secrets, &pieces);
            for secret in &secrets {
                prop_assert!(!shown.contains(secret), "`{}` is in `{}`", secret, shown);
            }
            prop_assert_eq!(shown, redacted(&secrets, &[text.as_bytes()]));
        }
    }
}

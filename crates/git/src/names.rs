//! Names of refs, paths of files and URLs, checked before git sees them.

/// Whether a text can name a branch or tag, or be a full ref (git-check-ref-format(1), and never an option).
pub fn is_ref(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with(['-', '/'])
        && !name.ends_with(['/', '.'])
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && !name.chars().any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

/// Whether a text is the beginning of a commit id.
pub fn is_abbreviated_id(name: &str) -> bool {
    (4..64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The path of a file within a commit, as git takes it; `None` when it can be none.
pub fn path(text: &str) -> Option<&str> {
    let path = text.strip_prefix("./").unwrap_or(text);
    let valid = path.len() <= 4_096
        && !path.contains(['\0', '\n'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    valid.then_some(path)
}

/// Why a URL is not used, if so.
pub fn refuse_url(url: &str) -> Option<&'static str> {
    if url.trim().is_empty() {
        Some("it is empty")
    } else if url.starts_with('-') {
        Some("it begins with `-`")
    } else if url.chars().any(char::is_control) {
        Some("it holds control characters")
    } else {
        None
    }
}

/// Whether a URL means a directory of this machine, as git decides it: a path, or `file://`.
pub fn is_local(url: &str) -> bool {
    if let Some((scheme, _)) = url.split_once("://") {
        return scheme.eq_ignore_ascii_case("file");
    }
    // `host:path` is ssh, unless a slash comes before the colon.
    match (url.find(':'), url.find('/')) {
        (None, _) => true,
        (Some(colon), Some(slash)) => slash < colon,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs() {
        for good in ["main", "feature/x", "refs/heads/main", "v1.0", "a-b_c", "HEAD", "é"] {
            assert!(is_ref(good), "{good}");
        }
        for bad in [
            "",
            "-",
            "--upload-pack=x",
            "a..b",
            "a b",
            "a*",
            "a?",
            "a[",
            "a~1",
            "a^",
            "a:b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.",
            "@",
            "a@{1}",
            "a\\b",
            "a\nb",
            "a\0",
        ] {
            assert!(!is_ref(bad), "{bad:?}");
        }
    }

    #[test]
    fn paths() {
        for (text, expected) in [
            ("a", Some("a")),
            ("./.buildkite/pipeline.yml", Some(".buildkite/pipeline.yml")),
            ("a/b c", Some("a/b c")),
            ("-", Some("-")),
            ("", None),
            ("/a", None),
            ("a/", None),
            ("../a", None),
            ("a/../b", None),
            ("a//b", None),
            ("a\nb", None),
        ] {
            assert_eq!(path(text), expected, "{text:?}");
        }
    }

    #[test]
    fn urls() {
        for (url, local) in [
            ("/srv/x.git", true),
            ("../x", true),
            ("file:///srv/x", true),
            ("./a:b", true),
            ("https://host/x", false),
            ("git@host:x", false),
            ("host:x", false),
            ("ssh://host/x", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
            assert_eq!(refuse_url(url), None, "{url}");
        }
        for bad in ["", " ", "-x", "--upload-pack=x", "a\nb"] {
            assert!(refuse_url(bad).is_some(), "{bad:?}");
        }
    }
}

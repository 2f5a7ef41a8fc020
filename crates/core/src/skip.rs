//! Words in a commit message that ask for no build (`contract.md`, skip tokens; `spec/github.md` 6.2).

/// The token that asks for no build, if the message has one. Case does not matter.
///
/// The `skip-checks: true` trailer counts when it is the last line of the last paragraph, and all of that paragraph is
/// trailers. GitHub's documentation wants two empty lines before it, but `git commit` leaves one of several empty lines, so one is
/// enough here: otherwise a message typed as documented would not skip.
pub fn skip_token(message: &str) -> Option<&'static str> {
    const TOKENS: [&str; 7] =
        ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]", "[ci-skip]", "[skip-ci]"];
    let bytes = message.as_bytes();
    for (at, _) in message.match_indices('[') {
        let found = TOKENS.into_iter().find(|token| {
            bytes.get(at..at + token.len()).is_some_and(|part| part.eq_ignore_ascii_case(token.as_bytes()))
        });
        if found.is_some() {
            return found;
        }
    }
    has_skip_trailer(message).then_some("skip-checks: true")
}

fn has_skip_trailer(message: &str) -> bool {
    let mut lines = message.trim().lines().rev();
    let skips = lines.next().and_then(|line| line.split_once(':')).is_some_and(|(key, value)| {
        key.eq_ignore_ascii_case("skip-checks") && value.trim().eq_ignore_ascii_case("true")
    });
    if !skips {
        return false;
    }
    for line in lines {
        if line.trim().is_empty() {
            return true;
        }
        let continues = line.starts_with([' ', '\t']);
        let is_trailer = line
            .split_once(':')
            .is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        if !continues && !is_trailer {
            return false;
        }
    }
    // Without a paragraph before it, it is the subject.
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_anywhere_in_the_message_skip() {
        for (message, token) in [
            ("docs [skip ci]", "[skip ci]"),
            ("[ci skip] docs", "[ci skip]"),
            ("a\n\nb [no ci]\nc", "[no ci]"),
            ("[skip actions]", "[skip actions]"),
            ("x[actions skip]x", "[actions skip]"),
            ("[[ci-skip]]", "[ci-skip]"),
            ("é[Skip-CI]", "[skip-ci]"),
        ] {
            assert_eq!(skip_token(message), Some(token), "{message:?}");
        }
        let far = format!("{}[skip ci]", "é\n".repeat(500_000));
        assert_eq!(skip_token(&far), Some("[skip ci]"));
    }

    #[test]
    fn what_only_looks_like_a_token_does_not() {
        for message in [
            "",
            "skip ci",
            "[skip  ci]",
            "[skip\nci]",
            "[skip ci",
            "skip-checks: true",
            "\n\nskip-checks: true",
            "subject\nskip-checks: true",
            "subject\n\nskip-checks: false",
            "subject\n\nskip-checks: true\nSigned-off-by: A <a@example.com>",
            "subject\n\nskip-checks: true\n\nmore",
            "subject\n\nA sentence about\nskip-checks: true",
            "subject\n\nno-skip-checks: true",
        ] {
            assert_eq!(skip_token(message), None, "{message:?}");
        }
    }

    #[test]
    fn the_trailer_skips_as_the_last_one() {
        for message in [
            "subject\n\n\nskip-checks: true",
            "subject\n\n\nskip-checks:true\n",
            "subject\n\nskip-checks: true\n\n",
            "subject\r\n\r\n\r\nskip-checks: true\r\n",
            "subject\n\nbody\n\n\nReviewed-by: B <b@example.com>\n  and C\nSkip-Checks: True",
        ] {
            assert_eq!(skip_token(message), Some("skip-checks: true"), "{message:?}");
        }
    }
}

//! `format` of a field: a regular expression that the whole value must match (`spec/pipeline.md` 1.5).

use crate::limits::Limits;

/// Whether a value as a whole matches the `format` of a field. An expression that is none, or that takes too long,
/// matches nothing: what was asked for cannot be checked.
pub fn matches_format(format: &str, value: &str) -> bool {
    fancy_regex::RegexBuilder::new(&format!(r"\A(?:{format})\z"))
        .backtrack_limit(Limits::default().regex_backtracks)
        .build()
        .is_ok_and(|regex| regex.is_match(value).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_value_matches() {
        for (format, value, want) in [
            ("[a-z]+", "abc", true),
            ("[a-z]+", "abc1", false),
            ("[a-z]+", "abc\n", false),
            ("a|b", "ab", false),
            ("^v\\d+$", "v12", true),
            ("(", "(", false),
            ("(x+x+)+y", &"x".repeat(5_000), false),
        ] {
            assert_eq!(matches_format(format, value), want, "{format} {value:.20}");
        }
    }
}

//! Spans of time as the reference writes them: `1h30m`, `250ms`, `0`.

use std::time::Duration;

/// Reads a span.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as `90s`, `5m` or `1h30m`".to_owned();
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_the_reference_writes_them() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1_500), ("250ms", 250)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5d", "-1s", "1..2s", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Times and sizes, short.

use std::time::Duration;

use jiff::Timestamp;

/// A time of an answer.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// How long it was from one time of an answer to another.
pub(crate) fn span(from: Option<&str>, to: Option<&str>) -> Option<Duration> {
    since(parse(from?)?, parse(to?)?)
}

/// How long it was from one point to another; zero when it was not after.
pub(crate) fn since(from: Timestamp, to: Timestamp) -> Option<Duration> {
    Some(to.duration_since(from).try_into().unwrap_or_default())
}

/// `84 ms`, `4.2 s`, `3m 07s`, `2h 05m`, `3d 04h`.
pub(crate) fn elapsed(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{:.1} s", (span.as_secs_f64() * 10.0).floor() / 10.0),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `12s ago`, `3m ago`, `5h ago`, `4d ago`, or the day.
pub(crate) fn ago(at: &str, now: Timestamp) -> String {
    let Some(at) = parse(at) else { return at.to_owned() };
    let seconds = since(at, now).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        86_400..2_592_000 => format!("{}d ago", seconds / 86_400),
        _ => at.strftime("%Y-%m-%d").to_string(),
    }
}

/// `512 B`, `3.4 KB`, `1.2 GB`, in powers of 1,000.
pub(crate) fn bytes(size: u64) -> String {
    let mut value = size as f64;
    if size < 1000 {
        return format!("{size} B");
    }
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1m 00s"),
            (3_599_999, "59m 59s"),
            (7_500_000, "2h 05m"),
            (273_600_000, "3d 04h"),
        ] {
            assert_eq!(elapsed(Duration::from_millis(millis)), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (999_949, "999.9 KB"),
            (999_950, "1.0 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn what_is_not_after_is_now() {
        let at = "2026-11-23T02:00:00.500Z";
        assert_eq!(span(Some(at), Some("2026-11-23T02:00:01.000Z")), Some(Duration::from_millis(500)));
        assert_eq!(span(Some(at), Some("2026-11-23T01:00:00Z")), Some(Duration::ZERO));
        assert_eq!(span(None, Some(at)), None);
        assert_eq!(parse(at).map(|at| ago("2026-11-20T02:00:00Z", at)).as_deref(), Some("3d ago"));
    }
}

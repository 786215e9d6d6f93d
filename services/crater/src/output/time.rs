//! Times and spans of time as people read them.

use std::time::SystemTime;

use crater_api::convert::{timestamp, to_unix_millis, unix_millis};
use prost_types::Timestamp;

use crate::error::Error;

/// Now, in milliseconds since 1970.
pub fn now() -> i64 {
    to_unix_millis(SystemTime::now())
}

/// A span in its two largest units: `250ms`, `8s`, `3m20s`, `5h`, `2d4h`.
pub fn span(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1000;
    let two = |large: i64, l: char, small: i64, s: char| {
        if small == 0 { format!("{large}{l}") } else { format!("{large}{l}{small}{s}") }
    };
    match seconds {
        0 if millis > 0 => format!("{millis}ms"),
        0..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    }
}

/// A span in its largest unit, for a column: `0s`, `8s`, `3m`, `5h`, `2d`.
pub fn age(from: Option<&Timestamp>, now: i64) -> String {
    let Some(from) = from.and_then(unix_millis) else { return "-".to_owned() };
    let seconds = now.saturating_sub(from).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment in UTC, to the second: `2026-01-31T12:00:00Z`.
pub fn moment(t: Option<&Timestamp>) -> String {
    let moment = t.and_then(|t| jiff::Timestamp::from_second(t.seconds).ok());
    moment.map_or_else(|| "-".to_owned(), |m| m.to_string())
}

/// A moment in UTC, to the millisecond: `2026-01-31T12:00:00.250Z`.
pub fn exact(t: Option<&Timestamp>) -> String {
    let moment = t.and_then(unix_millis).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| "-".to_owned(), |m| format!("{m:.3}"))
}

/// Reads what a flag gives: a time ago (`10m`), or a moment (`2026-01-31T12:00:00Z`).
///
/// # Errors
/// The flag, for a text that is neither.
pub fn parse_moment(flag: &str, text: &str, now: i64) -> Result<Timestamp, Error> {
    if let Ok(ago) = crater_domain::parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(timestamp(now.saturating_sub(ago).max(0)));
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        Error::flag(flag, format!("{text:?} is no time: write for example 10m or 2026-01-31T12:00:00Z"))
    })?;
    Ok(timestamp(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (250, "250ms"),
            (59_999, "59s"),
            (60_000, "1m"),
            (200_000, "3m20s"),
            (18_000_000, "5h"),
            (187_200_000, "2d4h"),
        ];
        for (millis, text) in cases {
            assert_eq!(span(millis), text);
        }
    }

    #[test]
    fn moments_are_told_in_utc() {
        let t = Timestamp { seconds: 1_769_860_800, nanos: 250_900_000 };
        assert_eq!(moment(Some(&t)), "2026-01-31T12:00:00Z");
        assert_eq!(exact(Some(&t)), "2026-01-31T12:00:00.250Z");
        assert_eq!(moment(None), "-");
        assert_eq!(moment(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), "-");
    }

    #[test]
    fn an_age_never_is_negative() {
        let t = Timestamp { seconds: 100, nanos: 0 };
        assert_eq!(age(Some(&t), 0), "0s");
        assert_eq!(age(Some(&t), 100_000 + 7_200_000), "2h");
        assert_eq!(age(None, 0), "-");
    }
}

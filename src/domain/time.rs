//! Instants and spans of time as values.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch, UTC.
///
/// The only clock that policy knows: a value, never a call. Milliseconds, not seconds, because a run
/// that waited for the lock must tell a result that came before its start from one that came after.
/// Arithmetic saturates: a CA that names the year 300,000 moves nothing out of range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The instant that is `seconds` after the Unix epoch, as X.509 has it.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The instant that is `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved into the future.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This instant moved into the past.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this instant is; zero where it is not after it.
    ///
    /// A clock that went back yields zero, never a panic and never a huge number.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 text; `None` where it is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?))
    }

    /// RFC 3339 with milliseconds, as files keep it.
    #[must_use]
    pub fn precise(self) -> String {
        let text = self.to_string();
        match self.0.rem_euclid(1000) {
            0 => text,
            rest => text.replace('Z', &format!(".{rest:03}Z")),
        }
    }
}

/// RFC 3339 in UTC, to the second: `2026-11-23T00:51:25Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 ends with the year 9999; what lies beyond is shown as its last second.
        let seconds = self.unix().clamp(YEAR_ZERO, YEAR_9999);
        let text = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| at.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("an unknown time"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.precise())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// A span as people say it, in its two largest units: `89 d 4 h`, `12 min`, `0 s`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (unit, size) in units {
        if rest >= size {
            parts.push(format!("{} {unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// Reads a span as configs write it: `90s`, `15m`, `36h`, `7d`.
///
/// # Errors
///
/// A sentence fragment that says what is wrong with the text.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let size: u64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("`{text}` is not a duration: write 90s, 15m, 36h or 7d")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("`{text}` is not a duration: write 90s, 15m, 36h or 7d"))?;
    match count.checked_mul(size) {
        Some(seconds) if seconds <= 3_650 * 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is longer than ten years")),
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

const YEAR_ZERO: i64 = -62_167_219_200;
const YEAR_9999: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let at = Time::from_millis(1_795_395_085_042);
        assert_eq!(at.precise(), "2026-11-23T00:51:25.042Z");
        assert_eq!(Time::parse(&at.precise()), Some(at));
        assert_eq!(Time::from_unix(0).precise(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn absurd_instants_neither_panic_nor_wrap() {
        for at in [Time::from_millis(i64::MAX), Time::from_millis(i64::MIN)] {
            assert!(!at.to_string().is_empty());
            assert!(at.after(Duration::MAX) >= at);
            assert!(at.before(Duration::MAX) <= at);
        }
        assert_eq!(Time::from_unix(5).since(Time::from_unix(9)), Duration::ZERO);
    }

    #[test]
    fn spans() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("36h", 129_600), ("7d", 604_800)] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "15", "15 m", "-1s", "1w", "99999999999999999999s", "9999999d", "é"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        assert_eq!(span(Duration::from_secs(86_400 * 89 + 4 * 3600 + 7)), "89 d 4 h");
        assert_eq!(span(Duration::from_secs(86_400 + 5)), "1 d");
        assert_eq!(span(Duration::ZERO), "0 s");
    }
}

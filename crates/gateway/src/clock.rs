//! The only file of this crate that reads clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime};
use tokio::time::Instant;

/// For durations and deadlines. Tests control this clock.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day, for signatures and for dates in headers.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The current date in UTC, as `2025-09-29`.
pub fn today() -> String {
    OffsetDateTime::from(wall()).date().to_string()
}

/// Unix seconds of the beginning of a date; a missing day is the first of the month; none for an invalid
/// date.
pub fn seconds_of(date: &str) -> Option<i64> {
    let mut numbers = date.split('-');
    let year = numbers.next()?.parse().ok()?;
    let month = Month::try_from(numbers.next()?.parse::<u8>().ok()?).ok()?;
    let day = numbers.next().map_or(Some(1), |day| day.parse().ok())?;
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(date.midnight().assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_converted_to_seconds() {
        for (date, seconds) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(951_782_400)),
            ("2024-02-29", Some(1_709_164_800)),
            ("2025-12-31", Some(1_767_139_200)),
            ("2025-09", Some(1_756_684_800)),
            ("soon", None),
            ("2025-02-30", None),
        ] {
            assert_eq!(seconds_of(date), seconds, "{date}");
        }
        assert_eq!(today().len(), "2025-09-29".len());
    }
}

//! Dates such as `2025-09-29`, without a time zone.

use canon::date::{EPOCH_DAYS, date_of};

use crate::metering::now_ms;

const DAY_MS: i64 = 86_400_000;

/// The date of now.
pub fn today() -> String {
    date_of(now_ms() / DAY_MS)
}

/// Appends a time such as `2025-11-26T18:20:01.023Z`.
pub fn push_time(out: &mut Vec<u8>, at_ms: i64) {
    let at_ms = at_ms.max(0);
    out.extend_from_slice(date_of(at_ms / DAY_MS).as_bytes());
    let rest = (at_ms % DAY_MS) as u64;
    let parts = [(b'T', rest / 3_600_000), (b':', rest / 60_000 % 60), (b':', rest / 1000 % 60)];
    for (sign, number) in parts {
        out.extend_from_slice(&[sign, b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
    }
    let milliseconds = rest % 1000;
    let digit = |unit: u64| b'0' + (milliseconds / unit % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
}

/// Unix seconds of the beginning of a date; a missing day is the first; 0 for what is no date.
pub fn seconds_of(date: &str) -> i64 {
    let mut numbers = date.split('-').map(|part| part.parse::<i64>().unwrap_or(0));
    let (Some(year), Some(month)) = (numbers.next(), numbers.next()) else { return 0 };
    let day = numbers.next().unwrap_or(1);
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - EPOCH_DAYS;
    (days * DAY_MS / 1000).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_seconds_agree() {
        for (date, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2024-02-29", 1_709_164_800),
            ("2025-12-31", 1_767_139_200),
        ] {
            assert_eq!(seconds_of(date), seconds);
            assert_eq!(date_of(seconds / 86_400), date);
        }
        assert_eq!((seconds_of("soon"), seconds_of("2025-09")), (0, 1_756_684_800));
    }
}

//! Calendar windows of budgets, in UTC.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The period of a budget. Days and months follow the UTC calendar; weeks begin on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    Day,
    /// Monday to Sunday.
    Week,
    Month,
    /// All time.
    Total,
}

pub fn day_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(DAY_MS)
}

impl Window {
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The first day of the window that a day lies in.
    pub fn start(self, day: i64) -> i64 {
        match self {
            Self::Day => day,
            // 1970-01-01 was a Thursday.
            Self::Week => day - (day + 3).rem_euclid(7),
            Self::Month => day - (day_of_month(day) - 1),
            Self::Total => i64::MIN / DAY_MS,
        }
    }

    /// The first day after the window that a day lies in; none for all time.
    pub fn end(self, day: i64) -> Option<i64> {
        match self {
            Self::Day => Some(day + 1),
            Self::Week => Some(self.start(day) + 7),
            // The 32nd day from the first of a month lies in the next one.
            Self::Month => Some(self.start(self.start(day) + 31)),
            Self::Total => None,
        }
    }

    /// How long until the next window begins; none for all time.
    pub fn left_ms(self, now_ms: i64) -> Option<u64> {
        let end = self.end(day_of(now_ms))?;
        u64::try_from(end * DAY_MS - now_ms).ok()
    }
}

/// The day of the month, from 1, by shifted years that begin in March (Howard Hinnant, `civil_from_days`).
fn day_of_month(day: i64) -> i64 {
    let shifted = day + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29 was day 19782.
    const LEAP: i64 = 19_782;

    #[test]
    fn months_have_the_lengths_of_the_calendar() {
        // From 2023-03-01, whose day is 19417, through the leap day to 2024-12-31.
        let lengths =
            [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut first = 19_417;
        for length in lengths {
            for day in first..first + length {
                assert_eq!(Window::Month.start(day), first);
                assert_eq!(Window::Month.end(day), Some(first + length));
            }
            first += length;
        }
        assert_eq!(Window::Month.start(LEAP), LEAP - 28);
        // 2000 was a leap year, 2100 is none.
        assert_eq!(Window::Month.end(11_016), Some(11_017));
        assert_eq!(Window::Month.end(47_540), Some(47_541));
    }

    #[test]
    fn weeks_begin_on_monday() {
        // 1970-01-05 was the first Monday.
        assert_eq!(Window::Week.start(4), 4);
        assert_eq!(Window::Week.start(3), -3);
        assert_eq!(Window::Week.start(10), 4);
        assert_eq!(Window::Week.end(10), Some(11));
    }

    #[test]
    fn the_rest_of_a_window_ends_at_midnight_utc() {
        assert_eq!(Window::Day.left_ms(LEAP * DAY_MS + 1), Some(DAY_MS as u64 - 1));
        assert_eq!(Window::Month.left_ms(LEAP * DAY_MS), Some(DAY_MS as u64));
        assert_eq!(Window::Total.left_ms(0), None);
    }
}

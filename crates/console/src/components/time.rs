//! Times in UTC, with the date unless it is today.

use canon::date::date_of;
use maud::{Markup, html};

pub const DAY_MS: i64 = 86_400_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `15:26:23` today, `24 Nov 09:14` otherwise; the full time is in the title.
pub fn when(at_ms: i64, now_ms: i64) -> Markup {
    let (whole, clock) = (iso(at_ms), clock(at_ms));
    let shown = if at_ms.div_euclid(DAY_MS) == now_ms.div_euclid(DAY_MS) {
        clock
    } else {
        format!("{} {}", day_of(at_ms, now_ms), &clock[..5])
    };
    html! { time.nw datetime=(whole) title=(whole) { (shown) } }
}

/// `24 Nov`, with the year if it is another one.
pub fn day_of(at_ms: i64, now_ms: i64) -> String {
    let date = |ms: i64| date_of(ms.div_euclid(DAY_MS));
    let (date, today) = (date(at_ms), date(now_ms));
    let number = |range| date.get(range).and_then(|text: &str| text.parse::<usize>().ok()).unwrap_or(1);
    let (day, month) = (number(8..10), MONTHS[number(5..7).clamp(1, 12) - 1]);
    if date[..4] == today[..4] { format!("{day} {month}") } else { format!("{day} {month} {}", &date[..4]) }
}

/// `15:26:23`
pub fn clock(at_ms: i64) -> String {
    let second = at_ms.rem_euclid(DAY_MS) / 1000;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `15:26:23.8`
pub fn clock_tenths(at_ms: i64) -> String {
    format!("{}.{}", clock(at_ms), at_ms.rem_euclid(1000) / 100)
}

/// `2026-11-27T15:26:23Z`
pub fn iso(at_ms: i64) -> String {
    format!("{}T{}Z", date_of(at_ms.div_euclid(DAY_MS)), clock(at_ms))
}

/// `12 d 4 h`, `3 h 11 min`, `4 min`, `9 s`
pub fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn today_has_a_clock_and_other_days_have_a_date() {
        // 2026-11-27, 08:00:40.
        let now = 1_795_766_440_000;
        let text = |at| when(at, now).into_string();
        assert!(text(now - 60_000).contains(">07:59:40<"), "{}", text(now - 60_000));
        assert!(text(now - 3 * DAY_MS).contains(">24 Nov 08:00<"), "{}", text(now - 3 * DAY_MS));
        assert!(text(now - 400 * DAY_MS).contains(" 2025 "), "{}", text(now - 400 * DAY_MS));
        assert_eq!([span(9_000), span(240_000), span(11_460_000)], ["9 s", "4 min", "3 h 11 min"]);
    }
}

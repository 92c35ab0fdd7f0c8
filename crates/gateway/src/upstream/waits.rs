//! A provider's requested wait, where reading it needs a clock: a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

/// OpenRouter's header: when the limit resets, in milliseconds since 1970.
const RESET: &str = "x-ratelimit-reset";
/// Larger numbers are points in time, smaller ones are seconds to wait: no wait takes three years.
const MOMENTS: f64 = 1e8;

/// Converts `Retry-After` to seconds where it is a date, or where only the time of a limit's reset is given.
/// Dates are compared with the provider's own clock where the answer has its time, else with ours.
pub fn in_seconds(headers: &mut HeaderMap, now: SystemTime) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = |name: &str| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
    let wait = match text(RETRY_AFTER.as_str()) {
        Some(_) => date(RETRY_AFTER.as_str()).map(|at| since(at, date(DATE.as_str()).unwrap_or(now))),
        None if headers.contains_key("retry-after-ms") => None,
        None => text(RESET).and_then(moment).map(|at| since(at, now)),
    };
    if let Some(wait) = wait {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

fn since(at: SystemTime, now: SystemTime) -> Duration {
    at.duration_since(now).unwrap_or_default()
}

/// Seconds or milliseconds since 1970.
fn moment(text: &str) -> Option<SystemTime> {
    let number: f64 = text.parse().ok().filter(|number| *number > MOMENTS)?;
    let seconds = if number > 1e11 { number / 1000.0 } else { number };
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        in_seconds(&mut headers, UNIX_EPOCH + Duration::from_millis(1_700_000_000_500));
        headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn dates_become_seconds() {
        let at = "Tue, 14 Nov 2023 22:13:50 GMT";
        assert_eq!(read(&[("retry-after", at)]).unwrap(), "30", "29.5 seconds by our clock");
        let date = "Tue, 14 Nov 2023 22:13:45 GMT";
        assert_eq!(read(&[("retry-after", at), ("date", date)]).unwrap(), "5", "by theirs");
        assert_eq!(read(&[("retry-after", date), ("date", at)]).unwrap(), "0", "it has passed");
        assert_eq!(read(&[("retry-after", "7")]).unwrap(), "7");
        assert_eq!(read(&[("retry-after", "soon")]).unwrap(), "soon");
        assert_eq!(read(&[("x-ratelimit-reset", "1700000010500")]).unwrap(), "10");
        assert_eq!(read(&[("x-ratelimit-reset", "1700000011")]).unwrap(), "11");
        assert_eq!(read(&[("x-ratelimit-reset", "60")]), None, "no moment");
        assert_eq!(read(&[]), None);
    }
}

//! Time ranges, and the time within an id.

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const HOURS_OF_DAY: i64 = 24;
pub(crate) const DAY_MS: i64 = HOURS_OF_DAY * HOUR_MS;

/// A longer time to the first token counts as slow.
pub const SLOW_MS: i64 = 5_120;

/// When the request of one of the gateway's own ids arrived, in milliseconds since 1970: the id begins with it.
pub(crate) fn time_of_id(id: &str) -> Option<i64> {
    let digits = id.strip_prefix("req_").filter(|rest| rest.len() == 32 && rest.is_ascii())?;
    u128::from_str_radix(digits, 16).ok().filter(|_| digits.as_bytes()[12] == b'7')?;
    i64::from_str_radix(&digits[..12], 16).ok()
}

/// How long after the time in its id, and how long before it, a record's own time may be: the body arrives in between, and clocks
/// are set.
pub(crate) const ID_WINDOWS_MS: [(i64, i64); 2] = [(-2_000, 5_000), (-60_000, 900_000)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_id_is_read() {
        assert_eq!(time_of_id("req_019acd3f1c2a7b9e8c1d001122334455"), Some(0x019a_cd3f_1c2a));
        for id in ["req_x", "019acd3f1c2a7b9e8c1d001122334455", "req_019acd3f1c2a4b9e8c1d001122334455", "ä"]
        {
            assert_eq!(time_of_id(id), None, "{id}");
        }
    }
}

//! Records page by page, the newest first. A statement looks at a bounded number of records, however rare what is asked for is.

use std::fmt;
use std::str::FromStr;

use crate::filter::{RequestFilter, Spelling};
use crate::params::Params;
use crate::record::UsageRecord;

/// How many records one statement looks at: few at first, for the newest often have what is asked for.
pub(crate) const SLICES: [u32; 3] = [1_000, 5_000, 14_000];
/// A page.
pub(crate) const MOST_ROWS: u32 = 500;
/// How many records of one request id are shown.
pub(crate) const MOST_OF_ONE_ID: i64 = 50;

/// The place of a record in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// When the request arrived, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Tells requests of one millisecond apart.
    pub nonce: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.started_at_ms, self.nonce)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, nonce) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { started_at_ms: time.parse()?, nonce: nonce.parse()? })
    }
}

/// A record and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRow {
    /// Its place.
    pub cursor: Cursor,
    /// The record.
    pub record: UsageRecord,
}

/// Some of the records, the newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestPage {
    /// The records: fewer than asked for, or none, does not mean that there are no more.
    pub rows: Vec<RequestRow>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
    /// Up to where was looked, in milliseconds since 1970.
    pub searched_to_ms: i64,
}

/// The stretch of time that is looked at, from the newest end on.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) since_ms: i64,
    /// Only what is before this.
    pub(crate) before: Cursor,
}

impl Stretch {
    pub(crate) fn of(filter: &RequestFilter, before: Option<Cursor>) -> Self {
        let until_ms = filter.until_ms.unwrap_or(i64::MAX);
        let end = Cursor { started_at_ms: until_ms, nonce: i64::MIN };
        Self {
            since_ms: filter.since_ms.unwrap_or(i64::MIN),
            before: before.map_or(end, |before| before.min(end)),
        }
    }

    /// As a condition.
    fn condition(self, params: &mut Params) -> String {
        let since = params.number(self.since_ms);
        let time = params.number(self.before.started_at_ms);
        let nonce = params.number(self.before.nonce);
        format!(
            "started_at_ms >= {since} AND started_at_ms <= {time} AND (started_at_ms < {time} OR nonce < {nonce})"
        )
    }
}

const ORDER: &str = "ORDER BY started_at_ms DESC, nonce DESC";

/// Selects what passes the filter's tests among the newest `slice` records of a stretch.
pub(crate) fn select(
    spelling: Spelling,
    filter: &RequestFilter,
    stretch: Stretch,
    (slice, limit): (u32, u32),
) -> (String, Params) {
    let mut params = Params::default();
    let condition = stretch.condition(&mut params);
    let (slice, limit) = (params.number(i64::from(slice)), params.number(i64::from(limit)));
    let mut tests = String::new();
    spelling.push_tests(&filter.tests, &mut params, &mut tests);
    let record = spelling.record;
    let sql = format!(
        "SELECT started_at_ms, nonce, {record} FROM (
            SELECT started_at_ms, request_id, nonce, key_id, record FROM usage_records
            WHERE {condition} {ORDER} LIMIT {slice}
        ) AS slice WHERE {tests} {ORDER} LIMIT {limit}"
    );
    (sql, params)
}

/// Selects the place of the last of the newest `slice` records of a stretch, if there are so many.
pub(crate) fn select_end(stretch: Stretch, slice: u32) -> (String, Params) {
    let mut params = Params::default();
    let condition = stretch.condition(&mut params);
    let skipped = params.number(i64::from(slice) - 1);
    let sql = format!(
        "SELECT started_at_ms, nonce FROM usage_records WHERE {condition} {ORDER} LIMIT 1 OFFSET {skipped}"
    );
    (sql, params)
}

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
    fn cursors_are_written_and_read() {
        for cursor in [Cursor { started_at_ms: 1, nonce: i64::MIN }, Cursor { started_at_ms: -5, nonce: 7 }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!("1".parse::<Cursor>().is_err());
    }

    #[test]
    fn ids_tell_their_time() {
        assert_eq!(time_of_id("req_019acd3f1c2a7b9e8c1d001122334455"), Some(0x019a_cd3f_1c2a));
        for id in ["req_x", "019acd3f1c2a7b9e8c1d001122334455", "req_019acd3f1c2a4b9e8c1d001122334455", "ä"]
        {
            assert_eq!(time_of_id(id), None, "{id}");
        }
    }
}

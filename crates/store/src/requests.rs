//! Pages of records, newest first. A statement reads a limited number of records, however rare the matches
//! are.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::facts::{LOOKUP_SESSION, LOOKUP_TAG, folded};
use crate::filter::{Compare, Field, RequestFilter, SqlDialect, Test};
use crate::params::Params;
use crate::record::UsageRecord;
use crate::rollups::{Bucket, Dim, Table};
use crate::times::HOUR_MS;

/// How many records one statement reads: few at first, because the newest often match.
pub(crate) const SLICES: [u32; 3] = [500, 1_500, 3_000];
/// Maximum number of time ranges that one page reads.
pub(crate) const MOST_PARTS: usize = 8;
/// Maximum page size.
pub(crate) const MOST_ROWS: u32 = 500;
/// Maximum number of records that are shown for one request id.
pub(crate) const MOST_OF_ONE_ID: i64 = 50;

/// The position of a record in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// When the request arrived, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Distinguishes requests of the same millisecond.
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
    pub cursor: Cursor,
    pub record: UsageRecord,
}

/// Some of the records, the newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestPage {
    /// The records. Fewer than requested, or none, does not mean that there are no more.
    pub rows: Vec<RequestRow>,
    /// Where to continue; none at the end.
    pub next: Option<Cursor>,
    /// The end of the searched range, in milliseconds since 1970.
    pub searched_to_ms: i64,
}

/// A time range, searched from its newest end.
#[derive(Clone, Copy)]
pub(crate) struct SearchRange {
    pub(crate) since_ms: i64,
    /// Only earlier records.
    pub(crate) before: Cursor,
}

impl SearchRange {
    pub(crate) fn of(filter: &RequestFilter, before: Option<Cursor>) -> Self {
        let until_ms = filter.until_ms.unwrap_or(i64::MAX);
        let end = Cursor { started_at_ms: until_ms, nonce: i64::MIN };
        Self {
            since_ms: filter.since_ms.unwrap_or(i64::MIN),
            before: before.map_or(end, |before| before.min(end)),
        }
    }

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

pub(crate) enum Source {
    /// Among all.
    All,
    /// Among those with this entry in `usage_lookup`.
    Found { kind: &'static str, value: String },
    /// Among those of a key.
    OfKey(String),
}

impl Source {
    /// The fastest source for a filter.
    pub(crate) fn of(filter: &RequestFilter) -> Self {
        let found = |test: &Test| {
            let value = match &test.compare {
                Compare::Like(values) if !test.not && values.len() == 1 => &values[0],
                _ => return None,
            };
            if let Some(key) = test.field.exact_key(value) {
                return Some(Self::OfKey(key.to_owned()));
            }
            // Only letters of ASCII are compared in either case, and here by one spelling.
            if !value.is_ascii() || value.contains('*') {
                return None;
            }
            match &test.field {
                Field::Session => Some(Self::Found { kind: LOOKUP_SESSION, value: folded(value) }),
                Field::Tag(name) => {
                    Some(Self::Found { kind: LOOKUP_TAG, value: folded(&format!("{name}={value}")) })
                }
                _ => None,
            }
        };
        filter.tests.iter().find_map(found).unwrap_or(Self::All)
    }

    /// How many records each statement reads, in turn. The records of one key are scattered over the file, so at most
    /// one page of them is read first.
    pub(crate) fn slices(&self, limit: u32) -> impl Iterator<Item = u32> + use<> {
        let first = matches!(self, Self::OfKey(_)).then_some(limit + 1);
        first.into_iter().chain(SLICES)
    }

    /// The table, and the condition on it.
    fn table(&self, params: &mut Params) -> (&'static str, String) {
        match self {
            Self::All => ("usage_records", "true".to_owned()),
            Self::Found { kind, value } => {
                let (kind, value) = (params.text((*kind).to_owned()), params.text(value.clone()));
                let condition = format!("kind = {kind} AND value = {value}");
                ("usage_lookup JOIN usage_records USING (started_at_ms, nonce)", condition)
            }
            Self::OfKey(id) => ("usage_records", format!("key_id = {}", params.text(id.clone()))),
        }
    }
}

/// Selects what passes the filter's tests among the newest `slice` records of a stretch.
pub(crate) fn select(
    spelling: SqlDialect,
    (filter, source): (&RequestFilter, &Source),
    stretch: SearchRange,
    (slice, limit): (u32, u32),
) -> (String, Params) {
    let mut params = Params::default();
    let condition = stretch.condition(&mut params);
    let (table, found) = source.table(&mut params);
    let (slice, limit) = (params.number(i64::from(slice)), params.number(i64::from(limit)));
    let mut tests = String::new();
    spelling.push_tests(&filter.tests, &mut params, &mut tests);
    let record = spelling.record;
    let sql = format!(
        "SELECT started_at_ms, nonce, {record} FROM (
            SELECT started_at_ms, request_id, nonce, key_id, record FROM {table}
            WHERE {condition} AND {found} {ORDER} LIMIT {slice}
        ) AS slice WHERE {tests} {ORDER} LIMIT {limit}"
    );
    (sql, params)
}

/// Selects the place of the last of the newest `slice` records of a stretch, if there are so many.
pub(crate) fn select_end(source: &Source, stretch: SearchRange, slice: u32) -> (String, Params) {
    let mut params = Params::default();
    let condition = stretch.condition(&mut params);
    let (table, found) = source.table(&mut params);
    let skipped = params.number(i64::from(slice) - 1);
    let sql = format!(
        "SELECT started_at_ms, nonce FROM {table} WHERE {condition} AND {found} {ORDER} LIMIT 1 OFFSET {skipped}"
    );
    (sql, params)
}

/// Limit of distinct hours: rare matches are in few of them, and frequent ones are found quickly in more.
const MOST_HOURS: i64 = 1_000;

/// Selects the hours of a range with matches according to the sums; newest first. None when the sums cannot
/// decide.
pub(crate) fn select_hours(
    spelling: SqlDialect,
    filter: &RequestFilter,
    stretch: SearchRange,
) -> Option<(String, Params)> {
    let (mut params, mut conditions, mut dims) = (Params::default(), Vec::new(), Vec::new());
    for test in &filter.tests {
        let Compare::Like(values) = &test.compare else { continue };
        let dim = match test.field {
            Field::Project => Dim::Project,
            Field::Provider => Dim::Provider,
            Field::Operation => Dim::Operation,
            Field::Outcome | Field::Error => Dim::Outcome,
            Field::Key => Dim::Key,
            _ => continue,
        };
        if test.not && (test.field != Field::Outcome || values.iter().any(|value| value.contains('*'))) {
            continue;
        }
        dims.push(dim);
        let likes = values.iter().map(|value| match test.field.exact_key(value) {
            Some(key) => format!("key_id = {}", params.text(key.to_owned())),
            None => spelling.like(dim.column(), value, &mut params),
        });
        let likes: Vec<String> = likes.collect();
        let not = if test.not { "NOT " } else { "" };
        conditions.push(format!("{not}({})", likes.join(" OR ")));
        if test.field == Field::Error {
            conditions.push("outcome NOT IN ('ok', 'recovered')".to_owned());
        }
    }
    if conditions.is_empty() {
        return None;
    }
    let table = Table::of(Bucket::Hour, &dims).name;
    let since = params.number(stretch.since_ms.div_euclid(HOUR_MS));
    let until = params.number(stretch.before.started_at_ms.div_euclid(HOUR_MS));
    let most = params.number(MOST_HOURS);
    let sql = format!(
        "SELECT DISTINCT hour FROM {table} WHERE hour >= {since} AND hour <= {until} AND {}
        ORDER BY hour DESC LIMIT {most}",
        conditions.join(" AND ")
    );
    Some((sql, params))
}

/// Splits a time range into these hours (folded and pending), joins neighbours, and returns the newest first. If `hours`
/// has reached its limit there may be more, so the remaining range is one part.
pub(crate) fn parts_of(stretch: SearchRange, hours: &[i64], pending: &BTreeSet<i64>) -> Vec<SearchRange> {
    let has_rest = hours.len() as i64 == MOST_HOURS;
    let first = stretch.since_ms.div_euclid(HOUR_MS);
    let first = hours.last().filter(|_| has_rest).map_or(first, |last| first.max(*last));
    let last = stretch.before.started_at_ms.div_euclid(HOUR_MS);
    let pending = pending.iter().filter(|hour| (first..=last).contains(hour));
    let hours: BTreeSet<i64> = hours.iter().chain(pending).copied().collect();
    let mut parts: Vec<SearchRange> = Vec::new();
    for hour in hours.into_iter().rev() {
        let since_ms = (hour * HOUR_MS).max(stretch.since_ms);
        let end = Cursor { started_at_ms: (hour + 1).saturating_mul(HOUR_MS), nonce: i64::MIN };
        match parts.last_mut() {
            Some(last) if last.since_ms == end.started_at_ms => last.since_ms = since_ms,
            _ => parts.push(SearchRange { since_ms, before: end.min(stretch.before) }),
        }
    }
    if has_rest && let Some(last) = parts.last() {
        let end = Cursor { started_at_ms: last.since_ms, nonce: i64::MIN };
        parts.push(SearchRange { since_ms: stretch.since_ms, before: end });
    }
    parts
}

/// Selects the records of a request id within a stretch of time.
pub(crate) fn select_of_id(spelling: SqlDialect, id: &str, (since, until): (i64, i64)) -> (String, Params) {
    let mut params = Params::default();
    let (since, until) = (params.number(since), params.number(until));
    let (id, most) = (params.text(id.to_owned()), params.number(MOST_OF_ONE_ID));
    let record = spelling.record;
    let sql = format!(
        "SELECT started_at_ms, nonce, {record} FROM usage_records
        WHERE started_at_ms >= {since} AND started_at_ms < {until} AND request_id = {id} {ORDER} LIMIT {most}"
    );
    (sql, params)
}

/// Selects the newest records that have an entry in `usage_lookup`.
pub(crate) fn select_found(spelling: SqlDialect, kind: &str, value: &str) -> (String, Params) {
    let mut params = Params::default();
    let (kind, value) = (params.text(kind.to_owned()), params.text(value.to_owned()));
    let most = params.number(MOST_OF_ONE_ID);
    let record = spelling.record;
    let sql = format!(
        "SELECT started_at_ms, nonce, {record} FROM usage_lookup JOIN usage_records USING (started_at_ms, nonce)
        WHERE kind = {kind} AND value = {value} {ORDER} LIMIT {most}"
    );
    (sql, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_hours_are_one_part() {
        let before = Cursor { started_at_ms: 9 * HOUR_MS + 5, nonce: 3 };
        let stretch = SearchRange { since_ms: 2 * HOUR_MS + 7, before };
        let parts = parts_of(stretch, &[9, 5, 2], &[1, 2, 8, 10].into());
        let found: Vec<_> = parts.iter().map(|part| (part.since_ms, part.before.started_at_ms)).collect();
        let h = HOUR_MS;
        assert_eq!(found, [(8 * h, 9 * h + 5), (5 * h, 6 * h), (2 * h + 7, 3 * h)]);
    }

    #[test]
    fn cursors_are_written_and_read() {
        for cursor in [Cursor { started_at_ms: 1, nonce: i64::MIN }, Cursor { started_at_ms: -5, nonce: 7 }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert!("1".parse::<Cursor>().is_err());
    }
}

//! Queries of usage records and their sums.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection, Row};

use crate::facts::{Facts, LOOKUP_ID};
use crate::filter::{self, RequestFilter};
use crate::params::{Params, bound};
use crate::requests::{self, Cursor, RequestPage, RequestRow, SearchRange, Source};
use crate::rollups::{self, MergedSums, Span, UsageQuery, UsageRow};
use crate::store::{Pool, SLOW, on_either, read_record};
use crate::sums::{UsageSums, WIDTH};
use crate::times::{self, DAY_MS};
use crate::{Store, StoreError, UsageRecord, tags};

/// A larger result is read in pages.
const MAX_RECORDS: u32 = 10_000;

/// Which usage records to return.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// From this time on, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Before this time.
    pub until_ms: Option<i64>,
    pub key_id: Option<String>,
    pub request_id: Option<String>,
    /// The maximum number, newest first; 10,000 by default and at most.
    pub limit: Option<u32>,
}

/// A row of sums: the start of its period, its dimensions, the sums. None where nothing was summed.
macro_rules! read_sums {
    ($row:ident, $groups:expr) => {{
        let groups = $groups;
        match $row.try_get::<Option<i64>, _>(groups + 1)? {
            None => None,
            Some(_) => {
                let of = (1..=groups).map(|index| $row.try_get(index)).collect::<Result<_, _>>()?;
                let mut sums = UsageSums::default();
                for index in 0..WIDTH {
                    sums.0[index] = $row.try_get(groups + 1 + index)?;
                }
                Some(($row.try_get(0)?, of, sums))
            }
        }
    }};
}

impl Store {
    /// Usage records, the newest first.
    pub async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageRecord>, StoreError> {
        const SQL: &str = "SELECT CAST(record AS TEXT) FROM usage_records
            WHERE started_at_ms >= $1 AND started_at_ms < $2
              AND ($3 IS NULL OR key_id = $3) AND ($4 IS NULL OR request_id = $4)
            ORDER BY started_at_ms DESC, request_id DESC LIMIT $5";
        let limit = i64::from(filter.limit.unwrap_or(MAX_RECORDS).min(MAX_RECORDS));
        let records: Vec<String> = on_either!(self, SLOW, connection => sqlx::query_scalar(SQL)
            .bind(filter.since_ms.unwrap_or(i64::MIN))
            .bind(filter.until_ms.unwrap_or(i64::MAX))
            .bind(&filter.key_id)
            .bind(&filter.request_id)
            .bind(limit)
            .fetch_all(connection)
            .await)?;
        records.iter().map(|record| read_record(record)).collect()
    }

    /// Records that pass the filter, newest first, before a position. The number of records that are read is
    /// limited, however rare the matches are.
    pub async fn requests(
        &self,
        filter: &RequestFilter,
        before: Option<Cursor>,
        limit: u32,
    ) -> Result<RequestPage, StoreError> {
        let limit = limit.clamp(1, requests::MOST_ROWS);
        let whole = SearchRange::of(filter, before);
        let is_indexed = self.usage_indexed_from().await?.is_none();
        let source = if is_indexed { Source::of(filter) } else { Source::All };
        let parts = match &source {
            Source::All | Source::OfKey(_) if is_indexed => self.parts_of_requests(filter, whole).await?,
            _ => vec![whole],
        };
        let mut rows: Vec<RequestRow> = Vec::new();
        let mut slices = source.slices(limit);
        let mut slice = slices.next();
        for (index, mut stretch) in parts.into_iter().enumerate() {
            loop {
                // The limit is reached: the next page continues here.
                let Some(size) = slice.filter(|_| index < requests::MOST_PARTS) else {
                    return Ok(RequestPage {
                        rows,
                        next: Some(stretch.before),
                        searched_to_ms: stretch.before.started_at_ms,
                    });
                };
                let counts = (size, limit + 1 - rows.len() as u32);
                let (sql, params) = requests::select(self.spelling(), (filter, &source), stretch, counts);
                rows.extend(self.request_rows(sql, &params).await?);
                if rows.len() > limit as usize {
                    rows.truncate(limit as usize);
                    let next = rows.last().map(|row| row.cursor);
                    let searched_to_ms = next.map_or(whole.since_ms, |next| next.started_at_ms);
                    return Ok(RequestPage { rows, next, searched_to_ms });
                }
                let (sql, params) = requests::select_end(&source, stretch, size);
                let Some(end) = self.end_of_slice(sql, &params).await? else { break };
                stretch.before = end;
                slice = slices.next();
            }
        }
        Ok(RequestPage { rows, next: None, searched_to_ms: whole.since_ms })
    }

    /// The parts of a range where the sums show matches.
    async fn parts_of_requests(
        &self,
        filter: &RequestFilter,
        whole: SearchRange,
    ) -> Result<Vec<SearchRange>, StoreError> {
        let Some((sql, params)) = requests::select_hours(self.spelling(), filter, whole) else {
            return Ok(vec![whole]);
        };
        // Rows that are folded in between are in both, and are not missed.
        let pending = rollups::hours_of_pending(&self.pending_sums().await?);
        let hours: Vec<i64> = on_either!(self, SLOW, connection => {
            bound!(sqlx::query_scalar(AssertSqlSafe(sql)), params).fetch_all(connection).await
        })?;
        Ok(requests::parts_of(whole, &hours, &pending))
    }

    async fn pending_sums(&self) -> Result<Vec<String>, StoreError> {
        on_either!(self, SLOW, connection => sqlx::query_scalar(rollups::PENDING).fetch_all(connection).await)
    }

    async fn request_rows(&self, sql: String, params: &Params) -> Result<Vec<RequestRow>, StoreError> {
        let rows: Vec<(i64, i64, String)> = on_either!(self, SLOW, connection => {
            bound!(sqlx::query_as(AssertSqlSafe(sql)), params).fetch_all(connection).await
        })?;
        let row = |(started_at_ms, nonce, record): (i64, i64, String)| {
            let record = read_record(&record)?;
            Ok(RequestRow { cursor: Cursor { started_at_ms, nonce }, record })
        };
        rows.into_iter().map(row).collect()
    }

    async fn end_of_slice(&self, sql: String, params: &Params) -> Result<Option<Cursor>, StoreError> {
        let end: Option<(i64, i64)> = on_either!(self, SLOW, connection => {
            bound!(sqlx::query_as(AssertSqlSafe(sql)), params).fetch_optional(connection).await
        })?;
        Ok(end.map(|(started_at_ms, nonce)| Cursor { started_at_ms, nonce }))
    }

    /// The records of a request id, the newest first: callers may choose ids, and choose one again.
    pub async fn request(&self, id: &str) -> Result<Vec<RequestRow>, StoreError> {
        let windows =
            times::time_of_id(id).map(|time| times::ID_WINDOWS_MS.map(|it| (time + it.0, time + it.1)));
        let mut rows = Vec::new();
        for (since, until) in windows.into_iter().flatten() {
            rows = self.requests_of_id(id, (since, until)).await?;
            if !rows.is_empty() {
                break;
            }
        }
        let (sql, params) = requests::select_found(self.spelling(), LOOKUP_ID, id);
        rows.extend(self.request_rows(sql, &params).await?);
        if rows.is_empty() && self.usage_indexed_from().await?.is_some() {
            rows = self.requests_of_id(id, (i64::MIN, i64::MAX)).await?;
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.cursor));
        rows.dedup_by_key(|row| row.cursor);
        Ok(rows)
    }

    async fn requests_of_id(&self, id: &str, window: (i64, i64)) -> Result<Vec<RequestRow>, StoreError> {
        let (sql, params) = requests::select_of_id(self.spelling(), id, window);
        self.request_rows(sql, &params).await
    }

    fn spelling(&self) -> filter::SqlDialect {
        match &self.pool {
            Pool::Sqlite(_) => filter::SQLITE,
            Pool::Postgres(_) => filter::POSTGRES,
        }
    }

    /// Sums of usage. Whole hours come from the stored sums; of a partial hour the records are summed.
    pub async fn usage_sums(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let mut gathered = MergedSums::default();
        let (spans, edges) = rollups::parts(query);
        if !spans.is_empty() {
            self.sum_hours(query, &spans, &mut gathered).await?;
        }
        for (since_ms, until_ms) in edges {
            self.sum_records(query, (since_ms, until_ms), &mut gathered).await?;
        }
        Ok(gathered.rows())
    }

    /// Sums whole hours from the tables and the unfolded rows, in one snapshot.
    async fn sum_hours(
        &self,
        query: &UsageQuery,
        spans: &[Span],
        gathered: &mut MergedSums,
    ) -> Result<(), StoreError> {
        type Sums = Vec<(i64, Vec<String>, UsageSums)>;
        let selects: Vec<_> =
            spans.iter().map(|span| rollups::select(self.spelling(), query, *span)).collect();
        let snapshot = self.spelling().snapshot;
        let groups = query.group.len() + usize::from(query.tag.is_some());
        let unfolded = if query.tag.is_some() { tags::PENDING } else { rollups::PENDING };
        let (sums, pending): (Sums, Vec<String>) = on_either!(self, SLOW, connection => {
            let mut transaction = connection.begin_with(snapshot).await?;
            let mut sums = Vec::new();
            for (sql, params) in &selects {
                let select = bound!(sqlx::query(AssertSqlSafe(sql.as_str())), params);
                for row in select.fetch_all(&mut *transaction).await? {
                    sums.extend(read_sums!(row, groups));
                }
            }
            let pending = sqlx::query_scalar(unfolded).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok((sums, pending))
        })?;
        for (start_ms, of, sums) in sums {
            gathered.add(query.bucket.map(|_| start_ms), of, &sums);
        }
        let hours = rollups::hours_of(spans);
        match query.tag {
            Some(_) => gathered.add_pending_tags(query, hours, &pending),
            None => gathered.add_pending(query, hours, &pending),
        }
        Ok(())
    }

    /// The tags that have sums within whole days (UTC), to which the range is extended, of one project or of all.
    pub async fn usage_tags(
        &self,
        (since_ms, until_ms): (i64, i64),
        project: Option<&str>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let days = since_ms.div_euclid(DAY_MS)..until_ms.saturating_add(DAY_MS - 1).div_euclid(DAY_MS);
        // Rows that are folded in between are in both, and are not missed.
        let (pending, folded): (Vec<String>, Vec<String>) = on_either!(self, SLOW, connection => {
            let pending = sqlx::query_scalar(tags::PENDING).fetch_all(&mut *connection).await?;
            let folded = sqlx::query_scalar(tags::NAMES)
                .bind(days.start)
                .bind(days.end)
                .bind(project)
                .fetch_all(connection)
                .await?;
            Ok((pending, folded))
        })?;
        let pending = pending.iter().flat_map(|json| tags::names_of(json, &days, project));
        Ok(pending.chain(folded).collect())
    }

    async fn sum_records(
        &self,
        query: &UsageQuery,
        (since_ms, until_ms): (i64, i64),
        gathered: &mut MergedSums,
    ) -> Result<(), StoreError> {
        let filter =
            RequestFilter { since_ms: Some(since_ms), until_ms: Some(until_ms), ..RequestFilter::default() };
        let mut stretch = SearchRange::of(&filter, None);
        loop {
            let counts = (MAX_RECORDS, MAX_RECORDS);
            let (sql, params) = requests::select(self.spelling(), (&filter, &Source::All), stretch, counts);
            let rows: Vec<(i64, i64, String)> = on_either!(self, SLOW, connection => {
                bound!(sqlx::query_as(AssertSqlSafe(sql)), params).fetch_all(connection).await
            })?;
            for (_, _, record) in &rows {
                // A record that is none is left out, as everywhere.
                if let Ok(facts) = Facts::of(record) {
                    gathered.add_record(query, &facts);
                }
            }
            match rows.last() {
                Some((started_at_ms, nonce, _)) if rows.len() == MAX_RECORDS as usize => {
                    stretch.before = Cursor { started_at_ms: *started_at_ms, nonce: *nonce };
                }
                _ => return Ok(()),
            }
        }
    }
}

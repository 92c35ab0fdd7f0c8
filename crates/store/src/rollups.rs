//! Sums of the usage records by hour and by day. The transaction that writes records also writes their sums
//! as one small row of JSON (`usage_pending`). These rows are folded into the tables periodically, in a
//! transaction that deletes them. A query reads both in one snapshot, and uses the smallest table with the
//! required dimensions: some have models without projects, some projects without models, some both, some also
//! the keys. Sums by tag (`tags.rs`) wait in the same rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::facts::Facts;
use crate::filter::SqlDialect;
use crate::params::{Param, Params};
use crate::sums::{UsageSums, sum_columns};
use crate::tags::{self, TagDays};
use crate::times::{DAY_MS, HOUR_MS, HOURS_OF_DAY};
use crate::upserts::{MOST_ROWS, Statement, push_statements, upsert};

/// The dimensions of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    Project,
    /// The id of the key.
    Key,
    /// The model as its provider calls it; empty when no provider was asked.
    Model,
    /// The provider; empty when none was asked.
    Provider,
    /// `chat`, `embeddings` …
    Operation,
    /// `ok`, `recovered` (a second attempt answered), `cancelled`, or the kind of the error.
    Outcome,
}

impl Dim {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 6] =
        [Self::Project, Self::Key, Self::Model, Self::Provider, Self::Operation, Self::Outcome];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Key => "key",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Operation => "operation",
            Self::Outcome => "outcome",
        }
    }

    pub(crate) fn column(self) -> &'static str {
        if self == Self::Key { "key_id" } else { self.as_str() }
    }
}

/// A period of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    Hour,
    /// A day, UTC.
    Day,
}

impl Bucket {
    /// Its length in milliseconds.
    pub fn ms(self) -> i64 {
        match self {
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// From this time on, in milliseconds since 1970.
    pub since_ms: i64,
    /// Before this time.
    pub until_ms: i64,
    /// Only of requests with these values.
    pub of: Vec<(Dim, String)>,
    /// One sum per value of these.
    pub group: Vec<Dim>,
    /// One sum per period.
    pub bucket: Option<Bucket>,
    /// One sum per value of this tag, which comes last in `of` of a row. These sums exist for whole days (UTC), to which the range is
    /// extended, and have no other dimension than the project.
    pub tag: Option<String>,
}

impl UsageQuery {
    fn has(&self, group: &Group<'_>) -> bool {
        self.of.iter().all(|(dim, value)| group.value(*dim) == value)
    }

    /// The period and the values of the sum that a group is part of.
    fn place(&self, group: &Group<'_>) -> (Option<i64>, Vec<String>) {
        let start = self.bucket.map(|bucket| (group.hour * HOUR_MS).div_euclid(bucket.ms()) * bucket.ms());
        (start, self.group.iter().map(|dim| group.value(*dim).to_owned()).collect())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// When the stretch begins, in milliseconds since 1970.
    pub start_ms: Option<i64>,
    /// The values of what was grouped by, in that order.
    pub of: Vec<String>,
    pub sums: UsageSums,
}

/// Sums from several sources.
#[derive(Default)]
pub(crate) struct MergedSums(BTreeMap<(Option<i64>, Vec<String>), UsageSums>);

impl MergedSums {
    pub(crate) fn add(&mut self, start_ms: Option<i64>, of: Vec<String>, sums: &UsageSums) {
        self.0.entry((start_ms, of)).or_default().add(sums);
    }

    /// Adds a record that a query asks for.
    pub(crate) fn add_record(&mut self, query: &UsageQuery, facts: &Facts<'_>) {
        let group = Group::of(facts);
        if let Some(sums) = self.sums_for(query, &group) {
            sums.add_record(facts);
        }
    }

    /// Adds the sums that are not in the tables yet.
    pub(crate) fn add_pending(&mut self, query: &UsageQuery, hours: (i64, i64), pending: &[String]) {
        for GroupSums { of, sums } in readable(pending) {
            if (hours.0..hours.1).contains(&of.hour)
                && let Some(sum) = self.sums_for(query, &of)
            {
                sum.add(&sums);
            }
        }
    }

    /// The sums that a group is part of; none when it is not asked for.
    fn sums_for(&mut self, query: &UsageQuery, group: &Group<'_>) -> Option<&mut UsageSums> {
        query.has(group).then(|| self.0.entry(query.place(group)).or_default())
    }

    /// Adds the sums of a tag that are not in the table yet.
    pub(crate) fn add_pending_tags(&mut self, query: &UsageQuery, hours: (i64, i64), pending: &[String]) {
        let tag = query.tag.as_deref().unwrap_or_default();
        for (hour, project, value, sums) in pending.iter().flat_map(|json| tags::pending_of(json, tag)) {
            let group = Group { hour, project, ..Group::default() };
            if (hours.0..hours.1).contains(&hour) && query.has(&group) {
                let (start, mut of) = query.place(&group);
                of.push(value.into_owned());
                self.add(start, of, &sums);
            }
        }
    }

    pub(crate) fn rows(self) -> Vec<UsageRow> {
        self.0.into_iter().map(|((start_ms, of), sums)| UsageRow { start_ms, of, sums }).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) unit: Bucket,
    /// Its dimensions, in the order of its key; the time comes before the project, or else first.
    dims: &'static [Dim],
}

const BY_MODEL: &[Dim] = &[Dim::Model, Dim::Provider, Dim::Operation, Dim::Outcome];
const OF_PROJECT: &[Dim] = &[Dim::Project, Dim::Outcome];
const BY_PROJECT: &[Dim] = &[Dim::Project, Dim::Model, Dim::Provider, Dim::Operation, Dim::Outcome];
const BY_KEY: &[Dim] = &[Dim::Key, Dim::Project, Dim::Model, Dim::Provider, Dim::Operation, Dim::Outcome];

/// Smaller ones first. They are written in this order, which all nodes share, to avoid deadlocks.
const TABLES: [Table; 8] = [
    Table { name: "usage_project_hours", unit: Bucket::Hour, dims: OF_PROJECT },
    Table { name: "usage_project_days", unit: Bucket::Day, dims: OF_PROJECT },
    Table { name: "usage_model_hours", unit: Bucket::Hour, dims: BY_MODEL },
    Table { name: "usage_model_days", unit: Bucket::Day, dims: BY_MODEL },
    Table { name: "usage_hours", unit: Bucket::Hour, dims: BY_PROJECT },
    Table { name: "usage_days", unit: Bucket::Day, dims: BY_PROJECT },
    Table { name: "usage_key_hours", unit: Bucket::Hour, dims: BY_KEY },
    Table { name: "usage_key_days", unit: Bucket::Day, dims: BY_KEY },
];

/// The table of the values of tags.
const BY_TAG: Table = Table { name: tags::TABLE, unit: Bucket::Day, dims: &[Dim::Project] };

impl Table {
    /// The smallest table with these dimensions.
    pub(crate) fn of(unit: Bucket, dims: &[Dim]) -> Self {
        let is_it = |table: &&Self| table.unit == unit && dims.iter().all(|dim| table.dims.contains(dim));
        TABLES.iter().find(is_it).copied().unwrap_or(TABLES[TABLES.len() - 1])
    }

    fn by_key(self) -> bool {
        self.dims.contains(&Dim::Key)
    }

    /// The column of the time, counted in its unit since 1970.
    pub(crate) fn time(self) -> &'static str {
        match self.unit {
            Bucket::Hour => "hour",
            Bucket::Day => "day",
        }
    }

    fn keys(self) -> impl Iterator<Item = &'static str> {
        let (key, others) = self.dims.split_at(usize::from(self.by_key()));
        let columns = |dims: &'static [Dim]| dims.iter().map(|dim| dim.column());
        columns(key).chain([self.time()]).chain(columns(others))
    }

    fn upsert(self, rows: usize) -> String {
        upsert(self.name, &self.keys().collect::<Vec<_>>(), rows)
    }
}

static UPSERTS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let sizes = || (0..=MOST_ROWS.ilog2()).map(|power| 1_usize << power);
    TABLES.iter().map(|table| sizes().map(|rows| table.upsert(rows)).collect()).collect()
});

/// The common values of requests that are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
struct Group<'a> {
    /// Hours since 1970.
    hour: i64,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    project: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
}

impl<'a> Group<'a> {
    fn of(facts: &Facts<'a>) -> Self {
        Self {
            hour: facts.started_at_ms.div_euclid(HOUR_MS),
            key: facts.key_id.clone(),
            project: facts.project.clone(),
            model: facts.used_model.clone().unwrap_or_default(),
            provider: facts.used_provider.clone().unwrap_or_default(),
            operation: facts.operation.clone().unwrap_or(Cow::Borrowed("chat")),
            outcome: facts.outcome(),
        }
    }

    fn value(&self, dim: Dim) -> &str {
        match dim {
            Dim::Project => &self.project,
            Dim::Key => &self.key,
            Dim::Model => &self.model,
            Dim::Provider => &self.provider,
            Dim::Operation => &self.operation,
            Dim::Outcome => &self.outcome,
        }
    }
}

/// One entry of a row of `usage_pending`.
#[derive(Deserialize)]
struct GroupSums<'a> {
    #[serde(borrow)]
    of: Group<'a>,
    sums: UsageSums,
}

fn read_pending(json: &str) -> Result<Vec<GroupSums<'_>>, StoreError> {
    serde_json::from_str(json).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: "row of usage_pending", reason: error.to_string() }
}

/// The content of rows of `usage_pending`. An unreadable row is in no sum; it is set aside when it is folded.
fn readable(pending: &[String]) -> impl Iterator<Item = GroupSums<'_>> {
    pending.iter().filter_map(|json| read_pending(json).ok()).flatten()
}

/// The hours that are in rows of `usage_pending`.
pub(crate) fn hours_of_pending(pending: &[String]) -> BTreeSet<i64> {
    readable(pending).map(|counted| counted.of.hour).collect()
}

/// All rows of `usage_pending`.
pub(crate) const PENDING: &str = "SELECT sums FROM usage_pending";
const INSERT_PENDING: &str = "INSERT INTO usage_pending (sums, tags) VALUES ($1, $2)";

/// Sums by hour, and by tag and day.
#[derive(Default)]
pub(crate) struct Hours<'a> {
    sums: HashMap<Group<'a>, UsageSums>,
    pub(crate) tags: TagDays<'a>,
}

impl<'a> Hours<'a> {
    /// An entry that changes no sum.
    pub(crate) fn nothing() -> Self {
        Self { sums: [(Group::default(), UsageSums::default())].into(), tags: TagDays::nothing() }
    }

    pub(crate) fn add(&mut self, facts: &Facts<'a>) {
        self.sums.entry(Group::of(facts)).or_default().add_record(facts);
        self.tags.add(facts);
    }

    pub(crate) fn add_pending(&mut self, json: &'a str, tags: Option<&'a str>) -> Result<(), StoreError> {
        for GroupSums { of, sums } in read_pending(json)? {
            self.sums.entry(of).or_default().add(&sums);
        }
        tags.map_or(Ok(()), |tags| self.tags.add_pending(tags))
    }

    fn to_json(&self) -> Result<String, StoreError> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            of: &'a Group<'a>,
            sums: &'a UsageSums,
        }
        let counted: Vec<Borrowed<'_>> = self.sums.iter().map(|(of, sums)| Borrowed { of, sums }).collect();
        serde_json::to_string(&counted).map_err(|error| unreadable(&error))
    }

    /// The statements that add them to the tables.
    pub(crate) fn fold(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        for (table, upserts) in TABLES.iter().zip(UPSERTS.iter()) {
            let mut rows: BTreeMap<Row<'_>, UsageSums> = BTreeMap::new();
            for (group, sums) in &self.sums {
                rows.entry(table.row(group)).or_default().add(sums);
            }
            let rows: Vec<_> = rows.into_iter().collect();
            push_statements(upserts, &rows, &mut statements, |((time, values), sums), params| {
                let (key, others) = values.split_at(usize::from(table.by_key()));
                let texts = |values: &[&str]| {
                    values.iter().map(|it| Param::Text((*it).to_owned())).collect::<Vec<_>>()
                };
                params.0.extend(texts(key));
                params.0.push(Param::Number(*time));
                params.0.extend(texts(others));
                params.sums(sums);
            });
        }
        statements.extend(self.tags.fold());
        statements
    }
}

/// The key of a row: the time in the table's unit, and the values of its dimensions.
type Row<'a> = (i64, Vec<&'a str>);

impl Table {
    fn row<'a>(self, group: &'a Group<'_>) -> Row<'a> {
        let time = if self.unit == Bucket::Day { group.hour.div_euclid(HOURS_OF_DAY) } else { group.hour };
        (time, self.dims.iter().map(|dim| group.value(*dim)).collect())
    }
}

/// The result of an insertion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inserted {
    /// How many records were new.
    pub(crate) records: u64,
    /// The size of their sums, which are folded later.
    pub(crate) pending_bytes: u64,
}

/// The rows that new records add besides their own.
#[derive(Default)]
pub(crate) struct Rollups<'a> {
    pub(crate) hours: Hours<'a>,
    lookups: Vec<LookupEntry>,
}

/// An entry of `usage_lookup`.
struct LookupEntry {
    kind: &'static str,
    value: String,
    started_at_ms: i64,
    nonce: i64,
}

static INSERT_LOOKUPS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sizes = (0..=MOST_ROWS.ilog2()).map(|power| 1_usize << power);
    let row = |index: usize| {
        let first = index * 4 + 1;
        format!("(${first}, ${}, ${}, ${})", first + 1, first + 2, first + 3)
    };
    sizes
        .map(|rows| {
            let rows: Vec<String> = (0..rows).map(row).collect();
            format!(
                "INSERT INTO usage_lookup (kind, value, started_at_ms, nonce) VALUES {} ON CONFLICT DO NOTHING",
                rows.join(", ")
            )
        })
        .collect()
});

impl<'a> Rollups<'a> {
    pub(crate) fn add(&mut self, facts: &Facts<'a>) {
        self.hours.add(facts);
        let (started_at_ms, nonce) = (facts.started_at_ms, facts.nonce);
        let lookups = facts.lookups();
        self.lookups.extend(lookups.map(|(kind, value)| LookupEntry { kind, value, started_at_ms, nonce }));
    }

    /// The statements that add new records, and the size of their sums, which are folded later.
    pub(crate) fn statements(&self) -> Result<(Vec<Statement>, u64), StoreError> {
        let (mut statements, mut bytes) = (Vec::new(), 0);
        if !self.hours.sums.is_empty() {
            let (json, mut params) = (self.hours.to_json()?, Params::default());
            let tags = self.hours.tags.to_json()?;
            bytes = (json.len() + tags.as_ref().map_or(0, String::len)) as u64;
            params.text(json);
            params.0.push(Param::MaybeText(tags));
            statements.push((INSERT_PENDING, params));
        }
        self.push_lookups(&mut statements);
        Ok((statements, bytes))
    }

    /// The statements that add old records.
    pub(crate) fn folded(&self) -> Vec<Statement> {
        let mut statements = self.hours.fold();
        self.push_lookups(&mut statements);
        statements
    }

    fn push_lookups(&self, statements: &mut Vec<Statement>) {
        push_statements(&INSERT_LOOKUPS, &self.lookups, statements, |lookup, params| {
            params.0.push(Param::Text(lookup.kind.to_owned()));
            params.0.push(Param::Text(lookup.value.clone()));
            params.0.extend([lookup.started_at_ms, lookup.nonce].map(Param::Number));
        });
    }
}

/// The part of a query that one table answers: a range of its time unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) unit: Bucket,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// The hours that spans, which follow each other, are together.
pub(crate) fn hours_of(spans: &[Span]) -> (i64, i64) {
    let hours = |span: &Span| if span.unit == Bucket::Day { HOURS_OF_DAY } else { 1 };
    let first = spans.first().map_or(0, |span| span.from * hours(span));
    (first, spans.last().map_or(first, |span| span.to * hours(span)))
}

/// The parts of a range: whole days and hours, and ranges within an hour, which need the records.
pub(crate) fn parts(query: &UsageQuery) -> (Vec<Span>, Vec<(i64, i64)>) {
    let (since, until) = (query.since_ms, query.until_ms.max(query.since_ms));
    let up = |ms: i64, unit: i64| ms.div_euclid(unit).saturating_add(i64::from(ms.rem_euclid(unit) > 0));
    if query.tag.is_some() {
        let days = Span { unit: Bucket::Day, from: since.div_euclid(DAY_MS), to: up(until, DAY_MS) };
        return (vec![days], Vec::new());
    }
    let (first, last) = (up(since, HOUR_MS), until.div_euclid(HOUR_MS));
    if first > last {
        return (Vec::new(), vec![(since, until)]);
    }
    let edges = [(since, first.saturating_mul(HOUR_MS)), (last.saturating_mul(HOUR_MS), until)];
    let edges = edges.into_iter().filter(|(from, to)| from < to).collect();
    let hours = |from, to| Span { unit: Bucket::Hour, from, to };
    let (first_day, last_day) = (up(first, HOURS_OF_DAY), last.div_euclid(HOURS_OF_DAY));
    let spans = if query.bucket == Some(Bucket::Hour) || first_day >= last_day {
        vec![hours(first, last)]
    } else {
        let days = Span { unit: Bucket::Day, from: first_day, to: last_day };
        vec![hours(first, first_day * HOURS_OF_DAY), days, hours(last_day * HOURS_OF_DAY, last)]
    };
    (spans.into_iter().filter(|span| span.from < span.to).collect(), edges)
}

/// Selects the sums of a span: the start of the bucket, what is grouped by, the sums.
pub(crate) fn select(spelling: SqlDialect, query: &UsageQuery, span: Span) -> (String, Params) {
    let asked: Vec<Dim> = query.of.iter().map(|(dim, _)| *dim).chain(query.group.iter().copied()).collect();
    let table = if query.tag.is_some() { BY_TAG } else { Table::of(span.unit, &asked) };
    let time = table.time();
    let mut params = Params::default();
    let (from, to) = (params.number(span.from), params.number(span.to));
    let start = match (query.bucket, span.unit) {
        (None, _) => "CAST(0 AS BIGINT)".to_owned(),
        (Some(Bucket::Day), Bucket::Hour) => format!("{time} / {HOURS_OF_DAY} * {DAY_MS}"),
        (Some(_), unit) => format!("{time} * {}", unit.ms()),
    };
    let value = query.tag.as_ref().map(|_| "sums.value".to_owned());
    let groups = query.group.iter().map(|dim| format!("sums.{}", dim.column()));
    let groups: Vec<String> = groups.chain(value).collect();
    let columns: Vec<String> = std::iter::once(format!("{start} AS start"))
        .chain(groups.iter().cloned())
        .chain(sum_columns().map(spelling.sum))
        .collect();
    let mut conditions = vec![format!("{time} >= {from} AND {time} < {to}")];
    for (dim, value) in &query.of {
        conditions.push(format!("sums.{} = {}", dim.column(), params.text(value.clone())));
    }
    if let Some(tag) = &query.tag {
        conditions.push(format!("sums.tag = {}", params.text(tag.clone())));
    }
    // The table is ordered by key, then by time: one index lookup per key instead of a full scan.
    let has_key = query.of.iter().any(|(dim, _)| *dim == Dim::Key);
    let (with, join) = if table.by_key() && !has_key {
        let name = table.name;
        let with = format!(
            "WITH RECURSIVE known (id) AS (
                SELECT min(key_id) FROM {name}
                UNION ALL
                SELECT (SELECT min(key_id) FROM {name} WHERE key_id > known.id) FROM known WHERE known.id IS NOT NULL
            ) "
        );
        (with, " JOIN known ON sums.key_id = known.id")
    } else {
        (String::new(), "")
    };
    let group: Vec<String> = query.bucket.map(|_| "start".to_owned()).into_iter().chain(groups).collect();
    let group = if group.is_empty() { String::new() } else { format!(" GROUP BY {}", group.join(", ")) };
    let sql = format!(
        "{with}SELECT {} FROM {} AS sums{join} WHERE {}{group}",
        columns.join(", "),
        table.name,
        conditions.join(" AND ")
    );
    (sql, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = HOUR_MS;

    #[test]
    fn a_range_is_split_into_days_hours_and_edges() {
        let parts = |since_ms, until_ms, bucket| {
            parts(&UsageQuery { since_ms, until_ms, bucket, ..UsageQuery::default() })
        };
        let span = |unit, from, to| Span { unit, from, to };
        assert_eq!(
            parts(22 * H + 5, 73 * H + 7, None),
            (
                vec![span(Bucket::Hour, 23, 24), span(Bucket::Day, 1, 3), span(Bucket::Hour, 72, 73)],
                vec![(22 * H + 5, 23 * H), (73 * H, 73 * H + 7)]
            )
        );
        assert_eq!(parts(0, 48 * H, Some(Bucket::Hour)), (vec![span(Bucket::Hour, 0, 48)], vec![]));
        assert_eq!(parts(0, 48 * H, Some(Bucket::Day)), (vec![span(Bucket::Day, 0, 2)], vec![]));
        assert_eq!(parts(5, 7, None), (vec![], vec![(5, 7)]));
        assert_eq!(parts(H, H, None), (vec![], vec![]));
        assert_eq!(parts(7, 5, None), (vec![], vec![(7, 7)]));
    }
}

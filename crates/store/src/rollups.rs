//! Sums of the usage records by hour and by day, written in the transaction that writes the records. Two tables for each unit of
//! time: one for all keys together, which stays small however many keys there are, and one by key.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use crate::facts::Facts;
use crate::params::{Param, Params};
use crate::sums::{UsageSums, sum_columns};
use crate::times::{DAY_MS, HOUR_MS, HOURS_OF_DAY};

/// What sums are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// The project.
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

    /// Its name.
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

    fn column(self) -> &'static str {
        if self == Self::Key { "key_id" } else { self.as_str() }
    }
}

/// A stretch of time that sums are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// An hour.
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

/// Which sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// From this time on, in milliseconds since 1970.
    pub since_ms: i64,
    /// Before this time.
    pub until_ms: i64,
    /// Only of requests with these values.
    pub of: Vec<(Dim, String)>,
    /// One sum for each value of these.
    pub group: Vec<Dim>,
    /// One sum for each such stretch.
    pub bucket: Option<Bucket>,
}

/// One sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// When the stretch begins, in milliseconds since 1970.
    pub start_ms: Option<i64>,
    /// The values of what was grouped by, in that order.
    pub of: Vec<String>,
    /// The sum.
    pub sums: UsageSums,
}

/// Sums that are put together from several sources.
#[derive(Default)]
pub(crate) struct Gathered(BTreeMap<(Option<i64>, Vec<String>), UsageSums>);

impl Gathered {
    pub(crate) fn add(&mut self, start_ms: Option<i64>, of: Vec<String>, sums: &UsageSums) {
        self.0.entry((start_ms, of)).or_default().add(sums);
    }

    /// Adds a record that a query asks for.
    pub(crate) fn add_record(&mut self, query: &UsageQuery, facts: &Facts<'_>) {
        let group = Group::of(facts, 0);
        if query.of.iter().any(|(dim, value)| group.value(*dim) != value) {
            return;
        }
        let start = query.bucket.map(|bucket| facts.started_at_ms.div_euclid(bucket.ms()) * bucket.ms());
        let of = query.group.iter().map(|dim| group.value(*dim).to_owned()).collect();
        self.0.entry((start, of)).or_default().add_record(facts);
    }

    pub(crate) fn rows(self) -> Vec<UsageRow> {
        self.0.into_iter().map(|((start_ms, of), sums)| UsageRow { start_ms, of, sums }).collect()
    }
}

/// A table of sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) unit: Bucket,
    pub(crate) by_key: bool,
}

/// In the order in which they are written, which all nodes share: else two of them could wait for each other.
const TABLES: [Table; 4] = [
    Table { name: "usage_hours", unit: Bucket::Hour, by_key: false },
    Table { name: "usage_days", unit: Bucket::Day, by_key: false },
    Table { name: "usage_key_hours", unit: Bucket::Hour, by_key: true },
    Table { name: "usage_key_days", unit: Bucket::Day, by_key: true },
];

impl Table {
    pub(crate) fn of(unit: Bucket, by_key: bool) -> Self {
        let is_it = |table: &&Self| table.unit == unit && table.by_key == by_key;
        TABLES.iter().find(is_it).copied().unwrap_or(TABLES[0])
    }

    /// The column of the time, counted in its unit since 1970.
    pub(crate) fn time(self) -> &'static str {
        match self.unit {
            Bucket::Hour => "hour",
            Bucket::Day => "day",
        }
    }

    fn keys(self) -> impl Iterator<Item = &'static str> {
        let key = self.by_key.then_some("key_id");
        let others = ["project", "model", "provider", "operation", "outcome"];
        key.into_iter().chain([self.time()]).chain(others)
    }

    fn upsert(self, rows: usize) -> String {
        let columns: Vec<&str> = self.keys().chain(sum_columns()).collect();
        let mut next = 0;
        let mut row = || {
            let names: Vec<String> = (next + 1..=next + columns.len()).map(|it| format!("${it}")).collect();
            next += columns.len();
            format!("({})", names.join(", "))
        };
        let values: Vec<String> = (0..rows).map(|_| row()).collect();
        let sums: Vec<String> = sum_columns()
            .map(|column| format!("{column} = {}.{column} + excluded.{column}", self.name))
            .collect();
        format!(
            "INSERT INTO {} ({}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {}",
            self.name,
            columns.join(", "),
            values.join(", "),
            self.keys().collect::<Vec<_>>().join(", "),
            sums.join(", ")
        )
    }
}

/// How many rows one statement writes at most; a power of two, so that few are ever prepared.
const MOST_ROWS: usize = 16;
static UPSERTS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let sizes = || (0..=MOST_ROWS.ilog2()).map(|power| 1_usize << power);
    TABLES.iter().map(|table| sizes().map(|rows| table.upsert(rows)).collect()).collect()
});

/// What requests have in common that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Group<'a> {
    key: Cow<'a, str>,
    /// Hours or days since 1970.
    time: i64,
    project: Cow<'a, str>,
    model: Cow<'a, str>,
    provider: Cow<'a, str>,
    operation: Cow<'a, str>,
    outcome: Cow<'a, str>,
}

impl<'a> Group<'a> {
    fn of(facts: &Facts<'a>, time: i64) -> Self {
        Self {
            key: facts.key_id.clone(),
            time,
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

/// What new records add to the tables beside their own.
#[derive(Default)]
pub(crate) struct Rollups<'a> {
    hours: HashMap<Group<'a>, UsageSums>,
    lookups: Vec<Lookup>,
}

/// An entry of `usage_lookup`.
struct Lookup {
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

/// A statement and its parameters.
pub(crate) type Statement = (&'static str, Params);

impl<'a> Rollups<'a> {
    pub(crate) fn add(&mut self, facts: &Facts<'a>) {
        let group = Group::of(facts, facts.started_at_ms.div_euclid(HOUR_MS));
        self.hours.entry(group).or_default().add_record(facts);
        let (started_at_ms, nonce) = (facts.started_at_ms, facts.nonce);
        let lookups = facts.lookups();
        self.lookups.extend(lookups.map(|(kind, value)| Lookup { kind, value, started_at_ms, nonce }));
    }

    /// The statements that add them.
    pub(crate) fn statements(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        for (table, upserts) in TABLES.iter().zip(UPSERTS.iter()) {
            let mut rows: BTreeMap<Group<'_>, UsageSums> = BTreeMap::new();
            for (group, sums) in &self.hours {
                let mut group = group.clone();
                if table.unit == Bucket::Day {
                    group.time = group.time.div_euclid(HOURS_OF_DAY);
                }
                if !table.by_key {
                    group.key = "".into();
                }
                rows.entry(group).or_default().add(sums);
            }
            let rows: Vec<_> = rows.into_iter().collect();
            let mut rest = rows.as_slice();
            while !rest.is_empty() {
                let power = rest.len().min(MOST_ROWS).ilog2();
                let (some, others) = rest.split_at(1 << power);
                rest = others;
                let mut params = Params::default();
                some.iter().for_each(|(group, sums)| push_row(*table, group, sums, &mut params));
                statements.push((upserts[power as usize].as_str(), params));
            }
        }
        let mut rest = self.lookups.as_slice();
        while !rest.is_empty() {
            let power = rest.len().min(MOST_ROWS).ilog2();
            let (some, others) = rest.split_at(1 << power);
            rest = others;
            let mut params = Params::default();
            for lookup in some {
                params.0.push(Param::Text(lookup.kind.to_owned()));
                params.0.push(Param::Text(lookup.value.clone()));
                params.0.extend([lookup.started_at_ms, lookup.nonce].map(Param::Number));
            }
            statements.push((INSERT_LOOKUPS[power as usize].as_str(), params));
        }
        statements
    }
}

fn push_row(table: Table, group: &Group<'_>, sums: &UsageSums, params: &mut Params) {
    let text = |text: &Cow<'_, str>| Param::Text(text.as_ref().to_owned());
    if table.by_key {
        params.0.push(text(&group.key));
    }
    params.0.push(Param::Number(group.time));
    let names = [&group.project, &group.model, &group.provider, &group.operation, &group.outcome];
    params.0.extend(names.map(text));
    params.0.extend(sums.0.iter().map(|sum| Param::Number(*sum)));
}

/// Which part of a query one table answers: from this unit of its time to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) unit: Bucket,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// How a stretch of time is put together: whole days and hours, and stretches within an hour that only records tell.
pub(crate) fn parts(query: &UsageQuery) -> (Vec<Span>, Vec<(i64, i64)>) {
    let (since, until) = (query.since_ms, query.until_ms.max(query.since_ms));
    let up = |ms: i64, unit: i64| ms.div_euclid(unit).saturating_add(i64::from(ms.rem_euclid(unit) > 0));
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
pub(crate) fn select(query: &UsageQuery, span: Span) -> (String, Params) {
    let by_key = query.group.contains(&Dim::Key) || query.of.iter().any(|(dim, _)| *dim == Dim::Key);
    let table = Table::of(span.unit, by_key);
    let time = table.time();
    let mut params = Params::default();
    let (from, to) = (params.number(span.from), params.number(span.to));
    let start = match (query.bucket, span.unit) {
        (None, _) => "CAST(0 AS BIGINT)".to_owned(),
        (Some(Bucket::Day), Bucket::Hour) => format!("{time} / {HOURS_OF_DAY} * {DAY_MS}"),
        (Some(_), unit) => format!("{time} * {}", unit.ms()),
    };
    let groups: Vec<String> = query.group.iter().map(|dim| format!("sums.{}", dim.column())).collect();
    let columns: Vec<String> = std::iter::once(format!("{start} AS start"))
        .chain(groups.iter().cloned())
        .chain(sum_columns().map(|column| format!("CAST(sum({column}) AS BIGINT)")))
        .collect();
    let mut conditions = vec![format!("{time} >= {from} AND {time} < {to}")];
    for (dim, value) in &query.of {
        conditions.push(format!("sums.{} = {}", dim.column(), params.text(value.clone())));
    }
    // By key the table is ordered, and then by time: one look for each key, not through the whole table.
    let has_key = query.of.iter().any(|(dim, _)| *dim == Dim::Key);
    let (with, join) = if by_key && !has_key {
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
    fn a_stretch_is_days_hours_and_edges() {
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

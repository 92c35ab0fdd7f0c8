//! Roll-ups are the sums of the records, in any order of delivery. The functions that take a store run on both databases.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use canon::{Cost, Pico};
use serde_json::{Value, json};
use sqlx::Connection;
use store::{
    Bucket, Dim, Expired, RequestFilter, Spool, Store, UsageFilter, UsageQuery, UsageRecord, UsageSums,
    Writer,
};

use crate::{PLENTY, drain, memory, retention};

const HOUR: i64 = 3_600_000;

/// Pseudo-random numbers, the same in every run.
pub(crate) struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn line(random: &mut Random, nonce: u64) -> Value {
    let attempts = random.below(3);
    let mut line = json!({
        "nonce": nonce,
        "started_at_ms": random.below(60) as i64 * HOUR + random.below(HOUR as u64) as i64,
        "request_id": format!("r{nonce}"),
        "key_id": random.one_of(&["static:a", "key_1", "key_\"2"]),
        "duration_ms": random.below(200_000),
        "requested_model": "fast",
        "attempts": vec![json!({"provider": "p"}); attempts as usize],
        "status": 200,
        "streamed": random.below(2) == 0,
        "usage_estimated": random.below(9) == 0,
        "canceled": random.below(11) == 0,
    });
    let mut set = |chance: u64, name: &str, value: Value| {
        if random.below(chance) > 0 {
            line[name] = value;
        }
    };
    set(5, "ttft_ms", json!(nonce * 37 % 90_000));
    set(4, "project", json!((["default", "team"][nonce as usize % 2])));
    set(4, "used_provider", json!((["openai", "azure"][nonce as usize / 2 % 2])));
    set(4, "used_model", json!((["one", "two é"][nonce as usize / 4 % 2])));
    set(2, "error_kind", json!("rate_limit"));
    set(2, "operation", json!("embeddings"));
    set(4, "cost_pico", json!({"total": nonce * 1_000_003}));
    set(4, "upstream_cost_pico", json!(nonce * 2_000_003));
    set(2, "losses", json!([{"field": "seed", "action": "dropped", "reason": "x"}]));
    set(2, "session_id", json!(format!("S{}", nonce % 5)));
    let team = ["A", "b"][nonce as usize % 2];
    set(
        2,
        "tags",
        if nonce.is_multiple_of(3) {
            json!({ "team": team, "env": "\"é" })
        } else {
            json!({ "team": team })
        },
    );
    set(
        4,
        "usage",
        json!({"input": nonce, "cache_read": nonce % 3, "cache_write_1h": 5, "output": 7, "reasoning": 2}),
    );
    line
}

fn value(record: &UsageRecord, dim: Dim) -> String {
    let outcome = match &record.error_kind {
        _ if record.canceled => "cancelled",
        Some(kind) => kind,
        None if record.attempts.len() > 1 => "recovered",
        None => "ok",
    };
    match dim {
        Dim::Project if record.project.is_empty() => "default".to_owned(),
        Dim::Project => record.project.clone(),
        Dim::Key => record.key_id.clone(),
        Dim::Model => record.used_model.clone().unwrap_or_default(),
        Dim::Provider => record.used_provider.clone().unwrap_or_default(),
        Dim::Operation => record.operation.as_deref().unwrap_or("chat").to_owned(),
        Dim::Outcome => outcome.to_owned(),
    }
}

/// The compared values of a sum.
fn figures(sums: &UsageSums) -> [u64; 20] {
    let usage = sums.usage();
    [
        sums.requests(),
        sums.attempts(),
        sums.unpriced(),
        sums.estimated(),
        sums.lossy(),
        sums.streamed(),
        sums.cached(),
        sums.slow(),
        sums.duration_ms(),
        sums.duration().count(),
        sums.ttft().count(),
        sums.cost().0.unsigned_abs(),
        sums.upstream_cost().0.unsigned_abs(),
        sums.upstream_unpriced(),
        usage.input,
        usage.cache_read,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        sums.ttft().buckets().take(17).map(|(_, count)| count).sum(),
    ]
}

fn figures_of(record: &UsageRecord) -> [u64; 20] {
    let usage = record.usage.unwrap_or_default();
    let cost = record.cost.map(|cost| cost.total.0.unsigned_abs());
    let upstream = record.upstream_cost.map(|cost| cost.0.unsigned_abs());
    [
        1,
        record.attempts.len() as u64,
        u64::from(cost.is_none()),
        u64::from(record.usage_estimated),
        u64::from(!record.losses.is_empty()),
        u64::from(record.streamed),
        u64::from(usage.cache_read > 0),
        u64::from(record.ttft_ms.is_some_and(|ms| ms >= 5120)),
        record.duration_ms,
        1,
        u64::from(record.ttft_ms.is_some()),
        cost.unwrap_or(0),
        upstream.unwrap_or(0),
        u64::from(upstream.is_none()),
        usage.input,
        usage.cache_read,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        u64::from(record.ttft_ms.is_some_and(|ms| ms < 5120)),
    ]
}

type SumsByGroup = BTreeMap<(Option<i64>, Vec<String>), [u64; 20]>;

async fn summed(store: &Store, query: &UsageQuery) -> SumsByGroup {
    let rows = store.usage_sums(query).await.unwrap();
    rows.into_iter().map(|row| ((row.start_ms, row.of), figures(&row.sums))).collect()
}

fn expected(records: &[UsageRecord], query: &UsageQuery) -> SumsByGroup {
    let mut sums = SumsByGroup::new();
    // Sums by tag have whole days.
    let unit = if query.tag.is_some() { 24 * HOUR } else { 1 };
    let until_ms = (query.until_ms + unit - 1) / unit * unit;
    for record in records {
        let in_time = (query.since_ms / unit * unit..until_ms).contains(&record.started_at_ms);
        if !in_time || query.of.iter().any(|(dim, wanted)| value(record, *dim) != *wanted) {
            continue;
        }
        let start = query.bucket.map(|bucket| record.started_at_ms / bucket.ms() * bucket.ms());
        let mut of: Vec<String> = query.group.iter().map(|dim| value(record, *dim)).collect();
        if let Some(tag) = &query.tag {
            let Some(value) = record.tags.get(tag) else { continue };
            of.push(value.clone());
        }
        let sum = sums.entry((start, of)).or_default();
        sum.iter_mut().zip(figures_of(record)).for_each(|(sum, more)| *sum += more);
    }
    sums
}

fn queries(random: &mut Random, records: &[UsageRecord]) -> Vec<UsageQuery> {
    let mut query = |unit: i64| {
        let (one, other) = (random.below(62) as i64 * HOUR, random.below(62) as i64 * HOUR);
        let mut shift = || if unit == 1 { random.below(HOUR as u64) as i64 } else { 0 };
        let (one, other) = (one + shift(), other + shift());
        let mut group = Dim::ALL.to_vec();
        group.retain(|_| random.below(3) == 0);
        let of = if random.below(2) == 0 {
            let dim = Dim::ALL[random.below(6) as usize];
            vec![(dim, value(&records[random.below(records.len() as u64) as usize], dim))]
        } else {
            Vec::new()
        };
        let bucket = [None, Some(Bucket::Hour), Some(Bucket::Day)][random.below(3) as usize];
        UsageQuery { since_ms: one.min(other), until_ms: one.max(other), of, group, bucket, tag: None }
    };
    let mut queries: Vec<_> = (0..40).map(|number| query(if number % 2 == 0 { 1 } else { HOUR })).collect();
    for number in 0..12 {
        let mut query = query(HOUR);
        query.tag = Some(["team", "env", "absent"][number % 3].to_owned());
        query.group.retain(|dim| *dim == Dim::Project);
        query.of.retain(|(dim, _)| *dim == Dim::Project);
        query.bucket = query.bucket.map(|_| Bucket::Day);
        queries.push(query);
    }
    queries
}

fn made(random: &mut Random, count: u64) -> (Vec<String>, Vec<UsageRecord>) {
    let lines: Vec<Value> = (1..=count).map(|nonce| line(random, nonce)).collect();
    let records = lines.iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect();
    (lines.iter().map(Value::to_string).collect(), records)
}

/// Delivers the lines in batches, in any order, some of them several times.
async fn deliver(store: &Store, lines: &[String], random: &mut Random) {
    let mut first = 0;
    while first < lines.len() {
        let end = (first + 1 + random.below(90) as usize).min(lines.len());
        let again = first.saturating_sub(random.below(40) as usize);
        let mut batch: Vec<&str> = lines[again..end].iter().map(String::as_str).collect();
        if random.below(3) == 0 {
            batch.reverse();
            batch.push(batch[0]);
        }
        store.insert_usage(&batch).await.unwrap();
        if random.below(4) == 0 {
            store.fold_usage(0).await.unwrap();
        }
        first = end;
    }
}

pub(crate) async fn sums_are_those_of_the_records(store: &Store) {
    let mut random = Random(7);
    let (lines, records) = made(&mut random, 700);
    deliver(store, &lines, &mut random).await;
    let queries = queries(&mut random, &records);
    for query in &queries {
        assert_eq!(summed(store, query).await, expected(&records, query), "{query:?}");
    }
    // The same once all sums are folded.
    store.fold_usage(0).await.unwrap();
    for query in &queries {
        assert_eq!(summed(store, query).await, expected(&records, query), "{query:?}");
    }
    // The sums outlive the records.
    let whole: Vec<&UsageQuery> =
        queries.iter().filter(|query| query.since_ms % HOUR == 0 && query.until_ms % HOUR == 0).collect();
    assert!(whole.len() > 10);
    retention::expire(store, i64::MAX).await;
    assert_eq!(store.usage(UsageFilter::default()).await.unwrap(), []);
    for query in whole {
        assert_eq!(summed(store, query).await, expected(&records, query), "{query:?}");
    }
}

/// The values of a tag are limited for each day and project; the sums of all values stay exact. Old days are deleted, a few rows at a
/// time.
pub(crate) async fn sums_by_tag_are_limited_and_expire(store: &Store) {
    const DAY: i64 = 24 * HOUR;
    let line = |number: i64, day: i64| {
        json!({
            "nonce": number, "started_at_ms": day * DAY + number, "request_id": format!("r{number}"), "key_id": "k",
            "tags": {"user": format!("u{number:04}")}, "cost_pico": {"total": 1}, "requested_model": "m", "status": 200,
        })
        .to_string()
    };
    let lines: Vec<String> = (0..260).map(|number| line(number, number % 2)).collect();
    let tags = async |range, project| {
        store.usage_tags(range, project).await.unwrap().into_iter().collect::<Vec<_>>()
    };
    for batch in lines.chunks(60) {
        store.insert_usage(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(tags((0, 1), Some("default")).await, ["user"]);
        store.fold_usage(0).await.unwrap();
    }
    let query = UsageQuery {
        until_ms: 9 * DAY,
        bucket: Some(Bucket::Day),
        tag: Some("user".to_owned()),
        ..UsageQuery::default()
    };
    for day in 0..2 {
        let mut rows = store.usage_sums(&query).await.unwrap();
        rows.retain(|row| row.start_ms == Some(day * DAY));
        assert_eq!(rows.len(), 101, "a hundred values and the others");
        assert_eq!(rows.iter().map(|row| row.sums.requests()).sum::<u64>(), 130);
        assert_eq!(rows.iter().map(|row| row.sums.cost().0).sum::<i64>(), 130);
        let other = rows.iter().find(|row| row.of == [store::OTHER_TAG]).unwrap();
        assert_eq!(other.sums.requests(), 30);
    }
    assert_eq!(tags((DAY, DAY + 1), Some("default")).await, ["user"]);
    assert_eq!(tags((2 * DAY, 3 * DAY), None).await, [""; 0]);
    assert_eq!(tags((0, DAY), Some("nobody")).await, [""; 0]);
    assert_eq!(store.expire_tag_sums(DAY - 1, 1_000).await.unwrap(), 0, "the first day has not ended");
    assert_eq!(store.expire_tag_sums(DAY, 60).await.unwrap(), 60);
    assert_eq!(store.expire_tag_sums(DAY, 60).await.unwrap(), 41);
    let left = store.usage_sums(&query).await.unwrap();
    assert!(left.len() == 101 && left.iter().all(|row| row.start_ms == Some(DAY)));
}

/// A query while sums are being folded counts each sum once.
pub(crate) async fn sums_are_whole_while_they_are_folded(url: &str) {
    let (store, other) = (Store::open(url).await.unwrap(), Store::open(url).await.unwrap());
    let (lines, records) = made(&mut Random(23), 300);
    let all = UsageQuery { until_ms: 61 * HOUR, group: vec![Dim::Key], ..UsageQuery::default() };
    for (index, batch) in lines.chunks(10).enumerate() {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        store.insert_usage(&batch).await.unwrap();
        let expected = expected(&records[..(index + 1) * 10], &all);
        let asked = async {
            for _ in 0..4 {
                assert_eq!(summed(&other, &all).await, expected);
            }
        };
        let folded = async { if index % 3 == 0 { store.fold_usage(0).await } else { Ok(()) } };
        tokio::join!(asked, folded).1.unwrap();
    }
}

pub(crate) async fn rare_values_are_found_in_their_own_hours(store: &Store) {
    let mut random = Random(11);
    let (lines, records) = made(&mut random, 400);
    deliver(store, &lines, &mut random).await;
    let dims = [
        ("project", Dim::Project),
        ("key", Dim::Key),
        ("provider", Dim::Provider),
        ("operation", Dim::Operation),
        ("outcome", Dim::Outcome),
    ];
    let passing = |passes: &dyn Fn(&UsageRecord) -> bool| {
        let mut ids: Vec<&str> =
            records.iter().filter(|one| passes(one)).map(|one| one.request_id.as_str()).collect();
        ids.sort_unstable();
        assert!(!ids.is_empty());
        ids
    };
    let check = async |filter: RequestFilter, expected: Vec<&str>| {
        for size in [3, 500] {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let page = store.requests(&filter, before, size).await.unwrap();
                found.extend(page.rows.into_iter().map(|row| row.record.request_id));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            found.sort_unstable();
            assert_eq!(found, expected, "{filter:?}");
        }
    };
    for (name, dim) in dims {
        let wanted = value(&records[77], dim);
        if !wanted.is_empty() {
            let mut filter = RequestFilter::default();
            let field = RequestFilter::parse(&format!("{name}:x")).unwrap().tests[0].field.clone();
            filter = filter.with(field, &wanted);
            check(filter, passing(&|one| value(one, dim) == wanted)).await;
        }
    }
    check(
        RequestFilter::parse("session:s3").unwrap(),
        passing(&|one| one.session_id.as_deref() == Some("S3")),
    )
    .await;
    check(
        RequestFilter::parse("tag:team=a is:failed").unwrap(),
        passing(&|one| {
            one.tags.get("team").is_some_and(|team| team == "A")
                && !["ok", "recovered", "cancelled"].contains(&value(one, Dim::Outcome).as_str())
        }),
    )
    .await;
    assert_eq!(store.request("r50").await.unwrap().len(), 1);
}

/// Makes the database look as if an earlier release had written its records.
const FORGET: &str = "DELETE FROM usage_project_hours; DELETE FROM usage_project_days; DELETE FROM usage_model_hours; DELETE FROM usage_model_days; DELETE FROM usage_hours; DELETE FROM usage_days;
    DELETE FROM usage_key_hours; DELETE FROM usage_key_days; DELETE FROM usage_tag_days; DELETE FROM usage_pending; DELETE FROM usage_lookup; UPDATE usage_records SET indexed = NULL;
    INSERT INTO settings (name, value)
    SELECT 'usage_indexed_from', CAST(max(started_at_ms) + 1 AS TEXT) FROM usage_records";

pub(crate) async fn old_records_are_added_once(url: &str, forget: impl AsyncFn(&'static str)) {
    let mut random = Random(3);
    let (lines, records) = made(&mut random, 600);
    let store = Store::open(url).await.unwrap();
    deliver(&store, &lines[..200], &mut random).await;
    store.close().await;
    forget(FORGET).await;
    let (store, other) = (Store::open(url).await.unwrap(), Store::open(url).await.unwrap());
    let all = UsageQuery { until_ms: 61 * HOUR, ..UsageQuery::default() };
    let (mut from, mut steps) = (store.usage_indexed_from().await.unwrap().unwrap(), 0);
    assert_eq!(store.usage_sums(&all).await.unwrap(), []);
    // Meanwhile new records arrive, and old ones arrive again.
    while store.index_old_usage(17).await.unwrap() {
        let end = (steps + 1) * 10;
        let batch: Vec<&str> =
            lines[end - 10..end].iter().chain(&lines[190 + end..200 + end]).map(String::as_str).collect();
        assert_eq!(other.insert_usage(&batch).await.unwrap(), 10);
        let recent = UsageQuery { since_ms: (from / HOUR + 1) * HOUR, ..all.clone() };
        assert_eq!(summed(&store, &recent).await, expected(&records[..200 + end], &recent));
        let next = store.usage_indexed_from().await.unwrap().unwrap();
        assert!(next < from);
        (from, steps) = (next, steps + 1);
        other.index_old_usage(1).await.unwrap();
        from = from.min(store.usage_indexed_from().await.unwrap().unwrap_or(from));
    }
    assert!(steps > 5);
    assert_eq!(other.usage_indexed_from().await.unwrap(), None);
    let known = &records[..200 + steps * 10];
    for query in queries(&mut random, known) {
        assert_eq!(summed(&other, &query).await, expected(known, &query), "{query:?}");
    }
    let session = RequestFilter::parse("session:s1").unwrap();
    let found = other.requests(&session, None, 500).await.unwrap().rows.len();
    assert_eq!(found, known.iter().filter(|one| one.session_id.as_deref() == Some("S1")).count());
}

/// A row of `usage_pending` with one request of this cost, in the first hour.
fn pending_row(key: &str, cost: i64) -> String {
    let of = json!({"hour": 0, "key": key, "project": "big", "model": "m", "provider": "p", "operation": "chat", "outcome": "ok"});
    json!([{"of": of, "sums": {"requests": 1, "cost_pico": cost}}]).to_string()
}

/// Rows that cannot be read or would overflow are set aside and reported. The other rows are folded.
pub(crate) async fn rows_that_cannot_be_folded_do_not_block_others(url: &str, execute: impl AsyncFn(&str)) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(url).await.unwrap();
    let add =
        async |sums: &str| execute(&format!("INSERT INTO usage_pending (sums) VALUES ('{sums}')")).await;
    add(&pending_row("k", i64::MAX)).await;
    store.fold_usage(0).await.unwrap();
    let (lines, records) = made(&mut Random(31), 300);
    for (index, batch) in lines.chunks(10).enumerate() {
        store.insert_usage(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
        match index {
            3 | 4 | 29 => add("[{\"of\":").await,
            7 => add(&pending_row("k", 5)).await,
            _ => {}
        }
    }
    let all = UsageQuery { until_ms: 61 * HOUR, group: vec![Dim::Project], ..UsageQuery::default() };
    let mut expected = expected(&records, &all);
    let big = |sums: SumsByGroup| sums[&(None, vec!["big".to_owned()])];
    let before = summed(&store, &all).await;
    assert_eq!(
        big(before.clone())[11],
        i64::MAX.unsigned_abs(),
        "a sum that would overflow is the largest possible one"
    );

    // If a table takes no row at all, the table is at fault and no row is set aside.
    execute("ALTER TABLE usage_key_days RENAME TO gone").await;
    assert!(store.fold_usage(0).await.is_err());
    execute("ALTER TABLE gone RENAME TO usage_key_days").await;
    assert_eq!(summed(&store, &all).await, before);

    let (spool, reader) = Spool::open(&folder.path().join("spool"), PLENTY).unwrap();
    let events = drain(&Store::open(url).await.unwrap(), reader).await;
    let told: Vec<_> =
        events.iter().filter(|event| matches!(event, store::WriterEvent::SumsSetAside { .. })).collect();
    assert_eq!((told.len(), spool.sums_set_aside()), (4, 4), "{events:?}");
    expected.insert((None, vec!["big".to_owned()]), big(summed(&store, &all).await));
    assert_eq!(summed(&store, &all).await, expected);
    assert_eq!(expected[&(None, vec!["big".to_owned()])][0], 1);
    // A sum over several rows that would overflow.
    add(&pending_row("other key", i64::MAX - 7)).await;
    store.fold_usage(0).await.unwrap();
    for group in [Dim::Project, Dim::Key, Dim::Model] {
        let query = UsageQuery { group: vec![group], ..all.clone() };
        let most = summed(&store, &query).await.into_values().map(|sums| sums[11]).max();
        assert_eq!(most, Some(i64::MAX.unsigned_abs()), "{group:?}");
    }
    // Records of an earlier release, some of which would overflow.
    execute(
        &FORGET.replace("NULL;", "NULL; INSERT INTO usage_pending (sums) VALUES ('PENDING');").replace(
            "PENDING",
            &pending_row("static:a", i64::MAX)
                .replace("big", "team")
                .replace("\"m\"", "\"two é\"")
                .replace("\"p\"", "\"azure\""),
        ),
    )
    .await;
    store.close().await;
    let store = Store::open(url).await.unwrap();
    store.fold_usage(0).await.unwrap();
    let mut steps = 0;
    while store.index_old_usage(100).await.unwrap() {
        steps += 1;
    }
    assert!(steps > 2);
    // Now that all are in the sums, they may go.
    assert_ne!(retention::expire(&store, i64::MAX).await, [Expired::default()]);
}

/// Set for the child process that writes until it is killed.
const CHILD_FOLDER: &str = "STORE_TEST_WRITE_FOREVER";

fn database_in(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("usage.db").display())
}

/// The parent kills the child at some moment while records are inserted, and their sums folded.
#[tokio::test]
async fn after_a_kill_the_sums_are_those_of_the_records() {
    for kill_after in [3, 400, 1_500] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rollups::child_writes_for_ever", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let seen = lines.filter(|line| line.starts_with("ack ")).take(kill_after).count();
        assert_eq!(seen, kill_after);
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(&database_in(folder.path())).await.unwrap();
        let all = UsageQuery {
            until_ms: 9 * HOUR,
            group: Dim::ALL.to_vec(),
            bucket: Some(Bucket::Hour),
            ..UsageQuery::default()
        };
        let check = async |when: &str| {
            let records = store.usage(UsageFilter::default()).await.unwrap();
            assert_eq!(summed(&store, &all).await, expected(&records, &all), "{when}");
            records.len()
        };
        check("as it was left").await;
        let (_spool, reader) = Spool::open(&folder.path().join("spool"), PLENTY).unwrap();
        drain(&store, reader).await;
        assert!(check("the rest of the spool is there").await >= kill_after);
        store.fold_usage(0).await.unwrap();
        check("folded").await;
    }
}

/// Does nothing when it is run as a test.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a variable marks the child process")]
async fn child_writes_for_ever() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let folder = Path::new(&folder);
    let store = Store::open(&database_in(folder)).await.unwrap();
    let (spool, reader) = Spool::open(&folder.join("spool"), PLENTY).unwrap();
    let mut writer = Writer::new(store.clone(), reader, |_| {});
    for number in 0_u64..1_000_000 {
        let record = UsageRecord {
            request_id: number.to_string(),
            started_at_ms: (number % 8) as i64 * HOUR,
            key_id: format!("static:{}", number % 3),
            project: "team".to_owned(),
            used_model: Some(format!("m{}", number % 5)),
            used_provider: Some("p".to_owned()),
            operation: Some("chat".into()),
            duration_ms: number,
            cost: Some(Cost { total: Pico(number as i64), ..Cost::default() }),
            ..UsageRecord::default()
        };
        spool.append(&record).unwrap();
        println!("\nack {number}");
        if number % 7 == 0 {
            assert!(writer.catch_up().await);
        }
        if number % 50 == 0 {
            store.fold_usage(0).await.unwrap();
        }
    }
}

#[tokio::test]
async fn on_sqlite() {
    sums_are_those_of_the_records(&memory().await).await;
    sums_by_tag_are_limited_and_expire(&memory().await).await;
    rare_values_are_found_in_their_own_hours(&memory().await).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("old.db").display());
    sums_are_whole_while_they_are_folded(&format!("sqlite:{}", folder.path().join("fold.db").display()))
        .await;
    let execute = async |url: &str, sql: &str| {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    old_records_are_added_once(&url, async |sql| execute(&url, sql).await).await;
    let url = format!("sqlite:{}", folder.path().join("bad.db").display());
    rows_that_cannot_be_folded_do_not_block_others(&url, async |sql| execute(&url, sql).await).await;
}

//! Fills a database with made-up usage records, or times what the pages of the dashboard ask of it:
//! `cargo xtask generate-usage --records 10000000 --database sqlite:/tmp/big.db`, and the same with `--measure`.
#![expect(clippy::disallowed_methods, reason = "an example says how long it takes")]

use std::error::Error;
use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use store::{Bucket, Dim, RequestFilter, Store, UsageQuery};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const DAYS: i64 = 90;
const BATCH: u64 = 5_000;
/// Larger than the gateway's: all hours of records that are made up are over.
const FOLD_BYTES: u64 = 4 * 1024 * 1024;
const MODELS: [(&str, &str); 12] = [
    ("openai", "gpt-5.4"),
    ("openai", "gpt-5.4-mini"),
    ("anthropic", "claude-sonnet-4-6"),
    ("anthropic", "claude-haiku-4-5"),
    ("azure", "gpt-5.4"),
    ("google", "gemini-3-flash"),
    ("bedrock", "anthropic.claude-sonnet-4-6"),
    ("groq", "llama-3.3-70b-versatile"),
    ("cerebras", "llama-3.3-70b"),
    ("mistral", "mistral-large"),
    ("openrouter", "qwen/qwen3-235b"),
    ("deepseek", "deepseek-chat"),
];
const ERRORS: [(&str, u16); 5] = [
    ("rate_limit", 429),
    ("upstream_error", 502),
    ("invalid_request", 400),
    ("timeout", 504),
    ("overloaded", 503),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut records, mut url, mut measures) = (1_000_000, None, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--records" => records = arguments.next().unwrap_or_default().parse()?,
            "--database" => url = arguments.next(),
            "--measure" => measures = true,
            other => {
                return Err(
                    format!("{other:?} is unknown; there are --records, --database, --measure").into()
                );
            }
        }
    }
    let store = Store::open(&url.ok_or("--database is missing")?).await?;
    if measures {
        measure(&store).await?
    } else {
        generate(&store, records).await?
    }
    store.close().await;
    Ok(())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
}

/// Numbers that look random, and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A few are chosen often, and many rarely.
    fn skewed(&mut self, end: u64) -> u64 {
        let first = self.below(end);
        self.below(first + 1)
    }
}

async fn generate(store: &Store, records: u64) -> Result<(), Box<dyn Error>> {
    let (mut random, started) = (Random(42), Instant::now());
    let first_ms = now_ms() - DAYS * DAY_MS;
    for first in (0..records).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(records);
        let time = |number: u64| first_ms + (number as f64 / records as f64 * (DAYS * DAY_MS) as f64) as i64;
        let lines: Vec<String> = numbers.map(|number| line(&mut random, number, time(number))).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        store.insert_usage(&lines).await?;
        store.fold_usage(FOLD_BYTES).await?;
        if (first / BATCH).is_multiple_of(40) {
            eprintln!("{first} of {records} records, {:.0?}", started.elapsed());
        }
    }
    store.fold_usage(0).await?;
    eprintln!("{records} records in {:.0?}", started.elapsed());
    Ok(())
}

fn line(random: &mut Random, number: u64, at_ms: i64) -> String {
    let key = random.skewed(200);
    let (provider, model) = MODELS[random.skewed(MODELS.len() as u64) as usize];
    let error = (random.below(40) == 0).then(|| ERRORS[random.skewed(5) as usize]);
    let (input, output) = (200 + random.below(6_000), 20 + random.below(900));
    let ttft = 150 + random.below(700) + if random.below(50) == 0 { random.below(9_000) } else { 0 };
    let mut line = format!(
        r#"{{"nonce":{number},"started_at_ms":{at_ms},"request_id":"req_{at_ms:012x}7{:03x}8{:015x}","key_id":"key_{key:016x}","project":"project-{}","duration_ms":{},"ttft_ms":{ttft},"requested_model":"{}","used_model":"{model}","used_provider":"{provider}","underlying_model":"{model}-2026-05-01","#,
        number % 0xfff,
        number,
        key % 12,
        ttft + output * 8,
        if random.below(3) == 0 { "fast" } else { model },
    );
    line.push_str(r#""attempts":["#);
    if random.below(30) == 0 {
        let _ = write!(
            line,
            r#"{{"provider":"openai","model":"{model}","key":"1","error_type":"rate_limit","status_code":429,"latency_ms":80}},"#
        );
    }
    let _ = write!(
        line,
        r#"{{"provider":"{provider}","model":"{model}","key":"1","status_code":200,"latency_ms":{ttft},"provider_request_id":"req_{number:024x}"}}],"#
    );
    let _ = match error {
        Some((kind, status)) => write!(
            line,
            r#""error_kind":"{kind}","status":{status},"cost_pico":{{"total":0}},"upstream_cost_pico":0,"#
        ),
        None => {
            let (input_cost, output_cost) = (input * 2_500_000, output * 10_000_000);
            let total = input_cost + output_cost;
            let cost = format!(
                r#""cost_pico":{{"total":{total},"input":{input_cost},"output":{output_cost}}},"upstream_cost_pico":{total},"#
            );
            let usage = format!(
                r#""usage":{{"input":{input},"cache_read":{},"output":{output}}},"#,
                random.below(2) * 1024
            );
            write!(
                line,
                r#""status":200,"streamed":true,"finish_reason":"stop",{usage}{}"#,
                if provider == "openrouter" { "" } else { &cost }
            )
        }
    };
    if random.below(4) == 0 {
        let _ = write!(line, r#""session_id":"session-{}","#, random.below(200_000));
    }
    if random.below(20) == 0 {
        line.push_str(
            r#""losses":[{"field":"seed","action":"dropped","reason":"The provider has no seed."}],"#,
        );
    }
    if random.below(3) == 0 {
        let _ = write!(line, r#""tags":{{"customer":"c{}"}},"#, random.skewed(50_000));
    }
    line.push_str(r#""phases":[40,120,800,0,0,420000,9000,300]}"#);
    line
}

async fn measure(store: &Store) -> Result<(), Box<dyn Error>> {
    let newest = store.requests(&RequestFilter::default(), None, 50).await?;
    let row = newest.rows.first().ok_or("the database has no records")?;
    let now = (row.record.started_at_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS;
    let (key, id) = (row.record.key_id.clone(), row.record.request_id.clone());
    let sums = |hours: i64, group: &[Dim], bucket, of: &[(Dim, &str)]| UsageQuery {
        since_ms: (now - hours * HOUR_MS).div_euclid(if hours > 48 { DAY_MS } else { HOUR_MS })
            * if hours > 48 { DAY_MS } else { HOUR_MS },
        until_ms: now,
        group: group.to_vec(),
        bucket,
        of: of.iter().map(|(dim, value)| (*dim, (*value).to_owned())).collect(),
        tag: None,
    };
    let by_tag = |query| UsageQuery { tag: Some("customer".to_owned()), ..query };
    let (hour, day) = (Some(Bucket::Hour), Some(Bucket::Day));
    let queries = [
        ("overview: figures of 24 hours", sums(24, &[], None, &[])),
        ("overview: cost by model, 24 hours", sums(24, &[Dim::Model], hour, &[])),
        ("overview: times by provider, 7 days", sums(168, &[Dim::Provider], hour, &[])),
        ("overview: outcomes, 30 days", sums(720, &[Dim::Outcome], day, &[])),
        ("overview: cost by project, 90 days", sums(2160, &[Dim::Project], day, &[])),
        ("requests: histogram and views, 24 hours", sums(24, &[Dim::Outcome], hour, &[])),
        ("models: 30 days", sums(720, &[Dim::Model, Dim::Provider], None, &[])),
        ("projects: spend of 30 days", sums(720, &[Dim::Project], None, &[])),
        ("project: burn-down, 31 days by hour", sums(744, &[], hour, &[(Dim::Project, "project-3")])),
        ("project: keys of 30 days", sums(720, &[Dim::Key], None, &[(Dim::Project, "project-3")])),
        ("overview: cost by tag, 30 days", by_tag(sums(720, &[], None, &[]))),
        ("project: cost by tag, 30 days", by_tag(sums(720, &[], None, &[(Dim::Project, "project-3")]))),
        ("key: models of 90 days", sums(2160, &[Dim::Model], day, &[(Dim::Key, &key)])),
    ];
    heading();
    for (name, query) in &queries {
        let time = timed(async || store.usage_sums(query).await.map(|rows| rows.len())).await?;
        say(name, time);
    }
    let lists = [
        "",
        "is:failed",
        "is:recovered",
        "status:503",
        "error:overloaded",
        "provider:deepseek",
        "key:key_00000000000000c5",
        "project:project-7 is:failed",
        "model:deepseek*",
        "cost:>0.03",
        "duration:>12s",
        "tag:customer=c49000",
        "session:session-77777",
        "loss:seed",
        "nothing-is-like-this",
        "key:nobody",
    ];
    for text in lists {
        let filter = RequestFilter::parse(text)?;
        let time =
            timed(async || store.requests(&filter, None, 50).await.map(|page| page.rows.len())).await?;
        say(&format!("requests: {text:?}"), time);
    }
    say("request by its id", timed(async || store.request(&id).await.map(|rows| rows.len())).await?);
    say(
        "request by an id that is not there",
        timed(async || store.request("mine").await.map(|rows| rows.len())).await?,
    );
    Ok(())
}

/// How long five took, the shortest first, and what they found.
async fn timed<E>(work: impl AsyncFn() -> Result<usize, E>) -> Result<([Duration; 5], usize), E> {
    let (mut times, mut found) = ([Duration::ZERO; 5], 0);
    for time in &mut times {
        let started = Instant::now();
        found = work().await?;
        *time = started.elapsed();
    }
    times.sort();
    Ok((times, found))
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn heading() {
    println!("| question | median of five | longest | rows |\n|---|---:|---:|---:|");
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn say(name: &str, (times, found): ([Duration; 5], usize)) {
    let [ms, worst] = [times[2], times[4]].map(|time| time.as_secs_f64() * 1e3);
    println!("| {name} | {ms:.1} ms | {worst:.1} ms | {found} |");
}

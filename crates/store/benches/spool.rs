//! Measures the CPU time of appending a record to the spool and of moving it into SQLite, kernel time included:
//! `cargo bench -p store --bench spool [-- RECORDS]`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use canon::{Cost, Pico, Usage};
use store::{AttemptRecord, Spool, SpoolLimits, Store, UsageRecord, Writer, WriterEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let records: u64 = std::env::args()
        .skip(1)
        .find(|argument| argument != "--bench")
        .map_or(Ok(200_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let (spool, reader) = Spool::open(&folder.path().join("spool"), SpoolLimits { max_bytes: 1 << 30 })?;
    let database = folder.path().join("usage.db");
    let store = Store::open(&format!("sqlite:{}", database.display())).await?;
    let hasher = store.key_hasher();

    let flushed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&flushed);
    let on_event = move |event| {
        if let WriterEvent::Flushed { records, .. } = event {
            count.fetch_add(records, Ordering::Relaxed);
        }
    };

    let mut record = example();
    let before = cpu_ms()?;
    for number in 0..records {
        record.request_id = format!("chatcmpl-0199f0c2d5a67b9e8c1d{number:012x}");
        record.started_at_ms += i64::from(number % 4 == 0);
        spool.append(&record)?;
    }
    report("append", before, records)?;
    let size = spool.bytes() / records;
    drop(spool);

    let before = cpu_ms()?;
    Writer::new(store.clone(), reader, on_event).run(std::future::ready(())).await;
    report("insert", before, flushed.load(Ordering::Relaxed))?;
    store.close().await;

    let before = cpu_ms()?;
    for _ in 0..records {
        std::hint::black_box(hasher.hash("lgw-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"));
    }
    report("hash a key", before, records)?;
    eprintln!("a line has {size} bytes, the database {} bytes per record", file_size(&database)? / records);
    Ok(())
}

fn example() -> UsageRecord {
    UsageRecord {
        started_at_ms: 1_760_000_000_000,
        duration_ms: 812,
        ttft_ms: Some(211),
        key_id: "key_0123456789abcdef".to_owned(),
        requested_model: "gpt-4o-mini".to_owned(),
        used_model: Some("gpt-4o-mini".to_owned()),
        used_provider: Some("openai".to_owned()),
        underlying_model: Some("gpt-4o-mini-2024-07-18".to_owned()),
        attempts: vec![AttemptRecord {
            provider: "openai".to_owned(),
            model: "gpt-4o-mini".to_owned(),
            key: String::new(),
            status_code: 200,
            error_type: String::new(),
            start_ms: 1,
            latency_ms: 800,
            provider_request_id: Some("req_00112233445566778899".to_owned()),
        }],
        status: 200,
        streamed: true,
        usage: Some(Usage { input: 812, cache_read: 1024, output: 301, ..Usage::default() }),
        cost: Some(Cost {
            total: Pico(379_200_000),
            input: Pico(198_600_000),
            output: Pico(180_600_000),
            ..Cost::default()
        }),
        finish_reason: Some("stop".to_owned()),
        ..UsageRecord::default()
    }
}

fn report(what: &str, before_ms: u64, records: u64) -> Result<(), Box<dyn Error>> {
    let nanos = (cpu_ms()? - before_ms) as f64 * 1e6 / records as f64;
    eprintln!("{what}: {:.2} µs of CPU per record ({records} records)", nanos / 1e3);
    Ok(())
}

/// User and system time of the whole process, from Linux's ticks of 10 ms.
fn cpu_ms() -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<u64>()? + fields[12].parse::<u64>()?) * 10)
}

fn file_size(path: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

//! The dependence of memory, start time and CPU time on use and configuration.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Arguments, CALLERS, GATEWAY};
use crate::fleet::{Starter, Target};
use crate::load::Load;
use crate::report::{Report, median, shown};
use crate::targets::Size;
use crate::works::{self, Work};

const REQUESTS: usize = 200_000;
const STREAMS: usize = 10_000;
const OPEN_STREAMS: usize = 10_000;
const KEYS: usize = 100_000;
const MODELS: usize = 10_000;

/// Maximum resident memory of an idle gateway, in MiB.
const IDLE_TARGET: f64 = 20.0;
/// Maximum resident memory that remains after work, in MiB.
const GROWTH_TARGET: f64 = 10.0;
/// Maximum memory of an open stream, in KiB.
const STREAM_TARGET: f64 = 32.0;
/// Maximum time from the start to the first answer, in milliseconds.
const START_TARGET: f64 = 150.0;
/// How long open streams are observed: the gateway pings each of them every 15 s.
const WATCH: Duration = Duration::from_secs(15);

/// Memory of a fresh gateway: idle, after work, and for each open stream.
pub async fn memory(
    arguments: &Arguments,
    starter: &Starter<'_>,
    report: &mut Report,
    notes: &mut Vec<String>,
) -> Result<()> {
    let (gateway, _) = starter.gateway(GATEWAY, &arguments.gateway, Size::default()).await?;
    let mut rows = Vec::new();
    let result = after_work(arguments, &gateway, &mut rows).await;
    report.section("Memory", &["resident memory of llmgateway, MiB", "is", "target"], &rows);
    result?;
    open_streams(arguments, &gateway, report, notes).await
}

/// Resident memory in MiB.
fn resident(gateway: &Target) -> Result<f64> {
    Ok(gateway.process().memory()? as f64 / f64::from(1 << 20))
}

async fn after_work(arguments: &Arguments, gateway: &Target, rows: &mut Vec<Vec<String>>) -> Result<()> {
    let mut note = |what: &str, is: f64, target: f64| {
        rows.push(vec![what.to_owned(), shown(Some(is)), shown(Some(target))]);
    };
    let idle = resident(gateway)?;
    note("idle", idle, IDLE_TARGET);
    for (work, requests, what) in [(works::UNARY, REQUESTS, "requests"), (works::BURST, STREAMS, "streams")] {
        // The number of requests decides on the duration, within limits.
        let load = Load { limit: Duration::from_secs(120), ..arguments.load(requests, CALLERS) };
        let good = gateway.measure(&work, load).await?.outcome.good;
        note(&format!("after {good} {what}"), resident(gateway)?, idle + GROWTH_TARGET);
        crate::progress(&format!("memory: {good} {what}"));
    }
    tokio::time::sleep(Duration::from_secs(if arguments.quick { 2 } else { 15 })).await;
    note("after a rest", resident(gateway)?, idle + GROWTH_TARGET);
    Ok(())
}

async fn open_streams(
    arguments: &Arguments,
    gateway: &Target,
    report: &mut Report,
    notes: &mut Vec<String>,
) -> Result<()> {
    let before = resident(gateway)?;
    let streams = possible_streams(arguments, notes)?;
    let request = gateway.request(&works::HELD)?;
    let mut open = Vec::new();
    for number in 0..streams {
        open.push(request.open().await.with_context(|| format!("open stream {number}"))?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (resident(gateway)? - before) * 1024.0 / streams.max(1) as f64;
    crate::progress(&format!("memory: {streams} open streams"));
    let cpu = gateway.process().cpu()?;
    let start = Instant::now();
    tokio::time::sleep(if arguments.quick { WATCH / 8 } else { WATCH }).await;
    let share = cpu.until(&gateway.process().cpu()?).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let rows = [
        vec!["memory of each, KiB".to_owned(), shown(Some(each)), shown(Some(STREAM_TARGET))],
        vec!["% of a processor for all of them".to_owned(), shown(Some(share)), shown(None)],
    ];
    report.section("Open streams", &[&format!("{streams} that say nothing"), "is", "target"], &rows);
    Ok(())
}

/// The number that the limit of open files allows: each stream has two ends in this process and two in the
/// gateway.
fn possible_streams(arguments: &Arguments, notes: &mut Vec<String>) -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
    // "unlimited" is not a number.
    let files = line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    let wanted = if arguments.quick { OPEN_STREAMS / 10 } else { OPEN_STREAMS };
    let possible = files.saturating_sub(500) / 2;
    if possible < wanted {
        notes.push(format!("only {possible} instead of {wanted} open streams: ulimit -n is {files}."));
    }
    Ok(wanted.min(possible))
}

/// Start and CPU time with a large configuration, alternating with a small one.
pub async fn configuration(arguments: &Arguments, starter: &Starter<'_>, report: &mut Report) -> Result<()> {
    let sizes = [
        ("plain", Size::default()),
        ("keys", Size { keys: KEYS, models: 0 }),
        ("models", Size { keys: 0, models: MODELS }),
    ];
    let mut rows = Vec::new();
    let mut gateways = Vec::new();
    for (name, size) in sizes {
        let mut starts = Vec::new();
        let mut running = None;
        for _ in 0..arguments.rounds {
            // The previous process must have ended: they share a folder.
            drop(running.take());
            let (gateway, start) = starter.gateway(name, &arguments.gateway, size).await?;
            starts.push(start.as_secs_f64() * 1e3);
            running = Some(gateway);
        }
        let gateway = running.context("no rounds")?;
        let memory = gateway.process().memory()? as f64 / f64::from(1 << 20);
        let target = (size == Size::default()).then_some(START_TARGET);
        rows.push(vec![described(size), shown(median(&starts)), shown(target), shown(Some(memory))]);
        gateways.push(gateway);
    }
    let mut cpu = vec![Vec::new(); gateways.len()];
    for _ in 0..arguments.rounds {
        for (gateway, cpu) in gateways.iter().zip(&mut cpu) {
            let work: Work = works::UNARY;
            cpu.push(gateway.measure(&work, arguments.load(work.requests, CALLERS)).await?.cpu_per_request());
        }
    }
    crate::progress("configurations");
    for (row, cpu) in rows.iter_mut().zip(cpu) {
        row.push(shown(median(&cpu)));
    }
    let heading =
        ["llmgateway with", "start to first answer, ms", "target", "idle MiB", "CPU µs per unary-400B"];
    report.section("Start and configuration", &heading, &rows);
    Ok(())
}

fn described(size: Size) -> String {
    match size {
        Size { keys: 0, models: 0 } => "what it needs".to_owned(),
        Size { keys, models: 0 } => format!("{keys} keys"),
        Size { models, .. } => format!("{models} models"),
    }
}

//! Counts instructions and allocations of one request, and compares them with stored ceilings.
//!
//! The gateway runs under callgrind, which executes the program on a simulated processor: counts repeat
//! within a fraction of a percent whatever else the machine does, unlike times. After a warm-up each kind of
//! request is sent many times, and the count is divided by their number. The count includes everything that a
//! request causes in user space, also in other threads such as the writer of the usage records. It excludes
//! the kernel. Allocations are the calls of Rust's allocation functions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::load::{self, Load, Request};
use crate::mock::Pace;
use crate::processes::{self, Process, Processor};
use crate::targets::{self, Size, Upstreams};
use crate::works::{self, Work};

/// The kinds of requests and the number of each.
const COUNTED: [(Work, usize); 9] = [
    (works::UNARY, 100),
    (works::GOVERNED, 100),
    (works::UNARY_32K, 60),
    (works::BURST, 60),
    (works::ANTHROPIC, 100),
    (works::ANTHROPIC_BURST, 60),
    (works::GEMINI, 100),
    (works::MESSAGES, 100),
    (works::MESSAGES_BURST, 60),
];

/// Pairs of works with the largest allowed ratio of the first to the second: another format on both sides compared
/// with OpenAI's, and a budget with limits compared with none. In the release a budget costs 5 %. The dev profile
/// executes more instructions for each byte that is written for it.
const ALIKE: [(Work, Work, f64); 3] = [
    (works::MESSAGES, works::UNARY, 1.1),
    (works::MESSAGES_BURST, works::BURST, 1.1),
    (works::GOVERNED, works::UNARY, 1.08),
];

/// How far a count may rise above the stored one: compilers and the batches of the usage writer cause small
/// changes.
const TOLERANCE: f64 = 1.05;

/// Enough time for the usage records of the last requests to be written.
const SETTLE: Duration = Duration::from_millis(700);

#[derive(clap::Args)]
pub struct Arguments {
    /// The gateway. It needs its symbols.
    #[arg(long)]
    gateway: PathBuf,
    /// The file of the ceilings.
    #[arg(long)]
    ceilings: PathBuf,
    /// An empty folder for configuration and logs.
    #[arg(long)]
    scratch: PathBuf,
    /// Store the new counts.
    #[arg(long)]
    update: bool,
}

/// One entry of the file.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Ceiling {
    instructions: f64,
    instructions_ceiling: f64,
    allocations: f64,
    allocations_ceiling: f64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    instructions: f64,
    allocations: f64,
}

/// Counts, reports, and fails if a ceiling is exceeded.
pub async fn run(arguments: &Arguments) -> Result<String> {
    let counts = Counting::start(arguments).await?.all().await?;
    if arguments.update {
        fs::write(&arguments.ceilings, ceilings_file(&counts)?)?;
    }
    let text = fs::read_to_string(&arguments.ceilings).context("the ceilings")?;
    let ceilings: BTreeMap<String, Ceiling> = toml::from_str(&text)?;
    let (report, mut exceeded) = compare(&counts, &ceilings)?;
    exceeded.extend(unlike(&counts));
    ensure!(
        exceeded.is_empty(),
        "{report}\n{}\nIf that is the price of something worth it, say so in the commit and raise the ceiling: \
         cargo xtask count --update",
        exceeded.join("\n")
    );
    Ok(report)
}

/// A gateway under callgrind.
struct Counting {
    gateway: Process,
    requests: Vec<(Work, usize, Rc<Request>)>,
    output: PathBuf,
    dumps: usize,
}

impl Counting {
    async fn start(arguments: &Arguments) -> Result<Self> {
        let upstreams = Upstreams::start(Pace::Together).await?;
        let listen = processes::free_address()?;
        let scratch = &arguments.scratch;
        let config = targets::gateway_config(scratch, listen, &upstreams, Size::default())?;
        let output = scratch.join("callgrind.out");
        let mut command = vec![
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            format!("--callgrind-out-file={}", output.display()),
        ];
        command.extend(targets::gateway_command(&arguments.gateway, &config));
        let processor = if processes::can_pin() { Processor::Measured } else { Processor::Any };
        let mut gateway = Process::start("gateway", &command, processor, scratch)?;
        let request = |work: &Work| Rc::new(Request::of(listen, work));
        let requests: Vec<_> = COUNTED.iter().map(|(work, times)| (*work, *times, request(work))).collect();
        gateway.ready(&requests[0].2, Duration::from_secs(120)).await?;
        Ok(Self { gateway, requests, output, dumps: 0 })
    }

    async fn all(mut self) -> Result<Vec<(&'static str, Count)>> {
        self.control(&["--instr=on"])?;
        for at in 0..self.requests.len() {
            self.send(at, 12).await?;
        }
        self.dump().await?;
        let mut counts = Vec::new();
        for at in 0..self.requests.len() {
            let (work, times, _) = self.requests[at];
            self.send(at, times).await?;
            let dump = self.dump().await?;
            counts.push((work.name, Count::read(&dump, times).context(work.name)?));
        }
        Ok(counts)
    }

    async fn send(&self, at: usize, requests: usize) -> Result<()> {
        let (work, _, request) = &self.requests[at];
        let load = Load { requests, limit: Duration::from_secs(120), concurrency: 4, rate: None };
        load::run(request, load).await.all_good().context(work.name)
    }

    /// The counts since the last call.
    async fn dump(&mut self) -> Result<String> {
        tokio::time::sleep(SETTLE).await;
        self.dumps += 1;
        self.control(&["--dump"])?;
        let path = format!("{}.{}", self.output.display(), self.dumps);
        fs::read_to_string(&path).with_context(|| format!("{path}\n{}", self.gateway.last_words()))
    }

    fn control(&self, order: &[&str]) -> Result<()> {
        let id = self.gateway.id().to_string();
        let output = Command::new("callgrind_control").args(order).arg(&id).output();
        let output = output.context("callgrind_control, which comes with valgrind")?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "callgrind_control {order:?}: {message}");
        Ok(())
    }
}

impl Count {
    /// Out of callgrind's output. A line `cfn=(7) name` names the called function, `cfn=(7)` names it again,
    /// Reads callgrind's output. A line `cfn=(7) name` names the called function, `cfn=(7)` names it again,
    fn read(dump: &str, requests: usize) -> Result<Self> {
        let mut allocating: BTreeMap<&str, bool> = BTreeMap::new();
        let (mut instructions, mut allocations, mut counts) = (None, 0, false);
        for line in dump.lines() {
            if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
                let (id, name) = function.split_once(' ').unwrap_or((function, ""));
                if !name.is_empty() {
                    allocating.insert(id, is_allocation(name));
                }
                counts = allocating.get(id).copied().unwrap_or(false);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                if counts {
                    allocations += calls.split(' ').next().unwrap_or_default().parse::<u64>()?;
                }
            } else if let Some(total) = line.strip_prefix("totals: ") {
                instructions = Some(total.trim().parse::<u64>()?);
            }
        }
        let Some(instructions) = instructions else { bail!("callgrind wrote no total") };
        ensure!(allocations > 0, "no allocation was seen: has the program its symbols?");
        let per_request = |total: u64| total as f64 / requests as f64;
        Ok(Self { instructions: per_request(instructions), allocations: per_request(allocations) })
    }
}

fn is_allocation(function: &str) -> bool {
    let name = function.split('\'').next().unwrap_or(function);
    ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"].iter().any(|known| name.ends_with(known))
}

/// The table for people, and the counts that exceed their ceilings.
fn compare(counts: &[(&str, Count)], ceilings: &BTreeMap<String, Ceiling>) -> Result<(String, Vec<String>)> {
    let mut report = "| one request | instructions | stored | ceiling | allocations | stored | ceiling |\n\
                      |---|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let mut exceeded = Vec::new();
    for (name, count) in counts {
        let ceiling = ceilings.get(*name).with_context(|| format!("no ceiling for {name:?}"))?;
        writeln!(
            report,
            "| {name} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} |",
            count.instructions,
            ceiling.instructions,
            ceiling.instructions_ceiling,
            count.allocations,
            ceiling.allocations,
            ceiling.allocations_ceiling,
        )?;
        let limits = [
            ("instructions", count.instructions, ceiling.instructions_ceiling),
            ("allocations", count.allocations, ceiling.allocations_ceiling),
        ];
        for (what, counted, limit) in limits {
            if counted > limit {
                exceeded.push(format!("{name}: {counted:.1} {what} for one request, more than {limit:.1}."));
            }
        }
    }
    Ok((report, exceeded))
}

/// The pairs whose ratio is too large.
fn unlike(counts: &[(&str, Count)]) -> Vec<String> {
    let of = |work: &Work| {
        let found = counts.iter().find(|(name, _)| *name == work.name);
        found.map_or(0.0, |(_, count)| count.instructions)
    };
    let excess = |(work, like, most): &(Work, Work, f64)| {
        let times = of(work) / of(like);
        (times > *most).then(|| {
            format!("{}: {times:.2} times the instructions of {}, more than {most}.", work.name, like.name)
        })
    };
    ALIKE.iter().filter_map(excess).collect()
}

fn ceilings_file(counts: &[(&str, Count)]) -> Result<String> {
    let mut text = "# The counted cost of one request in the dev profile, and the maximum that passes `cargo xtask test`.\n\
                    # Written by `cargo xtask count --update`; docs/performance.md explains the counting.\n"
        .to_owned();
    for (name, count) in counts {
        let instructions = (count.instructions / 100.0).round() * 100.0;
        let allocations = (count.allocations * 10.0).round() / 10.0;
        write!(
            text,
            "\n[{name:?}]\ninstructions = {instructions:.1}\ninstructions_ceiling = {:.1}\n\
             allocations = {allocations:.1}\nallocations_ceiling = {:.1}\n",
            (instructions * TOLERANCE / 100.0).round() * 100.0,
            allocations * TOLERANCE,
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "fn=(1) main\n3 10\ncfn=(2) __rustc::__rust_alloc\ncalls=4 7\n3 80\ncfn=(3) other\ncalls=9 1\n\
                        4 1\nfn=(3)\ncfn=(2)\ncalls=2 7\n5 40\ncfn=(4) __rustc::__rust_dealloc\ncalls=6 1\n5 1\ntotals: 200\n";

    #[test]
    fn callgrinds_output_is_read() {
        let count = Count::read(DUMP, 2).unwrap();
        assert_eq!((count.instructions, count.allocations), (100.0, 3.0));
        assert!(Count::read("totals: 200\n", 2).is_err(), "a program without symbols has no allocations");
        assert!(Count::read(&DUMP.replace("totals", "x"), 2).is_err());
    }

    #[test]
    fn an_exceeded_ceiling_is_reported_with_its_numbers() {
        let counts = [("unary", Count { instructions: 1e6, allocations: 10.0 })];
        let ceilings: BTreeMap<String, Ceiling> = toml::from_str(&ceilings_file(&counts).unwrap()).unwrap();
        assert!(compare(&counts, &ceilings).unwrap().1.is_empty());
        let slower = [("unary", Count { instructions: 1.06e6, allocations: 10.0 })];
        let exceeded = compare(&slower, &ceilings).unwrap().1;
        assert_eq!(exceeded, ["unary: 1060000.0 instructions for one request, more than 1050000.0."]);
        let fatter = [("unary", Count { instructions: 1e6, allocations: 11.0 })];
        assert_eq!(compare(&fatter, &ceilings).unwrap().1.len(), 1);
        assert!(compare(&[("unknown", counts[0].1)], &ceilings).is_err());
    }

    #[test]
    fn equal_formats_cost_about_the_same_for_each_format() {
        let count = |instructions| Count { instructions, allocations: 1.0 };
        let found = |instructions| {
            unlike(&[(works::UNARY.name, count(1e6)), (works::MESSAGES.name, count(instructions))])
        };
        assert!(found(1.09e6).is_empty());
        let expected = "messages-unary-400B: 1.20 times the instructions of unary-400B, more than 1.1.";
        assert_eq!(found(1.2e6), [expected]);
    }
}

//! The benchmark: each work against each target in alternating rounds, so that disturbances of the machine
//! affect all alike. The measure is the CPU time of the target's process; ratios are taken within a round.

mod growth;
mod large;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::fleet::{Starter, Target};
use crate::load::Load;
use crate::mock::Pace;
use crate::processes::{self, Processor};
use crate::report::{Report, median, shown};
use crate::targets::{Size, Upstreams};
use crate::works::{self, Work};

const CALLERS: usize = 32;

const LATENCY: &str = "latency";
const MEMORY: &str = "memory";
const CONFIGURATION: &str = "configuration";
const LARGE: &str = "large";

/// Measurements besides the works.
const OTHERS: [&str; 4] = [LATENCY, MEMORY, CONFIGURATION, LARGE];

#[derive(clap::Args)]
pub struct Arguments {
    /// The gateway, as released.
    #[arg(long)]
    pub gateway: PathBuf,
    /// A folder for configurations, logs and databases. Its content is replaced.
    #[arg(long)]
    pub scratch: PathBuf,
    /// nginx, for comparison.
    #[arg(long, default_value = "nginx")]
    pub nginx: PathBuf,
    /// Only this (repeatable): a work, or latency, memory, configuration, large.
    #[arg(long)]
    pub work: Vec<String>,
    /// How often each work is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub rounds: u8,
    /// A tenth of the load, for a trial run.
    #[arg(long)]
    pub quick: bool,
}

impl Arguments {
    /// A number of requests within a limited time.
    pub fn load(&self, requests: usize, concurrency: usize) -> Load {
        let requests = if self.quick { requests / 10 } else { requests }.max(concurrency);
        let limit = Duration::from_secs(if self.quick { 2 } else { 6 });
        Load { requests, limit, concurrency, rate: None }
    }

    fn works(&self) -> Result<Vec<Work>> {
        let known: Vec<&str> = works::COMPARED.iter().map(|work| work.name).chain(OTHERS).collect();
        for name in &self.work {
            ensure!(
                known.contains(&name.as_str()),
                "no work is named {name:?}; there are {}",
                known.join(", ")
            );
        }
        Ok(works::COMPARED.into_iter().filter(|work| self.wants(work.name)).collect())
    }

    fn wants(&self, name: &str) -> bool {
        self.work.is_empty() || self.work.iter().any(|wanted| wanted == name)
    }
}

/// Runs everything and returns the report. On failure, the error contains the measurements so far.
pub async fn run(arguments: &Arguments) -> Result<String> {
    let (mut report, mut notes) = (Report::default(), Vec::new());
    let result = measure(arguments, &mut report, &mut notes).await;
    report.notes(&notes);
    match result {
        Ok(()) => Ok(report.into_text()),
        Err(error) => bail!("{}It ends here. {error:#}", report.into_text()),
    }
}

async fn measure(arguments: &Arguments, report: &mut Report, notes: &mut Vec<String>) -> Result<()> {
    let works = arguments.works()?;
    let pinned = processes::can_pin() && processes::pin_harness();
    if !pinned {
        notes.push(
            "nothing is pinned: taskset or a second processor is missing. Ratios are less sure.".to_owned(),
        );
    }
    std::fs::create_dir_all(&arguments.scratch)?;
    let starter = Starter {
        scratch: &arguments.scratch,
        upstreams: &Upstreams::start(Pace::Burst).await?,
        processor: if pinned { Processor::Measured } else { Processor::Any },
    };
    if !works.is_empty() || arguments.wants(LATENCY) {
        let targets = start(arguments, &starter, notes).await?;
        compare(arguments, &works, &targets, report, notes).await?;
        if arguments.wants(LATENCY) {
            latencies(arguments, &targets, report).await?;
        }
    }
    if arguments.wants(MEMORY) {
        growth::memory(arguments, &starter, report, notes).await?;
    }
    if arguments.wants(CONFIGURATION) {
        growth::configuration(arguments, &starter, report).await?;
    }
    if arguments.wants(LARGE) {
        large::large(arguments, &starter, report).await?;
    }
    Ok(())
}

const NGINX: &str = "nginx";
const FLOOR: &str = "floor";
const FLOOR_MODEL: &str = "floor, model";
const FLOOR_VALUES: &str = "floor, values";
const GATEWAY: &str = "llmgateway";

async fn start(arguments: &Arguments, starter: &Starter<'_>, notes: &mut Vec<String>) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    match starter.nginx(&arguments.nginx).await {
        Ok(nginx) => targets.push(nginx),
        Err(error) => notes.push(format!("there is no nginx to compare with: {error:#}")),
    }
    for (name, look) in [(FLOOR, "nothing"), (FLOOR_MODEL, "model"), (FLOOR_VALUES, "values")] {
        targets.push(starter.floor(name, look).await?);
    }
    targets.push(starter.gateway(GATEWAY, &arguments.gateway, Size::default()).await?.0);
    Ok(targets)
}

/// CPU time of one request: a row for each work, a column for each target. When a work fails, the report
/// contains the works before it.
async fn compare(
    arguments: &Arguments,
    works: &[Work],
    targets: &[Target],
    report: &mut Report,
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut rows = Vec::new();
    let others = Others::now(targets)?;
    let result = compare_each(arguments, works, targets, &mut rows).await;
    let heading = [
        "CPU µs per request",
        NGINX,
        FLOOR,
        FLOOR_MODEL,
        FLOOR_VALUES,
        GATEWAY,
        "times nginx",
        "range",
        "target",
        "times floor",
    ];
    report.section("CPU time of one request", &heading, &rows);
    if !rows.is_empty() {
        notes.push(others.note(targets)?);
    }
    result
}

async fn compare_each(
    arguments: &Arguments,
    works: &[Work],
    targets: &[Target],
    rows: &mut Vec<Vec<String>>,
) -> Result<()> {
    for work in works {
        let mut rounds = Vec::new();
        for round in 0..arguments.rounds {
            let label = format!("{}, round {} of {}", work.name, round + 1, arguments.rounds);
            rounds.push(one_round(arguments, work, targets, &label).await?);
        }
        rows.push(row(work, &rounds));
    }
    Ok(())
}

/// CPU time that other processes used.
struct Others {
    since: Instant,
    machine: Duration,
    ours: Duration,
}

impl Others {
    fn now(targets: &[Target]) -> Result<Self> {
        let mut ours = processes::own_cpu()?;
        for target in targets {
            ours += target.cpu()?;
        }
        Ok(Self { since: Instant::now(), machine: processes::machine_busy()?, ours })
    }

    fn note(&self, targets: &[Target]) -> Result<String> {
        let now = Self::now(targets)?;
        let others = (now.machine - self.machine).saturating_sub(now.ours.saturating_sub(self.ours));
        let share = others.as_secs_f64() / self.since.elapsed().as_secs_f64() * 100.0;
        Ok(format!(
            "during the comparison, other processes and interrupts took {share:.0} % of one processor."
        ))
    }
}

/// Microseconds by name of the target.
type Round = Vec<(&'static str, f64)>;

async fn one_round(arguments: &Arguments, work: &Work, targets: &[Target], label: &str) -> Result<Round> {
    let mut round = Vec::new();
    for target in targets.iter().filter(|target| target.serves(work) && compares(target.name, work)) {
        let measured = target.measure(work, arguments.load(work.requests, CALLERS)).await?;
        crate::progress(&format!(
            "{label}: {} {} µs, {:.0}/s",
            target.name,
            shown(Some(measured.cpu_per_request())),
            measured.outcome.rate()
        ));
        round.push((target.name, measured.cpu_per_request()));
    }
    Ok(round)
}

/// Deeper inspection is compared only where OpenAI's format is forwarded whole.
fn compares(target: &str, work: &Work) -> bool {
    let looks = target == FLOOR_MODEL || target == FLOOR_VALUES;
    !looks || (!work.stream && work.model == works::UNARY.model)
}

fn of(round: &Round, name: &str) -> Option<f64> {
    round.iter().find(|(target, _)| *target == name).map(|(_, microseconds)| *microseconds)
}

fn row(work: &Work, rounds: &[Round]) -> Vec<String> {
    let all = |name: &str| rounds.iter().filter_map(|round| of(round, name)).collect::<Vec<f64>>();
    let ratios = |to: &str| {
        let ratio = |round: &Round| Some(of(round, GATEWAY)? / of(round, to)?);
        rounds.iter().filter_map(ratio).collect::<Vec<f64>>()
    };
    let mut row = vec![work.name.to_owned()];
    row.extend([NGINX, FLOOR, FLOOR_MODEL, FLOOR_VALUES, GATEWAY].map(|name| shown(median(&all(name)))));
    let mut to_nginx = ratios(NGINX);
    row.push(shown(median(&to_nginx)));
    to_nginx.sort_by(f64::total_cmp);
    row.push(match to_nginx.as_slice() {
        [] => shown(None),
        [least, .., most] => format!("{least:.2}–{most:.2}"),
        [only] => format!("{only:.2}"),
    });
    row.push(shown(work.target));
    row.push(shown(median(&ratios(FLOOR))));
    row
}

/// The target ratios of the gateway's latency to nginx's: alone p50 and p99, and p99 at half of the highest
/// rate.
const LATENCY_TARGETS: [Option<f64>; 5] = [Some(1.4), Some(1.4), None, None, Some(1.5)];

/// The caller's latency: alone, and at half of the target's maximum rate.
async fn latencies(arguments: &Arguments, targets: &[Target], report: &mut Report) -> Result<()> {
    let mut measured = Vec::new();
    for target in targets.iter().filter(|target| [NGINX, FLOOR, GATEWAY].contains(&target.name)) {
        measured.push((target.name, latency(arguments, target).await?));
        crate::progress(&format!("latencies: {}", target.name));
    }
    let of = |name: &str| measured.iter().find(|(target, _)| *target == name).map(|(_, numbers)| numbers);
    let times_nginx = |at: usize| Some(of(GATEWAY)?[at]? / of(NGINX)?[at]?);
    let line =
        |name: &str, cells: [Option<f64>; 5]| [vec![name.to_owned()], cells.map(shown).to_vec()].concat();
    let mut rows: Vec<Vec<String>> = measured.iter().map(|(name, numbers)| line(name, *numbers)).collect();
    rows.push(line("times nginx", [0, 1, 2, 3, 4].map(times_nginx)));
    rows.push(line("target", LATENCY_TARGETS));
    let heading =
        ["unary-400B", "alone: p50 µs", "p99 µs", "most requests/s", "at half of it: p50 µs", "p99 µs"];
    report.section("Latency", &heading, &rows);
    Ok(())
}

/// The numbers of one target, in the order of the columns.
async fn latency(arguments: &Arguments, target: &Target) -> Result<[Option<f64>; 5]> {
    let (mut alone, mut alone_99, mut most, mut half, mut half_99) = (vec![], vec![], vec![], vec![], vec![]);
    let microseconds = |latency: Duration| latency.as_secs_f64() * 1e6;
    for _ in 0..arguments.rounds {
        let outcome = target.measure(&works::UNARY, arguments.load(5_000, 1)).await?.outcome;
        alone.push(microseconds(outcome.quantile(0.5)));
        alone_99.push(microseconds(outcome.quantile(0.99)));
        let outcome = target.measure(&works::UNARY, arguments.load(40_000, CALLERS)).await?.outcome;
        let rate = outcome.rate();
        most.push(rate);
        let open = Load { rate: Some(rate / 2.0), ..arguments.load(20_000, 4 * CALLERS) };
        let outcome = target.measure(&works::UNARY, open).await?.outcome;
        half.push(microseconds(outcome.quantile(0.5)));
        half_99.push(microseconds(outcome.quantile(0.99)));
    }
    Ok([alone, alone_99, most, half, half_99].map(|numbers| median(&numbers)))
}

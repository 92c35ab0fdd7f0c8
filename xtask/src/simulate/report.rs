//! Results as a table.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::policy::{Policy, Served};
use super::scenario::Scenario;
use super::traffic::Request;

const BEGIN: &str = "<!-- simulate: begin, written by `cargo xtask simulate --write-docs` -->";
const END: &str = "<!-- simulate: end -->";

/// The results of a policy in a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub policy: Policy,
    /// Share of requests whose user got an error.
    pub failed_share: f64,
    /// USD per thousand answered requests.
    pub cost: f64,
    /// Cost of an answered request as a multiple of the clairvoyant's for the same requests, outside of
    /// events.
    pub steady_cost: f64,
    /// The same over the whole time.
    pub whole_cost: f64,
    /// Median time to the first token.
    pub first_token_p50: u64,
    /// Time to the first token that one of a hundred exceeds.
    pub first_token_p99: u64,
    /// Attempts per request.
    pub attempts: f64,
    /// Changes of the provider from one request to the next, per hundred requests.
    pub switches: f64,
}

impl Line {
    /// Sums up. `best` is the clairvoyant's result.
    pub fn new(
        policy: Policy,
        scenario: &Scenario,
        requests: &[Request],
        served: &[Served],
        best: &[Served],
    ) -> Self {
        let count = served.len().max(1) as f64;
        let answered: Vec<_> = served.iter().filter(|one| one.provider.is_some()).collect();
        let mut waits: Vec<_> = answered.iter().map(|one| one.first_token_ms).collect();
        waits.sort_unstable();
        let percentile = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(0);
        let ratio = |steady_only: bool| {
            let both = served.iter().zip(best).zip(requests).filter(|((one, other), request)| {
                let answered = one.provider.is_some() && other.provider.is_some();
                answered && (!steady_only || scenario.is_steady(request.at))
            });
            let (own, its) =
                both.fold((0.0, 0.0), |(own, its), ((one, other), _)| (own + one.cost, its + other.cost));
            if its > 0.0 { own / its } else { 1.0 }
        };
        let switches = answered.windows(2).filter(|pair| pair[0].provider != pair[1].provider).count();
        Self {
            policy,
            failed_share: 1.0 - answered.len() as f64 / count,
            cost: answered.iter().map(|one| one.cost).sum::<f64>() / answered.len().max(1) as f64 * 1000.0,
            steady_cost: ratio(true),
            whole_cost: ratio(false),
            first_token_p50: percentile(0.5),
            first_token_p99: percentile(0.99),
            attempts: served.iter().map(|one| one.attempts as f64).sum::<f64>() / count,
            switches: switches as f64 / count * 100.0,
        }
    }
}

/// One scenario in Markdown.
pub fn table(scenario: &Scenario, lines: &[Line]) -> String {
    let mut text = format!("### {}\n\n{}\n\n", scenario.name, scenario.story);
    text.push_str(
        "| policy | failed | USD per 1000 | regret, steady | regret, whole | TTFT p50 | TTFT p99 | attempts | switches |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for line in lines {
        let _ = writeln!(
            text,
            "| {} | {:.3} % | {:.4} | {:+.1} % | {:+.1} % | {} ms | {} ms | {:.3} | {:.1} % |",
            line.policy.name(),
            line.failed_share * 100.0,
            line.cost,
            (line.steady_cost - 1.0) * 100.0,
            (line.whole_cost - 1.0) * 100.0,
            line.first_token_p50,
            line.first_token_p99,
            line.attempts,
            line.switches,
        );
    }
    text.push('\n');
    text
}

/// Replaces the part of the page between the markers.
pub fn write_into(page: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let (before, rest) = old.split_once(BEGIN).context("the page has no begin marker")?;
    let (_, after) = rest.split_once(END).context("the page has no end marker")?;
    std::fs::write(page, format!("{before}{BEGIN}\n\n{text}{END}{after}"))?;
    Ok(())
}

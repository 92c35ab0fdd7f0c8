//! `cargo xtask simulate`: runs hours of traffic against simulated providers and compares routing policies.
//! `cargo xtask simulate cluster`: the load on Redis by nodes that share budgets, and the requests that they
//! refuse.

mod clock;
mod cluster;
mod policy;
mod report;
mod scenario;
mod traffic;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::policy::Policy;
use self::report::Line;
use self::scenario::Scenario;

/// Runs the named scenarios, or all of them. `--seed=N` uses another random seed.
pub fn run(arguments: &[&str]) -> Result<()> {
    if let ["cluster", arguments @ ..] = arguments {
        let text = cluster::run(arguments)?;
        std::io::stdout().write_all(text.as_bytes())?;
        if !arguments.is_empty() {
            report::write_into(&root().join("docs/scaling.md"), &text)?;
        }
        return Ok(());
    }
    if let Some(unknown) = arguments
        .iter()
        .find(|it| it.starts_with('-') && **it != "--write-docs" && !it.starts_with("--seed="))
    {
        bail!(
            "cargo xtask simulate takes names of scenarios, --seed=N and --write-docs, or \"cluster\"; not {unknown}"
        );
    }
    let write_docs = arguments.contains(&"--write-docs");
    let seed = arguments.iter().find_map(|argument| argument.strip_prefix("--seed="));
    let seed = seed.map(str::parse::<u64>).transpose().context("--seed takes a number")?;
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if write_docs && !(names.is_empty() && seed.is_none()) {
        bail!("--write-docs needs the results of all scenarios as they are: name none, and no seed");
    }
    let mut text = String::new();
    for mut scenario in scenarios()? {
        scenario.seed = seed.unwrap_or(scenario.seed);
        if names.is_empty() || names.contains(&&scenario.name.as_str()) {
            text.push_str(&report::table(&scenario, &compare(&scenario)));
        }
    }
    std::io::stdout().write_all(text.as_bytes())?;
    if write_docs {
        report::write_into(&root().join("docs/routing.md"), &text)?;
    }
    Ok(())
}

/// One line for each policy, the clairvoyant one last.
fn compare(scenario: &Scenario) -> Vec<Line> {
    let requests = traffic::requests(scenario);
    let outcomes: Vec<_> =
        Policy::ALL.into_iter().map(|policy| (policy, policy::play(policy, scenario, &requests))).collect();
    let (_, best) = &outcomes[outcomes.len() - 1];
    outcomes.iter().map(|(policy, served)| Line::new(*policy, scenario, &requests, served, best)).collect()
}

fn scenarios() -> Result<Vec<Scenario>> {
    let folder = root().join("xtask/scenarios");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The random part of a share of failures: two standard deviations of their number, at least one in ten
    /// thousand.
    fn luck(share: f64, requests: usize) -> f64 {
        (2.0 * (share / requests as f64).sqrt()).max(0.0001)
    }

    /// The claims of the documentation, on a thinner stream of requests.
    #[test]
    fn ours_fails_least_and_costs_little_more_than_the_clairvoyant() {
        let scenarios = scenarios().unwrap();
        assert!(scenarios.len() >= 6);
        for scenario in scenarios {
            let scenario = Scenario { requests_per_second: scenario.requests_per_second / 2.0, ..scenario };
            let lines = compare(&scenario);
            let requests = traffic::requests(&scenario).len();
            let ours = &lines[0];
            let name = &scenario.name;
            for other in &lines[1..lines.len() - 1] {
                let (own, its) = (ours.failed_share, other.failed_share);
                assert!(
                    own <= its + luck(its, requests),
                    "{name}: we fail {own}, {:?} fails {its}",
                    other.policy
                );
            }
            let steady = ours.steady_cost;
            assert!(steady <= 1.1, "{name}: {steady} times the clairvoyant cost in steady state");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_result() {
        let mut scenario = scenarios().unwrap().remove(0);
        scenario.hours = 0.2;
        assert_eq!(compare(&scenario), compare(&scenario));
    }
}

//! `cargo xtask bench` and `cargo xtask count`: the cost of the gateway. They build and start
//! `llmgateway-bench` (`crates/bench`); `docs/performance.md` explains the measurements.

use anyhow::Result;

use crate::test::place::Workspace;
use crate::test::tools;

/// Builds the programs of the dev profile as the tests do, and counts.
pub fn count_alone(update: bool) -> Result<()> {
    let place = Workspace::find();
    crate::test::build(&place)?;
    count(&place, update)
}

/// Fills a database with generated usage records, or times the dashboard's queries.
pub fn generate_usage(arguments: &[&str]) -> Result<()> {
    let example = ["run", "--quiet", "--release", "-p", "store", "--example", "generate_usage", "--"];
    Workspace::find().run("cargo", &[&example, arguments].concat())
}

/// Counts instructions and allocations of one request. The counts are those of the dev profile, which the
/// tests have built: they show more or less work, not the speed of the release.
pub fn count(place: &Workspace, update: bool) -> Result<()> {
    tools::valgrind(place)?;
    let scratch = place.scratch("count")?.display().to_string();
    let gateway = place.gateway().display().to_string();
    let ceilings = place.root.join("crates/bench/ceilings.toml").display().to_string();
    let mut arguments = vec!["count", "--gateway", &gateway, "--ceilings", &ceilings, "--scratch", &scratch];
    if update {
        arguments.push("--update");
    }
    place.run(place.target.join("debug/llmgateway-bench"), &arguments)
}

/// Builds the shipped profile (`dist`) and compares it with nginx.
pub fn run(arguments: &[&str]) -> Result<()> {
    let place = Workspace::find();
    // Separate builds: together, the gateway would get features that only the benchmark needs.
    place.run("cargo", &["build", "--profile", "dist", "--locked", "-p", "gateway"])?;
    place.run("cargo", &["build", "--profile", "dist", "--locked", "-p", "bench"])?;
    let scratch = place.scratch("bench")?.display().to_string();
    let gateway = place.target.join("dist/llmgateway").display().to_string();
    let bench = place.target.join("dist/llmgateway-bench").display().to_string();
    // Ten thousand open streams are forty thousand open files, half of them in each process.
    let raise = "ulimit -n \"$(ulimit -H -n)\"; exec \"$@\"";
    let given =
        [&["-c", raise, "sh", &bench, "run", "--gateway", &gateway, "--scratch", &scratch], arguments];
    place.run("sh", &given.concat())
}

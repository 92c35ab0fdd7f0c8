//! `cargo xtask bench` and `cargo xtask count`: what the gateway costs. They build and start `llmgateway-bench`, which
//! is `crates/bench`; `docs/performance.md` says what is measured and how to read it.

use anyhow::Result;

use crate::test::place::Place;
use crate::test::tools;

/// Builds the programs of the dev profile as the tests do, and counts.
pub fn count_alone(update: bool) -> Result<()> {
    let place = Place::find();
    crate::test::build(&place)?;
    count(&place, update)
}

/// Fills a database with made-up usage records, or times the questions of the dashboard.
pub fn generate_usage(arguments: &[&str]) -> Result<()> {
    let example = ["run", "--quiet", "--release", "-p", "store", "--example", "generate_usage", "--"];
    Place::find().run("cargo", &[&example, arguments].concat())
}

/// Counts instructions and allocations of one request. The counts are those of the dev profile, because that is what
/// the tests have built: they tell more or less work, not how fast the release is.
pub fn count(place: &Place, update: bool) -> Result<()> {
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

/// Builds what is shipped (the profile `dist`) and compares it with nginx.
pub fn run(arguments: &[&str]) -> Result<()> {
    let place = Place::find();
    // Apart, because together the gateway would be built with features that only the benchmark wants.
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

//! `cargo xtask test`: everything that has to pass, in the order that fails fastest.
//!
//! What a check needs is installed when it is missing: into the target folder, or by apt-get.

mod place;
mod postgres;
mod running;
mod tools;

use std::time::Instant;

use anyhow::{Result, bail};

use place::Place;
use postgres::Postgres;
use running::Running;

/// A check: its announcement and what it does.
type Step = (&'static str, fn(&Place) -> Result<()>);

/// Checks that need nothing but the toolchain.
const QUICK: &[Step] =
    &[("cargo fmt", format), ("cargo clippy", clippy), ("cargo test, without PostgreSQL", cargo_test)];

const ALL: &[Step] = &[
    ("cargo fmt", format),
    ("cargo deny: duplicates, licences, sources", deny),
    ("cargo deny: advisories", advisories),
    ("cargo clippy", clippy),
    ("cargo test", cargo_test_with_postgres),
    ("the llmgateway binary, and the reader of answers", build),
    ("official SDKs against the gateway, the mock and our decoders", sdks),
    ("end to end: durability, the commands of the README", end_to_end),
];

/// Runs the checks until one fails.
pub fn run(arguments: &[&str]) -> Result<()> {
    let steps = match arguments {
        [] => ALL,
        ["--quick"] => QUICK,
        _ => bail!("cargo xtask test takes --quick, or nothing"),
    };
    let place = Place::find();
    let started = Instant::now();
    for (number, (name, step)) in steps.iter().enumerate() {
        say(&format!(
            "==> {} of {}: {name} ({} s so far)",
            number + 1,
            steps.len(),
            started.elapsed().as_secs()
        ));
        step(&place)?;
    }
    say(&format!("==> all {} steps passed in {} s", steps.len(), started.elapsed().as_secs()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command talks to a person")]
fn say(text: &str) {
    println!("{text}");
}

fn format(place: &Place) -> Result<()> {
    place.run("cargo", &["fmt", "--all", "--check"])
}

fn clippy(place: &Place) -> Result<()> {
    place.run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn deny(place: &Place) -> Result<()> {
    place.run(tools::cargo_deny(place)?, &["--locked", "check", "bans", "licenses", "sources"])
}

/// Known vulnerabilities are a database on the network, which not every machine reaches.
fn advisories(place: &Place) -> Result<()> {
    let output =
        place.command(tools::cargo_deny(place)?).args(["--locked", "check", "advisories"]).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && told.contains("failed to fetch advisory database") {
        say("skipped: the advisory database cannot be reached from here");
        return Ok(());
    }
    say(told.trim_end());
    if output.status.success() { Ok(()) } else { bail!("cargo deny found advisories") }
}

const CARGO_TEST: &[&str] = &["test", "--workspace", "--locked", "--no-fail-fast"];

fn cargo_test(place: &Place) -> Result<()> {
    place.run("cargo", CARGO_TEST)
}

fn cargo_test_with_postgres(place: &Place) -> Result<()> {
    let Some(postgres) = Postgres::start(place)? else {
        return cargo_test(place);
    };
    let mut command = place.command("cargo");
    let status = command.args(CARGO_TEST).env("LLMGATEWAY_TEST_POSTGRES", postgres.url()).status()?;
    if status.success() { Ok(()) } else { bail!("cargo test failed") }
}

/// With the features of the whole workspace and its tests, so that what the tests built serves again.
fn build(place: &Place) -> Result<()> {
    let what = ["--tests", "--bin", "llmgateway", "--example", "read_answers"];
    place.run("cargo", &[&["build", "--workspace", "--locked"], &what[..]].concat())
}

fn sdks(place: &Place) -> Result<()> {
    let python = tools::python(place)?;
    tools::node_packages(place)?;
    let key = "sk-test";
    let scratch = place.scratch("sdk")?;
    let mock = Running::mock(place, &scratch)?;
    let gateway = Running::gateway(place, &scratch, &mock.url(), key)?;
    let environment = [("LLMGATEWAY_URL", gateway.url()), ("LLMGATEWAY_KEY", key.to_owned())];
    let pytest = place
        .command(&python)
        .args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/sdk/python"])
        .envs(environment.clone())
        .env("LLMGATEWAY_READER", place.reader())
        .status()?;
    let node =
        place.command("npm").args(["test", "--prefix", "tests/sdk/node"]).envs(environment).status()?;
    if pytest.success() && node.success() {
        return Ok(());
    }
    say(&gateway.last_words());
    bail!("the official SDKs are not content with the gateway")
}

fn end_to_end(place: &Place) -> Result<()> {
    let status = place
        .command(tools::python(place)?)
        .args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/e2e"])
        .env("LLMGATEWAY_BINARY", place.gateway())
        .status()?;
    if status.success() { Ok(()) } else { bail!("the end-to-end tests failed") }
}

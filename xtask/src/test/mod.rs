//! `cargo xtask test`: all checks, ordered so that failures show up early.
//!
//! A missing tool is installed: into the target folder, or by apt-get.

pub mod place;
mod postgres;
mod recordings;
mod running;
pub mod tools;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use place::Workspace;
use postgres::Postgres;
use running::Running;

/// A check: its announcement and what it does.
type Step = (&'static str, fn(&Workspace) -> Result<()>);

/// Checks that need only the toolchain.
const QUICK: &[Step] =
    &[("cargo fmt", format), ("cargo clippy", clippy), ("cargo test, without PostgreSQL", cargo_test)];

const ALL: &[Step] = &[
    ("cargo fmt", format),
    ("cargo deny: duplicates, licences, sources", deny),
    ("cargo deny: advisories", advisories),
    ("cargo clippy", clippy),
    ("cargo test", cargo_test_with_servers),
    ("cargo test, without recordings", cargo_test_without_recordings),
    ("the programs: llmgateway, its benchmark, the reader of answers", build),
    ("official SDKs and other clients against the gateway, the mock and our decoders", sdks),
    ("end to end: durability, the commands of the README", end_to_end),
    ("the dashboard in a browser: every page, every action", dashboard),
    ("coding agents: against the mock, and through the gateway", agents),
    ("instructions by the size of the input", growth),
    ("instructions and allocations of one request", count),
];

/// Runs the checks until one fails.
pub fn run(arguments: &[&str]) -> Result<()> {
    let steps = match arguments {
        [] => ALL,
        ["--quick"] => QUICK,
        _ => bail!("cargo xtask test takes --quick, or nothing"),
    };
    let place = Workspace::find();
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
    if !recordings::are_here(&place) {
        say(&format!(
            "==> not run: the cases of {} recorded exchanges with providers, which are not on this machine ({})",
            recordings::count(),
            recordings::VARIABLE
        ));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command talks to a person")]
fn say(text: &str) {
    println!("{text}");
}

fn format(place: &Workspace) -> Result<()> {
    place.run("cargo", &["fmt", "--all", "--check"])
}

fn clippy(place: &Workspace) -> Result<()> {
    place.run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn deny(place: &Workspace) -> Result<()> {
    place.run(tools::cargo_deny(place)?, &["--locked", "check", "bans", "licenses", "sources"])
}

/// Known vulnerabilities come from a database on the network, which not every machine can reach.
fn advisories(place: &Workspace) -> Result<()> {
    let output =
        place.command(tools::cargo_deny(place)?).args(["--locked", "check", "advisories"]).output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && message.contains("failed to fetch advisory database") {
        say("skipped: the advisory database cannot be reached from here");
        return Ok(());
    }
    say(message.trim_end());
    if output.status.success() { Ok(()) } else { bail!("cargo deny found advisories") }
}

/// The URL of a PostgreSQL in which tests may change everything.
const POSTGRES: &str = "LLMGATEWAY_TEST_POSTGRES";

/// The longest time for the tests of one group of clients: a client that hangs is stopped.
const CLIENTS_MOST: Duration = Duration::from_secs(300);

const CARGO_TEST: &[&str] = &["test", "--workspace", "--locked", "--no-fail-fast"];

fn cargo_test(place: &Workspace) -> Result<()> {
    place.run("cargo", CARGO_TEST)
}

fn cargo_test_with_servers(place: &Workspace) -> Result<()> {
    tools::redis(place)?;
    let Some(postgres) = Postgres::start(place)? else {
        return cargo_test(place);
    };
    let mut command = place.command("cargo");
    let status = command.args(CARGO_TEST).env(POSTGRES, postgres.url()).status()?;
    if status.success() { Ok(()) } else { bail!("cargo test failed") }
}

/// The tests on a clone that has only the repository. Recordings change the input of random tests, so they
/// can hide a fault as well as find one.
fn cargo_test_without_recordings(place: &Workspace) -> Result<()> {
    if !recordings::are_here(place) {
        say("done by the step before: there are no recordings on this machine");
        return Ok(());
    }
    let mut command = place.command("cargo");
    command.args(["test", "--locked", "--no-fail-fast"]);
    for package in recordings::users(&place.root) {
        command.args(["--package", &package]);
    }
    let status = command.env(recordings::VARIABLE, recordings::NOWHERE).status()?;
    if status.success() { Ok(()) } else { bail!("cargo test failed without recordings") }
}

/// With the features of the whole workspace and its tests, so that the tests' build is reused.
pub fn build(place: &Workspace) -> Result<()> {
    let what = ["--tests", "--bins", "--example", "read_answers", "--example", "generate_usage"];
    place.run("cargo", &[&["build", "--workspace", "--locked"], &what[..]].concat())
}

/// Work is limited to a small multiple of the input: `crates/wire/tests/growth`.
fn growth(place: &Workspace) -> Result<()> {
    tools::valgrind(place)?;
    let mut command = place.command("cargo");
    command.args(["test", "--workspace", "--locked", "--test", "growth"]);
    let status = command.env("LLMGATEWAY_TEST_INSTRUCTIONS", "1").status()?;
    if status.success() { Ok(()) } else { bail!("work grows faster than its input") }
}

/// See `cargo xtask count`.
fn count(place: &Workspace) -> Result<()> {
    crate::bench::count(place, false)
}

fn sdks(place: &Workspace) -> Result<()> {
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
    let node = place
        .command("npm")
        .args(["test", "--prefix", "tests/sdk/node"])
        .envs(environment.clone())
        .status()?;
    let clients = clients(place, &environment);
    if pytest.success() && node.success() && clients.is_ok() {
        return Ok(());
    }
    say(&gateway.last_words());
    clients?;
    bail!("the official SDKs failed against the gateway")
}

/// Clients that users have besides the official SDKs.
fn clients(place: &Workspace, environment: &[(&str, String); 2]) -> Result<()> {
    // An environment, and the tests that run in it.
    let groups = [
        ("agents", "agents"),
        ("pydantic_ai_1", "agents/test_pydantic_ai.py"),
        ("pydantic_ai_2", "agents/test_pydantic_ai.py"),
        ("dialects", "dialects"),
        ("classic", "classic"),
        ("llama_index", "llama_index"),
    ];
    for (packages, tests) in groups {
        let python = tools::client_python(place, packages)?;
        let tests = format!("tests/sdk/clients/{tests}");
        let mut command = place.command(&python);
        command.args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", &tests]);
        place.succeeds_within(CLIENTS_MOST, command.envs(environment.iter().cloned()))?;
    }
    Ok(())
}

fn end_to_end(place: &Workspace) -> Result<()> {
    let postgres = Postgres::start(place)?;
    let nginx = tools::nginx(place);
    if nginx.is_none() {
        say("==> NOT RUN: nginx in front of the gateway, because the system's packages have no nginx here");
    }
    let mut command = place.command(tools::python(place)?);
    command
        .args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/e2e"])
        .env("LLMGATEWAY_BINARY", place.gateway())
        .env("LLMGATEWAY_NGINX", nginx.unwrap_or_default());
    if let Some(postgres) = &postgres {
        command.env(POSTGRES, postgres.url());
    }
    if command.status()?.success() { Ok(()) } else { bail!("the end-to-end tests failed") }
}

/// The longest time for the tests in a browser.
const DASHBOARD_MOST: Duration = Duration::from_secs(1_500);

/// Screenshots are kept in the target folder.
fn dashboard(place: &Workspace) -> Result<()> {
    let chromium = tools::chromium(place)?;
    if !tools::issuer(place) {
        say(
            "==> NOT RUN: signing in by OpenID Connect in a browser, because npm cannot install oidc-provider here",
        );
    }
    let firefox = tools::firefox(place);
    if firefox.is_none() {
        say("==> NOT RUN: the dashboard in Firefox, because the system's packages have no Firefox here");
    }
    let shots = place.target.join("ui-shots");
    let mut command = place.command("npm");
    command
        .args(["test", "--prefix", "tests/ui"])
        .env("LLMGATEWAY_BINARY", place.gateway())
        .env("LLMGATEWAY_CHROMIUM", chromium)
        .env("LLMGATEWAY_FIREFOX", firefox.unwrap_or_default())
        .env("LLMGATEWAY_GENERATOR", place.generator())
        .env("LLMGATEWAY_SHOTS", &shots);
    place.succeeds_within(DASHBOARD_MOST, &mut command)?;
    say(&format!("screenshots: {}", shots.display()));
    Ok(())
}

/// The longest time for the tests with coding agents.
const AGENTS_MOST: Duration = Duration::from_secs(900);

fn agents(place: &Workspace) -> Result<()> {
    let python = tools::python(place)?;
    if !tools::agents(place)? {
        say("==> NOT RUN: the tests with coding agents, because npm cannot install the agents here");
        return Ok(());
    }
    let mut command = place.command(&python);
    command.args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/agents"]);
    place.succeeds_within(AGENTS_MOST, command.env("LLMGATEWAY_BINARY", place.gateway()))
}

/// Kills the gateway under load like the end-to-end tests, but for much longer.
pub fn kill(times: &str) -> Result<()> {
    let place = Workspace::find();
    place.run("cargo", &["build", "--locked", "--package", "gateway"])?;
    let status = place
        .command(tools::python(&place)?)
        .args(["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "tests/e2e/test_durability.py"])
        .env("LLMGATEWAY_BINARY", place.gateway())
        .env("LLMGATEWAY_KILLS", times)
        .status()?;
    if status.success() { Ok(()) } else { bail!("records were lost, or the gateway failed") }
}

/// The dashboard on as many records, in Chromium.
pub fn large_dashboard(records: &str) -> Result<()> {
    let place = Workspace::find();
    let chromium = tools::chromium(&place)?;
    build_with_generator(&place)?;
    let mut command = place.command("node");
    command.args(["--test", "tests/ui/large.test.mjs"]).env("LLMGATEWAY_CHROMIUM", chromium);
    let status = command
        .env("LLMGATEWAY_BINARY", place.gateway())
        .env("LLMGATEWAY_GENERATOR", place.generator())
        .env("LLMGATEWAY_RECORDS", records)
        .status()?;
    if status.success() { Ok(()) } else { bail!("the dashboard failed with {records} records") }
}

/// Requests with and without an open dashboard, in turns.
pub fn hot_path(arguments: &[&str]) -> Result<()> {
    let place = Workspace::find();
    tools::chromium(&place)?;
    build_with_generator(&place)?;
    let mut command = place.command("node");
    command.arg("tests/ui/hot-path.mjs").args(arguments).env("LLMGATEWAY_BINARY", place.gateway());
    let status = command.env("LLMGATEWAY_GENERATOR", place.generator()).status()?;
    if status.success() { Ok(()) } else { bail!("the measurement failed") }
}

fn build_with_generator(place: &Workspace) -> Result<()> {
    place.run("cargo", &["build", "--locked", "--package", "gateway"])?;
    place.run("cargo", &["build", "--locked", "--package", "store", "--example", "generate_usage"])
}

/// Kills nodes that share a budget like the end-to-end tests, but with more callers and for minutes.
pub fn chaos() -> Result<()> {
    let place = Workspace::find();
    tools::redis(&place)?;
    let Some(postgres) = Postgres::start(&place)? else { bail!("there is no PostgreSQL here") };
    place.run("cargo", &["build", "--locked", "--package", "gateway"])?;
    let status = place
        .command(tools::python(&place)?)
        .args(["-m", "pytest", "-q", "-s", "-rs", "-p", "no:cacheprovider", "tests/e2e/test_cluster.py"])
        .env("LLMGATEWAY_BINARY", place.gateway())
        .env("LLMGATEWAY_CALLERS", "200")
        .env("LLMGATEWAY_KILLS", "100")
        .env(POSTGRES, postgres.url())
        .status()?;
    if status.success() { Ok(()) } else { bail!("the budget or a record was lost, or a node failed") }
}

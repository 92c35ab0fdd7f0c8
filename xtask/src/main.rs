//! Chores of the repository: `cargo xtask COMMAND`.

#![expect(clippy::disallowed_methods, reason = "chores report their duration")]

mod bench;
mod catalog_import;
mod simulate;
mod test;

use anyhow::{Result, bail};

const USAGE: &str = "usage:
  cargo xtask test [--quick]                                set up what is missing, and run every check and test
  cargo xtask kill [TIMES]                                  kill the gateway under load, 1000 times, and account for each answer
  cargo xtask chaos                                         kill nodes that share a budget, 100 times under 200 callers
  cargo xtask count [--update]                              instructions and allocations of one request, against ceilings
  cargo xtask generate-usage --records N --database URL     made-up usage records; with --measure: what the dashboard asks of them
  cargo xtask dashboard [RECORDS]                           the browser test of a large database, with 1,000,000 records
  cargo xtask hot-path [--records N] [--blocks N]           the time of requests with and without a dashboard that is open
  cargo xtask bench [--quick] [--rounds N] [--work NAME]    compare with nginx; the whole benchmark takes many minutes
  cargo xtask catalog [--from DIR] [--write] [--missing]    compare prices with the published lists
  cargo xtask simulate [--write-docs] [SCENARIO…]           compare routing policies on simulated traffic
  cargo xtask simulate cluster [--write-docs]               many nodes that share budgets: what Redis does, and who is refused";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["kill"] => test::kill("1000"),
        ["kill", times] => test::kill(times),
        ["generate-usage", rest @ ..] => bench::generate_usage(rest),
        ["dashboard"] => test::large_dashboard("1000000"),
        ["dashboard", records] => test::large_dashboard(records),
        ["hot-path", rest @ ..] => test::hot_path(rest),
        ["chaos"] => test::chaos(),
        ["count"] => bench::count_alone(false),
        ["count", "--update"] => bench::count_alone(true),
        ["bench", rest @ ..] => bench::run(rest),
        ["catalog", ..] => catalog_import::run(&arguments[1..]),
        ["simulate", rest @ ..] => simulate::run(rest),
        _ => bail!("{USAGE}"),
    }
}

//! Chores of the repository: `cargo xtask COMMAND`.

mod catalog_import;

use anyhow::{Result, bail};

const USAGE: &str =
    "cargo xtask catalog [--from DIR] [--write] [--missing]   compare prices with the published lists";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match command.as_str() {
        "catalog" => catalog_import::run(&rest),
        _ => bail!("usage:\n  {USAGE}"),
    }
}
